"""torchxrayvision's anatomy model."""

from torch import nn

try:
    from torchxrayvision.baseline_models.chestx_det.ptsemseg.pspnet import pspnet
except ImportError as error:
    raise ImportError('torchxrayvision (Apache-2.0) is missing: pip install "hilum[lungs]"') from error

_STRUCTURES = 14


def build_network() -> nn.Module:
    """The network with random weights."""
    network: nn.Module = pspnet(_STRUCTURES)
    return network
