"""Probability maps to boxes: threshold, connected components, one box each, as in the capstone report."""

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray


def probability_to_boxes(
    probability: NDArray[np.float32],
    size_wh: tuple[int, int],
    *,
    threshold: float = 0.5,
    min_area_px: int = 1,
    connectivity: Literal[4, 8] = 8,
    floor: float = 0.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes in an image of `size_wh`, from a probability map of any size that covers the whole image.

    The map is resized to the image (bilinear, edges repeated) and given to `mask_to_boxes`.

    Args:
        probability: (h, w), 0..1; other floating types are converted.
        size_wh: Width and height of the image in pixels.
        threshold: As in `mask_to_boxes`.
        min_area_px: As in `mask_to_boxes`, in pixels of the image.
        connectivity: As in `mask_to_boxes`.
        floor: As in `mask_to_boxes`.

    Returns:
        boxes_xyxy (N, 4) in pixels of the image and confidence (N,), by falling confidence.

    Raises:
        ValueError: If the map is not two-dimensional, is empty or holds a NaN, or `size_wh` is not positive.
    """
    width, height = size_wh
    if width < 1 or height < 1:
        raise ValueError(f"size_wh must be positive, got {size_wh}")
    probability = np.asarray(probability, dtype=np.float32)
    # Bilinear interpolation never exceeds its inputs, so most images without opacity end here, before the large map.
    if not _reaches(probability, threshold):
        return _no_boxes()
    if probability.shape != (height, width):
        probability = cv2.resize(probability, (width, height), interpolation=cv2.INTER_LINEAR)
    return mask_to_boxes(
        probability, threshold=threshold, min_area_px=min_area_px, connectivity=connectivity, floor=floor
    )


def mask_to_boxes(
    probability: NDArray[np.float32],
    *,
    threshold: float = 0.5,
    min_area_px: int = 1,
    connectivity: Literal[4, 8] = 8,
    floor: float = 0.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One box around each connected component of the pixels above `threshold`.

    Box edges are half-open pixel coordinates: a component in columns 10 to 19 gives x1 = 10 and x2 = 20. The confidence
    is the mean probability inside the box, so background in its corners lowers it, and it may fall below the threshold.

    Args:
        probability: (h, w), 0..1; other floating types are converted.
        threshold: A pixel is foreground if its probability is strictly higher (the report's `> 0.5`).
        min_area_px: Components (not boxes) with fewer pixels are left out; the report keeps all.
        connectivity: 8 joins pixels that touch at a corner, as the report does; 4 only those that share an edge.
        floor: Boxes with a lower confidence are left out.

    Returns:
        boxes_xyxy (N, 4) in pixels of the map and confidence (N,), by falling confidence; equal ones in reading order.

    Raises:
        ValueError: If the map is not two-dimensional, is empty or holds a NaN.
    """
    probability = np.asarray(probability, dtype=np.float32)
    if not _reaches(probability, threshold):
        return _no_boxes()
    foreground = (probability > threshold).view(np.uint8)
    # Components are looked for inside the foreground's own rectangle: labelling the rest of the image costs the most.
    left, top, width, height = cv2.boundingRect(foreground)
    _, _, stats, _ = cv2.connectedComponentsWithStats(
        foreground[top : top + height, left : left + width], connectivity=connectivity
    )
    stats = stats[1:]  # the first row is the background
    stats = stats[stats[:, cv2.CC_STAT_AREA] >= min_area_px]
    boxes = stats[:, [cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP] * 2].astype(np.int64) + (left, top) * 2
    boxes[:, 2:] += stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
    confidence = np.array([probability[y1:y2, x1:x2].mean(dtype=np.float64) for x1, y1, x2, y2 in boxes], np.float64)
    order = np.argsort(-confidence, kind="stable")
    order = order[confidence[order] >= floor]
    return boxes[order].astype(np.float64), confidence[order]


def _reaches(probability: NDArray[np.float32], threshold: float) -> bool:
    if probability.ndim != 2 or probability.size == 0:
        raise ValueError(f"a probability map must have shape (h, w) and at least one pixel, got {probability.shape}")
    highest = probability.max()
    if np.isnan(highest):  # max() passes a NaN on, so this costs nothing; comparing alone would hide it
        raise ValueError("a probability map must not hold NaN: the network's output is broken")
    return bool(highest > threshold)


def _no_boxes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.zeros((0, 4)), np.zeros(0)
