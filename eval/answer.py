"""A detector's answer on a split, and the thresholds that were chosen for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from hilum.datasets.boxes import xywh_to_xyxy
from hilum.datasets.folder import Split
from hilum.detections import Detections
from hilum.eval.competition import choose_confidence
from hilum.eval.crossfit import cross_fit, cross_fit_confidence, deal_folds
from hilum.eval.image_level import threshold_at_sensitivity, youden_threshold
from hilum.eval.platt import Platt
from hilum.result import IMAGE_PROBABILITY

Boxes = Sequence[NDArray[np.float64]]
Threshold = float | NDArray[np.float64]
"""One for all images, or one an image where it was cross-fitted."""

AT_SENSITIVITY, YOUDEN = "95% sensitivity", "Youden's point"
_SENSITIVITY = 0.95
_FOLDS = 5


@dataclass(frozen=True)
class Answer:
    """A detector's boxes on a split, in the split's order.

    Attributes:
        boxes_xywh: (boxes, 4) pixels, one array an image.
        confidence: (boxes,) 0..1.
        least: boxes below this confidence do not count as the answer; AP and FROC rank them all.
        probability: (images,) 0..1 that an image shows an opacity, NaN where it was not predicted; None where nobody
            says.
        missing: how many images what it was read from says nothing of; they count as without a box.
        least_is_given: whether what it was read from says `least`.
        calibration: how its confidences, and its probabilities, were calibrated; None where nobody says.
    """

    boxes_xywh: Boxes
    confidence: Boxes
    least: Threshold = 0.0
    probability: NDArray[np.float64] | None = None
    missing: int = 0
    least_is_given: bool = False
    calibration: tuple[Platt, Platt] | None = None

    def kept(self) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
        """The boxes, and their confidences, that are the answer at the operating point."""
        least = np.broadcast_to(self.least, len(self.confidence))
        masks = [confidence >= limit for confidence, limit in zip(self.confidence, least, strict=True)]
        boxes = [boxes[mask] for boxes, mask in zip(self.boxes_xywh, masks, strict=True)]
        return boxes, [confidence[mask] for confidence, mask in zip(self.confidence, masks, strict=True)]

    def probabilities(self) -> NDArray[np.float64]:
        """Of each image, (images,): as given, else the highest confidence of its boxes; 0 where there is none."""
        highest = np.array([values.max(initial=0.0) for values in self.confidence], np.float64)
        if self.probability is None:
            return np.clip(highest, 0, 1)
        return np.clip(np.where(np.isnan(self.probability), 0.0, self.probability), 0, 1)


def as_detections(answers: Sequence[Answer]) -> list[Detections]:
    """The answers to each class, in the order of their ids, as a backend gives them: all boxes of an image at once."""
    found = []
    said = [answer.probability is not None for answer in answers]
    probabilities = np.stack([answer.probabilities() for answer in answers], axis=1)
    for number, of_image in enumerate(probabilities.tolist()):
        boxes = np.concatenate([answer.boxes_xywh[number].reshape(-1, 4) for answer in answers])
        counts = [len(answer.confidence[number]) for answer in answers]
        detections = Detections(
            xyxy=xywh_to_xyxy(boxes),
            confidence=np.concatenate([answer.confidence[number] for answer in answers]),
            class_id=np.repeat(np.arange(len(answers)), counts),
        )
        if any(said):
            detections.metadata[IMAGE_PROBABILITY] = of_image[0] if len(answers) == 1 else np.array(of_image)
        found.append(detections)
    return found


def joined(answers: Sequence[Answer]) -> Answer:
    """What counts of the answers to several classes as one: boxes at their operating points, the likeliest class."""
    kept = [answer.kept() for answer in answers]
    images = range(len(answers[0].confidence))
    return Answer(
        [np.concatenate([boxes[number].reshape(-1, 4) for boxes, _ in kept]) for number in images],
        [np.concatenate([confidence[number] for _, confidence in kept]) for number in images],
        probability=np.max([answer.probabilities() for answer in answers], axis=0),
    )


def nothing(split: Split) -> Answer:
    """The answer without any box."""
    return Answer([np.zeros((0, 4))] * len(split), [np.zeros(0)] * len(split))


def everywhere(boxes_xywh: Boxes) -> Answer:
    """An answer of boxes that are equally sure."""
    return Answer(boxes_xywh, [np.ones(len(boxes)) for boxes in boxes_xywh])


def positive_patients(split: Split) -> int:
    """How many patients have an image with a true box; cross-fitting takes two, as it chooses for one on the other."""
    return len(set(compress(split.patients, split.positive)))


def image_thresholds(split: Split, answer: Answer) -> dict[str, Threshold]:
    """Choose on a split from which probability on an image is called one with opacity."""
    positive, probability = split.positive, answer.probabilities()
    return {
        AT_SENSITIVITY: threshold_at_sensitivity(positive, probability, _SENSITIVITY),
        YOUDEN: youden_threshold(positive, probability),
    }


def cross_fitted_thresholds(split: Split, answer: Answer) -> dict[str, Threshold]:
    """The same where the split is the only labelled one: for each fifth of the patients chosen on the others."""
    positive, probability = split.positive, answer.probabilities()
    fold = folds_by_patient(split)
    if fold is None:
        return {AT_SENSITIVITY: float("nan"), YOUDEN: float("nan")}
    return {
        AT_SENSITIVITY: cross_fit(
            lambda rows: threshold_at_sensitivity(positive[rows], probability[rows], _SENSITIVITY), fold
        ),
        YOUDEN: cross_fit(lambda rows: youden_threshold(positive[rows], probability[rows]), fold),
    }


def with_chosen_confidence(answer: Answer, split: Split, on: tuple[Split, Answer] | None) -> Answer:
    """The answer with an operating point: chosen on another split and the answer there, or cross-fitted on its own."""
    if on is not None:
        other, its = on
        return replace(answer, least=choose_confidence(other.boxes_xywh, its.boxes_xywh, its.confidence)[0])
    fold = folds_by_patient(split)
    if fold is None:
        return answer
    return replace(answer, least=cross_fit_confidence(split.boxes_xywh, answer.boxes_xywh, answer.confidence, fold))


def folds_by_patient(split: Split) -> NDArray[np.int64] | None:
    """The fold of each image, (images,), of five by patient; None where there are not two of them."""
    folds = min(_FOLDS, len(set(split.patients)))
    return deal_folds(split.patients, split.positive, folds=folds) if folds > 1 else None


def by_name(thresholds: Mapping[str, Threshold]) -> dict[str, float]:
    """As figures that can be shown: NaN where it differs from image to image, or is undefined."""
    return {name: float(value) if np.ndim(value) == 0 else float("nan") for name, value in thresholds.items()}
