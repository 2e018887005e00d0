"""Confidence intervals by resampling groups of images, and whether two systems differ.

Images of one patient resemble each other, so it is patients that are drawn with replacement, each with all its images
(Rutter CM: Bootstrap estimation of diagnostic accuracy with patient-clustered data. Academic Radiology 2000;7:413-419).
Intervals are the percentiles of the resampled scores (Efron B, Tibshirani RJ: An Introduction to the Bootstrap, 1993,
chapter 13).

The competition's score is a ratio: the sum of the scores of the images that count, divided by their number. Which
images count depends on the system (an image without truth counts once a box is predicted there), so both parts vary
from resample to resample and from system to system, and the ratio is computed anew in each.

A resample gives every image a weight: how often its patient was drawn. Figures that are ratios of sums over images
(sensitivity, false positives an image, Brier score) go through `bootstrap_ratios`; any other one (AUROC, FROC, AP) is a
`Statistic`, a function of the weights, and goes through `bootstrap`. Which groups are drawn depends only on the seed
and on the groups, so everything that is computed of one split may be subtracted: that is a paired difference.
"""

import zlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hilum.documents import FigureOrNaN

Statistic = Callable[[NDArray[np.float64]], Mapping[str, float]]
"""Weights of the images, (images,), 0 or more, to figures by name; weights of 1 give the figures of the data."""

# Draws that are multiplied at once: 16 MB.
_CELLS = 2**21


