import cv2
import numpy as np
import pytest

from hilum.ensemble.views import View

VIEWS = [View(mirrored, scale) for mirrored in (False, True) for scale in (1.0, 0.9, 0.7, 1.1, 1.4)]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("size_wh", [(200, 200), (151, 240), (240, 151)])
def test_a_box_drawn_into_the_image_is_found_in_the_view_and_brought_back(view, size_wh):
    """The picture itself says where the box went."""
    width, height = size_wh
    box = np.array([width // 2 - 30, height // 2 - 20, width // 2 + 5, height // 2 + 31])
    image = np.zeros((height, width), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    shown = view.show(image)
    assert shown.flags.c_contiguous
    assert shown.shape == (round(height / view.scale), round(width / view.scale))
    x, y, w, h = cv2.boundingRect(shown)
    assert (w, h) == (35, 51)
    boxes, confidence = view.bring_back((np.array([[x, y, x + w, y + h]], np.float64), np.array([0.5])), size_wh)
    np.testing.assert_array_equal(boxes, [box])
    assert confidence.tolist() == [0.5]


@pytest.mark.parametrize("view", VIEWS)
def test_what_lies_in_the_margin_alone_is_dropped_and_the_rest_cut(view):
    image = np.zeros((100, 100), np.uint8)
    height, width = view.show(image).shape
    corners = np.array([[0, 0, 4, 4], [0, 0, width, height]], np.float64)
    if view.mirrored:
        corners = corners[:, [2, 1, 0, 3]] * (-1, 1, -1, 1) + (width, 0, width, 0)
    boxes, confidence = view.bring_back((corners, np.array([0.9, 0.8])), (100, 100))
    if view.scale < 0.95:  # the first lies in the margin
        np.testing.assert_array_equal(boxes, [[0, 0, 100, 100]])
        assert confidence.tolist() == [0.8]
    else:
        assert len(boxes) == 2
    assert (boxes >= 0).all()
    assert (boxes <= 100).all()


def test_the_plain_view_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (30, 50), dtype=np.uint8)
    found = (np.array([[1.5, 2, 30, 20.25]]), np.array([0.3]))
    np.testing.assert_array_equal(View().show(image), image)
    np.testing.assert_array_equal(View().bring_back(found, (50, 30))[0], found[0])


def test_a_closer_view_shows_the_middle():
    image = np.arange(100, dtype=np.uint8).reshape(10, 10)
    np.testing.assert_array_equal(View(scale=1.25).show(image), image[1:9, 1:9])
