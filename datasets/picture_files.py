"""Decode a picture file that may be anybody's: its kind by its first bytes, its size before its pixels, all or nothing.

JPEG and PNG are decoded by OpenCV, TIFF, BMP, WebP and JPEG 2000 by Pillow. Neither bounds what a file may ask for, so
what a header says is checked first: the pixels, the bytes that they take, and that the file is long enough for them.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.dicom.header import MAX_PIXELS
from hilum.dicom.jpeg import parse_jpeg
from hilum.dicom.jpeg_end import ends_early, scan_count
from hilum.dicom.pixel_data import check_plausible
from hilum.errors import HilumError

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_J2K: Final = b"\xff\x4f\xff\x51"
_MOST_BYTES = 1 << 28  # of a decoded picture, as its decoder holds it
_MOST_CHUNKS = 1 << 16
_MOST_SCANNED = 1 << 30  # pixels, once a scan
_SEVERAL = "several pictures in one file; one is expected"
_GREY_PNG, _ALPHA_PNG = 0, 4  # grey, without and with alpha
_CHANNELS_PNG = {_GREY_PNG: 1, 2: 3, 3: 3, _ALPHA_PNG: 2, 6: 4}
_PNG_HEADER: Final = b"\0\0\0\x0dIHDR"
_BMP_INFO_HEADER, _BMP_COMPRESSIONS = 40, {0, 3, 6}  # none, in three ways to lay out a pixel; no run lengths
_TIFF_ASCII, _TIFF_BYTES, _TIFF_XMP, _TIFF_PRIVATE = 2, {1, 7}, 700, 32768
_MOST_NUMBERS = 1 << 17  # in a directory: a strip a row, of the tallest picture, is a fourth
_TIFF_TILE_WIDTH, _TIFF_TILE_LENGTH, _TIFF_PHOTOMETRIC = 322, 323, 262
# Those of Pillow's names whose decoders notice missing data; JPEG in TIFF is none.
_TIFF_COMPRESSIONS = {"raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate"}


def picture_format(content: bytes) -> str | None:
    """The name of a picture file's format, by its first 12 bytes; None where it is none that is read here."""
    return next((name for name, (is_it, _) in _FORMATS.items() if is_it(content)), None)


def decode_picture(content: bytes, name: str) -> NDArray[Any]:
    """Decode a picture file.

    Args:
        content: the whole file.
        name: of its format, as `picture_format` tells it.

    Returns:
        (H, W), or (H, W, 3) blue, green, red where it is stored in colours; uint8 or uint16. Transparency is left out.

    Raises:
        HilumError: it ends early, is damaged, too large, holds several pictures or is of a kind that is not read; the
            reason alone.
    """
    with _as_reason(name):
        return _FORMATS[name][1](content)


