"""A detector whose network says itself what its loss is and what it finds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import numpy as np
import torch
from torch import Tensor, nn

from hilum.datasets.augmentation import draw, vary_boxes_with_classes, vary_picture
from hilum.datasets.cache import Squares
from hilum.datasets.folder import Split
from hilum.datasets.letterbox import Letterbox
from hilum.datasets.picture_tensors import as_tensor
from hilum.detections import Detections
from hilum.errors import HilumError
from hilum.network_backend import NetworkBackend
from hilum.result import detections_in_picture
from hilum.training.loop import Numbers
from hilum.training.settings import NetworkConfig

_FOUND: Final = ("boxes", "scores", "class_ids")


@dataclass(frozen=True)
class Batch:
    """What a detector learns from.

    Attributes:
        squares: (N, size, size) uint8, or int32 where the backend `reads_16_bits`.
        boxes_xyxy: N tensors (boxes, 4), float32, in pixels of the square; (0, 4) where there is no opacity.
        class_ids: N tensors (boxes,), int64, from 0 on; all 0 where left out.
    """

    squares: Tensor
    boxes_xyxy: tuple[Tensor, ...]
    class_ids: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        if not self.class_ids:
            zeros = tuple(boxes.new_zeros(len(boxes), dtype=torch.int64) for boxes in self.boxes_xyxy)
            object.__setattr__(self, "class_ids", zeros)

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Self:
        """The batch on a device."""
        return self._with(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """The batch where a GPU fetches it without waiting."""
        return self._with(Tensor.pin_memory)

    def _with(self, change: Callable[[Tensor], Tensor]) -> Self:
        return type(self)(change(self.squares), *(tuple(map(change, of)) for of in (self.boxes_xyxy, self.class_ids)))


class SquareDetector(NetworkBackend):
    """Detects with the network that its `Config` builds. It keeps nothing between calls."""

    Config: ClassVar[type[NetworkConfig]]
    merges_trailing_image = False
    predicts_in_bfloat16 = False

    def load_batch(self, squares: Squares, split: Split, epoch: int, numbers: Numbers) -> tuple[Batch]:
        """Pictures with their boxes: the network takes the truth with them."""
        config = self._config
        pictures, boxes, class_ids = [], [], []
        for number in numbers:
            rng = np.random.default_rng([config.seed, epoch, 1 + number])
            variation = draw(config.augmentation, config.image_size, rng)
            pictures.append(vary_picture(as_tensor(np.array(squares[number])), variation))
            in_square = split.boxes_in_square(number, config.image_size)
            varied, ids = vary_boxes_with_classes(in_square, split.class_ids[number], variation, config.image_size)
            boxes.append(torch.from_numpy(varied).float())
            class_ids.append(torch.from_numpy(ids))
        return (Batch(torch.stack(pictures), tuple(boxes), tuple(class_ids)),)

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
        """Boxes of the squares as detections in the pictures.

        Raises:
            HilumError: there are several classes, and the network does not say of which its boxes are.
        """
        detections = []
        for found, place in zip(output, places, strict=True):
            boxes, scores, *ids = (found[key].cpu().numpy() for key in _FOUND if key in found)
            if not ids and len(self._config.class_names) > 1:
                raise HilumError(
                    f"backend '{self._config.backend}': gives boxes without class_ids, and there are "
                    f"{len(self._config.class_names)} classes; train it on data of one"
                )
            detections.append(detections_in_picture(boxes, scores, place, *ids))
        return detections

    def network_to_export(self) -> nn.Module | None:
        return None
