"""Vary a picture and its boxes while a network learns: mirrored, moved, lit otherwise, noisy, partly covered.

What is done to an image is drawn first. Its boxes follow without the picture, which is computed on whatever device it
lies on: a GPU gets plain bytes and a few numbers.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hilum.datasets.augmentation_config import Augmentation
from hilum.datasets.picture_tensors import as_tensor, white

LEAST_IN_SIGHT = 0.25
"""A box of which a smaller share of the area is left to see is dropped: nobody would draw it."""


@dataclass(frozen=True)
class Variation:
    """What is done to one picture, in this order; as it stands here, nothing.

    Attributes:
        mirrored: Left to right.
        angle_degrees: Turned around the middle, clockwise, as one looks at it.
        shear_degrees: Lines that stood upright lean by this much.
        scale: Above 1 it enlarges, around the middle.
        translate_xy: Pixels to the right and down. What comes into view is black.
        gamma: Brightness 0..1 to this power: below 1 brightens, above darkens, black and white stay.
        noise: Standard deviation of Gaussian noise, as a share of the range from black to white.
        noise_seed: Decides the noise; another device makes another noise of it.
        covered_xyxy: A rectangle, in whole pixels, that shows the picture's mean instead (cut-out, DeVries and Taylor,
            arXiv:1708.04552); None covers nothing.
    """

    mirrored: bool = False
    angle_degrees: float = 0
    shear_degrees: float = 0
    scale: float = 1
    translate_xy: tuple[float, float] = (0, 0)
    gamma: float = 1
    noise: float = 0
    noise_seed: int = 0
    covered_xyxy: tuple[int, int, int, int] | None = None

    @property
    def moves(self) -> bool:
        """Whether the picture is turned, scaled, moved or slanted."""
        return (self.angle_degrees, self.shear_degrees, self.scale, *self.translate_xy) != (0, 0, 1, 0, 0)


def draw(settings: Augmentation, size: int, rng: np.random.Generator) -> Variation:
    """One random variation.

    Args:
        settings: how far it may go.
        size: side of the square that it is for, in pixels.
        rng: decides all. Seeded by (seed, epoch, image) it gives one variation, whoever asks for it, and when. The same
            numbers are drawn whatever is turned on, so that turning one kind on leaves the others as they were.
    """
    mirrored, covered = rng.random(2) < (settings.flip, settings.cutout)
    angle, shear, scale, across, down, gamma = rng.uniform(-1, 1, 6).tolist()
    deviation, noise_seed, place = rng.random(), int(rng.integers(2**63)), rng.random(4)
    return Variation(
        mirrored=bool(mirrored),
        angle_degrees=angle * settings.rotate_degrees,
        shear_degrees=shear * settings.shear_degrees,
        scale=(1 + settings.scale) ** scale,
        translate_xy=(across * settings.translate * size, down * settings.translate * size),
        gamma=(1 + settings.gamma) ** gamma,
        noise=deviation * settings.noise,
        noise_seed=noise_seed,
        covered_xyxy=rectangle(size, place) if covered else None,
    )


def rectangle(size: int, place: ArrayLike) -> tuple[int, int, int, int]:
    """A rectangle in a square of `size` pixels, of sides 1/10 to 1/4 of the square's.

    Args:
        size: Side of the square.
        place: Width, height, column and row, 0..1 each, of the range that each may have.

    Returns:
        xyxy in whole pixels.
    """
    place = np.asarray(place, np.float64)
    sides = np.rint((0.1 + 0.15 * place[:2]) * size)
    x1, y1 = np.rint(place[2:] * (size - sides)).astype(int).tolist()
    width, height = sides.astype(int).tolist()
    return x1, y1, x1 + width, y1 + height


def augment(
    square: NDArray[Any], boxes_xyxy: ArrayLike, settings: Augmentation, rng: np.random.Generator
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """One random variant of a picture: `draw`, `vary_picture` and `vary_boxes`.

    Args:
        square: (size, size) uint8 or uint16; left as it is.
        boxes_xyxy: (N, 4) in pixels of the square.
        settings: how far it may be varied.
        rng: see `draw`.

    Returns:
        (size, size) uint8 or of 16 bits int32, and the boxes as `vary_boxes` gives them.
    """
    variation = draw(settings, len(square), rng)
    picture = as_tensor(np.array(square))
    return vary_picture(picture, variation).numpy(), vary_boxes(boxes_xyxy, variation, len(square))


def vary_boxes(boxes_xyxy: ArrayLike, variation: Variation, size: int) -> NDArray[np.float64]:
    """The boxes of a picture after a variation, (M, 4), as `vary_boxes_with_classes` says."""
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
    return vary_boxes_with_classes(boxes, np.zeros(len(boxes), np.int64), variation, size)[0]


def vary_boxes_with_classes(
    boxes_xyxy: ArrayLike, class_ids: NDArray[np.int64], variation: Variation, size: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The boxes of a picture after a variation, and their classes.

    Where the picture moves, a box stands for the ellipse inscribed in it, and becomes the box around that ellipse: an
    opacity has no corners, and the box around turned corners would teach boxes that are too large. A box that is
    covered in part keeps its size: what can be seen of it shall do to find it.

    Args:
        boxes_xyxy: (N, 4) in pixels of the square.
        class_ids: (N,).
        variation: what is done to the picture.
        size: side of the square in pixels.

    Returns:
        (M, 4) with M <= N, in pixels: cut at the edge of the square, and dropped where less than `LEAST_IN_SIGHT` of a
        box is left to see; and the class ids (M,) of those that are left.
    """
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
    if variation.mirrored:
        boxes = boxes[:, [2, 1, 0, 3]] * (-1, 1, -1, 1) + (size, 0, size, 0)
    if variation.moves:
        boxes = _moved(boxes, variation, size)
        inside = boxes.clip(0, size)
        seen = _area(inside) >= LEAST_IN_SIGHT * _area(boxes)
        boxes, class_ids = inside[seen], class_ids[seen]
    if variation.covered_xyxy:
        x1, y1, x2, y2 = variation.covered_xyxy
        hidden = _area(boxes.clip((x1, y1, x1, y1), (x2, y2, x2, y2)))
        seen = hidden <= (1 - LEAST_IN_SIGHT) * _area(boxes)
        boxes, class_ids = boxes[seen], class_ids[seen]
    return boxes, class_ids


