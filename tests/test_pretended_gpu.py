"""What the contract's check on a pretended GPU finds, and what it does not mind."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor

from hilum.datasets.folder import Dataset
from hilum.detectors.torchvision import TorchvisionDetector
from hilum.pretended_gpu import PretendedGPU, _to_numpy, check_on_gpu
from hilum.segmenters.unet import UNetSegmenter

UNET = {
    "backend": "unet",
    "image_size": 32,
    "model": {"start_channels": 2, "depth": 2},
    "train": {"epochs": 1, "batch_size": 4},
}
FCOS = {
    "backend": "torchvision",
    "image_size": 64,
    "model": {"architecture": "fcos_resnet50_fpn", "backbone": "mobilenet_v3_small", "channels": 64},
    "train": {"epochs": 1, "batch_size": 4},
}
TWO_DEVICES = r"^Expected all tensors to be on the same device"


class WeighsOnTheCPU(UNetSegmenter):
    def loss(self, output: Any, *target: Any) -> torch.Tensor:
        return (super().loss(output, *target) * torch.ones(3)).sum()


class PreparesOnTheCPU(UNetSegmenter):
    def prepare(self, *loaded: Any) -> tuple[Any, ...]:
        pictures, masks = super().prepare(*loaded)
        return pictures - torch.full((32, 32), 0.5), masks


class KeepsNoBuffer(UNetSegmenter):
    def __init__(self, network: Any, config: Any) -> None:
        super().__init__(network, config)
        plain = torch.zeros(1, 1, 32, 32)  # which no `network.to` finds
        network.register_forward_pre_hook(lambda _, given: (given[0] + plain,))


class SeesOnTheCPU(UNetSegmenter):
    def to_input(self, squares: torch.Tensor) -> torch.Tensor:
        return super().to_input(squares).cpu()


class LosesOnTheCPU(UNetSegmenter):
    def loss(self, output: Any, *target: Any) -> torch.Tensor:
        return super().loss(output, *target).cpu()


class MovesHalfABatch(TorchvisionDetector):
    def prepare(self, *loaded: Any) -> tuple[Any, ...]:
        (batch,) = loaded
        return (type(batch)(batch.squares, tuple(boxes.cpu() for boxes in batch.boxes_xyxy), batch.class_ids),)


class ReadsFromTheGPU(UNetSegmenter):
    def read_output(self, output: Any) -> Any:
        return (torch.from_numpy(output.float().sigmoid().numpy()),)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        *((kind, UNET) for kind in (WeighsOnTheCPU, PreparesOnTheCPU, KeepsNoBuffer, SeesOnTheCPU)),
        (MovesHalfABatch, FCOS),
    ],
)
def test_a_tensor_on_the_cpu_is_found(kind: Any, values: dict[str, Any], dataset: Path) -> None:
    with pytest.raises(RuntimeError, match=TWO_DEVICES):
        check_on_gpu(kind, values, Dataset.open(dataset))


def test_nothing_of_16_bits_is_left_on_the_cpu(dataset: Path) -> None:
    check_on_gpu(UNetSegmenter, {**UNET, "bits": 16}, Dataset.open(dataset))


def test_an_array_of_a_tensor_on_the_gpu_is_found(dataset: Path) -> None:
    with pytest.raises(TypeError, match=r"^a tensor on cuda:0 is no array"):
        check_on_gpu(ReadsFromTheGPU, UNET, Dataset.open(dataset))


def test_a_loss_on_the_cpu_is_found(dataset: Path) -> None:
    with pytest.raises(AssertionError, match="the loss is on cpu"):
        check_on_gpu(LosesOnTheCPU, UNET, Dataset.open(dataset))


def test_values_are_those_of_the_cpu_also_where_shapes_depend_on_them() -> None:
    def found(values: torch.Tensor) -> torch.Tensor:
        kept = values[values > 0.5]
        if bool((kept > 0.75).any()):
            kept += 1
        return kept.sort(descending=True).values

    given = torch.linspace(0, 1, 8)
    expected = found(given.clone())
    with PretendedGPU():
        shown = found(given.to("cuda"))
    assert shown.device.type == "cuda"
    assert torch.equal(shown.value, expected)
    assert given.equal(torch.linspace(0, 1, 8))


def test_an_array_holds_the_values_that_were_computed() -> None:
    given = torch.linspace(0, 1, 1024)
    with PretendedGPU(), patch.object(FakeTensor, "numpy", _to_numpy, create=True):
        array = (given.to("cuda") * 2).cpu().numpy()
    np.testing.assert_array_equal(array, (given * 2).numpy())
