"""Which device computes, as `--device` or `train.device` says, and whether the same is computed each time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from hilum.errors import HilumError, first_line
from hilum.system import DEVICE

_wanted: ContextVar[str] = ContextVar("device", default="auto")


@contextmanager
def on_device(wanted: str) -> Iterator[None]:
    """While it is open, `pick_device` gives this one: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    token = _wanted.set(wanted)
    try:
        yield
    finally:
        _wanted.reset(token)


def wanted_device() -> str:
    """What `--device` or else the config says; `auto` where neither does."""
    return os.environ.get(DEVICE) or _wanted.get()


def pick_device() -> torch.device:
    """The device to compute on: what is wanted, else the current CUDA device where there is one, else the CPU.

    Raises:
        HilumError: this machine has none such.
    """
    wanted = wanted_device()
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = ["cpu", *(["mps"] if torch.backends.mps.is_available() else [])]
    if torch.cuda.is_available():
        there += ["cuda", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if wanted not in there:
        found = ", ".join(there)
        raise HilumError(f"device: torch {torch.__version__} finds no '{wanted}' on this machine; it finds {found}")
    device = torch.device(wanted)
    if device.index is not None:
        torch.cuda.set_device(device)
    return device


def device_name(device: torch.device) -> str:
    """A device in words: `cpu, threads: 2`, `cuda:0, NVIDIA H100`."""
    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}"
    return f"{device}, threads: {torch.get_num_threads()}" if device.type == "cpu" else str(device)


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """While it is open, and wanted, torch takes no algorithm whose result depends on the order of its threads.

    What others set meanwhile, as ultralytics does, ends with it.

    Raises:
        HilumError: an operation has no other one.
    """
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when a GPU multiplies for the first time
        torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        if not wanted or "deterministic" not in str(error):
            raise
        said = f"train.deterministic: {first_line(error)}; set it to false, or train on the CPU"
        raise HilumError(said) from error
    finally:
        torch.use_deterministic_algorithms(before)
