"""Which predicted box finds which truth box, at one IoU threshold."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from hilum.eval.competition import IOU_THRESHOLDS, flatten_pair


def match_boxes(
    truth_xywh: Sequence[NDArray[Any]],
    boxes_xywh: Sequence[NDArray[Any]],
    confidence: Sequence[NDArray[Any]],
    *,
    iou: float = IOU_THRESHOLDS[0],
) -> list[NDArray[np.int64]]:
    """Pairs boxes with truth boxes as the competition does: `match_counts` counts these pairs, this names them.

    Boxes are taken by falling confidence (ties: in the order given); each takes the still free truth box with the
    highest IoU, if that IoU is above the threshold (ties: the lower index).

    Args:
        truth_xywh: The truth boxes of each image, (T, 4), in pixels.
        boxes_xywh: The predicted boxes of each image, (N, 4), in pixels.
        confidence: The confidence of each predicted box, (N,).
        iou: A pair needs more than this.

    Returns:
        For each image the index of the truth box that each box takes, (N,); -1 where it takes none.

    Raises:
        ValueError: As in `hilum.eval.competition.match_counts`, or `iou` is not in 0..1 (1 excluded).

    Examples:
        >>> truth = [np.array([[0, 0, 10, 10], [50, 50, 10, 10]])]
        >>> boxes = [np.array([[50, 50, 10, 9], [50, 50, 10, 10], [90, 0, 5, 5]])]
        >>> match_boxes(truth, boxes, [np.array([0.3, 0.9, 0.8])])
        [array([-1,  1, -1])]
    """
    if not 0 <= iou < 1:
        raise ValueError(f"iou: expected a threshold from 0 to below 1, got {iou}")
    truth, n_truth, boxes, n_boxes, scores = flatten_pair(truth_xywh, boxes_xywh, confidence)

    taken = np.full(len(boxes), -1, dtype=np.int64)
    truth_stops, box_stops = np.cumsum(n_truth).tolist(), np.cumsum(n_boxes).tolist()
    t0 = b0 = 0
    for t1, b1 in zip(truth_stops, box_stops, strict=True):
        if t0 < t1 and b0 < b1:
            overlap = coco_mask.iou(boxes[b0:b1], truth[t0:t1], np.zeros(t1 - t0, dtype=np.uint8))
            near = np.flatnonzero((overlap > iou).any(axis=1))  # few: the others never match
            for box in near[np.argsort(-scores[b0 + near], kind="stable")]:
                best = int(overlap[box].argmax())
                if overlap[box, best] > iou:
                    taken[b0 + box] = best
                    overlap[:, best] = 0
        t0, b0 = t1, b1
    return np.split(taken, box_stops[:-1]) if box_stops else []
