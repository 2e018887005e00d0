"""Boxes to masks: what a segmenter is trained on."""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor


def boxes_to_mask(boxes_xyxy: ArrayLike, size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    """The union of the boxes.

    A pixel is inside if its centre is: column c is painted if x1 <= c + 0.5 < x2, and rows alike. Boxes with integer
    edges are painted exactly, and a box so thin that it holds no centre is not painted at all.

    Args:
        boxes_xyxy: (N, 4) in pixels, fractions allowed; what lies outside the image is cut off. N may be 0.
        size_wh: Width and height of the mask in pixels.

    Returns:
        (h, w): 1 inside a box, else 0.

    Raises:
        ValueError: If a box is not finite, or its second corner lies before its first (as in x, y, width, height).

    Example:
        >>> boxes_to_mask([[1, 0, 3.4, 1]], size_wh=(4, 2))
        array([[0, 1, 1, 0],
               [0, 0, 0, 0]], dtype=uint8)
    """
    width, height = size_wh
    mask = np.zeros((height, width), dtype=np.uint8)
    for x1, y1, x2, y2 in pixel_edges(boxes_xyxy, size_wh):
        mask[y1:y2, x1:x2] = 1
    return mask


def pixel_edges(boxes_xyxy: ArrayLike, size_wh: tuple[int, int]) -> NDArray[np.int64]:
    """The pixels of each box, by the rule of `boxes_to_mask`, which see for errors.

    Returns:
        (N, 4): columns x1 to x2 - 1 and rows y1 to y2 - 1, cut off at the image's edge; none where the two are equal.
    """
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    # "not all right" rather than "any wrong": comparisons with NaN are false
    wrong = ~(np.isfinite(boxes).all(axis=1) & (boxes[:, :2] <= boxes[:, 2:]).all(axis=1))
    if wrong.any():
        raise ValueError(f"boxes must be finite with x1 <= x2 and y1 <= y2, got {boxes[wrong][0].tolist()}")
    # c + 0.5 >= x1 first holds at c = ceil(x1 - 0.5); the same formula gives the first column that is not < x2
    return np.ceil(boxes - 0.5).clip(0, size_wh * 2).astype(np.int64)


def paint_masks(edges: Tensor, size: int) -> Tensor:
    """The masks of many squares at once, on the device where the boxes are.

    Args:
        edges: (N, M, 4) integers as `pixel_edges` gives them; a square with fewer than M boxes has empty ones, such as
            all zeros.
        size: Side of the squares in pixels.

    Returns:
        (N, size, size) uint8: 1 inside a box, else 0.
    """
    pixels = torch.arange(size, device=edges.device)
    x1, y1, x2, y2 = edges[..., None].unbind(2)  # (N, M, 1) each
    columns, rows = ((pixels >= first) & (pixels < last) for first, last in ((x1, x2), (y1, y2)))
    # How many boxes a pixel is in: (N, size, M) times (N, M, size). Sums of ones are exact.
    return (rows.float().transpose(1, 2) @ columns.float() > 0).byte()


def share_inside(
    boxes_xyxy: ArrayLike, size_wh: tuple[int, int], covered: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """How much of each box a map covers: its mean over the box, exact to fractions of a cell.

    Args:
        boxes_xyxy: (N, 4) in pixels of an image, inside it.
        size_wh: Width and height of the image in pixels.
        covered: (rows, columns) over the whole image, 0..1, as coarse or fine as it comes.

    Returns:
        (N,) 0..1; 0 for a box without an area.

    Example:
        >>> share_inside([[0, 0, 4, 2], [1, 0, 3, 2]], (4, 2), np.array([[0.0, 1.0]]))
        array([0.5, 0.5])
    """
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    rows, columns = covered.shape
    x1, y1, x2, y2 = (boxes * (np.array([columns, rows] * 2) / (size_wh * 2))).T
    sums = np.pad(covered.astype(np.float64).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))

    def before(x: NDArray[np.float64], y: NDArray[np.float64]) -> Any:
        """The sum above and left of points; between the corners of a cell it is bilinear."""
        column, row = (np.floor(at).clip(0, most - 1).astype(int) for at, most in ((x, columns), (y, rows)))
        right, down = x - column, y - row
        upper = sums[row, column] * (1 - right) + sums[row, column + 1] * right
        lower = sums[row + 1, column] * (1 - right) + sums[row + 1, column + 1] * right
        return upper * (1 - down) + lower * down

    inside = before(x2, y2) - before(x1, y2) - before(x2, y1) + before(x1, y1)
    area = (x2 - x1) * (y2 - y1)
    shares: NDArray[np.float64] = np.divide(inside, area, out=np.zeros(len(boxes)), where=area > 0).clip(0, 1)
    return shares
