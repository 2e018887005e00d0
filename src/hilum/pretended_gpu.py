"""A GPU for tests where there is none: tensors say that they are on it, and one that was left on the CPU is found.

Of backward, optimizers and kernels this shows nothing: it is about where tensors are.
"""

import warnings
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_map

from hilum.config import check_config
from hilum.datasets.cache import square_pictures
from hilum.datasets.folder import Dataset
from hilum.network_backend import NetworkBackend

_EVERY_KIND: Final = {
    "flip": 1.0,
    "rotate_degrees": 10.0,
    "shear_degrees": 5.0,
    "scale": 0.1,
    "translate": 0.05,
    "gamma": 0.3,
    "noise": 0.02,
    "cutout": 1.0,
}
_GPU: Final = torch.device("cuda")


class PretendedGPU(FakeTensorMode):  # type: ignore[no-untyped-call]
    """PyTorch's fake tensors, which know what may meet on which device, with their values beside them, on the CPU.

    Values tell how a network goes on where that depends on them, as on the boxes that it keeps. A tensor made outside
    of it is on the CPU.
    """

    def dispatch(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Let PyTorch say on which device a result is, and compute it on the CPU."""
        args, kwargs = tree_map(self._with_value, (args, kwargs or {}))
        real = func(*tree_map(_real, args), **tree_map(_real, kwargs))
        no_generator = {"generator": None} if "generator" in kwargs else {}
        try:
            fake = super().dispatch(func, types, args, {**kwargs, **no_generator})
        except (DataDependentOutputException, DynamicOutputShapeException):
            device = next(each.device for each in tree_flatten((args, kwargs))[0] if isinstance(each, Tensor))
            with self:
                fake = tree_map(lambda each: each.to(device) if isinstance(each, Tensor) else each, real)
        for each, value in zip(tree_flatten(fake)[0], tree_flatten(real)[0], strict=True):
            if isinstance(each, Tensor):
                each.value = value  # type: ignore[attr-defined]
        return fake

    def _with_value(self, argument: Any) -> Any:
        if not isinstance(argument, Tensor) or isinstance(argument, FakeTensor):
            return argument
        with self:
            fake = torch.empty_strided(argument.size(), argument.stride(), dtype=argument.dtype, device=argument.device)
        fake.value = argument  # type: ignore[attr-defined]
        return fake


_HERE: Final = PretendedGPU()
"""One for all checks: transformers keeps tensors for the next network, and those of two such modes do not meet."""


def _real(argument: Any) -> Any:
    if isinstance(argument, FakeTensor):
        return argument.value  # type: ignore[attr-defined]
    return torch.device("cpu") if isinstance(argument, torch.device) else argument


def _to_numpy(tensor: Any) -> NDArray[Any]:
    if tensor.device.type != "cpu":
        raise TypeError(f"a tensor on {tensor.device} is no array; move it to the CPU first")
    with (
        _disable_current_modes()
    ):  # inside the mode the array would be of a pretended tensor, whose memory is not its own
        array: NDArray[Any] = tensor.value.numpy()
    return array


def check_on_gpu(kind: type[NetworkBackend], values: dict[str, Any], data: Dataset) -> None:
    """Have a backend prepare a batch, with every kind of augmentation, learn from it as far as its loss, and find.

    Args:
        kind: the backend.
        values: of a config of it.
        data: has two images to train on, and more.

    Raises:
        Exception: of PyTorch, at the place where tensors of two devices meet.
        AssertionError: the loss is not on the GPU.
    """
    config: Any = check_config({**values, "augmentation": _EVERY_KIND}, "test").with_classes(data.class_names)
    train, numbers = data.split("train"), np.arange(4)
    squares = square_pictures(data, "train", config.image_size, config.bits)
    network = config.first_network(train)
    backend = kind(network, config)
    loaded = backend.load_batch(squares, train, 0, numbers)
    generator = torch.Generator()
    # What runs on a GPU alone, and has the place of what runs anywhere, cannot be computed here.
    with (
        warnings.catch_warnings(action="ignore"),  # of autocast, that there is no GPU
        torch.backends.cudnn.flags(enabled=False),
        sdpa_kernel(SDPBackend.MATH),
        _HERE,
        patch.object(torch, "Generator", lambda _: generator),
        patch.object(FakeTensor, "numpy", _to_numpy, create=True),
    ):
        _move(network)
        batch, *target = backend.prepare(*(part.to(_GPU) if hasattr(part, "to") else part for part in loaded))
        loss = backend.loss(network.train()(batch), *target)
        if loss.device.type != _GPU.type:
            raise AssertionError(f"the loss is on {loss.device}, and the network on {_GPU}")
        network.eval()
        places = [train.letterbox(number, config.image_size) for number in range(2)]
        backend.detections(backend.see(squares[:2]), places)


def _move(network: nn.Module) -> None:
    """What `network.to` does, which cannot change real tensors to pretended ones."""
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            moved = nn.Parameter(parameter.detach().to(_GPU), requires_grad=parameter.requires_grad)
            module.register_parameter(name, moved)
        for name, buffer in list(module.named_buffers(recurse=False, remove_duplicate=False)):
            setattr(module, name, buffer.to(_GPU))
