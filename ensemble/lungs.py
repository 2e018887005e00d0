"""Lungs first: boxes outside the lungs lose confidence."""

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.backend import Backend
from hilum.datasets.fusion import Boxes
from hilum.datasets.masks import share_inside

CELLS = 64
"""A map of the lungs is kept as so many rows and columns over the image: fine beside a box, small for all of val."""


def lung_maps(backend: Backend, images: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
    """(CELLS, CELLS) an image, 0..1, of a backend that says where the lungs are."""
    return [
        cv2.resize(each, (CELLS, CELLS), interpolation=cv2.INTER_AREA).clip(0, 1)
        for each in backend.probability_maps(images)
    ]


def lungs_first(found: Boxes, lungs: NDArray[np.float32], size_wh: tuple[int, int], outside: float) -> Boxes:
    """Lower each confidence by how much of its box lies outside the lungs.

    Args:
        found: of one image.
        lungs: (rows, columns) over the image, 0..1.
        size_wh: of the image in pixels.
        outside: factor for a box wholly outside; one inside keeps its confidence, others lie between.
    """
    boxes, confidence = found
    lowered = confidence * (1 - (1 - outside) * (1 - share_inside(boxes, size_wh, lungs)))
    return Boxes(boxes, lowered).where(np.argsort(-lowered, kind="stable"))
