"""The backend `unet`: the report's UNet as a segmenter."""

from hilum.segmenters.segmenter import Segmenter
from hilum.segmenters.unet_config import UNetConfig


class UNetSegmenter(Segmenter):
    """Segments with the report's UNet."""

    Config = UNetConfig
