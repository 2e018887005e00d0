"""Lungs first: boxes outside the lungs lose confidence."""

from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.datasets.masks import share_inside
from hilum.ensemble.fusion import Found

CELLS = 64
"""A map of the lungs is kept as so many rows and columns over the image: fine beside a box, small for all of val."""


@runtime_checkable
class LungMapper(Protocol):
    """A backend that says where the lungs are: `lungs`, or any segmenter that was trained to find them."""

    def probability_maps(self, images: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """For each image (H, W) a map over the whole of it, of any size, 0..1."""
        ...


def lung_maps(mapper: LungMapper, images: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
    """(CELLS, CELLS) an image, 0..1."""
    return [
        cv2.resize(each, (CELLS, CELLS), interpolation=cv2.INTER_AREA).clip(0, 1)
        for each in mapper.probability_maps(images)
    ]


def lungs_first(found: Found, lungs: NDArray[np.float32], size_wh: tuple[int, int], outside: float) -> Found:
    """Lower each confidence by how much of its box lies outside the lungs.

    Args:
        found: of one image.
        lungs: (rows, columns) over the image, 0..1.
        size_wh: of the image in pixels.
        outside: factor for a box wholly outside; one inside keeps its confidence, others lie between.
    """
    boxes, confidence = found
    lowered = confidence * (1 - (1 - outside) * (1 - share_inside(boxes, size_wh, lungs)))
    order = np.argsort(-lowered, kind="stable")
    return boxes[order], lowered[order]
