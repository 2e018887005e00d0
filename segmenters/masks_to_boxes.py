"""Probability maps to boxes: threshold, connected components, one box each, as in the capstone report."""

import math
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Connectivity = Literal[4, 8]
Confidence = Literal["mean", "max"]


def probability_to_boxes(
    probability: NDArray[np.float32],
    size_wh: tuple[int, int],
    *,
    threshold: float = 0.5,
    min_area_px: int = 1,
    connectivity: Connectivity = 8,
    fill_holes: bool = False,
    confidence: Confidence = "mean",
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes in an image of `size_wh`, from a probability map of any size that covers the whole image.

    The map is resized to the image (bilinear, edges repeated), where it has foreground, and given to `mask_to_boxes`.

    Args:
        probability: (h, w), 0..1; other floating types are converted.
        size_wh: Width and height of the image in pixels.
        threshold: As in `mask_to_boxes`, as are the others; areas are in pixels of the image.
        min_area_px: See `threshold`.
        connectivity: See `threshold`.
        fill_holes: See `threshold`.
        confidence: See `threshold`.

    Returns:
        boxes_xyxy (N, 4) in pixels of the image and confidence (N,), by falling confidence.

    Raises:
        ValueError: If the map is not two-dimensional, is empty or holds a NaN, or `size_wh` is not positive.
    """
    probability = checked_map(probability)
    # Bilinear interpolation never exceeds its inputs, so most images without opacity end here, before the large map.
    if probability.max() <= threshold:
        _check_size(size_wh)
        return _no_boxes()
    large, left_top = enlarge_foreground(probability, size_wh, threshold)
    boxes, values = mask_to_boxes(
        large,
        threshold=threshold,
        min_area_px=min_area_px,
        connectivity=connectivity,
        fill_holes=fill_holes,
        confidence=confidence,
    )
    return boxes + left_top * 2, values


def mask_to_boxes(
    probability: NDArray[np.float32],
    *,
    threshold: float = 0.5,
    min_area_px: int = 1,
    connectivity: Connectivity = 8,
    fill_holes: bool = False,
    confidence: Confidence = "mean",
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One box around each connected component of the pixels above `threshold`.

    Box edges are half-open pixel coordinates: a component in columns 10 to 19 gives x1 = 10 and x2 = 20. The confidence
    is taken over the whole box, so background in its corners lowers the mean, which may fall below the threshold.

    Args:
        probability: (h, w), 0..1; other floating types are converted.
        threshold: A pixel is foreground if its probability is strictly higher (the report's `> 0.5`).
        min_area_px: Components (not boxes) with fewer pixels are left out; the report keeps all.
        connectivity: 8 joins pixels that touch at a corner, as the report does; 4 only those that share an edge.
        fill_holes: Count background that a component encloses, and components inside it, as part of it: no box inside
            a box of the same opacity, and larger areas. The report does not.
        confidence: The mean probability inside the box, as in the report, or the highest.

    Returns:
        boxes_xyxy (N, 4) in pixels of the map and confidence (N,), by falling confidence; equal ones in reading order.

    Raises:
        ValueError: If the map is not two-dimensional, is empty or holds a NaN.
    """
    probability = checked_map(probability)
    if probability.max() <= threshold:
        return _no_boxes()
    boxes, area_px = find_components(probability, threshold=threshold, connectivity=connectivity, fill_holes=fill_holes)
    boxes = boxes[area_px >= min_area_px]
    values = np.array([box_confidence(probability, box, confidence) for box in boxes.tolist()], np.float64)
    order = np.argsort(-values, kind="stable")
    return boxes[order].astype(np.float64), values[order]


def image_probability_of(probability: NDArray[np.float32]) -> float:
    """How likely an image shows an opacity, from its map: the mean of the likeliest hundredth of the pixels.

    Unlike the surest box it tells images without any box apart, and unlike the likeliest pixel it is no single one.

    Args:
        probability: (h, w), 0..1.
    """
    pixels = probability.ravel()
    count = max(1, pixels.size // 100)
    return float(np.partition(pixels, pixels.size - count)[-count:].mean(dtype=np.float64))


def checked_map(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """The map as float32.

    Raises:
        ValueError: If it is not two-dimensional, is empty or holds a NaN.
    """
    probability = np.asarray(probability, dtype=np.float32)
    if probability.ndim != 2 or probability.size == 0:
        raise ValueError(f"a probability map must have shape (h, w) and at least one pixel, got {probability.shape}")
    if np.isnan(probability.max()):  # max() passes a NaN on, so this costs little; comparing alone would hide it
        raise ValueError("a probability map must not hold NaN: the network's output is broken")
    return probability


def enlarge_foreground(
    probability: NDArray[np.float32], size_wh: tuple[int, int], threshold: float
) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """The map where it is above a threshold, in the size of the image: bilinear, edges repeated.

    An opacity takes a small part of an image, and what lies around it is not needed. The part is cut out where a pixel
    of the map and one of the image begin together, so that inside the foreground's own rectangle it is what resizing
    the whole map gives; where they never do, it is the whole.

    Args:
        probability: (h, w) over the whole image, with a pixel above the threshold at least.
        size_wh: Width and height of the image in pixels.
        threshold: What is not above it is left out.

    Returns:
        The part, a little larger than that rectangle, and the (column, row) of the image where it begins. Around the
        rectangle, in the part and outside, all is background.

    Raises:
        ValueError: If `size_wh` is not positive.
    """
    _check_size(size_wh)
    first = cv2.boundingRect((probability > threshold).view(np.uint8))
    part, starts, lengths = [], [], []
    for start, length, whole, large in zip(first[:2], first[2:], probability.shape[::-1], size_wh, strict=True):
        step = whole // math.gcd(whole, large)  # so many pixels of the map are a whole number of the image's
        # With a pixel more on each side, which interpolation mixes in.
        begin, end = max(0, start - 1) // step * step, min(whole, -(-(start + length + 1) // step) * step)
        part.append(slice(begin, end))
        starts.append(begin * large // whole)
        lengths.append((end - begin) * large // whole)
    columns, rows = part
    cut = probability[rows, columns]
    enlarged: NDArray[np.float32] = cut
    if cut.shape != tuple(reversed(lengths)):
        enlarged = cv2.resize(cut, lengths, interpolation=cv2.INTER_LINEAR)
    return enlarged, (starts[0], starts[1])


def find_components(
    probability: NDArray[np.float32], *, threshold: float, connectivity: Connectivity, fill_holes: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The components that `mask_to_boxes` speaks of, in reading order; a pixel at least must be above the threshold.

    Returns:
        boxes_xyxy (N, 4) and area (N,), in whole pixels.
    """
    foreground = (probability > threshold).view(np.uint8)
    # Components are looked for inside the foreground's own rectangle: labelling the rest of the image costs the most.
    left, top, width, height = cv2.boundingRect(foreground)
    foreground = foreground[top : top + height, left : left + width]
    if fill_holes:
        foreground = _without_holes(foreground, connectivity)
    _, _, stats, _ = cv2.connectedComponentsWithStats(foreground, connectivity=connectivity)
    stats = stats[1:].astype(np.int64)  # the first row is the background
    boxes = stats[:, [cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP] * 2] + (left, top) * 2
    boxes[:, 2:] += stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
    return boxes, stats[:, cv2.CC_STAT_AREA]


def box_confidence(probability: NDArray[np.float32], box_xyxy: list[int], how: Confidence) -> float:
    """The mean or the highest probability in a box of whole pixels."""
    x1, y1, x2, y2 = box_xyxy
    inside = probability[y1:y2, x1:x2]
    # Interpolation rounds, and may end a hair above 1.
    return min(1.0, float(inside.mean(dtype=np.float64) if how == "mean" else inside.max()))


def _without_holes(foreground: NDArray[np.uint8], connectivity: Connectivity) -> NDArray[np.uint8]:
    """All but the background that is joined to the border.

    Where foreground joins at corners, background must not, and the other way round; else both would pass through the
    same corner.
    """
    outside = cv2.copyMakeBorder(foreground, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    cv2.floodFill(outside, None, (0, 0), 2, flags=12 - connectivity)
    filled: NDArray[np.uint8] = (outside[1:-1, 1:-1] != 2).view(np.uint8)
    return filled


def _check_size(size_wh: tuple[int, int]) -> None:
    if min(size_wh) < 1:
        raise ValueError(f"size_wh must be positive, got {size_wh}")


def _no_boxes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.zeros((0, 4)), np.zeros(0)
