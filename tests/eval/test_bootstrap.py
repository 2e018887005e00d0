"""Intervals: laws of the resampling, statistics that are known in closed form, and how often intervals hold."""

import math
from dataclasses import astuple

import numpy as np
import pytest

from hilum.eval.bootstrap import (
    Interval,
    Resampled,
    bootstrap,
    bootstrap_ratios,
    simultaneous_intervals,
)

NAN = math.nan


def bounds(interval):
    return interval.low, interval.high


def scores_of(n_images, seed=0, missing=0.3):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(n_images) < missing, NAN, rng.random(n_images))


def drawn(scores, groups, **settings):
    """The mean of the scores that count, as the competition's is taken."""
    counts = ~np.isnan(scores)
    return bootstrap_ratios({"mean": (np.nan_to_num(scores), counts)}, groups, **settings)["mean"]


def test_every_resample_is_a_ratio_of_whole_groups():
    # Two groups: a resample has each once, or one of them twice; the image that does not count does not dilute.
    scores = np.array([1.0, 1.0, NAN, 0.0, NAN])
    means = drawn(scores, ["a", "a", "a", "b", "b"], resamples=2000).values
    values, times = np.unique(means, return_counts=True)
    np.testing.assert_allclose(values, [0, 2 / 3, 1])
    np.testing.assert_allclose(times / 2000, [1 / 4, 1 / 2, 1 / 4], atol=0.05)


def test_a_slow_loop_over_images_gives_the_same():
    rng = np.random.default_rng(3)
    scores = scores_of(40)
    groups = rng.integers(0, 12, 40)
    names = np.unique(groups)
    draws = np.random.default_rng(5)
    expected = []
    for _ in range(50):
        picked = names[draws.integers(len(names), size=len(names))]
        expected.append(np.nanmean(np.concatenate([scores[groups == name] for name in picked])))
    np.testing.assert_allclose(drawn(scores, groups, resamples=50, seed=5).values, expected, atol=1e-12)


def test_one_image_a_group_gives_the_textbook_standard_error():
    scores = scores_of(4000, missing=0)
    means = drawn(scores, np.arange(4000)).values
    assert means.std() == pytest.approx(scores.std() / math.sqrt(4000), rel=0.05)
    result = drawn(scores, np.arange(4000)).interval()
    assert result.estimate == pytest.approx(scores.mean())
    assert result.high - result.low == pytest.approx(2 * 1.96 * scores.std() / math.sqrt(4000), rel=0.08)


def test_copies_of_an_image_in_one_group_add_no_certainty():
    scores = scores_of(300)
    once = drawn(scores, np.arange(300)).interval()
    copied = drawn(np.repeat(scores, 9), np.repeat(np.arange(300), 9)).interval()
    np.testing.assert_allclose(astuple(copied), astuple(once), atol=1e-12)
    as_if_independent = drawn(np.repeat(scores, 9), np.arange(2700)).interval()
    assert as_if_independent.high - as_if_independent.low < 0.5 * (once.high - once.low)


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(11)
    held = 0
    for trial in range(200):
        # Patients of 1 to 4 images that share most of their score; the true mean is 0.5.
        group = np.repeat(np.arange(80), rng.integers(1, 5, 80))
        scores = 0.8 * rng.random(80)[group] + 0.2 * rng.random(len(group))
        low, high = bounds(drawn(scores, group, resamples=200, seed=trial).interval(0.8))
        held += low < 0.5 < high
    assert 0.70 < held / 200 < 0.88


def test_the_level_is_the_share_of_resamples_inside():
    scores, groups = scores_of(200), np.arange(200) // 2
    means = drawn(scores, groups).values
    for level in (0.5, 0.95):
        low, high = bounds(drawn(scores, groups).interval(level))
        assert np.mean((low <= means) & (means <= high)) == pytest.approx(level, abs=0.002)


def test_seed_and_order():
    scores, groups = scores_of(100), np.arange(100) // 3
    means = drawn(scores, groups, seed=4).values
    np.testing.assert_array_equal(drawn(scores, groups, seed=4).values, means)
    assert not np.array_equal(drawn(scores, groups, seed=5).values, means)
    order = np.random.default_rng(0).permutation(100)
    np.testing.assert_allclose(drawn(scores[order], groups[order], seed=4).values, means, atol=1e-12)


def test_groups_may_have_any_names():
    scores = scores_of(30)
    numbers = np.arange(30) // 2
    by_name = drawn(scores, [f"patient {number:02}" for number in numbers]).interval()
    assert by_name == drawn(scores, numbers).interval() == drawn(scores, (numbers * 1000).tolist()).interval()


