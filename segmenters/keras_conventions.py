"""What the report's networks and their training inherit from Keras, in which it was written."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class KerasAdam(torch.optim.Adam):
    """Adam with epsilon where Keras has it: beside the root of the second moment as it is, not as it is corrected.

    In PyTorch's terms Keras' epsilon is divided by sqrt(1 - beta2**step): 32 times as much in the first step, and
    still 1.6 times after 500. It is what keeps a weight still whose gradient is rounding alone, such as a bias right
    before a BatchNorm. This is the "epsilon hat" of Kingma and Ba, arXiv:1412.6980, section 2.

    Args:
        parameters: of the network.
        lr: learning rate.
        eps: Keras' epsilon; 1e-7 is its default.
        weight_decay: as of AdamW.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, *, eps: float = 1e-7, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, lr=lr, eps=eps, fused=True)  # one pass over each weight, on a CPU too
        for group in self.param_groups:  # kept there, they are stored and loaded with the state
            group.update({"keras_eps": eps, "steps": 0}, **({"keras_decay": weight_decay} if weight_decay else {}))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        for group in self.param_groups:
            group["steps"] += 1
            group["eps"] = group["keras_eps"] / (1 - group["betas"][1] ** group["steps"]) ** 0.5
            for parameter in group["params"] if "keras_decay" in group else ():
                parameter.data.mul_(1 - group["lr"] * group["keras_decay"])
        return super().step(closure)


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


class ParameterCount(NamedTuple):
    """Values in a network: BatchNorm's running statistics are in the total, and not trainable."""

    total: int
    trainable: int


def count_parameters(network: nn.Module) -> ParameterCount:
    """Count as Keras does. PyTorch's BatchNorm counts its batches too; Keras' does not."""
    trainable = sum(parameter.numel() for parameter in network.parameters())
    running = sum(buffer.numel() for buffer in network.buffers() if buffer.is_floating_point())
    return ParameterCount(trainable + running, trainable)
