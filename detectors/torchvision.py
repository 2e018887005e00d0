"""The backend `torchvision`: Faster R-CNN v2, RetinaNet v2, FCOS and SSDlite, under permissive licences."""

from collections.abc import Callable
from typing import Any

from torch import nn

from hilum.detectors.square_detector import SquareDetector
from hilum.detectors.torchvision_config import TorchvisionConfig
from hilum.detectors.torchvision_network import DetectionNetwork


class TorchvisionDetector(SquareDetector):
    """Detects with a network of torchvision."""

    Config = TorchvisionConfig
    reads_16_bits = True
    _network: DetectionNetwork

    def frozen(self) -> list[nn.Module]:
        """The backbone's BatchNorm, as torchvision trains on COCO: the statistics of a small batch are poor."""
        return list(self._network.frozen)

    def compiled(self, model: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The same, its backbone compiled: boxes are matched in other shapes in each batch, for each of them anew."""
        self._network.compile_backbone()
        return model
