"""Where a phantom stands in its picture, and the fields that are drawn there."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


@dataclass(frozen=True)
class Placing:
    """Where the person stands: maps the picture to `u` (across, 0 at the spine) and `v` (down, 0..1)."""

    centre: float
    top: float
    scale: float
    tilt_rad: float

    @classmethod
    def draw(cls, rng: np.random.Generator, *, portable: bool) -> "Placing":
        spread = 1.6 if portable else 1.0
        return cls(
            centre=0.5 + rng.normal(0, 0.015) * spread,
            top=rng.normal(0, 0.02) * spread,
            scale=rng.uniform(0.86, 1.04) if portable else rng.uniform(0.94, 1.06),
            tilt_rad=float(rng.normal(0, 0.02) * spread),
        )

    def grid(self, size: int) -> tuple[Field, Field]:
        axis = ((np.arange(size, dtype=np.float32) + 0.5) / size).astype(np.float32)
        return self.to_body(axis[None, :], axis[:, None])

    def to_body(self, x: Field, y: Field) -> tuple[Field, Field]:
        """Shares of the picture to body coordinates; `u` is +-1 at the picture's edges where scale is 1."""
        cos, sin = np.float32(np.cos(self.tilt_rad)), np.float32(np.sin(self.tilt_rad))
        dx, dy = (x - np.float32(self.centre)), (y - np.float32(0.5 + self.top))
        across, down = cos * dx + sin * dy, cos * dy - sin * dx
        return field(across * np.float32(2 / self.scale)), field(down / np.float32(self.scale) + np.float32(0.5))

    def to_picture(self, points_uv: NDArray[np.floating]) -> NDArray[np.float64]:
        """Body coordinates (N, 2) to shares of the picture (N, 2)."""
        across, down = points_uv[:, 0] * self.scale / 2, (points_uv[:, 1] - 0.5) * self.scale
        cos, sin = np.cos(self.tilt_rad), np.sin(self.tilt_rad)
        return np.stack([cos * across - sin * down + self.centre, sin * across + cos * down + 0.5 + self.top], axis=1)


def field(values: NDArray[np.floating]) -> Field:
    """The type checker's float32: NumPy's own promotion rules are not in its stubs. Nothing is copied."""
    return np.asarray(values, np.float32)


def step(distance: NDArray[np.floating], width: float) -> Field:
    """0 below -width/2, 1 above width/2, smooth between."""
    t = np.clip(distance / np.float32(width) + np.float32(0.5), 0, 1)
    return field(t * t * (3 - 2 * t))
