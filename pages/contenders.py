"""The configs of a benchmark as a report shows them: their runs, and the look they have in every figure and picture."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hilum.comparison.benchmark import Benchmark, Entry
from hilum.pages.plotting import BLUE, GREEN, INK, ORANGE, PURPLE, SKY, VERMILION
from hilum.pages.wording import finite

Values = Mapping[str, Any]
"""Plain values of `Benchmark.results`; any figure may be NaN, None or missing."""

# Seven colours, five kinds of dashes, six markers: no two configs of thirty look alike, as lines or as markers.
_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, SKY, INK, ORANGE)
_DASHES = ((), (4.0, 1.5), (1.2, 1.2), (6.0, 1.5, 1.2, 1.5), (2.5, 2.5))
_MARKERS = ("o", "s", "^", "D", "v", "p")


@dataclass(frozen=True)
class Contender:
    """A config.

    Attributes:
        name: of the config.
        number: its place among the configs, from 0; tells its look.
        entries: its runs, one a seed.
        values: the runs in the results.
        score: mean over the runs, with its interval.
        sd: of the score over the runs; None for one run.
    """

    name: str
    number: int
    entries: Sequence[Entry]
    values: Sequence[Values]
    score: Values
    sd: float | None

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


def contenders(found: Benchmark) -> list[Contender]:
    """The configs, in the order they were given; baselines are none of them."""
    values = {entry["name"]: entry for entry in found.results["entries"]}
    groups = {group["name"]: group for group in found.results["groups"]}
    names = dict.fromkeys(entry.group for entry in found.entries if entry.about.get("backend") is not None)
    return [
        Contender(
            name,
            number,
            [entry for entry in found.entries if entry.group == name],
            [values[entry.name] for entry in found.entries if entry.group == name],
            groups[name]["score"],
            finite(groups[name].get("sd_over_seeds")),
        )
        for number, name in enumerate(names)
    ]


def baselines(found: Benchmark) -> list[Values]:
    """What the trivial answers reach, in the order of the results."""
    return [entry for entry in found.results["entries"] if entry.get("backend") is None]


def runs(configs: Iterable[Contender]) -> Iterator[tuple[Contender, Values]]:
    """Every run in the results, with its config."""
    return ((config, run) for config in configs for run in config.values)


def ranked(configs: Sequence[Contender]) -> list[Contender]:
    """The highest score first."""

    def place(config: Contender) -> tuple[float, int]:
        score = finite(config.score["estimate"])
        return (-score if score is not None else float("inf"), config.number)

    return sorted(configs, key=place)


def difference(results: Values, higher: str, lower: str) -> Values:
    """How much higher one group's score is than another's, paired; None or NaN where it is not known.

    Its bounds hold for all pairs of configs at once where there are several, so that the best may be picked, and
    `at_once` says so; `over_seeds` is how far seeds alone may move it.
    """
    for each in results["differences"]:
        score = each.get("simultaneous") or each["score"]
        more = {"over_seeds": each.get("over_seeds"), "at_once": bool(each.get("simultaneous"))}
        if (each["higher"], each["lower"]) == (higher, lower):
            return {**score, **more}
        if (each["higher"], each["lower"]) == (lower, higher):
            known = {key: finite(value) for key, value in score.items()}
            turned = {"estimate": known["estimate"], "low": known["high"], "high": known["low"]}
            return {key: None if value is None else -value for key, value in turned.items()} | more
    return dict.fromkeys(("estimate", "low", "high", "over_seeds", "at_once"))


def is_higher(interval: Values) -> bool:
    """Whether all of an interval is above zero, and the difference beyond what seeds alone may do to it."""
    estimate, over_seeds = finite(interval["estimate"]), finite(interval.get("over_seeds"))
    return is_above_zero(interval) and estimate is not None and (over_seeds is None or abs(estimate) > over_seeds)


def is_above_zero(interval: Values) -> bool:
    """Whether all of an interval is above zero, whatever seeds do."""
    low = finite(interval["low"])
    return low is not None and low > 0


def is_below_zero(interval: Values) -> bool:
    """Whether all of an interval is below zero, whatever seeds do."""
    high = finite(interval["high"])
    return high is not None and high < 0


def better_ones(config: Contender, configs: Sequence[Contender], results: Values) -> list[Contender]:
    """Those that are better than a config for sure, by falling score; who has none may be the best."""
    return [other for other in ranked(configs) if is_higher(difference(results, other.name, config.name))]