def test_a_system_does_not_differ_from_itself():
    one = drawn(scores_of(100), np.arange(100))
    assert (one - one).interval() == Interval(0.0, 0.0, 0.0)


def test_each_system_has_images_of_its_own_that_count():
    # B predicts on the images without truth as well, and is right where A is: 1 against 1/2.
    a = np.array([1.0, NAN] * 50)
    b = np.array([1.0, 0.0] * 50)
    by_patient = (drawn(a, np.arange(100) // 2) - drawn(b, np.arange(100) // 2)).interval()
    assert by_patient == Interval(0.5, 0.5, 0.5)
    by_image = (drawn(a, np.arange(100)) - drawn(b, np.arange(100))).interval()
    assert by_image.estimate == 0.5
    assert by_image.low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.02)


def test_nothing_that_counts():
    assert all(map(math.isnan, astuple(drawn(np.array([NAN, NAN]), [1, 2]).interval())))
    assert all(map(math.isnan, astuple(drawn(np.array([]), []).interval())))
    assert all(map(math.isnan, astuple((drawn(np.array([1.0]), [1]) - drawn(np.array([NAN]), [1])).interval())))
    # A quarter of the resamples miss the only image that counts and have no score.
    assert drawn(np.array([0.5, NAN]), [1, 2]).interval() == Interval(0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([[1, 2]], r"groups: expected the shape \(images,\), got \(1, 2\)"),
        ([1, math.nan], r"groups: image 1 has no group \(nan\)"),
        (["a", None], r"groups: image 1 has no group \(None\)"),
    ],
)
def test_wrong_groups_are_named(groups, message):
    with pytest.raises(ValueError, match=message):
        drawn(np.array([0.5, 0.5]), groups)


def weighted_mean(scores):
    return lambda weight: {"mean": float(weight @ scores / weight.sum())}


def test_ratios_statistics_and_means_are_of_the_same_draws():
    scores, groups = scores_of(60, missing=0), np.arange(60) // 4
    means = drawn(scores, groups, resamples=50, seed=2).values
    by_ratio = bootstrap_ratios({"mean": (scores, np.ones(60))}, groups, resamples=50, seed=2)["mean"]
    by_statistic = bootstrap(weighted_mean(scores), groups, resamples=50, seed=2)["mean"]
    np.testing.assert_allclose(by_ratio.values, means, atol=1e-12)
    np.testing.assert_allclose(by_statistic.values, means, atol=1e-12)
    assert by_ratio.estimate == pytest.approx(scores.mean())
    assert by_statistic.estimate == pytest.approx(scores.mean())
    assert by_ratio.draws == by_statistic.draws


def test_many_groups_are_drawn_in_parts(monkeypatch):
    scores, groups = scores_of(60), np.arange(60) // 4
    at_once = drawn(scores, groups, resamples=50).values
    monkeypatch.setattr("hilum.eval.bootstrap._CELLS", 100)  # 6 draws of 15 groups
    np.testing.assert_allclose(drawn(scores, groups, resamples=50).values, at_once, atol=1e-12)


def test_a_weight_is_how_often_the_image_s_group_was_drawn():
    groups = ["a", "a", "b", "c"]
    seen = []
    bootstrap(lambda weight: seen.append(weight) or {}, groups, resamples=30)
    assert seen[0].tolist() == [1, 1, 1, 1]
    for weight in seen[1:]:
        assert weight[0] == weight[1]
        assert weight[1:].sum() == 3


def test_a_difference_is_paired():
    scores, groups = scores_of(500, missing=0), np.arange(500) // 2
    ones = np.ones(500)
    drawn = bootstrap_ratios({"a": (scores, ones), "b": (scores - 0.01, ones)}, groups)
    difference = drawn["a"] - drawn["b"]
    np.testing.assert_allclose(astuple(difference.interval()), [0.01] * 3, atol=1e-12)
    assert difference.interval().excludes_zero
    assert drawn["a"].interval().low < drawn["b"].interval().high
    other = bootstrap_ratios({"b": (scores - 0.01, ones)}, groups)["b"]  # of another call
    np.testing.assert_allclose((drawn["a"] - other).values, difference.values, atol=1e-12)


