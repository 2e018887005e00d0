"""Two ways to write a box: corners, as detectors do, and corner with size, as COCO and the competition do."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST_PX = 1e6
"""No coordinate of a box in any picture is further from 0."""


def xyxy_to_xywh(boxes_xyxy: NDArray[Any]) -> NDArray[np.float64]:
    """(N, 4) left, top, right, bottom to left, top, width, height."""
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
    return np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])


def xywh_to_xyxy(boxes_xywh: NDArray[Any]) -> NDArray[np.float64]:
    """(N, 4) left, top, width, height to left, top, right, bottom."""
    boxes = np.asarray(boxes_xywh, np.float64).reshape(-1, 4)
    return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
