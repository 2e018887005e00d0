import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hilum.datasets.masks import boxes_to_mask, paint_masks, pixel_edges


def test_integer_boxes_are_exact_and_united():
    mask = boxes_to_mask([[1, 0, 4, 2], [3, 1, 5, 3]], size_wh=(6, 4))
    assert mask.tolist() == [[0, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 0], [0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0]]
    assert mask.dtype == np.uint8


@pytest.mark.parametrize(
    ("x1", "x2", "columns"),
    [
        (1.5, 3.5, [1, 2]),  # a left edge on a centre takes it, a right edge on a centre does not
        (1.51, 3.51, [2, 3]),
        (1.49, 3.49, [1, 2]),
        (2.6, 3.4, []),  # too thin for any centre
        (2.4, 2.6, [2]),
        (2, 2, []),
        (-7.2, 1.2, [0]),
        (4.2, 99, [4, 5]),
        (-9, -3, []),
        (30, 40, []),
    ],
)
def test_a_pixel_is_in_if_its_centre_is(x1, x2, columns):
    across = boxes_to_mask([[x1, 0, x2, 1]], size_wh=(6, 1))
    down = boxes_to_mask([[0, x1, 1, x2]], size_wh=(1, 6))
    assert np.flatnonzero(across).tolist() == np.flatnonzero(down).tolist() == columns


_coordinates = st.one_of(st.floats(-5, 25), st.integers(-10, 50).map(lambda halves: halves / 2))
_boxes = st.tuples(_coordinates, _coordinates, _coordinates, _coordinates).map(
    lambda c: [min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3])]
)


@given(st.lists(_boxes, max_size=4))
def test_agrees_with_the_definition(boxes):
    expected = np.zeros((13, 17))
    for x1, y1, x2, y2 in boxes:
        for row in range(13):
            for column in range(17):
                if x1 <= column + 0.5 < x2 and y1 <= row + 0.5 < y2:
                    expected[row, column] = 1
    np.testing.assert_array_equal(boxes_to_mask(boxes, size_wh=(17, 13)), expected)


@given(st.lists(st.lists(_boxes, max_size=4), min_size=1, max_size=3))
def test_many_squares_are_painted_as_each_alone(squares):
    edges = torch.zeros(len(squares), max(map(len, squares)), 4, dtype=torch.int64)
    for row, boxes in zip(edges, squares, strict=True):
        row[: len(boxes)] = torch.from_numpy(pixel_edges(boxes, (17, 17)))
    expected = np.stack([boxes_to_mask(boxes, (17, 17)) for boxes in squares])
    np.testing.assert_array_equal(paint_masks(edges, 17).numpy(), expected)


@pytest.mark.parametrize("boxes", [[], np.zeros((0, 4)), np.zeros(0)])
def test_no_boxes(boxes):
    mask = boxes_to_mask(boxes, size_wh=(5, 3))
    assert mask.shape == (3, 5)
    assert not mask.any()


@pytest.mark.parametrize("box", [[5, 0, 3, 2], [0, 5, 2, 3], [0, 0, float("nan"), 2], [0, 0, float("inf"), 2]])
def test_boxes_that_are_none(box):
    with pytest.raises(ValueError, match=r"x1 <= x2 and y1 <= y2, got \["):
        boxes_to_mask([[0, 0, 1, 1], box], size_wh=(8, 8))
