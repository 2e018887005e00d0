"""Figures of images: by counting pairs and thresholds, and against scikit-learn where it is installed."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from hilum.eval.bootstrap import bootstrap, bootstrap_ratios
from hilum.eval.image_level import (
    auroc,
    average_precision,
    image_ratios,
    ranking_statistic,
    reliability_curve,
    threshold_at_sensitivity,
    youden_threshold,
)

# Few distinct probabilities, so that ties are the rule.
IMAGES = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.9, 1.0])), min_size=1)


def split(images):
    return np.array([kind for kind, _ in images]), np.array([value for _, value in images])


def random_images(n=500, seed=0, decimals=2):
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.3
    return positive, np.clip(rng.normal(0.3 + 0.3 * positive, 0.2), 0, 1).round(decimals)


def ratio(name, positive, probability, threshold):
    numerator, denominator = image_ratios(positive, probability, threshold)[name]
    return numerator.sum() / denominator.sum() if denominator.sum() else math.nan


def brier(positive, probability):
    return ratio("brier", positive, probability, 0.5)


def sensitivity_specificity(positive, probability, threshold):
    return tuple(ratio(name, positive, probability, threshold) for name in ("sensitivity", "specificity"))


def auroc_by_pairs(positive, probability):
    difference = probability[positive][:, None] - probability[~positive][None]
    return ((difference > 0) + 0.5 * (difference == 0)).mean() if difference.size else math.nan


def average_precision_by_thresholds(positive, probability):
    total, found = 0.0, 0
    for threshold in np.unique(probability)[::-1]:
        called = probability >= threshold
        now = np.count_nonzero(called & positive)
        total += (now - found) * now / np.count_nonzero(called)
        found = now
    return total / found if found else math.nan


@given(IMAGES)
def test_rankings_by_brute_force(images):
    positive, probability = split(images)
    np.testing.assert_allclose(auroc(positive, probability), auroc_by_pairs(positive, probability))
    expected = average_precision_by_thresholds(positive, probability)
    np.testing.assert_allclose(average_precision(positive, probability), expected)


def test_auroc_is_the_mann_whitney_statistic():
    positive, probability = random_images()
    u = mannwhitneyu(probability[positive], probability[~positive]).statistic
    assert auroc(positive, probability) == pytest.approx(u / positive.sum() / (~positive).sum())


def test_scikit_learn_says_the_same():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed: compared by hand only")
    for seed in range(20):
        positive, probability = random_images(seed=seed, decimals=1 + seed % 3)
        weight = np.random.default_rng(seed).integers(0, 4, len(positive)).astype(float)
        figures = ranking_statistic(positive, probability)(weight)
        assert figures["auroc"] == pytest.approx(metrics.roc_auc_score(positive, probability, sample_weight=weight))
        assert figures["average_precision"] == pytest.approx(
            metrics.average_precision_score(positive, probability, sample_weight=weight)
        )
        assert brier(positive, probability) == pytest.approx(metrics.brier_score_loss(positive, probability))
        rates, hits, thresholds = metrics.roc_curve(positive, probability, drop_intermediate=False)
        best = np.argmax(hits - rates)
        sensitivity, specificity = sensitivity_specificity(
            positive, probability, youden_threshold(positive, probability)
        )
        assert sensitivity + specificity - 1 == pytest.approx(hits[best] - rates[best])
        assert youden_threshold(positive, probability) == thresholds[best]


@given(IMAGES, st.data())
def test_a_weight_of_two_is_the_image_twice(images, data):
    positive, probability = split(images)
    times = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(images), max_size=len(images))))
    repeated = np.repeat(positive, times), np.repeat(probability, times)
    figures = ranking_statistic(positive, probability)(times.astype(float))
    np.testing.assert_allclose(figures["auroc"], auroc(*repeated))
    np.testing.assert_allclose(figures["average_precision"], average_precision(*repeated))


@given(IMAGES)
def test_order_and_monotone_changes_do_not_matter(images):
    positive, probability = split(images)
    assert auroc(positive[::-1], probability[::-1]) == pytest.approx(auroc(positive, probability), nan_ok=True)
    assert auroc(positive, probability**2 / 2) == pytest.approx(auroc(positive, probability), nan_ok=True)
    assert auroc(~positive, 1 - probability) == pytest.approx(auroc(positive, probability), nan_ok=True)


def test_perfect_useless_and_reversed():
    positive = np.array([True, True, False, False, False])
    assert auroc(positive, [0.9, 0.8, 0.1, 0.2, 0.3]) == average_precision(positive, [0.9, 0.8, 0.1, 0.2, 0.3]) == 1
    assert auroc(positive, np.full(5, 0.5)) == 0.5
    assert average_precision(positive, np.full(5, 0.5)) == pytest.approx(0.4)  # the share of positives
    assert auroc(positive, [0.1, 0.1, 0.9, 0.9, 0.9]) == 0


@pytest.mark.parametrize("positive", [[], [True, True], [False, False]])
def test_what_is_not_defined_is_nan(positive):
    probability = np.full(len(positive), 0.5)
    assert math.isnan(auroc(positive, probability))
    assert math.isnan(youden_threshold(positive, probability))
    assert math.isnan(average_precision(positive, probability)) == (not any(positive))
    assert math.isnan(threshold_at_sensitivity(positive, probability)) == (not any(positive))
    sensitivity, specificity = sensitivity_specificity(positive, probability, 0.5)
    assert math.isnan(sensitivity) == (not any(positive))
    assert math.isnan(specificity) == (all(positive))
    assert math.isnan(brier(positive, probability)) == (not positive)


@given(IMAGES, st.sampled_from([0.2, 0.5, 0.75, 0.95, 1.0]))
def test_the_threshold_reaches_the_sensitivity_and_no_higher_one_does(images, wanted):
    positive, probability = split(images)
    if not positive.any():
        return
    threshold = threshold_at_sensitivity(positive, probability, wanted)
    assert sensitivity_specificity(positive, probability, threshold)[0] >= wanted - 1e-9
    for higher in np.unique(probability[probability > threshold]):
        assert sensitivity_specificity(positive, probability, higher)[0] < wanted


def test_19_of_20_are_95_percent():
    probability = np.arange(1, 21) / 20
    assert threshold_at_sensitivity(np.ones(20), probability, 0.95) == 0.1
    assert threshold_at_sensitivity(np.ones(20), probability, 1) == 0.05
    # 0.07 * 100 is 7.000000000000001
    assert threshold_at_sensitivity(np.ones(100), np.arange(1, 101) / 100, 0.07) == 0.94


@given(IMAGES)
def test_no_threshold_has_a_higher_youden_index(images):
    positive, probability = split(images)
    if positive.all() or not positive.any():
        return
    chosen = youden_threshold(positive, probability)
    best = sum(sensitivity_specificity(positive, probability, chosen))
    for threshold in np.unique(probability):
        value = sum(sensitivity_specificity(positive, probability, threshold))
        assert value <= best + 1e-9
        assert threshold <= chosen or value < best - 1e-12


def test_a_threshold_an_image():
    positive, probability = np.array([True, True, False, False]), np.full(4, 0.5)
    assert sensitivity_specificity(positive, probability, np.array([0.4, 0.6, 0.4, 0.6])) == (0.5, 0.5)
    assert all(map(math.isnan, sensitivity_specificity(positive, probability, np.array([0.4, 0.6, 0.4, math.nan]))))
    assert all(map(math.isnan, sensitivity_specificity(positive, probability, math.nan)))


def test_ratios_are_the_figures():
    positive, probability = random_images()
    drawn = bootstrap_ratios(image_ratios(positive, probability, 0.4), np.arange(500) // 2, resamples=20)
    assert drawn["sensitivity"].estimate == pytest.approx((probability[positive] >= 0.4).mean())
    assert drawn["specificity"].estimate == pytest.approx((probability[~positive] < 0.4).mean())
    assert drawn["brier"].estimate == pytest.approx(np.mean((probability - positive) ** 2))
    undefined = bootstrap_ratios(image_ratios(positive, probability, math.nan), np.arange(500), resamples=2)
    assert math.isnan(undefined["sensitivity"].estimate)
    assert math.isnan(undefined["specificity"].estimate)
    assert not math.isnan(undefined["brier"].estimate)


def test_the_interval_of_the_auroc_has_the_known_width():
    # Hanley JA, McNeil BJ: Radiology 1982;143:29-36, for normal scores: Q1 = A / (2 - A), Q2 = 2 A^2 / (1 + A).
    rng = np.random.default_rng(0)
    positive = np.arange(1000) < 300
    probability = 1 / (1 + np.exp(-rng.normal(positive * 1.0, 1)))
    drawn = bootstrap(ranking_statistic(positive, probability), np.arange(1000), resamples=500)["auroc"]
    area = drawn.estimate
    q1, q2 = area / (2 - area) - area**2, 2 * area**2 / (1 + area) - area**2
    error = math.sqrt((area * (1 - area) + 299 * q1 + 699 * q2) / (300 * 700))
    assert drawn.values.std() == pytest.approx(error, rel=0.1)


def test_brier_of_a_constant():
    positive = np.array([True, False, False, False])
    assert brier(positive, np.full(4, 0.25)) == pytest.approx(0.25 * 0.75)
    assert brier(positive, positive) == 0


def columns(positive, probability):
    """The bins' fields, an array each."""
    bins = reliability_curve(positive, probability)
    return SimpleNamespace(**{name: np.array([getattr(each, name) for each in bins]) for name in vars(bins[0])})


