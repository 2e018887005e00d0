"""What chance and seeds leave of differences."""

import numpy as np
import pytest

from hilum.comparison.pairwise import compare_groups, over_seeds
from hilum.eval.bootstrap import Resampled


def resampled(estimate, seed, noise=0.01):
    values = estimate + np.random.default_rng(seed).normal(0, noise, 400)
    return Resampled(estimate, values, "the same")


@pytest.mark.parametrize(
    ("a", "b"),
    [([0.20, 0.22], [0.1, 0.14]), ([0.3, 0.31, 0.35], [0.1, 0.2, 0.14]), ([0.3, 0.31, 0.35, 0.3], [0.1, 0.19])],
)
def test_seeds_move_a_difference_by_no_less_than_welch_says_and_hardly_more(a, b):
    stats = pytest.importorskip("scipy.stats")
    low, high = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    half = (high - low) / 2
    assert half * 0.999 <= over_seeds([a, b]) == over_seeds([b, a])
    # By scipy's quantile at whole degrees of freedom it is the same but for rounding.
    free = int(stats.ttest_ind(a, b, equal_var=False).df + 1e-9)
    error = np.sqrt(np.var(a, ddof=1) / len(a) + np.var(b, ddof=1) / len(b))
    assert over_seeds([a, b]) == pytest.approx(stats.t.ppf(0.975, free) * error, rel=0.005)


def test_a_baseline_has_no_seeds_and_a_single_run_borrows_them():
    assert np.isnan(over_seeds([[0.3], [0.2]]))
    assert np.isnan(over_seeds([]))
    assert over_seeds([[0.3, 0.3], [0.2]]) == 0
    sd = np.std([0.2, 0.25, 0.21], ddof=1)
    assert over_seeds([[0.2, 0.25, 0.21]]) == pytest.approx(4.31 * sd / np.sqrt(3))
    assert over_seeds([[0.2, 0.25, 0.21], [0.3]]) > over_seeds([[0.2, 0.25, 0.21], [0.3, 0.35, 0.31]])


def test_pairs_of_configs_are_judged_all_at_once():
    runs = {"nothing": [resampled(0.0, 0)]} | {name: [resampled(0.1 * n, n)] for n, name in enumerate("abc", 1)}
    groups, differences = compare_groups(runs, "abc")
    assert [group.name for group in groups] == ["nothing", *"abc"]
    assert len(differences) == 6
    for each in differences:
        assert (each.simultaneous is not None) == ("nothing" not in (each.higher, each.lower))
        assert np.isnan(each.over_seeds)
        if wide := each.simultaneous:
            assert wide.high - wide.low > each.score.high - each.score.low
            assert wide.estimate == each.score.estimate
    _, alone = compare_groups({name: runs[name] for name in ("nothing", "a", "b")}, "ab")
    assert not any(each.simultaneous for each in alone)
    assert not any("simultaneous" in each.dump() for each in alone)
