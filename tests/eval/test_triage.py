"""The worklist: closed forms against simulated orders, and its relation to the AUROC."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.eval.bootstrap import bootstrap
from hilum.eval.image_level import auroc
from hilum.eval.triage import positives_read, triage, triage_statistic

WORKLIST = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.2, 0.5, 1.0])), min_size=1).filter(
    lambda images: any(kind for kind, _ in images)
)


def split(images):
    return np.array([kind for kind, _ in images]), np.array([value for _, value in images])


def random_worklist(seed=0, n=60):
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.3
    return positive, np.where(rng.random(n) < 0.4, 0.0, (0.5 * rng.random(n) + 0.3 * positive).round(1))


def test_ties_in_random_order():
    positive, probability = random_worklist()
    rng = np.random.default_rng(1)
    means, read = [], []
    shares = np.array([0.1, 0.25, 0.5, 0.9])
    for _ in range(4000):
        order = np.lexsort((rng.random(60), -probability))
        means.append(np.mean(np.flatnonzero(positive[order]) + 1))
        read.append(np.cumsum(positive[order])[(shares * 60).astype(int) - 1] / positive.sum())
    assert triage(positive, probability).mean_place == pytest.approx(np.mean(means), abs=0.1)
    np.testing.assert_allclose(positives_read(positive, probability, shares), np.mean(read, axis=0), atol=0.01)


@given(WORKLIST)
def test_the_gain_is_the_auroc_in_other_words(images):
    positive, probability = split(images)
    worklist = triage(positive, probability)
    negatives = np.count_nonzero(~positive)
    expected = (auroc(positive, probability) - 0.5) * negatives if negatives else 0
    assert worklist.sooner_images == pytest.approx(expected, abs=1e-9)
    assert worklist.sooner_share == pytest.approx(expected / len(images), abs=1e-9)
    statistic = triage_statistic(positive, probability)
    assert statistic(np.ones(len(images)))["sooner_share"] == pytest.approx(worklist.sooner_share, abs=1e-9)
    assert worklist.best_mean_place - 1e-9 <= worklist.mean_place
    assert worklist.first_come_place - worklist.best_mean_place == pytest.approx(negatives / 2)


@given(WORKLIST)
def test_equal_probabilities_are_first_come_first_served(images):
    positive = split(images)[0]
    worklist = triage(positive, np.full(len(positive), 0.3))
    assert worklist.mean_place == worklist.median_place == worklist.first_come_place == (len(positive) + 1) / 2
    assert worklist.sooner_images == 0
    np.testing.assert_allclose(positives_read(positive, np.full(len(positive), 0.3), [0, 0.3, 1]), [0, 0.3, 1])


def test_perfect_order():
    worklist = triage([0] * 8 + [1] * 2, [0.1] * 8 + [0.9, 0.8])
    assert worklist.mean_place == worklist.best_mean_place == worklist.median_place == 1.5
    assert (worklist.first_come_place, worklist.sooner_images) == (5.5, 4)
    assert worklist.sooner_share == 0.4
    assert math.isnan(worklist.sooner_minutes)
    np.testing.assert_allclose(
        positives_read([0] * 8 + [1] * 2, [0.1] * 8 + [0.9, 0.8], [0.05, 0.1, 0.2, 0.5]), [0.25, 0.5, 1, 1]
    )


def test_reversed_order_is_later():
    assert triage([1, 0, 0], [0.1, 0.5, 0.9]).sooner_images == -1


def test_resamples_repeat_whole_images():
    positive, probability = random_worklist()
    drawn = bootstrap(triage_statistic(positive, probability), np.arange(60), resamples=30, seed=2)["sooner_share"]
    draws = np.random.default_rng(2)
    for value in drawn.values:
        rows = draws.integers(60, size=60)
        assert value == pytest.approx(triage(positive[rows], probability[rows]).sooner_share, abs=1e-12)


def test_without_an_image_with_opacity_nothing_is_defined():
    for worklist in (triage([0, 0], [0.1, 0.2]), triage([], [])):
        assert worklist.positives == 0
        assert all(
            math.isnan(value)
            for value in (worklist.mean_place, worklist.median_place, worklist.sooner_images, worklist.sooner_share)
        )
    assert np.isnan(positives_read([0, 0], [0.1, 0.2], [0.5])).all()
    assert math.isnan(triage_statistic([0, 0], [0.1, 0.2])(np.ones(2))["sooner_share"])


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="probability of image 0"):
        triage([1], [math.inf])
    with pytest.raises(ValueError, match="shares: expected numbers from 0 to 1"):
        positives_read([1], [0.5], [20])
