"""Picture files of anybody: whole and grey they are read to the digit, otherwise refused in one line, within bounds."""

import io
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from hilum.datasets.pictures import read_picture
from hilum.errors import HilumError

GREY = np.clip(cv2.GaussianBlur(np.random.default_rng(0).normal(128, 80, (90, 72)), (0, 0), 2), 0, 255).astype(np.uint8)
DEEP = GREY.astype(np.uint16) * 200 + 7
ENDINGS = ["png", "tif", "bmp", "webp", "jp2"]
PROGRESSIVE = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)


def encoded(ending: str, pixels: NDArray[Any], *options: int) -> bytes:
    lossless = {"webp": (cv2.IMWRITE_WEBP_QUALITY, 101), "jp2": (cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000)}
    return cv2.imencode(f".{ending}", pixels, [*lossless.get(ending, ()), *options])[1].tobytes()


def saved(image: Image.Image, name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def colours(pixels: NDArray[Any]) -> NDArray[Any]:
    return np.dstack([pixels] * 3)


def refused(folder: Path, content: bytes) -> str:
    """The reason why a file is refused, which is one line without the name of an exception."""
    (folder / "x").write_bytes(content)
    with pytest.raises(HilumError) as caught:
        read_picture(folder / "x")
    assert "\n" not in str(caught.value)
    assert "Error" not in str(caught.value)
    return str(caught.value)


def read(folder: Path, content: bytes) -> NDArray[np.uint8]:
    (folder / "x").write_bytes(content)
    return read_picture(folder / "x")


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_is_known_by_its_content_and_read_without_loss(tmp_path: Path, ending: str) -> None:
    assert np.array_equal(read(tmp_path, encoded(ending, GREY)), GREY)
    assert np.array_equal(read(tmp_path, encoded(ending, colours(GREY))), GREY)


@pytest.mark.parametrize("ending", ["png", "tif", "jp2"])
def test_16_bits_are_read_as_the_array_is(tmp_path: Path, ending: str) -> None:
    assert np.array_equal(read(tmp_path, encoded(ending, DEEP)), read_picture(DEEP))


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA"])
@pytest.mark.parametrize("name", ["PNG", "TIFF", "WEBP"])
def test_grey_in_whatever_form_is_grey(tmp_path: Path, mode: str, name: str) -> None:
    image = Image.fromarray(np.where(GREY > 128, 255, 0).astype(np.uint8)).convert(mode)
    assert np.array_equal(read(tmp_path, saved(image, name, lossless=True)), np.asarray(image.convert("L")))


def test_16_bits_are_looked_up_as_they_were_computed() -> None:
    low, high = np.percentile(DEEP, [0.1, 99.9])
    expected = np.rint(np.clip((DEEP.astype(float) - low) / (high - low), 0, 1) * 255)
    assert np.array_equal(read_picture(DEEP), expected)


@pytest.mark.parametrize("pixels", [GREY, DEEP], ids=["8", "16"])
def test_a_tiff_that_stores_white_as_zero_is_turned_round(tmp_path: Path, pixels: NDArray[Any]) -> None:
    content = saved(Image.fromarray(~pixels), "TIFF")
    at = content.index(struct.pack("<HHIH", 262, 3, 1, 1))
    content = content[: at + 8] + b"\0" + content[at + 9 :]
    assert np.array_equal(read(tmp_path, content), read_picture(pixels))


@pytest.mark.parametrize("ending", [*ENDINGS, "jpg"])
def test_what_is_coloured_is_refused_and_what_differs_by_rounding_is_not(tmp_path: Path, ending: str) -> None:
    coloured, tinted = colours(GREY), colours(np.minimum(GREY, 250))
    coloured[20:40, 20:40] = (0, 0, 255)
    tinted[:, :, 2] += 4
    assert "colour" in refused(tmp_path, encoded(ending, coloured))
    assert np.abs(read(tmp_path, encoded(ending, tinted)).astype(int) - np.minimum(GREY, 250)).max() < 30


def test_a_map_of_colours_is_refused(tmp_path: Path, shared: Path) -> None:
    assert "colour" in refused(tmp_path, (shared / "faults" / "pictures" / "viridis.png").read_bytes())


@pytest.mark.parametrize("ending", [*ENDINGS, "jpg"])
def test_wherever_a_file_is_cut_it_is_refused(tmp_path: Path, ending: str) -> None:
    content = encoded(ending, GREY)
    for length in (1, 3, 12, 30, len(content) // 3, len(content) // 2, len(content) - 20):
        assert refused(tmp_path, content[:length])


def glued(content: bytes, cut: int) -> bytes:
    return content[: -2 - cut] + b"\xff\xd9"


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (GREY, ()),
        (GREY, PROGRESSIVE),
        (GREY, (cv2.IMWRITE_JPEG_RST_INTERVAL, 3)),
        (colours(GREY), ()),
        (colours(GREY), PROGRESSIVE),
    ],
    ids=["baseline", "progressive", "restarts", "rgb", "progressive rgb"],
)
def test_a_jpeg_that_ends_early_is_refused_though_its_end_is_marked(
    tmp_path: Path, pixels: NDArray[Any], options: tuple[int, ...]
) -> None:
    content = encoded("jpg", pixels, *options)
    assert read(tmp_path, content).shape == GREY.shape
    for cut in (30, 100, len(content) // 4):
        if content[-2 - cut - 1] != 0xFF:
            assert "cut short" in refused(tmp_path, glued(content, cut))


def test_a_jpeg_without_its_last_scans_is_refused(tmp_path: Path) -> None:
    content = encoded("jpg", GREY, *PROGRESSIVE)
    scans = [at for at in range(len(content)) if content[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 2
    for at in scans[1:]:
        assert "cut short" in refused(tmp_path, content[:at] + b"\xff\xd9")


def test_a_whole_jpeg_may_end_in_the_grey_that_is_filled_in(tmp_path: Path) -> None:
    pixels = GREY.copy()
    pixels[40:, 30:] = 128
    content = encoded("jpg", pixels)
    assert (read(tmp_path, content)[-8:, -8:] == 128).all()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes, *more: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), *more, chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")]
    )


def test_a_png_of_too_few_rows_or_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    rows = b"".join(b"\0" + row.tobytes() for row in GREY)
    assert np.array_equal(read(tmp_path, png(72, 90, rows)), GREY)
    assert "cannot be decoded" in refused(tmp_path, png(72, 90, rows[:3000]))
    wrong = bytearray(png(72, 90, rows))
    wrong[-20] ^= 1
    assert "checksum" in refused(tmp_path, bytes(wrong))


def lies() -> Iterator[tuple[str, bytes]]:
    """Small files that say to be of 32,000 x 32,000 px, or of so many as their bytes cannot hold."""
    for side in (32_000, 8_000):
        yield f"png {side}", png(side, side, b"")
        jpeg = bytearray(encoded("jpg", GREY))
        at = jpeg.index(b"\xff\xc0")
        jpeg[at + 5 : at + 9] = struct.pack(">HH", side, side)
        yield f"jpg {side}", bytes(jpeg)
        bmp = bytearray(encoded("bmp", GREY))
        bmp[18:26] = struct.pack("<ii", side, side)
        yield f"bmp {side}", bytes(bmp)
        tiff = saved(Image.fromarray(GREY), "TIFF", compression="tiff_lzw")
        for tag in (256, 257):
            at = tiff.index(struct.pack("<HHI", tag, 3, 1))
            tiff = tiff[: at + 8] + struct.pack("<I", side) + tiff[at + 12 :]
        yield f"tif {side}", tiff
        jp2 = bytearray(encoded("jp2", GREY))
        at = jp2.index(b"\xff\x4f\xff\x51")
        jp2[at + 8 : at + 16] = jp2[at + 24 : at + 32] = struct.pack(">II", side, side)
        yield f"jp2 {side}", bytes(jp2)
    webp = bytearray(encoded("webp", GREY))
    assert webp[12:16] == b"VP8L"
    webp[21:25] = struct.pack("<I", 0x3FFF | 0x3FFF << 14)
    yield "webp", bytes(webp)


@pytest.mark.parametrize(("name", "content"), list(lies()), ids=lambda value: value if isinstance(value, str) else "")
def test_a_size_is_believed_only_as_far_as_the_bytes_bear_it_out(tmp_path: Path, name: str, content: bytes) -> None:
    reason = refused(tmp_path, content)
    assert any(why in reason for why in ("at most", "no radiograph", "bytes for")), name


def test_a_lie_of_380_bytes_is_refused(tmp_path: Path, shared: Path) -> None:
    assert "bytes for 32000 x 32000 px" in refused(tmp_path, (shared / "faults" / "pictures" / "lie.jpg").read_bytes())


def sideways() -> Iterator[tuple[str, bytes]]:
    """Small files whose true size, or number of numbers, stands elsewhere than where it is looked for."""
    lying = chunk(b"tEXt", struct.pack(">IIBB", 64, 64, 8, 0))
    whole = encoded("png", GREY)
    yield "header", whole[:8] + lying + whole[8:]
    yield "header", whole[:8] + lying + png(20_000, 20_000, b"")[8:]
    tiff = saved(Image.fromarray(GREY), "TIFF")
    first_entry = struct.unpack_from("<I", tiff, 4)[0] + 2
    for kind, tag in ((5, 282), (4, 273), (1, 273), (3, 339), (7, 324)):
        damaged = bytearray(tiff) + bytes(1 << 20)
        damaged[first_entry : first_entry + 12] = struct.pack("<HHII", tag, kind, 30_000_000, len(tiff))
        yield "30,000,", bytes(damaged)
    bmp = bytearray(encoded("bmp", GREY))
    bmp[30:34] = struct.pack("<I", 1)
    yield "compression", bytes(bmp)


@pytest.mark.parametrize(("complaint", "content"), list(sideways()), ids=lambda value: str(value)[:9])
def test_what_is_checked_is_what_the_decoder_goes_by(
    tmp_path: Path, complaint: str, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_pillow", "_opencv"):
        monkeypatch.setattr(f"hilum.datasets.picture_files.{name}", None)
    assert complaint in refused(tmp_path, content)


def test_several_pictures_in_one_file_are_refused(tmp_path: Path) -> None:
    first, second = Image.fromarray(GREY), Image.fromarray(~GREY)
    for name in ("TIFF", "WEBP", "PNG"):
        content = saved(first, name, save_all=True, append_images=[second])
        assert "several pictures" in refused(tmp_path, content)


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (Image.fromarray(GREY), {"compression": "jpeg"}),
        (Image.fromarray(GREY.astype(np.float32)), {}),
        (Image.fromarray(GREY.astype(np.int32)), {}),
        (Image.fromarray(colours(GREY)).convert("CMYK"), {}),
    ],
    ids=["jpeg inside", "float", "32 bits", "cmyk"],
)
def test_a_tiff_that_is_no_plain_picture_is_refused(
    tmp_path: Path, image: Image.Image, options: dict[str, str]
) -> None:
    assert "expected" in (reason := refused(tmp_path, saved(image, "TIFF", **options))) or "neither" in reason


