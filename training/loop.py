"""The one training loop, for everything that is not ultralytics."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hilum.errors import HilumError
from hilum.system import keep_freed_memory
from hilum.training.average import MovingAverage
from hilum.training.checkpoint import load_checkpoint, save_checkpoint, save_weights, take_up
from hilum.training.distributed import (
    all_sum,
    averaging_gradients,
    broadcast,
    is_rank_zero,
    rank,
    shard,
    whole_batch_here,
    world_size,
)
from hilum.training.log import EpochLog
from hilum.training.meter import Meter
from hilum.training.precision import computes_in_bfloat16
from hilum.training.prefetch import loaded_ahead, pinned, workers_for
from hilum.training.schedule import SCHEDULES
from hilum.training.settings import TrainSettings

Numbers = NDArray[np.int64]


def shuffled_batches(images: int, batch_size: int, seed: int, epoch: int) -> Iterator[Numbers]:
    """The numbers of all images, each once, in batches; the last one may be smaller."""
    order = np.random.default_rng([seed, epoch]).permutation(images)
    for start in range(0, images, batch_size):
        yield order[start : start + batch_size]


def merge_trailing_image(batches: Iterable[Numbers]) -> Iterator[Numbers]:
    """The batches; a last one of a single image joins the one before.

    With two images, BatchNorm need not normalise the single value that global pooling makes of a single one.
    """
    waiting: Numbers | None = None
    for batch in batches:
        if waiting is not None and len(batch) == 1:
            waiting = np.append(waiting, batch)
            continue
        if waiting is not None:
            yield waiting
        waiting = batch
    if waiting is not None:
        yield waiting


def fit(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: TrainSettings,
    run: Path,
    *,
    seed: int,
    batches: Callable[[int], Iterable[Numbers]],
    load: Callable[[int, Numbers], tuple[Any, ...]],
    prepare: Callable[..., tuple[Any, ...]] = lambda *loaded: loaded,
    loss: Callable[..., Tensor],
    validate: Callable[[nn.Module], Mapping[str, float]],
    frozen: Sequence[nn.Module] = (),
    compiled: Callable[[Callable[[Any], Any]], Callable[[Any], Any]] = torch.compile,
) -> None:
    """Train, keep the epoch with the highest validation score in the run's `weights.safetensors`, and log each epoch.

    Resumes from the run's checkpoint where there is one. Everything random in an epoch is seeded by (seed, epoch), so
    two epochs and a resumed run of two more end as four in one go, wherever the first was killed.

    Several processes (see `distributed`) share each batch, and learn from it what one alone would, to rounding; but
    each has its own dropout, and BatchNorm sees its own share only. The first one validates and writes.

    Args:
        network: on the device where it shall train.
        optimizer: of the network's parameters.
        settings: all of them, but for the batch size, the weight decay and frozen BatchNorm, which the others hold.
        run: run folder. Its checkpoint stays: `hilum.train_run` removes it once the operating point is chosen, too.
        seed: of the experiment.
        batches: epoch from 0 -> the image numbers of its batches; the same in every process.
        load: (epoch, image numbers) -> what `prepare` takes, on the CPU; what it gives for an image must not depend
            on the others, for each process asks for its own. Called in threads, ahead of the network.
        prepare: what was loaded, its tensors on the device by now -> the network's input, and what `loss` takes.
        loss: (network's output, what else `prepare` gave) -> scalar: a mean over the images, or of sums that `all_sum`
            takes.
        validate: figures of a network in evaluation mode, for the log; of `val_score`, higher is better.
        frozen: parts of the network that stay in evaluation mode.
        compiled: what is called in training -> the same, compiled, where the settings ask for it.

    Raises:
        HilumError: the loss is not finite, or the checkpoint cannot be resumed.
    """
    device = next(network.parameters()).device
    epochs, patience = settings.epochs, settings.patience
    average = MovingAverage(network, settings.ema) if settings.ema and is_rank_zero() else None
    judged = network if average is None else average.network
    done, best, best_epoch = _resume(run, network, optimizer, average)
    bfloat16 = computes_in_bfloat16(settings.precision, network)
    model: Callable[[Any], Any] = averaging_gradients(network)
    if settings.compile:
        model = compiled(model)
    if device.type == "cpu":
        keep_freed_memory()
    else:
        # The quickest algorithm for a size is looked for once, if any will do.
        torch.backends.cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()
    log = EpochLog(run, epochs, done=done, loggers=settings.loggers) if is_rank_zero() else None
    if is_rank_zero() and best_epoch == done > 0:
        save_weights(judged, run)  # the kill may have come between this epoch's checkpoint and its weights

    def learn(numbers: Numbers, count: float, loaded: Iterable[Any]) -> Tensor:
        batch = prepare(*loaded)
        with whole_batch_here(numbers):
            # The gradients are averaged over processes; so weighted they become those of the whole batch's loss.
            weight = count * world_size() / len(numbers)
            value = step(model, optimizer, loss, *batch, bfloat16=bfloat16, weight=weight)
        if average is not None:
            average.update(network)
        return value

    for epoch in range(done, epochs):
        if patience and epoch - best_epoch >= patience:
            if log:
                log.stopped(epoch, patience)
            break
        torch.manual_seed((rank() << 40) + seed * 100_003 + epoch)
        learning_rate = SCHEDULES[settings.schedule](epoch, epochs, settings.learning_rate)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        network.train()
        for module in frozen:
            module.eval()
        what = f"epoch {epoch + 1}/{epochs}"
        train_loss = _learn_epoch(learn, list(batches(epoch)), partial(load, epoch), device, what)
        if not math.isfinite(train_loss):
            raise HilumError(f"{run}: the loss is not finite in epoch {epoch + 1}; try a lower train.learning_rate")
        figures = broadcast(_figures(validate, judged) if is_rank_zero() else None)
        if figures["val_score"] >= best:  # of equals the later one: it has seen more
            best, best_epoch = figures["val_score"], epoch + 1
        if log is None:
            continue
        # Logged first: a resumed run drops lines after its checkpoint, but could not add one that is missing.
        log.epoch(epoch + 1, train_loss=train_loss, learning_rate=learning_rate, **figures)
        save_checkpoint(_state(network, optimizer, average, epochs=epoch + 1, best=best, best_epoch=best_epoch), run)
        if best_epoch == epoch + 1:
            save_weights(judged, run)
    if log:
        log.close()


def _learn_epoch(
    learn: Callable[[Numbers, float, Iterable[Any]], Tensor],
    batches: Sequence[Numbers],
    load: Callable[[Numbers], tuple[Any, ...]],
    device: torch.device,
    what: str,
) -> float:
    """Learn from this process's share of each batch, telling of it; the mean loss over the images of all processes."""
    total, images = torch.zeros((), device=device), 0
    shares = ((numbers, *shard(numbers)) for numbers in batches)

    def ready(share: tuple[Numbers, Numbers, float]) -> tuple[Any, ...]:
        return tuple(pinned(part, device) for part in load(share[1]))

    mine = 0.0
    with Meter(what, sum(map(len, batches))) if is_rank_zero() else nullcontext() as meter:
        for (numbers, _, count), loaded in loaded_ahead(shares, ready, workers_for(device)):
            value = learn(numbers, count, [_to(part, device) for part in loaded])
            total += value * count  # no .item(): it would wait for the GPU at every step
            images, mine = images + len(numbers), mine + count
            if meter is not None:
                meter.seen(images, partial(_mean, total, mine))
    return float(all_sum(total)) / max(images, 1)


def _mean(total: Tensor, count: float) -> float:
    return float(total) / max(count, 1)


def step(
    model: Callable[[Any], Any],
    optimizer: torch.optim.Optimizer,
    loss: Callable[..., Tensor],
    x: Any,
    *target: Any,
    bfloat16: bool,
    weight: float = 1,
) -> Tensor:
    """Learn from one batch of inputs `x`, weighted; the loss before the step, not weighted, without gradient."""
    optimizer.zero_grad(set_to_none=True)
    device = optimizer.param_groups[0]["params"][0].device
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        value = loss(model(x), *target)
    (value * weight).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return value.detach()


def _state(
    network: nn.Module, optimizer: torch.optim.Optimizer, average: MovingAverage | None, **progress: float
) -> dict[str, Any]:
    """What a checkpoint holds."""
    return {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": None if average is None else average.state_dict(),
        **progress,
    }


def _resume(
    run: Path, network: nn.Module, optimizer: torch.optim.Optimizer, average: MovingAverage | None
) -> tuple[int, float, int]:
    """Take the state of the run's checkpoint, if any; epochs done, best score, its epoch (from 1)."""
    state = load_checkpoint(run)
    if state is None:
        return 0, float("-inf"), 0
    like: dict[str, Any] = {"network": network.state_dict()}
    if average is not None:
        like["average"] = average.state_dict()

    def take(state: dict[str, Any]) -> None:
        network.load_state_dict(state["network"])
        if average is not None:
            average.load_state_dict(state["average"])

    progress = take_up(run, state, like, optimizer, take)
    best = progress["best"]
    return progress["epochs"], float("-inf") if best is None else best, progress["best_epoch"]


def _to(part: Any, device: torch.device) -> Any:
    """A tensor, or what knows how to move its own, on a device; anything else as it is."""
    return part.to(device, non_blocking=True) if hasattr(part, "to") else part


def _figures(validate: Callable[[nn.Module], Mapping[str, float]], network: nn.Module) -> dict[str, float]:
    network.eval()
    with torch.inference_mode():
        return dict(validate(network))
