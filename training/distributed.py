"""Several processes that train together, as `torchrun` starts them: who is who, and sums over all of them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from hilum.errors import HilumError
from hilum.training.device import wanted_device

# The first process validates and stores while the others wait.
_PATIENCE = timedelta(hours=6)
_alone: ContextVar[bool] = ContextVar("alone", default=False)


@contextmanager
def processes() -> Iterator[None]:
    """Join the processes that `torchrun` started (NCCL with CUDA, else gloo); alone where it did not, do nothing.

    Raises:
        HilumError: a machine has fewer CUDA devices than processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or distributed.is_initialized():
        yield
        return
    backend = "gloo"
    if torch.cuda.is_available() and wanted_device() != "cpu":
        backend, local = "nccl", int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise HilumError(
                f"torchrun: more processes than the {torch.cuda.device_count()} CUDA devices of this machine; "
                "give --nproc-per-node as many as there are"
            )
        torch.cuda.set_device(local)
    distributed.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def world_size() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def is_rank_zero() -> bool:
    """Whether this process is the one that validates, writes and prints; where there is one alone, it is."""
    return rank() == 0


def wait() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        distributed.barrier()


@contextmanager
def rank_zero_first() -> Iterator[None]:
    """Let the first process through, and the others when it has done: they find the files that it wrote."""
    if not is_rank_zero():
        wait()
    yield
    if is_rank_zero():
        wait()


def broadcast(value: Any) -> Any:
    """What the first process gave, in every process."""
    if world_size() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box)
    return box[0]


def averaging_gradients(network: nn.Module) -> nn.Module:
    """The network, wrapped so that after `backward` each gradient is the mean over all processes."""
    return network if world_size() == 1 else DistributedDataParallel(network)


def shard(numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], float]:
    """The part of a batch that this process takes, and for how many of its images that counts.

    Of a batch too small for two images each (BatchNorm needs company) all take all, as in one process; see
    `whole_batch_here`.
    """
    if _is_too_small(numbers):
        return numbers, len(numbers) / world_size()
    mine = np.array_split(numbers, world_size())[rank()]
    return mine, float(len(mine))


@contextmanager
def whole_batch_here(numbers: NDArray[np.int64]) -> Iterator[None]:
    """While every process has the whole of a batch that is too small to share, `all_sum` adds nothing."""
    token = _alone.set(_is_too_small(numbers))
    try:
        yield
    finally:
        _alone.reset(token)


def all_sum(value: Tensor) -> Tensor:
    """The sum over all processes of a tensor of one shape; gradients flow back to each.

    For a loss whose value is not a mean over images, such as an IoU of the whole batch: its sums pass through this.
    The gradients of the loss are added up over the processes, and `averaging_gradients` divides by their number.
    """
    if world_size() == 1 or _alone.get():
        return value
    total: Tensor = _AllSum.apply(value)
    return total


def _is_too_small(numbers: NDArray[np.int64]) -> bool:
    return len(numbers) < 2 * world_size()


class _AllSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:  # noqa: ARG004
        return _summed(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        return _summed(gradient)


def _summed(value: Tensor) -> Tensor:
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total
