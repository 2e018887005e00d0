"""What every detector of square pictures does alike: learn from them, keep the best epoch, bring boxes back.

A detector is a config that builds a network; the network says what its loss is and what it finds. Pictures,
augmentation, the loop, resuming, several processes, validation, loading and batches are here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hilum.config import read_config
from hilum.datasets.augmentation import augment
from hilum.datasets.cache import Squares, square_pictures
from hilum.datasets.folder import Dataset, Split
from hilum.datasets.letterbox import Letterbox
from hilum.detections import Detections
from hilum.detectors.square_config import SquareConfig
from hilum.errors import HilumError
from hilum.run import WEIGHTS
from hilum.training.checkpoint import CHECKPOINT, load_weights
from hilum.training.distributed import first_goes_first, wait
from hilum.training.loop import fit, pick_device, shuffled_batches
from hilum.training.schedule import SCHEDULES
from hilum.training.validation import best_operating_point

_AT_ONCE = 16


@dataclass(frozen=True)
class Batch:
    """What a detector learns from.

    Attributes:
        squares: (N, size, size) uint8.
        boxes_xyxy: N tensors (boxes, 4), float32, in pixels of the square; (0, 4) where there is no opacity.
    """

    squares: Tensor
    boxes_xyxy: tuple[Tensor, ...]

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Self:
        """The batch on a device."""
        boxes = tuple(boxes.to(device, non_blocking=non_blocking) for boxes in self.boxes_xyxy)
        return type(self)(self.squares.to(device, non_blocking=non_blocking), boxes)

    def pin_memory(self) -> Self:
        """The batch where a GPU fetches it without waiting."""
        return type(self)(self.squares.pin_memory(), tuple(boxes.pin_memory() for boxes in self.boxes_xyxy))


class SquareDetector:
    """Detects with the network that its `Config` builds. It keeps nothing between calls."""

    Config: ClassVar[type[SquareConfig]]
    distributed: ClassVar = True

    def __init__(self, network: nn.Module, config: SquareConfig) -> None:
        """Take a network with its weights, on the device where it shall run."""
        self._network = network.eval()
        self._config = config

    @classmethod
    def train(cls, config: SquareConfig, data: Dataset, run: Path) -> Self:
        """See `hilum.backend.Backend.train`.

        Raises:
            HilumError: the weights to start with cannot be had, or no training image shows an opacity.
        """
        torch.manual_seed(config.seed)
        settings, size = config.train, config.image_size
        train, val = data.split("train"), data.split("val")
        if not any(map(len, train.boxes_xyxy)):
            raise HilumError(f"{data.path}: no image of the train split shows an opacity; there is nothing to learn")
        with first_goes_first():
            resumes = (run / CHECKPOINT).is_file()
            network = (config.network() if resumes else config.first_network(train)).to(pick_device())
            squares = {name: square_pictures(data, name, size) for name in ("train", "val")}
        fit(
            network,
            torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay),
            loss=lambda loss, _: loss,
            batches=lambda epoch: shuffled_batches(len(train), settings.batch_size, config.seed, epoch),
            load=lambda epoch, numbers: _load(squares["train"], train, config, epoch, numbers),
            learning_rate=lambda epoch: SCHEDULES[settings.schedule](epoch, settings.epochs, settings.learning_rate),
            validate=lambda judged: cls(judged, config).validate(squares["val"], val),
            epochs=settings.epochs,
            seed=config.seed,
            run=run,
            patience=settings.patience,
            ema=settings.ema,
            tensorboard=settings.tensorboard,
        )
        wait()  # for the weights, which the first process stores
        return cls.load(run)

    @classmethod
    def load(cls, run: Path) -> Self:
        """See `hilum.backend.Backend.load`."""
        config = read_config(run, cls.Config)
        network = config.network()
        load_weights(network, run)
        if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
            raise HilumError(f"{run / WEIGHTS}: holds values that are not finite; train again")
        return cls(network.to(pick_device()), config)

    def predict_batch(self, images: list[NDArray[np.uint8]]) -> list[Detections]:
        """See `hilum.backend.Backend.predict_batch`."""
        if not images:
            return []
        places = [Letterbox.fit((image.shape[1], image.shape[0]), self._config.image_size) for image in images]
        squares = np.stack([place.apply(image) for place, image in zip(places, images, strict=True)])
        return self._detect(squares, places)

    @torch.inference_mode()
    def _detect(self, squares: NDArray[np.uint8], places: Sequence[Letterbox]) -> list[Detections]:
        """What is found in (N, size, size) squares, in pixels of the pictures that lie in them."""
        device = next(self._network.parameters()).device
        found = self._network(torch.from_numpy(squares).to(device))
        return [_detections(one, place) for one, place in zip(found, places, strict=True)]

    def validate(self, squares: Squares, split: Split) -> dict[str, float]:
        """Figures of a split and its pictures.

        `val_score` is the highest competition score on the threshold curve.
        """
        found: list[Detections] = []
        for start in range(0, len(split), _AT_ONCE):
            some = squares[start : start + _AT_ONCE]
            places = [split.letterbox(number, self._config.image_size) for number in range(start, start + len(some))]
            found += self._detect(some, places)
        return {"val_score": best_operating_point(split, found)[1]}


def _load(
    squares: Squares, split: Split, config: SquareConfig, epoch: int, numbers: NDArray[np.int64]
) -> tuple[Any, Tensor]:
    """A batch, and no target beside it: the network takes the truth with the pictures.

    Each image has random numbers of its own, so that it is the same in whichever batch and process it falls.
    """
    pictures = np.empty((len(numbers), config.image_size, config.image_size), np.uint8)
    boxes = []
    for at, number in enumerate(numbers):
        rng = np.random.default_rng([config.seed, epoch, 1 + number])
        in_square = split.boxes_in_square(number, config.image_size)
        pictures[at], varied = augment(squares[number], in_square, config.augmentation, rng)
        boxes.append(torch.from_numpy(varied).float())
    return Batch(torch.from_numpy(pictures), tuple(boxes)), torch.zeros(())


def _detections(found: dict[str, Tensor], place: Letterbox) -> Detections:
    """Boxes of the square as detections in the picture; those that lie in the padding alone are none."""
    boxes = place.boxes_to_original(found["boxes"].double().cpu().numpy())
    confidence = found["scores"].double().cpu().numpy().clip(0, 1)
    kept = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    kept = kept[np.argsort(-confidence[kept], kind="stable")]
    return Detections(xyxy=boxes[kept], confidence=confidence[kept], class_id=np.zeros(len(kept), int))