@dataclass(frozen=True)
class Interval:
    """A figure of the data as they are, and the bounds of its confidence interval; NaN where it is not known."""

    estimate: FigureOrNaN
    low: FigureOrNaN
    high: FigureOrNaN

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside the bounds; not so where they are NaN."""
        return self.low > 0 or self.high < 0


UNKNOWN = Interval(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True, eq=False)
class Resampled:
    """A figure of the data as they are, and of each resample. `a - b` is their paired difference.

    Attributes:
        estimate: of the data; NaN where it is undefined.
        values: (resamples,); NaN where it is undefined in a resample.
        draws: names seed, resamples and groups; figures with the same draws may be subtracted.
    """

    estimate: float
    values: NDArray[np.float64]
    draws: str

    def __sub__(self, other: Self) -> Self:
        """How much higher this figure is, resample by resample.

        Raises:
            ValueError: The two were not drawn alike: another seed, other groups or another number of resamples.
        """
        if self.draws != other.draws:
            raise ValueError(f"only figures with the same draws can be subtracted, got {self.draws} and {other.draws}")
        return type(self)(self.estimate - other.estimate, self.values - other.values, self.draws)

    def beyond(self, other: Self) -> Self:
        """How much higher this figure is than one of other images, whose resamples have nothing to do with these.

        Resamples of a figure are alike and independent, so any order of them is as good: those of the other are
        shuffled, as the same seed may have drawn both.
        """
        shuffled = np.random.default_rng(0).permutation(other.values)
        return type(self)(self.estimate - other.estimate, self.values - shuffled, f"{self.draws}; {other.draws}")

    def interval(self, level: float = 0.95) -> Interval:
        """The figure with the percentiles that leave the share `level` of the resamples between them.

        Resamples where it is undefined are left out; the bounds are NaN where all are.

        Raises:
            ValueError: `level` is not between 0 and 1.
        """
        return _percentiles(self.estimate, self.values, level)


def bootstrap(
    statistic: Statistic,
    groups: Sequence[Hashable] | NDArray[Any],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Resampled]:
    """Returns figures in each of many resamples of the groups.

    Args:
        statistic: Called once a resample with the weights of the images.
        groups: The group of each image, (images,): its patient, or the image's own id where patients are unknown.
        resamples: How many times to draw as many groups as there are, with replacement.
        seed: Of the random numbers; the same seed gives the same draws.

    Returns:
        The figures that `statistic` names.

    Raises:
        ValueError: A group is missing, or `resamples` is below 1.

    Examples:
        >>> ages = np.array([30.0, 50.0])
        >>> ages = bootstrap(lambda weight: {"age": float(weight @ ages / weight.sum())}, ["a", "b"])["age"]
        >>> ages.interval()
        Interval(estimate=40.0, low=30.0, high=50.0)
    """
    group = group_numbers(groups)
    draws = _draws_name(group, resamples, seed)
    estimates = statistic(np.ones(len(group)))
    values = {name: np.full(resamples, np.nan) for name in estimates}
    if len(group):
        for resample, times in enumerate(_draws(group, resamples, seed)):
            for name, value in statistic(times[group]).items():
                values[name][resample] = value
    return {name: Resampled(float(estimate), values[name], draws) for name, estimate in estimates.items()}


def bootstrap_ratios(
    ratios: Mapping[str, tuple[ArrayLike, ArrayLike]],
    groups: Sequence[Hashable] | NDArray[Any],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Resampled]:
    """Returns ratios of sums over images in each of many resamples of the groups: `bootstrap`, but much faster.

    Args:
        ratios: By name what each image adds to the numerator, (images,), and to the denominator, (images,). True boxes
            found and true boxes give the sensitivity, for one.
        groups: The group of each image, (images,).
        resamples: How many times to draw as many groups as there are, with replacement.
        seed: Of the random numbers.

    Returns:
        The ratios by name; NaN where a denominator is 0.

    Raises:
        ValueError: An array has the wrong shape, a value is not finite, a group is missing, or `resamples` is below 1.

    Examples:
        >>> boxes_found, boxes = [1, 0, 2], [1, 1, 2]
        >>> bootstrap_ratios({"sensitivity": (boxes_found, boxes)}, ["a", "a", "b"])["sensitivity"].estimate
        0.75
    """
    group = group_numbers(groups)
    draws = _draws_name(group, resamples, seed)
    columns = np.empty((len(group), 2 * len(ratios)))
    for number, (name, pair) in enumerate(ratios.items()):
        for part, array in zip(("numerator", "denominator"), pair, strict=True):
            column = np.asarray(array, dtype=np.float64)
            if column.shape != group.shape:
                raise ValueError(f"{part} of {name}: expected the shape {group.shape}, got {column.shape}")
            if not np.isfinite(column).all():
                raise ValueError(f"{part} of {name}: image {int(np.argmin(np.isfinite(column)))} is not finite")
            columns[:, number + (part == "denominator") * len(ratios)] = column
    estimates = _quotients(columns.sum(axis=0, keepdims=True))[0]
    values = _ratio_draws(columns, group, resamples, seed)
    return {
        name: Resampled(float(estimates[number]), values[:, number].copy(), draws) for number, name in enumerate(ratios)
    }


def mean_of(figures: Sequence[Resampled]) -> Resampled:
    """The mean of figures of the same draws, resample by resample, over those that are defined there.

    Of several runs: the same patients are drawn for all of them. Of several classes: one may have no truth in a draw.
    """
    estimates, values = np.array([figure.estimate for figure in figures]), np.array([each.values for each in figures])
    return Resampled(float(_mean_of_known(estimates[:, None])[0]), _mean_of_known(values), figures[0].draws)


def _mean_of_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over the first axis of what is no NaN; NaN where all are."""
    known = ~np.isnan(values)
    return _quotients(np.stack([np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0)], axis=1))[:, 0]


