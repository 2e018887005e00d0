"""The backend `segmenter`: any decoder and encoder of segmentation_models_pytorch and timm."""

import hilum.segmenters.smp_network  # noqa: F401 - without its libraries there is no such backend
from hilum.segmenters.segmenter import Segmenter
from hilum.segmenters.smp_config import SMPConfig


class SMPSegmenter(Segmenter):
    """Segments with a network of segmentation_models_pytorch."""

    Config = SMPConfig
