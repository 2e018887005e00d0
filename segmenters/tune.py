"""Sweep how probability maps become boxes: every step of `masks_to_boxes`, on maps that are seen once.

Components depend on the threshold, the connectivity and the filling of holes; the least area and the kind of confidence
only choose among them and rank them. So each map is reduced to its components as it comes, and nothing else is kept.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, product
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hilum.class_names import Confidence
from hilum.segmenters.masks_to_boxes import (
    Connectivity,
    box_confidence,
    checked_map,
    enlarge_foreground,
    find_components,
)
from hilum.training.validation import OperatingPoint, choose_by_class

GRID: Final[Mapping[str, tuple[Any, ...]]] = {
    "threshold": tuple(round(0.05 * step, 2) for step in range(2, 19)),
    "connectivity": (8, 4),
    "fill_holes": (False, True),
    "min_area_px": (1, 250, 500, 1000, 2000, 4000, 8000),
    "confidence": ("mean", "max"),
}
"""What is tried of each parameter of `probability_to_boxes`. The smallest opacity of the challenge has 2,320 pixels."""


class _Components(NamedTuple):
    """The components of one map, or of all: (N,), (N, 4), (N,), (N,) and (N,)."""

    image: NDArray[np.int64]
    boxes_xyxy: NDArray[np.int64]
    area_px: NDArray[np.int64]
    mean: NDArray[np.float64]
    max: NDArray[np.float64]


def sweep(
    maps: Iterable[tuple[NDArray[np.float32], tuple[int, int]]],
    truth_xywh: Sequence[NDArray[Any]],
    grid: Mapping[str, Sequence[Any]] = GRID,
    classes: int = 1,
) -> list[OperatingPoint]:
    """Score every combination of the grid, each at the best point of its threshold curve.

    Args:
        maps: for each image, and in it for each class, its map (h, w) and the image's width and height in pixels; each
            is looked at once.
        truth_xywh: one (T, 4) a map, in the order of the maps.
        grid: values by the name of a parameter; all five.
        classes: how many there are; all have the same parameters, and each a confidence of its own.

    Returns:
        One point a combination; the last parameter of the grid varies fastest.
    """
    costly = list(product(grid["threshold"], grid["connectivity"], grid["fill_holes"]))
    found: dict[tuple[Any, ...], list[_Components]] = {key: [] for key in costly}
    numbered = ((number, *map_, costly) for number, map_ in enumerate(maps))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # OpenCV and numpy release the interpreter's lock
        while some := list(islice(numbered, 64)):
            for parts in pool.map(_components, *zip(*some, strict=True)):
                for key, components in parts.items():
                    found[key].append(components)
    joined = {key: _join(parts) for key, parts in found.items()}
    known: dict[bytes, tuple[Confidence, float]] = {}
    points = []
    for values in product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        components = joined[chosen["threshold"], chosen["connectivity"], chosen["fill_holes"]]
        kept = components.area_px >= chosen["min_area_px"]
        confidence = (components.mean if chosen["confidence"] == "mean" else components.max)[kept]
        image, boxes = components.image[kept], components.boxes_xyxy[kept]
        # Many combinations give the very same boxes.
        digest = hashlib.blake2b(b"".join(array.tobytes() for array in (image, boxes, confidence))).digest()
        if digest not in known:
            known[digest] = _best(image, boxes, confidence, truth_xywh, classes)
        points.append(OperatingPoint(chosen, *known[digest]))
    return points


def _components(
    number: int,
    probability: NDArray[np.float32],
    size_wh: tuple[int, int],
    costly: Sequence[tuple[float, Connectivity, bool]],
) -> dict[tuple[float, Connectivity, bool], _Components]:
    """The components of one image by threshold, connectivity and filling, where it has any."""
    probability = checked_map(probability)
    highest, lowest = probability.max(), min(threshold for threshold, _, _ in costly)
    if highest <= lowest:
        return {}
    large, left_top = enlarge_foreground(probability, size_wh, lowest)
    highest = min(highest, large.max(initial=0.0))
    confidences: dict[tuple[int, ...], tuple[float, float]] = {}  # they depend on the box alone
    found = {}
    for key in costly:
        threshold, connectivity, fill_holes = key
        if highest <= threshold:
            continue
        boxes, area_px = find_components(large, threshold=threshold, connectivity=connectivity, fill_holes=fill_holes)
        values = np.empty((len(boxes), 2))
        for row, box in enumerate(boxes.tolist()):
            if tuple(box) not in confidences:
                confidences[tuple(box)] = (box_confidence(large, box, "mean"), box_confidence(large, box, "max"))
            values[row] = confidences[tuple(box)]
        image = np.full(len(boxes), number)
        found[key] = _Components(image, boxes + left_top * 2, area_px, values[:, 0], values[:, 1])
    return found


def _join(parts: Sequence[_Components]) -> _Components:
    none = np.zeros(0, np.int64)
    nothing = _Components(none, np.zeros((0, 4), np.int64), none, np.zeros(0), np.zeros(0))
    return _Components(*(np.concatenate(columns) for columns in zip(nothing, *parts, strict=True)))


def _best(
    image: NDArray[np.int64],
    boxes_xyxy: NDArray[np.int64],
    confidence: NDArray[np.float64],
    truth_xywh: Sequence[NDArray[Any]],
    classes: int,
) -> tuple[Confidence, float]:
    """The best point of the threshold curve; images with neither truth nor box do not count, and are left out."""
    counts = np.bincount(image, minlength=len(truth_xywh)) + list(map(len, truth_xywh))
    counting = np.flatnonzero(np.repeat(counts.reshape(-1, classes).any(axis=1), classes)).tolist()
    boxes_xywh = boxes_xyxy.astype(np.float64)
    boxes_xywh[:, 2:] -= boxes_xywh[:, :2]
    first = np.searchsorted(image, np.arange(len(truth_xywh) + 1))
    parts = [slice(first[number], first[number + 1]) for number in counting]
    return choose_by_class(
        [truth_xywh[number] for number in counting],
        [boxes_xywh[part] for part in parts],
        [confidence[part] for part in parts],
        classes,
    )
