"""Damaged and hostile files: a picture or one line, soon, in little memory, and nothing written."""

import json
import os
import random
import re
import resource
import struct
import subprocess
import sys
import textwrap
import time
import zlib

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from hilum.dicom.header import tags_of
from hilum.dicom.reading import dicom_to_gray8, dicom_to_gray16, header_of, plain_jpeg, read_dicom
from hilum.errors import HilumError

JPEG_2000, JPEG_LS, JPEG_LOSSLESS, JPEG_EXTENDED, HTJ2K = (
    UID(f"1.2.840.10008.1.2.4.{n}") for n in (90, 80, 70, 51, 201)
)
ITEM, ITEM_END, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0" + bytes(4), b"\xfe\xff\xdd\xe0" + bytes(4)


@pytest.fixture(scope="module")
def originals(make_dicom, make_jpeg, make_picture):
    """A file of each kind, all with the planted name in it."""
    imagecodecs = pytest.importorskip("imagecodecs")
    small = make_picture(1)
    deep = (make_picture(2).astype(np.uint16) << 2) + 9
    deep_tags = {"BitsStored": 10, "HighBit": 9}

    def rewritten(content, syntax, frame=None):
        dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(content))
        if syntax == RLELossless:
            dataset.compress(syntax, generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = syntax
        if frame is not None:
            dataset.PixelData = encapsulate([frame])
            dataset["PixelData"].is_undefined_length = True
        buffer = pydicom.filebase.DicomBytesIO()
        pydicom.dcmwrite(buffer, dataset)
        return buffer.getvalue()

    plain = make_dicom(
        deep, WindowCenter="500", WindowWidth="900", PhotometricInterpretation="MONOCHROME1", **deep_tags
    )
    return {
        "as the challenge's": make_dicom(small, jpeg=make_jpeg(small)),
        "16 bit": plain,
        "implicit": rewritten(plain, ImplicitVRLittleEndian),
        "deflated": rewritten(plain, DeflatedExplicitVRLittleEndian),
        "RLE": rewritten(plain, RLELossless),
        "JPEG 2000": rewritten(plain, JPEG_2000, imagecodecs.jpeg2k_encode(deep, level=0, codecformat="j2k")),
        "HTJ2K": rewritten(plain, HTJ2K, imagecodecs.htj2k_encode(deep, reversible=True)),
        "JPEG-LS": rewritten(plain, JPEG_LS, imagecodecs.jpegls_encode(deep)),
        "JPEG lossless": rewritten(plain, JPEG_LOSSLESS, imagecodecs.ljpeg_encode(deep, bitspersample=10)),
        "JPEG of 12 bits": rewritten(plain, JPEG_EXTENDED, imagecodecs.jpeg8_encode(deep, bitspersample=12)),
    }


def mutated(original: bytes, rng: random.Random) -> bytes:
    content = bytearray(original)
    start = content.rfind(b"\xff\x4f\xff\x51") if rng.random() < 0.3 else -1  # a codestream's header
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        if len(content) < 200:
            break
        in_header = rng.random() < 0.7
        at = rng.randrange(132, min(len(content), 1100) if in_header else len(content))
        if start > 0:
            at = min(start + rng.randrange(140), len(content) - 1)
        kind = rng.randrange(8)
        if kind == 0:
            content[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256)])
        elif kind == 1:
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del content[at : at + rng.randint(1, 60)]
        elif kind == 3:
            content[at:at] = rng.randbytes(rng.randint(1, 20))
        elif kind == 4:
            content[at : at + 4] = rng.choice([b"\xff" * 4, b"\xff\xff\xff\x7f", bytes(4), b"\0\0\0\x80"])
        elif kind == 5:
            content[at:at] = content[at : at + rng.randint(8, 200)]  # elements twice
        elif kind == 6:
            depth = rng.randint(1, 400)
            content[at:at] = (b"\x08\x00\x15\x11SQ\0\0" + b"\xff" * 4 + ITEM + b"\xff" * 4) * depth
        else:
            del content[at if rng.random() < 0.5 else -rng.randint(1, 80) :]
    return bytes(content)


def outcome(content: bytes) -> str:
    """What a caller sees; whatever else is raised ends the test."""
    try:
        dataset = read_dicom(content)
        tags_of(header_of(dataset))
        plain_jpeg(dataset)
        picture = dicom_to_gray8(dataset)
        deep = dicom_to_gray16(dataset)
    except HilumError as error:
        return str(error)
    assert (picture.dtype, deep.dtype, picture.shape) == (np.uint8, np.uint16, deep.shape)
    return ""


