import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from hilum.datasets.letterbox import Letterbox
from hilum.datasets.masks import boxes_to_mask
from hilum.segmenters.masks_to_boxes import enlarge_foreground, mask_to_boxes, probability_to_boxes


def _map(*rows: str) -> np.ndarray:
    """A probability map from digits: 9 is 0.9."""
    return np.array([[int(digit) / 10 for digit in row] for row in rows], dtype=np.float32)


def test_edges_are_half_open():
    probability = np.zeros((40, 30), np.float32)
    probability[5:8, 10:20] = 0.75
    boxes, confidence = mask_to_boxes(probability)
    assert boxes.tolist() == [[10, 5, 20, 8]]
    assert confidence.tolist() == [0.75]
    assert boxes.dtype == confidence.dtype == np.float64


def test_confidence_is_the_mean_inside_the_box():
    boxes, confidence = mask_to_boxes(_map("0000", "0910", "0980", "0000"))
    assert boxes.tolist() == [[1, 1, 3, 3]]
    assert confidence == pytest.approx([(0.9 + 0.1 + 0.9 + 0.8) / 4])


def test_confidence_may_fall_below_the_threshold():
    assert mask_to_boxes(_map("600", "060", "006"))[1] == pytest.approx([0.2])


def test_exactly_the_threshold_is_background():
    half = np.full((2, 2), 0.5, np.float32)
    assert len(mask_to_boxes(half)[0]) == 0
    assert len(mask_to_boxes(np.nextafter(half, np.float32(1)))[0]) == 1
    assert len(mask_to_boxes(half, threshold=0.4)[0]) == 1
    assert mask_to_boxes(_map("59"))[0].tolist() == [[1, 0, 2, 1]]


def test_corners_touch_in_8_but_not_in_4():
    diagonal = _map("800", "090", "000")
    assert mask_to_boxes(diagonal)[0].tolist() == [[0, 0, 2, 2]]
    assert mask_to_boxes(diagonal, connectivity=4)[0].tolist() == [[1, 1, 2, 2], [0, 0, 1, 1]]


def test_min_area_counts_the_components_pixels():
    # 3 pixels in a box of 4, and a box of 2
    probability = _map("90099", "99000")
    assert mask_to_boxes(probability, min_area_px=3)[0].tolist() == [[0, 0, 2, 2]]
    assert len(mask_to_boxes(probability, min_area_px=2)[0]) == 2
    assert len(mask_to_boxes(probability, min_area_px=4)[0]) == 0


def test_confidence_may_be_the_highest_inside_the_box():
    probability = _map("0000", "0910", "0680", "0000")
    assert mask_to_boxes(probability, confidence="max")[1] == pytest.approx([0.9])
    boxes, confidence = mask_to_boxes(_map("70007", "00000", "99000"), confidence="max")
    assert confidence == pytest.approx([0.9, 0.7, 0.7])
    assert boxes[:, 1].tolist() == [2, 0, 0]


def test_interpolation_never_makes_more_than_certain():
    probability = np.full((7, 9), 1, np.float32)
    for how in ("mean", "max"):
        assert (probability_to_boxes(probability, (1021, 733), confidence=how)[1] <= 1).all()


def test_what_a_component_encloses_is_part_of_it():
    ring = _map("99999", "90009", "90809", "90009", "99999")
    assert mask_to_boxes(ring)[0].tolist() == [[2, 2, 3, 3], [0, 0, 5, 5]]
    assert mask_to_boxes(ring, fill_holes=True)[0].tolist() == [[0, 0, 5, 5]]
    assert len(mask_to_boxes(ring, min_area_px=17)[0]) == 0
    assert len(mask_to_boxes(ring, min_area_px=25, fill_holes=True)[0]) == 1
    assert mask_to_boxes(ring, fill_holes=True)[1] == mask_to_boxes(ring)[1].min()  # still of the map, holes and all


def test_a_hole_at_the_border_is_none():
    bay = _map("9999", "9009", "9009")
    assert len(mask_to_boxes(bay, min_area_px=9, fill_holes=True)[0]) == 0


def test_a_hole_that_opens_at_a_corner_is_open_only_where_foreground_does_not_join_there():
    diamond = _map("00800", "08080", "80808", "08080", "00800")
    assert len(mask_to_boxes(diamond)[0]) == 1  # joined at corners, it encloses all
    boxes, _ = mask_to_boxes(diamond, fill_holes=True, min_area_px=13)
    assert boxes.tolist() == [[0, 0, 5, 5]]
    assert len(mask_to_boxes(diamond, connectivity=4, fill_holes=True)[0]) == 9  # each alone, and nothing is enclosed


