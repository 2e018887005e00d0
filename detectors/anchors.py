"""Anchors fitted to the boxes of a data set: k-means of shapes, dealt to the levels of a feature pyramid."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

_ROUNDS = 100


def fit_anchors(boxes_wh: ArrayLike, strides: ArrayLike, per_level: int) -> NDArray[np.float64]:
    """The anchors of each level of a feature pyramid, fitted to boxes.

    k-means under IoU (Redmon and Farhadi, arXiv:1612.08242, section 2) finds the shapes; by growing area they are dealt
    to the levels from the finest on. A level whose cells lie further apart than half its anchors' side would miss most
    boxes, so it gets none of them, but the last fitted ones enlarged: a net for what is larger than all boxes seen.

    Args:
        boxes_wh: (N, 2) widths and heights in pixels of the network's input, N >= 1, in any order.
        strides: (levels,) pixels from one cell to the next, growing.
        per_level: Anchors at each cell.

    Returns:
        (levels, per_level, 2) widths and heights in pixels.

    Raises:
        ValueError: If there is no box, or one without an area.
    """
    boxes, spacing = np.asarray(boxes_wh, np.float64).reshape(-1, 2), np.asarray(strides, np.float64)
    if not len(boxes) or not (boxes > 0).all():
        raise ValueError(f"expected at least one box, of positive width and height each; got {len(boxes)}")
    for levels in range(len(spacing), 0, -1):
        fitted = _fit_shapes(boxes, levels, per_level)
        if levels == 1 or (np.sqrt(fitted.prod(axis=2).mean(axis=1)) >= 2 * spacing[:levels]).all():
            break
    return np.concatenate([fitted, fitted[-1] * (spacing[levels:] / spacing[levels - 1])[:, None, None]])


def shape_iou(some_wh: NDArray[np.float64], others_wh: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 2) and (M, 2) widths and heights to (N, M) IoUs of boxes around one centre."""
    overlap = np.minimum(some_wh[:, None], others_wh[None]).prod(axis=2)
    iou: NDArray[np.float64] = overlap / (some_wh.prod(axis=1)[:, None] + others_wh.prod(axis=1)[None] - overlap)
    return iou


def mean_best_iou(boxes_wh: NDArray[np.float64], anchors_wh: NDArray[np.float64]) -> float:
    """How well shapes are covered: the mean over (N, 2) boxes of the IoU with the nearest of (..., 2) anchors."""
    return float(shape_iou(boxes_wh, anchors_wh.reshape(-1, 2)).max(axis=1).mean())


def _fit_shapes(boxes: NDArray[np.float64], sizes: int, ratios: int) -> NDArray[np.float64]:
    """(sizes, ratios, 2) shapes by growing area; k-means from quantiles of area and, in each, of the ratio of sides."""
    # Each start is the mean of some boxes; so few boxes count several times.
    many = np.repeat(boxes, -(-sizes * ratios // len(boxes)), axis=0)
    by_area = np.lexsort((*many.T, many.prod(axis=1)))
    starts = [
        many[part].mean(axis=0)
        for group in np.array_split(by_area, sizes)
        for part in np.array_split(group[np.argsort(many[group, 1] / many[group, 0], kind="stable")], ratios)
    ]
    shapes = best = np.array(starts)
    covered = mean_best_iou(boxes, best)
    nearest = np.zeros(0)
    for _ in range(_ROUNDS):
        before, nearest = nearest, shape_iou(boxes, shapes).argmax(axis=1)
        if np.array_equal(before, nearest):
            break
        shapes = shapes.copy()
        for cluster in np.unique(nearest):  # one that is nearest to no box stays where it is
            shapes[cluster] = boxes[nearest == cluster].mean(axis=0)
        now = mean_best_iou(boxes, shapes)
        if now > covered:  # a mean is not the shape of the best IoU, so a round can also lose
            best, covered = shapes, now
    return best[np.argsort(best.prod(axis=1), kind="stable")].reshape(sizes, ratios, 2)
