"""A detector whose network says itself what its loss is and what it finds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from hilum.datasets.augmentation import augment
from hilum.datasets.cache import Squares
from hilum.datasets.folder import Split
from hilum.datasets.letterbox import Letterbox
from hilum.detections import Detections
from hilum.network_backend import NetworkBackend
from hilum.result import detections_in_picture
from hilum.training.loop import Numbers
from hilum.training.settings import NetworkConfig


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


class SquareDetector(NetworkBackend):
    """Detects with the network that its `Config` builds. It keeps nothing between calls."""

    Config: ClassVar[type[NetworkConfig]]
    merges_trailing_image = False
    predicts_in_bfloat16 = False

    def load_batch(self, squares: Squares, split: Split, epoch: int, numbers: Numbers) -> tuple[Batch]:
        """Pictures with their boxes: the network takes the truth with them."""
        config = self._config
        pictures = np.empty((len(numbers), config.image_size, config.image_size), np.uint8)
        boxes = []
        for at, number in enumerate(numbers):
            rng = np.random.default_rng([config.seed, epoch, 1 + number])
            in_square = split.boxes_in_square(number, config.image_size)
            pictures[at], varied = augment(squares[number], in_square, config.augmentation, rng)
            boxes.append(torch.from_numpy(varied).float())
        return (Batch(torch.from_numpy(pictures), tuple(boxes)),)

    def loss(self, output: Any, *_: Any) -> Tensor:
        """The network's output in training is its loss."""
        loss: Tensor = output
        return loss

    def to_input(self, squares: Tensor) -> Tensor:
        """The squares as they are."""
        return squares

    def read_output(self, output: Any) -> Any:
        """The dicts as they are."""
        return output

    def detections(self, output: list[dict[str, Tensor]], places: Sequence[Letterbox]) -> list[Detections]:
        """Boxes of the squares as detections in the pictures."""
        return [
            detections_in_picture(found["boxes"].cpu().numpy(), found["scores"].cpu().numpy(), place)
            for found, place in zip(output, places, strict=True)
        ]

    def network_to_export(self) -> nn.Module | None:
        return None
