"""Hands a training's figures to the trackers that its config names, found through the entry points `hilum.loggers`.

One that fails is told in a line and left, for hours of training are worth more than what it would show.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from hilum.errors import HilumError, first_line
from hilum.plugins import declared_logger
from hilum.run import CONFIG, run_config
from hilum.talk import log

TENSORBOARD: Final = "tensorboard"
MLFLOW: Final = "mlflow"
_Given = TypeVar("_Given")


class Logger(Protocol):
    """What is declared among `hilum.loggers`: a class of these methods, each of which may raise what it likes."""

    def __init__(self, run: Path, config: Mapping[str, Any], done: int) -> None:
        """Open, for the first time or again: an interrupted training goes on, and pictures come when it has ended.

        Args:
            run: the run folder.
            config: the resolved config, its keys with dots.
            done: epochs that count; what was told of later ones is told again. 0 at the first time.
        """

    def figures(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Take the figures of an epoch, from 1; a figure within another has a name with a dot."""

    def picture(self, name: str, pixels: NDArray[np.uint8]) -> None:
        """Take a picture (H, W, 3), RGB, at the end of the training."""

    def close(self) -> None:
        """End."""


def flat(table: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a table, and of those inside it, by keys with dots."""
    values: dict[str, Any] = {}
    for key, value in table.items():
        inside = flat(value) if isinstance(value, Mapping) else None
        values |= {key: value} if inside is None else {f"{key}.{inner}": each for inner, each in inside.items()}
    return values


def check_loggers(names: Sequence[str]) -> dict[str, Callable[..., Logger]]:
    """Return what makes each logger.

    Raises:
        HilumError: no such logger, or it cannot be imported.
    """
    try:
        return {name: declared_logger(name) for name in names}
    except HilumError as error:
        raise error.within("train.loggers") from error


class Loggers:
    """The loggers of a run, of which those that failed are left."""

    def __init__(self, names: Sequence[str], run: Path, done: int) -> None:
        """Open them; see `Logger`.

        Raises:
            HilumError: as `check_loggers`.
        """
        kinds = check_loggers(names)
        config = flat(run_config(run).model_dump(mode="json")) if kinds and (run / CONFIG).is_file() else {}
        opened = {name: _tried(name, partial(kind, run, config, done)) for name, kind in kinds.items()}
        self._open = {name: logger for name, logger in opened.items() if logger is not None}

    def figures(self, epoch: int, line: Mapping[str, Any]) -> None:
        """Tell the figures of a line of the log."""
        numbers = {name: float(value) for name, value in flat(line).items() if isinstance(value, int | float)}
        numbers.pop("epoch", None)
        self._tell(lambda logger: logger.figures(epoch, numbers))

    def picture(self, name: str, pixels: NDArray[np.uint8]) -> None:
        """Show a picture (H, W, 3), RGB."""
        self._tell(lambda logger: logger.picture(name, pixels))

    def close(self) -> None:
        """Close all."""
        self._tell(lambda logger: logger.close())

    def _tell(self, told: Callable[[Logger], None]) -> None:
        done = {name: _tried(name, partial(_true, told, logger)) for name, logger in self._open.items()}
        self._open = {name: logger for name, logger in self._open.items() if done[name]}


def _true(told: Callable[[Logger], None], logger: Logger) -> bool:
    told(logger)
    return True


def _tried(name: str, do: Callable[[], _Given]) -> _Given | None:
    try:
        return do()
    except Exception as error:  # noqa: BLE001 - a logger may fail in any way
        log.warning(f"logger '{name}': {first_line(error)}; training goes on without it")
        return None
