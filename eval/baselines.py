"""What any detector must beat: nothing predicted, and the same two average boxes on every image."""

import numpy as np
from numpy.typing import NDArray

from hilum.datasets.boxes import xyxy_to_xywh
from hilum.datasets.folder import Split


def average_box_shares(train: Split) -> NDArray[np.float64]:
    """The mean box of either half of the picture, over a training split.

    Returns:
        (2, 4) left, top, right, bottom as shares of the picture's width and height: the half on the picture's left
        first. A half without boxes is left out; (0, 4) where there is no box at all.
    """
    sizes = np.hstack([train.sizes_wh, train.sizes_wh]).astype(np.float64)
    shares = [boxes / size for boxes, size in zip(train.boxes_xyxy, sizes, strict=True)]
    boxes = np.concatenate([*shares, np.zeros((0, 4))])
    on_left = (boxes[:, 0] + boxes[:, 2]) / 2 < 0.5
    halves = [boxes[on_left], boxes[~on_left]]
    return np.array([half.mean(axis=0) for half in halves if len(half)]).reshape(-1, 4)


def average_boxes(train: Split, split: Split) -> list[NDArray[np.float64]]:
    """The average boxes of `train` on every image of `split`: x, y, width, height in pixels."""
    shares = average_box_shares(train)
    return [xyxy_to_xywh(shares * np.array([width, height, width, height])) for width, height in split.sizes_wh]
