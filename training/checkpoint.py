"""Store weights and training state so that a kill at any moment leaves the last whole one."""

import io
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from hilum.converters.files import write_atomically
from hilum.errors import HilumError

WEIGHTS = "weights.safetensors"
CHECKPOINT = "checkpoint.pt"


def save_weights(network: torch.nn.Module, run: Path) -> None:
    """Write a network's parameters and buffers to the run's `weights.safetensors`, which cannot run code."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_atomically(run / WEIGHTS, save(state))


def load_weights(network: torch.nn.Module, run: Path) -> None:
    """Read the run's `weights.safetensors` into a network of the same shape.

    Raises:
        HilumError: the file is missing, damaged, or of another network.
    """
    path = run / WEIGHTS
    try:
        network.load_state_dict(load(path.read_bytes()))
    except OSError as error:
        raise HilumError(f"{path}: cannot be read ({error.strerror}); train again") from error
    except Exception as error:
        first = str(error).strip().splitlines()[0]
        raise HilumError(f"{path}: not the weights of the network in config.yaml ({first}); train again") from error


def save_checkpoint(state: dict[str, Any], run: Path) -> None:
    """Write what resuming needs."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(run / CHECKPOINT, buffer.getvalue())


def load_checkpoint(run: Path) -> dict[str, Any] | None:
    """What `save_checkpoint` wrote, or None. Only tensors and plain values are unpickled (`weights_only`)."""
    path = run / CHECKPOINT
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise HilumError(f"{path}: damaged; delete it to train from the start") from error
    return state
