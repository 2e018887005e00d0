"""Read a DICOM radiograph: the few tags that may leave it, and its picture as 8-bit grey with white bones.

Only the tags on the allow-list below are ever read out. Messages name tags and problems, never a value.
"""

import logging
import math
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.encaps import generate_frames
from pydicom.pixels.processing import apply_modality_lut, apply_voi
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from hilum.converters.jpeg import JpegStream, parse_jpeg
from hilum.errors import HilumError

# The allow-list: what may be written beside a picture. Everything else in a file stays there.
ALLOWED_TAGS = {"PatientSex": 0x00100040, "PatientAge": 0x00101010, "ViewPosition": 0x00185101}
_SPACING_TAGS = (0x00280030, 0x00181164)  # Pixel Spacing, else Imager Pixel Spacing
_WINDOW_CENTRE, _WINDOW_WIDTH, _VOI_FUNCTION = 0x00281050, 0x00281051, 0x00281056
_VOI_LUT_SEQUENCE, _MODALITY_LUT_SEQUENCE = 0x00283010, 0x00283000
_PERCENTILES = (0.1, 99.9)
_DECODERS = {  # transfer syntax -> function of imagecodecs
    "1.2.840.10008.1.2.4.51": "jpeg_decode",
    "1.2.840.10008.1.2.4.57": "ljpeg_decode",
    "1.2.840.10008.1.2.4.70": "ljpeg_decode",
    "1.2.840.10008.1.2.4.80": "jpegls_decode",
    "1.2.840.10008.1.2.4.81": "jpegls_decode",
    "1.2.840.10008.1.2.4.90": "jpeg2k_decode",
    "1.2.840.10008.1.2.4.91": "jpeg2k_decode",
}


@dataclass(frozen=True)
class Tags:
    """What may leave a DICOM file; None where absent or not understood.

    Attributes:
        sex: "F", "M" or "O" (0010,0040).
        age_years: (0010,1010), also where it is a bare number, as in the challenge.
        view: View Position (0018,5101), such as "PA" or "AP".
        spacing_mm: row spacing (0028,0030), else at the detector (0018,1164).
    """

    sex: str | None
    age_years: int | None
    view: str | None
    spacing_mm: float | None


NO_TAGS = Tags(None, None, None, None)


def _quiet_pydicom() -> None:
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
    except Exception as error:
        raise HilumError(f"{what} ({type(error).__name__})") from error


def read_dicom(source: Path | bytes) -> pydicom.Dataset:
    """Parse a DICOM file that should hold one radiograph.

    Raises:
        HilumError: not a DICOM file, cut short, or without a picture. The message is the reason alone.
    """
    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise HilumError(f"cannot be read: {error.strerror}") from error
    if not content:
        raise HilumError("the file is empty")
    _quiet_pydicom()  # here, not on import: whoever reads may have set filters of their own since
    with_preamble = content[128:132] == b"DICM"
    with _as_reason("a damaged or cut short DICOM file"):
        dataset = pydicom.dcmread(BytesIO(content), force=not with_preamble)
        known = with_preamble or ("SOPClassUID" in dataset and "Rows" in dataset)
        if not getattr(dataset.file_meta, "TransferSyntaxUID", None):
            implicit = dataset.original_encoding[0]
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    if not known:
        raise HilumError("not a DICOM file")
    if "PixelData" not in dataset:  # a file that breaks off is read up to there
        raise HilumError("no pixel data (7FE0,0010): cut short, or not a picture")
    return dataset


@_as_reason("a damaged DICOM file")
def read_tags(dataset: pydicom.Dataset) -> Tags:
    """Read the tags that may leave the file."""
    sex, age, view = (_text(dataset, tag).upper() for tag in ALLOWED_TAGS.values())
    return Tags(
        sex=sex if sex in {"F", "M", "O"} else None,
        age_years=_age_years(age),
        # Free text could hold a name: a view is a short code word.
        view=view if re.fullmatch(r"[A-Z]{1,4}", view) else None,
        spacing_mm=next((value for tag in _SPACING_TAGS for value in _numbers(dataset, tag)[:1] if value > 0), None),
    )


@_as_reason("a damaged DICOM file")
def plain_jpeg(dataset: pydicom.Dataset) -> JpegStream | None:
    """The JPEG stream that can be kept as it is: 8-bit grey Baseline, white bones, shown as stored. Else None.

    Raises:
        HilumError: it would be such a stream, but it is damaged or contradicts the tags.
    """
    plain = (
        dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
        and dataset.get("SamplesPerPixel", 1) == 1
        and _frames(dataset) == 1
        and _text(dataset, 0x00280004) == "MONOCHROME2"
        and _shown_as_stored(dataset)
    )
    if not plain:
        return None
    stream = _parse(_frame(dataset))
    if stream.size_wh != (dataset.Columns, dataset.Rows):
        width, height = stream.size_wh
        raise HilumError(f"the JPEG inside is {width} x {height} px, the tags say {dataset.Columns} x {dataset.Rows}")
    return stream if (stream.process, stream.bits, stream.components) == (0, 8, 1) else None


