"""How far an epoch is: a bar on a terminal, else a line each half minute."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from hilum.talk import is_quiet, log
from hilum.training.device import device_name

HALF_A_MINUTE: Final = 30.0
_BLINK: Final = 0.5  # seconds between two looks at a loss, for which a GPU is waited for


class Meter:
    """Tells how far an epoch is, while it is open.

    Args:
        what: of which epoch, `epoch 3/20`.
        images: of the epoch.
    """

    def __init__(self, what: str, images: int) -> None:
        console = Console(stderr=True)
        self._what, self._images, self._terminal = what, images, console.is_terminal
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal or is_quiet())
        self._task = self._bar.add_task(what, total=images, told="")
        self._since = self._told = time.monotonic()

    def seen(self, images: int, loss: Callable[[], float]) -> None:
        """Take how many images of the epoch are learned from, and how their mean loss is had, which may take time."""
        now = time.monotonic()
        if now - self._told < (_BLINK if self._terminal else HALF_A_MINUTE):
            return
        self._told = now
        rate = images / (now - self._since)
        told = f"loss {loss():.4f}  {rate:.1f} images/s"
        self._bar.update(self._task, completed=images, told=told)
        if not self._terminal:
            left = (self._images - images) / rate
            log.info(f"{self._what}  {images:,}/{self._images:,} images  {told}  {in_words(left)} left")

    def __enter__(self) -> Self:
        """Show it."""
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Take it away."""
        self._bar.stop()


def tell_start(
    run: str, network: nn.Module, device: torch.device, images: tuple[int, int], steps: tuple[int, int]
) -> None:
    """Say what begins: images to learn from and to choose on; epochs, and steps of each."""
    # As the weights of the run are counted: BatchNorm's running values are among them.
    parameters = sum(value.numel() for value in network.state_dict().values() if value.is_floating_point())
    log.info(
        f"{run}: on {device_name(device)}; {parameters:,} parameters; {images[0]:,} images to learn from, "
        f"{images[1]:,} to choose on; epochs: {steps[0]:,}, of {steps[1]:,} steps"
    )


def in_words(seconds: float) -> str:
    """A time as one reads it: `45 s`, `3 min`, `2 h 05 min`."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"
