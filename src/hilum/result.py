"""What a detector says of one image: its boxes, and how likely the image shows an opacity at all."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from hilum.class_names import ONE_CLASS, Confidence, confidence_text
from hilum.datasets.letterbox import Letterbox
from hilum.detections import Detections
from hilum.dicom.header import NOTHING_SAID, Description

if TYPE_CHECKING:  # few results become DICOM objects
    from hilum.findings.finding import Algorithm
    from hilum.findings.objects import Kind

IMAGE_PROBABILITY = "image_probability"
# Key of `Detections.metadata` under which a backend says how likely the image shows an opacity; of several classes, the
# probability of each, (classes,).


@dataclass(frozen=True)
class Result:
    """What was found in one input.

    Examples:
        >>> import hilum
        >>> (result,) = hilum.load("RUN").predict("a.dcm")
        >>> result.detections.xyxy.shape == (len(result.detections), 4), result.size_wh, result.error
        (True, (1024, 1024), None)
        >>> [*result.to_dict()][:3]
        ['image_id', 'sop_instance_uid', 'study_instance_uid']

    Attributes:
        image_id: the file's name without the ending of a picture, so files of one name in two folders share it; the
            input's number, from 0, where it was an array.
        detections: xyxy in float pixels of the input, as stored also where those are not square, confidence 0..1,
            class_id the place in `class_names`, by falling confidence.
        image_probability: that the image shows an opacity: what the backend says of the image as a whole, else the
            highest confidence of any box, also of those below the operating point; NaN where there was an error. Of
            several classes, that of the likeliest.
        error: why there is no answer; None where there is one.
        warning: why the answer may mean nothing: the image's tags say that it is no frontal chest radiograph, or its
            bones are black; else None.
        description: what a DICOM file says it shows, and which object it is; empty elsewhere.
        size_wh: of the input in pixels, as stored; None where there was an error.
        class_names: of what was looked for.
        class_probabilities: that the image shows each of several classes; empty where there is one.
    """

    image_id: str
    detections: Detections
    image_probability: float
    error: str | None = None
    warning: str | None = None
    description: Description = NOTHING_SAID
    size_wh: tuple[int, int] | None = None
    class_names: tuple[str, ...] = ONE_CLASS
    class_probabilities: tuple[float, ...] = ()

    def box_labels(self) -> list[str]:
        """What is written at each box: its confidence; its class before it, of several."""
        sure = list(map(confidence_text, self.detections.confidence.tolist()))
        return list(map(" ".join, zip(self.box_classes(), sure, strict=True))) if self._several else sure

    def box_classes(self) -> list[str]:
        """The name of each box's class; none where one is looked for, which need not be said."""
        return [self.class_names[class_id] for class_id in self.detections.class_id.tolist()] if self._several else []

    @property
    def _several(self) -> bool:
        return len(self.class_names) > 1

    def to_dict(self) -> dict[str, Any]:
        """What was found as JSON values: numbers, texts, lists and None.

        Boxes are left, top, right, bottom in pixels of the input, by falling confidence. `problem` says why there is no
        answer, and is None where there is one. Where several classes were looked for, each box names its own, and
        `probabilities` has that of each.
        """
        found, said = self.detections, self.description
        boxes: list[dict[str, Any]] = [
            {"xyxy": box, "confidence": confidence}
            for box, confidence in zip(found.xyxy.tolist(), found.confidence.tolist(), strict=True)
        ]
        for box, name in zip(boxes, self.box_classes(), strict=self._several):
            box["class"] = name
        of_classes = dict(zip(self.class_names, self.class_probabilities, strict=False))
        probability = float(self.image_probability)
        return {
            "image_id": self.image_id,
            "sop_instance_uid": said.sop_instance_uid or None,
            "study_instance_uid": said.study_instance_uid or None,
            "modality": said.modality or None,
            "body_part": said.body_part or None,
            "view": said.view or None,
            "width": self.size_wh[0] if self.size_wh else None,
            "height": self.size_wh[1] if self.size_wh else None,
            "probability": None if math.isnan(probability) else probability,
            **({"probabilities": of_classes} if self._several else {}),
            "boxes": boxes,
            "problem": self.error,
            "warning": self.warning,
        }

    def to_dicom(
        self,
        source: Path | str | bytes | pydicom.Dataset,
        algorithm: "Algorithm",
        kinds: "Collection[Kind]" = ("sr", "pr", "sc"),
        at: datetime | None = None,
    ) -> list[pydicom.Dataset]:
        """What was found as DICOM objects that lie beside the source in an archive.

        Of a study of several pictures, `hilum.findings.objects.to_dicom` makes one report.

        Args:
            source: the DICOM file that the result is of, its content, or what was parsed of it.
            algorithm: what made the result: `hilum.predict.algorithm_of`.
            kinds: "sr", a structured report; "pr", a presentation state; "sc", a secondary capture.
            at: when it was found; now where None.

        Returns:
            One object a kind; none where there was an error. `save_as(path, enforce_file_format=True)` writes one.

        Raises:
            HilumError: highdicom is not installed, or the source is no DICOM file that others can refer to.
        """
        from hilum.findings.objects import to_dicom
        from hilum.findings.source import read_source

        made = to_dicom([read_source(source)], [self], algorithm, kinds, at)
        return [each.dataset for each in made]


