import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hilum.config import check_config
from hilum.datasets.augmentation import (
    LEAST_IN_SIGHT,
    Augmentation,
    Variation,
    augment,
    draw,
    rectangle,
    vary_boxes,
    vary_boxes_with_classes,
    vary_picture,
)
from hilum.errors import HilumError

OFF = Augmentation(flip=0)
ALL = Augmentation(
    rotate_degrees=20, scale=0.2, translate=0.1, shear_degrees=10, gamma=0.3, noise=0.05, cutout=0.5, flip=0.5
)


def _noise(size=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (size, size), np.uint8)


def _vary(square, boxes, **variation):
    """Picture and boxes after one variation."""
    done = Variation(**variation)
    return vary_picture(torch.from_numpy(square), done).numpy(), vary_boxes(boxes, done, len(square))


def _ellipse(size, box):
    """A bright ellipse inscribed in a box, smooth at its edge."""
    x1, y1, x2, y2 = box
    across, down = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    radius = np.hypot((across - (x1 + x2) / 2) / ((x2 - x1) / 2), (down - (y1 + y2) / 2) / ((y2 - y1) / 2))
    softness = 2 / min(x2 - x1, y2 - y1)  # two pixels from full to nothing
    return (255 * np.clip(0.5 + (1 - radius) / (2 * softness), 0, 1)).round().astype(np.uint8)


def _bounds(square, at=127):
    rows, columns = np.nonzero(square > at)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def test_off_it_changes_nothing():
    square, boxes = _noise(), np.array([[1.5, 2, 30, 40], [0, 0, 64, 64], [3, 3, 3, 3]])
    same, same_boxes = augment(square, boxes, OFF, np.random.default_rng(0))
    assert (same == square).all()
    assert (same_boxes == boxes).all()
    no_boxes = augment(square, np.zeros((0, 4)), ALL, np.random.default_rng(0))[1]
    assert no_boxes.shape == (0, 4)


def test_by_default_pictures_are_flipped_and_no_more():
    assert Augmentation().model_dump() == {**dict.fromkeys(Augmentation.model_fields, 0), "flip": 0.5}
    square, boxes = _noise(), np.array([[1.5, 2, 30, 40]])
    mirrored = _vary(square, boxes, mirrored=True)
    seen = [augment(square, boxes, Augmentation(), np.random.default_rng(seed)) for seed in range(200)]
    flipped = [(picture == mirrored[0]).all() and (found == mirrored[1]).all() for picture, found in seen]
    assert all(was or (picture == square).all() for was, (picture, _) in zip(flipped, seen, strict=True))
    assert 70 < sum(flipped) < 130


@given(st.integers(0, 99))
def test_flip_twice_is_nothing_and_once_mirrors(seed):
    square = _noise(48, seed)
    boxes = np.array([[3, 5, 17.25, 20], [40, 0, 48, 48.0]])
    mirrored, mirrored_boxes = _vary(square, boxes, mirrored=True)
    for x1, y1, x2, y2 in mirrored_boxes[1:].astype(int):
        assert (mirrored[y1:y2, x1:x2] == square[0:48, 40:48][:, ::-1]).all()
    again, again_boxes = _vary(mirrored, mirrored_boxes, mirrored=True)
    assert (again == square).all()
    assert (again_boxes == boxes).all()


@given(
    st.floats(-45, 45),
    st.floats(-30, 30),
    st.floats(0.7, 1.3),
    st.tuples(st.floats(-5, 5), st.floats(-5, 5)),
    st.tuples(st.floats(140, 160), st.floats(140, 160), st.floats(5, 60), st.floats(5, 60)),
)
def test_the_box_of_a_moved_ellipse_is_that_of_its_moved_points(angle, shear, scale, translation, place):
    """A brute-force ellipse: thousands of points of its edge, moved one by one."""
    x, y, half_width, half_height = place
    turn = np.linspace(0, 2 * np.pi, 20_001)
    points = np.stack([x + half_width * np.cos(turn), y + half_height * np.sin(turn)]) - 150
    slanted = np.stack([points[0] - np.tan(np.radians(shear)) * points[1], points[1]]) * scale
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    moved = np.stack([cos * slanted[0] - sin * slanted[1], sin * slanted[0] + cos * slanted[1]]) + 150
    moved += np.array(translation)[:, None]
    expected = np.concatenate([moved.min(1), moved.max(1)])
    box = np.array([[x - half_width, y - half_height, x + half_width, y + half_height]])
    variation = Variation(angle_degrees=angle, shear_degrees=shear, scale=scale, translate_xy=translation)
    found = vary_boxes(box, variation, 300)
    np.testing.assert_allclose(found, [expected.clip(0, 300)], atol=1e-3)


