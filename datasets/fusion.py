"""Several answers to one image made one: weighted box fusion, soft-NMS, averaging by vote.

Each function takes one array of boxes (N, 4), xyxy in pixels, and of confidences (N,) for each model, and the models'
weights; it returns one pair of such arrays, by falling confidence. The order of models, and of boxes in an answer,
makes no difference.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Boxes(NamedTuple):
    """The boxes of an image: (N, 4), xyxy in pixels, and their confidence (N,)."""

    xyxy: Array
    confidence: Array

    def where(self, kept: NDArray[np.bool_] | NDArray[np.int64] | slice) -> "Boxes":
        """Some of the boxes, or all in another order."""
        return Boxes(self.xyxy[kept], self.confidence[kept])


def weighted_box_fusion(
    found: Sequence[Boxes], weights: Sequence[float], *, iou: float = 0.55, votes: int = 1
) -> Boxes:
    """Averages boxes that overlap, each weighing as much as its confidence times its model's weight.

    Boxes are taken by falling weighted confidence; each joins the fused box that it overlaps most, if by more than
    `iou`, which moves to the weighted mean. The confidence is the weighted mean over the boxes of a cluster and the
    models that have none there, which count as 0. Boxes without confidence take no part. Clusters with boxes of fewer
    models than `votes` are dropped.

    Source: Solovyev R, Wang W, Gabruseva T: Weighted boxes fusion. Image and Vision Computing 2021;107:104117. The
    confidence is that of `conf_type="absent_model_aware_avg"` in their package ensemble-boxes: it differs from "avg"
    only where a model has several boxes in a cluster, and never exceeds 1.
    """
    boxes, confidence, model, weight = _pooled(found, weights)
    score = confidence * weight
    fused = np.empty_like(boxes)
    sums, total, weight_sum = np.zeros_like(boxes), np.zeros(len(boxes)), np.zeros(len(boxes))
    seen = np.zeros((len(boxes), len(found)), bool)
    clusters = 0
    for box, mass, which, weighs in zip(boxes, score, model, weight, strict=True):
        overlap = overlaps(box, fused[:clusters])
        at = int(np.argmax(overlap)) if clusters else 0
        if not clusters or overlap[at] <= iou:
            at, clusters = clusters, clusters + 1
        sums[at] += mass * box
        total[at] += mass
        weight_sum[at] += weighs
        seen[at, which] = True
        fused[at] = sums[at] / total[at]
    absent = ~seen[:clusters] @ np.asarray(weights, np.float64)
    mean, agreed = total[:clusters] / (weight_sum[:clusters] + absent), seen[:clusters].sum(axis=1) >= votes
    return _falling(fused[:clusters][agreed], mean[agreed])


def soft_nms(
    found: Sequence[Boxes],
    weights: Sequence[float],
    *,
    sigma: float = 0.5,
    floor: float = 0.001,
) -> Boxes:
    """Keeps every box, and lowers its confidence to exp(-overlap^2 / sigma) for each more confident one.

    There is no threshold: every overlap counts, by how large it is. Confidences are first multiplied by the model's
    weight, of which the highest counts as 1. `sigma` is that of the Gaussian; boxes below `floor` are dropped.

    Source: Bodla N, Singh B, Chellappa R, Davis LS: Soft-NMS. ICCV 2017.
    """
    boxes, confidence, _, weight = _pooled(found, weights)
    confidence = confidence * weight / max(weights)
    kept: list[int] = []
    left = np.arange(len(boxes))
    while len(left):
        first = int(left[np.argmax(confidence[left])])
        if confidence[first] < floor:
            break
        kept.append(first)
        left = left[left != first]
        confidence[left] *= np.exp(-(overlaps(boxes[first], boxes[left]) ** 2) / sigma)
    return Boxes(boxes[kept], confidence[kept])


def vote_average(found: Sequence[Boxes], weights: Sequence[float], *, iou: float = 0.4, votes: int = 1) -> Boxes:
    """Averages the boxes of all models that see the same opacity, as places 1 to 3 of the challenge did with folds.

    The most confident box that is left opens a vote; each other model gives it the box of its own that overlaps it
    most, if by more than `iou`. Coordinates are averaged by the models' weights; the confidence is the weighted mean
    over all models, where those that did not vote count as 0. A model's further boxes open votes of their own. Results
    that fewer models than `votes` gave a box for are dropped.
    """
    boxes, confidence, model, weight = _pooled(found, weights)
    results: list[Array] = []
    means: list[float] = []
    left = np.arange(len(boxes))
    while len(left):
        overlap = overlaps(boxes[left[0]], boxes[left])
        overlap[0] = np.inf  # itself
        # The best of each model: sorted by overlap, the first of each; among equals the more confident one.
        near = np.flatnonzero((overlap > iou) & ((model[left] != model[left[0]]) | (overlap == np.inf)))
        near = near[np.argsort(-overlap[near], kind="stable")]
        cast = left[near[np.unique(model[left[near]], return_index=True)[1]]]
        if len(cast) >= votes:
            results.append(np.average(boxes[cast], axis=0, weights=weight[cast]))
            means.append(float(confidence[cast] @ weight[cast] / sum(weights)))
        left = np.setdiff1d(left, cast)
    return _falling(np.array(results).reshape(-1, 4), np.array(means, np.float64))


def overlaps(box_xyxy: Array, boxes_xyxy: Array) -> Array:
    """IoU of one box (4,) with each of others (N, 4); (N,)."""
    sides = np.minimum(box_xyxy[2:], boxes_xyxy[:, 2:]) - np.maximum(box_xyxy[:2], boxes_xyxy[:, :2])
    inside = sides.clip(0).prod(axis=1)
    union = (box_xyxy[2:] - box_xyxy[:2]).prod() + (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1) - inside
    shares: Array = inside / union
    return shares


def _pooled(found: Sequence[Boxes], weights: Sequence[float]) -> tuple[Array, Array, NDArray[np.int64], Array]:
    """All boxes with confidence, model and weight, by falling weighted confidence; ties by place, not by model."""
    if len(found) != len(weights) or not len(found) or min(weights) <= 0:
        raise ValueError(f"expected a weight above 0 for each of {len(found)} models, got {list(weights)}")
    counts = [len(confidence) for _, confidence in found]
    boxes = np.concatenate([np.asarray(boxes, np.float64).reshape(-1, 4) for boxes, _ in found])
    confidence = np.concatenate([np.asarray(confidence, np.float64) for _, confidence in found])
    model = np.repeat(np.arange(len(found)), counts)
    weight = np.repeat(np.asarray(weights, np.float64), counts)
    order = np.lexsort((*boxes.T[::-1], -confidence * weight))
    order = order[confidence[order] > 0]
    return boxes[order], confidence[order], model[order], weight[order]


def _falling(boxes: Array, confidence: Array) -> Boxes:
    order = np.argsort(-confidence, kind="stable")
    return Boxes(boxes[order], confidence[order])
