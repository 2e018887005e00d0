"""torchxrayvision's anatomy model: its network and the file of its weights."""

from pathlib import Path

import torch
from torch import nn

try:
    from torchxrayvision.baseline_models.chestx_det.ptsemseg.pspnet import pspnet
except ImportError as error:
    raise ImportError('torchxrayvision (Apache-2.0) is missing: pip install "hilum[lungs]"') from error

from hilum.errors import HilumError

_STRUCTURES = 14


def build_network() -> nn.Module:
    """The network with random weights."""
    network: nn.Module = pspnet(_STRUCTURES)
    return network


def download(url: str) -> Path:
    """Fetch the file, or find it where it has been fetched before.

    Raises:
        HilumError: neither there nor here.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / Path(url).name
    if path.is_file():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), progress=False)
    except Exception as error:  # any layer of the network may fail
        raise HilumError(
            f"weights: cannot get {url} ({type(error).__name__}); without a connection, fetch it elsewhere and give "
            "its path"
        ) from error
    return path
