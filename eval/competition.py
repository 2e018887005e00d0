"""The score of the RSNA Pneumonia Detection Challenge (2018): mean average precision over eight IoU thresholds.

For one image and one IoU threshold, predicted boxes are taken by falling confidence (ties: in the order given). Each
takes the still free truth box with the highest IoU, if that IoU is above the threshold (ties: the lower index).
Pairs are true positives (TP), the other predictions false positives (FP), the other truth boxes false negatives (FN);
the value is TP / (TP + FP + FN). An image's score is the mean over the thresholds, the final score the mean over the
images that count: those with a truth box or a prediction. It is not COCO's AP, which `hilum.eval.coco` computes.

Source: https://www.kaggle.com/c/rsna-pneumonia-detection-challenge/overview/evaluation

A data set is three parallel sequences with one entry an image: truth boxes (T, 4), predicted boxes (N, 4) and their
confidence (N,). Boxes are x, y, width, height in pixels; a box's area is width x height, with no "+1 pixel".

This module is a leaf: it needs numpy and pycocotools only, so that anything (training included) may import it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

# Decimals, not np.arange(.4, .8, .05), whose 0.6499999999999999 would let an IoU of exactly 0.65 through. For boxes of
# whole pixels the comparison below is then exact: both sides are the double nearest to the true value.
IOU_THRESHOLDS = (0.40, 0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75)

# Rounding in the running sum of `threshold_curve`; two different scores of real data sets lie further apart.
_ROUNDING = 1e-12


class MatchCounts(NamedTuple):
    """TP, FP and FN of each image at each of `IOU_THRESHOLDS`; each array has the shape (images, 8)."""

    true_positive: NDArray[np.int64]
    false_positive: NDArray[np.int64]
    false_negative: NDArray[np.int64]


class ThresholdCurve(NamedTuple):
    """The competition score at every confidence threshold that makes a difference; arrays of one length.

    Attributes:
        confidence: The distinct confidences of the predicted boxes, falling.
        score: The score when boxes with at least this confidence are kept.
        n_scored: How many images count then: those with a truth box or a box that is kept.
    """

    confidence: NDArray[np.float64]
    score: NDArray[np.float64]
    n_scored: NDArray[np.int64]


class _Matches(NamedTuple):
    """Every predicted box: image by image, inside an image by falling confidence."""

    n_truth: NDArray[np.int64]  # (images,)
    n_boxes: NDArray[np.int64]  # (images,)
    image: NDArray[np.int64]  # (boxes,), index of its image
    rank: NDArray[np.int64]  # (boxes,), 0 for the image's most confident box
    confidence: NDArray[np.float64]  # (boxes,)
    hits_so_far: NDArray[np.int64]  # (boxes, 8), true positives of its image up to and including this box


def match_counts(
    truth_xywh: Sequence[NDArray[Any]],
    boxes_xywh: Sequence[NDArray[Any]],
    confidence: Sequence[NDArray[Any]],
    *,
    strict: bool = True,
) -> MatchCounts:
    """Counts true positives, false positives and false negatives of each image at each IoU threshold.

    Args:
        truth_xywh: The truth boxes of each image, (T, 4), in pixels.
        boxes_xywh: The predicted boxes of each image, (N, 4), in pixels.
        confidence: The confidence of each predicted box, (N,); any finite numbers, only their order matters.
        strict: A match needs an IoU above the threshold, as the competition says. False: at or above it, as the
            published code of the winners has it; the two differ only where an IoU is exactly a threshold.

    Returns:
        Three integer arrays of the shape (images, 8).

    Raises:
        ValueError: The three have different lengths, an array has the wrong shape, a value is not finite, or a width
            or height is not above 0. The message names the image by its index.

    Examples:
        Lesion sensitivity and false positives per image at IoU 0.40:

        >>> truth = [np.array([[100, 100, 200, 200]]), np.empty((0, 4))]
        >>> boxes = [np.array([[100, 100, 200, 100], [600, 100, 50, 50]]), np.array([[0, 0, 10, 10]])]
        >>> tp, fp, fn = match_counts(truth, boxes, [np.array([0.9, 0.8]), np.array([0.7])])
        >>> float(tp[:, 0].sum() / (tp + fn)[:, 0].sum()), float(fp[:, 0].mean())
        (1.0, 1.0)
    """
    matches = _match(truth_xywh, boxes_xywh, confidence, strict=strict)
    true_positive = np.zeros((len(matches.n_truth), len(IOU_THRESHOLDS)), dtype=np.int64)
    has_boxes = matches.n_boxes > 0
    true_positive[has_boxes] = matches.hits_so_far[np.cumsum(matches.n_boxes)[has_boxes] - 1]  # the last box of each
    return MatchCounts(
        true_positive=true_positive,
        false_positive=matches.n_boxes[:, None] - true_positive,
        false_negative=matches.n_truth[:, None] - true_positive,
    )


def image_scores(
    truth_xywh: Sequence[NDArray[Any]],
    boxes_xywh: Sequence[NDArray[Any]],
    confidence: Sequence[NDArray[Any]],
    *,
    strict: bool = True,
) -> NDArray[np.float64]:
    """Returns the score of each image, (images,); NaN where the image does not count.

    Arguments and errors are those of `match_counts`. An image with neither truth nor prediction does not count. One
    with only truth boxes or only predictions counts, with 0.

    Examples:
        >>> box = np.array([[100, 100, 200, 200]])
        >>> none = np.empty((0, 4))
        >>> image_scores([box, none, none], [box, none, box], [np.ones(1), np.ones(0), np.ones(1)])
        array([ 1., nan,  0.])
    """
    counts = match_counts(truth_xywh, boxes_xywh, confidence, strict=strict)
    total = counts.true_positive + counts.false_positive + counts.false_negative
    value = np.full(total.shape, np.nan)
    np.divide(counts.true_positive, total, out=value, where=total > 0)
    scores: NDArray[np.float64] = value.mean(axis=1)
    return scores


def competition_score(
    truth_xywh: Sequence[NDArray[Any]],
    boxes_xywh: Sequence[NDArray[Any]],
    confidence: Sequence[NDArray[Any]],
    *,
    strict: bool = True,
) -> float:
    """Returns the competition's score, 0 to 1: the mean over the images that count; NaN when none does.

    Arguments and errors are those of `match_counts`. Every box given counts: choose a confidence threshold on
    validation images (`choose_confidence`) and leave out the boxes below it first.
    """
    scores = image_scores(truth_xywh, boxes_xywh, confidence, strict=strict)
    counted = scores[~np.isnan(scores)]
    return float(counted.mean()) if counted.size else float("nan")


def threshold_curve(
    truth_xywh: Sequence[NDArray[Any]],
    boxes_xywh: Sequence[NDArray[Any]],
    confidence: Sequence[NDArray[Any]],
    *,
    strict: bool = True,
) -> ThresholdCurve:
    """Scores every confidence threshold in one pass.

    What a box matches does not depend on less confident boxes. So each box changes its image's score by an amount that
    is known once the boxes are matched, and a running sum over falling confidence gives the score at each threshold.

    Arguments and errors are those of `match_counts`.

    Returns:
        The curve, one entry a distinct confidence; empty when no box is predicted.

    Examples:
        >>> truth = [np.array([[100, 100, 200, 200]]), np.empty((0, 4))]
        >>> boxes = [np.array([[100, 100, 200, 200]]), np.array([[0, 0, 10, 10]])]
        >>> threshold_curve(truth, boxes, [np.array([0.9]), np.array([0.4])])
        ThresholdCurve(confidence=array([0.9, 0.4]), score=array([1. , 0.5]), n_scored=array([1, 2]))
    """
    matches = _match(truth_xywh, boxes_xywh, confidence, strict=strict)
    n_truth = matches.n_truth[matches.image]
    total = (matches.rank + 1 + n_truth)[:, None] - matches.hits_so_far  # TP + FP + FN
    score = (matches.hits_so_far / total).mean(axis=1)  # of the image, up to and including this box
    first = matches.rank == 0
    gain = score - np.where(first, 0.0, np.roll(score, 1))
    # Images with truth count from the start, with 0; images without it from their first box.
    starts_to_count = first & (n_truth == 0)

    order = np.argsort(-matches.confidence)
    falling = matches.confidence[order]
    last_of_value = np.flatnonzero(np.append(falling[1:] != falling[:-1], True)[: len(falling)])
    n_scored = np.count_nonzero(matches.n_truth) + np.cumsum(starts_to_count[order])[last_of_value]
    return ThresholdCurve(
        confidence=falling[last_of_value],
        score=np.cumsum(gain[order])[last_of_value] / n_scored,
        n_scored=n_scored,
    )


def best_confidence(curve: ThresholdCurve) -> tuple[float, float]:
    """Returns the confidence threshold with the highest score, and that score.

    Among scores that are equal (to rounding, 1e-12) the highest confidence wins: fewer boxes for the same score. So it
    is never above the highest confidence that was predicted. A curve without entries, where nothing was predicted,
    gives (0.0, 0.0): the score of an answer without boxes to any truth, and a threshold that keeps every box, since
    nothing speaks against one.
    """
    if not len(curve.score):
        return 0.0, 0.0
    best = int(np.argmax(curve.score >= curve.score.max() - _ROUNDING))
    return float(curve.confidence[best]), float(curve.score[best])


def choose_confidence(
    truth_xywh: Sequence[NDArray[Any]],
    boxes_xywh: Sequence[NDArray[Any]],
    confidence: Sequence[NDArray[Any]],
) -> tuple[float, float]:
    """Returns the operating point: the confidence threshold with the highest score (`best_confidence`), and that score.

    Where no image has a truth box, every box is wrong at every threshold, and which ones would be right elsewhere
    cannot be told. Then the threshold keeps every box, and the score is 0. Arguments and errors are those of
    `match_counts`.

    Examples:
        >>> box, none = np.array([[100, 100, 200, 200]]), np.empty((0, 4))
        >>> choose_confidence([box, none], [box, box], [np.array([0.9]), np.array([0.4])])
        (0.9, 1.0)
        >>> choose_confidence([none, none], [box, box], [np.array([0.9]), np.array([0.4])])
        (0.0, 0.0)
    """
    curve = threshold_curve(truth_xywh, boxes_xywh, confidence)
    if not any(map(len, truth_xywh)):
        return float(curve.confidence.min(initial=0.0)), 0.0
    return best_confidence(curve)


def flatten_boxes(name: str, per_image_xywh: Sequence[NDArray[Any]]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Checks the boxes of every image and puts them after one another.

    Args:
        name: What to call them in an error.
        per_image_xywh: The boxes of each image, (N, 4): x, y, width, height.

    Returns:
        All boxes (boxes, 4) as float64, and how many each image has (images,).

    Raises:
        ValueError: An array has another shape, a value is not finite, or a width or height is not above 0.
    """
    arrays = [np.asarray(boxes, dtype=np.float64) for boxes in per_image_xywh]
    for index, array in enumerate(arrays):
        if array.ndim != 2 or array.shape[1] != 4:
            raise ValueError(f"{name} of image {index}: expected the shape (N, 4), got {array.shape}")
    counts = np.array([len(array) for array in arrays], dtype=np.int64)
    flat = np.concatenate([np.empty((0, 4)), *arrays])
    # Written so that NaN is caught as well: it compares as False with everything.
    good = np.isfinite(flat).all(axis=1) & (flat[:, 2:] > 0).all(axis=1)
    if not good.all():
        image, box = _locate(int(np.argmin(good)), counts)
        expected = "finite x, y, width, height with width and height above 0"
        raise ValueError(f"{name} of image {image}, box {box}: expected {expected}, got {arrays[image][box].tolist()}")
    return flat, counts


