"""A split, and what was found on it, as the challenges see them: rows of classes, and the AP of each class.

What hilum says of an image as a whole is the probability p that it shows anything. So the class of images without a box
gets the confidence 1 - p, also where there are boxes; a study's p is the highest of its images'. Of a study's four
classes "negative" gets 1 - p. The other three get p each, for a detector of opacities cannot tell them apart.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hilum.datasets.boxes import xyxy_to_xywh
from hilum.datasets.folder import Split
from hilum.detections import Detections
from hilum.eval.layouts import STUDY, Layout
from hilum.eval.submission_row import Row
from hilum.eval.voc import voc_ap
from hilum.result import image_probability

_WHOLE: Final = np.array([[0.0, 0.0, 1.0, 1.0]])
_NONE: Final = Row(np.zeros((0, 4)), np.zeros(0), ())


def truth_rows(split: Split, layout: Layout, studies: Sequence[str] = ()) -> dict[str, Row]:
    """The truth of a split: a row an image, and a row a study whose class is known.

    Args:
        split: The images.
        layout: Of the challenge; one with classes.
        studies: The study of each image, "" where unknown; none where it is unknown of all.
    """
    names = layout.classes_of(split.class_names)
    rows = {}
    for image_id, boxes, class_ids in zip(split.image_ids, split.boxes_xywh, split.class_ids, strict=True):
        of_boxes = Row(boxes, np.ones(len(boxes)), tuple(names[class_id] for class_id in class_ids.tolist()))
        rows[image_id] = of_boxes if len(boxes) else _whole({layout.nothing: 1.0})
    known = zip(studies, split.kinds, strict=True) if studies else ()
    for study, kind in known:
        if study and kind in layout.study_classes:
            rows[study + STUDY] = _whole({layout.study_classes[kind]: 1.0})
    return rows


def found_rows(
    image_ids: Sequence[str],
    found: Sequence[Detections],
    class_names: Sequence[str],
    layout: Layout,
    studies: Sequence[str] = (),
) -> dict[str, Row]:
    """What was found, as rows: all boxes, the class of images without a box, and studies as above.

    Args:
        image_ids: Of each image.
        found: In each image, in pixels of it.
        class_names: Of the detections' `class_id`.
        layout: Of the challenge; one with classes.
        studies: As `truth_rows` takes them.
    """
    names = layout.classes_of(class_names)
    rows = {}
    shows: dict[str, float] = {}
    for number, (image_id, detections) in enumerate(zip(image_ids, found, strict=True)):
        probability = min(max(image_probability(detections), 0.0), 1.0)
        nothing = _whole({layout.nothing: 1 - probability})
        rows[image_id] = Row(
            np.vstack([xyxy_to_xywh(detections.xyxy), nothing.boxes_xywh]),
            np.concatenate([detections.confidence, nothing.confidence]),
            (*(names[class_id] for class_id in detections.class_id.tolist()), layout.nothing),
        )
        if layout.study_classes and studies and studies[number]:
            shows[studies[number]] = max(probability, shows.get(studies[number], 0.0))
    negative, *others = layout.study_classes.values() if shows else ("",)
    for study, probability in shows.items():
        rows[study + STUDY] = _whole({negative: 1 - probability} | dict.fromkeys(others, probability))
    return rows


def _whole(confidence: Mapping[str, float]) -> Row:
    """A row of classes of the whole image or study."""
    return Row(np.repeat(_WHOLE, len(confidence), axis=0), np.array([*confidence.values()]), tuple(confidence))


def class_aps(truth: Mapping[str, Row], found: Mapping[str, Row], *, iou: float) -> dict[str, float]:
    """Returns VOC's AP of each class that the truth has; `hilum.eval.voc.mean_ap` of them is the challenges' score.

    Args:
        truth: Rows by id.
        found: Rows by id; what lacks a row has no box. Ids that the truth lacks are passed over.
        iou: A box needs more than this to be right.
    """
    names = dict.fromkeys(name for row in truth.values() for name in row.classes)

    def boxes(rows: Mapping[str, Row], name: str) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
        pairs = [rows.get(row_id, _NONE).of(name) for row_id in truth]
        return [boxes for boxes, _ in pairs], [confidence for _, confidence in pairs]

    return {name: voc_ap(boxes(truth, name)[0], *boxes(found, name), iou=iou) for name in names}
