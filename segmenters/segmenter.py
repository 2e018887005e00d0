"""What the segmenters share: train on masks painted from boxes, predict boxes from masks."""

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from supervision import Detections
from torch import Tensor, nn

from hilum.config import ExperimentConfig, Table, read_config
from hilum.datasets.cache import square_pictures
from hilum.datasets.folder import Dataset, Split
from hilum.datasets.letterbox import Letterbox
from hilum.datasets.masks import boxes_to_mask
from hilum.errors import HilumError
from hilum.segmenters.losses import LOSSES
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


class SegmenterConfig(ExperimentConfig):
    """What both of the report's segmenters are told."""

    image_size: int = Field(ge=16, le=2048)
    train: Training
    boxes: MasksToBoxes = MasksToBoxes()

    @model_validator(mode="after")
    def _halves_evenly(self) -> Self:
        depth = getattr(getattr(self, "model", None), "depth", 0)
        if self.image_size % 2**depth:
            raise ValueError(f"image_size: expected a multiple of {2**depth} at depth {depth}, not {self.image_size}")
        return self


class Segmenter:
    """A backend that segments box-shaped masks. A subclass gives `Config` and `build`."""

    Config: ClassVar[type[SegmenterConfig]]

    def __init__(self, network: nn.Module, config: SegmenterConfig) -> None:
        self._network = network.eval()
        self._config = config

    @staticmethod
    @abstractmethod
    def build(config: Any) -> nn.Module:
        """The untrained network: (N, 1, size, size) in 0..1 -> logits of the same shape."""

    @classmethod
    def train(cls, config: SegmenterConfig, data: Dataset, run: Path) -> Self:
        """See `hilum.backend.Backend.train`."""
        torch.manual_seed(config.seed)
        segmenter = cls(cls.build(config).to(pick_device()), config)
        settings = config.train
        train, val = data.split("train"), data.split("val")
        pictures = {name: square_pictures(data, name, config.image_size) for name in ("train", "val")}
        fit(
            segmenter._network,
            # Keras' Adam, which the report used: its epsilon is 1e-7.
            torch.optim.Adam(segmenter._network.parameters(), lr=settings.learning_rate, eps=1e-7),
            loss=LOSSES[settings.loss],
            batches=lambda epoch: _batches(pictures["train"], train, config, epoch),
            learning_rate=lambda epoch: SCHEDULES[settings.schedule](epoch, settings.epochs, settings.learning_rate),
            validate=lambda: segmenter._score(pictures["val"], val),
            epochs=settings.epochs,
            seed=config.seed,
            run=run,
        )
        return cls.load(run)

    @classmethod
    def load(cls, run: Path) -> Self:
        """See `hilum.backend.Backend.load`."""
        config = read_config(run, cls.Config)
        network = cls.build(config)
        load_weights(network, run)
        return cls(network.to(pick_device()), config)

    def predict_batch(self, images: list[NDArray[np.uint8]]) -> list[Detections]:
        """See `hilum.backend.Backend.predict_batch`."""
        if not images:
            return []
        places = [Letterbox.fit((image.shape[1], image.shape[0]), self._config.image_size) for image in images]
        squares = np.stack([place.apply(image) for place, image in zip(places, images, strict=True)])
        return self._detect(squares, places)

    @torch.inference_mode()
    def _detect(self, squares: NDArray[np.uint8], places: list[Letterbox]) -> list[Detections]:
        device = next(self._network.parameters()).device
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = self._network(_to_input(torch.from_numpy(squares)).to(device))
        maps = logits.float().sigmoid()[:, 0].cpu().numpy()
        if not np.isfinite(maps).all():
            raise HilumError("the network's output is not finite: its weights are damaged; train again")
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

    def _score(self, squares: NDArray[np.uint8], split: Split) -> float:
        """Highest competition score on the threshold curve of a split."""
        size = self._config.image_size
        places = [Letterbox.fit((int(width), int(height)), size) for width, height in split.sizes_wh]
        found: list[Detections] = []
        for start in range(0, len(split), 16):
            found += self._detect(np.array(squares[start : start + 16]), places[start : start + 16])
        return best_operating_point(split, found)[1]


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
            width, height = split.sizes_wh[number]
            boxes = Letterbox.fit((int(width), int(height)), size).boxes_to_square(split.boxes_xyxy[number])
            mask = boxes_to_mask(boxes, (size, size))
            step = -1 if flip else 1
            pictures[at], masks[at] = squares[number][:, ::step], mask[:, ::step]
        yield _to_input(torch.from_numpy(pictures)), torch.from_numpy(masks)[:, None].float()
