"""What an epoch, and an operating point, is chosen by: the highest point of the threshold curve."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from hilum.datasets.boxes import xyxy_to_xywh
from hilum.datasets.folder import Split
from hilum.detections import Detections
from hilum.eval.competition import choose_confidence


class OperatingPoint(NamedTuple):
    """A way from a network's output to an answer.

    Attributes:
        parameters: the config's `boxes`, by name.
        confidence: from which on boxes are kept.
        score: competition score on val.
    """

    parameters: dict[str, Any]
    confidence: float
    score: float


def best_operating_point(split: Split, detections: Sequence[Detections]) -> tuple[float, float]:
    """The confidence from which on boxes of a split's images are best kept, and the competition score of that."""
    boxes = [xyxy_to_xywh(found.xyxy) for found in detections]
    return choose_confidence(split.boxes_xywh, boxes, [found.confidence for found in detections])
