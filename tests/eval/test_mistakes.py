"""Every kind of error by hand, and the laws that hold for any data."""

import numpy as np
import pytest

from hilum.eval.competition import match_counts
from hilum.eval.mistakes import Kind, sort_mistakes, totals, worst_first

NONE = np.empty((0, 4))
NORMAL, NOT_NORMAL, OPACITY = "Normal", "No Lung Opacity / Not Normal", "Lung Opacity"

CASES = {
    # name: (truth, boxes by falling confidence, kinds of the boxes, kinds of the truth)
    "found": ([[0, 0, 100, 100]], [[0, 0, 100, 90]], ["found"], ["found"]),
    "missed": ([[0, 0, 100, 100]], [[500, 0, 100, 100]], ["false beside opacity"], ["missed"]),
    "double": ([[0, 0, 100, 100]], [[0, 0, 100, 100], [5, 0, 100, 100]], ["found", "double"], ["found"]),
    "double, though small": ([[0, 0, 100, 100]], [[0, 0, 100, 100], [0, 0, 40, 40]], ["found", "double"], ["found"]),
    "touches one that is found, but a free one more": (
        [[0, 0, 100, 100], [160, 0, 100, 100]],
        [[0, 0, 100, 100], [75, 0, 140, 100]],
        ["found", "wrong size"],
        ["found", "wrong size"],
    ),
    "wrong size": ([[0, 0, 100, 100]], [[0, 0, 300, 100]], ["wrong size"], ["wrong size"]),
    "wrong place": ([[0, 0, 100, 100]], [[50, 0, 100, 100]], ["wrong size"], ["wrong size"]),
    "both too small": (
        [[0, 0, 100, 100]],
        [[0, 0, 50, 50], [60, 60, 40, 40]],
        ["wrong size", "wrong size"],
        ["wrong size"],
    ),
    "hardly touches": ([[0, 0, 100, 100]], [[95, 0, 100, 100]], ["false beside opacity"], ["missed"]),
    "split": ([[0, 0, 100, 100]], [[0, 0, 100, 40], [0, 60, 100, 40]], ["split", "split"], ["split"]),
    "split in three, each too little to touch": (
        [[0, 0, 300, 100]],
        [[0, 0, 100, 80], [100, 0, 100, 80], [200, 0, 100, 80]],
        ["split"] * 3,
        ["split"],
    ),
    "pieces over one another do not add up": (
        [[0, 0, 100, 100]],
        [[0, 0, 100, 40], [0, 0, 100, 39]],
        ["wrong size", "wrong size"],
        ["wrong size"],
    ),
    "a piece that is found is no split": (
        [[0, 0, 100, 100]],
        [[0, 0, 100, 60], [0, 60, 100, 40]],
        ["found", "double"],
        ["found"],
    ),
    "merged": (
        [[0, 0, 100, 100], [200, 0, 100, 100]],
        [[0, 0, 300, 100]],
        ["merged"],
        ["merged", "merged"],
    ),
    "covers one, and one that is found": (
        [[0, 0, 100, 100], [150, 0, 100, 100]],
        [[0, 0, 100, 100], [0, 0, 250, 100]],
        ["found", "double"],
        ["found", "missed"],
    ),
    "covers two of different size, matches one": (
        [[0, 0, 100, 100], [100, 0, 30, 30]],
        [[0, 0, 130, 100]],
        ["found"],
        ["found", "missed"],
    ),
}


def arrays(*lists):
    return [np.array(rows, dtype=np.float64).reshape(-1, 4) for rows in lists]


@pytest.mark.parametrize("name", CASES)
def test_by_hand(name):
    truth, boxes, box_kinds, truth_kinds = CASES[name]
    confidence = [np.linspace(0.9, 0.1, len(boxes))]
    mistakes = sort_mistakes(arrays(truth), arrays(boxes), confidence, [OPACITY])
    assert mistakes.boxes == (tuple(box_kinds),)
    assert mistakes.truth == (tuple(truth_kinds),)


def test_images_without_opacity_by_class():
    box = [[0, 0, 10, 10]]
    mistakes = sort_mistakes(
        arrays([], [], [], []), arrays(box, box * 2, box, []), [np.ones(n) for n in (1, 2, 1, 0)],
        [NORMAL, NOT_NORMAL, "", NORMAL],
    )  # fmt: skip
    assert mistakes.boxes == (
        ("false on Normal",),
        ("false on Not Normal", "false on Not Normal"),
        ("false, class unknown",),
        (),
    )
    assert mistakes.truth == ((), (), (), ())
    assert totals(mistakes.boxes) == {
        "false on Normal": 1,
        "false on Not Normal": 2,
        "false, class unknown": 1,
    }
    assert [image.count(Kind.FALSE_NOT_NORMAL) for image in mistakes.boxes] == [0, 2, 0, 0]


def test_an_image_without_answer_is_missed_whatever_its_class():
    mistakes = sort_mistakes(arrays([[0, 0, 10, 10]] * 2), [NONE], [np.ones(0)], [NORMAL])
    assert mistakes.truth == (("missed", "missed"),)
    assert totals(mistakes.truth) == {"missed": 2}


