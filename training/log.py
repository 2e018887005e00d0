"""A run's log: one JSON line an epoch in `log.jsonl`, and one line on the terminal."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, with_config
from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on

from hilum.documents import RECORD, Count, Figure, read_json_lines
from hilum.files import naming, open_to_append, write_atomically
from hilum.talk import log
from hilum.training.loggers import Loggers

LOG = "log.jsonl"
_MAX_LOG_BYTES = 1 << 26


@with_config(RECORD)
class Epoch(TypedDict):
    """A line of the log; further figures are kept as they are.

    Attributes:
        epoch: Its number, from 1 on.
        train_loss: Mean over the epoch's images.
        val_score: What epochs are chosen by (`train.select`), on val; null where it was not measured.
        seconds: Since the epoch before, or since training began.
    """

    epoch: Count
    train_loss: Figure
    val_score: Figure | None
    seconds: Annotated[Figure, Field(ge=0)]


_EPOCH = TypeAdapter(Epoch)


class EpochLog:
    """Appends epochs to a run's log; on resume it drops those after the checkpoint, so none is told twice."""

    def __init__(self, run: Path, epochs: int, *, done: int = 0, loggers: Sequence[str] = ()) -> None:
        """Open the log of a run with so many epochs, of which the checkpoint holds `done`; later lines are dropped.

        Raises:
            HilumError: one of the loggers, which are told too, is not installed.
        """
        self._path = run / LOG
        self._epochs = epochs
        kept = read_log(run)[:done]
        write_atomically(self._path, "".join(json.dumps(line) + "\n" for line in kept))
        self._best = max((line["val_score"] for line in kept if line["val_score"] is not None), default=float("-inf"))
        self._since = time.monotonic()
        self._loggers = Loggers(loggers, run, len(kept))

    def epoch(self, number: int, *, train_loss: float, val_score: float | None, **more: Any) -> None:
        """Write an epoch, numbered from 1; `val_score` is None where it was not measured, `more` are other figures."""
        seconds = time.monotonic() - self._since
        self._since = time.monotonic()
        line = {"epoch": number, "train_loss": train_loss, "val_score": val_score, "seconds": round(seconds, 3), **more}
        with naming(self._path), open_to_append(self._path) as file:
            file.write(json.dumps(line).encode() + b"\n")
        self._loggers.figures(number, line)
        score = "" if val_score is None else f"  val score {val_score:.4f}"
        if val_score is not None and val_score > self._best:
            self._best = val_score
            score += "  best so far"
        log.info(f"epoch {number:>3}/{self._epochs}  loss {train_loss:.4f}{score}  {seconds:.1f} s")

    def stopped(self, number: int, patience: int) -> None:
        """Say that training ends before its last epoch."""
        log.info(f"stopped after epoch {number}: no better score on val for {patience} epochs")

    def close(self) -> None:
        """Close what is open beside the log."""
        self._loggers.close()


def read_log(run: Path) -> list[dict[str, Any]]:
    """The epochs of a run, oldest first; a half-written last line (a killed run) is left out.

    Raises:
        HilumError: a whole line is no epoch; it is named.
    """
    path = run / LOG
    if not path.is_file():
        return []
    remedy = "take the line out; its epoch is trained, and only not drawn"
    return [{**line} for line in read_json_lines(path, _EPOCH, at_most=_MAX_LOG_BYTES, remedy=remedy)]
