"""Decode the one frame of a DICOM file into bit patterns (PS3.5 Annex A), refusing before anything large is allocated.

What a file declares is believed only as far as its bytes bear it out: sizes are compared with the data's length, and
with the size inside a compressed stream, before a decoder sees it. The decoders were chosen by running them on
thousands of damaged streams: libjpeg-turbo, CharLS and OpenJPEG stand it, the usual small lossless JPEG decoders crash.
"""

import re
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import UID

from hilum.dicom.header import BITS_STORED, COLUMNS, FRAMES, MAX_PIXELS, PHOTOMETRIC, ROWS, SAMPLES, Header
from hilum.dicom.jpeg import JpegStream, parse_jpeg
from hilum.dicom.jpeg_end import ends_early
from hilum.dicom.rendering import Stored
from hilum.errors import HilumError

_BITS_ALLOCATED, _HIGH_BIT, _SIGNED, _PLANAR = 0x00280100, 0x00280102, 0x00280103, 0x00280006
_BIG_ENDIAN, _RLE = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5"
_NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", _BIG_ENDIAN}
_JPEG = {f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70)}
_JPEG_LS = {"1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"}
_JPEG_2000 = {f"1.2.840.10008.1.2.4.{number}" for number in (90, 91, 201, 202, 203)}  # the last three: high-throughput

_MONOCHROME = {"MONOCHROME1", "MONOCHROME2"}
_COLOUR_SPACES = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT"}

_MAX_FRAGMENTS = 1 << 16
_MOST_IDLE = 1 << 12  # bytes of a run-length stream that say nothing
# Radiographs take more than a bit a pixel. A small stream that unpacks to a huge picture is no radiograph.
_PIXELS_OF_ANY_STREAM, _PIXELS_A_BYTE = 1 << 22, 500
_COLOUR = "a colour picture; a grey radiograph is expected"
_CUT_SHORT = "its pixel data cannot be decoded: cut short or damaged"
_RGB_TOLERANCE = 8  # of 255: JPEG and RGB of a grey picture differ by rounding


