"""Test-time augmentation: the same image seen mirrored, from further away or closer, and boxes brought back."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.datasets.fusion import Boxes


@dataclass(frozen=True)
class View:
    """A way to look at an image of any size.

    Attributes:
        mirrored: left and right are exchanged.
        scale: below 1 the image gets a black margin, so that a backend, which fits what it is given into a square of
            its own, sees it smaller; above 1 it sees the middle alone, larger.
    """

    mirrored: bool = False
    scale: float = 1.0

    def show(self, image: NDArray[Any]) -> NDArray[Any]:
        """(H, W) to the view, of the size (H / scale, W / scale), rounded."""
        height, width = image.shape
        left, top = self._margin(width), self._margin(height)
        shown = np.zeros((self._side(height), self._side(width)), image.dtype)
        cut = image[max(-top, 0) : len(shown) - top, max(-left, 0) : shown.shape[1] - left]
        shown[max(top, 0) :, max(left, 0) :][: cut.shape[0], : cut.shape[1]] = cut
        return np.ascontiguousarray(shown[:, ::-1]) if self.mirrored else shown

    def bring_back(self, found: Boxes, size_wh: tuple[int, int]) -> Boxes:
        """What was found in the view as what it is in the image, cut at its edge; what lies outside of it is dropped.

        Args:
            found: in pixels of the view.
            size_wh: of the image.
        """
        width, height = size_wh
        boxes, confidence = found
        if self.mirrored:
            side = self._side(width)
            boxes = boxes[:, [2, 1, 0, 3]] * (-1, 1, -1, 1) + (side, 0, side, 0)
        boxes = (boxes - (self._margin(width), self._margin(height)) * 2).clip(0, (width, height) * 2)
        inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        return Boxes(boxes[inside], confidence[inside])

    def _side(self, side: int) -> int:
        return max(1, round(side / self.scale))

    def _margin(self, side: int) -> int:
        """Pixels that the view has before the image begins; negative where it begins inside the image."""
        return (self._side(side) - side) // 2
