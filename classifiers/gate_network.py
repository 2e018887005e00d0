"""Any of timm's networks as a classifier of grey pictures."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

try:
    import timm
except ImportError as error:
    raise ImportError('timm (Apache-2.0) is missing: pip install "hilum[smp]"') from error

from hilum.training.encoder_weights import download, load_encoder
from hilum.training.tensors import read_tensors

# ImageNet's mean and standard deviation, averaged over the colours: what pretrained filters are used to.
_GREY_MEAN: Final = 0.449
_GREY_STD: Final = 0.226


class GateNetwork(nn.Module):
    """A network of timm up to its pooled features, dropout, and one linear layer; random weights.

    Args:
        name: timm's.
        outputs: classes.
        dropout: of the pooled features.
        image_size: side of the pictures in pixels, for networks that are built for one size.
    """

    def __init__(self, name: str, outputs: int, dropout: float, image_size: int) -> None:
        super().__init__()
        self.encoder = _encoder(name, image_size)
        with torch.inference_mode():
            features = self.encoder.eval()(torch.zeros(1, 1, image_size, image_size)).shape[1]
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, outputs)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of the classes, (N, outputs), of pictures (N, 1, H, W) of brightness 0..1."""
        logits: Tensor = self.head(self.dropout(self.encoder((image - _GREY_MEAN) / _GREY_STD)))
        return logits


def check_name(name: str) -> None:
    """Make sure that timm has such a network.

    Raises:
        ValueError: it has none, with the nearest name.
    """
    plain = name.partition(".")[0]
    if plain not in timm.list_models():
        near = get_close_matches(plain, timm.list_models(), 1)
        hint = f"did you mean '{near[0]}'?" if near else "`timm.list_models()` lists them"
        raise ValueError(f"name: no '{name}' in timm {timm.__version__}; {hint}")


def hub_repository(name: str) -> str:
    """The repository of the hub that holds a network's weights.

    Raises:
        ValueError: there is none.
    """
    settings: Any = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if settings is None or not settings.hf_hub_id or settings.hf_hub_filename:
        raise ValueError(f"weights: the hub has none of '{name}' that can be read; give a file, or none")
    return str(settings.hf_hub_id)


def load_pretrained(network: GateNetwork, name: str, weights: str) -> None:
    """Put pretrained weights into all but the last layer.

    Args:
        network: of this name.
        name: timm's.
        weights: `hub`, or the path of a file.

    Raises:
        HilumError: they cannot be had, or are not this network's.
    """
    path = download(hub_repository(name), None) if weights == "hub" else Path(weights)
    tensors = read_tensors(path, "model.weights", "none, hub")
    load_encoder(network.encoder, tensors, path.name if weights != "hub" else hub_repository(name))


def _encoder(name: str, image_size: int) -> nn.Module:
    options: dict[str, Any] = {"pretrained": False, "in_chans": 1, "num_classes": 0}
    try:  # transformers are built for one size of picture, convolutional networks do not ask
        network: nn.Module = timm.create_model(name, **options, img_size=image_size)
    except TypeError:
        network = timm.create_model(name, **options)
    return network