def simultaneous_intervals(figures: Sequence[Resampled], *, level: float = 0.95) -> list[Interval]:
    """Returns intervals that all hold at once in the share `level` of data sets.

    Twenty intervals at 95% miss about one truth. These are as wide as needed for no miss at all: the estimate plus and
    minus c standard errors, where c is the `level` quantile of the largest deviation, in standard errors, among all
    figures of a resample ("max-t": Westfall PH, Young SS: Resampling-Based Multiple Testing, 1993; Hothorn T, Bretz F,
    Westfall P: Simultaneous inference in general parametric models. Biometrical Journal 2008;50:346-363). Unlike
    Bonferroni's, they do not get wider by asking the same question twice.

    Args:
        figures: All that will be looked at together; of the same draws.
        level: The share of data sets.

    Returns:
        One interval a figure; NaN where it is undefined.

    Raises:
        ValueError: The draws differ, or `level` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level: expected a share between 0 and 1, got {level}")
    if len({figure.draws for figure in figures}) > 1:
        raise ValueError("simultaneous intervals need figures with the same draws")
    errors, largest = [], np.zeros(len(figures[0].values) if figures else 0)
    for figure in figures:
        valid = figure.values[np.isfinite(figure.values)]
        error = float(valid.std()) if valid.size and np.isfinite(figure.estimate) else float("nan")
        errors.append(error)
        if error > 0:
            largest = np.fmax(largest, np.abs(figure.values - figure.estimate) / error)
    width = float(np.quantile(largest, level)) if figures else 0.0
    return [
        Interval(figure.estimate, figure.estimate - width * error, figure.estimate + width * error)
        for figure, error in zip(figures, errors, strict=True)
    ]


def _percentiles(estimate: float, resampled: NDArray[np.float64], level: float) -> Interval:
    if not 0 < level < 1:
        raise ValueError(f"level: expected a share between 0 and 1, got {level}")
    valid = resampled[~np.isnan(resampled)]
    if not valid.size:
        return Interval(estimate, float("nan"), float("nan"))
    low, high = np.quantile(valid, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high))


def group_numbers(groups: Sequence[Hashable] | NDArray[Any]) -> NDArray[np.int64]:
    """Numbers the groups from 0, in sorted order, so that the order of the images makes no difference.

    Args:
        groups: The group of each image, (images,); anything that sorts.

    Returns:
        (images,), 0 to the number of groups less 1.

    Raises:
        ValueError: It is not a sequence, or a group is missing (None or NaN).
    """
    names = np.asarray(groups)
    if names.ndim != 1:
        raise ValueError(f"groups: expected the shape (images,), got {names.shape}")
    for index, name in enumerate(names.tolist()):
        # NaN is what a table has for a patient it does not know; all of these would become one huge patient.
        if name is None or name != name:  # noqa: PLR0124  # only NaN differs from itself
            raise ValueError(f"groups: image {index} has no group ({name}); give it one of its own, as its id")
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _draws(group: NDArray[np.int64], resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yields for each resample how often each group was drawn, (groups,)."""
    n_groups = int(group.max()) + 1
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups).astype(np.float64)


def _draws_name(group: NDArray[np.int64], resamples: int, seed: int) -> str:
    if resamples < 1:
        raise ValueError(f"resamples: expected 1 or more, got {resamples}")
    return f"{resamples} resamples of {len(group)} images, seed {seed}, groups {zlib.crc32(group.tobytes()):08x}"


def _ratio_draws(
    columns: NDArray[np.float64], group: NDArray[np.int64], resamples: int, seed: int
) -> NDArray[np.float64]:
    """Quotients of the resampled sums of columns (images, 2 m), numerators first; (resamples, m)."""
    sums = np.zeros((resamples, columns.shape[1]))
    if len(group):
        n_groups = int(group.max()) + 1
        totals = np.zeros((n_groups, columns.shape[1]))
        for number, column in enumerate(columns.T):
            totals[:, number] = np.bincount(group, weights=column, minlength=n_groups)
        at_once = max(1, _CELLS // n_groups)  # a matrix of all draws would take gigabytes
        draws = _draws(group, resamples, seed)
        for start in range(0, resamples, at_once):
            times = np.stack([next(draws) for _ in range(min(at_once, resamples - start))])
            sums[start : start + len(times)] = times @ totals
    return _quotients(sums)


def _quotients(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(k, 2 m), numerators first, to (k, m); NaN where a denominator is not above 0."""
    numerator, denominator = np.hsplit(sums, 2)
    quotients = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=quotients, where=denominator > 0)
    return quotients
