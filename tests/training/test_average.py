import pytest
import torch
from torch import nn

from hilum.training.average import MovingAverage


def test_it_is_the_recursion_with_its_slow_start() -> None:
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    with torch.no_grad():
        network[0].weight.fill_(5.0)
    average, expected = MovingAverage(network, 0.6), 5.0
    for step in range(1, 30):
        with torch.no_grad():
            network[0].weight.fill_(step)
            network[1].running_mean.fill_(-step)
            network[1].num_batches_tracked.fill_(step)
        average.update(network)
        decay = min(0.6, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        assert float(average.network[0].weight) == pytest.approx(expected, rel=1e-5)
        assert int(average.network[1].num_batches_tracked) == step
    assert float(average.network[1].running_mean) == pytest.approx(-expected, rel=1e-2)  # it started at 0, not at 5
    assert network[0].weight.item() == 29


def test_it_neither_trains_nor_follows_by_itself() -> None:
    network = nn.Linear(2, 2)
    average = MovingAverage(network, 0.5)
    before = average.network.weight.clone()
    with torch.no_grad():
        network.weight.add_(1)
    assert torch.equal(average.network.weight, before)
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    assert not average.network.training
