"""Confidence intervals by resampling groups of images, and whether two systems differ.

Images of one patient resemble each other, so it is patients that are drawn with replacement, each with all its images
(Rutter CM: Bootstrap estimation of diagnostic accuracy with patient-clustered data. Academic Radiology 2000;7:413-419).
Intervals are the percentiles of the resampled scores (Efron B, Tibshirani RJ: An Introduction to the Bootstrap, 1993,
chapter 13).

The competition's score is a ratio: the sum of the scores of the images that count, divided by their number. Which
images count depends on the system (an image without truth counts once a box is predicted there), so both parts vary
from resample to resample and from system to system, and the ratio is computed anew in each.
"""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Interval(NamedTuple):
    """A figure of the data as they are, and the bounds of its confidence interval."""

    estimate: float
    low: float
    high: float


def bootstrap_means(
    scores: NDArray[np.float64],
    groups: Sequence[Hashable] | NDArray[Any],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Returns the mean score of the images that count, in each of many resamples of the groups.

    Which groups are drawn depends only on the seed and the groups: the n-th value for one system and the n-th value
    for another come from the same images.

    Args:
        scores: The score of each image, (images,), NaN where it does not count
            (`hilum.eval.competition.image_scores`).
        groups: The group of each image, (images,): its patient, or the image's own id where patients are unknown.
        resamples: How many times to draw as many groups as there are, with replacement.
        seed: Of the random numbers; the same seed gives the same values.

    Returns:
        (resamples,); NaN for a resample in which no image counts.

    Raises:
        ValueError: An array has the wrong shape, a score is infinite, a group is missing, or `resamples` is below 1.
    """
    scores = np.asarray(scores, dtype=np.float64)
    group = _group_numbers(groups)
    if scores.ndim != 1 or len(scores) != len(group):
        raise ValueError(f"scores: expected the shape ({len(group)},), one an image as in groups, got {scores.shape}")
    if np.isinf(scores).any():
        raise ValueError(f"scores of image {int(np.argmax(np.isinf(scores)))}: expected a finite number or NaN")
    if resamples < 1:
        raise ValueError(f"resamples: expected 1 or more, got {resamples}")
    if not len(group):
        return np.full(resamples, np.nan)

    counts = ~np.isnan(scores)
    n_groups = int(group.max()) + 1
    total = np.column_stack(
        [
            np.bincount(group, weights=np.where(counts, scores, 0.0), minlength=n_groups),
            np.bincount(group, weights=counts, minlength=n_groups),
        ]
    )  # (groups, 2): the sum of its scores and how many of its images count
    rng = np.random.default_rng(seed)
    drawn = np.empty((resamples, 2))
    for resample in range(resamples):  # one at a time: a matrix of all draws would take gigabytes
        times = np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups)
        drawn[resample] = times.astype(np.float64) @ total
    means = np.full(resamples, np.nan)
    np.divide(drawn[:, 0], drawn[:, 1], out=means, where=drawn[:, 1] > 0)
    return means


def interval(
    scores: NDArray[np.float64],
    groups: Sequence[Hashable] | NDArray[Any],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Returns one system's score with its confidence interval.

    Args:
        scores: The score of each image, (images,), NaN where it does not count.
        groups: The group of each image, (images,): its patient, or the image's own id where patients are unknown.
        level: The share of resamples between the bounds.
        resamples: How many resamples to draw.
        seed: Of the random numbers.

    Returns:
        The mean over the images that count, and the interval's bounds. Resamples in which no image counts are left
        out; all three are NaN when no image counts at all.

    Raises:
        ValueError: As in `bootstrap_means`, or `level` is not between 0 and 1.

    Examples:
        >>> interval(np.array([0.5, 0.5, np.nan]), ["a", "b", "c"])
        Interval(estimate=0.5, low=0.5, high=0.5)
    """
    means = bootstrap_means(scores, groups, resamples=resamples, seed=seed)
    return _percentiles(_mean(scores), means, level)


def paired_difference(
    scores_a: NDArray[np.float64],
    scores_b: NDArray[np.float64],
    groups: Sequence[Hashable] | NDArray[Any],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Returns how much higher system A scores than system B on the same images, with a confidence interval.

    Each resample draws the same groups for both, and each system's score is taken over its own images that count. An
    interval without 0 says that the systems differ, at this level; two overlapping intervals of `interval` do not say
    that they are equal.

    Arguments are those of `interval`, with the two systems' scores of the same images in the same order.

    Returns:
        A's score minus B's, and the interval's bounds; all NaN when no image counts for one of them.

    Raises:
        ValueError: As in `interval`.
    """
    means_a = bootstrap_means(scores_a, groups, resamples=resamples, seed=seed)
    means_b = bootstrap_means(scores_b, groups, resamples=resamples, seed=seed)  # the same draws: the same seed
    return _percentiles(_mean(scores_a) - _mean(scores_b), means_a - means_b, level)


def _mean(scores: NDArray[np.float64]) -> float:
    counted = np.asarray(scores, dtype=np.float64)
    counted = counted[~np.isnan(counted)]
    return float(counted.mean()) if counted.size else float("nan")


def _percentiles(estimate: float, resampled: NDArray[np.float64], level: float) -> Interval:
    if not 0 < level < 1:
        raise ValueError(f"level: expected a share between 0 and 1, got {level}")
    valid = resampled[~np.isnan(resampled)]
    if not valid.size:
        return Interval(estimate, float("nan"), float("nan"))
    low, high = np.quantile(valid, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high))


def _group_numbers(groups: Sequence[Hashable] | NDArray[Any]) -> NDArray[np.int64]:
    """Numbers the groups from 0, in sorted order, so that the order of the images makes no difference."""
    names = np.asarray(groups)
    if names.ndim != 1:
        raise ValueError(f"groups: expected the shape (images,), got {names.shape}")
    for index, name in enumerate(names.tolist()):
        # NaN is what a table has for a patient it does not know; all of these would become one huge patient.
        if name is None or name != name:  # noqa: PLR0124  # only NaN differs from itself
            raise ValueError(f"groups: image {index} has no group ({name}); give it one of its own, as its id")
    return np.unique(names, return_inverse=True)[1].astype(np.int64)
