"""What a network computes in while it learns."""

from typing import Any

import torch
from torch import Tensor, nn

from hilum.training.settings import Precision


def computes_in_bfloat16(precision: Precision, network: nn.Module) -> bool:
    """Whether a network shall learn in bfloat16; one that does so on a CPU is made ready for it."""
    device = next(network.parameters()).device.type
    bfloat16 = device == "cuda" if precision == "auto" else precision == "bfloat16"
    if bfloat16 and device == "cpu":
        for module in network.modules():
            if isinstance(module, nn.Conv2d) and max(module.stride) > 1 and max(module.kernel_size) > 1:
                module.register_forward_hook(_single_cells_in_float32)
    return bfloat16


def _single_cells_in_float32(convolution: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    """The output of a convolution with a stride; computed again in float32 where its input is a single cell.

    There oneDNN 3 fills only a part of the weights' gradient in bfloat16, and leaves the rest as the memory was.
    """
    (cells,) = inputs
    if cells.shape[-2:] != (1, 1):
        return output
    its = convolution
    with torch.autocast("cpu", enabled=False):
        return nn.functional.conv2d(
            cells.float(), its.weight, its.bias, its.stride, its.padding, its.dilation, its.groups
        )
