"""A person's build, and what is drawn that is no opacity: the heart, and what makes a film not normal."""

from dataclasses import dataclass

import cv2
import numpy as np

from hilum.sample.placing import Field, field, step

SIZE_PX = 1024
SOFT = 256  # soft tissue has no detail finer than 4 px
Located = tuple[str, tuple[int, int, int, int]]
"""A finding's name, and the box that a reader would draw around it: left, top, width, height in pixels."""


@dataclass(frozen=True)
class Anatomy:
    """What a person keeps from one image to the next, as shares of the picture's width or height."""

    lung_width: float
    lung_top: float
    lung_bottom: float
    heart: float
    body_width: float
    rib_pitch: float
    spine_bend: float
    breast: float
    sex: str
    age: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Anatomy":
        sex = "F" if rng.random() < 0.43 else "M"
        return cls(
            lung_width=rng.uniform(0.60, 0.76),
            lung_top=rng.uniform(0.07, 0.15),
            lung_bottom=rng.uniform(0.70, 0.84),
            heart=rng.uniform(0.85, 1.12),
            body_width=rng.uniform(0.80, 1.05),
            rib_pitch=rng.uniform(0.072, 0.090),
            spine_bend=rng.normal(0, 0.012),
            breast=rng.uniform(0.05, 0.16) if sex == "F" else 0.0,
            sex=sex,
            age=int(np.clip(rng.normal(47, 17), 1, 94)),
        )


def draw_heart(u: Field, v: Field, anatomy: Anatomy, *, enlarge: float) -> Field:
    """Heart and aortic arch, 0..1: an egg that leans to the person's left and fades upwards into the vessels."""
    size = np.float32(anatomy.heart * enlarge)
    down = v - np.float32(anatomy.lung_bottom - 0.13)
    across = u - np.float32(0.10) - np.float32(0.9) * down
    egg = (across / (np.float32(0.27) * size * (1 + np.float32(0.8) * down))) ** 2 + (
        down / (np.float32(0.19) * size)
    ) ** 2
    aorta = ((u - np.float32(0.07)) / np.float32(0.13)) ** 2 + (
        (v - np.float32(anatomy.lung_top + 0.20)) / np.float32(0.10)
    ) ** 2
    return field(np.maximum(step(1 - egg, 0.5), np.float32(0.6) * step(1 - aorta, 0.8)))


def draw_other_findings(
    u: Field,
    v: Field,
    lungs: Field,
    anatomy: Anatomy,
    rng: np.random.Generator,
    places: list[Located],
) -> Field:
    """What makes a film not normal without being an opacity: heart, nodules, scars, effusion, a device.

    What a reader would draw a box around goes to `places`.
    """

    def located(name: str, finding: Field, seen: float) -> Field:
        rows, columns = np.flatnonzero((finding > seen).any(axis=1)), np.flatnonzero((finding > seen).any(axis=0))
        if len(rows) and len(columns):
            left, top = int(columns[0]), int(rows[0])
            box = left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top
            cell = SIZE_PX // SOFT
            places.append((name, (box[0] * cell, box[1] * cell, box[2] * cell, box[3] * cell)))
        return finding

    image = np.zeros(u.shape, np.float32)
    for finding in rng.choice(["heart", "nodules", "band", "cap", "effusion", "device", "markings"], 2, replace=False):
        side = 1 if rng.random() < 0.5 else -1
        if finding == "heart":
            heart = draw_heart(u, v, anatomy, enlarge=rng.uniform(1.3, 1.6))
            image += located("Cardiomegaly", np.float32(0.4) * heart * (v > anatomy.lung_top + 0.32) * lungs, 0.1)
            image += np.float32(0.4) * heart * (v <= anatomy.lung_top + 0.32) * lungs
        elif finding == "nodules":
            for _ in range(int(rng.integers(1, 5))):
                cu, cv = side * rng.uniform(0.2, 0.5), rng.uniform(0.2, 0.62)
                distance = (u - np.float32(cu)) ** 2 + (2 * (v - np.float32(cv))) ** 2
                strength = np.float32(rng.uniform(0.1, 0.3))
                image += located(
                    "Nodule/Mass", strength * step(np.float32(0.025**2) - distance, 0.0008), 0.3 * float(strength)
                )
        elif finding == "band":
            slope, height = rng.uniform(-0.4, 0.4), rng.uniform(0.45, 0.65)
            distance = np.abs(v - np.float32(height) - np.float32(slope) * (u - np.float32(side * 0.35)))
            near = step(np.float32(0.2) - np.abs(u - np.float32(side * 0.35)), 0.1)
            image += np.float32(rng.uniform(0.1, 0.22)) * step(np.float32(0.008) - distance, 0.008) * near * lungs
        elif finding == "cap":
            distance = ((u - np.float32(side * 0.27)) / np.float32(0.14)) ** 2 + (
                (v - np.float32(anatomy.lung_top + 0.02)) / np.float32(0.03)
            ) ** 2
            image += np.float32(0.25) * step(1 - distance, 0.6) * lungs
        elif finding == "effusion":
            line = np.float32(anatomy.lung_bottom - rng.uniform(0.02, 0.07)) - np.float32(0.25) * np.clip(
                u * side - 0.35, 0, 1
            )
            image += located(
                "Pleural effusion", np.float32(0.45) * step(v - line, 0.05) * step(u * side, 0.1) * lungs, 0.1
            )
        elif finding == "device":
            box = np.maximum(
                np.abs(u - np.float32(side * 0.45)) / np.float32(0.09), np.abs(v - np.float32(0.2)) / 0.045
            )
            image += np.float32(0.45) * step((1 - box).astype(np.float32), 0.15)
        else:
            image += np.float32(0.07) * texture(rng, SOFT, cells=64) * lungs
    return image


def texture(rng: np.random.Generator, size: int, cells: int) -> Field:
    """Smooth noise, about -1..1."""
    coarse = rng.standard_normal((cells, cells), dtype=np.float32) * np.float32(0.5)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)