def test_what_would_be_waited_on_or_fill_the_memory_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zeros.png").symlink_to("/dev/zero")
    with (tmp_path / "sparse.png").open("wb") as file:
        file.truncate(5 << 30)
    for name, reason in {"pipe.png": "a pipe", "zeros.png": "a device", "sparse.png": "at most 256 MiB"}.items():
        with pytest.raises(HilumError, match=reason):
            read_picture(tmp_path / name)
    with pytest.raises(HilumError, match="cannot be read"):
        read_picture(tmp_path / "a\0b")


def mutants(count: int, seed: int) -> Iterator[bytes]:
    """Files of every format, with bytes changed, taken out or doubled; the first ones, headers, more often."""
    draw = np.random.default_rng(seed)
    whole = [encoded(ending, pixels) for ending in [*ENDINGS, "jpg"] for pixels in (GREY, colours(GREY))]
    whole += [encoded("jpg", GREY, *PROGRESSIVE), saved(Image.fromarray(GREY), "TIFF", compression="tiff_lzw")]
    for number in range(count):
        content = bytearray(whole[number % len(whole)])
        for _ in range(draw.integers(1, 6)):
            at = int(draw.integers(0, min(len(content), 200) if draw.random() < 0.7 else len(content)))
            kind = draw.integers(0, 4)
            if kind == 0:
                content[at] = int(draw.integers(0, 256))
            elif kind == 1:
                content[at : at + 4] = draw.choice(
                    [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\x7f\xff"]
                )
            elif kind == 2:
                del content[at : at + int(draw.integers(1, 40))]
            else:
                content[at:at] = content[at : at + int(draw.integers(1, 40))]
        yield bytes(content)


def test_no_damaged_file_gives_anything_but_a_picture_or_a_reason(tmp_path: Path) -> None:
    outcomes = {True: 0, False: 0}
    for content in mutants(300, seed=1):
        (tmp_path / "x").write_bytes(content)
        try:
            pixels = read_picture(tmp_path / "x")
        except HilumError as error:
            outcomes[False] += "\n" not in str(error)
        else:
            assert (pixels.ndim, pixels.dtype) == (2, np.uint8)
            outcomes[True] += 1
    assert sum(outcomes.values()) == 300
    assert min(outcomes.values()) > 10
