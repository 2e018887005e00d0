"""The configs of a benchmark as a report shows them: their runs, and the look they have in every figure and picture."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from hilum.comparison.benchmark import Benchmark
from hilum.comparison.measured import Measured
from hilum.comparison.results import Entry, Results
from hilum.eval.bootstrap import Interval
from hilum.pages.plotting import BLUE, GREEN, INK, ORANGE, PURPLE, SKY, VERMILION

# Seven colours, five kinds of dashes, six markers: no two configs of thirty look alike, as lines or as markers.
_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, SKY, INK, ORANGE)
_DASHES = ((), (4.0, 1.5), (1.2, 1.2), (6.0, 1.5, 1.2, 1.5), (2.5, 2.5))
_MARKERS = ("o", "s", "^", "D", "v", "p")


@dataclass(frozen=True)
class Series:
    """A config.

    Attributes:
        name: of the config.
        number: its place among the configs, from 0; tells its look.
        measured: what its entries are made from.
        entries: its runs in the results, one a seed.
        score: mean over the runs, with its interval.
        sd: of the score over the runs; NaN for one run.
    """

    name: str
    number: int
    measured: Sequence[Measured]
    entries: Sequence[Entry]
    score: Interval
    sd: float

    @property
    def colour(self) -> str:
        """On white and, with a light edge, on radiographs."""
        return _COLOURS[self.number % len(_COLOURS)]

    @property
    def dashes(self) -> tuple[float, ...]:
        """Lengths of lines and gaps, in widths of the line; () where it is whole."""
        return _DASHES[self.number % len(_DASHES)]

    @property
    def marker(self) -> str:
        """As matplotlib calls it."""
        return _MARKERS[self.number % len(_MARKERS)]

    @property
    def mark(self) -> str:
        """CSS class."""
        return f"b{self.number}"

    @property
    def first(self) -> Entry:
        """The run that is shown where there is room for one only."""
        return self.entries[0]


def series_of(found: Benchmark) -> list[Series]:
    """The configs, in the order they were given; baselines are none of them."""
    groups = {group.name: group for group in found.results.groups}
    pairs = list(zip(found.measured, found.results.entries, strict=True))
    names = dict.fromkeys(entry.group for _, entry in pairs if not entry.is_baseline)
    return [
        Series(
            name,
            number,
            [measured for measured, _ in pairs if measured.group == name],
            [entry for _, entry in pairs if entry.group == name],
            groups[name].score,
            groups[name].sd_over_seeds,
        )
        for number, name in enumerate(names)
    ]


def baselines(results: Results) -> list[Entry]:
    """What the trivial answers reach, in the order of the results."""
    return [entry for entry in results.entries if entry.is_baseline]


def runs(configs: Iterable[Series]) -> Iterator[tuple[Series, Entry]]:
    """Every run, with its config."""
    return ((config, run) for config in configs for run in config.entries)


def ranked(configs: Sequence[Series]) -> list[Series]:
    """The highest score first."""

    def place(config: Series) -> tuple[float, int]:
        score = config.score.estimate
        return (-score if math.isfinite(score) else math.inf, config.number)

    return sorted(configs, key=place)


def better_ones(config: Series, configs: Sequence[Series], results: Results) -> list[Series]:
    """Those that are better than a config for sure, by falling score; who has none may be the best."""
    return [other for other in ranked(configs) if results.difference(other.name, config.name).is_sure]