@pytest.mark.parametrize(
    ("groups", "settings"),
    [(np.arange(20), {}), (np.arange(20) // 2, {"seed": 1}), (np.arange(20) // 2, {"resamples": 9})],
)
def test_what_was_not_drawn_alike_is_not_subtracted(groups, settings):
    scores = {"mean": (np.ones(20), np.ones(20))}
    one = bootstrap_ratios(scores, np.arange(20) // 2, resamples=10)["mean"]
    other = bootstrap_ratios(scores, groups, **{"resamples": 10, **settings})["mean"]
    with pytest.raises(ValueError, match="only figures with the same draws can be subtracted"):
        one - other
    with pytest.raises(ValueError, match="need figures with the same draws"):
        simultaneous_intervals([one, other])


def test_an_undefined_figure_is_nan_and_is_not_apart():
    drawn = bootstrap_ratios({"none": (np.zeros(4), np.zeros(4)), "rare": ([1, 0, 0, 0], [1, 0, 0, 0])}, np.arange(4))
    assert all(map(math.isnan, astuple(drawn["none"].interval())))
    assert not drawn["none"].interval().excludes_zero
    assert np.isnan(drawn["rare"].values).mean() == pytest.approx(0.75**4, abs=0.05)
    assert drawn["rare"].interval() == Interval(1, 1, 1)
    empty = bootstrap(lambda weight: {"x": math.nan}, [])["x"]
    assert all(map(math.isnan, astuple(empty.interval())))


def normal_figures(n, shift, seed, resamples=400):
    """Estimates of `n` independent quantities with the standard error 1, and ideal resamples of them."""
    rng = np.random.default_rng(seed)
    estimates = rng.normal(shift, 1, n)
    return [Resampled(estimate, rng.normal(estimate, 1, resamples), "") for estimate in estimates]


def test_simultaneous_intervals_miss_nothing_as_often_as_they_say():
    each, together = 0, 0
    for seed in range(300):
        figures = normal_figures(20, 0, seed)
        each += any(figure.interval().excludes_zero for figure in figures)
        together += any(interval.excludes_zero for interval in simultaneous_intervals(figures))
    assert each / 300 > 0.5  # 1 - 0.95^20 = 0.64
    assert 0.02 < together / 300 < 0.09


def test_simultaneous_intervals_know_their_width():
    figures = normal_figures(20, 0, 0, resamples=40_000)
    for figure, interval in zip(figures, simultaneous_intervals(figures), strict=True):
        estimate, low, high = astuple(interval)
        assert estimate == figure.estimate
        # the 97.5% quantile of a normal, raised to (1/20): 3.02 standard errors
        assert high - estimate == pytest.approx(3.02, abs=0.06)
        assert estimate - low == pytest.approx(high - estimate)
    alone = simultaneous_intervals(figures[:1])[0]
    np.testing.assert_allclose(astuple(alone), astuple(figures[0].interval()), atol=0.05)
    assert simultaneous_intervals(figures * 3)[:20] == simultaneous_intervals(figures)  # a question asked three times
    assert simultaneous_intervals([]) == []


def test_a_figure_that_does_not_vary_or_is_undefined_widens_no_other():
    figures = normal_figures(3, 0, 1)
    constant = Resampled(0.0, np.zeros(400), "")
    undefined = Resampled(math.nan, np.full(400, math.nan), "")
    now_and_then = Resampled(0.0, np.where(np.arange(400) % 2, math.nan, 0.0), "")
    assert simultaneous_intervals([*figures, now_and_then])[:3] == simultaneous_intervals(figures)
    half = Resampled(0.0, np.where(np.arange(400) % 2, math.nan, np.random.default_rng(0).normal(0, 1, 400)), "")
    assert all(map(math.isfinite, astuple(simultaneous_intervals([half, *figures])[0])))
    got = simultaneous_intervals([*figures, constant, undefined])
    assert got[:3] == simultaneous_intervals(figures)
    assert astuple(got[3]) == (0, 0, 0)
    assert all(map(math.isnan, astuple(got[4])))


@pytest.mark.parametrize(
    ("ratio", "message"),
    [
        (([1.0], [1.0, 1.0]), r"numerator of r: expected the shape \(2,\), got \(1,\)"),
        (([1.0, 1.0], [1.0]), r"denominator of r: expected the shape \(2,\), got \(1,\)"),
        (([1.0, math.nan], [1.0, 1.0]), "numerator of r: image 1 is not finite"),
    ],
)
def test_wrong_ratios_are_named(ratio, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_ratios({"r": ratio}, ["a", "b"])


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="resamples: expected 1 or more, got 0"):
        drawn(np.ones(2), [1, 2], resamples=0)
    with pytest.raises(ValueError, match="resamples: expected 1 or more, got 0"):
        bootstrap(weighted_mean(np.ones(2)), [1, 2], resamples=0)
    with pytest.raises(ValueError, match="level: expected a share between 0 and 1, got 95"):
        simultaneous_intervals([], level=95)
    with pytest.raises(ValueError, match="level: expected a share between 0 and 1, got 95"):
        bootstrap(weighted_mean(np.ones(2)), [1, 2])["mean"].interval(95)
