"""COCO's average precision, computed by pycocotools itself or, where installed, by faster-coco-eval.

AP is not the competition's score (`hilum.eval.competition`), at the same thresholds neither: AP is the area under a
precision-recall curve over all confidences and images, with a match at or above the threshold, and predictions on
images without truth only lower the precision. Report both, and say which is which.

The matching inside differs from the competition's in three points: an IoU that is exactly the threshold is a match,
among equal IoUs the last truth box is taken and not the first, and only the 100 most confident boxes of an image are
seen. With thresholds moved up to the next double, truth boxes in reverse order and at most 100 boxes an image, the two
are one; the tests of `hilum.eval.competition` compare them so.

Sources: https://cocodataset.org/#detection-eval, https://github.com/MiXaiLL76/faster_coco_eval (Apache-2.0), the extra
`faster`, whose matching and accumulation are in C++ and give the same AP.
"""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from hilum.eval.competition import flatten_pair

try:
    import faster_coco_eval as faster
except ImportError:
    faster = None

# COCO's own are np.linspace(.5, .95, 10), whose 0.8999999999999999 lets the same IoUs through.
COCO_IOU = (0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95)

_CATEGORY = 1


def coco_ap(
    truth_xywh: Sequence[NDArray[Any]],
    boxes_xywh: Sequence[NDArray[Any]],
    confidence: Sequence[NDArray[Any]],
    *,
    iou_thresholds: Sequence[float],
) -> float:
    """Returns COCO's AP: one category, all areas, at most the 100 most confident boxes an image, 101 recall levels.

    pycocotools takes seconds for tens of thousands of images, faster-coco-eval (`pip install 'hilum[faster]'`) a
    fraction of it. What pycocotools prints is held back, for which standard output is redirected in all threads.

    Args:
        truth_xywh: The truth boxes of each image, (T, 4): x, y, width, height in pixels.
        boxes_xywh: The predicted boxes of each image, (N, 4).
        confidence: The confidence of each predicted box, (N,).
        iou_thresholds: The thresholds to average over: `COCO_IOU` for "AP" as papers print it, `(0.5,)` for "AP50",
            `hilum.eval.competition.IOU_THRESHOLDS` for AP at the competition's.

    Returns:
        AP from 0 to 1; NaN when no image has a truth box.

    Raises:
        ValueError: There is no threshold or one outside 0..1 (0 excluded), or the boxes are not valid, as in
            `hilum.eval.competition.match_counts`.

    Examples:
        >>> box = np.array([[100, 100, 200, 200]])
        >>> half = np.array([[100, 100, 200, 100]])
        >>> round(coco_ap([box], [half], [np.ones(1)], iou_thresholds=(0.5, 0.75)), 3)
        0.5
    """
    if not len(iou_thresholds) or not all(0 < threshold <= 1 for threshold in iou_thresholds):
        raise ValueError(f"iou_thresholds: expected one or more numbers above 0 and up to 1, got {iou_thresholds}")
    evaluation = coco_evaluation(truth_xywh, boxes_xywh, confidence, iou_thresholds, use_faster=faster is not None)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]  # (thresholds, recalls, 1, 1, 1); -1 where there is no truth
    return float(precision.mean()) if precision.size and (precision > -1).all() else float("nan")


def evaluate_images(
    truth_xywh: Sequence[NDArray[Any]],
    boxes_xywh: Sequence[NDArray[Any]],
    confidence: Sequence[NDArray[Any]],
    *,
    iou_thresholds: Sequence[float],
) -> COCOeval:
    """Returns pycocotools' COCOeval with all images matched (`evalImgs`), not accumulated; image ids are indices."""
    evaluation = coco_evaluation(truth_xywh, boxes_xywh, confidence, iou_thresholds, use_faster=False)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
    return evaluation


def coco_evaluation(
    truth_xywh: Sequence[NDArray[Any]],
    boxes_xywh: Sequence[NDArray[Any]],
    confidence: Sequence[NDArray[Any]],
    iou_thresholds: Sequence[float],
    *,
    use_faster: bool,
) -> Any:
    """Returns a COCOeval that is ready to run: all areas, 100 boxes an image; image ids are indices.

    Args:
        truth_xywh: See `coco_ap`, as for errors.
        boxes_xywh: See `coco_ap`.
        confidence: See `coco_ap`.
        iou_thresholds: See `coco_ap`.
        use_faster: faster-coco-eval's in place of pycocotools', which prints as it runs.
    """
    truth, n_truth, boxes, n_boxes, scores = flatten_pair(truth_xywh, boxes_xywh, confidence)
    data_set, evaluator = (faster.COCO, faster.COCOeval_faster) if use_faster else (COCO, COCOeval)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = evaluator(_fill(data_set(), truth, n_truth), _fill(data_set(), boxes, n_boxes, scores), "bbox")
    evaluation.params.iouThrs = np.array(iou_thresholds, dtype=np.float64)
    evaluation.params.maxDets = [100]
    evaluation.params.areaRng = [[0, np.inf]]
    evaluation.params.areaRngLbl = ["all"]
    return evaluation


def _fill(
    coco: Any, boxes_xywh: NDArray[np.float64], n_boxes: NDArray[np.int64], scores: NDArray[np.float64] | None = None
) -> Any:
    """Fills the empty object that pycocotools reads from a file; with scores it holds predictions.

    Its own `loadRes` makes such an object of a list of predictions, but fails on an empty one.
    """
    image_ids = np.repeat(np.arange(len(n_boxes)), n_boxes)
    annotations = [
        # Ids start at 1: COCOeval takes 0 for "not matched".
        {
            "id": number,
            "image_id": image,
            "category_id": _CATEGORY,
            "bbox": xywh,
            "area": xywh[2] * xywh[3],
            "iscrowd": 0,
        }
        for number, (image, xywh) in enumerate(zip(image_ids.tolist(), boxes_xywh.tolist(), strict=True), start=1)
    ]
    if scores is not None:
        for annotation, score in zip(annotations, scores.tolist(), strict=True):
            annotation["score"] = score
    coco.dataset = {
        "images": [{"id": index} for index in range(len(n_boxes))],
        "categories": [{"id": _CATEGORY, "name": "opacity"}],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco
