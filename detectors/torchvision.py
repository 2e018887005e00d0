"""The backend `torchvision`: Faster R-CNN v2, RetinaNet v2, FCOS and SSDlite, under permissive licences."""

from hilum.datasets.folder import Dataset
from hilum.detectors.square_detector import SquareDetector
from hilum.detectors.torchvision_config import TorchvisionConfig


class TorchvisionDetector(SquareDetector):
    """Detects with a network of torchvision."""

    Config = TorchvisionConfig

    @classmethod
    def check_start(cls, config: TorchvisionConfig, data: Dataset) -> None:
        """See `hilum.backend.Backend.train`."""
        del data
        config.starting_network()
