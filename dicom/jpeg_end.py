"""Tell a JPEG stream whose entropy-coded data ends before the picture does, though its end-of-image marker is there.

Decoders fill up what is missing with grey and return it as a good picture. Nothing in the stream says how many bytes a
picture takes, so a decoder is asked: bytes put before the end-of-image marker change the picture if it is not whole
yet, and are passed over if it is.
"""

import hashlib
import io
import re
from collections import Counter, defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.dicom.jpeg import JpegStream

_SOF, _SOS = range(0xC0, 0xC3), 0xDA
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_PROGRESSIVE = 2
_FILLING, _NEAR = 128, 2  # where no data is left, libjpeg's coefficients are zero, which is this grey
_MORE = bytes((37 * at + 11) % 255 for at in range(256))  # no 0xFF, which would be a marker
# Behind restart markers too: data that ends where one is due goes on with one.
_TAIL = _MORE + b"".join(bytes([0xFF, 0xD0 + at % 8]) + _MORE for at in range(16))


def ends_early(stream: JpegStream, pixels: NDArray[Any]) -> bool:
    """Whether a decoded picture is filled up, in part, with what the decoder made up.

    Args:
        stream: 8 bits; baseline, extended or progressive.
        pixels: (H, W) or (H, W, 3) as a decoder gave them.

    Returns:
        False also where nothing but a part of the last block of a grey picture is missing.
    """
    if stream.process != _PROGRESSIVE and stream.components == 1:
        # In its one scan all blocks behind the end of the data are filled up, and the one in which it lies is not.
        height, width = pixels.shape[:2]
        last_block = pixels[(height - 1) // 8 * 8 :, (width - 1) // 8 * 8 :].astype(int)
        if np.abs(last_block - _FILLING).max() > _NEAR:
            return False
    return not _has_all_scans(stream) or _goes_on(stream.data)


def scan_count(stream: JpegStream) -> int:
    """How many scans there are; a decoder goes over the whole picture for each of a progressive one."""
    return len(_scans(stream.data)[1])


def _has_all_scans(stream: JpegStream) -> bool:
    """Whether every component is there, and of a progressive picture every coefficient to its last bit (G.1.1.1)."""
    components, scans = _scans(stream.data)
    last_bits: dict[int, Counter[int]] = defaultdict(Counter)
    for members, first, last, low_bit in scans:
        for component in members:
            if low_bit == 0:
                last_bits[component].update(range(first, last + 1))
    coefficients = 64 if stream.process == _PROGRESSIVE else 1
    return all(len(last_bits[component].keys() & set(range(coefficients))) == coefficients for component in components)


def _scans(data: bytes) -> tuple[list[int], list[tuple[list[int], int, int, int]]]:
    """The components of the frame, and of each scan its components, first and last coefficient, and lowest bit."""
    components: list[int] = []
    scans: list[tuple[list[int], int, int, int]] = []
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at + 4 : at + 2 + length]
        at += 2 + length
        if marker in _SOF:
            components = list(segment[6::3])
        elif marker == _SOS and len(segment) >= 4:
            first, last, bits = segment[-3:]
            scans.append((list(segment[1:-3:2]), first, min(last, 63), bits & 0x0F))
            end = _SCAN_END.search(data, at)
            at = end.start() if end else len(data)
    return components, scans


def _goes_on(data: bytes) -> bool:
    """Whether bytes behind the entropy-coded data still change the picture."""
    from PIL.JpegImagePlugin import JpegImageFile  # OpenCV would print a line on the bytes that are too many

    digests = set()
    for stream in (data, data[:-2] + _TAIL + data[-2:]):
        try:
            with JpegImageFile(io.BytesIO(stream)) as image:
                digests.add(hashlib.sha256(np.ascontiguousarray(image).data).digest())
        except OSError:
            return True
    return len(digests) > 1
