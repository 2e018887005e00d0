"""What a segmenter is told: its training, its way from maps to boxes, and what the report says of an attempt."""

from abc import abstractmethod
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, ValidationInfo, model_validator
from pydantic.config import JsonDict

from hilum.config import ExperimentConfig, Table, builds
from hilum.datasets.augmentation_config import Augmentation
from hilum.segmenters.masks_to_boxes import Confidence, Connectivity

if TYPE_CHECKING:  # a config is read without torch
    from torch import nn

    from hilum.segmenters.losses import Loss

Precision = Literal["auto", "float32", "bfloat16"]
BFLOAT16: dict[Precision, bool | None] = {"auto": None, "float32": False, "bfloat16": True}


def _loss_options(schema: JsonDict) -> None:
    """The keys that the table may have."""
    from hilum.segmenters.losses import LOSSES, options_of

    schema["properties"] = {
        name: {} for name in sorted({name for loss in LOSSES.values() for name in options_of(loss)})
    }


class Training(Table):
    """How a segmenter is trained.

    Attributes:
        loss: Of the pixels; see `losses.LOSSES`.
        loss_options: Further arguments of that loss, such as `gamma` of the focal loss.
        image_loss: Weight of the loss of a head that sees whether the image shows opacity at all, which then gives the
            image's probability; 0 builds no such head.
        precision: What the network computes in: `auto` is bfloat16 on a GPU and float32 on a CPU, where bfloat16 makes
            learning faster too if the CPU has instructions for it. Weights, losses and predictions on a CPU are float32
            anyhow; on a GPU predictions are so with `float32`.
    """

    epochs: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    learning_rate: float = Field(default=1e-3, gt=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    loss: Literal["iou_bce", "bce", "iou", "dice", "dice_bce", "tversky", "focal"] = "iou_bce"
    loss_options: dict[str, float] = Field(default_factory=dict, json_schema_extra=_loss_options)
    image_loss: float = Field(default=0.0, ge=0)
    patience: int = Field(default=0, ge=0, description="stop after so many epochs without a better score; 0: never")
    ema: float = Field(default=0.0, ge=0, lt=1, description="decay of the moving average that is kept; 0: none")
    freeze_batchnorm: bool = Field(default=False, description="leave BatchNorm's statistics as they are")
    precision: Precision = "auto"
    compile: bool = Field(default=False, description="torch.compile: a slow first step, then faster ones")
    tensorboard: bool = False

    @property
    def pixel_loss(self) -> "Loss":
        """The loss of the pixels with its options."""
        from hilum.segmenters.losses import LOSSES

        return partial(LOSSES[self.loss], **self.loss_options)

    @model_validator(mode="after")
    def _check_loss(self) -> Self:
        if not self.loss_options:
            return self
        import torch

        from hilum.segmenters.losses import LOSSES, options_of

        known = options_of(LOSSES[self.loss])
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
    def network(self) -> "nn.Module":
        """The untrained network: (N, 1, size, size) in 0..1 -> logits of the same shape.

        Where `has_image_head`, it returns these and the (N,) logits of the images.
        """

    def starting_network(self) -> "nn.Module":
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
    def _is_the_reports(self, info: ValidationInfo) -> Self:
        if self.report is None or not builds(info):
            return self
        import torch

        from hilum.segmenters.keras_conventions import count_parameters

        with torch.device("meta"):  # shapes without numbers
            found = count_parameters(self.network())
        if found != (self.report.parameters, self.report.trainable):
            raise ValueError(
                f"report: {self.report.attempt} has {self.report.parameters:,} parameters, {self.report.trainable:,} "
                f"trainable; this `model` has {found.total:,} and {found.trainable:,}: leave it as it is, or set "
                "report to null"
            )
        return self
