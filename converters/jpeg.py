"""Take a JPEG Baseline stream apart without decoding it (ISO/IEC 10918-1, Annex B)."""

import re
from collections.abc import Callable
from dataclasses import dataclass

_SOS, _DHT, _DQT, _DRI, _DAC = 0xDA, 0xC4, 0xDB, 0xDD, 0xCC
_APP0_JFIF, _APP14_ADOBE = 0xE0, 0xEE
_MOST_SEGMENTS = 1000  # a progressive picture has some fifty
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
        quantization_tables, huffman_tables: how many are defined. Tables that nothing uses could hold text.
    """

    data: bytes
    process: int
    bits: int
    components: int
    size_wh: tuple[int, int]
    quantization_tables: int = 0
    huffman_tables: int = 0

    @property
    def is_plain(self) -> bool:
        """Whether it is 8-bit grey Baseline, without a table to spare."""
        return (
            (self.process, self.bits, self.components) == (0, 8, 1)
            and self.quantization_tables == 1
            and self.huffman_tables <= 2  # DC and AC
        )


def parse_jpeg(content: bytes | memoryview) -> JpegStream:
    """Read a JPEG stream's frame header, and keep what a decoder needs of it: nothing else, for it can carry text.

    Raises:
        ValueError: not a JPEG stream, or cut short.
    """
    stream = memoryview(content)  # the entropy-coded data is copied once, into the result
    if bytes(stream[:2]) != b"\xff\xd8":
        raise ValueError("does not begin with a JPEG start-of-image marker")
    kept: list[bytes | memoryview] = [b"\xff\xd8"]
    frame: tuple[int, int, int, tuple[int, int]] | None = None
    at, scanned = 2, False
    quantization_tables = huffman_tables = 0
    for _ in range(_MOST_SEGMENTS):
        while bytes(stream[at : at + 2]) == b"\xff\xff":  # fill bytes before a marker (B.1.1.2)
            at += 1
        if frame is not None and scanned and bytes(stream[at : at + 2]) == b"\xff\xd9":
            break
        if at + 4 > len(stream) or stream[at] != 0xFF:
            raise ValueError("the JPEG stream is cut short or damaged")
        marker = stream[at + 1]
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        segment = bytes(stream[at : at + 2 + length])
        if length < 2 or len(segment) < 2 + length:
            raise ValueError("the JPEG stream is cut short or damaged")
        if marker in _SOF:
            if length < 8:
                raise ValueError("the JPEG frame header is damaged")
            height, width = int.from_bytes(segment[5:7], "big"), int.from_bytes(segment[7:9], "big")
            frame = (marker & 0x0F, segment[4], segment[9], (width, height))
        elif marker == _DQT:
            quantization_tables += _count_tables(segment, _quantization_table_length)
        elif marker == _DHT:
            huffman_tables += _count_tables(segment, _huffman_table_length)
        kept.append(_what_stays(marker, segment))
        at += 2 + length
        if marker == _SOS:
            end = _SCAN_END.search(stream, at)
            if end is None:
                raise ValueError("the JPEG stream is cut short, its end-of-image marker is missing")
            kept.append(stream[at : end.start()])
            at, scanned = end.start(), True
    else:
        raise ValueError("the JPEG stream has more segments than a picture needs")
    # What follows EOI is padding to an even length, or nothing that belongs to the picture: it goes.
    kept.append(b"\xff\xd9")
    process, bits, components, size_wh = frame
    return JpegStream(b"".join(kept), process, bits, components, size_wh, quantization_tables, huffman_tables)


def _what_stays(marker: int, segment: bytes) -> bytes:
    if marker in _SOF or marker in {_SOS, _DHT, _DQT, _DRI, _DAC}:
        return segment
    if marker == _APP0_JFIF and segment[4:9] == b"JFIF\x00" and len(segment) == 18:  # a longer one has a thumbnail
        return segment
    if marker == _APP14_ADOBE and segment[4:9] == b"Adobe" and len(segment) == 16:
        return (
            segment[:9] + b"\x00\x64\x00\x00\x00\x00" + segment[15:]
        )  # of its fields the colour transform alone counts
    return b""


def _count_tables(segment: bytes, length_at: Callable[[bytes, int], int]) -> int:
    at, tables = 4, 0
    while at < len(segment):
        at += length_at(segment, at)
        tables += 1
    if at != len(segment):
        raise ValueError("a table of the JPEG stream is damaged")
    return tables


def _quantization_table_length(segment: bytes, at: int) -> int:
    return 1 + 64 * (1 + (segment[at] >> 4))  # B.2.4.1: 64 entries of one or two bytes


def _huffman_table_length(segment: bytes, at: int) -> int:
    return 17 + sum(segment[at + 1 : at + 17])  # B.2.4.2: 16 counts, and as many values as they add up to
