"""What a segmenter is told: its training, its way from maps to boxes, and what the report says of an attempt."""

from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, ValidationInfo, model_validator
from pydantic.config import JsonDict

from hilum.class_names import ONE_CLASS
from hilum.config import Table, builds
from hilum.segmenters.masks_to_boxes import Confidence, Connectivity
from hilum.training.settings import NetworkConfig, TrainSettings

if TYPE_CHECKING:  # a config is read without torch
    from hilum.segmenters.losses import Loss

WIDEST = 2048
"""Channels of a level, at most: three times those of the report's widest network, and more does not fit into memory."""


def _loss_options(schema: JsonDict) -> None:
    """The keys that the table may have."""
    from hilum.segmenters.losses import LOSSES, options_of

    schema["properties"] = {
        name: {} for name in sorted({name for loss in LOSSES.values() for name in options_of(loss)})
    }


class Training(TrainSettings):
    """How a segmenter is trained, as Keras' Adam does.

    Attributes:
        loss: Of the pixels; see `losses.LOSSES`.
        loss_options: Further arguments of that loss, such as `gamma` of the focal loss.
        image_loss: Weight of the loss of a head that sees whether the image shows opacity at all, which then gives the
            image's probability; 0 builds no such head.
    """

    loss: Literal["iou_bce", "bce", "iou", "dice", "dice_bce", "tversky", "focal"] = "iou_bce"
    loss_options: dict[str, float] = Field(default_factory=dict, json_schema_extra=_loss_options)
    image_loss: float = Field(default=0.0, ge=0)

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
    """How a probability map becomes boxes, until `hilum tune` chooses; see `masks_to_boxes.probability_to_boxes`.

    Attributes:
        threshold: A pixel is foreground if its probability is higher.
        min_area_px: Components of fewer pixels of the square are left out.
        connectivity: 8 joins pixels that touch at a corner, 4 only those that share an edge.
        fill_holes: Count what a component encloses as part of it.
        confidence: Of a box: the mean of the probability inside, or the highest.
    """

    threshold: float = Field(default=0.5, gt=0, lt=1)
    min_area_px: int = Field(default=1, ge=1)
    connectivity: Connectivity = 8
    fill_holes: bool = False
    confidence: Confidence = "mean"


class StartedModel(Table):
    """A network of ours, which training may start with the weights of.

    Attributes:
        weights: What training starts with: `none` (random), or the weights of the same network: the folder of a
            finished run, or the path of a file of tensors. A run is whole without it.
    """

    weights: str = Field(default="none", min_length=1)

    @property
    def shape(self) -> dict[str, Any]:
        """What the network is built from."""
        return {key: value for key, value in self if key != "weights"}


class Report(Table):
    """What the capstone report says of an attempt of its own, for a table that shows it beside what hilum measures.

    Training reads none of it; but a config is refused whose network has other parameters than `parameters` says.

    Attributes:
        attempt: Its name there.
        held_out: Images, drawn at random.
        parameters: BatchNorm's running statistics included.
        trainable: Of the parameters.
        pixel_accuracy: On the images held out.
    """

    attempt: str
    held_out: int = Field(gt=0)
    parameters: int = Field(gt=0)
    trainable: int = Field(gt=0)
    pixel_accuracy: float = Field(ge=0, le=1)


class SegmenterConfig(NetworkConfig):
    """What all segmenters are told. A subclass adds `model` and gives `network`.

    The network takes (N, 1, size, size) in 0..1 to logits (N, classes, size, size); where `has_image_head`, to these
    and the logits of the images, (N,), or of several classes (N, classes).
    """

    train: Training
    boxes: MasksToBoxes = MasksToBoxes()
    report: Report | None = None

    @property
    def reported(self) -> dict[str, Any]:
        """What the capstone report says of this attempt."""
        return {} if self.report is None else self.report.model_dump()

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
            found = count_parameters(self.model_copy(update={"class_names": ONE_CLASS}).network())
        if found != (self.report.parameters, self.report.trainable):
            raise ValueError(
                f"report: {self.report.attempt} has {self.report.parameters:,} parameters, {self.report.trainable:,} "
                f"trainable; this `model` has {found.total:,} and {found.trainable:,}: leave it as it is, or set "
                "report to null"
            )
        return self
