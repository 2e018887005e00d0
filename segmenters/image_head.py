"""A head that sees whether an image shows opacity at all, or which of several classes."""

from torch import Tensor, nn


class ImageHead(nn.Module):
    """Mean over the map, LayerNorm, one linear layer: (N, C, H, W) features to (N,) logits of "shows opacity".

    Args:
        channels: C.
        classes: where several, the logits are (N, classes).
    """

    def __init__(self, channels: int, classes: int = 1) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.linear = nn.Linear(channels, classes)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.norm(features.mean((2, 3))))
        return logits[:, 0] if logits.shape[1] == 1 else logits
