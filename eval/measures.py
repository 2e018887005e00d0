"""Everything that is said of one detector on one split."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.datasets.folder import Split
from hilum.eval.bootstrap import Interval, interval
from hilum.eval.coco import COCO_IOU, coco_ap
from hilum.eval.competition import IOU_THRESHOLDS, competition_score, image_scores, match_counts

Boxes = Sequence[NDArray[np.float64]]


@dataclass(frozen=True)
class Answer:
    """A detector's boxes on a split, in the split's order.

    Attributes:
        boxes_xywh: (boxes, 4) pixels, one array an image.
        confidence: (boxes,) 0..1.
        least: boxes below this confidence do not count as the answer; AP ranks them all.
        probability: (images,) 0..1 that an image shows an opacity, NaN where it was not predicted; None where nobody
            says.
    """

    boxes_xywh: Boxes
    confidence: Boxes
    least: float = 0.0
    probability: NDArray[np.float64] | None = None

    def kept(self) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
        """The boxes, and their confidences, that are the answer at the operating point."""
        masks = [confidence >= self.least for confidence in self.confidence]
        boxes = [boxes[mask] for boxes, mask in zip(self.boxes_xywh, masks, strict=True)]
        return boxes, [confidence[mask] for confidence, mask in zip(self.confidence, masks, strict=True)]


@dataclass(frozen=True)
class Measures:
    """Figures of one detector on one split.

    Attributes:
        score: the competition score at the operating point, with its 95% bootstrap interval over patients.
        score_at_or_above: the same with IoU >= t in place of > t, as the winners' public code has it.
        ap_competition: COCO AP at IoU 0.40:0.05:0.75, over all boxes.
        ap_coco: COCO AP at IoU 0.50:0.05:0.95, over all boxes.
        sensitivity: share of true boxes that are matched at IoU > 0.40, at the operating point.
        false_positives_per_image: boxes without a match at IoU > 0.40, at the operating point, over all images.
        least_confidence: the operating point.
        images: in the split.
        images_scored: those that count: with truth or with an answer.
    """

    score: Interval
    score_at_or_above: float
    ap_competition: float
    ap_coco: float
    sensitivity: float
    false_positives_per_image: float
    least_confidence: float
    images: int
    images_scored: int

    def to_json(self) -> dict[str, Any]:
        """Plain values; an interval becomes an object."""
        return {**asdict(self), "score": self.score._asdict()}


def scores_of(split: Split, answer: Answer) -> NDArray[np.float64]:
    """Each image's competition score at the operating point; NaN where the image does not count."""
    return image_scores(split.boxes_xywh, *answer.kept())


def measure(split: Split, answer: Answer) -> Measures:
    """Measure an answer against the truth of a split."""
    truth = split.boxes_xywh
    boxes, confidence = answer.kept()
    scores = image_scores(truth, boxes, confidence)
    counts = match_counts(truth, boxes, confidence)
    found, missed = counts.true_positive[:, 0].sum(), counts.false_negative[:, 0].sum()
    return Measures(
        score=interval(scores, split.patients),
        score_at_or_above=competition_score(truth, boxes, confidence, strict=False),
        ap_competition=coco_ap(truth, answer.boxes_xywh, answer.confidence, iou_thresholds=IOU_THRESHOLDS),
        ap_coco=coco_ap(truth, answer.boxes_xywh, answer.confidence, iou_thresholds=COCO_IOU),
        sensitivity=float(found / (found + missed)) if found + missed else float("nan"),
        false_positives_per_image=float(counts.false_positive[:, 0].mean()) if len(split) else float("nan"),
        least_confidence=answer.least,
        images=len(split),
        images_scored=int(np.isfinite(scores).sum()),
    )


def nothing(split: Split) -> Answer:
    """The answer without any box."""
    return Answer([np.zeros((0, 4))] * len(split), [np.zeros(0)] * len(split))


def everywhere(boxes_xywh: Boxes) -> Answer:
    """An answer of boxes that are equally sure."""
    return Answer(boxes_xywh, [np.ones(len(boxes)) for boxes in boxes_xywh])
