"""What images of such a probability turned out to be, where somebody has measured that for a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from hilum.documents import MAX_JSON_BYTES, read_json
from hilum.errors import HilumError
from hilum.eval.figures import Record
from hilum.eval.image_level import ReliabilityBin

_LEAST_IMAGES = 20  # of a bin: of fewer, a share says little


class _Entry(Record):
    reliability: tuple[ReliabilityBin, ...] = ()


class _Measured(Record):
    of_run: str | None = None
    entries: tuple[_Entry, ...]
    classes: dict[str, Any] = Field(default={})


@dataclass(frozen=True)
class Calibration:
    """How often images showed an opacity, by the probability that they were given: ten bins of equal width."""

    bins: tuple[ReliabilityBin, ...]

    def words(self, probability: float) -> str:
        """Of a probability, 0..1, what is known of images like it; "" where too few were measured."""
        for each in self.bins:
            if (each.low <= probability < each.high or probability == each.high == 1) and each.images >= _LEAST_IMAGES:
                shown = round(each.observed * each.images)
                return f"opacity in {shown:,} of {each.images:,} measured"
        return ""


def read_calibration(path: Path, of_run: str) -> Calibration:
    """Read what `hilum evaluate --json` wrote.

    Args:
        path: the file.
        of_run: the digest of the run whose probabilities are to be explained.

    Raises:
        HilumError: it cannot be read, or is not of this run.
    """
    remedy = "give what `hilum evaluate RUN DATA --json FILE` wrote"
    measured = read_json(path, _Measured, at_most=MAX_JSON_BYTES, remedy=remedy)
    if not measured.entries or not measured.entries[-1].reliability:
        several = "several classes have none together" if measured.classes else remedy
        raise HilumError(f"{path}: tells nothing of probabilities; {several}")
    if measured.of_run != of_run:
        whose = "of another run" if measured.of_run else "not of a run, so of which probabilities it speaks is unknown"
        raise HilumError(f"{path}: is {whose}; {remedy}")
    return Calibration(measured.entries[-1].reliability)
