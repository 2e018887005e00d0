"""What an epoch, and an operating point, is chosen by: the highest point of the threshold curve."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from hilum.class_names import Confidence
from hilum.datasets.boxes import xyxy_to_xywh
from hilum.datasets.folder import Split
from hilum.detections import Detections
from hilum.eval.competition import choose_confidence
from hilum.result import of_class


class OperatingPoint(NamedTuple):
    """A way from a network's output to an answer.

    Attributes:
        parameters: the config's `boxes`, by name.
        confidence: from which on boxes are kept.
        score: competition score on val.
    """

    parameters: dict[str, Any]
    confidence: Confidence
    score: float


def best_operating_point(split: Split, detections: Sequence[Detections]) -> tuple[Confidence, float]:
    """The confidence from which on boxes of a split's images are best kept, and the competition score of that.

    Of several classes, that of each, and the mean score of those classes that have a true box.
    """
    points = [
        _one_class(each, detections if len(split.class_names) == 1 else [of_class(found, k) for found in detections])
        for k, each in enumerate(split.by_class().values())
    ]
    if len(points) == 1:
        return points[0]
    shown = [score for (_, score), each in zip(points, split.by_class().values(), strict=True) if each.shows_opacity]
    return tuple(confidence for confidence, _ in points), sum(shown) / max(1, len(shown))


def _one_class(split: Split, detections: Sequence[Detections]) -> tuple[float, float]:
    boxes = [xyxy_to_xywh(found.xyxy) for found in detections]
    return choose_confidence(split.boxes_xywh, boxes, [found.confidence for found in detections])
