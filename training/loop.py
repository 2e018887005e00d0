"""The one training loop, for everything that is not ultralytics."""

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from hilum.errors import HilumError
from hilum.training.checkpoint import load_checkpoint, save_checkpoint, save_weights
from hilum.training.log import EpochLog

Batches = Callable[[int], Iterable[tuple[Tensor, Tensor]]]


def pick_device() -> torch.device:
    """The first CUDA device where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fit(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    loss: Callable[[Tensor, Tensor], Tensor],
    batches: Batches,
    learning_rate: Callable[[int], float],
    validate: Callable[[], Mapping[str, float]],
    epochs: int,
    seed: int,
    run: Path,
) -> None:
    """Train, keep the epoch with the highest validation score in the run's `weights.safetensors`, and log each epoch.

    Resumes from the run's checkpoint where there is one. Everything random in an epoch is seeded by (seed, epoch), so
    two epochs and a resumed run of two more end as four in one go.

    Args:
        network: on the device where it shall train.
        optimizer: of the network's parameters.
        loss: (network's output, target) -> scalar.
        batches: epoch from 0 -> its batches (input, target), on the CPU.
        learning_rate: epoch from 0 -> learning rate.
        validate: figures of the network as it is, for the log; of `val_score`, higher is better. Called with the
            network in evaluation mode.
        epochs: in all, those before the checkpoint included.
        seed: of the experiment.
        run: run folder. Its checkpoint stays: `hilum.train` removes it once the operating point is chosen, too.

    Raises:
        HilumError: the loss is not finite.
    """
    device = next(network.parameters()).device
    state = load_checkpoint(run)
    done, best = 0, float("-inf")
    if state is not None:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        done, best = state["epochs"], state["best"]
    log = EpochLog(run, epochs, done=done)
    for epoch in range(done, epochs):
        torch.manual_seed(seed * 100_003 + epoch)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(epoch)
        mean_loss = _train_epoch(network, optimizer, loss, batches(epoch), device)
        if not math.isfinite(mean_loss):
            raise HilumError(f"{run}: the loss is not finite in epoch {epoch + 1}; try a lower train.learning_rate")
        network.eval()
        with torch.inference_mode():
            figures = validate()
        score = figures["val_score"]
        if score >= best:  # of equals the later one: it has seen more
            best = score
            save_weights(network, run)
        # Logged first: a resumed run drops lines after its checkpoint, but could not add one that is missing.
        log.epoch(epoch + 1, train_loss=mean_loss, learning_rate=learning_rate(epoch), **figures)
        save_checkpoint(
            {
                "network": network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "epochs": epoch + 1,
                "best": best,
            },
            run,
        )


def _train_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Tensor, Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
    device: torch.device,
) -> float:
    network.train()
    total, count = torch.zeros((), device=device), 0
    for inputs, target in batches:
        x, y = inputs.to(device, non_blocking=True), target.to(device, non_blocking=True)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            value = loss(network(x), y)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += value.detach() * len(x)  # no .item(): it would wait for the GPU at every step
        count += len(x)
    return float(total) / max(count, 1)
