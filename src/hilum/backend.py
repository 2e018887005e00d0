"""What a backend is. `hilum.plugins` finds them by name."""

from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from hilum.config import ExperimentConfig
from hilum.datasets.folder import Dataset
from hilum.detections import Detections


class Backend(Protocol):
    """A detector of lung opacity. This is all that a plug-in writes; everything else is written once, over it."""

    Config: ClassVar[type[ExperimentConfig]]

    @classmethod
    def train(cls, config: Any, data: Dataset, run: Path) -> Self:
        """Train on `data`'s train split, keep the epoch that is best on val, and store it in the folder `run`.

        Writes `weights.safetensors` and `log.jsonl`. Called again on the same folder after an interruption, it
        resumes. A backend that has more to choose on val than the confidence from which on boxes are kept also has a
        method `choose(val: Split) -> dict[str, Any]`, which is called next, takes its choice over, and returns what
        `operating_point.json` shall hold: `confidence`, `val_score` and names of its own.

        A backend that reads more than `data`, such as weights to start with, also has a class method
        `check_start(config: Config, data: Dataset) -> None`, which raises what would stop its training before the first
        step. It is called before `run` is written, and for every part of a composition and every config of a benchmark
        before the first of them is trained for hours.

        Data whose train split shows no opacity is refused beforehand, unless the class says `learns = False`: nothing
        can be learned from it. A val split without one is warned of; on it every score is 0.

        Args:
            config: an instance of this class's `Config`.
            data: the dataset folder.
            run: the run folder; it exists.
        """
        ...

    @classmethod
    def load(cls, run: Path) -> Self:
        """Load what `train` stored; a run folder can come from anybody, so nothing in it is unpickled."""
        ...

    def predict_batch(self, images: list[NDArray[np.uint8]]) -> list[Detections]:
        """Find opacities: every box above a low floor, by falling confidence.

        Args:
            images: H x W each, any sizes, white bones.

        Returns:
            One Detections an image: xyxy in float pixels of that image, confidence 0..1, class_id 0. A backend that
            judges the image as a whole puts its probability into `metadata[IMAGE_PROBABILITY]`.
        """
        ...
