"""What an epoch, and an operating point, is chosen by.

An operating point is the highest point of the competition's threshold curve, whatever the epoch was chosen by: AP, FROC
and AUROC rank all boxes or images, so they have no threshold to tell.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hilum.class_names import Confidence
from hilum.datasets.boxes import xyxy_to_xywh
from hilum.datasets.folder import Dataset, Split
from hilum.detections import Detections
from hilum.errors import HilumError
from hilum.eval.competition import choose_confidence
from hilum.eval.metrics import metric_value
from hilum.result import by_class


class OperatingPoint(NamedTuple):
    """A way from a network's output to an answer.

    Attributes:
        parameters: the config's `boxes`, by name.
        confidence: from which on boxes are kept; of several classes one for each.
        score: competition score on val; of several classes the mean.
    """

    parameters: dict[str, Any]
    confidence: Confidence
    score: float


def epoch_score(select: str, split: Split, detections: Sequence[Detections]) -> float:
    """What an epoch is chosen by, higher is better; 0 where it is not defined, so that of such epochs the last is kept.

    Args:
        select: the name of a metric (`hilum.eval.metrics`).
        split: val.
        detections: what was found in its images, every box above the backend's floor.

    Raises:
        HilumError: as `hilum.eval.metrics.metric_value`.
    """
    value = metric_value(select, split, detections)
    return 0.0 if math.isnan(value) else value


def split_to_choose_on(data: Dataset) -> Split:
    """The val split.

    Raises:
        HilumError: it has no image, or none with opacity, so that nothing can be chosen on it.
    """
    val = data.split("val")
    if not len(val):
        raise HilumError(f"{data.path}: the val split has no image; convert more images")
    if not val.shows_opacity:
        raise HilumError(f"{data.path}: no image of the val split shows opacity, so nothing can be chosen on it")
    return val


def best_operating_point(split: Split, detections: Sequence[Detections]) -> tuple[Confidence, float]:
    """The confidence from which on boxes of a split's images are best kept, and the competition score of that.

    Of several classes, that of each, and the mean score of those classes that have a true box.
    """
    classes = len(split.class_names)
    found = [each for of_image in detections for each in by_class(of_image, classes)]
    boxes = [xyxy_to_xywh(each.xyxy) for each in found]
    return choose_by_class(truth_by_class(split), boxes, [each.confidence for each in found], classes)


def truth_by_class(split: Split) -> list[NDArray[np.float64]]:
    """The true boxes of each image and, in it, of each class, as `choose_by_class` takes them: x, y, width, height."""
    of_classes = [each.boxes_xywh for each in split.by_class().values()]
    return [boxes for of_image in zip(*of_classes, strict=True) for boxes in of_image]


def choose_by_class(
    truth_xywh: Sequence[NDArray[Any]],
    boxes_xywh: Sequence[NDArray[Any]],
    confidence: Sequence[NDArray[Any]],
    classes: int,
) -> tuple[Confidence, float]:
    """As `best_operating_point`, of (images * classes) arrays each: of each image and, in it, of each class."""
    of_classes = [tuple(each[k::classes] for each in (truth_xywh, boxes_xywh, confidence)) for k in range(classes)]
    points = [choose_confidence(*each) for each in of_classes]
    if classes == 1:
        return points[0]
    shown = [score for (_, score), (truth, *_) in zip(points, of_classes, strict=True) if any(map(len, truth))]
    return tuple(least for least, _ in points), sum(shown) / max(1, len(shown))
