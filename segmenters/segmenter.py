"""What the segmenters share: train on masks painted from boxes, predict boxes from masks."""

import inspect
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from supervision import Detections
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from hilum.backend import IMAGE_PROBABILITY
from hilum.config import ExperimentConfig, Table, read_config
from hilum.datasets.augmentation import Augmentation, Variation, draw, vary_boxes, vary_picture
from hilum.datasets.cache import Squares, square_pictures
from hilum.datasets.folder import Dataset, Split, SplitName
from hilum.datasets.letterbox import Letterbox
from hilum.datasets.masks import boxes_to_mask, paint_masks, pixel_edges
from hilum.errors import HilumError
from hilum.run import operating_boxes
from hilum.segmenters.keras_conventions import KerasAdam
from hilum.segmenters.losses import LOSSES, Loss, Output, mean_iou, pixel_accuracy, with_image_loss
from hilum.segmenters.masks_to_boxes import Confidence, Connectivity, probability_to_boxes
from hilum.segmenters.tune import GRID, sweep
from hilum.training.checkpoint import CHECKPOINT
from hilum.training.distributed import first_goes_first, wait, world
from hilum.training.loop import fit, pick_device, shuffled_batches
from hilum.training.network import load_network
from hilum.training.schedule import SCHEDULES
from hilum.training.validation import OperatingPoint, best_operating_point

Precision = Literal["auto", "float32", "bfloat16"]
BFLOAT16: dict[Precision, bool | None] = {"auto": None, "float32": False, "bfloat16": True}


class Training(Table):
    """How a segmenter is trained.

    Attributes:
        loss: Of the pixels; see `losses.LOSSES`.
        loss_options: Further arguments of that loss, such as `gamma` of the focal loss.
        image_loss: Weight of the loss of a head that sees whether the image shows opacity at all, which then gives the
            image's probability; 0 builds no such head.
        precision: What the network computes in while it learns: `auto` is bfloat16 on a GPU and float32 on a CPU, where
            bfloat16 is faster too if the CPU has instructions for it. Weights, losses and predictions on a CPU are
            float32 anyhow.
    """

    epochs: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    learning_rate: float = Field(default=1e-3, gt=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    loss: Literal["iou_bce", "bce", "iou", "dice", "dice_bce", "tversky", "focal"] = "iou_bce"
    loss_options: dict[str, float] = Field(default_factory=dict)
    image_loss: float = Field(default=0.0, ge=0)
    patience: int = Field(default=0, ge=0, description="stop after so many epochs without a better score; 0: never")
    ema: float = Field(default=0.0, ge=0, lt=1, description="decay of the moving average that is kept; 0: none")
    freeze_batchnorm: bool = Field(default=False, description="leave BatchNorm's statistics as they are")
    precision: Precision = "auto"
    compile: bool = Field(default=False, description="torch.compile: a slow first step, then faster ones")
    tensorboard: bool = False

    @property
    def pixel_loss(self) -> Loss:
        """The loss of the pixels with its options."""
        return partial(LOSSES[self.loss], **self.loss_options)

    @model_validator(mode="after")
    def _check_loss(self) -> Self:
        known = list(inspect.signature(LOSSES[self.loss]).parameters)[2:]
        for name in self.loss_options:
            if name not in known:
                near = get_close_matches(name, known, 1)
                hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known) or 'none'}"
                raise ValueError(f"loss_options: the loss '{self.loss}' has no '{name}'; {hint}")
        try:
            self.pixel_loss(torch.zeros(1), torch.zeros(1))
        except ValueError as error:
            raise ValueError(f"loss_options: {error}") from error
        return self


class MasksToBoxes(Table):
    """How a probability map becomes boxes, until `hilum tune` chooses; see `masks_to_boxes.probability_to_boxes`."""

    threshold: float = Field(default=0.5, gt=0, lt=1)
    min_area_px: int = Field(default=1, ge=1)
    connectivity: Connectivity = 8
    fill_holes: bool = False
    confidence: Confidence = "mean"


class Report(Table):
    """What the capstone report says of an attempt of its own, for a table that shows it beside what hilum measures.

    Training reads none of it; but a config is refused whose network has other parameters than `parameters` says.
    """

    attempt: str
    held_out: int = Field(gt=0, description="images, drawn at random")
    parameters: int = Field(gt=0, description="BatchNorm's running statistics included")
    trainable: int = Field(gt=0)
    pixel_accuracy: float = Field(ge=0, le=1, description="on the images held out")


