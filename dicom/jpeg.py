"""Take a JPEG stream apart without decoding it (ISO/IEC 10918-1, Annex B), and tell which streams can be kept.

A stream that is kept is copied into a dataset, so nothing in it may carry text. `JpegStream.is_plain` is the form that
the challenge's files have: every byte before the scan is then fixed, or a parameter that the decoder needs, or dropped.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_SOF0, _DHT, _EOI, _SOS, _DQT, _DRI, _DAC = 0xC0, 0xC4, 0xD9, 0xDA, 0xDB, 0xDD, 0xCC
_APP0_JFIF, _APP14_ADOBE = 0xE0, 0xEE
_APPLICATION = {_APP0_JFIF, _APP14_ADOBE}
_MOST_SEGMENTS = 1000  # a progressive picture has some fifty
# What ends entropy-coded data: any marker but a stuffed zero, a restart or a fill byte (B.1.1.2, B.1.1.5)
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_FILL = re.compile(rb"\xff+(?=\xff)")
_ANY_MARKER = re.compile(rb"\xff[^\x00]", re.DOTALL)
_SOF = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # C4 and CC are tables, C8 is reserved
_SEQUENTIAL = {0xC0, 0xC1}  # Huffman coding, all coefficients of a block together

# JFIF 1.01 without density and thumbnail; of Adobe's fields the colour transform alone counts.
_JFIF = bytes.fromhex("ffe000104a46494600010100000100010000")
_ADOBE = bytes.fromhex("ffee000e41646f6265006400000000")

# One component of 8 bits, Baseline: the frame header but its size, and the scan header (B.2.2, B.2.3).
_PLAIN_FRAME = re.compile(rb"\xff\xc0\x00\x0b\x08....\x01\x01\x11\x00", re.DOTALL)
_PLAIN_SCAN = bytes.fromhex("ffda0008010100003f00")
_PLAIN_MARKERS = {_APP0_JFIF, _APP14_ADOBE, _DQT, _SOF0, _DHT, _SOS}


def _standard_tables() -> frozenset[bytes]:
    """The luminance table K.1 in zigzag order, as libjpeg scales it for qualities 1 to 100; others could be text."""
    table = bytes.fromhex(
        "100b0c0e0c0a100e0d0e1211101318281a181616183123251d283a333d3c3933"
        "383740485c4e404457453738506d51575f626768673e4d71797064785c656763"
    )
    scales = [5000 // quality if quality < 50 else 200 - 2 * quality for quality in range(1, 101)]
    return frozenset(bytes(min(255, max(1, (entry * scale + 50) // 100)) for entry in table) for scale in scales)


_QUANTIZATION = frozenset(b"\xff\xdb\x00\x43\x00" + table for table in _standard_tables())


@dataclass(frozen=True)
class JpegStream:
    """What the frame header says, and the stream without what can carry text.

    Attributes:
        data: from SOI to EOI, the entropy-coded bytes untouched; of the application segments only JFIF and Adobe.
        process: 0 baseline, 1 extended, 2 progressive, 3 lossless (the low digit of the SOF marker).
        bits: sample precision.
        components: 1 is grey.
        size_wh: pixels.
        is_plain: whether it is one 8-bit grey Baseline frame in the form of the challenge's files: a quantization table
            of libjpeg's, the two Huffman tables that it needs, one scan, no restart markers, nothing else. Behind the
            last block of the scan there can still be bytes (`hilum.dicom.jpeg_surplus`).
    """

    data: bytes
    process: int
    bits: int
    components: int
    size_wh: tuple[int, int]
    is_plain: bool = False


def parse_jpeg(content: bytes | memoryview) -> JpegStream:
    """Read a JPEG stream's frame header, and keep what a decoder needs of it: nothing else, for it can carry text.

    Raises:
        ValueError: not a JPEG stream, or cut short.
    """
    stream = memoryview(content)  # the entropy-coded data is copied once, into the result
    if bytes(stream[:2]) != b"\xff\xd8":
        raise ValueError("does not begin with a JPEG start-of-image marker")
    segments: list[bytes] = []
    kept: list[bytes | memoryview] = [b"\xff\xd8"]
    frame = b""
    at, scanned, whole_scans = 2, 0, True
    for _ in range(_MOST_SEGMENTS):
        if filled := _FILL.match(stream, at):  # bytes before a marker (B.1.1.2)
            at = filled.end()
        if frame and scanned and bytes(stream[at : at + 2]) == b"\xff\xd9":
            break
        if at + 4 > len(stream) or stream[at] != 0xFF:
            raise ValueError("the JPEG stream is cut short or damaged")
        marker = stream[at + 1]
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        segment = bytes(stream[at : at + 2 + length])
        if length < 2 or len(segment) < 2 + length:
            raise ValueError("the JPEG stream is cut short or damaged")
        at += 2 + length
        if marker in _SOF:
            if length < 8 or frame:
                raise ValueError("the JPEG frame header is damaged")
            frame = segment
        segment = _what_stays(marker, segment)
        if segment and not (marker in _APPLICATION and segment in segments):
            segments.append(segment)
            kept.append(segment)
        if marker == _SOS:
            end, is_whole = _end_of_scan(stream, at)
            kept.append(stream[at:end])
            scanned, whole_scans = scanned + end - at, whole_scans and is_whole
            at = end
    else:
        raise ValueError("the JPEG stream has more segments than a picture needs")
    # What follows EOI is padding to an even length, or nothing that belongs to the picture: it goes.
    kept.append(b"\xff\xd9")
    height, width = int.from_bytes(frame[5:7], "big"), int.from_bytes(frame[7:9], "big")
    if frame[1] in _SEQUENTIAL and 4 * scanned < -(-width // 8) * -(-height // 8):  # at least two bits a block
        raise ValueError(f"the JPEG stream is cut short: {scanned} bytes for {width} x {height} px")
    is_plain = whole_scans and _is_plain(segments)
    return JpegStream(b"".join(kept), frame[1] & 0x0F, frame[4], frame[9], (width, height), is_plain)


def _end_of_scan(stream: memoryview, at: int) -> tuple[int, bool]:
    """Where the entropy-coded data end that begin at `at`, and whether they are in one piece, without restarts."""
    first = _ANY_MARKER.search(stream, at)
    end = first and _SCAN_END.search(stream, first.start())
    if first is None or end is None:
        raise ValueError("the JPEG stream is cut short, its end-of-image marker is missing")
    return end.start(), first.start() == end.start()


def _what_stays(marker: int, segment: bytes) -> bytes:
    if marker == _DQT:
        _check_tables(segment, _quantization_table_length)
    elif marker == _DHT:
        _check_tables(segment, _huffman_table_length)
    if marker in _SOF or marker in {_SOS, _DHT, _DQT, _DRI, _DAC}:
        return segment
    if marker == _APP0_JFIF and segment[4:9] == b"JFIF\x00" and len(segment) == 18:  # a longer one has a thumbnail
        return _JFIF
    if marker == _APP14_ADOBE and segment[4:9] == b"Adobe" and len(segment) == 16:
        return _ADOBE + bytes([min(segment[15], 2)])
    return b""


def _is_plain(segments: Sequence[bytes]) -> bool:
    """Whether these are all that a stream in the form of the challenge's files has before its scan, and behind it."""
    by_marker: dict[int, list[bytes]] = {}
    for segment in segments:
        by_marker.setdefault(segment[1], []).append(segment)
    frames, tables = by_marker.get(_SOF0, []), by_marker.get(_DQT, [])
    return (
        by_marker.keys() <= _PLAIN_MARKERS
        and len(by_marker.get(_APP14_ADOBE, [])) <= 1
        and len(frames) == len(tables) == 1
        and _PLAIN_FRAME.fullmatch(frames[0]) is not None
        and tables[0] in _QUANTIZATION
        and by_marker.get(_SOS) == [_PLAIN_SCAN]
        and segments[-1] is by_marker[_SOS][0]  # tables behind the scan serve nothing
        and _are_plain_huffman_tables(b"".join(segment[4:] for segment in by_marker.get(_DHT, [])))
    )


def _are_plain_huffman_tables(tables: bytes) -> bool:
    """Whether these are one table for DC and one for AC, both numbered 0, of codes and symbols that can occur."""
    numbers = []
    at = 0
    while at < len(tables):
        counts = tables[at + 1 : at + 17]
        symbols = tables[at + 17 : at + 17 + sum(counts)]
        code = 0
        for length, count in enumerate(counts, start=1):
            code = (code << 1) + count
            if code >= 1 << length:  # codes run out; the one of ones alone is never used (Annex C)
                return False
        is_dc = tables[at] == 0
        if not symbols or len(set(symbols)) < len(symbols) or not _SYMBOLS[is_dc].issuperset(symbols):
            return False
        numbers.append(tables[at])
        at += 17 + len(symbols)
    return sorted(numbers) == [0x00, 0x10]


# F.1.2.1.2: the size of a difference; F.1.2.2.1: a run of zeros before a coefficient's size, end of block, 16 zeros
_SYMBOLS = {
    True: frozenset(range(12)),
    False: frozenset([0x00, 0xF0, *(run << 4 | size for run in range(16) for size in range(1, 11))]),
}


def _check_tables(segment: bytes, length_at: Callable[[bytes, int], int]) -> None:
    at = 4
    while at < len(segment):
        at += length_at(segment, at)
    if at != len(segment):
        raise ValueError("a table of the JPEG stream is damaged")


def _quantization_table_length(segment: bytes, at: int) -> int:
    return 1 + 64 * (1 + (segment[at] >> 4))  # B.2.4.1: 64 entries of one or two bytes


def _huffman_table_length(segment: bytes, at: int) -> int:
    return 17 + sum(segment[at + 1 : at + 17])  # B.2.4.2: 16 counts, and as many values as they add up to
