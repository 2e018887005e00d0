"""What any detector must beat: the same two average boxes on every image; what any segmenter must: an empty mask."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hilum.datasets.boxes import xyxy_to_xywh
from hilum.datasets.folder import Split
from hilum.datasets.letterbox import Letterbox
from hilum.datasets.masks import boxes_to_mask


class EmptyMask(NamedTuple):
    """What segmentation's figures say of a mask that is all background; NaN without images.

    Attributes:
        pixel_accuracy: Share of the pixels that are background.
        mean_iou: The report's `mean_iou` (`hilum.segmenters.losses.mean_iou`): (I + 1) / (U + 1), averaged over images.
    """

    pixel_accuracy: float
    mean_iou: float


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


def empty_mask(boxes_xyxy: Sequence[NDArray[Any]], sizes_wh: NDArray[np.int64], *, size: int = 320) -> EmptyMask:
    """What an all-background mask scores: high, since most pixels and most images are background.

    Args:
        boxes_xyxy: The truth boxes of each image, (T, 4), in pixels.
        sizes_wh: Width and height of each image, (images, 2), in pixels.
        size: Side of the square, in pixels, in which segmenters see the image and its mask.

    Raises:
        ValueError: There are not as many sizes as images, or a box or a size is not valid.

    Examples:
        A box on a quarter of one of two images:

        >>> empty_mask([np.array([[0, 0, 8, 8]]), np.empty((0, 4))], np.array([[16, 16], [16, 16]]), size=4)
        EmptyMask(pixel_accuracy=0.875, mean_iou=0.6)
    """
    sizes = np.asarray(sizes_wh)
    if sizes.shape != (len(boxes_xyxy), 2):
        raise ValueError(f"sizes_wh: expected the shape ({len(boxes_xyxy)}, 2), got {sizes.shape}")
    if not len(sizes):
        return EmptyMask(float("nan"), float("nan"))
    painted = np.zeros(len(sizes))
    for number, (boxes, (width, height)) in enumerate(zip(boxes_xyxy, sizes.tolist(), strict=True)):
        if len(boxes):
            square = Letterbox.fit((width, height), size).boxes_to_square(boxes)
            painted[number] = np.count_nonzero(boxes_to_mask(square, (size, size)))
    return EmptyMask(1 - float(painted.mean()) / size**2, float((1 / (painted + 1)).mean()))
