"""What makes a run's confidences and probabilities mean what they say: stored with its operating point.

A box of confidence 0.7 hits a true opacity, at the competition's lowest IoU, in seven of ten cases like it; an image of
probability 0.7 shows one in seven of ten. Both are fitted on val (`hilum.training.calibrating`), a class each.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hilum.class_names import Confidence
from hilum.detections import Detections
from hilum.errors import HilumError
from hilum.eval.platt import Platt
from hilum.result import IMAGE_PROBABILITY, class_probabilities
from hilum.run import OPERATING_POINT, CalibrationRecord, read_operating_point


@dataclass(frozen=True)
class Calibration:
    """Of each class, what is done to its boxes' confidences, and to the images' probabilities of it."""

    boxes: tuple[Platt, ...]
    images: tuple[Platt, ...]

    def apply(self, found: Detections) -> Detections:
        """What was found in an image, calibrated; order and boxes stay.

        An image's probability that its backend does not say is that of its surest box, calibrated as one of an image.
        """
        classes = len(self.boxes)
        confidence = np.array(found.confidence, np.float64)
        for class_id, platt in enumerate(self.boxes):
            its = found.class_id == class_id
            confidence[its] = platt.apply(confidence[its])
        said = class_probabilities(found, classes).tolist()
        images = [float(platt.apply(value)) for platt, value in zip(self.images, said, strict=True)]
        order = np.argsort(-confidence, kind="stable")  # classes change differently
        return Detections(
            xyxy=found.xyxy[order],
            confidence=confidence[order],
            class_id=found.class_id[order],
            metadata={**found.metadata, IMAGE_PROBABILITY: images[0] if classes == 1 else images},
        )

    def of_confidence(self, confidence: Confidence) -> Confidence:
        """A least confidence, or that of each class, in calibrated units: the same boxes are kept."""
        if not isinstance(confidence, tuple):
            return float(self.boxes[0].apply(confidence))
        return tuple(float(platt.apply(least)) for platt, least in zip(self.boxes, confidence, strict=True))

    def record(self) -> CalibrationRecord:
        """As `operating_point.json` holds it."""
        return {"boxes": [list(each) for each in self.boxes], "images": [list(each) for each in self.images]}


def read_calibration(run: Path, classes: int) -> Calibration | None:
    """What is stored with a run; None for runs that have none.

    Raises:
        HilumError: the record is damaged, or not of so many classes.
    """
    record = read_operating_point(run).get("calibration")
    if record is None:
        return None
    parts = []
    for name, rows in (("boxes", record["boxes"]), ("images", record["images"])):
        if len(rows) != classes or any(len(row) != 2 or row[0] <= 0 for row in rows):
            raise HilumError(
                f"{run / OPERATING_POINT}: calibration.{name}: expected a slope above 0 and an intercept for each of "
                f"{classes} classes; tune or train again"
            )
        parts.append(tuple(Platt(*row) for row in rows))
    return Calibration(*parts)
