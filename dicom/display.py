"""What a DICOM file says about showing its stored values: tables, windows, rescale, padding (PS3.3 C.11, C.7.6.3.1)."""

from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement

from hilum.dicom.header import (
    MODALITY_LUT,
    PHOTOMETRIC,
    PRESENTATION_SHAPE,
    RESCALE_INTERCEPT,
    RESCALE_SLOPE,
    VOI_FUNCTION,
    VOI_LUT,
    WINDOW_CENTRE,
    WINDOW_WIDTH,
    Header,
    numbers,
)
from hilum.dicom.pixel_data import PixelFormat
from hilum.dicom.rendering import Display, LookUpTable, Rescale, Window
from hilum.errors import HilumError

_PADDING, _PADDING_LIMIT = 0x00280120, 0x00280121
_LUT_DESCRIPTOR, _LUT_DATA = 0x00283002, 0x00283006
_MAX_LUT_BYTES = 1 << 20  # 65,536 entries take an eighth of it


def display_of(dataset: pydicom.Dataset, header: Header, pixels: PixelFormat, number: int) -> Display:
    """How a picture is meant to be shown. Tables that are empty, or lack their data, count as absent.

    Args:
        dataset: the whole file.
        header: its needed tags.
        pixels: what they say of the pixel data.
        number: of the view, from 1: VOI LUTs first, then windows.

    Raises:
        HilumError: no such view, or a table that is cut short.
    """
    says_inverse = header.get(PHOTOMETRIC) == "MONOCHROME1", header.get(PRESENTATION_SHAPE) == "INVERSE"
    passed_over: list[str] = []
    modality: Rescale | LookUpTable
    modality_tables = _tables(dataset, MODALITY_LUT, passed_over, first_is_signed=pixels.signed)
    if modality_tables:
        modality, is_signed = modality_tables[0], False
    else:
        slope, intercept = numbers(header, RESCALE_SLOPE), numbers(header, RESCALE_INTERCEPT)
        modality = Rescale(slope[0] if slope and slope[0] else 1.0, intercept[0] if intercept else 0.0)
        low = -(1 << (pixels.bits_stored - 1)) if pixels.signed else 0
        is_signed = min(modality(np.array([low, low + (1 << pixels.bits_stored) - 1], np.float64))) < 0
    function = header.get(VOI_FUNCTION) or "LINEAR"
    centres, widths = numbers(header, WINDOW_CENTRE), numbers(header, WINDOW_WIDTH)
    windows = [Window(centre, width, function) for centre, width in zip(centres, widths, strict=False)]
    tables = _tables(dataset, VOI_LUT, passed_over, first_is_signed=is_signed)
    views: list[Window | LookUpTable] = [*tables, *windows]
    if not 1 <= number <= len(views) and views:
        raise HilumError(f"window {number} was asked for, the file has {len(views)}")
    view = views[number - 1] if views else None
    return Display(
        modality,
        None if isinstance(view, Window) and not view.is_usable else view,
        inverse=any(says_inverse),
        inverse_is_sure=all(says_inverse),
        padding=_padding(header, pixels),
        note=f"a look-up table without data was passed over: {', '.join(passed_over)}" if passed_over else None,
    )


def _padding(header: Header, pixels: PixelFormat) -> tuple[float, float] | None:
    """Pixel Padding Value and Range Limit as stored values; writers often mistake US for SS."""
    ends = [value[0] for tag in (_PADDING, _PADDING_LIMIT) if (value := numbers(header, tag))]
    if not numbers(header, _PADDING):
        return None
    shift = 0x8000 if pixels.signed else 0
    ends = [(int(end) + shift) % 0x10000 - shift for end in ends]
    return min(ends), max(ends)


def _tables(dataset: pydicom.Dataset, tag: int, passed_over: list[str], *, first_is_signed: bool) -> list[LookUpTable]:
    """The look-up tables of a sequence (PS3.3 C.11.1.1.1).

    Args:
        dataset: the whole file.
        tag: of the sequence.
        passed_over: gets the tag where the sequence is there and a table, or its data, is not.
        first_is_signed: whether the values that are looked up can be negative.
    """
    element = dataset.get_item(tag)
    if element is None:
        return []
    name = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
    if isinstance(element.value, bytes) and len(element.value) > _MAX_LUT_BYTES:
        raise HilumError(f"a table of {len(element.value)} bytes in {name}")
    items = dataset[tag].value or []
    whole = [item for item in items if not (_is_empty(item, _LUT_DESCRIPTOR) or _is_empty(item, _LUT_DATA))]
    if len(whole) < max(1, len(items)):
        passed_over.append(name)
    return [_table(item, first_is_signed=first_is_signed) for item in whole]


def _is_empty(item: pydicom.Dataset, tag: int) -> bool:
    element = item.get_item(tag)
    return element is None or element.value is None or np.size(element.value) == 0 or element.value == b""


def _table(item: pydicom.Dataset, *, first_is_signed: bool) -> LookUpTable:
    count, first, bits = (int(word) for word in _words(item, _LUT_DESCRIPTOR)[:3])
    count = count or 1 << 16
    entries = _words(item, _LUT_DATA)
    if bits <= 8 and len(entries) < count:  # two entries a word
        entries = _words(item, _LUT_DATA, "u1")
    if not 1 <= bits <= 16 or len(entries) < count:
        raise HilumError("a look-up table is cut short or damaged")
    if first_is_signed and first >= 1 << 15:
        first -= 1 << 16
    return LookUpTable(first, entries[:count].astype(np.float64), bits)


def _words(item: pydicom.Dataset, tag: int, dtype: str = "u2") -> NDArray[Any]:
    """The value as unsigned words, whatever its VR: US, SS and OW are used for tables."""
    element = item.get_item(tag)
    value = element.value if element is not None else b""
    if not isinstance(value, bytes):
        words = np.atleast_1d(np.asarray(value, np.int64)) & 0xFFFF
        return words if dtype == "u2" else words.astype("<u2").view(dtype)
    is_little = element.is_little_endian if isinstance(element, RawDataElement) else True
    return np.frombuffer(value[: len(value) // 2 * 2], f"{'<' if is_little else '>'}{dtype}")
