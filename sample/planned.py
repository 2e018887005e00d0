"""An image that is going to be drawn, and many of them."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

from hilum.progress import Progress
from hilum.sample.findings import Anatomy

T = TypeVar("T")


@dataclass(frozen=True)
class PlannedImage:
    """What is known of an image before it is drawn."""

    image_id: str
    patient: str
    anatomy: Anatomy
    view: str
    kind: str
    spacing_mm: float
    folder: str
    seed: tuple[int, int]


def draw_all(
    draw: Callable[[PlannedImage], T], planned: Sequence[PlannedImage], executor: Executor | None, progress: Progress
) -> list[T]:
    """What `draw` gives of each image, in order; in this process where there is no executor."""
    drawn: list[T] = []
    for each in map(draw, planned) if executor is None else executor.map(draw, planned, chunksize=8):
        drawn.append(each)
        progress(len(drawn), len(planned))
    return drawn
