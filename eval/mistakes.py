"""Sort the errors of an answer: every predicted box and every truth box gets exactly one kind.

Boxes and truth boxes are first matched as the competition does, at IoU > 0.40: these are found. What is left is sorted
by the first of these rules that applies; "free" is a truth box that was not found.

For a predicted box:

1. merged: it covers more than half of each of two or more free truth boxes.
2. split: it is a piece of a free truth box, that is, more than half of the piece lies inside and it covers at most half
   of the truth box, and all pieces together cover more than half of it. So there are at least two.
3. double: of the truth boxes it touches at IoU > 0.10, the one it overlaps most has been found by another box.
4. wrong size: it touches a free truth box at IoU > 0.10; wrong in size or place, or both.
5. false: by the class of the image if it has no truth box, else "false beside opacity".

For a truth box: found, merged (a merged box covers it), split (pieces cover it), wrong size (a box of wrong size
touches it), missed. None of it depends on the order of the boxes, as long as no two confidences of an image are equal.

Compare Bolya D et al.: TIDE: a general toolbox for identifying object detection errors. ECCV 2020, which knows neither
split nor merged: with opacities these are the errors of segmenters.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.eval.matching import match_boxes

_TOUCHES = 0.10  # IoU
_COVERS = 0.5  # share of an area


class Kind(StrEnum):
    """What a box is. A truth box is one of FOUND, MERGED, SPLIT, WRONG_SIZE, MISSED; a predicted one is not MISSED."""

    FOUND = "found"
    MERGED = "merged"
    SPLIT = "split"
    DOUBLE = "double"
    WRONG_SIZE = "wrong size"
    FALSE_NORMAL = "false on Normal"
    FALSE_NOT_NORMAL = "false on Not Normal"
    FALSE_UNKNOWN = "false, class unknown"
    FALSE_BESIDE = "false beside opacity"
    MISSED = "missed"


_FALSE = {"Normal": Kind.FALSE_NORMAL, "No Lung Opacity / Not Normal": Kind.FALSE_NOT_NORMAL}

Kinds = tuple[tuple[Kind, ...], ...]


@dataclass(frozen=True)
class Mistakes:
    """The kind of every box, image by image, in the order the boxes were given.

    Attributes:
        boxes: Of the predicted boxes.
        truth: Of the truth boxes.
    """

    boxes: Kinds
    truth: Kinds


def sort_mistakes(
    truth_xywh: Sequence[NDArray[Any]],
    boxes_xywh: Sequence[NDArray[Any]],
    confidence: Sequence[NDArray[Any]],
    classes: Sequence[str] | None = None,
) -> Mistakes:
    """Gives every box its kind.

    Args:
        truth_xywh: The truth boxes of each image, (T, 4), in pixels.
        boxes_xywh: The predicted boxes of each image, (N, 4), in pixels: the answer at the operating point.
        confidence: The confidence of each predicted box, (N,).
        classes: "Normal", "No Lung Opacity / Not Normal" or anything else, an image; None where unknown.

    Raises:
        ValueError: As in `hilum.eval.competition.match_counts`, or there are not as many classes as images.

    Examples:
        >>> truth = [np.array([[0, 0, 10, 20]])]
        >>> halves = [np.array([[0, 0, 10, 8], [0, 12, 10, 8]])]
        >>> sort_mistakes(truth, halves, [np.array([0.9, 0.8])]).boxes
        ((<Kind.SPLIT: 'split'>, <Kind.SPLIT: 'split'>),)
    """
    matches = match_boxes(truth_xywh, boxes_xywh, confidence)
    if classes is None:
        classes = [""] * len(matches)
    if len(classes) != len(matches):
        raise ValueError(f"classes: expected one entry an image, {len(matches)}, got {len(classes)}")
    of_boxes: list[tuple[Kind, ...]] = []
    of_truth: list[tuple[Kind, ...]] = []
    for image_truth, image_boxes, match, name in zip(truth_xywh, boxes_xywh, matches, classes, strict=True):
        if len(image_truth) and len(image_boxes):
            kinds = _sort_image(np.asarray(image_truth, np.float64), np.asarray(image_boxes, np.float64), match)
        else:
            kinds = (_FALSE.get(name, Kind.FALSE_UNKNOWN),) * len(image_boxes), (Kind.MISSED,) * len(image_truth)
        of_boxes.append(kinds[0])
        of_truth.append(kinds[1])
    return Mistakes(tuple(of_boxes), tuple(of_truth))


def totals(kinds: Kinds) -> dict[str, int]:
    """How many boxes are of each kind, over all images; `kinds` is a field of `Mistakes`."""
    counts = Counter(kind for image in kinds for kind in image)
    return {str(kind): counts[kind] for kind in Kind if kind in counts}


def worst_first(kinds: Kinds, kind: Kind, weights: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    """Returns the images that have a box of this kind, the worst first.

    Args:
        kinds: A field of `Mistakes`.
        kind: To look for.
        weights: How bad each box is, (N,) an image: the confidence of predicted boxes, the area of truth boxes. An
            image is as bad as the sum over its boxes of this kind; equals stay in their order.

    Returns:
        Indices of images.

    Raises:
        ValueError: There are not as many weights as boxes.
    """
    if [len(image) for image in kinds] != [len(image) for image in weights]:
        raise ValueError("weights: expected one a box, in as many arrays as there are images")
    badness = np.array(
        [
            sum(weight for weight, this in zip(values, image, strict=True) if this is kind)
            for image, values in zip(kinds, weights, strict=True)
        ],
        dtype=np.float64,
    )
    has_it = np.flatnonzero([kind in image for image in kinds])
    return has_it[np.argsort(-badness[has_it], kind="stable")]


def _sort_image(
    truth: NDArray[np.float64], boxes: NDArray[np.float64], match: NDArray[np.int64]
) -> tuple[tuple[Kind, ...], tuple[Kind, ...]]:
    """The kinds of an image's boxes (N, 4), N >= 1, and truth boxes (T, 4), T >= 1; `match` as of `match_boxes`."""
    truth_area, box_area = truth[:, 2:].prod(axis=1), boxes[:, 2:].prod(axis=1)
    low = np.maximum(boxes[:, None, :2], truth[None, :, :2])
    high = np.minimum((boxes[:, :2] + boxes[:, 2:])[:, None], (truth[:, :2] + truth[:, 2:])[None])
    shared = np.prod((high - low).clip(0), axis=2)  # (N, T)
    iou = shared / (box_area[:, None] + truth_area[None] - shared)

    found = np.zeros(len(truth), dtype=np.bool_)
    found[match[match >= 0]] = True
    loose = (match < 0)[:, None] & ~found[None]  # pairs of a box and a truth box that are both left

    covers = loose & (shared > _COVERS * truth_area[None])
    merged_box = np.count_nonzero(covers, axis=1) >= 2
    merged_truth = covers[merged_box].any(axis=0)

    is_piece = (
        loose
        & ~merged_box[:, None]
        & ~merged_truth[None]
        & (shared > _COVERS * box_area[:, None])
        & (shared <= _COVERS * truth_area[None])
    )
    split_truth = np.array(
        [
            _union_area(low[pieces, number], high[pieces, number]) > _COVERS * truth_area[number]
            for number, pieces in enumerate(is_piece.T)
        ]
    )
    split_box = is_piece[:, split_truth].any(axis=1)

    best_found = np.where(found[None], iou, 0).max(axis=1)
    best_free = np.where(found[None], 0, iou).max(axis=1)
    false_or_placed = np.select(
        [(best_found > _TOUCHES) & (best_found >= best_free), best_free > _TOUCHES],
        [Kind.DOUBLE.value, Kind.WRONG_SIZE.value],
        Kind.FALSE_BESIDE.value,
    )
    box_kinds = np.select(
        [match >= 0, merged_box, split_box], [Kind.FOUND.value, Kind.MERGED.value, Kind.SPLIT.value], false_or_placed
    )
    touched = (iou[box_kinds == Kind.WRONG_SIZE.value] > _TOUCHES).any(axis=0)
    truth_kinds = np.select(
        [found, merged_truth, split_truth, touched],
        [Kind.FOUND.value, Kind.MERGED.value, Kind.SPLIT.value, Kind.WRONG_SIZE.value],
        Kind.MISSED.value,
    )
    return tuple(map(Kind, box_kinds.tolist())), tuple(map(Kind, truth_kinds.tolist()))


def _union_area(low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    """Area that rectangles, given by two corners (N, 2) each, cover together: exact, on the grid of their edges."""
    if not len(low):
        return 0.0
    xs, ys = (np.unique(np.concatenate([low[:, axis], high[:, axis]])) for axis in (0, 1))
    in_column = (low[:, None, 0] <= xs[None, :-1]) & (xs[None, 1:] <= high[:, None, 0])  # (N, columns)
    in_row = (low[:, None, 1] <= ys[None, :-1]) & (ys[None, 1:] <= high[:, None, 1])
    covered = np.einsum("nr,nc->rc", in_row.astype(np.int64), in_column.astype(np.int64)) > 0
    return float(np.diff(ys) @ covered @ np.diff(xs))
