"""Any of timm's networks as a classifier of grey pictures."""

from typing import Any

import torch
from torch import Tensor, nn

try:
    import timm
except ImportError as error:
    raise ImportError('timm (Apache-2.0) is missing: pip install "hilum[smp]"') from error

from hilum.training.pretrained import GREY_MEAN, GREY_STD


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
        logits: Tensor = self.head(self.dropout(self.encoder((image - GREY_MEAN) / GREY_STD)))
        return logits


def _encoder(name: str, image_size: int) -> nn.Module:
    options: dict[str, Any] = {"pretrained": False, "in_chans": 1, "num_classes": 0}
    try:  # transformers are built for one size of picture, convolutional networks do not ask
        network: nn.Module = timm.create_model(name, **options, img_size=image_size)
    except TypeError:
        network = timm.create_model(name, **options)
    return network
