"""The backend `resnet`: the report's ResNet as a segmenter."""

from hilum.segmenters.resnet_config import ResNetConfig
from hilum.segmenters.segmenter import Segmenter


class ResNetSegmenter(Segmenter):
    """Segments with the report's ResNet."""

    Config = ResNetConfig
