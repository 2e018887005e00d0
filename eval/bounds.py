"""How much of the score is lost to images, and how much to boxes: the answer with one half of the task made perfect.

Both take an answer at its operating point, one entry an image: boxes (N, 4) as x, y, width, height in pixels and their
confidence (N,). They return another one, to be scored like any.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.eval.competition import flatten_boxes, flatten_confidence

Boxes = list[NDArray[np.float64]]


def with_perfect_classifier(
    truth_xywh: Sequence[NDArray[Any]], boxes_xywh: Sequence[NDArray[Any]], confidence: Sequence[NDArray[Any]]
) -> tuple[Boxes, Boxes]:
    """Returns the answer behind a classifier that is always right: nothing on images without truth boxes.

    On images with truth boxes the answer stays as it is, and that is nothing where the detector was silent: a gate can
    take boxes away, not add them. So it is the bound of any gate before this detector at this operating point; a
    detector tuned behind such a gate would answer more freely and could exceed it.

    Args:
        truth_xywh: The truth boxes of each image, (T, 4).
        boxes_xywh: The answer's boxes, (N, 4).
        confidence: Their confidence, (N,).

    Returns:
        Boxes and confidences.

    Raises:
        ValueError: As in `hilum.eval.competition.match_counts`.
    """
    _check(truth_xywh, boxes_xywh, confidence)
    keep = [slice(None) if len(truth) else slice(0) for truth in truth_xywh]
    return (
        [np.asarray(boxes, np.float64)[part] for boxes, part in zip(boxes_xywh, keep, strict=True)],
        [np.asarray(values, np.float64)[part] for values, part in zip(confidence, keep, strict=True)],
    )


def with_perfect_boxes(
    truth_xywh: Sequence[NDArray[Any]], boxes_xywh: Sequence[NDArray[Any]], confidence: Sequence[NDArray[Any]]
) -> tuple[Boxes, Boxes]:
    """Returns the answer of a detector that draws without fault wherever this one draws at all.

    Whether an image is answered stays as it is. An image with truth boxes that is answered gets exactly these, each
    with the highest confidence the detector had there; one that is not answered stays without. An image without truth
    boxes that is answered keeps its boxes: they are all wrong. So the score is the number of images with opacity that
    are answered, divided by the number of those with opacity or an answer.

    Arguments, results and errors are those of `with_perfect_classifier`.
    """
    _check(truth_xywh, boxes_xywh, confidence)
    perfect: tuple[Boxes, Boxes] = ([], [])
    for image in zip(truth_xywh, boxes_xywh, confidence, strict=True):
        truth, boxes, values = (np.asarray(array, np.float64) for array in image)
        replaced = len(truth) > 0 and len(boxes) > 0
        perfect[0].append(truth if replaced else boxes)
        perfect[1].append(np.full(len(truth), values.max()) if replaced else values)
    return perfect


def _check(
    truth_xywh: Sequence[NDArray[Any]], boxes_xywh: Sequence[NDArray[Any]], confidence: Sequence[NDArray[Any]]
) -> None:
    if len(truth_xywh) != len(boxes_xywh):
        raise ValueError(f"boxes_xywh: expected one entry an image, {len(truth_xywh)}, got {len(boxes_xywh)}")
    flatten_boxes("truth_xywh", truth_xywh)
    flatten_confidence("confidence", confidence, flatten_boxes("boxes_xywh", boxes_xywh)[1])
