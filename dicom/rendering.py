"""From stored values to displayed grey (PS3.3 C.11.1, C.11.2, C.7.6.3.1): 8 or 16 bits, white bones.

What is shown depends on the stored value alone, so it is worked out once for each bit pattern that can occur, at most
65,536, and then looked up: the pixels are touched twice, to count and to look up.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.dicom.header import MAX_PIXELS
from hilum.errors import HilumError

_PERCENTILES = (0.1, 99.9)
BLACK_BONES = "it looks like a chest with black bones; its tags were followed"
_MOST_STRETCHED = 5  # times; detectors and scanners of film stay far below
_FLAT = 1 / 16  # a view that uses less than this share of its range shows nothing


@dataclass(frozen=True)
class Stored:
    """A decoded picture as bit patterns.

    Attributes:
        patterns: (rows, columns) uint8 or uint16, each below 2**bits.
        bits: of a pattern; the highest is the sign where `signed`.
        meaningful_bits: Bits Stored (0028,0101); fewer than `bits` where a codec may overshoot.
        is_gray: False for colour channels that agree: modality and VOI are not for those.
    """

    patterns: NDArray[np.uint8] | NDArray[np.uint16]
    bits: int
    signed: bool
    meaningful_bits: int
    is_gray: bool = True

    def values(self) -> NDArray[np.float64]:
        """(2**bits,) the value of each pattern."""
        values = np.arange(1 << self.bits)
        if self.signed:
            values = values - (values >> (self.bits - 1) << self.bits)
        return np.asarray(values, np.float64)


@dataclass(frozen=True)
class LookUpTable:
    """A modality or VOI LUT (PS3.3 C.11.1.1.1): `entries[0]` for values up to `first`, the last beyond the end."""

    first: int
    entries: NDArray[np.float64]
    bits: int

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        at = np.clip(np.floor(values) - self.first, 0, len(self.entries) - 1)
        return np.asarray(self.entries[at.astype(np.intp)])

    def shown(self) -> "LookUpTable":
        """The same table of a view, with entries from 0, black, to 1."""
        # Some files say fewer bits than their entries have.
        bits = max(self.bits, int(self.entries.max()).bit_length())
        return replace(self, entries=self.entries / ((1 << bits) - 1))


@dataclass(frozen=True)
class Rescale:
    """Rescale Slope (0028,1053) and Intercept (0028,1052)."""

    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(over="ignore", invalid="ignore"):  # told below
            rescaled = values * self.slope + self.intercept
        if not np.isfinite(rescaled).all():
            raise HilumError("its rescale slope and intercept lead beyond the range of numbers")
        return rescaled


@dataclass(frozen=True)
class Window:
    """Window Center (0028,1050), Width (0028,1051) and VOI LUT Function (0028,1056), PS3.3 C.11.2.1.2 and 3."""

    centre: float
    width: float
    function: str = "LINEAR"

    @property
    def is_usable(self) -> bool:
        return self.width >= 1 or (self.width > 0 and self.function in {"SIGMOID", "LINEAR_EXACT"})

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """0 to 1."""
        if self.function == "SIGMOID":
            return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - self.centre) / self.width, -700, 700))))
        centre, width = (
            (self.centre, self.width) if self.function == "LINEAR_EXACT" else (self.centre - 0.5, self.width - 1)
        )
        if width == 0:
            return (values > centre).astype(np.float64)
        return np.clip((values - centre) / width + 0.5, 0, 1)


@dataclass(frozen=True)
class Display:
    """What a file says about showing its stored values.

    Attributes:
        modality: stored value -> modality value.
        voi: modality value -> what is shown; None: the whole range up to 8 bits, percentiles beyond.
        inverse: low values are white: MONOCHROME1 (0028,0004) or Presentation LUT Shape (2050,0020) INVERSE.
        inverse_is_sure: both say so.
        padding: lowest and highest stored value that is no part of the picture (0028,0120), (0028,0121).
        note: None, or one line on what of it was not followed.
    """

    modality: Rescale | LookUpTable = Rescale()
    voi: Window | LookUpTable | None = None
    inverse: bool = False
    inverse_is_sure: bool = False
    padding: tuple[float, float] | None = None
    note: str | None = None


@dataclass(frozen=True)
class Rendered:
    """A picture, and what its reader should be told about it.

    Attributes:
        pixels: (H, W) uint8 or uint16, white bones, square.
        note: None, or one line on a tag that was not followed, on black bones, or on pixels that were made square.
        scale_xy: shown pixels a stored pixel; other than 1 where pixels were made square.
    """

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    note: str | None = None
    scale_xy: tuple[float, float] = (1.0, 1.0)


def render(stored: Stored, display: Display, *, bits: int = 8) -> Rendered:
    """Show a picture as its file says.

    Modality LUT or rescale, then the VOI LUT or window. Where there is none, up to 8 bits are spread over the whole
    range, more bits by percentiles of what is neither padding nor a border of one value; also where the view would
    show next to nothing. 16 bits show the same range in finer steps: 8 bits are those divided by 257 and rounded.

    A low-is-white tag is not followed, with a note, where the picture it gives is beyond doubt a chest with black
    bones, unless the file says low-is-white twice (see `has_black_bones`). Other pictures with black bones get a note.

    Args:
        stored: the decoded picture.
        display: what the file says.
        bits: 8 or 16, of the result.
    """
    if not stored.is_gray:
        display = Display()
    table = gray_table(stored.values(), lambda: _counts(stored, display), display, stored.meaningful_bits)
    pixels = _look_up(table, stored.patterns, bits)
    note = None
    if has_black_bones(pixels):
        if display.inverse and not display.inverse_is_sure:
            pixels = _look_up(1 - table, stored.patterns, bits)
            note = "tagged as low-is-white, which would show black bones: the tag was not followed"
        else:
            note = BLACK_BONES
    return Rendered(pixels, _joined(display.note, note))


def window_without_view(stored: Stored, display: Display) -> Window:
    """The window that shows a picture as `render` does where its file has no VOI LUT and no window."""
    values, bits = stored.values(), stored.meaningful_bits
    low, high = range_without_view(display.modality, values, lambda: _counts(stored, display), bits)
    return Window((low + high + 1) / 2, high - low + 1)


def with_square_pixels(shown: Rendered, width_over_height: float) -> Rendered:
    """Stretch the side along which pixels are longer, until they are square.

    Args:
        shown: as stored.
        width_over_height: of a pixel.
    """
    rows, columns = shown.pixels.shape
    size_wh = max(columns, round(columns * width_over_height)), max(rows, round(rows / width_over_height))
    if size_wh == (columns, rows):
        return shown
    said = f"its pixels are {width_over_height:.3g} times as wide as high"
    if not 1 / _MOST_STRETCHED <= width_over_height <= _MOST_STRETCHED or size_wh[0] * size_wh[1] > MAX_PIXELS:
        return replace(shown, note=_joined(shown.note, f"{said}, it says: that was not followed"))
    pixels = np.asarray(cv2.resize(shown.pixels, size_wh, interpolation=cv2.INTER_LINEAR))
    note = _joined(shown.note, f"{said}: they were made square")
    return Rendered(pixels, note, (size_wh[0] / columns, size_wh[1] / rows))


def _joined(*notes: str | None) -> str | None:
    return "; ".join(filter(None, notes)) or None


def gray_table(
    stored_values: NDArray[np.float64], counts: Callable[[], NDArray[np.int64]], display: Display, meaningful_bits: int
) -> NDArray[np.float64]:
    """The grey of each stored value, 0 black to 1 white.

    Args:
        stored_values: (n,) the values.
        counts: gives (n,) how often each occurs; asked where it matters, for counting takes longer than all else.
        display: what the file says.
        meaningful_bits: Bits Stored.
    """
    modality = display.modality
    values = modality(stored_values)
    if display.voi is not None:
        gray = _shown(display.voi, values)
        seen = counts()
        low, high = percentile_range(gray, seen)
        if high - low < _FLAT:  # a view made for other values
            for candidate in (gray, values):
                low, high = percentile_range(candidate, seen)
                if high > low:
                    gray = _spread(candidate, low, high)
                    break
    else:
        gray = _spread(values, *range_without_view(modality, stored_values, counts, meaningful_bits))
    return 1 - gray if display.inverse else gray


def range_without_view(
    modality: Rescale | LookUpTable,
    stored_values: NDArray[np.float64],
    counts: Callable[[], NDArray[np.int64]],
    meaningful_bits: int,
) -> tuple[float, float]:
    """The modality values that are black and white where a file has no VOI LUT and no window.

    Args: as of `gray_table`.
    """
    whole = 1 << (modality.bits if isinstance(modality, LookUpTable) else meaningful_bits)
    if whole > 256:
        return percentile_range(modality(stored_values), counts())
    if isinstance(modality, LookUpTable):
        return 0, whole - 1
    first = -(whole >> 1) if stored_values.min() < 0 else 0
    low, high = np.sort(modality(np.array([first, first + whole - 1], np.float64)))
    return float(low), float(high)


def percentile_range(values: NDArray[Any], counts: NDArray[np.int64] | None = None) -> tuple[float, float]:
    """The range that holds all but the outermost thousandths on either side.

    Args:
        values: any shape.
        counts: how often each value occurs, of the same shape; once each where None.
    """
    if counts is None:
        low, high = np.percentile(values, _PERCENTILES)
        return (float(low), float(high)) if high > low else (float(values.min()), float(values.max()))
    seen = values[counts > 0]
    order = np.argsort(seen, kind="stable")
    ordered, ends = seen[order], np.cumsum(counts[counts > 0][order])
    # numpy's "linear" method, without a copy of every pixel
    at = np.array(_PERCENTILES) / 100 * (ends[-1] - 1)
    below, above = (ordered[np.searchsorted(ends, part(at), side="right")] for part in (np.floor, np.ceil))
    low, high = below + (above - below) * (at - np.floor(at))
    return (float(low), float(high)) if high > low else (float(ordered[0]), float(ordered[-1]))


def to_levels(values: NDArray[np.floating], low: float, high: float, bits: int = 8) -> NDArray[Any]:
    """Scale linearly so that `low` is 0 and `high` the highest level, 255 of 8 bits; values beyond are clipped."""
    levels = np.rint(_spread(values, low, high) * ((1 << bits) - 1))
    return np.asarray(levels, np.uint8 if bits == 8 else np.uint16)


def has_black_bones(picture: NDArray[Any]) -> bool:
    """Whether this is beyond doubt a frontal chest radiograph shown the wrong way round.

    The middle of the picture (spine, heart) is darker than either lung, than the upper corners and than the edges at
    the side, and what lies below the lungs is darker than they are, each by a clear margin. Tried on 764 radiographs of
    the RSNA challenge: it is true of two, which were stored the wrong way round, and of no other.
    """
    if min(picture.shape) < _SIDE:
        return False
    small = cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float64)
    small = (small - small.mean()) / max(float(small.std()), 1e-12)

    def mean(*sides: float) -> float:
        top, bottom, left, right = (round(side * _SIDE) for side in sides)
        return float(small[top:bottom, left:right].mean())

    middle, below = mean(0.2, 0.8, 0.45, 0.55), mean(0.85, 1, 0.3, 0.7)
    lungs = min(mean(0.25, 0.6, 0.18, 0.38), mean(0.25, 0.6, 0.62, 0.82))
    corners = (mean(0, 0.08, 0, 0.08) + mean(0, 0.08, 0.92, 1)) / 2
    sides = (mean(0, 1, 0, 0.03) + mean(0, 1, 0.97, 1)) / 2
    return max(middle - lungs, middle - corners, middle - sides, below - lungs) < -_CLEAR


_SIDE = 64  # pixels: enough to see lungs and spine
_CLEAR = 0.7  # standard deviations of the picture


def _shown(voi: Window | LookUpTable, values: NDArray[np.float64]) -> NDArray[np.float64]:
    if isinstance(voi, Window):
        return voi(values)
    return voi.shown()(values)


def _spread(values: NDArray[Any], low: float, high: float) -> NDArray[np.float64]:
    """`low` to 0 and `high` to 1; values beyond are clipped."""
    return np.clip((values - low) / max(high - low, 1e-12), 0, 1)


def _counts(stored: Stored, display: Display) -> NDArray[np.int64]:
    """(2**bits,) how often each pattern occurs in the picture proper; everywhere if it is all border or padding."""
    inside = _without_border(stored.patterns)
    step = max(1, (1 << 20) // max(1, inside.shape[1]))  # bincount makes 8 bytes of each pixel
    counts = np.zeros(1 << stored.bits, np.int64)
    for top in range(0, inside.shape[0], step):
        counts += np.bincount(inside[top : top + step].ravel(), minlength=len(counts))
    if display.padding is not None:
        values = stored.values()
        picture = np.where((values >= display.padding[0]) & (values <= display.padding[1]), 0, counts)
        return picture if picture.any() else counts
    return counts


def _without_border(patterns: NDArray[Any]) -> NDArray[Any]:
    """Without the outer rows and columns that hold a single value: collimation or filling, cut off to the pixel."""
    inside = patterns
    for axis in (0, 1, 0):
        lines = inside if axis == 0 else inside.T
        varied = np.flatnonzero((lines != lines[:, :1]).any(axis=1))
        if len(varied) == 0:
            return patterns
        kept = slice(int(varied[0]), int(varied[-1]) + 1)
        inside = inside[kept] if axis == 0 else inside[:, kept]
    return inside


def _look_up(table: NDArray[np.float64], patterns: NDArray[Any], bits: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    levels = np.rint(table * ((1 << bits) - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    if patterns.dtype == levels.dtype and (levels == np.arange(len(levels))).all():
        return np.array(patterns)  # shown as it is stored
    return np.asarray(np.take(levels, patterns))
