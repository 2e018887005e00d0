"""FROC: hand-made curves, a slow sweep over thresholds, and resampled data sets written out."""

import numpy as np
import pytest

from hilum.eval.bootstrap import bootstrap
from hilum.eval.competition import match_counts
from hilum.eval.froc import FROC_RATES, froc_curve, froc_statistic, rank_boxes

NONE = np.empty((0, 4))
BOX = np.array([[0.0, 0.0, 10.0, 10.0]])
FAR = np.array([[50.0, 50.0, 10.0, 10.0]])


def froc_sensitivity(ranked):
    """Of the images as they are."""
    return np.array(list(froc_statistic(ranked)(np.ones(len(ranked.n_truth))).values())[:-1])


def sweep(data):
    """Every threshold one by one, through the competition's counts."""
    truth, boxes, confidence = data
    best = np.zeros(len(FROC_RATES))
    for threshold in np.unique(np.concatenate(confidence)):
        keep = [values >= threshold for values in confidence]
        counts = match_counts(
            truth,
            [image[mask] for image, mask in zip(boxes, keep, strict=True)],
            [values[mask] for values, mask in zip(confidence, keep, strict=True)],
        )
        false = counts.false_positive[:, 0].mean()
        found = counts.true_positive[:, 0].sum() / (counts.true_positive + counts.false_negative)[:, 0].sum()
        best = np.where(false <= np.asarray(FROC_RATES) + 1e-12, np.maximum(best, found), best)
    return best


@pytest.mark.parametrize("tied", [False, True])
def test_a_sweep_over_all_thresholds_gives_the_same(random_data, tied):
    data = random_data(80, seed=3, tied=tied)
    expected = sweep(data)
    np.testing.assert_allclose(froc_sensitivity(rank_boxes(*data)), expected)
    assert 0 < expected[0] < expected[-1] < 1  # the data tell the rates apart


def test_a_curve_by_hand():
    # Confidences fall: a find, a false positive on the same image, a find and a false positive tied.
    truth = [np.vstack([BOX, FAR]), NONE]
    boxes = [np.vstack([BOX, BOX, FAR]), FAR]
    curve = froc_curve(rank_boxes(truth, boxes, [np.array([0.9, 0.8, 0.5]), np.array([0.5])]))
    np.testing.assert_array_equal(curve.confidence, [0.9, 0.8, 0.5])
    np.testing.assert_array_equal(curve.false_positives, [0, 0.5, 1])
    np.testing.assert_array_equal(curve.sensitivity, [0.5, 0.5, 1])
    ranked = rank_boxes(truth, boxes, [np.array([0.9, 0.8, 0.5]), np.array([0.5])])
    np.testing.assert_array_equal(froc_sensitivity(ranked), [0.5, 0.5, 0.5, 1, 1, 1, 1])


def test_the_curve_holds_the_sensitivities(random_data):
    ranked = rank_boxes(*random_data(100, seed=4, tied=True))
    curve = froc_curve(ranked)
    assert (np.diff(curve.false_positives) >= 0).all()
    assert (np.diff(curve.sensitivity) >= 0).all()
    for rate, sensitivity in zip(FROC_RATES, froc_sensitivity(ranked), strict=True):
        allowed = curve.sensitivity[curve.false_positives <= rate]
        assert sensitivity == (allowed[-1] if len(allowed) else 0)


def test_equal_confidences_enter_together_in_any_order():
    # All tied: one false positive on each of two images. No threshold finds anything below one an image.
    truth, boxes = [BOX, BOX], [np.vstack([BOX, FAR]), np.vstack([FAR, BOX])]
    for order in ([0, 1], [1, 0]):
        ranked = rank_boxes([truth[i] for i in order], [boxes[i][order] for i in order], [np.full(2, 0.7)] * 2)
        np.testing.assert_array_equal(froc_sensitivity(ranked), [0, 0, 0, 1, 1, 1, 1])


def test_a_perfect_detector_needs_no_false_positive():
    ranked = rank_boxes([BOX, NONE], [BOX, NONE], [np.ones(1), np.ones(0)])
    np.testing.assert_array_equal(froc_sensitivity(ranked), np.ones(7))


def test_resamples_are_those_of_repeated_images(random_data):
    data = random_data(40, seed=6, tied=True)
    drawn = bootstrap(froc_statistic(rank_boxes(*data)), np.arange(40), resamples=25, seed=1)
    draws = np.random.default_rng(1)
    for resample in range(25):
        rows = draws.integers(40, size=40)
        repeated = rank_boxes(*([array[row] for row in rows] for array in data))
        expected = froc_sensitivity(repeated)
        got = [drawn[f"froc {rate:g}"].values[resample] for rate in FROC_RATES]
        np.testing.assert_allclose(got, expected, atol=1e-12)
        assert drawn["froc mean"].values[resample] == pytest.approx(expected.mean())


def test_boxes_behind_the_highest_rate_are_looked_at_where_a_resample_needs_them():
    # The surest 2,000 false positives are all of one image. Where it is not drawn, those of the next decide.
    truth = [BOX] * 4
    crowd = np.repeat(FAR, 2000, axis=0)
    boxes = [crowd, np.vstack([crowd, BOX]), BOX, BOX]
    confidence = [np.linspace(0.9, 0.8, 2000), np.append(np.linspace(0.7, 0.6, 2000), 0.1), *([np.array([0.75])] * 2)]
    statistic = froc_statistic(rank_boxes(truth, boxes, confidence))
    without = froc_statistic(rank_boxes(truth[1:], boxes[1:], confidence[1:]))
    assert statistic(np.ones(4))["froc 1"] == 0
    assert statistic(np.array([0.0, 1, 1, 1])) == without(np.ones(3))
    assert without(np.ones(3))["froc 1"] == pytest.approx(2 / 3)


def test_nothing_predicted_finds_nothing():
    ranked = rank_boxes([BOX, NONE], [NONE, NONE], [np.ones(0)] * 2)
    np.testing.assert_array_equal(froc_sensitivity(ranked), np.zeros(7))
    assert all(len(column) == 0 for column in froc_curve(ranked))


def test_what_is_not_defined_is_nan():
    assert np.isnan(froc_sensitivity(rank_boxes([NONE], [BOX], [np.ones(1)]))).all()
    assert np.isnan(froc_sensitivity(rank_boxes([], [], []))).all()
    assert np.isnan(froc_curve(rank_boxes([NONE], [BOX], [np.ones(1)])).sensitivity).all()