class SegmenterConfig(ExperimentConfig):
    """What all segmenters are told. A subclass adds `model` and gives `network`."""

    image_size: int = Field(ge=16, le=2048)
    train: Training
    augmentation: Augmentation = Augmentation()
    boxes: MasksToBoxes = MasksToBoxes()
    report: Report | None = None

    @abstractmethod
    def network(self) -> nn.Module:
        """The untrained network: (N, 1, size, size) in 0..1 -> logits of the same shape.

        Where `has_image_head`, it returns these and the (N,) logits of the images.
        """

    def starting_network(self) -> nn.Module:
        """The network that training starts with, which may be pretrained."""
        return self.network()

    @property
    def has_image_head(self) -> bool:
        """Whether the network sees also if an image shows opacity at all."""
        return self.train.image_loss > 0

    @model_validator(mode="before")
    @classmethod
    def _flip_has_moved(cls, values: dict[str, Any]) -> dict[str, Any]:
        # Runs trained before there was a section `augmentation` say `train.flip`.
        train, augmentation = values.get("train"), values.get("augmentation", {})
        if not isinstance(train, dict) or "flip" not in train or not isinstance(augmentation, dict):
            return values
        if "flip" in augmentation:
            raise ValueError("train.flip: is augmentation.flip now, which is given too; leave this out")
        train = dict(train)
        return {**values, "augmentation": {**augmentation, "flip": train.pop("flip")}, "train": train}

    @model_validator(mode="after")
    def _halves_evenly(self) -> Self:
        depth = getattr(getattr(self, "model", None), "depth", 0)
        if self.image_size % 2**depth:
            raise ValueError(f"image_size: expected a multiple of {2**depth} at depth {depth}, not {self.image_size}")
        return self

    @model_validator(mode="after")
    def _is_the_reports(self) -> Self:
        if self.report is None:
            return self
        with torch.device("meta"):  # shapes without numbers
            found = count_parameters(self.network())
        if found != (self.report.parameters, self.report.trainable):
            raise ValueError(
                f"report: {self.report.attempt} has {self.report.parameters:,} parameters, {self.report.trainable:,} "
                f"trainable; this `model` has {found.total:,} and {found.trainable:,}: leave it as it is, or set "
                "report to null"
            )
        return self


class ParameterCount(NamedTuple):
    """Values in a network: BatchNorm's running statistics are in the total, and not trainable."""

    total: int
    trainable: int


def count_parameters(network: nn.Module) -> ParameterCount:
    """Count as Keras does. PyTorch's BatchNorm counts its batches too; Keras' does not."""
    trainable = sum(parameter.numel() for parameter in network.parameters())
    running = sum(buffer.numel() for buffer in network.buffers() if buffer.is_floating_point())
    return ParameterCount(trainable + running, trainable)


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
            batches=lambda epoch: _in_company(shuffled_batches(len(train), settings.batch_size, config.seed, epoch), 2),
            load=lambda epoch, numbers: _load(pictures["train"], train, config, epoch, numbers),
            prepare=_prepare,
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

    @torch.inference_mode()
    def _segment(self, squares: NDArray[np.uint8]) -> "Segmented":
        """What is seen in (N, size, size) pictures."""
        device = next(self._network.parameters()).device
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            output: Output = self._network(_to_input(torch.from_numpy(squares)).to(device))
        pixels, images = (output, None) if isinstance(output, Tensor) else output
        maps = pixels[:, 0].float().sigmoid().cpu().numpy()
        probability = None if images is None else images.double().sigmoid().cpu().numpy()
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
            masks = torch.from_numpy(np.stack([_mask(split, number, size) for number in numbers]))
            sums += [len(masks) * float(figure(probability, masks)) for figure in (pixel_accuracy, mean_iou)]
        return found, MaskFigures(*(sums / len(split)).tolist())


def _mask(split: Split, number: int, size: int) -> NDArray[np.uint8]:
    boxes = split.letterbox(number, size).boxes_to_square(split.boxes_xyxy[number])
    mask: NDArray[np.uint8] = boxes_to_mask(boxes, (size, size))
    return mask


def _to_input(squares: Tensor) -> Tensor:
    """(N, size, size) uint8 to (N, 1, size, size) float32 in 0..1."""
    return squares[:, None].float().div_(255)


def _in_company(batches: Iterable[NDArray[np.int64]], least: int) -> Iterator[NDArray[np.int64]]:
    """The batches; a last one of fewer than `least` images joins the one before.

    With two images, BatchNorm need not normalise the single value that global pooling makes of a single one.
    """
    waiting: NDArray[np.int64] | None = None
    for batch in batches:
        if waiting is not None and len(batch) < least <= len(waiting):
            waiting = np.append(waiting, batch)
            continue
        if waiting is not None:
            yield waiting
        waiting = batch
    if waiting is not None:
        yield waiting


def _load(
    squares: Squares, split: Split, config: SegmenterConfig, epoch: int, numbers: NDArray[np.int64]
) -> tuple[Tensor, Tensor, list[Variation]]:
    """Pictures (N, size, size) of some images, as they are, and how to vary each; uint8.

    Between the two the edges (N, most, 4) of the boxes in the variants, as `paint_masks` takes them. Each image has
    random numbers of its own, so that it is the same in whichever batch and process it falls.
    """
    size = config.image_size
    variations, edges = [], []
    for number in numbers.tolist():
        variations.append(draw(config.augmentation, size, np.random.default_rng([config.seed, epoch, number])))
        boxes = split.letterbox(number, size).boxes_to_square(split.boxes_xyxy[number])
        edges.append(torch.from_numpy(pixel_edges(vary_boxes(boxes, variations[-1], size), (size, size))))
    return torch.from_numpy(squares[numbers]), pad_sequence(edges, batch_first=True), variations


def _prepare(pictures: Tensor, edges: Tensor, variations: list[Variation]) -> tuple[Tensor, Tensor]:
    """What `_load` gives, on any device, as the network's input and its target (N, 1, size, size), there."""
    varied = [vary_picture(picture, variation) for picture, variation in zip(pictures, variations, strict=True)]
    return _to_input(torch.stack(varied)), paint_masks(edges, pictures.shape[-1])[:, None]


def _image_loss(split: Split, found: list[Detections]) -> float:
    """Mean cross-entropy, in nats, of the images' probabilities."""
    probability = torch.tensor([detections.metadata[IMAGE_PROBABILITY] for detections in found])
    shows = torch.tensor([float(len(boxes) > 0) for boxes in split.boxes_xyxy])
    return float(torch.nn.functional.binary_cross_entropy(probability, shows))
