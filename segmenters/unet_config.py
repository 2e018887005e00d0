"""What a config with `backend: unet` says."""

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from hilum.segmenters.segmenter_config import WIDEST, SegmenterConfig, StartedModel

if TYPE_CHECKING:  # a config is read without torch
    from hilum.segmenters.unet_network import UNet


class UNetModel(StartedModel):
    """The network; the defaults are those of the report's totals. See `unet_network.UNet`.

    Attributes:
        start_channels: That a block of the first level adds.
        depth: Levels above the deepest block, each of which halves height and width.
        growth: Factor of the channels from one level to the next.
        dropout: Share of whole channels that a block drops in training.
        momentum: Weight of the newest batch in BatchNorm's running statistics; a training of a few hundred steps needs
            more than Keras' 0.01.
    """

    start_channels: int = Field(default=32, gt=0, le=WIDEST)
    depth: int = Field(default=4, ge=1, le=6)
    growth: int = Field(default=2, ge=1, le=WIDEST)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    momentum: float = Field(default=0.01, gt=0, lt=1)

    @model_validator(mode="after")
    def _fits_into_memory(self) -> Self:
        if (widest := self.start_channels * self.growth**self.depth) > WIDEST:
            raise ValueError(f"start_channels * growth**depth: expected at most {WIDEST} channels, not {widest}")
        return self


class UNetConfig(SegmenterConfig):
    """A config with `backend: unet`."""

    start_key: ClassVar[str] = "model.weights"
    model: UNetModel = UNetModel()

    def network(self) -> "UNet":
        """The untrained network."""
        from hilum.segmenters.unet_network import UNet

        return UNet(**self.model.shape, image_head=self.has_image_head, classes=len(self.class_names))
