"""Read a picture from wherever it comes: DICOM, JPEG, PNG or an array, 8 or 16 bit, as 8-bit grey."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.converters.dicom import read_dicom, render_dicom
from hilum.converters.jpeg import parse_jpeg
from hilum.converters.rendering import percentile_range, to_8bit
from hilum.errors import HilumError

SUFFIXES = {".dcm", ".dicom", ".jpg", ".jpeg", ".png"}


@dataclass(frozen=True)
class Radiograph:
    """A picture, and how its pixels lie in the input.

    Attributes:
        pixels: (H, W) uint8, white bones, square.
        scale_xy: of these pixels to one of the input, whose own are not square in some DICOM files.
    """

    pixels: NDArray[np.uint8]
    scale_xy: tuple[float, float] = (1.0, 1.0)


def picture_name(path: Path | str) -> str:
    """A file's name without the ending of a picture; what else follows a dot is part of a name, as in DICOM UIDs.

    Examples:
        >>> picture_name("a/00a8.DCM"), picture_name("1.2.826.0.1"), picture_name("scan.2.png")
        ('00a8', '1.2.826.0.1', 'scan.2')
    """
    # Bytes of a file's name that are no UTF-8 are spelt out: tables and JSON could not be written with them.
    path = Path(os.fsencode(path).decode(errors="backslashreplace"))
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


def read_picture(source: Path | str | NDArray[Any]) -> NDArray[np.uint8]:
    """Read one radiograph's pixels: see `read_radiograph`.

    Returns:
        (H, W) uint8, white bones.

    Raises:
        HilumError: the reason alone; the caller knows which picture.
    """
    return read_radiograph(source).pixels


def read_radiograph(source: Path | str | NDArray[Any]) -> Radiograph:
    """Read one radiograph.

    Args:
        source: a DICOM, JPEG or PNG file, told apart by content; or an array (H, W), (H, W, 1) or (H, W, 3) whose
            channels agree. More than 8 bits are scaled by percentiles where no DICOM window says how.

    Raises:
        HilumError: the reason alone; the caller knows which picture.
    """
    if isinstance(source, str | Path):
        return _read_file(Path(source))
    return Radiograph(_to_gray8(np.asarray(source)))


def _read_file(path: Path) -> Radiograph:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise HilumError(f"cannot be read: {error.strerror}") from error
    if content[:2] == b"\xff\xd8":
        try:
            parse_jpeg(content)  # OpenCV decodes a stream that is cut short, and fills up with grey
        except ValueError as error:
            raise HilumError(str(error)) from error
    elif content[:8] != b"\x89PNG\r\n\x1a\n":
        shown = render_dicom(read_dicom(content))
        return Radiograph(np.asarray(shown.pixels, np.uint8), shown.scale_xy)
    flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:  # a size beyond OpenCV's limit
        raise HilumError("cannot be decoded as JPEG or PNG") from error
    if pixels is None:
        raise HilumError("cannot be decoded as JPEG or PNG")
    return Radiograph(_to_gray8(pixels))


def _to_gray8(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    elif pixels.ndim == 3 and pixels.shape[2] == 3:
        if (pixels != pixels[:, :, :1]).any():
            raise HilumError("a colour picture; a grey radiograph is expected")
        pixels = pixels[:, :, 0]
    if pixels.ndim != 2 or pixels.size == 0:
        raise HilumError(f"an array of shape {pixels.shape}; (height, width) is expected")
    if pixels.dtype.kind not in "uif":
        raise HilumError(f"an array of {pixels.dtype}; integers or floats are expected")
    if pixels.dtype == np.uint8:
        return np.asarray(pixels, np.uint8)
    if not np.isfinite(pixels).all():
        raise HilumError("the array holds values that are not finite")
    return to_8bit(pixels.astype(np.float64), *percentile_range(pixels))
