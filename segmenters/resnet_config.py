"""What a config with `backend: resnet` says."""

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from hilum.segmenters.segmenter_config import WIDEST, SegmenterConfig, StartedModel

if TYPE_CHECKING:  # a config is read without torch
    from hilum.segmenters.resnet_network import ResNet


class ResNetModel(StartedModel):
    """The network; the defaults are the report's base. See `resnet_network.ResNet`.

    Attributes:
        channels: Of the first convolution; the stages have 2, 4, 8, ... times as many.
        blocks: Residual blocks a stage.
        depth: Stages, each of which halves height and width.
        head: `transposed` is that of the report's base; `plain`, one convolution on the deepest map, of tries 2 to 4.
        momentum: Weight of the newest batch in BatchNorm's running statistics outside the head.
        head_momentum: The same in the head; 0.0001, as in the report's try 2, spoils what a short training predicts.
    """

    channels: int = Field(default=32, gt=0, le=WIDEST)
    blocks: int = Field(default=2, gt=0, le=64)
    depth: int = Field(default=4, ge=1, le=6)
    head: Literal["transposed", "plain"] = "transposed"
    momentum: float = Field(default=0.1, gt=0, lt=1)
    head_momentum: float = Field(default=0.1, gt=0, lt=1)

    @model_validator(mode="after")
    def _fits_into_memory(self) -> Self:
        if (widest := self.channels * 2**self.depth) > WIDEST:
            raise ValueError(f"channels * 2**depth: expected at most {WIDEST} channels, not {widest}")
        return self

    @model_validator(mode="after")
    def _deep_enough(self) -> Self:
        if self.head == "transposed" and self.depth < 2:
            raise ValueError(f"depth: the transposed head enlarges fourfold, so expected 2 or more, not {self.depth}")
        return self


class ResNetConfig(SegmenterConfig):
    """A config with `backend: resnet`."""

    start_key: ClassVar[str] = "model.weights"
    model: ResNetModel = ResNetModel()

    def network(self) -> "ResNet":
        """The untrained network."""
        from hilum.segmenters.resnet_network import ResNet

        return ResNet(**self.model.shape, image_head=self.has_image_head, classes=len(self.class_names))