def crowded(n_images, seed):
    """Images where boxes of every kind of error are common."""
    rng = np.random.default_rng(seed)
    truth, boxes, confidence, classes = [], [], [], []
    for _ in range(n_images):
        size = rng.uniform(40, 160, (rng.integers(0, 4), 2))
        truth.append(np.hstack([rng.uniform(0, 250, size.shape), size]))
        size = rng.uniform(20, 300, (rng.integers(0, 6), 2))
        boxes.append(np.hstack([rng.uniform(0, 250, size.shape), size]))
        if len(truth[-1]) and rng.random() < 0.5:  # two halves of a truth box
            x, y, width, height = truth[-1][0]
            share = rng.uniform(0.25, 0.4) * height
            boxes[-1] = np.vstack([boxes[-1], [[x, y, width, share], [x, y + height - share, width, share]]])
        confidence.append(rng.random(len(boxes[-1])))
        classes.append(str(rng.choice([NORMAL, NOT_NORMAL, ""])))
    return truth, boxes, confidence, classes


@pytest.mark.parametrize("seed", range(3))
def test_laws(seed):
    truth, boxes, confidence, classes = data = crowded(300, seed)
    mistakes = sort_mistakes(*data)
    # Every box has exactly one kind, and one that its side can have.
    assert [len(kinds) for kinds in mistakes.boxes] == [len(image) for image in boxes]
    assert [len(kinds) for kinds in mistakes.truth] == [len(image) for image in truth]
    assert "missed" not in totals(mistakes.boxes)
    truth_kinds = {Kind.FOUND, Kind.MERGED, Kind.SPLIT, Kind.WRONG_SIZE, Kind.MISSED}
    assert {Kind(name) for name in totals(mistakes.truth)} == truth_kinds
    assert {Kind(name) for name in totals(mistakes.boxes)} == set(Kind) - {Kind.MISSED}  # the data have them all
    counts = match_counts(truth, boxes, confidence)
    for side in (mistakes.boxes, mistakes.truth):
        np.testing.assert_array_equal([image.count(Kind.FOUND) for image in side], counts.true_positive[:, 0])
    for image, name, of_boxes, of_truth in zip(truth, classes, mistakes.boxes, mistakes.truth, strict=True):
        on_negative = {Kind.FALSE_NORMAL, Kind.FALSE_NOT_NORMAL, Kind.FALSE_UNKNOWN}
        assert set(of_boxes) <= on_negative if not len(image) else not on_negative & set(of_boxes)
        if not len(image):
            assert (Kind.FALSE_NORMAL in of_boxes) == (name == NORMAL and len(of_boxes) > 0)
        assert of_truth.count(Kind.MERGED) >= 2 or not of_truth.count(Kind.MERGED)
        assert (Kind.MERGED in of_boxes) == (Kind.MERGED in of_truth)
        assert of_boxes.count(Kind.SPLIT) >= 2 or not of_boxes.count(Kind.SPLIT)
        assert (Kind.SPLIT in of_boxes) == (Kind.SPLIT in of_truth)
        assert Kind.DOUBLE not in of_boxes or Kind.FOUND in of_truth
        assert Kind.WRONG_SIZE not in of_truth or Kind.WRONG_SIZE in of_boxes


def test_the_order_of_boxes_truth_and_images_does_not_matter():
    truth, boxes, confidence, classes = crowded(200, 7)
    mistakes = sort_mistakes(truth, boxes, confidence, classes)
    rng = np.random.default_rng(0)
    images = rng.permutation(200)
    truth_orders = [rng.permutation(len(truth[image])) for image in images]
    box_orders = [rng.permutation(len(boxes[image])) for image in images]
    shuffled = sort_mistakes(
        [truth[image][order] for image, order in zip(images, truth_orders, strict=True)],
        [boxes[image][order] for image, order in zip(images, box_orders, strict=True)],
        [confidence[image][order] for image, order in zip(images, box_orders, strict=True)],
        [classes[image] for image in images],
    )
    for image, box_order, truth_order, of_boxes, of_truth in zip(
        images, box_orders, truth_orders, shuffled.boxes, shuffled.truth, strict=True
    ):
        assert of_boxes == tuple(mistakes.boxes[image][box] for box in box_order)
        assert of_truth == tuple(mistakes.truth[image][box] for box in truth_order)


def test_scale_does_not_matter():
    truth, boxes, confidence, classes = crowded(100, 3)
    small = sort_mistakes([image / 8 for image in truth], [image / 8 for image in boxes], confidence, classes)
    assert small == sort_mistakes(truth, boxes, confidence, classes)


def test_the_worst_come_first():
    box = [[0, 0, 10, 10]]
    confidence = [np.array([0.3]), np.array([0.6, 0.5]), np.array([0.9]), np.ones(0), np.array([0.3])]
    mistakes = sort_mistakes(arrays([], [], box, [], []), arrays(box, box * 2, box, [], box), confidence, [NORMAL] * 5)
    np.testing.assert_array_equal(worst_first(mistakes.boxes, Kind.FALSE_NORMAL, confidence), [1, 0, 4])
    np.testing.assert_array_equal(worst_first(mistakes.boxes, Kind.FOUND, confidence), [2])
    assert len(worst_first(mistakes.boxes, Kind.SPLIT, confidence)) == 0
    with pytest.raises(ValueError, match="weights: expected one a box"):
        worst_first(mistakes.boxes, Kind.FOUND, confidence[:-1])


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="classes: expected one entry an image, 1, got 2"):
        sort_mistakes([NONE], [NONE], [np.ones(0)], [NORMAL, NORMAL])
    with pytest.raises(ValueError, match="boxes_xywh: expected one entry an image, 1, got 0"):
        sort_mistakes([NONE], [], [])


def test_nothing_at_all():
    mistakes = sort_mistakes([], [], [])
    assert mistakes.boxes == mistakes.truth == ()
    assert totals(mistakes.boxes) == {}
