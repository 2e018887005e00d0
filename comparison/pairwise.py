"""How configs stand to each other: the mean of each one's runs, and what chance and seeds leave of the differences."""

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations

import numpy as np

from hilum.comparison.results import Difference, Group
from hilum.eval.bootstrap import Resampled, mean_of, simultaneous_intervals
from hilum.eval.figures import NAN

# The 97.5% quantile of Student's t by degrees of freedom from 1, rounded up; beyond the last one it is lower still.
_T = (12.71, 4.31, 3.19, 2.78, 2.58, 2.45, 2.37, 2.31, 2.27, 2.23)


def compare_groups(
    runs: Mapping[str, Sequence[Resampled]], trained: Collection[str]
) -> tuple[tuple[Group, ...], tuple[Difference, ...]]:
    """Groups and the paired difference of each two, the higher one first.

    Args:
        runs: the score of each run of a group, resampled alike.
        trained: the groups that another seed would change; the others are baselines. Where there are several pairs of
            them, these have intervals that hold for all of them at once.
    """
    means = {name: mean_of(figures) for name, figures in runs.items()}
    scores = {name: [figure.estimate for figure in figures] for name, figures in runs.items()}
    groups = tuple(
        Group(
            name=name,
            runs=len(of_runs),
            score=means[name].interval(),
            sd_over_seeds=float(np.std(of_runs, ddof=1)) if len(of_runs) > 1 else NAN,
        )
        for name, of_runs in scores.items()
    )
    pairs = [sorted(pair, key=lambda name: -means[name].estimate) for pair in combinations(means, 2)]
    gaps = [means[a] - means[b] for a, b in pairs]
    contests = [at for at, pair in enumerate(pairs) if all(name in trained for name in pair)]
    at_once = simultaneous_intervals([gaps[at] for at in contests])
    wide = {at: {"simultaneous": interval} for at, interval in zip(contests, at_once, strict=True) if contests[1:]}
    differences = tuple(
        Difference(
            higher=a,
            lower=b,
            score=gap.interval(),
            **wide.get(at, {}),
            over_seeds=over_seeds([scores[name] for name in (a, b) if name in trained]),
        )
        for at, ((a, b), gap) in enumerate(zip(pairs, gaps, strict=True))
    )
    return groups, differences


def over_seeds(scores: Sequence[Sequence[float]]) -> float:
    """By how much seeds alone may move a difference of mean scores: half the width of Welch's 95% interval.

    Welch BL: The generalization of "Student's" problem when several different population variances are involved.
    Biometrika 1947;34:28-35. Degrees of freedom are rounded down. A config of one run is taken to vary as the other.

    Args:
        scores: of the runs of each trained side; a baseline is none.

    Returns:
        NaN where no side has two runs: nothing is known of seeds then.
    """
    several = [(float(np.var(runs, ddof=1)), len(runs) - 1) for runs in scores if len(runs) > 1]
    if not several:
        return NAN
    spread = [
        ((float(np.var(runs, ddof=1)), len(runs) - 1) if len(runs) > 1 else several[0], len(runs)) for runs in scores
    ]
    parts = [(variance / runs, free) for (variance, free), runs in spread]
    total = sum(part for part, _ in parts)
    if not total:
        return 0.0
    free = math.floor(total**2 / sum(part**2 / free for part, free in parts) + 1e-9)
    return _T[min(free, len(_T)) - 1] * math.sqrt(total)
