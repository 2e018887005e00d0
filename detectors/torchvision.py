"""The backend `torchvision`: Faster R-CNN v2, RetinaNet v2, FCOS and SSDlite, under permissive licences."""

from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from supervision import Detections
from torch import Tensor, nn

from hilum.config import ExperimentConfig, Table, read_config
from hilum.datasets.augmentation import Augmentation, augment
from hilum.datasets.cache import Squares, square_pictures
from hilum.datasets.folder import Dataset, Split
from hilum.datasets.letterbox import Letterbox
from hilum.detectors.anchors import fit_anchors
from hilum.detectors.pretrained import (
    download,
    hub_name,
    is_detector,
    load_classifier,
    load_detector,
    read_tensors,
)
from hilum.detectors.torchvision_network import (
    OWN_BACKBONE,
    Architecture,
    Backbone,
    Batch,
    DetectionNetwork,
    build_classifier,
)
from hilum.errors import HilumError
from hilum.training.checkpoint import CHECKPOINT, WEIGHTS, load_weights
from hilum.training.distributed import first_goes_first, wait
from hilum.training.loop import fit, pick_device, shuffled_batches
from hilum.training.schedule import SCHEDULES
from hilum.training.validation import best_operating_point

_AT_ONCE = 16


class Model(Table):
    """The network.

    Attributes:
        architecture: As torchvision's builder is called.
        backbone: Another one than its name says, such as a small one for a CPU. SSDlite keeps its own.
        channels: Of the feature pyramid and the heads on it; torchvision's is 256. SSDlite has no pyramid.
        weights: What training starts with: `none` (random), `hub` (the backbone as trained on ImageNet, downloaded
            once), or the path of a file: of a classifier, which becomes the backbone, or of a whole detector, such as
            torchvision's trained on COCO or a run's `weights.safetensors`. A run folder is whole without it.
    """

    architecture: Architecture = "fasterrcnn_resnet50_fpn_v2"
    backbone: Backbone | None = None
    channels: int = Field(default=256, ge=64, le=1024, multiple_of=32)
    weights: str = Field(default="none", min_length=1)

    @property
    def backbone_name(self) -> Backbone:
        """The backbone that is built."""
        return self.backbone or OWN_BACKBONE[self.architecture]

    @model_validator(mode="after")
    def _ssdlite_has_its_own(self) -> Self:
        if self.architecture == "ssdlite320_mobilenet_v3_large":
            if self.backbone not in (None, OWN_BACKBONE[self.architecture]):
                raise ValueError(f"backbone: SSDlite comes with mobilenet_v3_large, not {self.backbone}")
            if self.channels != 256:
                raise ValueError(f"channels: SSDlite has no feature pyramid; leave this out, not {self.channels}")
        return self


