"""What both of the report's networks inherit from Keras, in which it was written."""

import torch
from torch import Tensor, nn


def start_as_keras_does(network: nn.Module) -> None:
    """Glorot-uniform weights and zero biases; and channels last, which is up to twice as fast on a CPU."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    network.to(memory_format=torch.channels_last)


def check_input(image: Tensor, depth: int) -> None:
    """Make sure that an image can be halved `depth` times.

    Args:
        image: (N, 1, H, W).
        depth: how often the network halves it.

    Raises:
        ValueError: the shape is another, or H or W is not divisible by 2**depth.
    """
    step = 2**depth
    if image.ndim != 4 or image.shape[1] != 1 or image.shape[2] % step or image.shape[3] % step:
        raise ValueError(
            f"a network of depth {depth} takes (N, 1, H, W) with H and W divisible by {step}, got {tuple(image.shape)}"
        )
