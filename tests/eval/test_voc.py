"""PASCAL VOC's average precision: cases worked out by hand, the definition written out, and pycocotools at one IoU."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.eval.challenges import class_aps
from hilum.eval.coco import coco_ap
from hilum.eval.competition import competition_score
from hilum.eval.submission_row import Row
from hilum.eval.voc import mean_ap, voc_ap

TEN = [0, 0, 10, 10]
FAR = [500, 500, 7, 9]


def arrays(images):
    return [np.array(boxes, dtype=np.float64).reshape(-1, 4) for boxes in images]


def ap(truth, found, iou=0.5):
    """Truth boxes of each image; of each image pairs of a confidence and a box."""
    boxes = arrays([[box for _, box in image] for image in found])
    return voc_ap(arrays(truth), boxes, [np.array([sure for sure, _ in image], float) for image in found], iou=iou)


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        # Hit, false, hit: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1. Under the envelope: 1/2 x 1 + 1/2 x 2/3.
        ([[TEN, [50, 50, 10, 10]]], [[(0.9, TEN), (0.8, FAR), (0.7, [50, 50, 10, 9])]], 5 / 6),
        # False, hit, hit: precision 0, 1/2, 2/3; the envelope lifts the first hit to 2/3: 1/2 x 2/3 + 1/2 x 2/3.
        ([[TEN, [50, 50, 10, 10]]], [[(0.9, FAR), (0.8, TEN), (0.7, [50, 50, 10, 9])]], 2 / 3),
        # Of four truth boxes on three images two are found, first and third of all boxes: (1 + 2/3) / 4.
        ([[TEN], [TEN, FAR], [TEN]], [[(0.9, TEN)], [(0.4, TEN)], [(0.6, FAR)]], 5 / 12),
        # Nothing found, and nothing predicted.
        ([[TEN]], [[(0.9, FAR)]], 0),
        ([[TEN]], [[]], 0),
        # Boxes on images without truth lower the precision of what comes after them, and nothing else.
        ([[TEN], []], [[(0.9, TEN)], [(0.8, TEN), (0.7, TEN)]], 1),
        ([[TEN], []], [[(0.7, TEN)], [(0.9, TEN), (0.8, TEN)]], 1 / 3),
        # A second box on a truth box that is taken is false, and so delays the next hit: (1 + 2/3) / 2.
        ([[TEN, FAR]], [[(0.9, TEN), (0.8, TEN), (0.7, FAR)]], 5 / 6),
        # The surer of two boxes takes the truth box, though the other one fits better.
        ([[TEN]], [[(0.8, TEN), (0.9, [0, 0, 10, 9])]], 1),
    ],
)
def test_cases_worked_out_by_hand(truth, found, expected):
    assert ap(truth, found) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(("height", "iou"), [(5, 0.5), (4, 0.4), (7.5, 0.75)])
def test_an_iou_that_is_the_threshold_is_no_match(height, iou):
    assert ap([[TEN]], [[(0.9, [0, 0, 10, height])]], iou=iou) == 0
    assert ap([[TEN]], [[(0.9, [0, 0, 10, height + 0.01])]], iou=iou) == 1


def test_a_box_belongs_to_the_truth_box_it_overlaps_most_even_if_that_is_taken():
    # The second box: IoU 90 / 110 with the first truth box, which is taken, and 80 / 120 with the free one.
    truth, found = [[TEN, [3, 0, 10, 10]]], [[(0.9, TEN), (0.8, [1, 0, 10, 10])]]
    assert ap(truth, found) == 0.5
    # RSNA's metric gives it the free one, at every threshold up to 0.65: TP 2, or 1 of 3 boxes in all.
    boxes = arrays([[box for _, box in found[0]]])
    assert competition_score(arrays(truth), boxes, [np.array([0.9, 0.8])]) == pytest.approx((6 + 2 / 3) / 8)


def test_equal_ious_go_to_the_first_truth_box():
    # 8 x 10 of each: IoU 2/3 with both. The first is taken by then, so the box is false.
    truth, box = [[0, 0, 10, 10], [4, 0, 10, 10]], [2, 0, 10, 10]
    assert ap([truth], [[(0.9, truth[0]), (0.8, box)]]) == 0.5
    assert ap([truth[::-1]], [[(0.9, truth[0]), (0.8, box)]]) == 1


def test_equal_confidences_keep_the_order_of_images_and_of_boxes():
    assert ap([[TEN], []], [[(0.5, TEN)], [(0.5, TEN)]]) == 1
    assert ap([[], [TEN]], [[(0.5, TEN)], [(0.5, TEN)]]) == 0.5
    assert ap([[TEN]], [[(0.5, FAR), (0.5, TEN)]]) == 0.5


def test_a_truth_box_that_is_there_twice_counts_once():
    assert ap([[TEN, FAR, TEN]], [[(0.9, TEN), (0.8, FAR)]]) == 1
    # So it is with three readers who agree; boxes that differ are others.
    assert ap([[TEN, [0, 0, 10, 9]]], [[(0.9, TEN)]]) == 0.5
    assert ap([[TEN], [TEN]], [[(0.9, TEN)], []]) == 0.5


def test_without_a_truth_box_there_is_no_figure():
    assert math.isnan(ap([[]], [[(0.9, TEN)]]))
    assert math.isnan(voc_ap([], [], [], iou=0.5))
    assert mean_ap([0.5, math.nan, 1.0]) == 0.75
    assert math.isnan(mean_ap([math.nan]))


@pytest.mark.parametrize(
    ("truth", "boxes", "confidence", "iou", "message"),
    [
        ([TEN], [TEN], [0.5], 1.0, "iou: expected a threshold from 0 to below 1, got 1.0"),
        ([TEN], [TEN], [0.5], -0.1, "iou"),
        ([TEN], [[0, 0, 0, 1]], [0.5], 0.5, "boxes_xywh of image 0, box 0"),
        ([[0, 0, 1, math.nan]], [TEN], [0.5], 0.5, "truth_xywh of image 0, box 0"),
        ([TEN], [TEN], [math.inf], 0.5, "confidence of image 0, box 0"),
        ([TEN], [TEN], [0.5, 0.4], 0.5, "confidence of image 0: expected the shape"),
    ],
)
def test_what_is_no_box_is_refused(truth, boxes, confidence, iou, message):
    with pytest.raises(ValueError, match=message):
        voc_ap(arrays([truth]), arrays([boxes]), [np.array(confidence)], iou=iou)
    with pytest.raises(ValueError, match="expected one entry an image, 1, got 0"):
        voc_ap(arrays([[TEN]]), [], [], iou=0.5)


# The definition, written out

side = st.integers(1, 12)
boxes = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12), side, side), max_size=4)
confidences = st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9])
images = st.lists(st.tuples(boxes, st.lists(st.tuples(confidences, st.tuples(*[side] * 4)), max_size=5)), max_size=5)


def overlap(one, other):
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    both = max(width, 0) * max(height, 0)
    return both / (one[2] * one[3] + other[2] * other[3] - both)


def devkit(truth, found, iou):
    """As the devkit's document has it: a pass over all boxes, and the envelope from the right."""
    truth = [list(dict.fromkeys(map(tuple, image))) for image in truth]
    total = sum(map(len, truth))
    if not total:
        return math.nan
    taken = [[False] * len(image) for image in truth]
    right = []
    for _, number, box in sorted(
        ((sure, number, box) for number, image in enumerate(found) for sure, box in image), key=lambda each: -each[0]
    ):
        best, most = None, -1.0
        for index, true in enumerate(truth[number]):
            if overlap(box, true) > most:
                best, most = index, overlap(box, true)
        right.append(most > iou and not taken[number][best])
        if right[-1]:
            taken[number][best] = True
    recall, precision = [0.0], [0.0]
    for count in range(1, len(right) + 1):
        recall.append(sum(right[:count]) / total)
        precision.append(sum(right[:count]) / count)
    recall, precision = [*recall, 1.0], [*precision, 0.0]
    for index in range(len(precision) - 2, -1, -1):
        precision[index] = max(precision[index], precision[index + 1])
    return sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))


