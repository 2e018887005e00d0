"""An image of any shape in a square: the picture, the boxes, and the way back."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeVar

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hilum.datasets.bits import as_bits

Interpolation = Literal["area", "bilinear"]
"""How a picture shrinks: a pixel is the mean of what falls into it, or mixes the nearest four, and others go unseen."""

_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where an image lies in a square. Made by `Letterbox.fit`.

    The same image always gets the same place, alone or in a batch, whatever the other images' sizes.

    Attributes:
        original_wh: Width and height of the image in pixels.
        size: Side of the square in pixels.
        inner_wh: Width and height of the image inside the square.
        pad_left: Columns of padding left of it.
        pad_top: Rows of padding above it.
    """

    original_wh: tuple[int, int]
    size: int
    inner_wh: tuple[int, int]
    pad_left: int
    pad_top: int

    @classmethod
    def fit(cls, original_wh: tuple[int, int], size: int) -> Self:
        """The whole image as large as it fits, its aspect kept, in the middle of the square.

        The longer side becomes `size`, the shorter is rounded to a pixel, and is never 0. An odd pixel of padding goes
        to the right or to the bottom.

        Raises:
            ValueError: If a size is not positive.
        """
        width, height = original_wh
        if min(width, height, size) < 1:
            raise ValueError(f"sizes must be positive, got original_wh={original_wh}, size={size}")
        longer = max(width, height)
        inner_wh = max(1, round(width * size / longer)), max(1, round(height * size / longer))
        return cls((width, height), size, inner_wh, (size - inner_wh[0]) // 2, (size - inner_wh[1]) // 2)

    @property
    def scale_xy(self) -> tuple[float, float]:
        """Pixels of the square for one pixel of the image; the two differ by the rounding of `inner_wh` only."""
        return self.inner_wh[0] / self.original_wh[0], self.inner_wh[1] / self.original_wh[1]

    def apply(self, image: NDArray[Any], fill: int = 0, interpolation: Interpolation = "area") -> NDArray[Any]:
        """The image in its square.

        Args:
            image: (H, W) of the size that was fitted.
            fill: Brightness of the padding, 0..255, also where the image has 16 bits.
            interpolation: Where the image shrinks; where it grows it is bilinear.

        Returns:
            (size, size) of the image's type. Never `image` itself.

        Raises:
            ValueError: If the image is neither uint8 nor uint16, or not of that size.
        """
        if image.dtype not in (np.uint8, np.uint16) or image.shape != self.original_wh[::-1]:
            raise ValueError(
                f"this letterbox takes a uint16 or uint8 image of shape {self.original_wh[::-1]}, "
                f"got {image.dtype} of shape {image.shape}"
            )
        averages = interpolation == "area" and max(self.original_wh) > self.size
        level = fill if image.dtype == np.uint8 else 257 * fill
        square = np.full((self.size, self.size), level, dtype=image.dtype)
        self.crop(square)[:] = cv2.resize(
            image, self.inner_wh, interpolation=cv2.INTER_AREA if averages else cv2.INTER_LINEAR
        )
        return square

    def crop(self, square: NDArray[_Scalar]) -> NDArray[_Scalar]:
        """The part of a map that shows the image, without the padding.

        Args:
            square: (..., size, size), of any type.

        Returns:
            (..., h, w) with (w, h) = `inner_wh`: a view, not a copy.

        Raises:
            ValueError: If the last two sides are not `size`.
        """
        if square.shape[-2:] != (self.size, self.size):
            raise ValueError(f"expected a map of shape (..., {self.size}, {self.size}), got {square.shape}")
        width, height = self.inner_wh
        return square[..., self.pad_top : self.pad_top + height, self.pad_left : self.pad_left + width]

    def boxes_to_square(self, boxes_xyxy: ArrayLike) -> NDArray[np.float64]:
        """(N, 4) in pixels of the image to (N, 4) in pixels of the square."""
        boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
        return boxes * (self.scale_xy * 2) + (self.pad_left, self.pad_top) * 2

    def boxes_to_original(self, boxes_xyxy: ArrayLike) -> NDArray[np.float64]:
        """(N, 4) in pixels of the square to (N, 4) in pixels of the image, clipped to it.

        Every box stays in its row: one that lay in the padding alone comes back with an area of 0.
        """
        boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
        boxes = (boxes - (self.pad_left, self.pad_top) * 2) / (self.scale_xy * 2)
        return boxes.clip(0, self.original_wh * 2)


def letterbox_batch(
    images: Sequence[NDArray[Any]], size: int, fill: int = 0, interpolation: Interpolation = "area", bits: int = 8
) -> tuple[list[Letterbox], NDArray[Any]]:
    """Images (H, W) of any sizes, at least one, as squares (N, size, size) of so many bits; and where each lies."""
    places = [Letterbox.fit((image.shape[1], image.shape[0]), size) for image in images]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # OpenCV releases the interpreter's lock
        squares = pool.map(lambda place, image: place.apply(as_bits(image, bits), fill, interpolation), places, images)
        return places, np.stack(list(squares))