@given(
    st.floats(-45, 45),
    st.floats(-20, 20),
    st.floats(0.8, 1.25),
    st.tuples(st.floats(-20, 20), st.floats(-20, 20)),
    st.booleans(),
)
def test_boxes_stay_with_what_they_are_around(angle, shear, scale, translation, mirrored):
    """The picture and its box move alike: a bright ellipse is found where the box says."""
    box = np.array([[95.0, 105, 165, 140]])
    square = _ellipse(256, box[0])
    if mirrored:
        square, box = _vary(square, box, mirrored=True)
    moved, found = _vary(square, box, angle_degrees=angle, shear_degrees=shear, scale=scale, translate_xy=translation)
    np.testing.assert_allclose(_bounds(moved), found[0], atol=1.6)


def test_without_turning_a_box_is_exact():
    box = np.array([[100.0, 110, 150, 130]])
    found = vary_boxes(box, Variation(scale=1.5, translate_xy=(3, -4)), 200)
    np.testing.assert_allclose(found, [[100 + 3, 115 - 4, 175 + 3, 145 - 4]])
    turned = vary_boxes(box, Variation(angle_degrees=90), 200)
    np.testing.assert_allclose(turned, [[70, 100, 90, 150]])


def test_boxes_that_leave_the_picture_are_cut_and_then_dropped():
    box = np.array([[150.0, 50, 190, 90]])
    for by, width in ((0, 40), (20, 30), (39, 11), (41, None)):
        found = vary_boxes(box, Variation(translate_xy=(by, 0)), 200)
        if width is None:
            assert LEAST_IN_SIGHT == 0.25
            assert found.shape == (0, 4)
        else:
            np.testing.assert_allclose(found, [[150 + by, 50, 150 + by + width, 90]])


@given(st.floats(0.3, 3))
def test_gamma_keeps_the_order_of_greys_and_black_and_white(exponent):
    greys = np.arange(256, dtype=np.uint8).reshape(16, 16)
    seen = _vary(greys, [], gamma=exponent)[0].ravel().astype(int)
    assert (np.diff(seen) >= 0).all()
    assert (seen[0], seen[-1]) == (0, 255)
    np.testing.assert_allclose(seen, 255 * (np.arange(256) / 255) ** exponent, atol=1.01)


@given(st.tuples(*[st.floats(0, 1)] * 4))
def test_a_cut_out_covers_one_rectangle_and_drops_what_can_hardly_be_seen(place):
    square = _noise(200)
    boxes = np.array([[x, y, x + side, y + side] for side in (4.0, 30, 120) for x in (0, 40) for y in (7, 60)])
    before = square.copy()
    covered, left = _vary(square, boxes, covered_xyxy=rectangle(200, place))
    assert (square == before).all()
    mean = round(float(square.mean()))
    changed = covered != square
    x1, x2 = np.nonzero(changed.any(0))[0][[0, -1]] + (0, 1)
    y1, y2 = np.nonzero(changed.any(1))[0][[0, -1]] + (0, 1)
    assert (covered[y1:y2, x1:x2] == mean).all()
    assert 17 <= x2 - x1 <= 50
    assert 17 <= y2 - y1 <= 50
    for box in boxes:
        seen = np.ones((200, 200), bool)
        seen[y1:y2, x1:x2] = False
        bx1, by1, bx2, by2 = box.astype(int)
        share = seen[by1:by2, bx1:bx2].mean()
        if abs(share - LEAST_IN_SIGHT) > 0.05:  # a covered edge that was of the mean's grey before is not seen
            assert (left == box).all(1).any() == (share > LEAST_IN_SIGHT)


def test_noise_is_as_strong_as_was_said():
    square = np.full((256, 256), 128, np.uint8)
    settings_ = Augmentation(flip=0, noise=0.05)
    deviations = []
    for seed in range(40):
        noisy = augment(square, [], settings_, np.random.default_rng(seed))[0].astype(float)
        assert abs(noisy.mean() - 128) < 0.5
        deviations.append(noisy.std() / 255)
    assert max(deviations) <= 0.051
    assert 0.015 < np.mean(deviations) < 0.035