@_as_reason("its pixel data cannot be decoded")
def dicom_to_gray8(dataset: pydicom.Dataset) -> NDArray[np.uint8]:
    """Decode a radiograph as it is meant to be seen: (rows, columns) uint8, white bones.

    Modality LUT or rescale, then the first VOI LUT or window, else percentiles where there are more than 8 bits;
    MONOCHROME1 is turned round (PS3.3 C.11.1, C.11.2, C.7.6.3.1.2).

    Raises:
        HilumError: colour, several frames, a codec that is not installed, or damaged pixel data.
    """
    stream = plain_jpeg(dataset)
    if stream is not None:
        return _decode_jpeg8(stream)
    if _frames(dataset) != 1:
        raise HilumError(f"{_frames(dataset)} frames; one picture a file is expected")
    if _text(dataset, 0x00280004) == "PALETTE COLOR":  # its values are numbers of colours
        raise HilumError("a colour picture; a grey radiograph is expected")
    return _to_8bit(_to_gray(_stored_values(dataset)), dataset)


def to_8bit(values: NDArray[np.floating], low: float, high: float) -> NDArray[np.uint8]:
    """Scale linearly so that `low` is 0 and `high` is 255; values beyond are clipped."""
    scaled = (values - low) * (255.0 / max(high - low, 1e-12))
    return np.asarray(np.clip(np.rint(scaled), 0, 255), np.uint8)


def percentile_range(values: NDArray[Any]) -> tuple[float, float]:
    """The range that holds all but the outermost thousandths on either side."""
    low, high = np.percentile(values, _PERCENTILES)
    return (float(low), float(high)) if high > low else (float(values.min()), float(values.max()))


def _text(dataset: pydicom.Dataset, tag: int) -> str:
    """A short text value, unvalidated: pydicom warns of RSNA's own PatientAge and PixelSpacing."""
    if tag not in dataset:
        return ""
    element = dataset.get_item(tag)
    value = element.value if element is not None else None
    if isinstance(element, RawDataElement) and isinstance(value, bytes):
        return value.decode("latin-1").strip(" \x00")
    if isinstance(value, pydicom.multival.MultiValue | list):
        return "\\".join(str(part) for part in value)
    return "" if value is None else str(value).strip(" \x00")


def _numbers(dataset: pydicom.Dataset, tag: int) -> list[float]:
    numbers = []
    for part in _text(dataset, tag).split("\\"):
        try:
            numbers.append(float(part))
        except ValueError:
            return []
    return numbers if all(math.isfinite(number) for number in numbers) else []


