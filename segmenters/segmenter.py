"""What the segmenters share: train on masks painted from boxes, predict boxes from masks."""

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from supervision import Detections
from torch import Tensor, nn

from hilum.config import ExperimentConfig, Table, read_config
from hilum.datasets.cache import square_pictures
from hilum.datasets.folder import Dataset, Split, SplitName
from hilum.datasets.letterbox import Letterbox
from hilum.datasets.masks import boxes_to_mask
from hilum.errors import HilumError
from hilum.segmenters.keras_conventions import KerasAdam
from hilum.segmenters.losses import LOSSES, mean_iou, pixel_accuracy
from hilum.segmenters.masks_to_boxes import probability_to_boxes
from hilum.training.checkpoint import load_weights
from hilum.training.loop import fit, pick_device
from hilum.training.schedule import SCHEDULES
from hilum.training.validation import best_operating_point


class Training(Table):
    """How a segmenter is trained."""

    epochs: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    learning_rate: float = Field(default=1e-3, gt=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    loss: Literal["iou_bce", "bce", "iou"] = "iou_bce"
    flip: float = Field(default=0.5, ge=0, le=1)


class MasksToBoxes(Table):
    """How a probability map becomes boxes; see `masks_to_boxes.probability_to_boxes`."""

    threshold: float = Field(default=0.5, gt=0, lt=1)
    min_area_px: int = Field(default=1, ge=1)
    connectivity: Literal[4, 8] = 8


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
    """What both of the report's segmenters are told. A subclass adds `model` and gives `network`."""

    image_size: int = Field(ge=16, le=2048)
    train: Training
    boxes: MasksToBoxes = MasksToBoxes()
    report: Report | None = None

    @abstractmethod
    def network(self) -> nn.Module:
        """The untrained network: (N, 1, size, size) in 0..1 -> logits of the same shape."""

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


class Segmenter:
    """A backend that segments box-shaped masks. A subclass gives `Config`."""

    Config: ClassVar[type[SegmenterConfig]]

    def __init__(self, network: nn.Module, config: SegmenterConfig) -> None:
        self._network = network.eval()
        self._config = config

    @classmethod
    def train(cls, config: SegmenterConfig, data: Dataset, run: Path) -> Self:
        """See `hilum.backend.Backend.train`."""
        torch.manual_seed(config.seed)
        segmenter = cls(config.network().to(pick_device()), config)
        settings = config.train
        train, val = data.split("train"), data.split("val")
        pictures = {name: square_pictures(data, name, config.image_size) for name in ("train", "val")}
        fit(
            segmenter._network,
            KerasAdam(segmenter._network.parameters(), lr=settings.learning_rate),
            loss=LOSSES[settings.loss],
            batches=lambda epoch: _batches(pictures["train"], train, config, epoch),
            learning_rate=lambda epoch: SCHEDULES[settings.schedule](epoch, settings.epochs, settings.learning_rate),
            validate=lambda: segmenter._validate(pictures["val"], val),
            epochs=settings.epochs,
            seed=config.seed,
            run=run,
        )
        return cls.load(run)

    @classmethod
    def load(cls, run: Path) -> Self:
        """See `hilum.backend.Backend.load`."""
        config = read_config(run, cls.Config)
        network = config.network()
        load_weights(network, run)
        return cls(network.to(pick_device()), config)

    def predict_batch(self, images: list[NDArray[np.uint8]]) -> list[Detections]:
        """See `hilum.backend.Backend.predict_batch`."""
        if not images:
            return []
        places = [Letterbox.fit((image.shape[1], image.shape[0]), self._config.image_size) for image in images]
        squares = np.stack([place.apply(image) for place, image in zip(places, images, strict=True)])
        return self._detect(self._segment(squares), places)

    def measure_masks(self, data: Dataset, name: SplitName) -> MaskFigures:
        """The report's own figures, on a split.

        Raises:
            HilumError: the split is empty, or a picture cannot be read.
        """
        split = data.split(name)
        if not len(split):
            raise HilumError(f"{data.path}: the {name} split has no image")
        return self._measure(square_pictures(data, name, self._config.image_size), split)[1]

    @torch.inference_mode()
    def _segment(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, size, size) pictures to as many maps of the probability of opacity."""
        device = next(self._network.parameters()).device
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = self._network(_to_input(torch.from_numpy(squares)).to(device))
        maps: NDArray[np.float32] = logits.float().sigmoid()[:, 0].cpu().numpy()
        if not np.isfinite(maps).all():
            raise HilumError("the network's output is not finite: its weights are damaged; train again")
        return maps

    def _detect(self, maps: NDArray[np.float32], places: list[Letterbox]) -> list[Detections]:
        return [self._boxes(place.crop(map_), place.original_wh) for map_, place in zip(maps, places, strict=True)]

    def _boxes(self, probability: NDArray[np.float32], size_wh: tuple[int, int]) -> Detections:
        settings = self._config.boxes
        boxes, confidence = probability_to_boxes(
            probability,
            size_wh,
            threshold=settings.threshold,
            min_area_px=settings.min_area_px,
            connectivity=settings.connectivity,
        )
        return Detections(xyxy=boxes, confidence=confidence, class_id=np.zeros(len(boxes), int))

    def _validate(self, squares: NDArray[np.uint8], split: Split) -> dict[str, float]:
        """Figures of an epoch; `val_score` is the highest competition score on the threshold curve."""
        found, figures = self._measure(squares, split)
        further = {f"val_{name}": value for name, value in figures._asdict().items()}
        return {"val_score": best_operating_point(split, found)[1], **further}

    def _measure(self, squares: NDArray[np.uint8], split: Split) -> tuple[list[Detections], MaskFigures]:
        """What is found in a split, and how good the masks are that it is found in."""
        size = self._config.image_size
        found: list[Detections] = []
        sums = np.zeros(2)
        for start in range(0, len(split), 16):
            numbers = range(start, min(start + 16, len(split)))
            places = [_place(split, number, size) for number in numbers]
            maps = self._segment(np.array(squares[start : start + 16]))
            found += self._detect(maps, places)
            probability = torch.from_numpy(maps)
            masks = torch.from_numpy(np.stack([_mask(split, number, size) for number in numbers]))
            sums += [len(maps) * float(figure(probability, masks)) for figure in (pixel_accuracy, mean_iou)]
        return found, MaskFigures(*(sums / len(split)).tolist())


def _place(split: Split, number: int, size: int) -> Letterbox:
    width, height = split.sizes_wh[number]
    return Letterbox.fit((int(width), int(height)), size)


def _mask(split: Split, number: int, size: int) -> NDArray[np.uint8]:
    boxes = _place(split, number, size).boxes_to_square(split.boxes_xyxy[number])
    mask: NDArray[np.uint8] = boxes_to_mask(boxes, (size, size))
    return mask


def _to_input(squares: Tensor) -> Tensor:
    """(N, size, size) uint8 to (N, 1, size, size) float32 in 0..1."""
    return squares[:, None].float() / 255


def _batches(
    squares: NDArray[np.uint8], split: Split, config: SegmenterConfig, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled batches of pictures and masks, flipped left to right now and then."""
    rng = np.random.default_rng([config.seed, epoch])
    size = config.image_size
    order = rng.permutation(len(split))
    for start in range(0, len(order), config.train.batch_size):
        chosen = order[start : start + config.train.batch_size]
        pictures = np.empty((len(chosen), size, size), np.uint8)
        masks = np.empty((len(chosen), size, size), np.uint8)
        for at, (number, flip) in enumerate(zip(chosen, rng.random(len(chosen)) < config.train.flip, strict=True)):
            step = -1 if flip else 1
            pictures[at], masks[at] = squares[number][:, ::step], _mask(split, number, size)[:, ::step]
        yield _to_input(torch.from_numpy(pictures)), torch.from_numpy(masks)[:, None].float()
