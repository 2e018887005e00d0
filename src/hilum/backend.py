"""What a backend is: all that may be said of a detector, with defaults. `hilum.plugins` finds backends by name."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from hilum.config import ExperimentConfig
from hilum.datasets.folder import Dataset, Split
from hilum.detections import Detections
from hilum.eval.metrics import metric_title
from hilum.plugins import backend_class
from hilum.training.validation import OperatingPoint

if TYPE_CHECKING:
    from torch import nn


class Backend(ABC):
    """A detector of lung opacity, or of several findings.

    A plug-in writes what is abstract here, or takes `NetworkBackend`, which asks less.

    Attributes:
        Config: the model of its configs.
        distributed: whether it trains under `torchrun`.
        learns: whether it learns from opacities; then data whose train split shows none is refused.
        tunable: whether `hilum tune` has anything to choose; False where `choose` chooses all.
        draws_maps: whether it has `probability_maps`.
        reads_16_bits: whether its config has `bits`, and its network sees so many.
        val_score: what its epochs are chosen by, for the learning curves, unless `train.select` says another metric.
    """

    Config: ClassVar[type[ExperimentConfig]]
    distributed: ClassVar[bool] = False
    learns: ClassVar[bool] = True
    tunable: ClassVar[bool] = True
    draws_maps: ClassVar[bool] = False
    reads_16_bits: ClassVar[bool] = False
    val_score: ClassVar[str] = "competition score"

    @property
    def bits(self) -> int:
        """8 or 16: of the pictures that `predict_batch` is given."""
        return 8

    @classmethod
    def check_start(cls, config: Any, data: Dataset) -> None:
        """Raise what would stop a training before its first step, such as weights to start with that are not there.

        It is called before anything is written, and for every part of a composition and every config of a benchmark
        before the first of them is trained for hours.

        Raises:
            HilumError: the training cannot start.
        """
        del config, data

    @classmethod
    @abstractmethod
    def train(cls, config: Any, data: Dataset, run: Path) -> Self:
        """Train on `data`'s train split, keep the epoch that is best on val, and store it in the folder `run`.

        Writes `weights.safetensors` and `log.jsonl`. Called again on the same folder after an interruption, it
        resumes.

        Args:
            config: an instance of this class's `Config`.
            data: the dataset folder.
            run: the run folder; it exists.
        """

    @classmethod
    @abstractmethod
    def load(cls, run: Path) -> Self:
        """Load what `train` stored; a run folder can come from anybody, so nothing in it is unpickled."""

    @abstractmethod
    def predict_batch(self, images: list[NDArray[np.uint8]]) -> list[Detections]:
        """Find opacities: every box above a low floor, by falling confidence.

        Args:
            images: H x W each, any sizes, white bones; uint16 where `bits` are 16.

        Returns:
            One Detections an image: xyxy in float pixels of that image, confidence 0..1, class_id the place in the
            config's `class_names`: 0 where there is one. A backend that judges the image as a whole puts its
            probability into `metadata[IMAGE_PROBABILITY]`; of several classes, a list with that of each.
        """

    def choose(self, val: Split) -> dict[str, Any] | None:
        """Choose on val, at the end of a training, what the backend leaves to it, and take the choice over.

        Returns:
            What `operating_point.json` shall hold: `confidence`, `val_score` and names of its own. None where the
            confidence from which on boxes are kept is all; then training chooses it.
        """
        del val
        return None

    def tune(self, data: Dataset, progress: Callable[[int, int], None] | None = None) -> list[OperatingPoint]:
        """Score many ways to boxes on val, that of the run's config first.

        Args:
            data: the dataset folder.
            progress: called with the images done and their total.

        Returns:
            Each point's parameters are those of the config's `boxes`, which `load` must take from the run's operating
            point (`hilum.run.operating_boxes`). Empty where boxes depend on the confidence alone.
        """
        del data, progress
        return []

    def network_to_export(self) -> "nn.Module | None":
        """The network as `predict_batch` calls it: one tensor, images first; a tensor, or several, images first.

        The backend is not used any more afterwards, and its `load` takes the network from
        `hilum.training.network.load_network`. None where it cannot be exported.
        """
        return None

    def probability_maps(self, images: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """For each image (H, W) a map over the whole of it, of any size, 0..1, of what the backend looks for.

        Of several classes, the highest probability of any.
        """
        raise NotImplementedError


def backend_named(name: str) -> type[Backend]:
    """The backend declared under a name. A class that only has the methods of a `Backend` gets the defaults.

    Raises:
        HilumError: as of `hilum.plugins.backend_class`.
    """
    found = backend_class(name)
    if not issubclass(found, Backend):
        found = type(found.__name__, (found, Backend), {})
    return found


def epochs_chosen_by(config: ExperimentConfig) -> str:
    """What the epochs of a run are chosen by, for people.

    Raises:
        HilumError: as of `hilum.plugins.backend_class`.
    """
    train = getattr(config, "train", None)
    select = getattr(train, "select", None)
    if train is None or select is None or select == type(train).model_fields["select"].default:
        return backend_named(config.backend).val_score
    return metric_title(select)