@contextmanager
def _as_reason(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises on damaged input into a reason."""
    warnings.filterwarnings("ignore", module="PIL")
    try:
        yield
    except (HilumError, MemoryError):
        raise
    except Exception as error:
        raise HilumError(f"cannot be decoded as {name}: cut short or damaged") from error


def _check(size_wh: tuple[int, int], bytes_a_pixel: int, length: int) -> None:
    width, height = size_wh
    if width * height == 0:
        raise HilumError(f"a picture of {width} x {height} px")
    if width * height > MAX_PIXELS:
        raise HilumError(f"{width} x {height} px; at most {MAX_PIXELS} pixels are read")
    if width * height * bytes_a_pixel > _MOST_BYTES:
        raise HilumError(f"{width} x {height} px of {bytes_a_pixel} bytes; at most {_MOST_BYTES >> 20} MiB are decoded")
    check_plausible(size_wh, length)


def _jpeg(content: bytes) -> NDArray[Any]:
    try:
        stream = parse_jpeg(content)
    except ValueError as error:
        raise HilumError(str(error)) from error
    if stream.process not in {0, 1, 2} or stream.bits != 8 or stream.components not in {1, 3}:
        raise HilumError(
            f"a JPEG of process {stream.process}, {stream.bits} bits and {stream.components} components; baseline or "
            "progressive (0 to 2), 8 bits, grey or RGB are expected"
        )
    progressive = stream.process == 2  # its coefficients are held, two bytes each
    _check(stream.size_wh, stream.components * (2 if progressive else 1), len(content))
    scans = scan_count(stream) if progressive else 1
    if scans * stream.size_wh[0] * stream.size_wh[1] > _MOST_SCANNED:
        raise HilumError(f"a JPEG of {scans} scans: no radiograph, or a damaged one")
    pixels = _opencv(stream.data, colour=stream.components == 3)
    if pixels.shape[1::-1] != stream.size_wh or ends_early(stream, pixels):
        raise HilumError("the JPEG stream is cut short: it ends before the picture does")
    return pixels


def _png(content: bytes) -> NDArray[Any]:
    """PNG (ISO/IEC 15948): its chunks are checked, and those that hold the picture are decoded."""
    if content[8:16] != _PNG_HEADER:
        raise HilumError("cannot be decoded as PNG: damaged, its header is not its first chunk")
    width, height, depth, colour = struct.unpack_from(">IIBB", content, 16)
    if colour not in _CHANNELS_PNG or depth not in {1, 2, 4, 8, 16}:
        raise ValueError("not a PNG header")
    _check((width, height), _CHANNELS_PNG[colour] * (2 if depth == 16 else 1), len(content))
    kept = [_PNG]
    at = len(_PNG)
    for _ in range(_MOST_CHUNKS):
        length = int.from_bytes(content[at : at + 4], "big")
        kind, end = content[at + 4 : at + 8], at + 12 + length
        if end > len(content):
            raise HilumError("cannot be decoded as PNG: cut short")
        if zlib.crc32(memoryview(content)[at + 4 : end - 4]) != int.from_bytes(content[end - 4 : end], "big"):
            raise HilumError("cannot be decoded as PNG: damaged, a checksum differs")
        if kind == b"acTL":
            raise HilumError(_SEVERAL)
        if kind in {b"PLTE", b"IDAT", b"IEND"} or at == len(_PNG):
            kept.append(content[at:end])
        at = end
        if kind == b"IEND":
            break
    else:
        raise HilumError("a PNG of more chunks than a picture needs")
    pixels = _opencv(b"".join(kept), colour=colour not in {_GREY_PNG, _ALPHA_PNG})
    if pixels.shape[:2] != (height, width):
        raise ValueError("not of the size that its header says")
    return pixels


def _opencv(content: bytes, *, colour: bool) -> NDArray[Any]:
    flags = (cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE) | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if pixels is None:
        raise ValueError("not decoded")
    return np.asarray(pixels)


def _tiff(content: bytes) -> NDArray[Any]:
    from PIL.TiffImagePlugin import TiffImageFile

    _check_directory(content)
    with TiffImageFile(io.BytesIO(content)) as image:
        compression = image.info.get("compression")
        if compression not in _TIFF_COMPRESSIONS:
            raise HilumError("a TIFF of a compression that is not read; none, LZW, Deflate or PackBits is expected")
        tile_wh = image.tag_v2.get(_TIFF_TILE_WIDTH, 0), image.tag_v2.get(_TIFF_TILE_LENGTH, 0)
        if tile_wh[0] * tile_wh[1] > MAX_PIXELS:
            raise HilumError(f"a TIFF with tiles of {tile_wh[0]} x {tile_wh[1]} px")
        pixels = _pillow(image, content)
        # Pillow turns round 8 bits that are stored with zero as white, and not 16.
        is_white_zero = image.tag_v2.get(_TIFF_PHOTOMETRIC) == 0 and pixels.dtype == np.uint16
        return np.asarray(~pixels) if is_white_zero else pixels


def _check_directory(content: bytes) -> None:
    """TIFF 6.0, section 2: the directory of the picture is the only one, and holds no more numbers than one needs.

    Pillow makes a Python object of each before it gives anything out.
    """
    order = "<" if content[:2] == b"II" else ">"
    (at,) = struct.unpack_from(f"{order}I", content, 4)
    (entries,) = struct.unpack_from(f"{order}H", content, at)
    numbers = 0
    for entry in range(entries):
        tag, kind, count = struct.unpack_from(f"{order}HHI", content, at + 2 + 12 * entry)
        is_text = kind == _TIFF_ASCII or (kind in _TIFF_BYTES and (tag == _TIFF_XMP or tag >= _TIFF_PRIVATE))
        numbers += 0 if is_text else count
    if numbers > _MOST_NUMBERS:
        raise HilumError(f"a TIFF whose directory holds {numbers:,} numbers; at most {_MOST_NUMBERS:,} are read")
    if struct.unpack_from(f"{order}I", content, at + 2 + 12 * entries) != (0,):
        raise HilumError(_SEVERAL)


def _bmp(content: bytes) -> NDArray[Any]:
    header, compression = struct.unpack_from("<I12xI", content, 14)
    if header >= _BMP_INFO_HEADER and compression not in _BMP_COMPRESSIONS:
        raise HilumError("a BMP of a compression that is not read; none is expected")
    from PIL.BmpImagePlugin import BmpImageFile

    with BmpImageFile(io.BytesIO(content)) as image:
        return _pillow(image, content)


def _webp(content: bytes) -> NDArray[Any]:
    """WebP (RFC 9649): its size and whether it moves are read here, for Pillow makes room for it when it opens it."""
    kind = content[12:16]
    if kind == b"VP8X":
        if content[20] & 0x02:
            raise HilumError(_SEVERAL)
        size_wh = (int.from_bytes(content[24:27], "little") + 1, int.from_bytes(content[27:30], "little") + 1)
    elif kind == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        size_wh = ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    else:
        size_wh = (int.from_bytes(content[26:28], "little") & 0x3FFF, int.from_bytes(content[28:30], "little") & 0x3FFF)
    _check(size_wh, 8, len(content))  # libwebp holds the canvas more than once
    from PIL.WebPImagePlugin import WebPImageFile

    with WebPImageFile(io.BytesIO(content)) as image:
        return _pillow(image, content)


def _jpeg_2000(content: bytes) -> NDArray[Any]:
    """ISO/IEC 15444-1, A.5.1: of a file the bare codestream is decoded, whose first segment tells its size."""
    start = content.find(_J2K)
    if start < 0 or b"pclr" in content[:start]:  # numbers of colours
        raise HilumError("a JPEG 2000 file without a codestream, or with a palette")
    stream = content[start:]
    right, bottom, left, top, tile_w, tile_h, tile_x, tile_y, count = struct.unpack_from(">8IH", stream, 8)
    sampling = {stream[43 + 3 * number : 45 + 3 * number] for number in range(count)}
    if count not in {1, 3} or sampling != {b"\1\1"}:
        raise HilumError(f"a JPEG 2000 of {count} components; one picture, not reduced, grey or RGB, is expected")
    _check((right - left, bottom - top), 4 * count, len(stream))  # OpenJPEG holds 32 bits a sample
    tiles = -(-(right - tile_x) // tile_w) * -(-(bottom - tile_y) // tile_h)
    if not 0 < tiles <= len(stream) // 14:  # the shortest tile: a header of 12 bytes and a start of data of 2
        raise ValueError("more tiles than bytes")
    from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

    with Jpeg2KImageFile(io.BytesIO(stream)) as image:
        return _pillow(image, stream)


def _pillow(image: "ImageFile", content: bytes) -> NDArray[Any]:
    """Decode what Pillow has opened, which so far has read the header alone."""
    if image.mode not in {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "I;16", "I;16L", "I;16B"}:
        raise HilumError("neither grey nor RGB of 8 or 16 bits")
    grey = image.mode in {"1", "L", "I;16", "I;16L", "I;16B"}
    _check(image.size, 2 if grey else 6, len(content))  # Pillow holds 32 bits of a colour, beside what it gives out
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if grey or image.mode == "LA":
        return np.asarray(image.convert("L"))
    return np.asarray(image.convert("RGB"))[:, :, ::-1]


_FORMATS: dict[str, tuple[Callable[[bytes], bool], Callable[[bytes], NDArray[Any]]]] = {
    "JPEG": (lambda start: start[:2] == b"\xff\xd8", _jpeg),
    "PNG": (lambda start: start[:8] == _PNG, _png),
    "TIFF": (lambda start: start[:4] in {b"II*\0", b"MM\0*"}, _tiff),
    "BMP": (lambda start: start[:2] == b"BM", _bmp),
    "WebP": (lambda start: start[:4] == b"RIFF" and start[8:12] == b"WEBP", _webp),
    "JPEG 2000": (lambda start: start[:4] == _J2K or start[:12] == b"\0\0\0\x0cjP  \r\n\x87\n", _jpeg_2000),
}
