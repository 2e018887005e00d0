"""What ultralytics would read off the `data.yaml` and the label files of a dataset folder of ours."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.datasets.folder import Split
from hilum.datasets.yolo import boxes_to_yolo


def data_of(class_names: Sequence[str]) -> dict[str, Any]:
    """Of `data.yaml`, what is in the pictures."""
    return {"names": dict(enumerate(class_names)), "nc": len(class_names), "channels": 1}


def labels_of(split: Split) -> dict[str, dict[str, Any]]:
    """The boxes of each picture of a split, by its path."""
    labels: dict[str, dict[str, Any]] = {}
    for path, boxes_xywh, class_ids, (width, height) in zip(
        split.paths, split.boxes_xywh, split.class_ids, split.sizes_wh.tolist(), strict=True
    ):
        rows = _label_rows(boxes_xywh, (width, height), class_ids)
        labels[str(path)] = {
            "im_file": str(path),
            "shape": (height, width),
            "cls": rows[:, :1],
            "bboxes": rows[:, 1:],
            "segments": [],
            "keypoints": None,
            "normalized": True,
            "bbox_format": "xywh",
        }
    return labels


def _label_rows(
    boxes_xywh: NDArray[np.float64], size_wh: tuple[int, int], class_ids: NDArray[np.int64]
) -> NDArray[np.float32]:
    """(N, 5) class, centre and size as shares of the picture, rounded as in a label file, each box once."""
    lines = boxes_to_yolo(boxes_xywh, size_wh, class_ids).splitlines()
    rows = np.array([line.split() for line in lines], np.float32).reshape(-1, 5)
    once = np.unique(rows, axis=0)
    return once if len(once) < len(rows) else rows
