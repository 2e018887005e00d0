"""A checkpoint of ultralytics read as data: each class that it names stands for nothing, and none of it is called.

ultralytics' own restricted reading (`torch_safe_load(safe_only=True)`) calls any of its layers with what a file gives:
`TorchVision`, which downloads, among them, and others that take any memory. Here torch's restricted unpickler, which
knows tensors and plain values, meets one empty class in the place of all others. Its attributes are what is needed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from hilum.errors import HilumError
from hilum.training.checkpoint import check_archive, nothing_allowed

_DEEPEST = 32  # of modules in modules; ultralytics' own lie six deep


class _Inert:
    """Takes the place of every class and function."""

    def __new__(cls, *_: Any) -> Self:
        return object.__new__(cls)

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update({str(name): value for name, value in state.items()})

    def table(self, name: str) -> dict[str, Any]:
        value = self.__dict__.get(name)
        return {str(key): inner for key, inner in value.items()} if isinstance(value, dict) else {}


def read_inert(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The model YAML of a checkpoint, and its tensors by name; both come from anybody.

    Raises:
        Exception: the file holds something else, or is of a form of before 2020, or torch is of before 2.6.
    """
    check_archive(path)
    with nothing_allowed():
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        torch.serialization.add_safe_globals([(_Inert, name) for name in names])
        stored = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(stored, dict):
        raise HilumError("holds no table")
    model = stored.get("ema") or stored.get("model")
    if not isinstance(model, _Inert) or not (architecture := model.table("yaml")):
        raise HilumError("holds no network with its architecture")
    return architecture, dict(_tensors(model, ""))


def _tensors(module: _Inert, prefix: str) -> Iterator[tuple[str, Tensor]]:
    if prefix.count(".") > _DEEPEST:
        raise HilumError("holds layers in layers without end")
    for name, tensor in {**module.table("_parameters"), **module.table("_buffers")}.items():
        if isinstance(tensor, Tensor):
            yield prefix + name, tensor.detach()
    for name, inner in module.table("_modules").items():
        if isinstance(inner, _Inert):
            yield from _tensors(inner, f"{prefix}{name}.")
