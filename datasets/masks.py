"""Boxes to masks: what a segmenter is trained on."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray


def boxes_to_mask(boxes_xyxy: ArrayLike, size_wh: tuple[int, int], dtype: DTypeLike = np.uint8) -> NDArray[Any]:
    """The union of the boxes.

    A pixel is inside if its centre is: column c is painted if x1 <= c + 0.5 < x2, and rows alike. Boxes with integer
    edges are painted exactly, and a box so thin that it holds no centre is not painted at all.

    Args:
        boxes_xyxy: (N, 4) in pixels, fractions allowed; what lies outside the image is cut off. N may be 0.
        size_wh: Width and height of the mask in pixels.
        dtype: Type of the mask.

    Returns:
        (h, w): 1 inside a box, else 0.

    Raises:
        ValueError: If a box is not finite, or its second corner lies before its first (as in x, y, width, height).

    Example:
        >>> boxes_to_mask([[1, 0, 3.4, 1]], size_wh=(4, 2))
        array([[0, 1, 1, 0],
               [0, 0, 0, 0]], dtype=uint8)
    """
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    # "not all right" rather than "any wrong": comparisons with NaN are false
    wrong = ~(np.isfinite(boxes).all(axis=1) & (boxes[:, :2] <= boxes[:, 2:]).all(axis=1))
    if wrong.any():
        raise ValueError(f"boxes must be finite with x1 <= x2 and y1 <= y2, got {boxes[wrong][0].tolist()}")
    width, height = size_wh
    # c + 0.5 >= x1 first holds at c = ceil(x1 - 0.5); the same formula gives the first column that is not < x2
    edges = np.ceil(boxes - 0.5).clip(0, (width, height) * 2).astype(np.int64)
    mask = np.zeros((height, width), dtype=dtype)
    for x1, y1, x2, y2 in edges:
        mask[y1:y2, x1:x2] = 1
    return mask
