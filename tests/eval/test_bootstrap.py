"""Intervals: laws of the resampling, statistics that are known in closed form, and how often intervals hold."""

import math

import numpy as np
import pytest

from hilum.eval.bootstrap import Interval, bootstrap_means, interval, paired_difference

NAN = math.nan


def scores_of(n_images, seed=0, missing=0.3):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(n_images) < missing, NAN, rng.random(n_images))


def test_every_resample_is_a_ratio_of_whole_groups():
    # Two groups: a resample has each once, or one of them twice; the image that does not count does not dilute.
    scores = np.array([1.0, 1.0, NAN, 0.0, NAN])
    means = bootstrap_means(scores, ["a", "a", "a", "b", "b"], resamples=2000)
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
        drawn = names[draws.integers(len(names), size=len(names))]
        expected.append(np.nanmean(np.concatenate([scores[groups == name] for name in drawn])))
    np.testing.assert_allclose(bootstrap_means(scores, groups, resamples=50, seed=5), expected, atol=1e-12)


def test_one_image_a_group_gives_the_textbook_standard_error():
    scores = scores_of(4000, missing=0)
    means = bootstrap_means(scores, np.arange(4000))
    assert means.std() == pytest.approx(scores.std() / math.sqrt(4000), rel=0.05)
    result = interval(scores, np.arange(4000))
    assert result.estimate == pytest.approx(scores.mean())
    assert result.high - result.low == pytest.approx(2 * 1.96 * scores.std() / math.sqrt(4000), rel=0.08)


def test_copies_of_an_image_in_one_group_add_no_certainty():
    scores = scores_of(300)
    once = interval(scores, np.arange(300))
    copied = interval(np.repeat(scores, 9), np.repeat(np.arange(300), 9))
    np.testing.assert_allclose(copied, once, atol=1e-12)
    as_if_independent = interval(np.repeat(scores, 9), np.arange(2700))
    assert as_if_independent.high - as_if_independent.low < 0.5 * (once.high - once.low)


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(11)
    held = 0
    for trial in range(200):
        # Patients of 1 to 4 images that share most of their score; the true mean is 0.5.
        group = np.repeat(np.arange(80), rng.integers(1, 5, 80))
        scores = 0.8 * rng.random(80)[group] + 0.2 * rng.random(len(group))
        low, high = interval(scores, group, level=0.8, resamples=200, seed=trial)[1:]
        held += low < 0.5 < high
    assert 0.70 < held / 200 < 0.88


def test_the_level_is_the_share_of_resamples_inside():
    scores, groups = scores_of(200), np.arange(200) // 2
    means = bootstrap_means(scores, groups)
    for level in (0.5, 0.95):
        low, high = interval(scores, groups, level=level)[1:]
        assert np.mean((low <= means) & (means <= high)) == pytest.approx(level, abs=0.002)


def test_seed_and_order():
    scores, groups = scores_of(100), np.arange(100) // 3
    means = bootstrap_means(scores, groups, seed=4)
    np.testing.assert_array_equal(bootstrap_means(scores, groups, seed=4), means)
    assert not np.array_equal(bootstrap_means(scores, groups, seed=5), means)
    order = np.random.default_rng(0).permutation(100)
    np.testing.assert_allclose(bootstrap_means(scores[order], groups[order], seed=4), means, atol=1e-12)


def test_groups_may_have_any_names():
    scores = scores_of(30)
    numbers = np.arange(30) // 2
    by_name = interval(scores, [f"patient {number:02}" for number in numbers])
    assert by_name == interval(scores, numbers) == interval(scores, (numbers * 1000).tolist())


def test_a_system_does_not_differ_from_itself():
    scores = scores_of(100)
    assert paired_difference(scores, scores, np.arange(100)) == Interval(0.0, 0.0, 0.0)


def test_pairing_sees_a_difference_that_two_intervals_hide():
    a = scores_of(500, missing=0)
    b = a - 0.01
    apart_a, apart_b = interval(a, np.arange(500)), interval(b, np.arange(500))
    assert apart_a.low < apart_b.high
    np.testing.assert_allclose(paired_difference(a, b, np.arange(500)), [0.01] * 3, atol=1e-12)
    np.testing.assert_allclose(paired_difference(b, a, np.arange(500)), [-0.01] * 3, atol=1e-12)


def test_each_system_has_images_of_its_own_that_count():
    # B predicts on the images without truth as well, and is right where A is: 1 against 1/2.
    a = np.array([1.0, NAN] * 50)
    b = np.array([1.0, 0.0] * 50)
    result = paired_difference(a, b, np.arange(100) // 2)
    assert result == Interval(0.5, 0.5, 0.5)
    by_image = paired_difference(a, b, np.arange(100))
    assert by_image.estimate == 0.5
    assert by_image.low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.02)


def test_nothing_that_counts():
    assert all(map(math.isnan, interval(np.array([NAN, NAN]), [1, 2])))
    assert all(map(math.isnan, interval(np.array([]), [])))
    assert all(map(math.isnan, paired_difference(np.array([1.0]), np.array([NAN]), [1])))
    # A quarter of the resamples miss the only image that counts and have no score.
    assert interval(np.array([0.5, NAN]), [1, 2]) == Interval(0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("scores", "groups", "message"),
    [
        ([0.5, 0.5], [1], r"scores: expected the shape \(1,\), .*got \(2,\)"),
        ([[0.5]], [1], r"scores: expected the shape \(1,\), .*got \(1, 1\)"),
        ([0.5], [[1]], r"groups: expected the shape \(images,\), got \(1, 1\)"),
        ([0.5, math.inf], [1, 2], r"scores of image 1: expected a finite number or NaN"),
        ([0.5, 0.5], [1, math.nan], r"groups: image 1 has no group \(nan\)"),
        ([0.5, 0.5], ["a", None], r"groups: image 1 has no group \(None\)"),
    ],
)
def test_wrong_values_are_named(scores, groups, message):
    with pytest.raises(ValueError, match=message):
        interval(np.array(scores), groups)


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="level: expected a share between 0 and 1, got 95"):
        interval(np.ones(2), [1, 2], level=95)
    with pytest.raises(ValueError, match="resamples: expected 1 or more, got 0"):
        interval(np.ones(2), [1, 2], resamples=0)
