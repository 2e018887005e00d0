"""Store weights and training state so that a kill at any moment leaves the last whole one."""

import io
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter, with_config
from safetensors.torch import load, save
from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on

from hilum import __version__
from hilum.documents import RECORD, Count, check, shown
from hilum.errors import HilumError
from hilum.files import open_regular, read_regular, write_atomically
from hilum.run import WEIGHTS, check_run, exported_format
from hilum.training.state import check_like, check_optimizer_state
from hilum.weights_file import MAX_HEADER_BYTES, TensorHeader, read_header

CHECKPOINT = "checkpoint.pt"
_AGAIN = "delete it to train from the start"
_FORMAT = 1  # of a checkpoint's envelope and of the states inside: raised when an older one could not be resumed


def save_weights(network: torch.nn.Module, run: Path) -> None:
    """Write a network's parameters and buffers to the run's `weights.safetensors`, which cannot run code."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_atomically(run / WEIGHTS, save(state))


def load_weights(
    network: torch.nn.Module, run: Path, *, of: str = "the network in config.yaml", remedy: str = "train again"
) -> None:
    """Read the run's `weights.safetensors` into a network of the same shape.

    Args:
        network: that takes them.
        run: the run folder.
        of: whose weights are expected, for errors.
        remedy: what to do, for errors.

    Raises:
        HilumError: the file is missing, damaged, or of another network.
    """
    path = run / WEIGHTS
    wanted = network.state_dict()
    header = read_header(path)
    if reason := next(_differences(header, wanted), None):
        raise HilumError(f"{path}: not the weights of {of} ({reason}); {remedy}")
    try:
        size = sum(tensor.nbytes for tensor in wanted.values())
        network.load_state_dict(load(read_regular(path, size + MAX_HEADER_BYTES)))
    except OSError as error:
        raise HilumError(f"{path}: cannot be read: {error.strerror}; {remedy}") from error
    except Exception as error:  # the file's library has exceptions of its own
        first = shown((str(error).strip().splitlines() or [""])[0], 120, quote=False)
        raise HilumError(f"{path}: not the weights of {of} ({first}); {remedy}") from error


def start_from_run(network: torch.nn.Module, run: Path) -> None:
    """Put the weights of a finished run into a network of the same shape, with which training starts.

    Raises:
        HilumError: the run is not finished, or damaged, or its network is another one.
    """
    check_run(run)
    if exported_format(run):
        raise HilumError(f"{run}: an exported run, which learns no more; start from the run that was exported")
    load_weights(network, run, of="the network that shall start with them", remedy="start from a run of the same model")


def take_what_fits(network: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put those tensors into a network, in place, that have the shape of its own of that name."""
    own = network.state_dict()
    fitting = {name: tensor for name, tensor in tensors.items() if name in own and tensor.shape == own[name].shape}
    network.load_state_dict(fitting, strict=False)


def _differences(header: Mapping[str, TensorHeader], wanted: Mapping[str, torch.Tensor]) -> Iterator[str]:
    for name, tensor in wanted.items():
        if name not in header:
            yield f"{name} is missing"
        elif header[name]["shape"] != list(tensor.shape):
            yield f"{name}: expected the shape {list(tensor.shape)}, found {shown(header[name]['shape'], quote=False)}"
    yield from (f"{shown(name, quote=False)} is not of it" for name in header.keys() - wanted.keys())


def save_checkpoint(state: dict[str, Any], run: Path) -> None:
    """Write what resuming needs."""
    buffer = io.BytesIO()
    torch.save({"format": _FORMAT, "hilum": __version__, "state": state}, buffer)
    write_atomically(run / CHECKPOINT, buffer.getvalue())


@with_config(RECORD)
class Progress(TypedDict):
    """How far a training has come: epochs done, the best score, and its epoch, from 1; 0 where none counts yet."""

    epochs: Annotated[int, Field(ge=1, le=1 << 53)]
    best: float | None
    best_epoch: Count


_PROGRESS = TypeAdapter(Progress)


def load_checkpoint(run: Path) -> dict[str, Any] | None:
    """What `save_checkpoint` wrote, or None. Only tensors and plain values are unpickled (`weights_only`).

    Who takes it up checks it with `take_up`.

    Raises:
        HilumError: the file is damaged, or another version of hilum wrote it.
    """
    path = run / CHECKPOINT
    if not path.is_file():
        return None
    try:
        check_archive(path)
        with nothing_allowed():
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise HilumError(f"{path}: damaged; {_AGAIN}") from error
    if not isinstance(stored, dict) or stored.get("format") != _FORMAT:
        other = stored.get("hilum") if isinstance(stored, dict) else None
        version = shown(other, quote=False) if isinstance(other, str) else "of an unknown version"
        raise HilumError(
            f"{path}: written by hilum {version}, in a form that {__version__} does not read; "
            "go on with that version, or delete the file to train from the start"
        )
    state = stored.get("state")
    if not isinstance(state, dict):
        raise HilumError(f"{path}: state: expected a table; damaged; {_AGAIN}")
    return state


@contextmanager
def nothing_allowed() -> Iterator[None]:
    """Have torch's restricted unpickler call nothing: neither what another library has allowed it for all files."""
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(allowed)


def check_archive(path: Path) -> None:
    """Make sure that a file of PyTorch's is whole, and holds no more than its own size: PyTorch packs nothing.

    Raises:
        ValueError: it is not.
        zipfile.BadZipFile: it is no archive.
        OSError: it cannot be read.
    """
    with open_regular(path) as file, zipfile.ZipFile(file) as archive:
        parts = archive.infolist()
        size = os.fstat(file.fileno()).st_size
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts) or sum(p.file_size for p in parts) > size:
            raise ValueError("holds more than its own size")
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"{damaged} is damaged")


def take_up(
    run: Path,
    state: dict[str, Any],
    like: dict[str, Any],
    optimizer: torch.optim.Optimizer,
    take: Callable[[dict[str, Any]], None],
) -> Progress:
    """Check a checkpoint's state, whole, and then have `take`, and the optimizer, take it.

    `like` is what would be stored now, by name, beside the optimizer's state and the progress.

    Raises:
        HilumError: something is missing, or of another network or training; it is named.
    """
    path = run / CHECKPOINT
    try:
        for key, value in like.items():
            check_like(state.get(key), value, key)
        check_optimizer_state(state.get("optimizer"), optimizer, "optimizer")
        progress = check({key: state[key] for key in Progress.__annotations__ if key in state}, _PROGRESS, "progress")
        take(state)
        optimizer.load_state_dict(state["optimizer"])
    except (HilumError, RuntimeError, TypeError, ValueError, KeyError) as error:
        reason = f" ({str(error).splitlines()[0]})" if isinstance(error, HilumError) else ""
        raise HilumError(
            f"{path}: of another network or training than config.yaml says, or damaged{reason}; {_AGAIN}"
        ) from error
    return progress
