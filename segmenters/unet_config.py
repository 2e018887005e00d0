"""What a config with `backend: unet` says."""

from typing import TYPE_CHECKING

from pydantic import Field

from hilum.config import Table
from hilum.segmenters.segmenter_config import SegmenterConfig

if TYPE_CHECKING:  # a config is read without torch
    from hilum.segmenters.unet_network import UNet


class UNetModel(Table):
    """The network; the defaults are those of the report's totals. See `unet_network.UNet`."""

    start_channels: int = Field(default=32, gt=0)
    depth: int = Field(default=4, ge=1, le=6)
    growth: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    momentum: float = Field(default=0.01, gt=0, lt=1)


class UNetConfig(SegmenterConfig):
    """A config with `backend: unet`."""

    model: UNetModel = UNetModel()

    def network(self) -> "UNet":
        """The untrained network."""
        from hilum.segmenters.unet_network import UNet

        return UNet(**dict(self.model), image_head=self.has_image_head)
