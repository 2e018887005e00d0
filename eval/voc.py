"""PASCAL VOC's average precision since 2010, by which SIIM-FISABIO-RSNA COVID-19 and VinBigData were scored.

Boxes of one class are taken by falling confidence over all images; of equal confidences the earlier image comes first,
inside an image the earlier box. Each belongs to the truth box of its image with the highest IoU (ties: the lower
index), taken or not. If that IoU is above the threshold and the truth box is still free, the box is a true positive;
any other is a false positive, a second box on a truth box that is taken included, even if it overlaps another one
enough. AP is the area under the monotone envelope of precision against recall, with every point of it.

Three things are not as in the devkit's code. An IoU must be above the threshold, as VOC's paper and both challenges
say; that code has at or above. A box's area is width x height with no "+1 pixel": the challenges call `0 0 1 1` a box
of one pixel. A truth box that is there twice counts once, for nothing could find the second one: what a box overlaps
most is, of equals, the first.

COCO's AP (`hilum.eval.coco`) differs in four: a box may take the best truth box that is still free, an IoU at the
threshold is a match, the curve is read at 101 recalls, and only 100 boxes an image are seen.

Sources: Everingham M et al.: The PASCAL Visual Object Classes (VOC) challenge. International Journal of Computer Vision
2010;88:303-338. http://host.robots.ox.ac.uk/pascal/VOC/voc2010/devkit_doc_08-May-2010.pdf, section 3.4.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from hilum.eval.competition import flatten_pair


def voc_ap(
    truth_xywh: Sequence[NDArray[Any]],
    boxes_xywh: Sequence[NDArray[Any]],
    confidence: Sequence[NDArray[Any]],
    *,
    iou: float,
) -> float:
    """Returns the average precision of one class.

    Args:
        truth_xywh: The truth boxes of each image, (T, 4): x, y, width, height in pixels.
        boxes_xywh: The predicted boxes of each image, (N, 4).
        confidence: The confidence of each predicted box, (N,); any finite numbers, only their order matters.
        iou: A true positive needs more than this.

    Returns:
        0 to 1; NaN when no image has a truth box.

    Raises:
        ValueError: As in `hilum.eval.competition.match_counts`, or `iou` is not in 0..1 (1 excluded).

    Examples:
        >>> truth = [np.array([[0, 0, 10, 10], [50, 50, 10, 10]])]
        >>> boxes = [np.array([[0, 0, 10, 10], [90, 0, 5, 5], [50, 50, 10, 9]])]
        >>> round(voc_ap(truth, boxes, [np.array([0.9, 0.8, 0.7])], iou=0.5), 4)
        0.8333
    """
    if not 0 <= iou < 1:
        raise ValueError(f"iou: expected a threshold from 0 to below 1, got {iou}")
    truth_boxes, n_truth, boxes, n_boxes, scores = flatten_pair(truth_xywh, boxes_xywh, confidence)
    if not len(truth_boxes):
        return float("nan")

    number = np.full(len(boxes), -1)  # of the truth box that it belongs to, among all images' ones
    total = box = 0
    for truth, count in zip(np.split(truth_boxes, np.cumsum(n_truth)[:-1]), n_boxes.tolist(), strict=True):
        once = truth[np.sort(np.unique(truth, axis=0, return_index=True)[1])] if len(truth) > 1 else truth
        if len(once) and count:
            overlap = coco_mask.iou(boxes[box : box + count], once, np.zeros(len(once), dtype=np.uint8))
            best = overlap.argmax(axis=1)
            number[box : box + count] = np.where(overlap.max(axis=1) > iou, total + best, -1)
        total, box = total + len(once), box + count
    sorted_number = number[np.argsort(-scores, kind="stable")]
    first = np.unique(sorted_number, return_index=True)[1]  # the surest box of each truth box, and of none
    hits = np.sort(first[sorted_number[first] >= 0])
    precision = np.arange(1, len(hits) + 1) / (hits + 1)
    # Recall moves at hits alone, by one truth box each, and the envelope there is the best precision from there on.
    return float(np.maximum.accumulate(precision[::-1]).sum() / total)


def mean_ap(average_precisions: Iterable[float]) -> float:
    """Returns the mean over the classes that have a truth box, whose AP is not NaN; NaN when none has."""
    known = [value for value in average_precisions if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
