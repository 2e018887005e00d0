"""Tell from boxes and the sizes of their images whether the boxes can be left, top, width, height in pixels.

Whoever reads boxes of others, labels or predictions, asks `wrong_units` and refuses what it names, then asks
`doubtful_units` and passes on what it says. Both are silent about the 9,555 boxes of the challenge, whole or in part.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_RELATIVE = 1.5  # relative boxes of a network may reach out of their image; boxes in pixels are never that small
_REACHES_OUT = 1.05  # of an image's width or height: what boxes that were not clipped hardly exceed
# Read as left, top, width, height, 72% of the challenge's corners reach out that far; in some of its parts fewer do.
_CORNERS_BEYOND, _CORNERS_PROPER = 0.1, 0.95
# Of the challenge's boxes 4% and 18% end within these shares of width and height: so many different ones do by no
# chance.
_REDUCED = ((1 / 2, 4), (5 / 8, 8))
_EXPECTED = "expected are left, top, width, height in pixels of the image"


def wrong_units(boxes_xywh: NDArray[Any], sizes_wh: NDArray[Any] | None = None) -> str | None:
    """What several boxes are that cannot be left, top, width, height in pixels.

    Args:
        boxes_xywh: (boxes, 4) of all images, as they were written, finite. Few wrong ones do not matter.
        sizes_wh: (boxes, 2) the size of each one's image in pixels, or (2,) where all have one; None where that is
            not known, and corners cannot be told from sizes then.

    Returns:
        A sentence without an end, for the name of the file to stand before: what they seem to be, what was expected
        and what to do; None where they may be right.

    Examples:
        >>> wrong_units(np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.2, 0.1]]))[:60]
        'all 2 boxes lie within 1 px, as relative ones (0 to 1) do; e'
        >>> wrong_units(np.array([[614, 420, 820, 667], [228, 362, 439, 619]]), np.array([1024, 1024]))[:51]
        '1 of 2 boxes reaches out of its image, yet read as '
        >>> wrong_units(np.array([[614, 420, 206, 247], [228, 362, 211, 257]]), np.array([1024, 1024]))
    """
    boxes = np.asarray(boxes_xywh, np.float64).reshape(-1, 4)
    if len(boxes) < 2:
        return None
    if _relative(boxes).all():
        return (
            f"all {len(boxes):,} boxes lie within 1 px, as relative ones (0 to 1) do; {_EXPECTED}: multiply them by "
            "its width and height"
        )
    if sizes_wh is None or not _are_corners(boxes, sizes_wh):
        return None
    return f"{_how_many_reach_out(boxes, sizes_wh)}, yet read as {_AS_CORNERS}"


def doubtful_units(boxes_xywh: NDArray[Any], sizes_wh: NDArray[Any]) -> str | None:
    """What boxes may be that are likely not left, top, width, height in pixels, though they could be.

    Args:
        boxes_xywh: as in `wrong_units`, which has nothing to say of them.
        sizes_wh: (boxes, 2) or (2,), pixels.

    Returns:
        A sentence as that of `wrong_units`, or None.

    Examples:
        >>> doubtful_units(np.array([[700, 700, 600, 600], [20, 700, 20, 1000]]), np.array([1024, 1024]))[:46]
        '2 of 2 boxes reach out of their images; are th'
    """
    boxes = np.asarray(boxes_xywh, np.float64).reshape(-1, 4)
    if not len(boxes):
        return None
    relative = int(_relative(boxes).sum())
    if 2 * relative >= len(boxes):
        return f"{relative:,} of {len(boxes):,} boxes lie within 1 px; are they relative (0 to 1)? {_EXPECTED}"
    if _are_corners(boxes, sizes_wh):
        return f"{_how_many_reach_out(boxes, sizes_wh)}, yet read as {_AS_CORNERS}"
    if 2 * int(_beyond(boxes, sizes_wh).sum()) >= len(boxes):
        return (
            f"{_how_many_reach_out(boxes, sizes_wh)}; are they in pixels of a larger picture, or right and bottom in "
            f"place of width and height? {_EXPECTED}"
        )
    reach, different = float(_reach(boxes, sizes_wh).max()), len(np.unique(boxes, axis=0))
    if any(reach <= share and different >= least for share, least in _REDUCED):
        return (
            f"all {len(boxes):,} boxes lie within {reach:.0%} of width and height, at the left and top; are they in "
            f"pixels of a reduced picture? {_EXPECTED}"
        )
    return None


_AS_CORNERS = f"left, top, right, bottom they lie inside; {_EXPECTED}: subtract left from right, and top from bottom"


def _relative(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(boxes,) all four values are about 0 to 1, whichever they are."""
    small: NDArray[np.bool_] = np.abs(boxes).max(axis=1) <= _RELATIVE
    return small


def _reach(boxes: NDArray[np.float64], sizes_wh: NDArray[Any]) -> NDArray[np.float64]:
    """(boxes,) where a box ends, as a share of the image's width or height, whichever is more."""
    reach: NDArray[np.float64] = np.max((boxes[:, :2] + boxes[:, 2:]) / np.asarray(sizes_wh, np.float64), axis=1)
    return reach


def _beyond(boxes: NDArray[np.float64], sizes_wh: NDArray[Any]) -> NDArray[np.bool_]:
    return _reach(boxes, sizes_wh) > _REACHES_OUT


def _are_corners(boxes: NDArray[np.float64], sizes_wh: NDArray[Any]) -> bool:
    """Whether boxes reach out of their images that lie inside when width and height are right and bottom."""
    corners = (boxes[:, 2:] > boxes[:, :2]) & (boxes[:, 2:] <= _REACHES_OUT * np.asarray(sizes_wh, np.float64))
    proper = float(corners.all(axis=1).mean())
    return proper >= _CORNERS_PROPER and float(_beyond(boxes, sizes_wh).mean()) >= _CORNERS_BEYOND


def _how_many_reach_out(boxes: NDArray[np.float64], sizes_wh: NDArray[Any]) -> str:
    out = int(_beyond(boxes, sizes_wh).sum())
    how = "reaches out of its image" if out == 1 else "reach out of their images"
    return f"{out:,} of {len(boxes):,} boxes {how}"
