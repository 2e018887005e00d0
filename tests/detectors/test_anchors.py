"""Anchors fitted to boxes: what k-means must satisfy whatever the data, and how shapes fall to levels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hilum.detectors.anchors import fit_anchors, mean_best_iou, shape_iou

STRIDES = (8, 16, 32, 64, 128)
boxes = arrays(np.float64, st.tuples(st.integers(1, 40), st.just(2)), elements=st.floats(4, 400))


@given(boxes, st.integers(1, 5), st.sampled_from([1, 3, 9]))
def test_laws(boxes_wh, levels, per_level):
    anchors = fit_anchors(boxes_wh, STRIDES[:levels], per_level)
    assert anchors.shape == (levels, per_level, 2)
    assert (anchors > 0).all()
    assert (np.diff(anchors.prod(axis=2).mean(axis=1)) >= -1e-6).all()  # the coarser the level, the larger
    shuffled = fit_anchors(boxes_wh[::-1], STRIDES[:levels], per_level)
    assert mean_best_iou(boxes_wh, shuffled) == pytest.approx(mean_best_iou(boxes_wh, anchors), abs=1e-9)
    doubled = fit_anchors(2 * boxes_wh, [2 * stride for stride in STRIDES[:levels]], per_level)
    np.testing.assert_allclose(doubled, 2 * anchors)


def test_shapes_that_are_there_are_found():
    planted = np.array([[40.0, 60], [90, 80], [60, 160], [150, 220], [220, 300], [120, 330]])
    rng = np.random.default_rng(0)
    boxes_wh = planted[rng.integers(0, 6, 600)] * rng.uniform(0.97, 1.03, (600, 2))
    anchors = fit_anchors(boxes_wh, (8, 16), 3).reshape(-1, 2)
    assert shape_iou(planted, anchors).max(axis=1).min() > 0.97


def test_they_cover_boxes_better_than_those_of_coco():
    rng = np.random.default_rng(1)
    boxes_wh = np.column_stack([rng.normal(110, 30, 500), rng.normal(165, 60, 500)]).clip(20, 400)
    coco = np.array(
        [(size / ratio**0.5, size * ratio**0.5) for size in (32, 64, 128, 256, 512) for ratio in (0.5, 1, 2)]
    )
    fitted = fit_anchors(boxes_wh, (4, 8, 16, 32, 64), 3)
    assert mean_best_iou(boxes_wh, fitted) > mean_best_iou(boxes_wh, coco) + 0.1


def test_levels_whose_cells_lie_too_far_apart_get_none_of_the_fitted():
    boxes_wh = np.random.default_rng(2).uniform(30, 60, (200, 2))
    anchors = fit_anchors(boxes_wh, STRIDES, 3)
    sides = np.sqrt(anchors.prod(axis=2).mean(axis=1))
    fitted = int((sides <= 60).sum())
    assert fitted == 2  # at 32 pixels a side of at most 60 is less than twice as long
    assert (sides[:fitted] >= 2 * np.array(STRIDES[:fitted])).all()
    for coarse in range(fitted, 5):
        np.testing.assert_allclose(anchors[coarse], anchors[fitted - 1] * STRIDES[coarse] / STRIDES[fitted - 1])


def test_iou_of_shapes_by_hand():
    some, others = np.array([[2.0, 2], [1, 4]]), np.array([[4.0, 1], [2, 2], [2, 4]])
    np.testing.assert_allclose(shape_iou(some, others), [[2 / 6, 1, 0.5], [1 / 7, 2 / 6, 0.5]])


@pytest.mark.parametrize("bad", [np.zeros((0, 2)), [[3.0, 0.0]], [[-1.0, 2.0]]])
def test_without_boxes_there_is_nothing_to_fit(bad):
    with pytest.raises(ValueError, match="at least one box"):
        fit_anchors(bad, STRIDES, 3)