class Training(Table):
    """How a detector is trained, with AdamW.

    Attributes:
        freeze_batchnorm: The backbone normalises with the statistics that it came with, as torchvision trains on COCO:
            those of a small batch are poor.
    """

    epochs: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    learning_rate: float = Field(default=2e-4, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    freeze_batchnorm: bool = False
    patience: int = Field(default=0, ge=0, description="stop after so many epochs without a better score; 0: never")
    ema: float = Field(default=0.0, ge=0, lt=1, description="decay of the moving average that is kept; 0: none")
    tensorboard: bool = False


class Boxes(Table):
    """How the network's output becomes boxes, in validation and prediction alike.

    Attributes:
        nms_iou: Of boxes that overlap by more than this IoU only the most confident is kept. Opacities hardly overlap.
    """

    nms_iou: float = Field(default=0.3, ge=0, le=1)


class TorchvisionConfig(ExperimentConfig):
    """A config with `backend: torchvision`."""

    image_size: int = Field(ge=64, le=2048, multiple_of=32)
    model: Model = Model()
    train: Training
    augmentation: Augmentation = Augmentation()
    boxes: Boxes = Boxes()

    @property
    def pretraining(self) -> str | None:
        """The hub's name of the weights that training starts with, or that of their file."""
        if self.model.weights == "none":
            return None
        return hub_name(self.model.backbone_name) if self.model.weights == "hub" else Path(self.model.weights).name

    @model_validator(mode="after")
    def _has_statistics_to_freeze(self) -> Self:
        if self.train.freeze_batchnorm and self.model.weights == "none":
            raise ValueError(
                "train.freeze_batchnorm: random weights come with no statistics to keep; set it to false, or give "
                "model.weights"
            )
        return self

    def network(self) -> DetectionNetwork:
        """The network with random weights and room for anchors."""
        return self._network_from(None)

    def starting_network(self) -> DetectionNetwork:
        """The network that training starts with, without anchors.

        Raises:
            HilumError: its weights cannot be had, or are not of this architecture.
        """
        if self.model.weights == "none":
            return self.network()
        hub = self.model.weights == "hub"
        return self._network_from(download(self.model.backbone_name) if hub else read_tensors(Path(self.model.weights)))

    def _network_from(self, tensors: dict[str, Tensor] | None) -> DetectionNetwork:
        model, source = self.model, str(self.pretraining)
        classifier = build_classifier(
            model.backbone_name, ssdlite=model.architecture == "ssdlite320_mobilenet_v3_large"
        )
        if tensors is not None and not is_detector(tensors):
            load_classifier(classifier, tensors, source)
        network = DetectionNetwork(
            model.architecture,
            classifier,
            image_size=self.image_size,
            channels=model.channels,
            nms_iou=self.boxes.nms_iou,
            freeze_batchnorm=self.train.freeze_batchnorm,
        )
        if tensors is not None and is_detector(tensors):
            load_detector(network.detector, tensors, source)
        return network


class TorchvisionDetector:
    """Detects with a network of torchvision. It keeps nothing between calls."""

    Config = TorchvisionConfig
    distributed: ClassVar = True

    def __init__(self, network: nn.Module, config: TorchvisionConfig) -> None:
        """Take a `DetectionNetwork` with its weights and anchors, on the device where it shall run."""
        self._network = network.eval()
        self._config = config

    @classmethod
    def train(cls, config: TorchvisionConfig, data: Dataset, run: Path) -> Self:
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
            network = (config.network() if resumes else config.starting_network()).to(pick_device())
            squares = {name: square_pictures(data, name, size) for name in ("train", "val")}
        network.set_anchors(fitted_anchors(network, train, size))
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
        config = read_config(run, TorchvisionConfig)
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
    def _detect(self, squares: NDArray[np.uint8], places: list[Letterbox]) -> list[Detections]:
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
            places = [_place(split, number, self._config.image_size) for number in range(start, start + len(some))]
            found += self._detect(some, places)
        return {"val_score": best_operating_point(split, found)[1]}


def fitted_anchors(network: DetectionNetwork, split: Split, size: int) -> NDArray[np.float64]:
    """(levels, anchors a cell, 2) widths and heights in pixels of the square, fitted to a split's boxes."""
    strides = network.strides(size)
    if not network.has_anchors:
        return np.repeat(strides[:, None, None], 2, axis=2)
    boxes = np.concatenate(
        [_place(split, at, size).boxes_to_square(boxes) for at, boxes in enumerate(split.boxes_xyxy)]
    )
    return fit_anchors(boxes[:, 2:] - boxes[:, :2], strides, network.anchors.sizes_wh.shape[1])


def _place(split: Split, number: int, size: int) -> Letterbox:
    width, height = split.sizes_wh[number]
    return Letterbox.fit((int(width), int(height)), size)


def _load(
    squares: Squares, split: Split, config: TorchvisionConfig, epoch: int, numbers: NDArray[np.int64]
) -> tuple[Any, Tensor]:
    """A batch, and no target beside it: the network takes the truth with the pictures.

    Each image has random numbers of its own, so that it is the same in whichever batch and process it falls.
    """
    pictures = np.empty((len(numbers), config.image_size, config.image_size), np.uint8)
    boxes = []
    for at, number in enumerate(numbers):
        rng = np.random.default_rng([config.seed, epoch, 1 + number])
        in_square = _place(split, number, config.image_size).boxes_to_square(split.boxes_xyxy[number])
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