@given(images, st.sampled_from([0.4, 0.5]))
def test_it_is_what_the_definition_says(data, iou):
    truth, found = [image for image, _ in data], [image for _, image in data]
    assert ap(truth, found, iou) == pytest.approx(devkit(truth, found, iou), abs=1e-12, nan_ok=True)


def test_pycocotools_differs_by_its_101_recalls_alone_where_no_truth_boxes_overlap():
    """Of truth boxes that lie apart a box can belong to one alone; then only the curve is read elsewise."""
    rng = np.random.default_rng(0)
    differs = []
    for _ in range(20):
        truth, found, sure = [], [], []
        for _ in range(30):
            grid = rng.permutation(9)[: rng.integers(0, 4)]
            true = np.column_stack([grid % 3 * 100, grid // 3 * 100, np.full((len(grid), 2), 60)]).astype(float)
            near = true + rng.normal(0, 6, true.shape)
            false = np.column_stack([rng.uniform(0, 250, (2, 2)), rng.uniform(20, 60, (2, 2))])
            truth.append(true)
            found.append(np.vstack([near, false]))
            sure.append(np.concatenate([rng.uniform(0.3, 1, len(near)), rng.uniform(0, 0.8, 2)]))
        ours, theirs = voc_ap(truth, found, sure, iou=0.4), coco_ap(truth, found, sure, iou_thresholds=(0.4,))
        assert 0.3 < ours < 1
        differs.append(theirs - ours)
    # A sum at 0, 0.01, ... 1 under a falling curve from 1 to 0 is off by less than one step.
    assert 0 < max(map(abs, differs)) < 1 / 100


# Classes


def test_the_mean_is_over_the_classes_of_the_truth():
    whole = [0, 0, 1, 1]

    def row(*boxes):
        return Row(
            arrays([[box for *_, box in boxes]])[0], np.array([b[1] for b in boxes], float), tuple(b[0] for b in boxes)
        )

    truth = {
        "a": row(("opacity", 1, TEN)),
        "b": row(("none", 1, whole)),
        "c": row(("none", 1, whole)),
        "s_study": row(("typical", 1, whole)),
    }
    found = {
        "a": row(("opacity", 0.9, TEN), ("none", 0.6, whole)),
        "b": row(("none", 0.9, whole)),
        "c": row(("opacity", 0.95, TEN), ("none", 0.5, whole)),
        "s_study": row(("typical", 0.1, whole), ("negative", 0.9, whole)),
        "stranger": row(("none", 1, whole)),
    }
    # opacity: false, hit: 1/2. none: hit, false, hit: (1 + 2/3) / 2. negative is no class of the truth.
    assert class_aps(truth, found, iou=0.5) == {"opacity": 0.5, "none": pytest.approx(5 / 6), "typical": 1}
    assert class_aps(truth, {}, iou=0.5) == {"opacity": 0, "none": 0, "typical": 0}