@given(st.integers(0, 2**31), st.integers(1, 14), st.integers(1, 14), st.floats(0, 1), st.sampled_from([4, 8]))
def test_holes_are_scipys_holes(seed, height, width, share, connectivity):
    rng = np.random.default_rng(seed)
    probability = (rng.random((height, width)) < share).astype(np.float32)
    background = ndimage.generate_binary_structure(2, 1 if connectivity == 8 else 2)
    filled = ndimage.binary_fill_holes(probability > 0.5, background)
    expected = mask_to_boxes(filled.astype(np.float32), connectivity=connectivity)[0]
    found, confidence = mask_to_boxes(probability, connectivity=connectivity, fill_holes=True)
    assert sorted(found.tolist()) == sorted(expected.tolist())
    plain, plain_confidence = mask_to_boxes(probability, connectivity=connectivity)
    by_box = dict(zip(map(tuple, plain.tolist()), plain_confidence.tolist(), strict=True))
    assert [by_box[tuple(box)] for box in found.tolist()] == confidence.tolist()  # fewer boxes, and no other ones


def test_falling_confidence_and_reading_order():
    boxes, confidence = mask_to_boxes(_map("0607", "0000", "0809", "0000", "0709"))
    assert confidence == pytest.approx([0.9, 0.9, 0.8, 0.7, 0.7, 0.6])
    assert boxes[:, :2].tolist() == [[3, 2], [3, 4], [1, 2], [3, 0], [1, 4], [1, 0]]


@pytest.mark.parametrize(
    "find", [mask_to_boxes, lambda probability, **options: probability_to_boxes(probability, (50, 40), **options)]
)
class TestBoth:
    @pytest.mark.parametrize("options", [{}, {"min_area_px": 9999, "threshold": 0.1}])
    def test_no_boxes(self, find, options):
        boxes, confidence = find(np.full((4, 5), 0.3, np.float32), **options)
        assert boxes.shape == (0, 4)
        assert confidence.shape == (0,)
        assert boxes.dtype == confidence.dtype == np.float64

    @pytest.mark.parametrize("dtype", [np.float16, np.float64])
    def test_other_floats_are_converted(self, find, dtype):
        probability = np.zeros((8, 10))
        probability[2:5, 3:9] = 0.75
        for found, expected in zip(find(probability.astype(dtype)), find(probability.astype(np.float32)), strict=True):
            assert len(found) == 1
            np.testing.assert_array_equal(found, expected)

    def test_nan_is_an_error(self, find):
        broken = np.zeros((4, 5), np.float32)
        broken[1, 2] = np.nan
        with pytest.raises(ValueError, match="NaN"):
            find(broken)

    @pytest.mark.parametrize("shape", [(1, 4, 5), (20,), (0, 4)])
    def test_shape_is_an_error(self, find, shape):
        with pytest.raises(ValueError, match=r"\(h, w\)"):
            find(np.zeros(shape, np.float32))


def _by_flood_fill(probability: np.ndarray) -> list[tuple[list[float], float]]:
    left = {(int(y), int(x)) for y, x in np.argwhere(probability > 0.5)}
    found = []
    while left:
        component, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            component.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            edge += near
        ys, xs = zip(*component, strict=True)
        x1, y1, x2, y2 = min(xs), min(ys), max(xs) + 1, max(ys) + 1
        found.append(([x1, y1, x2, y2], float(probability[y1:y2, x1:x2].astype(np.float64).mean())))
    return sorted(found)


@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 12), st.floats(0, 1))
def test_agrees_with_flood_fill(seed, height, width, share):
    rng = np.random.default_rng(seed)
    probability = (rng.random((height, width)) * (rng.random((height, width)) < share)).astype(np.float32)
    boxes, confidence = mask_to_boxes(probability)
    expected = _by_flood_fill(probability)
    assert sorted(boxes.tolist()) == [box for box, _ in expected]
    by_box = {tuple(box): mean for box, mean in expected}
    assert len(by_box) < len(expected) or confidence == pytest.approx([by_box[tuple(box)] for box in boxes])
    assert (np.diff(confidence) <= 0).all()


@st.composite
def _separated_boxes(draw):
    """One box or none in each 20 px cell of a 100 x 60 image, never touching its cell's right or bottom edge."""
    boxes = []
    for left in range(0, 100, 20):
        for top in range(0, 60, 20):
            if draw(st.booleans()):
                x1, y1 = draw(st.integers(0, 15)), draw(st.integers(0, 15))
                x2, y2 = draw(st.integers(x1 + 1, 19)), draw(st.integers(y1 + 1, 19))
                boxes.append([left + x1, top + y1, left + x2, top + y2])
    return boxes


@given(_separated_boxes())
def test_boxes_to_mask_to_boxes(boxes):
    found, confidence = mask_to_boxes(boxes_to_mask(boxes, (100, 60)).astype(np.float32))
    assert sorted(found.tolist()) == sorted(boxes)
    assert (confidence == 1).all()


