"""What the segmenters share: train on masks painted from boxes, predict boxes from masks."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, Final, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hilum.config import read_config
from hilum.datasets.cache import Squares, square_pictures
from hilum.datasets.folder import Dataset, Split, SplitName
from hilum.datasets.letterbox import Letterbox
from hilum.detections import Detections
from hilum.errors import HilumError
from hilum.result import IMAGE_PROBABILITY
from hilum.run import operating_boxes
from hilum.runtimes import few_threads
from hilum.segmenters.batches import load_batch, mask_of, prepare_batch, to_input
from hilum.segmenters.keras_conventions import KerasAdam
from hilum.segmenters.losses import Output, mean_iou, pixel_accuracy, with_image_loss
from hilum.segmenters.masks_to_boxes import probability_to_boxes
from hilum.segmenters.segmenter_config import BFLOAT16, MasksToBoxes, SegmenterConfig
from hilum.segmenters.tune import GRID, sweep
from hilum.training.checkpoint import CHECKPOINT
from hilum.training.distributed import first_goes_first, wait, world
from hilum.training.loop import fit, in_company, pick_device, shuffled_batches
from hilum.training.network import load_network
from hilum.training.schedule import SCHEDULES
from hilum.training.validation import OperatingPoint, best_operating_point

# A CPU takes a batch in parts of four pictures of 320 px: more at once takes memory, and no less time.
CPU_PIXELS: Final = 4 * 320 * 320


class MaskFigures(NamedTuple):
    """What the report measured, over the squares that the network sees; `eval.baselines.empty_mask` is the floor."""

    pixel_accuracy: float
    mean_iou: float


class Segmented(NamedTuple):
    """What a network sees in pictures: (N, size, size) and (N,) probabilities; None of a network without image head."""

    maps: NDArray[np.float32]
    image_probability: NDArray[np.float64] | None


class Segmenter:
    """A backend that segments box-shaped masks. A subclass gives `Config`."""

    Config: ClassVar[type[SegmenterConfig]]
    distributed: ClassVar = True
    """Trains under `torchrun`."""

    def __init__(self, network: nn.Module, config: SegmenterConfig, boxes: MasksToBoxes | None = None) -> None:
        """Take a network and its config; `boxes` are tuned ones, in place of the config's."""
        self._network = network.eval()
        self._config = config
        self._to_boxes = boxes or config.boxes

    @classmethod
    def train(cls, config: SegmenterConfig, data: Dataset, run: Path) -> Self:
        """See `hilum.backend.Backend.train`."""
        torch.manual_seed(config.seed)
        # What a checkpoint holds need not be downloaded again.
        network = config.network() if (run / CHECKPOINT).is_file() else config.starting_network()
        segmenter = cls(network.to(pick_device()), config)
        settings = config.train
        if 1 < world() > settings.batch_size / 2:
            raise HilumError(
                f"train.batch_size: expected {2 * world()} or more, two for each process, not {settings.batch_size}"
            )
        train, val = data.split("train"), data.split("val")
        with first_goes_first():
            pictures = {name: square_pictures(data, name, config.image_size) for name in ("train", "val")}
        fit(
            segmenter._network,
            KerasAdam(segmenter._network.parameters(), lr=settings.learning_rate),
            loss=with_image_loss(settings.pixel_loss, settings.image_loss),
            # Whatever the number of processes, so that they learn as one does; `fit` lets none work on one image alone.
            batches=lambda epoch: in_company(shuffled_batches(len(train), settings.batch_size, config.seed, epoch)),
            load=lambda epoch, numbers: load_batch(pictures["train"], train, config, epoch, numbers),
            prepare=prepare_batch,
            learning_rate=lambda epoch: SCHEDULES[settings.schedule](epoch, settings.epochs, settings.learning_rate),
            validate=lambda network: cls(network, config)._validate(pictures["val"], val),  # noqa: SLF001 - our own
            epochs=settings.epochs,
            seed=config.seed,
            run=run,
            patience=settings.patience,
            ema=settings.ema,
            freeze_batchnorm=settings.freeze_batchnorm,
            bfloat16=BFLOAT16[settings.precision],
            compiled=settings.compile,
            tensorboard=settings.tensorboard,
        )
        wait()  # for the weights, which the first process stores
        return cls.load(run)

    @classmethod
    def load(cls, run: Path) -> Self:
        """See `hilum.backend.Backend.load`."""
        config = read_config(run, cls.Config)
        return cls(load_network(config.network, run), config, operating_boxes(run, config.boxes))

    def network_to_export(self) -> nn.Module:
        """See `hilum.export.Exportable`."""
        return self._network

    def predict_batch(self, images: list[NDArray[np.uint8]]) -> list[Detections]:
        """See `hilum.backend.Backend.predict_batch`."""
        if not images:
            return []
        places = [Letterbox.fit((image.shape[1], image.shape[0]), self._config.image_size) for image in images]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            squares = np.stack(list(pool.map(Letterbox.apply, places, images)))
        return self._detect(self._segment(squares), places)

    def probability_maps(self, images: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """For each image (H, W) what the network says of its places, a map over the whole image, 0..1."""
        if not images:
            return []
        places = [Letterbox.fit((image.shape[1], image.shape[0]), self._config.image_size) for image in images]
        seen = self._segment(np.stack([place.apply(image) for place, image in zip(places, images, strict=True)]))
        return [place.crop(map_) for place, map_ in zip(places, seen.maps, strict=True)]

    def measure_masks(self, data: Dataset, name: SplitName) -> MaskFigures:
        """The report's own figures, on a split.

        Raises:
            HilumError: the split is empty, or a picture cannot be read.
        """
        split = data.split(name)
        if not len(split):
            raise HilumError(f"{data.path}: the {name} split has no image")
        return self._measure(square_pictures(data, name, self._config.image_size), split)[1]

    def tune(self, data: Dataset, progress: Callable[[int, int], None] | None = None) -> list[OperatingPoint]:
        """See `hilum.tune.Tunable.tune`."""
        val, size = data.split("val"), self._config.image_size
        squares = square_pictures(data, "val", size)

        def maps() -> Iterator[tuple[NDArray[np.float32], tuple[int, int]]]:
            for start in range(0, len(val), 16):
                for number, map_ in enumerate(self._segment(squares[start : start + 16]).maps, start):
                    place = val.letterbox(number, size)
                    yield place.crop(map_), place.original_wh
                if progress:
                    progress(min(start + 16, len(val)), len(val))

        config = self._config.boxes.model_dump()
        grid = {name: (value, *(other for other in GRID[name] if other != value)) for name, value in config.items()}
        return sweep(maps(), val.boxes_xywh, grid)

    def _segment(self, squares: NDArray[np.uint8]) -> "Segmented":
        """What is seen in (N, size, size) pictures."""
        device = next(self._network.parameters()).device
        fast = device.type == "cuda" and self._config.train.precision != "float32"
        at_once = max(1, CPU_PIXELS // squares[0].size) if device.type == "cpu" else len(squares)
        pixels, images = [], []
        with torch.inference_mode(), few_threads(self._network):
            for part in torch.split(torch.from_numpy(squares), at_once):
                with torch.autocast(device.type, torch.bfloat16, enabled=fast):
                    output: Output = self._network(to_input(part.to(device)))
                of_pixels, of_images = (output, None) if isinstance(output, Tensor) else output
                pixels.append(of_pixels[:, 0].float().sigmoid().cpu())
                if of_images is not None:
                    images.append(of_images.double().sigmoid().cpu())
        maps = torch.cat(pixels).numpy()
        probability = torch.cat(images).numpy() if images else None
        if not np.isfinite(maps).all() or (probability is not None and not np.isfinite(probability).all()):
            raise HilumError("the network's output is not finite: its weights are damaged; train again")
        return Segmented(maps, probability)

    def _detect(self, seen: "Segmented", places: list[Letterbox]) -> list[Detections]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # OpenCV and numpy release the interpreter's lock
            maps = [place.crop(map_) for map_, place in zip(seen.maps, places, strict=True)]
            found = list(pool.map(self._boxes, maps, [place.original_wh for place in places]))
        if seen.image_probability is not None:
            for detections, probability in zip(found, seen.image_probability.tolist(), strict=True):
                detections.metadata[IMAGE_PROBABILITY] = probability
        return found

    def _boxes(self, probability: NDArray[np.float32], size_wh: tuple[int, int]) -> Detections:
        boxes, confidence = probability_to_boxes(probability, size_wh, **dict(self._to_boxes))
        return Detections(xyxy=boxes, confidence=confidence, class_id=np.zeros(len(boxes), int))

    def _validate(self, squares: Squares, split: Split) -> dict[str, float]:
        """Figures of an epoch; `val_score` is the highest competition score on the threshold curve."""
        found, figures = self._measure(squares, split)
        further = {f"val_{name}": value for name, value in figures._asdict().items()}
        if self._config.has_image_head:
            further["val_image_loss"] = _image_loss(split, found)
        return {"val_score": best_operating_point(split, found)[1], **further}

    def _measure(self, squares: Squares, split: Split) -> tuple[list[Detections], MaskFigures]:
        """What is found in a split, and how good the masks are that it is found in."""
        size = self._config.image_size
        found: list[Detections] = []
        sums = np.zeros(2)
        for start in range(0, len(split), 16):
            numbers = range(start, min(start + 16, len(split)))
            places = [split.letterbox(number, size) for number in numbers]
            seen = self._segment(squares[start : start + 16])
            found += self._detect(seen, places)
            probability = torch.from_numpy(seen.maps)
            masks = torch.from_numpy(np.stack([mask_of(split, number, size) for number in numbers]))
            sums += [len(masks) * float(figure(probability, masks)) for figure in (pixel_accuracy, mean_iou)]
        return found, MaskFigures(*(sums / len(split)).tolist())


def _image_loss(split: Split, found: list[Detections]) -> float:
    """Mean cross-entropy, in nats, of the images' probabilities."""
    probability = torch.tensor([detections.metadata[IMAGE_PROBABILITY] for detections in found])
    shows = torch.tensor([float(len(boxes) > 0) for boxes in split.boxes_xyxy])
    return float(torch.nn.functional.binary_cross_entropy(probability, shows))