def test_all_of_it_leaves_the_boxes_with_their_ellipses():
    """Everything on at once: inside its box, a bright ellipse on black stays the brightest."""
    box = np.array([[60.0, 80, 110, 120]])
    square = _ellipse(192, box[0])
    settings_ = ALL.model_copy(update={"cutout": 0, "noise": 0.02})
    for seed in range(40):
        seen, found = augment(square, box, settings_, np.random.default_rng(seed))
        bounds = _bounds(cv2.medianBlur(seen, 3), 100)
        np.testing.assert_allclose(bounds, found[0], atol=3)


def test_the_same_numbers_give_the_same_variant_and_others_another():
    square, boxes = _noise(), np.array([[20.0, 20, 40, 45]])
    one, again = (augment(square, boxes, ALL, np.random.default_rng([3, 1, 7])) for _ in range(2))
    other = augment(square, boxes, ALL, np.random.default_rng([3, 1, 8]))
    assert (one[0] == again[0]).all()
    assert (one[1] == again[1]).all()
    assert (one[0] != other[0]).any()


def test_turning_one_kind_on_leaves_the_others_as_they_were():
    square, boxes = _noise(), np.array([[20.0, 20, 40, 45]])
    some = ALL.model_copy(update={"gamma": 0, "noise": 0, "cutout": 0})
    for seed in range(10):
        plain = augment(square, boxes, some, np.random.default_rng(seed))
        darker = augment(square, boxes, some.model_copy(update={"gamma": 0.3}), np.random.default_rng(seed))
        assert (plain[1] == darker[1]).all()
        # Gamma is a table of greys: where the one picture has a grey, the other has one and the same.
        assert all(len(np.unique(darker[0][plain[0] == grey])) == 1 for grey in np.unique(plain[0]))


def test_a_mapped_file_is_only_read(tmp_path):
    np.save(tmp_path / "x.npy", _noise()[None])
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for seed in range(20):
        augment(mapped[0], [[20, 20, 40, 40]], ALL, np.random.default_rng(seed))
    assert (mapped[0] == _noise()).all()


def test_as_it_stands_a_variation_does_nothing():
    square, boxes = _noise(), np.array([[1.5, 2, 30, 40]])
    assert all((seen == given).all() for seen, given in zip(_vary(square, boxes), (square, boxes), strict=True))
    assert draw(OFF, 64, np.random.default_rng(0)).moves is False
    assert draw(ALL, 64, np.random.default_rng(0)).moves is True


@pytest.mark.gpu
def test_a_gpu_makes_the_same_of_a_picture():
    """To a grey of rounding; noise is another there, as strong."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    picture = torch.from_numpy(_noise(320))
    for seed in range(50):
        drawn = draw(ALL.model_copy(update={"noise": 0}), 320, np.random.default_rng(seed))
        here, there = vary_picture(picture, drawn), vary_picture(picture.cuda(), drawn)
        assert there.is_cuda
        assert (here.int() - there.cpu().int()).abs().max() <= 2  # a grey of the moved picture is two after gamma
    noisy = vary_picture(torch.full((320, 320), 128, dtype=torch.uint8).cuda(), Variation(noise=0.05))
    assert abs(float(noisy.double().std()) / 255 - 0.05) < 0.002


def test_a_wrong_setting_is_named():
    values = {"backend": "unet", "image_size": 32, "train": {"epochs": 1, "batch_size": 1}}
    with pytest.raises(HilumError, match=r"augmentation\.rotate_degree: unknown key; did you mean 'rotate_degrees'"):
        check_config({**values, "augmentation": {"rotate_degree": 3}}, "test")
    with pytest.raises(HilumError, match=r"augmentation\.gamma: .*got -1"):
        check_config({**values, "augmentation": {"gamma": -1}}, "test")


def test_a_box_that_is_dropped_takes_its_class_with_it():
    boxes, ids = np.array([[0, 0, 10, 10], [50, 50, 64, 64], [20, 20, 40, 40]]), np.array([2, 0, 1])
    away = Variation(translate_xy=(-12, 0))
    left, classes = vary_boxes_with_classes(boxes, ids, away, 64)
    np.testing.assert_array_equal(left, [[38, 50, 52, 64], [8, 20, 28, 40]])
    assert classes.tolist() == [0, 1]
    hidden = Variation(covered_xyxy=(50, 50, 64, 64))
    assert vary_boxes_with_classes(boxes, ids, hidden, 64)[1].tolist() == [2, 1]
    np.testing.assert_array_equal(vary_boxes(boxes, away, 64), left)
