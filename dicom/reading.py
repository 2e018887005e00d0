"""Read a DICOM radiograph: the header that is needed of it, and its picture as grey with white bones.

Only the tags of `hilum.dicom.header` are ever read out. Messages name tags and problems, never a value that could
be text. Whatever pydicom and the codecs raise on damaged input becomes one line; what a hostile file could make them
spend is bounded before they see it.
"""

import logging
import warnings
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from copy import deepcopy
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from hilum.dicom.display import display_of
from hilum.dicom.header import (
    COLUMNS,
    HEADER_TAGS,
    MODALITY,
    MODALITY_LUT,
    ROWS,
    SOP_CLASS,
    VOI_LUT,
    Header,
    kept_as_stored,
    tag_against_radiograph,
    width_over_height,
)
from hilum.dicom.jpeg import JpegStream
from hilum.dicom.pixel_data import integer, jpeg_stream, pixel_format, stored_values
from hilum.dicom.rendering import Display, Rendered, Stored, Window, render, window_without_view, with_square_pixels
from hilum.errors import NO_MEMORY, HilumError, PassingError
from hilum.files import open_regular, read_regular

_PIXEL_DATA, _TRANSFER_SYNTAX = 0x7FE00010, 0x00020010
_NUMBERS = frozenset(  # US or SS
    {0x00280002, 0x00280006, 0x00280010, 0x00280011, *range(0x00280100, 0x00280104), 0x00280120, 0x00280121}
)
_UNDEFINED = 0xFFFFFFFF  # length of an element that a delimiter ends
_UID_ROOT = "1.2.840.10008."  # of every UID that DICOM itself gives (PS3.6)
_DEFLATED = b"1.2.840.10008.1.2.1.99"

MAX_BYTES = 1 << 29  # of a file, and of what a deflated one unpacks to
_MAX_READS = 200_000  # a radiograph has some hundred elements, an enhanced multi-frame object some ten thousand
_MAX_START = 1 << 22  # bytes in which `read_start` finds what it looks for
_SMALL, _TIMES = 1 << 26, 20  # a deflated radiograph unpacks to two or three times its size
_CUT_OR_DAMAGED = "a damaged or cut short DICOM file"
_UNDECODED = "its pixel data cannot be decoded"


