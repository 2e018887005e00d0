"""Store weights and training state so that a kill at any moment leaves the last whole one."""

import io
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from hilum import __version__
from hilum.errors import HilumError
from hilum.files import write_atomically
from hilum.run import WEIGHTS

CHECKPOINT = "checkpoint.pt"
_FORMAT = 1  # of a checkpoint's envelope and of the states inside: raised when an older one could not be resumed


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
    torch.save({"format": _FORMAT, "hilum": __version__, "state": state}, buffer)
    write_atomically(run / CHECKPOINT, buffer.getvalue())


def load_checkpoint(run: Path) -> dict[str, Any] | None:
    """What `save_checkpoint` wrote, or None. Only tensors and plain values are unpickled (`weights_only`).

    Raises:
        HilumError: the file is damaged, or another version of hilum wrote it.
    """
    path = run / CHECKPOINT
    if not path.is_file():
        return None
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise HilumError(f"{path}: damaged; delete it to train from the start") from error
    if not isinstance(stored, dict) or stored.get("format") != _FORMAT:
        other = stored.get("hilum") if isinstance(stored, dict) else None
        raise HilumError(
            f"{path}: written by hilum {other or 'of an unknown version'}, in a form that {__version__} does not read; "
            "go on with that version, or delete the file to train from the start"
        )
    state: dict[str, Any] = stored["state"]
    return state
