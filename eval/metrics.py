"""What an epoch may be chosen by, and `hilum evaluate --metric` tells: our figures by name, and those of plug-ins.

A metric takes a split and what was found in its images, every box above a low floor, and gives a number: higher is
better, NaN where it is not defined. Who declares a function under the entry points `hilum.metrics` has it taken by its
name. With several classes it is asked for each class by itself, as if there were no other, and the mean over the
classes that have a true box counts. A function with an attribute `sees_all_classes` is asked once, for all of them.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from hilum.datasets.boxes import xyxy_to_xywh
from hilum.datasets.folder import Split
from hilum.detections import Detections
from hilum.errors import HilumError, first_line
from hilum.eval.challenges import class_aps, found_rows, truth_rows
from hilum.eval.coco import coco_ap
from hilum.eval.competition import IOU_THRESHOLDS, choose_confidence
from hilum.eval.froc import froc_statistic, rank_boxes
from hilum.eval.image_level import auroc
from hilum.eval.layouts import SIIM, VINBIGDATA, Layout
from hilum.eval.voc import mean_ap
from hilum.plugins import declared_metric
from hilum.result import image_probability, of_class

Metric = Callable[[Split, Sequence[Detections]], float]

COMPETITION: Final = "competition"


def _competition(split: Split, found: Sequence[Detections]) -> float:
    boxes = [xyxy_to_xywh(each.xyxy) for each in found]
    return choose_confidence(split.boxes_xywh, boxes, [each.confidence for each in found])[1]


def _ap(split: Split, found: Sequence[Detections]) -> float:
    boxes = [xyxy_to_xywh(each.xyxy) for each in found]
    return coco_ap(split.boxes_xywh, boxes, [each.confidence for each in found], iou_thresholds=IOU_THRESHOLDS)


def _froc(split: Split, found: Sequence[Detections]) -> float:
    boxes = [xyxy_to_xywh(each.xyxy) for each in found]
    ranked = rank_boxes(split.boxes_xywh, boxes, [each.confidence for each in found])
    return froc_statistic(ranked)(np.ones(len(split)))["froc mean"]


def _auroc(split: Split, found: Sequence[Detections]) -> float:
    return auroc(split.positive, [min(max(image_probability(each), 0.0), 1.0) for each in found])


def _challenge(layout: Layout) -> Metric:
    def metric(split: Split, found: Sequence[Detections]) -> float:
        rows = found_rows(split.image_ids, found, split.class_names, layout)
        return mean_ap(class_aps(truth_rows(split, layout), rows, iou=layout.iou).values())

    metric.sees_all_classes = True  # type: ignore[attr-defined]
    return metric


_OURS: Final[dict[str, tuple[str, Metric]]] = {
    COMPETITION: ("competition score", _competition),
    "ap": ("AP 0.40:0.75", _ap),
    "froc": ("FROC mean", _froc),
    "auroc": ("image AUROC", _auroc),
    SIIM.name: ("SIIM mAP, IoU > 0.5", _challenge(SIIM)),
    VINBIGDATA.name: ("VinBigData mAP, IoU > 0.4", _challenge(VINBIGDATA)),
}
OURS: Final = tuple(_OURS)


def metric_named(name: str) -> Metric:
    """Returns the metric of this name: one of ours, or a plug-in's.

    Raises:
        HilumError: There is none, or the plug-in cannot be imported, or is no function.
    """
    if name in _OURS:
        return _OURS[name][1]
    found = declared_metric(name, OURS)
    if not callable(found):
        raise HilumError(f"metric '{name}': expected a function (split, found) -> float, got {type(found).__name__}")
    metric: Metric = found
    return metric


def metric_title(name: str) -> str:
    """What people call it: of a plug-in's its name."""
    return _OURS[name][0] if name in _OURS else name


def metric_value(name: str, split: Split, found: Sequence[Detections]) -> float:
    """Returns what a metric says; with several classes as the module tells.

    Args:
        name: Of the metric.
        split: The truth.
        found: In each image, in its pixels; `class_id` is the place in the split's `class_names`.

    Returns:
        NaN where it is not defined.

    Raises:
        HilumError: As `metric_named`; or the plug-in fails, or gives what is no number, or an infinite one.
    """
    metric = metric_named(name)
    if len(split.class_names) == 1 or getattr(metric, "sees_all_classes", False):
        return _asked(name, metric, split, found)
    classes = enumerate(split.by_class().values())
    return mean_ap(
        _asked(name, metric, each, [of_class(detections, number) for detections in found])
        for number, each in classes
        if each.shows_opacity
    )


def _asked(name: str, metric: Metric, split: Split, found: Sequence[Detections]) -> float:
    if name in _OURS:
        return metric(split, found)
    try:
        value = float(metric(split, found))
    except Exception as error:  # a plug-in may fail in any way
        raise HilumError(f"metric '{name}': failed on {split.name}: {first_line(error)}") from error
    if math.isinf(value):
        raise HilumError(f"metric '{name}': gave {value} on {split.name}; expected a finite number, or NaN")
    return value
