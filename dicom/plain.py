"""Read the plain DICOM files that the challenge consists of without a full parse, which would cost more than the copy.

Plain is: a preamble, JPEG Baseline in explicit VR little endian, every element flat and in order, 8-bit grey, one
frame in encapsulated pixel data that ends where the file ends, shown as stored. Whatever differs in any way is no
error here: the answer is None, and the full parse decides (`hilum.dicom.reading`). Only the standard library is
imported, so that a worker process is up at once.
"""

from dataclasses import dataclass
from struct import Struct

from hilum.dicom.header import (
    COLUMNS,
    HEADER_TAGS,
    MAX_PIXELS,
    ROWS,
    Header,
    kept_as_stored,
    tag_against_radiograph,
)
from hilum.dicom.jpeg import JpegStream, parse_jpeg

_TRANSFER_SYNTAX, _PIXEL_DATA = 0x00020010, 0x7FE00010
_JPEG_BASELINE = b"1.2.840.10008.1.2.4.50"
_ITEM, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
_SHORT_LENGTH = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG_LENGTH = frozenset(b"OB OW UN UT UC UR".split())
_ELEMENT = Struct("<HH2sH")  # group, element, VR, length (PS3.5 7.1.2)
_LENGTH = Struct("<I")
_UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class PlainRadiograph:
    """A JPEG stream that can be kept as it is, and the tags beside it.

    Attributes:
        stream: 8-bit grey Baseline, comments and foreign segments dropped.
        header: the needed tags; `tags_of` tells which of them may leave the file.
    """

    stream: JpegStream
    header: Header


def read_plain(content: bytes) -> PlainRadiograph | None:
    """Read a DICOM file if it is plain; None where a full parse has to decide, or to say what is wrong.

    Args:
        content: the whole file.
    """
    if content[128:132] != b"DICM":
        return None
    header: dict[int, str] = {}
    syntax = b""
    at, last, size = 132, 0, len(content)
    while at + 12 <= size:
        group, element, vr, length = _ELEMENT.unpack_from(content, at)
        tag = group << 16 | element
        if tag <= last:
            return None
        last = tag
        if tag == _PIXEL_DATA:
            at += 12
            break
        if vr in _SHORT_LENGTH:
            at += 8
        elif vr in _LONG_LENGTH:
            length = _LENGTH.unpack_from(content, at + 8)[0]
            at += 12
        else:  # a sequence, a VR of a later standard, or no explicit VR
            return None
        if at + length > size:
            return None
        if tag in HEADER_TAGS:
            value = content[at : at + length]
            if vr in (b"US", b"SS"):
                if length != 2:
                    return None
                header[tag] = str(int.from_bytes(value, "little", signed=vr == b"SS"))
            else:
                header[tag] = value.decode("latin-1").strip(" \x00")
        elif tag == _TRANSFER_SYNTAX:
            syntax = content[at : at + length].rstrip(b"\x00 ")
        at += length
    else:
        return None
    if vr != b"OB" or syntax != _JPEG_BASELINE or _LENGTH.unpack_from(content, at - 4)[0] != _UNDEFINED:
        return None
    frame = _only_fragment(content, at)
    if frame is None or tag_against_radiograph(header) or not kept_as_stored(header):
        return None
    try:
        stream = parse_jpeg(frame)
    except ValueError:
        return None
    if not stream.is_plain:
        return None
    if stream.size_wh[0] * stream.size_wh[1] > MAX_PIXELS:
        return None
    if stream.size_wh != (_number(header, COLUMNS), _number(header, ROWS)):
        return None
    return PlainRadiograph(stream, header)


def _only_fragment(content: bytes, at: int) -> memoryview | None:
    """The frame of encapsulated pixel data in a single fragment (PS3.5 A.4): offset table, item, end, end of file.

    No copy: freeing several as large as the file makes the C library give memory back and fetch it anew, file by file.
    """
    for _ in range(2):
        if content[at : at + 4] != _ITEM:
            return None
        start = at + 8
        at = start + int.from_bytes(content[at + 4 : start], "little")
    if at + 8 != len(content) or content[at:] != _SEQUENCE_END:
        return None
    return memoryview(content)[start:at]


def _number(header: Header, tag: int) -> int:
    text = header.get(tag, "")
    return int(text) if text.isdecimal() else 0
