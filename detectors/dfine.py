"""The backend `dfine`: D-FINE, a transformer under a permissive licence."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hilum.datasets.letterbox import Letterbox
from hilum.detections import Detections
from hilum.detectors.dfine_config import DFineConfig
from hilum.detectors.dfine_network import DFineNetwork
from hilum.detectors.square_detector import SquareDetector
from hilum.network_backend import NetworkBackend

_CONFIDENCE_FLOOR: Final = 0.001
_MAX_BOXES: Final = 100  # of each class


class DFineDetector(SquareDetector):
    """Detects with D-FINE of transformers."""

    Config = DFineConfig
    _network: DFineNetwork

    def to_input(self, squares: Tensor) -> Tensor:
        """Grey in 0..1, as D-FINE was trained on COCO's colours; see `NetworkBackend.to_input`."""
        return NetworkBackend.to_input(self, squares)

    def read_output(self, output: tuple[Tensor, Tensor]) -> Any:
        """Boxes and confidences; see `DFineNetwork.forward`."""
        return tuple(each.float().cpu() for each in output)

    def detections(self, output: Any, places: Sequence[Letterbox]) -> list[Detections]:
        """The most confident pairs of a query and a class."""
        found = []
        for boxes, confidences in zip(*output, strict=True):
            classes = confidences.shape[1]
            each = confidences.flatten()
            best = each.topk(min(len(each), _MAX_BOXES * classes))
            pairs = best.indices[best.values >= _CONFIDENCE_FLOOR]
            found.append({"boxes": boxes[pairs // classes], "scores": each[pairs], "class_ids": pairs % classes})
        return super().detections(found, places)

    def network_to_export(self) -> nn.Module | None:
        """The network, which takes a tensor and gives two."""
        return self._network

    def frozen(self) -> list[nn.Module]:
        """The backbone's BatchNorm, which alone ImageNet has seen, too."""
        if not self._config.train.freeze_batchnorm:
            return []
        return [module for module in self._network.detector.backbone.modules() if isinstance(module, _BatchNorm)]

    def compiled(self, model: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The same, its backbone compiled: queries are matched to boxes in other shapes in each batch."""
        self._network.learning_maps = super().compiled(self._network.maps)
        return model
