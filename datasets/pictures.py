"""Read a picture from wherever it comes: DICOM, a picture file or an array, 8 or 16 bit, as grey of 8 or 16 bits."""

import os
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Final, Protocol, cast, runtime_checkable

import cv2
import numpy as np
import pydicom
from numpy.typing import NDArray
from typing_extensions import TypeIs  # of typing from Python 3.13 on

from hilum.datasets.bits import as_bits
from hilum.datasets.picture_files import decode_picture, picture_format
from hilum.dicom.header import MAX_FILE_BYTES, NOTHING_SAID, Description, describe, has_more_than_8_bits
from hilum.dicom.reading import header_of, needed_of, read_dicom, render_dicom
from hilum.dicom.rendering import has_black_bones, percentile_range, to_levels
from hilum.errors import HilumError, PassingError
from hilum.files import read_open, read_regular

SUFFIXES: Final = (".dcm", ".dicom", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".jp2")
# Modality (0008,0060): projection radiographs, and what is scanned or made into a picture of some other kind
_RADIOGRAPHS = {"", "CR", "DX", "RG", "OT", "HC"}
_CHEST = {"", "CHEST", "THORAX", "LUNG", "RIB", "RIBS", "HEART", "CHESTABDOMEN", "CHESTABDPELVIS", "NECKCHEST"}
_FRONTAL = {"", "AP", "PA", "LLD", "RLD"}  # lying on a side the chest is seen from the front, too
_COLOUR = "a colour picture; a grey radiograph is expected"
_TOLERANCE = 8  # of 255, as of DICOM: JPEG and RGB of a grey picture differ by rounding
_ROWS_AT_ONCE = 1 << 20  # pixels


@runtime_checkable
class PackedPicture(Protocol):
    """A picture file that lies in another file, such as a member of a zip."""

    @property
    def name(self) -> str:
        """Its path, for messages, and its own name behind the last slash."""

    def read(self) -> bytes:
        """The whole content.

        Raises:
            HilumError: it cannot be read, or is too large; the reason alone.
            OSError: what holds it is gone.
        """


@dataclass(frozen=True)
class Radiograph:
    """A picture, and what is known of it.

    Attributes:
        pixels: (H, W) uint8, or uint16 where that was asked for, white bones, square.
        scale_xy: of these pixels to one of the input, whose own are not square in some DICOM files.
        description: what a DICOM file says it shows, and which object it is.
        warning: None, or one line on why it may be no frontal chest radiograph with white bones.
    """

    pixels: NDArray[Any]
    scale_xy: tuple[float, float] = (1.0, 1.0)
    description: Description = NOTHING_SAID
    warning: str | None = None

    @property
    def size_wh(self) -> tuple[int, int]:
        """Of the input, as stored."""
        height, width = self.pixels.shape
        return round(width / self.scale_xy[0]), round(height / self.scale_xy[1])


File = Path | str | PackedPicture | bytes | bytearray | memoryview | IO[bytes]
Image = File | NDArray[Any] | pydicom.Dataset


def is_open(source: object) -> TypeIs[IO[bytes]]:
    """Whether it is an open file, which may have a name, as a packed picture has."""
    return hasattr(source, "read") and (hasattr(source, "seek") or not isinstance(source, PackedPicture))


def picture_name(path: Path | str) -> str:
    """A file's name without the ending of a picture; what else follows a dot is part of a name, as in DICOM UIDs.

    Examples:
        >>> picture_name("a/00a8.DCM"), picture_name("1.2.826.0.1"), picture_name("scan.2.png")
        ('00a8', '1.2.826.0.1', 'scan.2')
    """
    # Bytes of a file's name that are no UTF-8 are spelt out: tables and JSON could not be written with them.
    path = Path(os.fsencode(path).decode(errors="backslashreplace"))
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


def is_dicom(start: bytes) -> bool:
    """Whether a file that begins so is DICOM: by its preamble (PS3.10 7.1), or without one by its first element.

    Args:
        start: the first 132 bytes.
    """
    if start[128:132] == b"DICM":
        return True
    if start[:2] not in {b"\x08\0", b"\2\0"} or start[3:4] != b"\0":
        return False
    named = start[4:6].isalpha() and start[4:6].isupper()  # a VR, or the length of a short value
    return named or start[6:8] == b"\0\0"


def read_picture(source: Image, bits: int = 8) -> NDArray[Any]:
    """Read one radiograph's pixels: see `read_radiograph`.

    Returns:
        (H, W) uint8, or uint16 where 16 bits are asked for, white bones.

    Raises:
        HilumError: the reason alone; the caller knows which picture.
    """
    return read_radiograph(source, bits).pixels


def is_one(given: object) -> bool:
    """Whether it is an image, or a folder of them, and not several."""
    is_array = isinstance(given, np.ndarray) and (given.ndim == 2 or (given.ndim == 3 and given.shape[2] in {1, 3}))
    return is_array or isinstance(given, pydicom.Dataset) or _is_file(given)


def _is_file(given: object) -> bool:
    return isinstance(given, str | Path | bytes | bytearray | memoryview) or hasattr(given, "read")


