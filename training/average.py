"""The moving average of a network, which often scores higher than the network that moves."""

import copy
from typing import Any

import torch
from torch import nn


class MovingAverage:
    """Exponential moving average of weights and BatchNorm statistics, step by step.

    The decay starts low, min(decay, (1 + steps) / (10 + steps)), so that the random start is soon forgotten, as in
    TensorFlow: https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage

    Attributes:
        network: the average, in evaluation mode.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        """Start at the network as it is; the higher the decay (below 1), the longer the memory."""
        self.network = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
        self._decay = decay
        self._steps = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the network after a step; what cannot be averaged, such as a count, is copied."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        for average, value in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if average.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes."""
        return {"network": self.network.state_dict(), "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.network.load_state_dict(state["network"])
        self._steps = state["steps"]