def test_size_is_width_then_height():
    probability = np.zeros((20, 10), np.float32)
    probability[4:8, 6:9] = 1
    boxes, confidence = probability_to_boxes(probability, (100, 40))
    assert boxes.tolist() == [[60, 8, 90, 16]]
    # bilinear: the box's edge cells fade into the background
    assert 0.7 < confidence[0] < 0.95


def test_same_size_is_not_resized():
    probability = np.random.default_rng(0).random((32, 48)).astype(np.float32)
    for given_size, alone in zip(probability_to_boxes(probability, (48, 32)), mask_to_boxes(probability), strict=True):
        np.testing.assert_array_equal(given_size, alone)


@given(st.integers(0, 2**31), st.floats(0.05, 0.95), st.tuples(st.integers(1, 90), st.integers(1, 90)))
def test_is_resize_and_mask_to_boxes(seed, threshold, size_wh):
    small = np.random.default_rng(seed).random((7, 9)).astype(np.float32) ** 4
    large = cv2.resize(small, size_wh, interpolation=cv2.INTER_LINEAR)
    if abs(small.max() - threshold) < 1e-5:
        return  # the resize rounds
    options = {"threshold": threshold, "min_area_px": 3, "connectivity": 4}
    for found, expected in zip(
        probability_to_boxes(small, size_wh, **options), mask_to_boxes(large, **options), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from([(1, 1), (8, 8), (3, 2), (16, 5), (7, 3), (1, 2)]),
    st.integers(0, 2**31),
)
def test_the_enlarged_part_is_cut_out_of_the_whole_and_holds_all_foreground(size_wh, ratio, seed):
    """Of a map with a few bright spots, in images whose pixels begin together with the map's at many places or none."""
    rng = np.random.default_rng(seed)
    probability = (0.1 * rng.random(size_wh[::-1])).astype(np.float32)
    for _ in range(2):
        probability[rng.integers(size_wh[1]), rng.integers(size_wh[0])] = 0.9
    numerator, denominator = ratio
    image_wh = tuple(max(1, side * numerator // denominator) for side in size_wh)
    whole = cv2.resize(probability, image_wh, interpolation=cv2.INTER_LINEAR)
    part, (left, top) = enlarge_foreground(probability, image_wh, 0.3)
    seen = np.zeros_like(whole)
    seen[top : top + part.shape[0], left : left + part.shape[1]] = part
    np.testing.assert_array_equal(seen > 0.3, whole > 0.3)
    x, y, width, height = cv2.boundingRect((whole > 0.3).astype(np.uint8))
    inside = slice(y, y + height), slice(x, x + width)
    np.testing.assert_allclose(seen[inside], whole[inside], atol=1e-5)


def test_of_a_small_opacity_little_is_enlarged():
    probability = np.zeros((128, 128), np.float32)
    probability[40:60, 100:110] = 1
    part, left_top = enlarge_foreground(probability, (1024, 1024), 0.5)
    assert part.shape == (22 * 8, 12 * 8)
    assert left_top == (99 * 8, 39 * 8)


def test_nothing_above_the_threshold_never_makes_the_large_map(monkeypatch):
    probability = np.full((8, 8), 0.5, np.float32)
    monkeypatch.setattr(cv2, "resize", lambda *_, **__: pytest.fail("resized for nothing"))
    assert len(probability_to_boxes(probability, (1024, 1024))[0]) == 0


@pytest.mark.parametrize("size_wh", [(0, 5), (5, -1)])
def test_size_must_be_positive(size_wh):
    with pytest.raises(ValueError, match="positive"):
        probability_to_boxes(np.ones((4, 4), np.float32), size_wh)


@given(st.booleans(), st.floats(0, 300), st.floats(0, 600), st.floats(20, 200), st.floats(20, 400))
def test_round_trip_through_a_letterbox(lying, x1, y1, width, height):
    """Box -> square -> mask -> map -> box, on 500 x 1024: off by half a small pixel, and half one of the image."""
    box, original_wh = np.array([x1, y1, x1 + width, y1 + height]), (500, 1024)
    if lying:
        box, original_wh = box[[1, 0, 3, 2]], (1024, 500)
    letterbox = Letterbox.fit(original_wh, 256)
    square = boxes_to_mask(letterbox.boxes_to_square([box]), (256, 256)).astype(np.float32)
    boxes, _ = probability_to_boxes(letterbox.crop(square), original_wh)
    assert len(boxes) == 1
    tolerance = 0.5 / min(letterbox.scale_xy) + 0.5
    assert np.abs(boxes[0] - box).max() <= tolerance + 1e-9
