"""An image that is going to be drawn."""

from dataclasses import dataclass

from hilum.sample.findings import Anatomy


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
