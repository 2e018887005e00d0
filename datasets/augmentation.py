"""Vary a picture and its boxes while a network learns: mirrored, moved, lit otherwise, noisy, partly covered."""

import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from hilum.config import Table

LEAST_IN_SIGHT = 0.25
"""A box of which a smaller share of the area is left to see is dropped: nobody would draw it."""


class Augmentation(Table):
    """How far pictures are varied; 0 turns a kind off. The default is the capstone report's: flips alone.

    Attributes:
        flip: Share of the pictures that are mirrored left to right.
        rotate_degrees: Turned by up to this much, either way.
        scale: Enlarged by a factor between 1 / (1 + scale) and 1 + scale.
        translate: Moved by up to this share of the side, across and down.
        shear_degrees: Slanted sideways by up to this much, either way.
        gamma: Brightness 0..1 to a power between 1 / (1 + gamma) and 1 + gamma.
        noise: Gaussian noise, whose standard deviation is up to this share of the range from black to white.
        cutout: Share of the pictures in which a rectangle, of sides 1/10 to 1/4 of the picture's, is covered.
    """

    flip: float = Field(default=0.5, ge=0, le=1)
    rotate_degrees: float = Field(default=0, ge=0, le=45)
    scale: float = Field(default=0, ge=0, le=1)
    translate: float = Field(default=0, ge=0, le=0.5)
    shear_degrees: float = Field(default=0, ge=0, le=30)
    gamma: float = Field(default=0, ge=0, le=2)
    noise: float = Field(default=0, ge=0, le=0.5)
    cutout: float = Field(default=0, ge=0, le=1)

    @property
    def moves(self) -> bool:
        """Whether pictures are turned, scaled, moved or slanted."""
        return any((self.rotate_degrees, self.scale, self.translate, self.shear_degrees))


def augment(
    square: NDArray[np.uint8], boxes_xyxy: ArrayLike, settings: Augmentation, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """One random variant of a picture.

    Args:
        square: (size, size); left as it is.
        boxes_xyxy: (N, 4) in pixels of the square.
        settings: how far it may be varied.
        rng: decides all. Seeded by (seed, epoch, image) it gives one variant, whoever computes it, and when. The same
            numbers are drawn whatever is turned on, so that turning one kind on leaves the others as they were.

    Returns:
        The variant, (size, size), and the boxes in it, (M, 4) with M <= N: cut at the edge of the square, and dropped
        where less than `LEAST_IN_SIGHT` of a box is left to see.
    """
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
    mirrored, covered = rng.random(2) < (settings.flip, settings.cutout)
    angle, shear, scale, across, down, gamma = rng.uniform(-1, 1, 6)
    deviation, noise_seed, cover = rng.random(), rng.integers(2**63), rng.random(4)
    if mirrored:
        square, boxes = flip(square, boxes)
    if settings.moves:
        square, boxes = affine(
            square,
            boxes,
            angle_degrees=angle * settings.rotate_degrees,
            shear_degrees=shear * settings.shear_degrees,
            scale=(1 + settings.scale) ** scale,
            translate_xy=(across * settings.translate * len(square), down * settings.translate * len(square)),
        )
    if settings.gamma:
        square = apply_gamma(square, (1 + settings.gamma) ** gamma)
    if settings.noise:
        noise = np.random.default_rng(noise_seed).standard_normal(square.shape, np.float32)
        noise *= 255 * deviation * settings.noise
        square = np.rint(square + noise).clip(0, 255).astype(np.uint8)
    if covered:
        square, boxes = cut_out(square, boxes, cover)
    return square, boxes


def flip(square: NDArray[np.uint8], boxes_xyxy: NDArray[np.float64]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Mirror left to right: (H, W) and (N, 4) to the same shapes."""
    width = square.shape[1]
    return square[:, ::-1], boxes_xyxy[:, [2, 1, 0, 3]] * (-1, 1, -1, 1) + (width, 0, width, 0)


def affine(
    square: NDArray[np.uint8],
    boxes_xyxy: NDArray[np.float64],
    *,
    angle_degrees: float = 0,
    shear_degrees: float = 0,
    scale: float = 1,
    translate_xy: tuple[float, float] = (0, 0),
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Slant, enlarge and turn a picture around its middle, then move it; what comes into view is black.

    A box stands for the ellipse inscribed in it, and becomes the box around that ellipse: an opacity has no corners,
    and the box around turned corners would teach boxes that are too large.

    Args:
        square: (size, size).
        boxes_xyxy: (N, 4) in pixels.
        angle_degrees: Clockwise, as one looks at it.
        shear_degrees: Lines that stood upright lean by this much.
        scale: Above 1 it enlarges.
        translate_xy: Pixels to the right and down.

    Returns:
        (size, size) and (M, 4), M <= N, cut and dropped as in `augment`.
    """
    moved = F.affine(
        torch.from_numpy(np.array(square)[None]),
        angle=angle_degrees,
        translate=list(translate_xy),
        scale=scale,
        shear=[shear_degrees, 0.0],
        interpolation=InterpolationMode.BILINEAR,
        fill=0,
    )
    angle, lean = math.radians(angle_degrees), math.tan(math.radians(shear_degrees))
    turned = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = scale * turned @ [[1, -lean], [0, 1]]  # torchvision's order: slant, enlarge, turn
    middle = len(square) / 2
    centres = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    centres = (centres - middle) @ linear.T + middle + translate_xy
    halves = np.sqrt((boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) ** 2 / 4 @ (linear**2).T)
    boxes = np.hstack([centres - halves, centres + halves])
    inside = boxes.clip(0, len(square))
    return moved[0].numpy(), inside[_area(inside) >= LEAST_IN_SIGHT * _area(boxes)]


def apply_gamma(square: NDArray[np.uint8], exponent: float) -> NDArray[np.uint8]:
    """Brightness 0..1 to the power `exponent`: below 1 brightens, above darkens, black and white stay."""
    steps = torch.arange(256, dtype=torch.uint8)[None, None]  # 256 powers instead of one a pixel
    table: NDArray[np.uint8] = F.adjust_gamma(steps, exponent).numpy()[0, 0]
    return table[square]


def cut_out(
    square: NDArray[np.uint8], boxes_xyxy: NDArray[np.float64], place: ArrayLike
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Cover a rectangle with the picture's mean (DeVries and Taylor, arXiv:1708.04552).

    A box that is covered in part keeps its size: what can be seen of it shall do to find it.

    Args:
        square: (size, size); left as it is.
        boxes_xyxy: (N, 4) in pixels.
        place: Width, height, column and row of the rectangle, 0..1 each, of the range that each may have.

    Returns:
        (size, size) and the (M, 4) of the boxes of which at least `LEAST_IN_SIGHT` is left to see.
    """
    place = np.asarray(place, np.float64)
    sides = np.rint((0.1 + 0.15 * place[:2]) * len(square)).astype(int)
    x1, y1 = np.rint(place[2:] * (len(square) - sides)).astype(int)
    x2, y2 = x1 + sides[0], y1 + sides[1]
    covered = square.copy()
    covered[y1:y2, x1:x2] = round(float(square.mean()))
    hidden = _area(boxes_xyxy.clip((x1, y1, x1, y1), (x2, y2, x2, y2)))
    return covered, boxes_xyxy[hidden <= (1 - LEAST_IN_SIGHT) * _area(boxes_xyxy)]


def _area(boxes_xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    area: NDArray[np.float64] = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1)
    return area
