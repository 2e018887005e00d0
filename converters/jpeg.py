"""Take a JPEG Baseline stream apart without decoding it (ISO/IEC 10918-1, Annex B)."""

import re
from dataclasses import dataclass

_SOS, _COM = 0xDA, 0xFE
_APP0_JFIF, _APP14_ADOBE = 0xE0, 0xEE
# What ends entropy-coded data: any marker but a stuffed zero, a restart or a fill byte (B.1.1.2, B.1.1.5)
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_SOF = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # C4 and CC are tables, C8 is reserved


@dataclass(frozen=True)
class JpegStream:
    """What the frame header says, and the stream without what can carry text.

    Attributes:
        data: from SOI to EOI, the entropy-coded bytes untouched; of the application segments only JFIF and Adobe.
        process: 0 baseline, 1 extended, 2 progressive, 3 lossless (the low digit of the SOF marker).
        bits: sample precision.
        components: 1 is grey.
        size_wh: pixels.
    """

    data: bytes
    process: int
    bits: int
    components: int
    size_wh: tuple[int, int]


def parse_jpeg(stream: bytes) -> JpegStream:
    """Read a JPEG stream's frame header and drop comments and foreign application segments, which can carry text.

    Raises:
        ValueError: not a JPEG stream, or cut short.
    """
    if stream[:2] != b"\xff\xd8":
        raise ValueError("does not begin with a JPEG start-of-image marker")
    kept = [b"\xff\xd8"]
    frame: tuple[int, int, int, tuple[int, int]] | None = None
    at, scanned = 2, False
    while True:
        while stream[at : at + 2] == b"\xff\xff":  # fill bytes before a marker (B.1.1.2)
            at += 1
        if frame is not None and scanned and stream[at : at + 2] == b"\xff\xd9":
            break
        if at + 4 > len(stream) or stream[at] != 0xFF:
            raise ValueError("the JPEG stream is cut short or damaged")
        marker = stream[at + 1]
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        segment = stream[at : at + 2 + length]
        if length < 2 or len(segment) < 2 + length:
            raise ValueError("the JPEG stream is cut short or damaged")
        if marker in _SOF:
            if length < 8:
                raise ValueError("the JPEG frame header is damaged")
            height, width = int.from_bytes(segment[5:7], "big"), int.from_bytes(segment[7:9], "big")
            frame = (marker & 0x0F, segment[4], segment[9], (width, height))
        if _may_stay(marker, segment):
            kept.append(segment)
        at += 2 + length
        if marker == _SOS:
            end = _SCAN_END.search(stream, at)
            if end is None:
                raise ValueError("the JPEG stream is cut short, its end-of-image marker is missing")
            kept.append(stream[at : end.start()])
            at, scanned = end.start(), True
    # What follows EOI is padding to an even length, or nothing that belongs to the picture: it goes.
    kept.append(b"\xff\xd9")
    process, bits, components, size_wh = frame
    return JpegStream(b"".join(kept), process, bits, components, size_wh)


def _may_stay(marker: int, segment: bytes) -> bool:
    if marker == _COM:
        return False
    if 0xE0 <= marker <= 0xEF:
        # Longer ones carry a thumbnail, or something else.
        jfif = marker == _APP0_JFIF and segment[4:9] == b"JFIF\x00" and len(segment) == 18
        adobe = marker == _APP14_ADOBE and segment[4:9] == b"Adobe" and len(segment) == 16
        return jfif or adobe
    return True
