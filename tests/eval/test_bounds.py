"""The bounds given a perfect classifier and given perfect boxes."""

import numpy as np
import pytest

from hilum.eval.bounds import with_perfect_boxes, with_perfect_classifier
from hilum.eval.competition import competition_score, image_scores

NONE = np.empty((0, 4))
BOX = np.array([[100, 100, 200, 200]])
HALF = np.array([[100, 100, 200, 100]])
SILENT = np.ones(0)

# With opacity: found half, silent. Without: false positive, silent.
TRUTH = [np.vstack([BOX, BOX + 300]), BOX, NONE, NONE]
BOXES = [HALF, NONE, BOX, NONE]
CONFIDENCE = [np.array([0.6]), SILENT, np.array([0.9]), SILENT]


def test_a_perfect_classifier_takes_boxes_away_and_adds_none():
    boxes, confidence = with_perfect_classifier(TRUTH, BOXES, CONFIDENCE)
    np.testing.assert_array_equal(boxes[0], HALF)
    np.testing.assert_array_equal(confidence[0], [0.6])
    assert [len(image) for image in boxes] == [len(image) for image in confidence] == [1, 0, 0, 0]


def test_perfect_boxes_leave_the_images_that_are_answered():
    boxes, confidence = with_perfect_boxes(TRUTH, BOXES, CONFIDENCE)
    np.testing.assert_array_equal(boxes[0], TRUTH[0])
    np.testing.assert_array_equal(confidence[0], [0.6, 0.6])
    np.testing.assert_array_equal(boxes[2], BOX)
    np.testing.assert_array_equal(confidence[2], [0.9])
    assert [len(image) for image in boxes] == [len(image) for image in confidence] == [2, 0, 1, 0]
    assert competition_score(TRUTH, boxes, confidence) == pytest.approx(1 / 3)


@pytest.mark.parametrize("seed", range(5))
def test_laws(random_data, seed):
    truth, boxes, confidence = random_data(150, seed=seed)
    score = competition_score(truth, boxes, confidence)
    scores = image_scores(truth, boxes, confidence)
    has_truth = np.array([len(image) > 0 for image in truth])
    answered = np.array([len(image) > 0 for image in boxes])
    classified = with_perfect_classifier(truth, boxes, confidence)
    drawn = with_perfect_boxes(truth, boxes, confidence)
    assert competition_score(truth, *classified) == pytest.approx(scores[has_truth].mean())
    assert competition_score(truth, *drawn) == pytest.approx(
        (has_truth & answered).sum() / (has_truth | answered).sum()
    )
    assert score < competition_score(truth, *classified)
    assert score < competition_score(truth, *drawn)
    both = with_perfect_boxes(truth, *classified)
    assert competition_score(truth, *both) == pytest.approx(answered[has_truth].mean())
    for once, function in ((classified, with_perfect_classifier), (drawn, with_perfect_boxes)):
        twice = function(truth, *once)
        for first, second in zip(once[0] + once[1], twice[0] + twice[1], strict=True):
            np.testing.assert_array_equal(first, second)  # doing it twice changes nothing


def test_the_answer_itself_is_not_changed():
    boxes = [image.copy() for image in BOXES]
    with_perfect_classifier(TRUTH, boxes, CONFIDENCE)
    with_perfect_boxes(TRUTH, boxes, CONFIDENCE)
    for before, after in zip(BOXES, boxes, strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("function", [with_perfect_classifier, with_perfect_boxes])
def test_wrong_input_is_named(function):
    with pytest.raises(ValueError, match="boxes_xywh: expected one entry an image, 4, got 3"):
        function(TRUTH, BOXES[:3], CONFIDENCE)
    with pytest.raises(ValueError, match="confidence: expected one entry an image, 4, got 3"):
        function(TRUTH, BOXES, CONFIDENCE[:3])
    with pytest.raises(ValueError, match="truth_xywh of image 0"):
        function([np.zeros((1, 4)), *TRUTH[1:]], BOXES, CONFIDENCE)