class _BoundedReader(BytesIO):
    """Stops a parser that millions of tiny or endlessly nested elements would keep busy."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > _MAX_READS:
            raise HilumError("a DICOM file of far more elements than a radiograph has")
        return super().read(size)


def quiet_pydicom() -> None:
    """Hold back pydicom's warnings and log lines: they quote values, which can be names. RSNA's files cause some."""
    warnings.filterwarnings("ignore", module="pydicom")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)


@contextmanager
def _as_reason(what: str) -> Iterator[None]:
    """Turn whatever pydicom and the codecs raise on damaged input into a reason without any value in it."""
    try:
        yield
    except HilumError:
        raise
    except MemoryError as error:
        raise PassingError(NO_MEMORY) from error
    except Exception as error:
        raise HilumError(what) from error


def read_dicom(source: Path | bytes, more_tags: Collection[int] = ()) -> pydicom.Dataset:
    """Parse a DICOM file that should hold one radiograph.

    Args:
        source: the file, or its whole content.
        more_tags: what is wanted besides: `hilum.findings.source` returns a result to the patient it is of.

    Returns:
        The elements of `HEADER_TAGS`, those asked for and the pixel data, nothing else.

    Raises:
        HilumError: not a DICOM file, cut short, too large, or without a picture. The message is the reason alone.
    """
    content = source if isinstance(source, bytes) else _bytes_of(source)
    if not content:
        raise HilumError("the file is empty")
    if len(content) > MAX_BYTES:
        raise HilumError(_too_large(len(content)))
    quiet_pydicom()  # here, not on import: whoever reads may have set filters of their own since
    with_preamble = content[128:132] == b"DICM"
    with _as_reason(_CUT_OR_DAMAGED):
        dataset = _parsed(_inflated(content) if with_preamble else content, more_tags, force=not with_preamble)
        known = with_preamble or str(dataset.get("SOPClassUID", "")).startswith(_UID_ROOT)
        if not getattr(dataset.file_meta, "TransferSyntaxUID", None):
            implicit = dataset.original_encoding[0]
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    if not known:
        raise HilumError("not a DICOM file")
    return _checked(dataset)


def needed_of(parsed: pydicom.Dataset) -> pydicom.Dataset:
    """What `read_dicom` gives of a file, of one that somebody has parsed; theirs stays as it is.

    Raises:
        HilumError: as of `read_dicom`.
    """
    quiet_pydicom()
    needed = pydicom.Dataset()
    with _as_reason("a damaged DICOM object"):
        for tag in (*HEADER_TAGS, _PIXEL_DATA):
            element = parsed.get_item(tag, keep_deferred=True)  # as it is held, not converted in its place
            if isinstance(element, RawDataElement) and element.value is None and element.length:
                element = parsed.get_item(tag)  # that was left in the file
            if element is not None:
                needed[tag] = deepcopy(element) if tag in {MODALITY_LUT, VOI_LUT} else element  # items know their place
        pixels = needed.get_item(_PIXEL_DATA)
        value = b"" if pixels is None else pixels.value or b""
        if not isinstance(value, bytes) or len(value) > MAX_BYTES:
            raise HilumError(f"its pixel data (7FE0,0010) is not of bytes, or of more than {MAX_BYTES >> 20} MiB")
        said = _text(getattr(parsed, "file_meta", None) or pydicom.Dataset(), _TRANSFER_SYNTAX)
        by_encoding = ImplicitVRLittleEndian if parsed.original_encoding[0] else ExplicitVRLittleEndian
        needed.file_meta = pydicom.dataset.FileMetaDataset()
        needed.file_meta.TransferSyntaxUID = UID(said) if said else by_encoding
    return _checked(needed)


def _checked(dataset: pydicom.Dataset) -> pydicom.Dataset:
    _check_kind(header_of(dataset))
    if _PIXEL_DATA not in dataset:  # a file that breaks off is read up to there
        raise HilumError("no pixel data (7FE0,0010): cut short, or not a picture")
    if not dataset.PixelData:
        raise HilumError("its pixel data (7FE0,0010) is empty")
    return dataset


def _parsed(content: bytes, more_tags: Collection[int], *, force: bool) -> pydicom.FileDataset:
    """Parse up to the pixel data, which is taken as it is; nothing that follows it is looked at."""
    found: list[tuple[str, int]] = []

    def is_pixel_data(tag: int, vr: str | None, length: int) -> bool:
        if tag == _PIXEL_DATA:
            found.append((vr or "", length))
        return bool(found)

    reader = _BoundedReader(content)
    tags: list[BaseTag | int] = [Tag(tag) for tag in (*HEADER_TAGS, *more_tags)]
    dataset = read_partial(reader, is_pixel_data, force=force, specific_tags=tags)
    for vr, length in found:
        start = reader.tell() + (12 if vr in EXPLICIT_VR_LENGTH_32 and not dataset.original_encoding[0] else 8)
        end = len(content) if length == _UNDEFINED else start + length
        dataset.add(DataElement(_PIXEL_DATA, "OW" if vr == "OW" else "OB", content[start:end]))
    return dataset


def read_start(path: Path, tags: Collection[int]) -> dict[int, str]:
    """Some tags of a file with a preamble, which may be of any kind and size: nothing behind the last of them is read.

    Raises:
        HilumError: not a DICOM file, or damaged before it gets there. The message is the reason alone.
        OSError: it is not there, or cannot be read.
    """
    with open_regular(path) as file:
        content = file.read(_MAX_START)
    if content[128:132] != b"DICM":
        raise HilumError("not a DICOM file")
    quiet_pydicom()
    last = max(tags)
    with _as_reason(_CUT_OR_DAMAGED):
        wanted: list[BaseTag | int] = [Tag(tag) for tag in tags]
        reader = _BoundedReader(_inflated(content))
        dataset = read_partial(reader, lambda tag, *_: tag > last, specific_tags=wanted)
        return {tag: _text(dataset, tag) for tag in tags if tag in dataset}


def _check_kind(header: Header) -> None:
    tag = tag_against_radiograph(header)
    if tag == SOP_CLASS:
        name = UID(header[SOP_CLASS]).name.removesuffix(" Storage")
        raise HilumError(f"no radiograph: its SOP class (0008,0016) is {name if name[:1].isalpha() else 'another'}")
    if tag == MODALITY:
        raise HilumError(f"no radiograph: its modality (0008,0060) is {header[MODALITY].upper()}")


def header_of(dataset: pydicom.Dataset) -> dict[int, str]:
    """The header of a parsed file.

    Raises:
        HilumError: a needed element is damaged.
    """
    with _as_reason("a damaged DICOM file"):
        return {tag: _text(dataset, tag) for tag in HEADER_TAGS if tag in dataset}


def plain_jpeg(dataset: pydicom.Dataset) -> JpegStream | None:
    """The JPEG stream that can be kept as it is: 8-bit grey Baseline, white bones, shown as stored. Else None.

    Raises:
        HilumError: it would be such a stream, but it is damaged or contradicts the tags.
    """
    header = header_of(dataset)
    with _as_reason("a damaged DICOM file"):
        if dataset.file_meta.TransferSyntaxUID != JPEGBaseline8Bit or not kept_as_stored(header):
            return None
        stream = jpeg_stream(dataset.PixelData, integer(header, COLUMNS), integer(header, ROWS))
    return stream if stream.is_plain else None


def dicom_to_gray8(dataset: pydicom.Dataset, *, window: int = 1) -> NDArray[np.uint8]:
    """A radiograph as it is meant to be seen: (rows, columns) uint8, white bones. See `render_dicom`."""
    return np.asarray(render_dicom(dataset, window=window).pixels, np.uint8)


def dicom_to_gray16(dataset: pydicom.Dataset, *, window: int = 1) -> NDArray[np.uint16]:
    """The same picture in 65,536 steps: (rows, columns) uint16; divided by 257 it is the one of 8 bits."""
    return np.asarray(render_dicom(dataset, window=window, bits=16).pixels, np.uint16)


def render_dicom(dataset: pydicom.Dataset, *, window: int = 1, bits: Literal[8, 16] = 8) -> Rendered:
    """Decode a radiograph and show it as the file says (`hilum.dicom.rendering.render`).

    Args:
        dataset: from `read_dicom`.
        window: which of the views the file offers, from 1: its VOI LUTs, then its windows. Where it offers none,
            the picture is shown as it is, whatever the number.
        bits: of the result.

    Raises:
        HilumError: colour, several frames, no such window, a codec that is not installed, or damaged pixel data.
    """
    header = header_of(dataset)
    with _as_reason(_UNDECODED):
        stored, display = _stored(dataset, header, window)
        return with_square_pixels(render(stored, display, bits=bits), width_over_height(header))


def chosen_window(dataset: pydicom.Dataset) -> Window:
    """The window that `render_dicom` shows a picture with whose file has no view of its own.

    Raises:
        HilumError: as of `render_dicom`.
    """
    header = header_of(dataset)
    with _as_reason(_UNDECODED):
        return window_without_view(*_stored(dataset, header, 1))


def _stored(dataset: pydicom.Dataset, header: Header, window: int) -> tuple[Stored, Display]:
    pixels = pixel_format(header)
    display = display_of(dataset, header, pixels, window)
    in_words = dataset[_PIXEL_DATA].VR == "OW"
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    return stored_values(dataset.PixelData, syntax, pixels, in_words=in_words), display


def _bytes_of(path: Path) -> bytes:
    try:
        return read_regular(path, MAX_BYTES)
    except OSError as error:
        raise PassingError(f"cannot be read: {error.strerror}") from error


def _too_large(size: int) -> str:
    return f"larger than any radiograph: {size >> 20} MiB, at most {MAX_BYTES >> 20} are read"


def _inflated(content: bytes) -> bytes:
    """A deflated file (PS3.5 A.5) as if it had been written without; pydicom would unpack whatever comes out."""
    # File meta: group 2, explicit VR little endian, and its first element holds its length (PS3.10 7.1).
    end = 144 + int.from_bytes(content[140:144], "little")
    meta = content[:end]
    if content[132:136] != b"\x02\x00\x00\x00" or _DEFLATED not in meta:
        if _DEFLATED in content[132:1024]:
            raise HilumError(_CUT_OR_DAMAGED)
        return content
    limit = min(MAX_BYTES, max(_SMALL, _TIMES * len(content)))
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    body = stream.decompress(content[end:], limit)
    if stream.unconsumed_tail or not stream.eof:
        more = stream.unconsumed_tail and stream.decompress(stream.unconsumed_tail, 1)
        raise HilumError(f"unpacks to more than {limit >> 20} MiB: no radiograph" if more else _CUT_OR_DAMAGED)
    return meta.replace(_DEFLATED, ExplicitVRLittleEndian.encode().ljust(len(_DEFLATED), b"\0")) + body


def _text(dataset: pydicom.Dataset, tag: int) -> str:
    """A short value, unvalidated: pydicom warns of RSNA's own PatientAge and PixelSpacing."""
    if tag in {MODALITY_LUT, VOI_LUT}:
        return "SQ"
    element = dataset.get_item(tag)
    value = element.value if element is not None else None
    if tag in _NUMBERS and isinstance(element, RawDataElement) and isinstance(value, bytes):
        order: Literal["little", "big"] = "little" if element.is_little_endian else "big"
        words = [value[at : at + 2] for at in range(0, len(value) - 1, 2)]
        return "\\".join(str(int.from_bytes(word, order, signed=element.VR == "SS")) for word in words)
    if isinstance(value, bytes):
        return value.decode("latin-1").strip(" \x00")
    if isinstance(value, pydicom.multival.MultiValue | list):
        return "\\".join(str(part) for part in value)
    return "" if value is None else str(value).strip(" \x00")
