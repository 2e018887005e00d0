"""What the segmenters share: train on masks painted from boxes, predict boxes from masks."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hilum.datasets.cache import Squares, square_pictures
from hilum.datasets.folder import Dataset, Split
from hilum.datasets.letterbox import Letterbox, letterbox_batch
from hilum.detections import Detections
from hilum.errors import HilumError
from hilum.network_backend import NetworkBackend
from hilum.result import IMAGE_PROBABILITY, of_classes
from hilum.run import operating_boxes
from hilum.segmenters.batches import load_batch, mask_of, prepare_batch
from hilum.segmenters.keras_conventions import KerasAdam
from hilum.segmenters.losses import Output, mean_iou, pixel_accuracy, with_image_loss
from hilum.segmenters.masks_to_boxes import image_probability_of, probability_to_boxes
from hilum.segmenters.segmenter_config import SegmenterConfig
from hilum.segmenters.tune import GRID, sweep
from hilum.training.distributed import world_size
from hilum.training.loop import Numbers
from hilum.training.settings import NetworkConfig
from hilum.training.validation import OperatingPoint, truth_by_class


class Segmenter(NetworkBackend):
    """A backend that segments box-shaped masks. A subclass gives `Config`."""

    Config: ClassVar[type[NetworkConfig]]
    draws_maps = True
    reads_16_bits = True
    # Four pictures of 320 px: more at once takes memory, and no less time.
    cpu_pixels = 4 * 320 * 320
    _config: SegmenterConfig

    def __init__(self, network: nn.Module, config: SegmenterConfig) -> None:
        super().__init__(network, config)
        self._to_boxes = config.boxes

    @classmethod
    def check_start(cls, config: SegmenterConfig, data: Dataset) -> None:
        """See `NetworkBackend.check_start`.

        Raises:
            HilumError: also where a batch has no two images for each process.
        """
        least, given = 2 * world_size(), config.train.batch_size
        if world_size() > 1 and given < least:
            raise HilumError(f"train.batch_size: expected {least} or more, two for each process, not {given}")
        super().check_start(config, data)

    def load_batch(self, squares: Squares, split: Split, epoch: int, numbers: Numbers) -> tuple[Any, ...]:
        return load_batch(squares, split, self._config, epoch, numbers)

    def prepare(self, *loaded: Any) -> tuple[Any, ...]:
        return prepare_batch(*loaded)

    def loss(self, output: Any, *target: Any) -> Tensor:
        """Of the pixels, and of the images where the network has a head for them."""
        settings = self._config.train
        return with_image_loss(settings.pixel_loss, settings.image_loss)(output, *target)

    def optimizer(self) -> torch.optim.Optimizer:
        """As Keras learns."""
        settings = self._config.train
        parameters = self._network.parameters()
        return KerasAdam(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)

    def read_output(self, output: Output) -> tuple[Tensor, ...]:
        """Probability maps (N, classes, size, size); of a network with an image head also those of the images."""
        pixels, *images = (output,) if isinstance(output, Tensor) else output
        return pixels.float().sigmoid().cpu(), *(image.double().sigmoid().cpu() for image in images)

    def take_operating_point(self, run: Path) -> None:
        """Boxes are made as tuned."""
        self._to_boxes = operating_boxes(run, self._config.boxes)

    def detections(self, output: tuple[Tensor, ...], places: Sequence[Letterbox]) -> list[Detections]:
        """Boxes around the components of the maps; the images' probabilities are their head's, else the maps'."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # OpenCV and numpy release the interpreter's lock
            maps = [place.crop(map_) for map_, place in zip(output[0].numpy(), places, strict=True)]
            found = list(pool.map(self._boxes, maps, [place.original_wh for place in places]))
        for probability in output[1:]:
            for detections, of_image in zip(found, probability.tolist(), strict=True):
                detections.metadata[IMAGE_PROBABILITY] = of_image
        return found

    def _boxes(self, planes: NDArray[np.float32], size_wh: tuple[int, int]) -> Detections:
        boxes = [probability_to_boxes(plane, size_wh, **dict(self._to_boxes)) for plane in planes]
        probability = [image_probability_of(plane) for plane in planes]
        return of_classes(boxes, probability[0] if len(planes) == 1 else probability)

    def probability_maps(self, images: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        if not images:
            return []
        places, squares = letterbox_batch(images, self._config.image_size, bits=self.bits)
        maps: NDArray[np.float32] = self.see(squares)[0].amax(1).numpy()
        return [place.crop(map_) for place, map_ in zip(places, maps, strict=True)]

    def tune(self, data: Dataset, progress: Callable[[int, int], None] | None = None) -> list[OperatingPoint]:
        val, size = data.split("val"), self._config.image_size
        squares = square_pictures(data, "val", size, self.bits)

        def maps() -> Iterator[tuple[NDArray[np.float32], tuple[int, int]]]:
            for start in range(0, len(val), 16):
                for number, planes in enumerate(self.see(squares[start : start + 16])[0].numpy(), start):
                    place = val.letterbox(number, size)
                    yield from ((place.crop(plane), place.original_wh) for plane in planes)
                if progress:
                    progress(min(start + 16, len(val)), len(val))

        config = self._config.boxes.model_dump()
        grid = {name: (value, *(other for other in GRID[name] if other != value)) for name, value in config.items()}
        return sweep(maps(), truth_by_class(val), grid, classes=len(val.class_names))

    def validate(self, squares: Squares, split: Split) -> dict[str, float]:
        size, of_classes = self._config.image_size, split.by_class().values()
        measured = {"val_pixel_accuracy": pixel_accuracy, "val_mean_iou": mean_iou}
        found: list[Detections] = []
        sums = dict.fromkeys(measured, 0.0)
        for numbers, output, some in self.predictions(squares, split):
            found += some
            masks = torch.from_numpy(
                np.stack([mask_of(each, number, size) for number in numbers for each in of_classes])
            )
            for name, figure in measured.items():  # of each plane alone, so that it is the mean over classes too
                sums[name] += len(numbers) * float(figure(output[0].flatten(0, 1), masks))
        figures = {"val_score": self.epoch_score(split, found)}
        figures |= {name: value / len(split) for name, value in sums.items()}
        return figures | ({"val_image_loss": _image_loss(split, found)} if self._config.has_image_head else {})


def _image_loss(split: Split, found: list[Detections]) -> float:
    """Mean cross-entropy, in nats, of the images' probabilities."""
    probability = torch.tensor([detections.metadata[IMAGE_PROBABILITY] for detections in found])
    shows = torch.tensor(np.stack([each.positive for each in split.by_class().values()], axis=1), dtype=torch.float32)
    return float(torch.nn.functional.binary_cross_entropy(probability, shows.squeeze(1)))
