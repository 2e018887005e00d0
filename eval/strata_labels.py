"""To which stratum an image or a box belongs: by age, by the number of boxes, by size."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

BOX_SIZE_LIMITS = (0.045, 0.085)
"""Shares of the image's area; about the terciles of the challenge's 9,555 training boxes (0.0439 and 0.0850)."""

BOX_SIZES = ("small", "medium", "large")
_OLDEST = 120  # years; the challenge has ages up to 155, which are typing errors


def age_group(age: str) -> str:
    """Returns "<20", "20-39", "40-59", "60-79" or "80+" for an age in years; "" for what is none, or above 120.

    Examples:
        >>> [age_group(age) for age in ("7", "039", "40", "80.5", "155", "")]
        ['<20', '20-39', '40-59', '80+', '', '']
    """
    try:
        years = float(age)
    except ValueError:
        return ""
    if not 0 <= years <= _OLDEST:
        return ""
    return ("<20", "20-39", "40-59", "60-79", "80+")[min(int(years // 20), 4)]


def box_size_group(boxes_xywh: NDArray[Any], size_wh: ArrayLike) -> list[str]:
    """Returns "small", "medium" or "large" for each box, (N,), by its share of the image's area.

    Args:
        boxes_xywh: (N, 4) in pixels.
        size_wh: Width and height of the image in pixels.

    Examples:
        >>> box_size_group(np.array([[0, 0, 20, 20], [0, 0, 25, 20], [50, 50, 40, 40]]), (100, 100))
        ['small', 'medium', 'large']
    """
    width, height = np.asarray(size_wh, dtype=np.float64)
    boxes = np.asarray(boxes_xywh, dtype=np.float64).reshape(-1, 4)
    sizes = np.searchsorted(BOX_SIZE_LIMITS, boxes[:, 2] * boxes[:, 3] / (width * height), side="right")
    return [BOX_SIZES[size] for size in sizes]


def picture_size_group(size_wh: ArrayLike) -> str:
    """Returns by the longer side of a picture in pixels which size it has: where it comes from often tells.

    Examples:
        >>> [picture_size_group(size) for size in ((1024, 1024), (2000, 2048), (2500, 3056))]
        ['up to 1024 px', '1025 to 2048 px', 'over 2048 px']
    """
    longer = int(np.max(size_wh))
    return "up to 1024 px" if longer <= 1024 else "1025 to 2048 px" if longer <= 2048 else "over 2048 px"


def box_count_group(n_boxes: int) -> str:
    """Returns "1", "2" or "3 or more"; "" for none.

    Examples:
        >>> [box_count_group(n) for n in range(5)]
        ['', '1', '2', '3 or more', '3 or more']
    """
    return "" if n_boxes < 1 else str(n_boxes) if n_boxes < 3 else "3 or more"