@dataclass(frozen=True)
class PixelFormat:
    """What the tags say of the pixel data, checked (PS3.3 C.7.6.3.1)."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    planar: bool
    photometric: str


def integer(header: Header, tag: int, default: int | None = None) -> int:
    """A tag as a number that is not negative.

    Raises:
        HilumError: it is none, or missing without a `default`.
    """
    text = header.get(tag, "").split("\\")[0]
    if not text and default is not None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise HilumError(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is missing or no number")
    return int(text)


def pixel_format(header: Header) -> PixelFormat:
    """Check what the tags say of the pixel data.

    Raises:
        HilumError: not one grey picture of 1 to 16 bits, or a size that cannot be.
    """
    frames = integer(header, FRAMES, 1)
    if frames > 1:
        raise HilumError(f"{frames} frames; one picture a file is expected")
    photometric = header.get(PHOTOMETRIC, "")
    if photometric == "PALETTE COLOR":  # its values are numbers of colours
        raise HilumError(_COLOUR)
    samples = integer(header, SAMPLES, 1)
    if photometric not in _MONOCHROME | _COLOUR_SPACES:
        raise HilumError("the photometric interpretation (0028,0004) is missing or not known: are bones white?")
    if samples not in {1, 3}:
        raise HilumError(f"{samples} samples a pixel; 1, or 3 of a grey picture, are expected")
    rows, columns = integer(header, ROWS), integer(header, COLUMNS)
    if rows * columns == 0:
        raise HilumError(f"a picture of {columns} x {rows} px")
    if rows * columns > MAX_PIXELS:
        raise HilumError(f"{columns} x {rows} px; at most {MAX_PIXELS} pixels are read")
    allocated = integer(header, _BITS_ALLOCATED)
    stored = integer(header, BITS_STORED, allocated)
    high = integer(header, _HIGH_BIT, stored - 1)
    if allocated not in {8, 16}:
        raise HilumError("8 or 16 bits a sample are expected to be allocated (0028,0100), it says another number")
    if not 1 <= stored <= allocated:
        raise HilumError("no bits, or more bits, are stored (0028,0101) than allocated (0028,0100)")
    if not stored - 1 <= high < allocated:  # wrong where the rest is sound: written by hand
        high = stored - 1
    signed, planar = integer(header, _SIGNED, 0) == 1, integer(header, _PLANAR, 0) == 1
    return PixelFormat(rows, columns, samples, allocated, stored, high, signed, planar, photometric)


def stored_values(pixel_data: bytes, syntax: str, pixels: PixelFormat, *, in_words: bool = False) -> Stored:
    """Decode Pixel Data (7FE0,0010).

    Args:
        pixel_data: the value of the element.
        syntax: UID of the transfer syntax.
        pixels: what the tags say.
        in_words: whether its VR is OW. Big endian then turns round the two bytes of a word, also where each is a
            value of its own (PS3.5 8.1.1).

    Raises:
        HilumError: colour, a size that is not the declared one, damaged data, or a codec that is not installed.
    """
    if syntax in _NATIVE:
        if syntax == _BIG_ENDIAN and in_words and pixels.bits_allocated == 8:
            pixel_data = np.frombuffer(pixel_data[: len(pixel_data) // 2 * 2], ">u2").astype("<u2").tobytes()
        return _masked(_to_gray(_native(pixel_data, syntax == _BIG_ENDIAN, pixels), pixels), pixels)
    if syntax == _RLE:
        return _masked(_to_gray(_rle(_frame(pixel_data), pixels), pixels), pixels)
    if syntax in _JPEG:
        values = _decode_jpeg(jpeg_stream(pixel_data, pixels.columns, pixels.rows))
    elif syntax in _JPEG_LS:
        values = _decode_jpeg_ls(_frame(pixel_data), pixels)
    elif syntax in _JPEG_2000:
        values = _decode_jpeg_2000(_frame(pixel_data), pixels)
    else:
        raise HilumError(f"its transfer syntax (0002,0010) is not supported: {_named(syntax)}")
    if values.shape[:2] != (pixels.rows, pixels.columns):
        raise HilumError(_CUT_SHORT)
    return _of_codec(_to_gray(values, pixels, is_ybr=False), pixels)


def _named(syntax: str) -> str:
    """A UID with its name in the standard; digits and dots alone, for nobody checked what stands in the file."""
    if not re.fullmatch(r"[0-9.]{1,64}", syntax):
        return "it is no UID"
    name = UID(syntax).name
    return syntax if name == syntax else f"{syntax}, {name}"


def jpeg_stream(pixel_data: bytes, columns: int, rows: int) -> JpegStream:
    """The JPEG stream of the only frame.

    Raises:
        HilumError: cut short, damaged, of another size than the tags say, or of a kind that DICOM does not have.
    """
    try:
        stream = parse_jpeg(_frame(pixel_data))
    except ValueError as error:
        raise HilumError(str(error)) from error
    _check_size(stream.size_wh, (columns, rows), len(stream.data), "JPEG")
    if stream.process not in {0, 1, 3}:
        raise HilumError("the JPEG inside is neither baseline, extended nor lossless")
    return stream


def _native(pixel_data: bytes, big_endian: bool, pixels: PixelFormat) -> NDArray[Any]:
    """(rows, columns) or (rows, columns, 3)."""
    subsampled = pixels.samples == 3 and pixels.photometric == "YBR_FULL_422"
    shape = (pixels.rows, pixels.columns, 2 if subsampled else pixels.samples)
    dtype = np.dtype(f"{'>' if big_endian else '<'}u{pixels.bits_allocated // 8}")
    count = shape[0] * shape[1] * shape[2]
    if len(pixel_data) < count * dtype.itemsize:
        raise HilumError(f"{_CUT_SHORT}, {len(pixel_data)} bytes of {count * dtype.itemsize}")
    if len(pixel_data) - count * dtype.itemsize > count * dtype.itemsize // pixels.rows:  # up to a row is padding
        raise HilumError(
            f"its pixel data has {len(pixel_data)} bytes, and the tags say {pixels.columns} x {pixels.rows} px of "
            f"{count * dtype.itemsize}: several pictures, or one of another size"
        )
    values = np.frombuffer(pixel_data, dtype, count)
    if subsampled:  # Y Y Cb Cr (PS3.3 C.7.6.3.1.2)
        if pixels.columns % 2:
            raise HilumError(_CUT_SHORT)
        quads = values.reshape(pixels.rows, -1, 4)
        chroma = np.repeat(quads[:, :, 2:], 2, axis=1)
        return np.dstack([quads[:, :, :2].reshape(pixels.rows, pixels.columns), chroma])
    if pixels.samples == 1:
        return values.reshape(shape[:2])
    return np.moveaxis(values.reshape(3, *shape[:2]), 0, 2) if pixels.planar else values.reshape(shape)


def _frame(pixel_data: bytes) -> bytes:
    """The fragments of the only frame, joined (PS3.5 A.4); the first item is the offset table."""
    fragments: list[bytes] = []
    at = 0
    while at + 8 <= len(pixel_data) and len(fragments) <= _MAX_FRAGMENTS:
        group, element, length = struct.unpack_from("<HHI", pixel_data, at)
        if (group, element) != (0xFFFE, 0xE000):  # the delimiter, or what stands in its place
            break
        at += 8 + length
        if at > len(pixel_data):
            raise HilumError("its encapsulated pixel data is empty or cut short")
        fragments.append(pixel_data[at - length : at])
    if len(fragments) < 2 or len(fragments) > _MAX_FRAGMENTS:
        raise HilumError("its encapsulated pixel data is empty or cut short")
    return b"".join(fragments[1:])


def _check_size(found_wh: tuple[int, int], told_wh: tuple[int, int], length: int, what: str) -> None:
    if found_wh != told_wh:
        inside, tags = (f"{width} x {height}" for width, height in (found_wh, told_wh))
        raise HilumError(f"the {what} inside is {inside} px, the tags say {tags}")
    check_plausible(told_wh, length)


def check_plausible(size_wh: tuple[int, int], length: int) -> None:
    if size_wh[0] * size_wh[1] > max(_PIXELS_OF_ANY_STREAM, _PIXELS_A_BYTE * length):
        raise HilumError(f"{size_wh[0]} x {size_wh[1]} px in {length} bytes: no radiograph, or a damaged one")


def _decode_jpeg(stream: JpegStream) -> NDArray[Any]:
    if stream.bits == 8 and stream.process != 3:
        data = np.frombuffer(stream.data, np.uint8)
        decoded = cv2.imdecode(data, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
        if decoded is None:
            raise HilumError("the JPEG inside cannot be decoded")
        if ends_early(stream, decoded):
            raise HilumError(_CUT_SHORT)
        return np.asarray(decoded)
    return np.asarray(_codecs().jpeg8_decode(stream.data))


def _decode_jpeg_ls(stream: bytes, pixels: PixelFormat) -> NDArray[Any]:
    """ISO/IEC 14495-1, Annex C: the frame header is SOF55; before it only segments with a length may come.

    CharLS takes seconds to see that a stream has no end-of-image marker, which cannot occur within coded data.
    """
    stream = stream[: stream.rfind(b"\xff\xd9") + 2]
    at = 2
    while stream[at : at + 1] == b"\xff" and stream[at + 1 : at + 2] not in {b"\xf7", b"\xda", b"\xd9"}:
        at += 2 + max(2, int.from_bytes(stream[at + 2 : at + 4], "big"))
    if stream[:2] != b"\xff\xd8" or stream[at : at + 2] != b"\xff\xf7" or at + 10 > len(stream):
        raise HilumError("the JPEG-LS stream is cut short or damaged")
    height, width = struct.unpack_from(">HH", stream, at + 5)
    _check_size((width, height), (pixels.columns, pixels.rows), len(stream), "JPEG-LS")
    values: NDArray[Any] = np.asarray(_codecs().jpegls_decode(stream))
    if values.ndim == 3 and values.shape[0] == 3 and values.shape[2] != 3:  # one scan for each component
        return np.moveaxis(values, 0, 2)
    return values


def _decode_jpeg_2000(stream: bytes, pixels: PixelFormat) -> NDArray[Any]:
    """ISO/IEC 15444-1, A.5.1: SIZ comes first; DICOM has the bare codestream, what wraps it is dropped."""
    start = stream.find(b"\xff\x4f\xff\x51")
    if start < 0 or start + 42 > len(stream):
        raise HilumError("the JPEG 2000 stream is cut short or damaged")
    stream = stream[start:]
    right, bottom, left, top, tile_w, tile_h, tile_x, tile_y, components = struct.unpack_from(">8IH", stream, 8)
    _check_size((right - left, bottom - top), (pixels.columns, pixels.rows), len(stream), "JPEG 2000")
    sampling = {stream[43 + 3 * number : 45 + 3 * number] for number in range(components)}
    if components not in {1, 3} or sampling != {b"\1\1"} or tile_w * tile_h == 0:
        raise HilumError(f"a JPEG 2000 stream of {components} components; one picture, not reduced, is expected")
    tiles = -(-(right - tile_x) // tile_w) * -(-(bottom - tile_y) // tile_h)
    if not 0 < tiles <= len(stream) // 14:  # the shortest tile: a header of 12 bytes and a start of data of 2
        raise HilumError("the JPEG 2000 stream is cut short or damaged")
    return np.asarray(_codecs().jpeg2k_decode(stream))


def _codecs() -> Any:
    try:
        import imagecodecs
    except ImportError as error:
        raise HilumError('its compression needs a codec: pip install "hilum[codecs]"') from error
    return imagecodecs


def _rle(frame: bytes, pixels: PixelFormat) -> NDArray[Any]:
    """PS3.5 Annex G: a header of 16 numbers, then one PackBits stream for each byte of each sample."""
    planes = pixels.samples * (pixels.bits_allocated // 8)
    size = pixels.rows * pixels.columns
    if len(frame) < 64 or struct.unpack_from("<I", frame)[0] != planes:
        raise HilumError(_CUT_SHORT)
    check_plausible((pixels.columns, pixels.rows), len(frame))
    starts = [*struct.unpack_from(f"<{planes}I", frame, 4), len(frame)]
    if starts != sorted(starts) or starts[0] < 64:
        raise HilumError(_CUT_SHORT)
    parts = [_unpack_bits(frame[a:b], size) for a, b in pairwise(starts)]
    samples = np.stack(parts).reshape(pixels.samples, -1, pixels.rows, pixels.columns)
    values = samples[:, 0] if pixels.bits_allocated == 8 else samples[:, 0].astype(np.uint16) << 8 | samples[:, 1]
    return np.asarray(values[0] if pixels.samples == 1 else np.moveaxis(values, 0, 2))


def _unpack_bits(packed: bytes, size: int) -> NDArray[np.uint8]:
    """Expand one segment (PS3.5 G.3.2) to `size` bytes and no further."""
    out = bytearray()
    at, end, idle = 0, len(packed), 0
    while at < end and len(out) < size and idle <= _MOST_IDLE:
        count = packed[at]
        if count < 128:
            out += packed[at + 1 : at + 2 + count]
            at += 2 + count
        elif count > 128:
            out += packed[at + 1 : at + 2] * (257 - count)
            at += 2
        else:
            at, idle = at + 1, idle + 1
    if len(out) < size:
        raise HilumError(_CUT_SHORT)
    return np.frombuffer(bytes(out[:size]), np.uint8)


def _masked(values: NDArray[Any], pixels: PixelFormat) -> Stored:
    """The bits between High Bit and the lowest stored one; older files have overlays in the rest (PS3.5 8.1.1)."""
    bits, shift = pixels.bits_stored, pixels.high_bit + 1 - pixels.bits_stored
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if bits < pixels.bits_allocated:
        values = values >> shift & np.asarray((1 << bits) - 1, values.dtype)
    return Stored(values, bits, pixels.signed, bits, pixels.photometric in _MONOCHROME)


def _of_codec(values: NDArray[Any], pixels: PixelFormat) -> Stored:
    """Codecs return numbers, which may overshoot Bits Stored a little, or bit patterns of signed ones."""
    if values.dtype.kind not in "ui" or values.dtype.itemsize > 2:
        raise HilumError("the pixel data inside has more than 16 bits")
    is_gray = pixels.photometric in _MONOCHROME
    bits = 8 * values.dtype.itemsize
    patterns = np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")
    if values.dtype.kind == "i":
        return Stored(patterns, bits, True, pixels.bits_stored, is_gray)
    if pixels.signed and pixels.bits_stored < bits:
        patterns = patterns & np.asarray((1 << pixels.bits_stored) - 1, patterns.dtype)
        bits = pixels.bits_stored
    return Stored(patterns, bits, pixels.signed, min(bits, pixels.bits_stored), is_gray)


def _to_gray(values: NDArray[Any], pixels: PixelFormat, *, is_ybr: bool | None = None) -> NDArray[Any]:
    """(rows, columns) of a picture whose channels agree; decoders have turned YBR into RGB."""
    if values.ndim == 2:
        return values
    if values.ndim != 3 or values.shape[2] != 3:
        raise HilumError(f"pixel data of shape {values.shape}; (rows, columns) is expected")
    tolerance = _RGB_TOLERANCE << max(0, pixels.bits_stored - 8)
    if pixels.photometric.startswith("YBR") if is_ybr is None else is_ybr:
        middle = 1 << (pixels.bits_stored - 1)
        colourless = max(int(values[:, :, 1:].max()) - middle, middle - int(values[:, :, 1:].min())) <= tolerance
        gray = values[:, :, 0]
    else:
        colourless = int((values.max(axis=2) - values.min(axis=2)).max()) <= tolerance
        gray = values[:, :, 1]
    if not colourless:
        raise HilumError(_COLOUR)
    return np.ascontiguousarray(gray)
