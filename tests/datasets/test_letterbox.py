import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.datasets.letterbox import Letterbox

_sides = st.integers(1, 3000)


@pytest.mark.parametrize(
    ("original_wh", "size", "inner_wh", "pad_left", "pad_top"),
    [
        ((1024, 1024), 320, (320, 320), 0, 0),
        ((500, 1024), 256, (125, 256), 65, 0),
        ((1024, 500), 256, (256, 125), 0, 65),
        ((10, 20), 40, (20, 40), 10, 0),
        ((1, 5000), 64, (1, 64), 31, 0),
        ((7, 7), 7, (7, 7), 0, 0),
    ],
)
def test_fit(original_wh, size, inner_wh, pad_left, pad_top):
    assert Letterbox.fit(original_wh, size) == Letterbox(original_wh, size, inner_wh, pad_left, pad_top)


@given(_sides, _sides, st.integers(1, 1024))
def test_fit_fills_the_square_keeps_the_aspect_and_centres(width, height, size):
    letterbox = Letterbox.fit((width, height), size)
    inner_width, inner_height = letterbox.inner_wh
    assert max(inner_width, inner_height) == size
    assert min(inner_width, inner_height) >= 1
    scale = size / max(width, height)
    assert abs(inner_width - width * scale) <= 0.5 or inner_width == 1
    assert abs(inner_height - height * scale) <= 0.5 or inner_height == 1
    assert 0 <= (size - inner_width - letterbox.pad_left) - letterbox.pad_left <= 1
    assert 0 <= (size - inner_height - letterbox.pad_top) - letterbox.pad_top <= 1


@given(_sides, _sides, st.integers(1, 1024), st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=3))
def test_round_trip_of_boxes(width, height, size, shares):
    letterbox = Letterbox.fit((width, height), size)
    boxes = np.array(shares).reshape(-1, 4) * (width, height, width, height)
    back = letterbox.boxes_to_original(letterbox.boxes_to_square(boxes))
    assert back.shape == boxes.shape
    np.testing.assert_allclose(back, boxes, rtol=0, atol=1e-6)


@given(_sides, _sides, st.integers(1, 1024))
def test_the_image_and_its_frame_go_together(width, height, size):
    letterbox = Letterbox.fit((width, height), size)
    left, top, (inner_width, inner_height) = letterbox.pad_left, letterbox.pad_top, letterbox.inner_wh
    frame = letterbox.boxes_to_square([[0, 0, width, height]])
    np.testing.assert_allclose(frame, [[left, top, left + inner_width, top + inner_height]], atol=1e-9)


def test_back_in_the_image_boxes_are_clipped():
    letterbox = Letterbox.fit((500, 1000), 100)  # scale 0.1, 25 columns of padding on each side
    back = letterbox.boxes_to_original([[0, -3, 50, 50], [50, 50, 100, 103], [0, 10, 20, 20]])
    np.testing.assert_allclose(back, [[0, 0, 250, 500], [250, 500, 500, 1000], [0, 100, 0, 200]])


def test_no_boxes():
    letterbox = Letterbox.fit((500, 1000), 100)
    assert letterbox.boxes_to_square([]).shape == (0, 4)
    assert letterbox.boxes_to_original(np.zeros((0, 4))).shape == (0, 4)


@pytest.mark.parametrize(
    ("side", "interpolation"), [(100, cv2.INTER_AREA), (30, cv2.INTER_LINEAR)], ids=["shrinks", "grows"]
)
def test_square_images_are_plainly_resized(side, interpolation):
    image = np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)
    square = Letterbox.fit((side, side), 64).apply(image)
    np.testing.assert_array_equal(square, cv2.resize(image, (64, 64), interpolation=interpolation))


def test_same_size_is_a_copy():
    image = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    square = Letterbox.fit((64, 64), 64).apply(image)
    np.testing.assert_array_equal(square, image)
    assert not np.shares_memory(square, image)


@pytest.mark.parametrize("original_wh", [(50, 103), (103, 50), (5, 11)])
def test_padding_and_crop(original_wh):
    letterbox = Letterbox.fit(original_wh, 32)
    image = np.full(original_wh[::-1], 200, np.uint8)
    square = letterbox.apply(image, fill=7)
    assert square.shape == (32, 32)
    inner = letterbox.crop(square)
    assert inner.shape == letterbox.inner_wh[::-1]
    assert (inner == 200).all()
    assert (square == 7).sum() == 32 * 32 - inner.size > 0
    assert not letterbox.apply(np.zeros_like(image)).any()


def test_crop_takes_leading_dimensions_and_any_type():
    letterbox = Letterbox.fit((10, 20), 8)
    maps = np.arange(2 * 64, dtype=np.float32).reshape(2, 8, 8)
    np.testing.assert_array_equal(letterbox.crop(maps), maps[:, :, 2:6])


def test_a_spot_lands_where_its_box_does():
    image = np.zeros((300, 120), np.uint8)
    image[200:220, 30:50] = 255
    letterbox = Letterbox.fit((120, 300), 60)
    x1, y1, x2, y2 = letterbox.boxes_to_square([[30, 200, 50, 220]])[0].astype(int)
    square = letterbox.apply(image)
    assert (square[y1:y2, x1:x2] == 255).all()
    assert square.astype(int).sum() == 255 * (y2 - y1) * (x2 - x1)


@pytest.mark.parametrize("image", [np.zeros((10, 20), np.uint8), np.zeros((20, 10), np.float32)])
def test_other_images_are_refused(image):
    with pytest.raises(ValueError, match=r"uint8 image of shape \(20, 10\), got"):
        Letterbox.fit((10, 20), 8).apply(image)


def test_other_maps_are_refused():
    with pytest.raises(ValueError, match=r"got \(8, 9\)"):
        Letterbox.fit((10, 20), 8).crop(np.zeros((8, 9)))


@pytest.mark.parametrize(("original_wh", "size"), [((0, 5), 8), ((5, -1), 8), ((5, 5), 0)])
def test_sizes_must_be_positive(original_wh, size):
    with pytest.raises(ValueError, match="positive"):
        Letterbox.fit(original_wh, size)


def test_is_a_value():
    letterbox = Letterbox.fit((10, 20), 8)
    assert hash(letterbox) == hash(Letterbox.fit((10, 20), 8))
    with pytest.raises(dataclasses.FrozenInstanceError):
        letterbox.size = 9
