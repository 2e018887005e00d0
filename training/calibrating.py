"""Fit a run's calibration on val, and choose operating points by what is wished of them."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from hilum.calibration import Calibration
from hilum.class_names import Confidence
from hilum.datasets.boxes import xyxy_to_xywh
from hilum.datasets.folder import Split
from hilum.detections import Detections
from hilum.errors import HilumError
from hilum.eval.answer import Answer, Boxes, folds_by_patient
from hilum.eval.competition import competition_score
from hilum.eval.froc import froc_curve, rank_boxes
from hilum.eval.platt import Platt, fit_where_it_helps
from hilum.result import by_class, class_probabilities
from hilum.run import CalibrationRecord

_WISH = re.compile(r"(sensitivity|fp_per_image)=([0-9]*\.?[0-9]+)")
WISHES: Final = "sensitivity=SHARE or fp_per_image=NUMBER"


class Wish(NamedTuple):
    """What is wished of an operating point: a least share of true boxes found, or most false positives an image."""

    name: str
    value: float

    def __str__(self) -> str:
        return f"{self.name}={self.value:g}"


def read_wish(text: str) -> Wish:
    """A wish as it is written.

    Raises:
        HilumError: it is none.
    """
    match = _WISH.fullmatch(text.strip())
    if match is None or (match[1] == "sensitivity" and not 0 < float(match[2]) <= 1) or float(match[2]) <= 0:
        raise HilumError(f"--at {text}: expected {WISHES}, such as sensitivity=0.95 or fp_per_image=0.25")
    return Wish(match[1], float(match[2]))


def calibrated(val: Split, found: Sequence[Detections], confidence: Confidence) -> tuple[dict[str, Any], Calibration]:
    """A confidence in calibrated units with the calibration, as `operating_point.json` holds them; and the latter."""
    calibration, record = fit_calibration(val, found)
    return {"confidence": calibration.of_confidence(confidence), "calibration": record}, calibration


def fit_calibration(val: Split, found: Sequence[Detections]) -> tuple[Calibration, CalibrationRecord]:
    """Fit boxes and images of each class on val; of several classes, each as if it were the only one.

    Args:
        val: the truth.
        found: in its images, every box above the backend's floor, not calibrated.

    Returns:
        The calibration, and what a run stores of it: with its numbers the Brier scores on val before, and after it was
        fitted on other patients than it is judged on.
    """
    parts: dict[str, list[Platt]] = {"boxes": [], "images": []}
    briers: dict[str, list[tuple[float, float]]] = {"boxes": [], "images": []}
    probability = np.stack([class_probabilities(each, len(val.class_names)) for each in found])
    for (its, boxes_xywh, confidence), likely in zip(_of_classes(val, found), probability.T, strict=True):
        ranked = rank_boxes(its.boxes_xywh, boxes_xywh, confidence)
        fold = folds_by_patient(its)
        fold = np.zeros(len(its), np.int64) if fold is None else fold
        for name, fitted in [
            ("boxes", fit_where_it_helps(ranked.hit, ranked.confidence, fold[ranked.image])),
            ("images", fit_where_it_helps(its.positive, likely, fold)),
        ]:
            parts[name].append(fitted[0])
            briers[name].append(fitted[1])
    calibration = Calibration(tuple(parts["boxes"]), tuple(parts["images"]))
    means: dict[str, list[float | None]] = {
        name: [float(value) for value in np.mean(values, axis=0)] for name, values in briers.items()
    }
    return calibration, {**calibration.record(), "val_brier": means}


class Reached(NamedTuple):
    """What an operating point reaches on val; of several classes, figures are their means.

    Attributes:
        confidence: from which on boxes are kept, not calibrated.
        score: the competition score.
        sensitivity: share of the true boxes that are found; NaN where there is none.
        false_positives: an image.
    """

    confidence: Confidence
    score: float
    sensitivity: float
    false_positives: float


def confidence_at(val: Split, found: Sequence[Detections], wish: Wish) -> Reached:
    """The confidence that fulfils a wish on val, of each class where there are several, and what it reaches there.

    Of all that give the sensitivity, or the highest one with no more false positives, the highest.

    Raises:
        HilumError: none gives the sensitivity, with what all boxes give; or val shows nothing of a class.
    """
    chosen, scores, sides = [], [], []
    for name, (its, boxes_xywh, confidence) in zip(val.class_names, _of_classes(val, found), strict=True):
        curve = froc_curve(rank_boxes(its.boxes_xywh, boxes_xywh, confidence))
        if wish.name == "sensitivity":
            reached = float(curve.sensitivity[-1]) if len(curve.sensitivity) else 0.0
            if not reached >= wish.value:
                raise HilumError(
                    f"--at {wish}: all boxes of {name} on val together find {reached:.3f} of the true ones; wish for "
                    "less, or train longer"
                )
            fine = curve.sensitivity >= wish.value
        else:
            fine = curve.false_positives <= wish.value
            fine &= ~(curve.sensitivity < np.max(curve.sensitivity, where=fine, initial=0))
        if fine.any():
            best = int(np.argmax(fine))
            sides.append((float(curve.sensitivity[best]), float(curve.false_positives[best])))
            chosen.append(float(curve.confidence[best]))
        else:  # above the surest box there is none, and no false positive
            sides.append((0.0, 0.0))
            chosen.append(1.0)
        if its.shows_opacity:
            scores.append(competition_score(its.boxes_xywh, *Answer(boxes_xywh, confidence, chosen[-1]).kept()))
    score = float(np.mean(scores)) if scores else 0.0
    sensitivity, false_positives = np.mean(sides, axis=0).tolist()
    return Reached(chosen[0] if len(chosen) == 1 else tuple(chosen), score, sensitivity, false_positives)


def _of_classes(val: Split, found: Sequence[Detections]) -> Iterator[tuple[Split, Boxes, Boxes]]:
    """The truth of each class, and the boxes that were found of it, with their confidences."""
    separate = zip(*(by_class(each, len(val.class_names)) for each in found), strict=True)
    for its, of_images in zip(val.by_class().values(), separate, strict=True):
        confidence = [np.asarray(each.confidence, np.float64) for each in of_images]
        yield its, [xyxy_to_xywh(each.xyxy) for each in of_images], confidence