def test_bins():
    curve = columns([1, 0, 1, 0, 1], [0.0, 0.3, 0.3, 0.299, 1.0])
    np.testing.assert_array_equal(curve.images, [1, 0, 1, 2, 0, 0, 0, 0, 0, 1])  # 0.3 belongs to 0.3..0.4
    np.testing.assert_allclose(curve.low, np.arange(10) / 10)
    np.testing.assert_allclose(curve.high, np.arange(1, 11) / 10)
    np.testing.assert_allclose(curve.probability[[0, 2, 3, 9]], [0, 0.299, 0.3, 1])
    np.testing.assert_allclose(curve.observed[[0, 2, 3, 9]], [1, 0, 0.5, 1])
    assert np.isnan(curve.observed[1])
    assert np.isnan(curve.probability[1])


@given(IMAGES)
def test_the_bins_hold_every_image_and_the_mean(images):
    positive, probability = split(images)
    curve = columns(positive, probability)
    assert curve.images.sum() == len(images)
    filled = curve.images > 0
    assert curve.images[filled] @ curve.observed[filled] == pytest.approx(positive.sum())
    assert curve.images[filled] @ curve.probability[filled] == pytest.approx(probability.sum())
    assert ((curve.low <= curve.probability + 1e-12) & (curve.probability <= curve.high + 1e-12))[filled].all()


