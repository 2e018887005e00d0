import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hilum.datasets.fusion import Boxes
from hilum.ensemble.adjustments import by_image_score, by_relative_score, gate, share_to_score, shrink

FOUND = Boxes(np.array([[0.0, 0, 100, 50], [10, 10, 30, 30], [5, 5, 6, 6]]), np.array([0.8, 0.4, 0.39]))


@given(
    arrays.arrays(np.float64, (3, 2), elements=st.floats(0, 900)),
    arrays.arrays(np.float64, (3, 2), elements=st.floats(1, 500)),
    st.floats(0.5, 1.5),
)
def test_shrink_keeps_middles_and_scales_areas(corner, size, factor):
    boxes = np.hstack([corner, corner + size])
    shrunk = shrink(boxes, factor)
    np.testing.assert_allclose(shrunk[:, :2] + shrunk[:, 2:], boxes[:, :2] + boxes[:, 2:], atol=1e-9)
    np.testing.assert_allclose(shrunk[:, 2:] - shrunk[:, :2], size * factor, atol=1e-9)
    np.testing.assert_allclose(shrink(shrunk, 1 / factor), boxes, atol=1e-9)
    np.testing.assert_allclose(shrink(boxes, 1.0), boxes, atol=1e-12)


def test_shrink_by_hand():
    np.testing.assert_allclose(shrink(np.array([[100.0, 100, 300, 200]]), 0.5), [[150, 125, 250, 175]])


def test_the_gate_multiplies_or_holds_back():
    boxes, confidence = gate(FOUND, 0.5, mode="multiply")
    np.testing.assert_array_equal(boxes, FOUND[0])
    np.testing.assert_allclose(confidence, [0.4, 0.2, 0.195])
    np.testing.assert_array_equal(gate(FOUND, 0.5, mode="threshold", threshold=0.5)[1], FOUND[1])
    for mode in ("multiply", "threshold"):
        boxes, confidence = gate(FOUND, 0.49, mode=mode, threshold=0.5)
        assert boxes.shape == (0, 4)
        assert confidence.shape == (0,)


def test_near_best_keeps_the_best_and_what_is_half_as_good():
    np.testing.assert_array_equal(by_relative_score(FOUND, 0.5)[1], [0.8, 0.4])
    np.testing.assert_array_equal(by_relative_score(FOUND, 1.0)[1], [0.8])
    np.testing.assert_array_equal(by_relative_score(FOUND, 0.0)[1], FOUND[1])
    assert len(by_relative_score(Boxes(np.zeros((0, 4)), np.zeros(0)), 0.5)[1]) == 0


def test_an_image_is_answered_whole_or_not_at_all():
    np.testing.assert_array_equal(by_image_score(FOUND, 0.8)[1], FOUND[1])
    assert len(by_image_score(FOUND, 0.81)[1]) == 0
    assert len(by_image_score(Boxes(np.zeros((0, 4)), np.zeros(0)), 0.0)[1]) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40, unique=True), st.floats(0.01, 1))
def test_as_many_images_as_asked_for_reach_the_top(scores, share):
    reached = sum(score >= share_to_score(scores, share) for score in scores)
    assert reached == max(1, round(share * len(scores)))


def test_all_images_are_the_top_share_of_one():
    assert share_to_score([0.0, 0.3], 1.0) == 0.0
    assert share_to_score([0.1, 0.9, 0.5, 0.7], 0.5) == pytest.approx(0.7)
