"""A backend that is one network: trained, loaded and asked here, once for all of them."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Self, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hilum.backend import Backend
from hilum.config import read_config
from hilum.datasets.cache import Squares, square_pictures
from hilum.datasets.folder import Dataset, Split, SplitName
from hilum.datasets.letterbox import Letterbox, letterbox_batch
from hilum.datasets.picture_tensors import as_tensor, to_unit
from hilum.detections import Detections
from hilum.errors import HilumError
from hilum.eval.metrics import metric_named
from hilum.runtimes import few_threads
from hilum.training.checkpoint import CHECKPOINT
from hilum.training.device import deterministic, pick_device
from hilum.training.distributed import is_rank_zero, rank_zero_first, wait
from hilum.training.loop import Numbers, fit, merge_trailing_image, shuffled_batches
from hilum.training.meter import tell_start
from hilum.training.network import load_network
from hilum.training.settings import NetworkConfig
from hilum.training.validation import epoch_score

_AT_ONCE: Final = 16  # pictures that are validated at once


class NetworkBackend(Backend):
    """Finds with the network that its `Config` builds, in pictures that are letterboxed to squares.

    A subclass gives `Config` and says what a batch is (`load_batch`), what its loss is (`loss`), and what the network's
    output means (`detections`). Pictures, the loop, resuming, several processes, validation and batches are here.

    Attributes:
        merges_trailing_image: whether a last batch of one image joins the one before: BatchNorm needs company.
        cpu_pixels: a CPU takes a batch in parts of so many pixels; None for the whole at once.
        predicts_in_bfloat16: whether predictions on a GPU are in bfloat16, unless the config says `float32`.
    """

    Config: ClassVar[type[NetworkConfig]]
    distributed = True
    merges_trailing_image: ClassVar[bool] = True
    cpu_pixels: ClassVar[int | None] = None
    predicts_in_bfloat16: ClassVar[bool] = True

    def __init__(self, network: nn.Module, config: Any) -> None:
        """Take a network with its weights, on the device where it shall run, and its config."""
        self._network = network.eval()
        self._config = config

    @property
    def bits(self) -> int:
        return int(self._config.bits)

    @abstractmethod
    def load_batch(self, squares: Squares, split: Split, epoch: int, numbers: Numbers) -> tuple[Any, ...]:
        """What `prepare` takes of some images: the network's input, and what `loss` takes beside its output.

        Called in threads. Each image draws its random numbers from (seed, epoch, its number), so that it is the same in
        whichever batch and process it falls.

        Args:
            squares: the split's pictures.
            split: the truth.
            epoch: from 0.
            numbers: of the images.
        """

    def prepare(self, *loaded: Any) -> tuple[Any, ...]:
        """What `load_batch` gave, on the device by now, as the network's input and what `loss` takes."""
        return loaded

    @abstractmethod
    def loss(self, output: Any, *target: Any) -> Tensor:
        """The loss of the network's output, a scalar: a mean over the images."""

    @abstractmethod
    def detections(self, output: Any, places: Sequence[Letterbox]) -> list[Detections]:
        """What the network found in each picture, in its pixels; see `Backend.predict_batch`.

        Args:
            output: as `read_output` gives it, of all the pictures.
            places: where each picture lies in its square.
        """

    def to_input(self, squares: Tensor) -> Tensor:
        """Squares (N, size, size), on the device, as the network takes them: (N, 1, size, size) in 0..1.

        They are uint8, or of 16 bits int32, which only a backend gets that `reads_16_bits`.
        """
        return to_unit(squares)

    def read_output(self, output: Any) -> Any:
        """The network's output of some pictures on the CPU: a tensor, several, or a list with an entry a picture."""
        return output.float().cpu()

    def optimizer(self) -> torch.optim.Optimizer:
        """What learns."""
        settings = self._config.train
        return torch.optim.AdamW(
            self._network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )

    def frozen(self) -> list[nn.Module]:
        """Parts of the network that stay in evaluation mode while the others learn."""
        modules = self._network.modules() if self._config.train.freeze_batchnorm else ()
        return [module for module in modules if isinstance(module, _BatchNorm)]

    def compiled(self, model: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """What is called in training, compiled: the network, or what averages its gradients over processes."""
        compiled: Callable[[Any], Any] = torch.compile(model)
        return compiled

    def take_operating_point(self, run: Path) -> None:
        """Take over what `hilum tune` chose for a run."""

    def validate(self, squares: Squares, split: Split) -> dict[str, float]:
        """Figures of an epoch; by `val_score` it is chosen."""
        found = [each for _, _, some in self.predictions(squares, split) for each in some]
        return {"val_score": self.epoch_score(split, found)}

    @final
    def epoch_score(self, split: Split, found: Sequence[Detections]) -> float:
        """What the config chooses epochs by, of what was found in the images of a split."""
        return epoch_score(self._config.train.select, split, found)

    @classmethod
    def check_start(cls, config: Any, data: Dataset) -> None:
        del data
        metric_named(config.train.select)
        with rank_zero_first():
            config.starting_network()

    @final
    @classmethod
    def train(cls, config: Any, data: Dataset, run: Path) -> Self:
        """See `Backend.train`.

        Raises:
            HilumError: the weights to start with cannot be had, or the loss is not finite.
        """
        torch.manual_seed(config.seed)
        train, val = data.split("train"), data.split("val")
        with rank_zero_first():
            # What a checkpoint holds need not be had again.
            network = config.network() if (run / CHECKPOINT).is_file() else config.first_network(train)
            names: tuple[SplitName, ...] = ("train", "val")
            squares = {name: square_pictures(data, name, config.image_size, config.bits) for name in names}
        backend = cls(network.to(pick_device()), config)

        def batches(epoch: int) -> Iterator[Numbers]:
            # Whatever the number of processes, so that they learn as one does; `fit` lets none work on one image alone.
            made = shuffled_batches(len(train), config.train.batch_size, config.seed, epoch)
            return merge_trailing_image(made) if cls.merges_trailing_image else made

        if is_rank_zero():
            steps = config.train.epochs, len(list(batches(0)))
            tell_start(run.name, network, next(network.parameters()).device, (len(train), len(val)), steps)
        with deterministic(config.train.deterministic):
            fit(
                network,
                backend.optimizer(),
                config.train,
                run,
                seed=config.seed,
                batches=batches,
                load=lambda epoch, numbers: backend.load_batch(squares["train"], train, epoch, numbers),
                prepare=backend.prepare,
                loss=backend.loss,
                validate=lambda judged: cls(judged, config).validate(squares["val"], val),
                frozen=backend.frozen(),
                compiled=backend.compiled,
            )
        wait()  # for the weights, which the first process stores
        return cls.load(run)

    @final
    @classmethod
    def load(cls, run: Path) -> Self:
        config = read_config(run, cls.Config)
        backend = cls(load_network(config.network, run), config)
        backend.take_operating_point(run)
        return backend

    @final
    def predict_batch(self, images: list[NDArray[np.uint8]]) -> list[Detections]:
        if not images:
            return []
        places, squares = letterbox_batch(images, self._config.image_size, bits=self.bits)
        return self.detections(self.see(squares), places)

    def network_to_export(self) -> nn.Module | None:
        return self._network

    def predictions(self, squares: Squares, split: Split) -> Iterator[tuple[range, Any, list[Detections]]]:
        """Some images of a split at a time: their numbers, the network's output, and what is found."""
        for start in range(0, len(split), _AT_ONCE):
            numbers = range(start, min(start + _AT_ONCE, len(split)))
            output = self.see(squares[start : start + _AT_ONCE])
            places = [split.letterbox(number, self._config.image_size) for number in numbers]
            yield numbers, output, self.detections(output, places)

    def see(self, squares: NDArray[Any]) -> Any:
        """The network's output of (N, size, size) squares, N >= 1, as `read_output` gives it.

        Raises:
            HilumError: it is not finite.
        """
        device = next(self._network.parameters()).device
        fast = device.type == "cuda" and self.predicts_in_bfloat16 and self._config.train.precision != "float32"
        in_parts = device.type == "cpu" and self.cpu_pixels is not None
        at_once = max(1, self.cpu_pixels // squares[0].size) if in_parts and self.cpu_pixels else len(squares)
        parts = []
        with torch.inference_mode(), few_threads(self._network):
            for part in torch.split(as_tensor(squares), at_once):
                with torch.autocast(device.type, torch.bfloat16, enabled=fast):
                    output = self._network(self.to_input(part.to(device)))
                parts.append(self.read_output(output))
        return _joined(parts)


def _joined(parts: list[Any]) -> Any:
    """The outputs of parts of a batch as that of the whole."""
    if isinstance(parts[0], tuple):
        return tuple(_joined(list(each)) for each in zip(*parts, strict=True))
    if isinstance(parts[0], list):
        return [each for part in parts for each in part]
    whole = torch.cat(parts)
    if not bool(torch.isfinite(whole).all()):
        raise HilumError("the network's output is not finite: its weights are damaged; train again")
    return whole
