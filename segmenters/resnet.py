"""The backend `resnet`: the report's ResNet as a segmenter."""

from typing import Literal, Self

from pydantic import Field, model_validator

from hilum.config import Table
from hilum.segmenters.resnet_network import BATCHNORM_MOMENTUM, ResNet
from hilum.segmenters.segmenter import Segmenter
from hilum.segmenters.segmenter_config import WIDEST, SegmenterConfig


class ResNetModel(Table):
    """The network; the defaults are the report's base. See `resnet_network.ResNet`."""

    channels: int = Field(default=32, gt=0, le=WIDEST)
    blocks: int = Field(default=2, gt=0, le=64)
    depth: int = Field(default=4, ge=1, le=6)
    head: Literal["transposed", "plain"] = "transposed"
    momentum: float = Field(default=BATCHNORM_MOMENTUM, gt=0, lt=1)
    head_momentum: float = Field(default=BATCHNORM_MOMENTUM, gt=0, lt=1)

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

    model: ResNetModel = ResNetModel()

    def network(self) -> ResNet:
        """The untrained network."""
        return ResNet(**dict(self.model), image_head=self.has_image_head)


class ResNetSegmenter(Segmenter):
    """Segments with the report's ResNet."""

    Config = ResNetConfig
