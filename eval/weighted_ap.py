"""COCO's average precision as a function of the images' weights, for bootstrap intervals.

pycocotools matches every image once; what an image's boxes match does not depend on the other images. A resample only
changes how often each image counts, so a few running sums over the sorted boxes give the AP that pycocotools would
compute of the resampled images, in milliseconds where it takes seconds. Only boxes of equal confidence on one image can
tell the two apart: there pycocotools' result depends on the order of the boxes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.eval.bootstrap import Statistic
from hilum.eval.coco import evaluate_images


def coco_ap_statistic(
    truth_xywh: Sequence[NDArray[Any]],
    boxes_xywh: Sequence[NDArray[Any]],
    confidence: Sequence[NDArray[Any]],
    *,
    iou_thresholds: Sequence[float],
    name: str = "ap",
) -> Statistic:
    """Returns AP as a function of the images' weights; with weights of 1 it is `hilum.eval.coco.coco_ap`.

    Arguments and errors are those of `coco_ap`; `name` is the figure's.
    """
    if not len(iou_thresholds) or not all(0 < threshold <= 1 for threshold in iou_thresholds):
        raise ValueError(f"iou_thresholds: expected one or more numbers above 0 and up to 1, got {iou_thresholds}")
    evaluation = evaluate_images(truth_xywh, boxes_xywh, confidence, iou_thresholds=iou_thresholds)
    recalls = evaluation.params.recThrs
    # None for an image with neither truth nor boxes; dtScores fall, and are the image's 100 highest at most.
    images = [entry for entry in evaluation.evalImgs if entry is not None]
    n_truth = np.array([len(boxes) for boxes in truth_xywh], dtype=np.float64)
    scores = np.concatenate([np.empty(0), *(entry["dtScores"] for entry in images)])
    order = np.argsort(-scores, kind="mergesort")  # as pycocotools sorts: ties stay in the images' order
    image = np.repeat([entry["image_id"] for entry in images], [len(entry["dtScores"]) for entry in images])
    image = image.astype(np.int64)[order]
    matches = np.concatenate([np.empty((len(iou_thresholds), 0)), *(entry["dtMatches"] for entry in images)], axis=1)
    hits = [np.flatnonzero(row) for row in matches[:, order] > 0]  # of each threshold, indices of sorted boxes

    def statistic(weight: NDArray[np.float64]) -> dict[str, float]:
        truth = float(weight @ n_truth)
        if not truth:
            return {name: float("nan")}
        of_box = weight[image]
        boxes_so_far = np.cumsum(of_box)
        total = 0.0
        for rows in hits:
            # Between two finds precision only falls and recall stands still, so the finds are all that matters.
            hits_so_far = np.cumsum(of_box[rows])
            seen = boxes_so_far[rows]
            precision = np.divide(hits_so_far, seen, out=np.zeros(len(rows)), where=seen > 0)
            best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
            at = np.searchsorted(hits_so_far / truth, recalls, side="left")
            total += float(best_from_here[at[at < len(rows)]].sum())
        return {name: total / (len(recalls) * len(hits))}

    return statistic
