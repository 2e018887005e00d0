"""What learns in bfloat16 has the gradients of float32, to its rounding."""

import pytest
import torch
from torch import nn

from hilum.training.precision import computes_in_bfloat16


@pytest.mark.parametrize("side", [1, 2, 3])
@pytest.mark.parametrize("kernel", [3, 7])
def test_gradients_of_convolutions_of_few_cells_are_those_of_float32(kernel: int, side: int) -> None:
    for seed in range(12):
        torch.manual_seed(seed)
        network, cells = nn.Sequential(nn.Conv2d(64, 64, kernel, 2, kernel // 2)), torch.randn(8, 64, side, side)
        exact = torch.autograd.grad(network(cells).square().sum(), network[0].weight)[0]
        # What a library leaves as the memory was is not a number then.
        for size in (1 << power for power in range(8, 20)):
            torch.full((size,), float("nan"))
        assert computes_in_bfloat16("bfloat16", network)
        with torch.autocast("cpu", torch.bfloat16):
            output = network(cells)
        got = torch.autograd.grad(output.float().square().sum(), network[0].weight)[0]
        torch.testing.assert_close(got, exact, rtol=0.05, atol=0.02 * float(exact.abs().max()))


def test_a_cpu_computes_in_float32_unless_it_is_told_otherwise() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 3, 2))
    assert not computes_in_bfloat16("auto", network)
    assert not computes_in_bfloat16("float32", network)
    assert not network[0]._forward_hooks