def read_radiograph(source: Image, bits: int = 8) -> Radiograph:
    """Read one radiograph.

    Args:
        source: a DICOM, JPEG, PNG, TIFF, BMP, WebP or JPEG 2000 file, told apart by content, or its bytes, or the file
            opened for reading bytes; or an array (H, W), (H, W, 1) or (H, W, 3) whose channels agree; or what pydicom
            parsed, which stays as it is. More than 8 bits are scaled by percentiles where no DICOM window says how.
        bits: 8 or 16, of the result. Of 16, what has more than 8 is scaled so behind a DICOM window too, for a picture
            that `hilum convert --bits 16` wrote says no more whether there was one.

    Raises:
        HilumError: the reason alone; the caller knows which picture.
    """
    if isinstance(source, pydicom.Dataset):
        return _of_dicom(needed_of(source), bits)
    if not _is_file(source):
        return _without_tags(to_bits(np.asarray(source), bits))
    content = content_of(cast("File", source))
    name = None if content[128:132] == b"DICM" else picture_format(content)  # some slides are TIFF and DICOM in one
    if name is not None:
        return _without_tags(to_bits(decode_grey(content), bits))
    return _of_dicom(read_dicom(content), bits)


def _of_dicom(dataset: pydicom.Dataset, bits: int) -> Radiograph:
    header = header_of(dataset)
    shown = render_dicom(dataset, bits=16 if bits > 8 and has_more_than_8_bits(header) else 8)
    description = describe(header)
    warning = "; ".join(filter(None, [shown.note, not_frontal_chest(description)]))
    return Radiograph(to_bits(shown.pixels, bits), shown.scale_xy, description, warning or None)


def decode_grey(content: bytes) -> NDArray[Any]:
    """The pixels of a JPEG, PNG, TIFF, BMP, WebP or JPEG 2000 file, (H, W) uint8 or uint16.

    Raises:
        HilumError: it is none of these, damaged, too large, or in colours; the reason alone.
    """
    name = picture_format(content)
    if name is None:
        raise HilumError("not a picture file; JPEG, PNG, TIFF, BMP, WebP and JPEG 2000 are read")
    return _grey_of(decode_picture(content, name))


def content_of(source: File) -> bytes:
    """The bytes of a picture file.

    Raises:
        HilumError: it cannot be read, or is too large; the reason alone.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        source = BytesIO(source)
    try:
        if isinstance(source, str | Path):
            return read_regular(source, MAX_FILE_BYTES)
        return read_open(source, MAX_FILE_BYTES) if is_open(source) else source.read()
    except OSError as error:
        raise PassingError(f"cannot be read: {error.strerror}") from error
    except ValueError as error:  # no path can hold a zero byte
        raise HilumError("cannot be read: its name is none") from error


def _without_tags(pixels: NDArray[Any]) -> Radiograph:
    warning = "it looks like a chest with black bones; white ones are expected" if has_black_bones(pixels) else None
    return Radiograph(pixels, warning=warning)


def not_frontal_chest(said: Description) -> str | None:
    """One line where a file says that it is no frontal chest radiograph; else None."""
    wrong = [
        f"{what} {value}"
        for what, value, expected in (
            ("modality", said.modality, _RADIOGRAPHS),
            ("body part", said.body_part, _CHEST),
            ("view", said.view, _FRONTAL),
        )
        if value not in expected
    ]
    return f"its tags say that it is no frontal chest radiograph: {', '.join(wrong)}" if wrong else None


def _grey_of(pixels: NDArray[Any]) -> NDArray[Any]:
    """(H, W) of a decoded file, whose channels may differ by rounding."""
    if pixels.ndim == 2:
        return pixels
    tolerance = _TOLERANCE << 8 * (pixels.dtype.itemsize - 1)
    step = max(1, _ROWS_AT_ONCE // pixels.shape[1])
    for top in range(0, len(pixels), step):
        blue, green, red = np.moveaxis(pixels[top : top + step], 2, 0)
        highest, lowest = (each(each(blue, green), red) for each in (np.maximum, np.minimum))
        if int((highest - lowest).max()) > tolerance:
            raise HilumError(_COLOUR)
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_BGR2GRAY))


def to_bits(pixels: NDArray[Any], bits: int = 8) -> NDArray[Any]:
    """(H, W) uint8 or uint16 of an array (H, W), (H, W, 1) or (H, W, 3) of one grey.

    More than 8 bits are scaled by percentiles.

    Raises:
        HilumError: another shape or type, colours, or values that are not finite; the reason alone.
    """
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    elif pixels.ndim == 3 and pixels.shape[2] == 3:
        if (pixels != pixels[:, :, :1]).any():
            raise HilumError(_COLOUR)
        pixels = pixels[:, :, 0]
    if pixels.ndim != 2 or pixels.size == 0:
        raise HilumError(f"an array of shape {pixels.shape}; (height, width) is expected")
    if pixels.dtype.kind not in "uif":
        raise HilumError(f"an array of {pixels.dtype}; integers or floats are expected")
    if pixels.dtype == np.uint8:
        return as_bits(np.asarray(pixels), bits)
    if pixels.dtype == np.uint16:  # looked up: as floats, a large picture would take eight times its size
        shades = to_levels(np.arange(1 << 16, dtype=np.float64), *percentile_range(pixels), bits)
        return np.asarray(shades[pixels])
    if not np.isfinite(pixels).all():
        raise HilumError("the array holds values that are not finite")
    return to_levels(pixels.astype(np.float64), *percentile_range(pixels), bits)
