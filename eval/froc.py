"""FROC: how many truth boxes are found, at how many false positives an image.

Boxes of all images are taken by falling confidence. A box that takes a truth box, at IoU > 0.40 as in the competition,
is a find; any other, a further box on a truth box that is taken included, is a false positive. Boxes of equal
confidence enter together: no threshold could tell them apart, whatever order they were written in.

The sensitivity at a rate is the highest that a threshold reaches without more false positives than that. Nothing is
interpolated between two thresholds: LUNA16's script does, and so credits a detector with operating points it lacks.
The mean over the rates 1/8 to 8 is LUNA16's score (the competition performance metric, CPM) but for that.

Sources: Bunch PC et al.: A free response approach to the measurement and characterization of radiographic observer
performance. Proceedings of SPIE 1977;127:124-135. Setio AAA et al.: Validation, comparison, and combination of
algorithms for automatic detection of pulmonary nodules in CT images: the LUNA16 challenge. Medical Image Analysis
2017;42:1-13.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hilum.eval.bootstrap import Statistic
from hilum.eval.competition import IOU_THRESHOLDS
from hilum.eval.matching import match_boxes

FROC_RATES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
"""False positives an image at which sensitivities are given."""


@dataclass(frozen=True, eq=False)
class RankedBoxes:
    """Every box of a data set and whether it finds a truth box: all that FROC needs. Made by `rank_boxes`.

    Attributes:
        n_truth: (images,), truth boxes of each image.
        image: (boxes,), index of a box's image.
        confidence: (boxes,), falling.
        hit: (boxes,), whether a box takes a truth box.
    """

    n_truth: NDArray[np.int64]
    image: NDArray[np.int64]
    confidence: NDArray[np.float64]
    hit: NDArray[np.bool_]


class FrocCurve(NamedTuple):
    """One point for each distinct confidence, falling: all boxes with at least this confidence.

    Attributes:
        confidence: The threshold.
        false_positives: An image.
        sensitivity: Share of the truth boxes that are found; NaN when there is none.
    """

    confidence: NDArray[np.float64]
    false_positives: NDArray[np.float64]
    sensitivity: NDArray[np.float64]


def rank_boxes(
    truth_xywh: Sequence[NDArray[Any]],
    boxes_xywh: Sequence[NDArray[Any]],
    confidence: Sequence[NDArray[Any]],
    *,
    iou: float = IOU_THRESHOLDS[0],
) -> RankedBoxes:
    """Matches all boxes to the truth; give every box, not only those of the operating point.

    Arguments and errors are those of `hilum.eval.matching.match_boxes`.
    """
    taken = match_boxes(truth_xywh, boxes_xywh, confidence, iou=iou)
    scores = np.concatenate([np.empty(0), *(np.asarray(values, dtype=np.float64) for values in confidence)])
    order = np.argsort(-scores, kind="stable")
    return RankedBoxes(
        n_truth=np.array([len(boxes) for boxes in truth_xywh], dtype=np.int64),
        image=np.repeat(np.arange(len(taken)), [len(boxes) for boxes in taken])[order],
        confidence=scores[order],
        hit=np.concatenate([np.empty(0, dtype=np.int64), *taken])[order] >= 0,
    )


def froc_curve(ranked: RankedBoxes) -> FrocCurve:
    """Returns the whole curve, in one pass over the sorted boxes.

    Examples:
        >>> truth = [np.array([[0, 0, 10, 10]]), np.empty((0, 4))]
        >>> boxes = [np.array([[0, 0, 10, 10]]), np.array([[0, 0, 10, 10]])]
        >>> froc_curve(rank_boxes(truth, boxes, [np.array([0.9]), np.array([0.4])]))
        FrocCurve(confidence=array([0.9, 0.4]), false_positives=array([0. , 0.5]), sensitivity=array([1., 1.]))
    """
    falling = ranked.confidence
    last_of_value = np.flatnonzero(np.append(falling[1:] != falling[:-1], True)[: len(falling)])
    false_positives = np.cumsum(~ranked.hit)[last_of_value]
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN, and meant
        return FrocCurve(
            confidence=falling[last_of_value],
            false_positives=false_positives / np.float64(len(ranked.n_truth)),
            sensitivity=np.cumsum(ranked.hit)[last_of_value] / np.float64(ranked.n_truth.sum()),
        )


def froc_statistic(ranked: RankedBoxes) -> Statistic:
    """Returns the sensitivities at `FROC_RATES` as functions of the images' weights, for `hilum.eval.bootstrap`.

    The names are "froc 0.125" and so on, and "froc mean", LUNA16's score. All are NaN without truth boxes.
    """
    wanted = np.array(FROC_RATES)
    names = [*(f"froc {rate:g}" for rate in wanted), "froc mean"]
    hit_image, false_image = ranked.image[ranked.hit], ranked.image[~ranked.hit]
    # RankedBoxes with more confidence than each false positive; after the last, all.
    hits_before = np.append(
        np.searchsorted(-ranked.confidence[ranked.hit], -ranked.confidence[~ranked.hit], side="left"), len(hit_image)
    )
    # Sorted boxes behind this one are hardly ever needed, and a detector's floor may let a million of them through.
    enough = int(2 * wanted.max() * len(ranked.n_truth)) + 1

    def statistic(weight: NDArray[np.float64]) -> dict[str, float]:
        n_images, n_truth = weight.sum(), weight @ ranked.n_truth
        if not n_images or not n_truth:
            return dict.fromkeys(names, float("nan"))
        allowed = wanted * n_images + 1e-9  # 0.7 * 10 is not 7
        false_positives = np.cumsum(weight[false_image[:enough]])
        if len(false_positives) < len(false_image) and false_positives[-1] <= allowed.max():
            false_positives = np.cumsum(weight[false_image])
        # Up to the first false positive too many; what shares its confidence stays out with it.
        hits = hits_before[np.searchsorted(false_positives, allowed, side="right")]
        found = np.concatenate([[0.0], np.cumsum(weight[hit_image])])
        sensitivity = found[hits] / n_truth
        return dict(zip(names, [*sensitivity.tolist(), float(sensitivity.mean())], strict=True))

    return statistic
