"""Nothing is chosen on what it is applied to."""

import math

import numpy as np
import pytest

from hilum.eval.competition import best_confidence, competition_score, threshold_curve
from hilum.eval.crossfit import cross_fit, cross_fit_confidence, deal_folds
from hilum.eval.image_level import threshold_at_sensitivity


def test_no_patient_is_in_two_folds_and_folds_are_of_a_size():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 60, 400)
    fold = deal_folds(groups, folds=5, seed=3)
    for group in np.unique(groups):
        assert len(np.unique(fold[groups == group])) == 1
    sizes = np.bincount(fold, minlength=5)
    assert sizes.sum() == 400
    assert sizes.max() - sizes.min() <= np.bincount(groups).max()


def test_folds_follow_seed_and_patients_not_the_order():
    groups = np.arange(200) // 2
    fold = deal_folds(groups, seed=1)
    np.testing.assert_array_equal(deal_folds(groups, seed=1), fold)
    assert not np.array_equal(deal_folds(groups, seed=2), fold)
    order = np.random.default_rng(0).permutation(200)
    np.testing.assert_array_equal(deal_folds(groups[order], seed=1), fold[order])


def test_one_patient_with_most_images_still_leaves_no_fold_empty():
    fold = deal_folds(["big"] * 65 + ["a", "b", "c", "d"], folds=5)
    assert np.bincount(fold).min() == 1


@pytest.mark.parametrize("seed", range(40))
def test_positive_images_are_dealt_evenly_so_that_every_fold_leaves_some(seed):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 40, 150)
    positive = np.isin(groups, rng.choice(np.unique(groups), rng.integers(0, 20), replace=False)) & (
        rng.random(150) < 0.7
    )
    folds = int(rng.integers(2, 7))
    fold = deal_folds(groups, positive, folds=folds, seed=seed)
    for group in np.unique(groups):
        assert len(np.unique(fold[groups == group])) == 1
    here = np.bincount(fold, weights=positive, minlength=folds)
    assert here.max() - here.min() <= max((positive[groups == group].sum() for group in groups), default=0)
    if len(np.unique(groups[positive])) > 1:
        assert (here < positive.sum()).all()
    assert np.bincount(fold, minlength=folds).min() > 0


def test_without_positive_images_folds_are_dealt_by_size_alone():
    groups = np.random.default_rng(0).integers(0, 30, 100)
    np.testing.assert_array_equal(deal_folds(groups, np.zeros(100, bool)), deal_folds(groups))
    each = np.arange(50)
    np.testing.assert_array_equal(deal_folds(each, np.ones(50, bool)), deal_folds(each))


@pytest.mark.parametrize("positive", [1, 2, 5])
def test_a_perfect_answer_is_kept_whole(positive):
    box, none = np.array([[10.0, 20.0, 30.0, 40.0]]), np.zeros((0, 4))
    truth = [box] * positive + [none] * (30 - positive)
    confidence = [np.full(len(each), 0.9) for each in truth]
    fold = deal_folds(np.arange(30), [len(each) > 0 for each in truth])
    least = cross_fit_confidence(truth, truth, confidence, fold)
    assert all((values >= limit).all() for values, limit in zip(confidence, least, strict=True))
    assert (least[fold == fold[0]] == 0).all() == (positive == 1)


def test_each_threshold_is_chosen_without_its_fold():
    fold = np.array([0, 0, 1, 1, 2])
    asked = []

    def choose(rows):
        asked.append(rows.tolist())
        return float(rows.sum())

    np.testing.assert_array_equal(cross_fit(choose, fold), [9, 9, 5, 5, 6])
    assert asked == [[2, 3, 4], [0, 1, 4], [0, 1, 2, 3]]


def test_an_image_has_no_say_in_its_own_threshold():
    rng = np.random.default_rng(1)
    positive, probability = rng.random(100) < 0.5, rng.random(100)
    fold = deal_folds(np.arange(100))
    before = cross_fit(lambda rows: threshold_at_sensitivity(positive[rows], probability[rows]), fold)
    changed = np.where(fold == 2, probability / 10, probability)
    after = cross_fit(lambda rows: threshold_at_sensitivity(positive[rows], changed[rows]), fold)
    np.testing.assert_array_equal(after[fold == 2], before[fold == 2])
    assert (after[fold != 2] != before[fold != 2]).any()


def test_the_competition_s_operating_point(random_data):
    data = random_data(120, seed=5)
    fold = deal_folds(np.arange(120), folds=3)
    thresholds = cross_fit_confidence(*data, fold)
    for number in range(3):
        others = np.flatnonzero(fold != number)
        expected = best_confidence(threshold_curve(*([array[row] for row in others] for array in data)))[0]
        assert set(thresholds[fold == number]) == {expected}


def test_cross_fitting_does_not_flatter():
    # Boxes that are right by a coin's flip, with confidences that say nothing: choosing on the reported images finds a
    # threshold that seems better than answering everything; chosen on others it is not.
    chosen_here, chosen_elsewhere, everything = [], [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        box, far = np.array([[0.0, 0.0, 10.0, 10.0]]), np.array([[50.0, 50.0, 10.0, 10.0]])
        truth = [box] * 30
        boxes = [box if rng.random() < 0.5 else np.vstack([far, box]) for _ in range(30)]
        confidence = [rng.random(len(image)) for image in boxes]
        thresholds = cross_fit_confidence(truth, boxes, confidence, deal_folds(np.arange(30), seed=seed))

        def score(least, truth=truth, boxes=boxes, confidence=confidence):
            keep = [values >= threshold for values, threshold in zip(confidence, least, strict=True)]
            return competition_score(
                truth,
                [image[mask] for image, mask in zip(boxes, keep, strict=True)],
                [values[mask] for values, mask in zip(confidence, keep, strict=True)],
            )

        chosen_here.append(best_confidence(threshold_curve(truth, boxes, confidence))[1])
        chosen_elsewhere.append(score(thresholds))
        everything.append(score(np.zeros(30)))
    assert np.mean(chosen_here) > np.mean(everything) > np.mean(chosen_elsewhere)


def test_wrong_input_is_named(random_data):
    with pytest.raises(ValueError, match="folds: expected 2 or more, got 1"):
        deal_folds(["a", "b"], folds=1)
    with pytest.raises(ValueError, match="groups: 5 folds need at least 5 groups, got 2"):
        deal_folds(["a", "b", "b"])
    with pytest.raises(ValueError, match="image 1 has no group"):
        deal_folds([1.0, math.nan])
    with pytest.raises(ValueError, match=r"positive: expected the shape \(3,\), one an image, got \(2,\)"):
        deal_folds(["a", "b", "c"], [True, False], folds=2)
    with pytest.raises(ValueError, match="all images are in one fold"):
        cross_fit(lambda _: 0.5, np.zeros(3))
    truth, boxes, confidence = random_data(4, seed=0)
    with pytest.raises(ValueError, match="fold: expected one entry an image, 4, got 2"):
        cross_fit_confidence(truth, boxes, confidence, np.array([0, 1]))
    with pytest.raises(ValueError, match="got 4 of truth, 3 of boxes, 4 of confidence"):
        cross_fit_confidence(truth, boxes[:3], confidence, np.array([0, 1, 0, 1]))