def detections_in_picture(
    boxes_xyxy: NDArray[Any], confidence: NDArray[Any], place: Letterbox, class_id: NDArray[Any] | None = None
) -> Detections:
    """Boxes (N, 4) of a square, with confidences (N,), in pixels of the picture in it, by falling confidence.

    Those that lie in the padding alone are none. Class ids (N,) are 0 where None.
    """
    boxes, confidence = place.boxes_to_original(boxes_xyxy), confidence.astype(np.float64).clip(0, 1)
    kept = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    kept = kept[np.argsort(-confidence[kept], kind="stable")]
    ids = np.zeros(len(kept), int) if class_id is None else np.asarray(class_id, int)[kept]
    return Detections(xyxy=boxes[kept], confidence=confidence[kept], class_id=ids)


def no_detections() -> Detections:
    """Nothing found: xyxy (0, 4), confidence (0,), class_id (0,)."""
    return Detections(xyxy=np.zeros((0, 4)), confidence=np.zeros(0), class_id=np.zeros(0, int))


def at_or_above(detections: Detections, confidence: Confidence) -> Detections:
    """The boxes whose confidence is at least this, or that of their class."""
    least = confidence if np.ndim(confidence) == 0 else np.asarray(confidence)[detections.class_id]
    kept = detections.confidence >= least
    return Detections(
        xyxy=detections.xyxy[kept], confidence=detections.confidence[kept], class_id=detections.class_id[kept]
    )


def of_class(detections: Detections, class_id: int) -> Detections:
    """The boxes of one class of several, as the only one that is looked for, and its image probability."""
    kept, said = detections.class_id == class_id, {}
    if IMAGE_PROBABILITY in detections.metadata:
        probability = np.ravel(detections.metadata[IMAGE_PROBABILITY])
        said = {IMAGE_PROBABILITY: float(probability[class_id if len(probability) > 1 else 0])}
    return Detections(
        xyxy=detections.xyxy[kept],
        confidence=detections.confidence[kept],
        class_id=np.zeros(int(kept.sum()), int),
        metadata=said,
    )


def by_class(detections: Detections, classes: int) -> list[Detections]:
    """The boxes of each class, as the only one that is looked for."""
    return [detections] if classes == 1 else [of_class(detections, class_id) for class_id in range(classes)]


def of_classes(
    found: Sequence[tuple[NDArray[Any], NDArray[Any]]], probability: float | list[float] | None = None
) -> Detections:
    """The way back: boxes (N, 4) with confidences (N,) of each class, by falling confidence, as what was found.

    `probability` is what the backend says of the image as a whole; None where it says nothing.
    """
    boxes, confidence = (np.concatenate(parts) for parts in zip(*found, strict=True))
    class_id = np.repeat(np.arange(len(found)), [len(each) for _, each in found])
    order = np.argsort(-confidence, kind="stable") if len(found) > 1 else slice(None)
    said = {} if probability is None else {IMAGE_PROBABILITY: probability}
    return Detections(xyxy=boxes[order], confidence=confidence[order], class_id=class_id[order], metadata=said)


def image_probability(detections: Detections) -> float:
    """What the backend says of the image as a whole, else the highest confidence of any box; 0 without one.

    Of several classes, that of the likeliest one.
    """
    highest = float(detections.confidence.max()) if len(detections) else 0.0
    return float(np.max(detections.metadata.get(IMAGE_PROBABILITY, highest)))


def class_probabilities(detections: Detections, classes: int) -> NDArray[np.float64]:
    """(classes,) that the image shows each: as the backend says, else the highest confidence of its boxes; else 0."""
    if IMAGE_PROBABILITY in detections.metadata:
        return np.broadcast_to(np.asarray(detections.metadata[IMAGE_PROBABILITY], np.float64), classes)
    highest = np.zeros(classes)
    np.maximum.at(highest, detections.class_id, detections.confidence)
    return highest