def test_a_calibrated_system_lies_on_the_diagonal():
    rng = np.random.default_rng(1)
    probability = rng.random(40_000)
    curve = columns(rng.random(40_000) < probability, probability)
    np.testing.assert_allclose(curve.observed, curve.probability, atol=0.03)


@pytest.mark.parametrize(
    ("positive", "probability", "message"),
    [
        ([[1]], [[0.5]], r"positive: expected the shape \(images,\), got \(1, 1\)"),
        ([1, 0], [0.5], r"probability: expected the shape \(2,\), one an image, got \(1,\)"),
        ([1, 2], [0.5, 0.5], "positive: expected True and False, or 1 and 0, got 2"),
        ([1, 0], [0.5, 1.5], r"probability of image 1: expected a number from 0 to 1, got 1\.5"),
        ([1, 0], [math.nan, 0.5], "probability of image 0: expected a number from 0 to 1, got nan"),
    ],
)
def test_wrong_input_is_named(positive, probability, message):
    for figure in (auroc, average_precision, youden_threshold, threshold_at_sensitivity):
        with pytest.raises(ValueError, match=message):
            figure(positive, probability)


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match=r"threshold: expected one number or the shape \(1,\), got \(2,\)"):
        sensitivity_specificity([1], [0.5], np.zeros(2))
    with pytest.raises(ValueError, match="sensitivity: expected a share above 0 and up to 1, got 95"):
        threshold_at_sensitivity([1], [0.5], 95)
