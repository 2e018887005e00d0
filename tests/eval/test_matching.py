"""The pairs behind the competition's counts."""

import numpy as np
import pytest

from hilum.eval.competition import IOU_THRESHOLDS, match_counts
from hilum.eval.matching import match_boxes

NONE = np.empty((0, 4))
BOX = np.array([[100, 100, 200, 200]])


@pytest.mark.parametrize("tied", [False, True])
def test_pairs_add_up_to_the_competition_s_counts_at_every_threshold(random_data, tied):
    data = random_data(300, seed=1, tied=tied)
    expected = match_counts(*data).true_positive
    for column, threshold in enumerate(IOU_THRESHOLDS):
        pairs = match_boxes(*data, iou=threshold)
        np.testing.assert_array_equal([np.count_nonzero(pair >= 0) for pair in pairs], expected[:, column])


def test_many_boxes_of_equal_confidence_go_in_the_order_given():
    rng = np.random.default_rng(0)
    truth = [np.array([[0, 0, 100, 100], [60, 0, 100, 100], [120, 0, 100, 100]])] * 20
    boxes = [image[rng.integers(0, 3, 40)] + rng.integers(-20, 20, (40, 4)) for image in truth]
    confidence = [rng.integers(0, 2, 40) / 2 for _ in truth]
    for values, image, pair in zip(confidence, boxes, match_boxes(truth, boxes, confidence), strict=True):
        order = sorted(range(40), key=lambda box: -values[box])  # Python's sort is stable
        distinct = match_boxes(truth[:1], [image[order]], [np.arange(40, 0, -1)])[0]
        np.testing.assert_array_equal(pair[order], distinct)


def test_no_truth_box_is_taken_twice(random_data):
    for pair in match_boxes(*random_data(200, seed=2), iou=0.05):
        taken = pair[pair >= 0]
        assert len(np.unique(taken)) == len(taken)


def test_the_surer_box_chooses_first_and_takes_the_best():
    truth = np.array([[0, 0, 100, 100], [0, 20, 100, 100]])
    between = np.array([0, 12, 100, 100])  # IoU 0.79 with the first, 0.85 with the second
    first, second = match_boxes([truth], [np.array([between, truth[1]])], [np.array([0.9, 0.8])])[0]
    assert (first, second) == (1, 0)  # the second finds its own taken, and the other still close enough
    first, second = match_boxes([truth], [np.array([between, truth[1]])], [np.array([0.8, 0.9])])[0]
    assert (first, second) == (0, 1)


def test_the_threshold_itself_is_no_match():
    truth, boxes = [np.array([[0, 0, 10, 10]])], [np.array([[0, 0, 10, 4]])]
    assert match_boxes(truth, boxes, [np.ones(1)])[0].tolist() == [-1]
    assert match_boxes(truth, boxes, [np.ones(1)], iou=0.39)[0].tolist() == [0]


def test_images_without_anything():
    pairs = match_boxes([NONE, BOX, NONE], [NONE, NONE, BOX], [np.ones(0), np.ones(0), np.ones(1)])
    assert [pair.tolist() for pair in pairs] == [[], [], [-1]]
    assert match_boxes([], [], []) == []


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="boxes_xywh: expected one entry an image, 1, got 0"):
        match_boxes([BOX], [], [])
    with pytest.raises(ValueError, match=r"confidence of image 0: expected the shape \(1,\), one a box, got \(2,\)"):
        match_boxes([BOX], [BOX], [np.ones(2)])
    with pytest.raises(ValueError, match="iou: expected a threshold from 0 to below 1, got 1"):
        match_boxes([BOX], [BOX], [np.ones(1)], iou=1)