def vary_picture(picture: Tensor, variation: Variation) -> Tensor:
    """The picture after a variation, computed where it lies.

    Args:
        picture: (size, size) uint8 or of 16 bits int32, on any device; left as it is.
        variation: what is done to it.

    Returns:
        (size, size) of its type, which may share the memory of `picture` where nothing is done.
    """
    if variation.mirrored:
        picture = picture.flip(1)
    if variation.moves:
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.v2 import functional as F

        picture = F.affine(
            picture[None],
            angle=variation.angle_degrees,
            translate=list(variation.translate_xy),
            scale=variation.scale,
            shear=[variation.shear_degrees, 0.0],
            interpolation=InterpolationMode.BILINEAR,
            fill=0,
        )[0]
    top = white(picture)
    if variation.gamma != 1 and picture.dtype != torch.uint8:
        picture = ((picture / top) ** variation.gamma * top).round().to(picture.dtype)
    elif variation.gamma != 1:
        from torchvision.transforms.v2 import functional as F

        greys = torch.arange(256, dtype=torch.uint8)[None, None]  # 256 powers instead of one a pixel
        picture = F.adjust_gamma(greys, variation.gamma)[0, 0].to(picture.device)[picture.int()]
    if variation.noise:
        generator = torch.Generator(picture.device).manual_seed(variation.noise_seed)
        noise = torch.randn(picture.shape, generator=generator, device=picture.device)
        picture = (picture + top * variation.noise * noise).round().clamp(0, top).to(picture.dtype)
    if variation.covered_xyxy:
        x1, y1, x2, y2 = variation.covered_xyxy
        mean = picture.mean(dtype=torch.float64).round().to(picture.dtype)
        picture = picture.clone()
        picture[y1:y2, x1:x2] = mean
    return picture


def _moved(boxes_xyxy: NDArray[np.float64], variation: Variation, size: int) -> NDArray[np.float64]:
    """The boxes around the moved ellipses, in sight or not."""
    angle, lean = math.radians(variation.angle_degrees), math.tan(math.radians(variation.shear_degrees))
    turned = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = variation.scale * turned @ [[1, -lean], [0, 1]]  # torchvision's order: slant, enlarge, turn
    middle = size / 2
    centres = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    centres = (centres - middle) @ linear.T + middle + variation.translate_xy
    halves = np.sqrt((boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) ** 2 / 4 @ (linear**2).T)
    return np.hstack([centres - halves, centres + halves])


def _area(boxes_xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    area: NDArray[np.float64] = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1)
    return area