@pytest.mark.parametrize("count", [600, pytest.param(5000, marks=pytest.mark.slow)])
def test_damaged_files_give_a_picture_or_one_line(originals, planted_name, count, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    rng = random.Random(count)
    pictures = dict.fromkeys(originals, 0)
    refused = dict.fromkeys(originals, 0)
    slowest = 0.0
    for name, original in originals.items():
        assert planted_name.encode() in original or name == "deflated"
        assert outcome(original) == ""
        for _ in range(count // len(originals)):
            content = mutated(original, rng)
            began = time.process_time()
            reason = outcome(content)
            slowest = max(slowest, time.process_time() - began)
            (refused if reason else pictures)[name] += 1
            assert "\n" not in reason
            assert len(reason) < 160
            assert not re.search("Error|Exception|Warning", reason)
            assert not any(part in reason.lower() for part in planted_name.lower().split("^")), reason
    assert slowest < 5
    # The mutations are neither all harmless nor all deadly.
    assert all(pictures.values()), pictures
    assert all(refused.values()), refused
    assert list(tmp_path.iterdir()) == []
    out, err = capfd.readouterr()  # libjpeg itself writes "Corrupt JPEG data: bad Huffman code" there
    assert out == ""
    assert all(line.startswith("Corrupt JPEG data: ") for line in err.splitlines()), err


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    return (
        head
        + (struct.pack("<HI", 0, len(value)) if vr in {b"OB", b"OW", b"SQ"} else struct.pack("<H", len(value)))
        + value
    )


def body_before_pixels(content: bytes) -> tuple[bytes, bytes]:
    at = content.index(b"\xe0\x7f\x10\x00")
    return content[:at], content[at:]


def hostile(originals, make_dicom) -> dict[str, tuple[bytes, str]]:
    """Each file and what the reason has to say."""
    flat = np.zeros((16, 16), np.uint8)
    plain = make_dicom(flat)
    head, pixels = body_before_pixels(plain)
    nest = b"\x09\x00\x15\x11SQ\0\0" + b"\xff" * 4 + ITEM + b"\xff" * 4
    meta_end = 144 + int.from_bytes(originals["deflated"][140:144], "little")
    deflated = zlib.compressobj(9, zlib.DEFLATED, -15)
    inner = zlib.decompress(originals["deflated"][meta_end:], -15)
    bomb = deflated.compress(inner) + deflated.compress(bytes(1 << 30)) + deflated.flush()
    huge = {"Rows": 65535, "Columns": 65535}
    long_table = element(0x00283000, b"SQ", (ITEM + struct.pack("<I", 8) + bytes(8)) * 400_000)
    tiny_items = element(0x00091010, b"OB", b"") * 3_000_000
    endless = b"\x09\x00\x10\x10UN\0\0" + b"\xff" * 4 + (ITEM + bytes(4)) * 3_000_000
    rle_head, _ = body_before_pixels(originals["RLE"])
    rle = struct.pack("<16I", 2, 64, 112, *[0] * 13) + b"\x81\x00" * 8_000_000
    idle = struct.pack("<16I", 2, 64, 112, *[0] * 13) + b"\x80" * 30_000_000

    def encapsulated(stream: bytes) -> bytes:
        opened = element(0x7FE00010, b"OB", b"")[:8] + b"\xff" * 4 + ITEM + bytes(4) + ITEM
        return opened + struct.pack("<I", len(stream)) + stream + SEQUENCE_END

    many = element(0x7FE00010, b"OB", b"")[:8] + b"\xff" * 4 + (ITEM + bytes(4)) * 3_000_000 + SEQUENCE_END
    explicit = element(0x7FE00010, b"OB", (ITEM + bytes(4)) * 3_000_000)
    return {
        "huge size": (make_dicom(flat, **huge), "at most"),
        "large size": (make_dicom(flat, Rows=8000, Columns=8000), "cannot be decoded"),
        "long element": (head + element(0x00091010, b"OB", b"")[:8] + b"\xf0\xff\xff\xff" + pixels, "no pixel data"),
        "pixels of 4 GB": (plain[:-260] + b"\xfe\xff\xff\xff" + plain[-256:], ""),
        "deep": (head + nest * 200_000 + pixels, "damaged|elements"),
        "endless items": (head + nest + (ITEM + bytes(4)) * 3_000_000 + pixels, "elements"),
        "endless unknown": (head + endless + pixels, "elements|damaged"),
        "tiny elements": (head + tiny_items + pixels, "elements"),
        "long table": (head + long_table + pixels, "a table of"),
        "deflate bomb": (originals["deflated"][:meta_end] + bomb, "unpacks to more than"),
        "many fragments": (rle_head + many, "elements|empty"),
        "fragments of defined length": (rle_head + explicit, "empty"),
        "run-length bomb": (rle_head + encapsulated(rle), ""),
        "run lengths of nothing": (rle_head + encapsulated(idle), "cut short"),
        "stream of another size": (
            originals["JPEG 2000"].replace(
                b"\xff\x51\x00\x29\x00\x00\x00\x00\x00\x40", b"\xff\x51\x00\x29\x00\x00\x00\x00\xff\xff"
            ),
            "the tags say",
        ),
        "a million tiles": (many_tiles(originals["JPEG 2000"]), "cut short"),
    }


def many_tiles(content: bytes) -> bytes:
    at = content.index(b"\xff\x4f\xff\x51") + 24
    return content[:at] + struct.pack(">II", 1, 1) + content[at + 8 :]


CHILD = """
    import json, sys, time
    from pathlib import Path
    import cv2, imagecodecs
    from hilum.dicom.reading import dicom_to_gray8, header_of, read_dicom
    from hilum.errors import HilumError

    def peak_mb():
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024

    before, outcomes = peak_mb(), []
    for path in sorted(Path(sys.argv[1]).iterdir()):
        began, reason = time.process_time(), ""
        try:
            dataset = read_dicom(path)
            header_of(dataset)
            dicom_to_gray8(dataset)
        except HilumError as error:
            reason = str(error)
        outcomes.append([reason, peak_mb() - before, time.process_time() - began])
    print(json.dumps(outcomes))
"""


def test_hostile_files_cost_neither_memory_nor_time(originals, make_dicom, tmp_path):
    files = hostile(originals, make_dicom)
    for number, (content, _) in enumerate(files.values()):
        (tmp_path / f"{number:02d}.dcm").write_bytes(content)
    limit = 2 << 30
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    outcomes = dict(zip(files, json.loads(result.stdout), strict=True))
    largest_mb = max(len(content) for content, _ in files.values()) / (1 << 20)
    for name, (reason, extra_mb, seconds) in outcomes.items():
        expected = files[name][1]
        assert seconds < 10, (name, reason)
        assert extra_mb < 100 + 3 * largest_mb, (name, reason)
        assert bool(reason) == bool(expected), (name, reason)
        assert any(part in reason for part in expected.split("|")), (name, reason)
