"""Weights that were trained elsewhere, read from a file and never unpickled."""

import zipfile
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file
from torch import Tensor

from hilum.errors import HilumError, first_line
from hilum.training.checkpoint import check_archive, nothing_allowed

_KEYS: Final = ("state_dict", "model_state_dict", "model")  # where training scripts put them, beside other things


def read_tensors(path: Path, key: str, choices: str) -> dict[str, Tensor]:
    """Read named tensors from a `.safetensors` file, or from a PyTorch file of tensors and plain values alone.

    Of a folder all of its `.safetensors` files are read, into which large networks are parted. The `module.` in front
    of names that were stored by a network on several GPUs is left out.

    Args:
        path: of the file or folder.
        key: of the config that names it, for errors.
        choices: what that key takes beside a path, `none, hub`.

    Raises:
        HilumError: no such file, or it holds something else.
    """
    if path.is_dir() and (parts := sorted(path.glob("*.safetensors"))):
        return {name: tensor for part in parts for name, tensor in read_tensors(part, key, choices).items()}
    if path.is_dir():
        raise HilumError(f"{key}: {path}: neither a run folder nor one of .safetensors files; expected {choices}")
    if not path.is_file():
        raise HilumError(f"{key}: {path}: no such file; expected {choices}, or the path of a file of weights")
    try:
        if zipfile.is_zipfile(path):
            check_archive(path)
        with nothing_allowed():
            stored: Any = (
                load_file(path)
                if path.suffix == ".safetensors"
                else torch.load(path, map_location="cpu", weights_only=True)
            )
    except Exception as error:  # a damaged file may raise anything
        raise HilumError(f"{key}: {path}: cannot be read as tensors ({first_line(error)})") from error
    for inside in 2 * _KEYS:  # one can lie in another, in any order
        if isinstance(stored, dict) and isinstance(stored.get(inside), dict):
            stored = stored[inside]
    named = stored.items() if isinstance(stored, dict) else ()
    tensors = {str(name).removeprefix("module."): value for name, value in named if isinstance(value, Tensor)}
    if not tensors:
        raise HilumError(f"{key}: {path}: holds no tensors with names")
    return tensors