def _age_years(text: str) -> int | None:
    match = re.fullmatch(r"(\d{1,3})([DWMY]?)", text)
    if not match:
        return None
    in_a_year = {"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}
    return int(match[1]) // in_a_year[match[2]]


def _frames(dataset: pydicom.Dataset) -> int:
    text = _text(dataset, 0x00280008)
    return int(text) if text.isdecimal() and int(text) > 0 else 1


def _window(dataset: pydicom.Dataset) -> tuple[float, float] | None:
    centres, widths = _numbers(dataset, _WINDOW_CENTRE), _numbers(dataset, _WINDOW_WIDTH)
    return (centres[0], widths[0]) if centres and widths and widths[0] >= 1 else None


def _rescale(dataset: pydicom.Dataset) -> tuple[float, float]:
    slope, intercept = _numbers(dataset, 0x00281053), _numbers(dataset, 0x00281052)
    return (slope[0] if slope else 1.0), (intercept[0] if intercept else 0.0)


def _shown_as_stored(dataset: pydicom.Dataset) -> bool:
    window = _window(dataset)
    whole = window is None or (window[0] - window[1] / 2 <= 0.5 and window[0] + window[1] / 2 >= 255)
    tables = _VOI_LUT_SEQUENCE in dataset or _MODALITY_LUT_SEQUENCE in dataset
    return whole and not tables and _rescale(dataset) == (1.0, 0.0) and not _inverse(dataset)


def _inverse(dataset: pydicom.Dataset) -> bool:
    return _text(dataset, 0x00280004) == "MONOCHROME1" or _text(dataset, 0x20500020) == "INVERSE"


def _frame(dataset: pydicom.Dataset) -> bytes:
    try:
        return next(generate_frames(dataset.PixelData, number_of_frames=1))
    except (StopIteration, ValueError, struct.error, IndexError) as error:
        raise HilumError("its encapsulated pixel data is empty or cut short") from error


def _parse(frame: bytes) -> JpegStream:
    try:
        return parse_jpeg(frame)
    except ValueError as error:
        raise HilumError(str(error)) from error


def _decode_jpeg8(stream: JpegStream) -> NDArray[np.uint8]:
    pixels = cv2.imdecode(np.frombuffer(stream.data, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise HilumError("the JPEG inside cannot be decoded")
    return np.asarray(pixels, np.uint8)


def _stored_values(dataset: pydicom.Dataset) -> NDArray[Any]:
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax == JPEGBaseline8Bit:
        stream = _parse(_frame(dataset))
        if stream.bits == 8:
            flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
            return np.asarray(cv2.imdecode(np.frombuffer(stream.data, np.uint8), flags))
    if syntax in _DECODERS or syntax == JPEGBaseline8Bit:
        try:
            import imagecodecs
        except ImportError as error:
            raise HilumError(f'{syntax.name} needs a codec: pip install "hilum[codecs]"') from error
        decode = getattr(imagecodecs, _DECODERS.get(syntax, "jpeg_decode"))
        values = np.asarray(decode(_frame(dataset)))
        return _signed(values, dataset)
    if not syntax.is_compressed or syntax.is_deflated or syntax.name.startswith("RLE"):
        return np.asarray(dataset.pixel_array)
    raise HilumError(f"transfer syntax {syntax.name} is not supported")


def _signed(values: NDArray[Any], dataset: pydicom.Dataset) -> NDArray[Any]:
    """Codecs return bit patterns; a signed picture's sign bit is its highest stored one (0028,0103)."""
    if dataset.get("PixelRepresentation", 0) != 1 or np.issubdtype(values.dtype, np.signedinteger):
        return values
    half = 1 << (int(dataset.BitsStored) - 1)
    wide = values.astype(np.int32)
    return np.where(wide >= half, wide - 2 * half, wide)


def _to_gray(stored: NDArray[Any]) -> NDArray[Any]:
    if stored.ndim == 2:
        return stored
    if stored.ndim == 3 and stored.shape[2] == 3:
        spread = stored.max(axis=2).astype(np.int32) - stored.min(axis=2)
        if spread.max() <= 8:  # JPEG and RGB of a grey picture: rounding, not colour
            return stored[:, :, 1]
        raise HilumError("a colour picture; a grey radiograph is expected")
    raise HilumError(f"pixel data of shape {stored.shape}; (rows, columns) is expected")


def _to_8bit(stored: NDArray[Any], dataset: pydicom.Dataset) -> NDArray[np.uint8]:
    inverse = _inverse(dataset)
    values = np.asarray(apply_modality_lut(stored, dataset), np.float64)
    window = _window(dataset)
    if _VOI_LUT_SEQUENCE in dataset:
        table = dataset.VOILUTSequence[0]
        values = np.asarray(apply_voi(values.astype(np.int32), dataset), np.float64)
        low, high = 0.0, float(2 ** int(table.LUTDescriptor[2]) - 1)
    elif window is not None:
        low, high, values = _apply_window(values, window, _text(dataset, _VOI_FUNCTION))
        spread = float(values.max() - values.min())
        if 0 < spread < (high - low) / 16:  # a window made for other values shows nothing: the picture is nearly flat
            low, high = percentile_range(values)
    elif int(dataset.BitsStored) <= 8 and _rescale(dataset) == (1.0, 0.0) and _MODALITY_LUT_SEQUENCE not in dataset:
        low, high = (-128.0, 127.0) if dataset.get("PixelRepresentation", 0) == 1 else (0.0, 255.0)
        high = high if int(dataset.BitsStored) == 8 else float(2 ** int(dataset.BitsStored) - 1)
    else:
        low, high = percentile_range(values)
    picture = to_8bit(values, low, high)
    return np.asarray(255 - picture, np.uint8) if inverse else picture


def _apply_window(
    values: NDArray[np.float64], window: tuple[float, float], function: str
) -> tuple[float, float, NDArray[np.float64]]:
    """PS3.3 C.11.2.1.2 and C.11.2.1.3: the range that becomes 0..255, and the values to scale."""
    centre, width = window
    if function == "SIGMOID":
        return 0.0, 1.0, 1 / (1 + np.exp(-4 * (values - centre) / width))
    if function == "LINEAR_EXACT":
        return centre - width / 2, centre + width / 2, values
    return centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2, values
