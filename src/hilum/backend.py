"""What a backend is, and how backends are found: by name, through the entry-point group `hilum.backends`."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, cast

from hilum.errors import HilumError

if TYPE_CHECKING:  # hilum.config finds backends through this module, which needs what they deal in for its types alone
    import numpy as np
    from numpy.typing import NDArray
    from supervision import Detections

    from hilum.config import ExperimentConfig
    from hilum.datasets.folder import Dataset

GROUP = "hilum.backends"
IMAGE_PROBABILITY = "image_probability"


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


@dataclass(frozen=True)
class FoundBackend:
    """A declared backend: its class, or why it cannot be used here."""

    name: str
    distribution: str
    problem: str | None


def backend_class(name: str) -> type[Backend]:
    """Return the backend declared under `name`.

    Raises:
        HilumError: no such backend, or it cannot be imported (an extra is missing, or a plug-in is broken).
    """
    declared = {point.name: point for point in entry_points(group=GROUP)}
    if name not in declared:
        near = get_close_matches(name, declared, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"installed are {', '.join(sorted(declared))}"
        raise HilumError(f"backend: no backend is called '{name}'; {hint}")
    try:
        return _load(declared[name])
    except Exception as error:  # a plug-in may fail in any way
        raise HilumError(f"backend '{name}' cannot be used: {_problem(error)}") from error


def found_backends() -> list[FoundBackend]:
    """Every declared backend, also those that cannot be imported: one broken plug-in must not stop the others."""
    found = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            _load(point)
            problem = None
        except Exception as error:  # noqa: BLE001 - a plug-in may fail in any way
            problem = _problem(error)
        found.append(FoundBackend(point.name, point.dist.name if point.dist else "?", problem))
    return found


def _problem(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _load(point: EntryPoint) -> type[Backend]:
    return cast("type[Backend]", point.load())