def flatten_confidence(name: str, per_image: Sequence[NDArray[Any]], n_boxes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Checks the confidences of every image against its number of boxes (images,); returns them after one another.

    Raises:
        ValueError: There are more or fewer images, an array is not (N,) for N boxes, or a value is not finite.
    """
    if len(per_image) != len(n_boxes):
        raise ValueError(f"{name}: expected one entry an image, {len(n_boxes)}, got {len(per_image)}")
    arrays = [np.asarray(values, dtype=np.float64) for values in per_image]
    for index, (array, count) in enumerate(zip(arrays, n_boxes.tolist(), strict=True)):
        if array.shape != (count,):
            raise ValueError(f"{name} of image {index}: expected the shape ({count},), one a box, got {array.shape}")
    flat = np.concatenate([np.empty(0), *arrays])
    finite = np.isfinite(flat)
    if not finite.all():
        image, box = _locate(int(np.argmin(finite)), n_boxes)
        raise ValueError(f"{name} of image {image}, box {box}: expected a finite number, got {arrays[image][box]}")
    return flat


def flatten_pair(
    truth_xywh: Sequence[NDArray[Any]], boxes_xywh: Sequence[NDArray[Any]], confidence: Sequence[NDArray[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Checks truth and predictions of the same images, and puts each after one another.

    Returns:
        Truth boxes and how many each image has, predicted boxes and how many, their confidences; see `flatten_boxes`.

    Raises:
        ValueError: As in `match_counts`.
    """
    if len(truth_xywh) != len(boxes_xywh):
        raise ValueError(f"boxes_xywh: expected one entry an image, {len(truth_xywh)}, got {len(boxes_xywh)}")
    truth, n_truth = flatten_boxes("truth_xywh", truth_xywh)
    boxes, n_boxes = flatten_boxes("boxes_xywh", boxes_xywh)
    return truth, n_truth, boxes, n_boxes, flatten_confidence("confidence", confidence, n_boxes)


def _locate(flat_index: int, counts: NDArray[np.int64]) -> tuple[int, int]:
    """Turns an index into all boxes into the index of the image and the box's index there."""
    stops = np.cumsum(counts)
    image = int(np.searchsorted(stops, flat_index, side="right"))
    return image, flat_index - int(stops[image] - counts[image])


def _match(
    truth_xywh: Sequence[NDArray[Any]],
    boxes_xywh: Sequence[NDArray[Any]],
    confidence: Sequence[NDArray[Any]],
    *,
    strict: bool,
) -> _Matches:
    """Matches all images at all thresholds; arguments and errors are those of `match_counts`."""
    truth, n_truth, boxes, n_boxes, flat_confidence = flatten_pair(truth_xywh, boxes_xywh, confidence)

    image = np.repeat(np.arange(len(n_boxes)), n_boxes)
    order = np.lexsort((-flat_confidence, image))  # stable: ties keep the order given
    boxes, flat_confidence = boxes[order], flat_confidence[order]  # `image` is sorted already
    first_box = np.cumsum(n_boxes) - n_boxes

    # Images that lack truth or boxes have nothing to match.
    hit = np.zeros((len(boxes), len(IOU_THRESHOLDS)), dtype=bool)
    to_match = (n_truth > 0) & (n_boxes > 0)
    rows = np.flatnonzero(to_match[image])
    if len(rows):
        truth = truth[np.repeat(to_match, n_truth)]
        iou = _same_image_iou(truth, n_truth[to_match], boxes[rows], n_boxes[to_match])
        hit[rows] = _greedy_hits(iou, n_boxes[to_match], strict=strict)

    hits = np.concatenate([np.zeros((1, len(IOU_THRESHOLDS)), dtype=np.int64), np.cumsum(hit, axis=0, dtype=np.int64)])
    return _Matches(
        n_truth=n_truth,
        n_boxes=n_boxes,
        image=image,
        rank=np.arange(len(boxes)) - first_box[image],
        confidence=flat_confidence,
        hits_so_far=hits[1:] - hits[first_box[image]],
    )


def _same_image_iou(
    truth: NDArray[np.float64], n_truth: NDArray[np.int64], boxes: NDArray[np.float64], n_boxes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Returns each box's IoU with the truth boxes of its own image, (boxes, most truth boxes an image), 0 beyond.

    All arrays run over the same images in the same order; each has at least one truth box and one box.
    """
    iou = np.zeros((len(boxes), int(n_truth.max())))
    no_crowd = np.zeros(iou.shape[1], dtype=np.uint8)
    truth_stops, box_stops = np.cumsum(n_truth).tolist(), np.cumsum(n_boxes).tolist()
    t0 = b0 = 0
    for t1, b1 in zip(truth_stops, box_stops, strict=True):
        iou[b0:b1, : t1 - t0] = coco_mask.iou(boxes[b0:b1], truth[t0:t1], no_crowd[: t1 - t0])
        t0, b0 = t1, b1
    return iou


def _greedy_hits(iou: NDArray[np.float64], n_boxes: NDArray[np.int64], *, strict: bool) -> NDArray[np.bool_]:
    """Returns which box takes a truth box at which threshold, (boxes, 8).

    Runs over ranks (every image's most confident box, then every second one, ...) and treats all images and thresholds
    at once. Images are sorted by their number of boxes, so those that still have one are always the first few.

    Args:
        iou: (boxes, truth), image by image and by falling confidence; 0 where an image has fewer truth boxes.
        n_boxes: How many boxes each image has, (images,).
        strict: See `match_counts`.
    """
    thresholds = np.array(IOU_THRESHOLDS)
    by_count = np.argsort(-n_boxes)
    first_box = (np.cumsum(n_boxes) - n_boxes)[by_count]
    falling_count = n_boxes[by_count]
    hit = np.zeros((len(iou), len(thresholds)), dtype=bool)
    free = np.ones((len(n_boxes), len(thresholds), iou.shape[1]), dtype=bool)
    for rank in range(int(falling_count[0])):
        n_active = int(np.searchsorted(-falling_count, -rank))  # images with more than `rank` boxes
        rows = first_box[:n_active] + rank
        free_iou = free[:n_active] * iou[rows, None, :]  # (active, 8, truth); a taken one's 0 is below every threshold
        best = free_iou.argmax(axis=2)  # the first of equals: the lower index
        best_iou = free_iou.max(axis=2)
        hit[rows] = best_iou > thresholds if strict else best_iou >= thresholds
        image, threshold = np.nonzero(hit[rows])
        free[image, threshold, best[image, threshold]] = False
    return hit
