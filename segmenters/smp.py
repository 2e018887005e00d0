"""The backend `segmenter`: any decoder and encoder of segmentation_models_pytorch and timm."""

import hilum.segmenters.smp_network  # noqa: F401 - without its libraries there is no such backend
from hilum.datasets.folder import Dataset
from hilum.segmenters.segmenter import Segmenter
from hilum.segmenters.smp_config import SMPConfig


class SMPSegmenter(Segmenter):
    """Segments with a network of segmentation_models_pytorch."""

    Config = SMPConfig

    @classmethod
    def check_start(cls, config: SMPConfig, data: Dataset) -> None:
        """See `hilum.backend.Backend.train`."""
        del data
        config.starting_network()
