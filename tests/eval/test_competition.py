"""The competition's metric: cases by hand, a slow reference by the text, laws, and the cases made of real data."""

import ast
import csv
import gzip
import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.eval import competition
from hilum.eval.coco import evaluate_images
from hilum.eval.competition import (
    IOU_THRESHOLDS,
    ThresholdCurve,
    best_confidence,
    choose_confidence,
    competition_score,
    image_scores,
    match_counts,
    threshold_curve,
)
from hilum.eval.submission import read_submission

EXACT_THRESHOLDS = [Fraction(percent, 100) for percent in range(40, 80, 5)]


def boxes_array(boxes):
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def arrays(images):
    """Turns (truth, boxes, confidence) of each image into the three sequences that the functions take."""
    return (
        [boxes_array(truth) for truth, _, _ in images],
        [boxes_array(boxes) for _, boxes, _ in images],
        [np.array(confidence, dtype=np.float64) for _, _, confidence in images],
    )


def kept(data, at_least):
    """The data set with only the boxes of at least this confidence."""
    truth, boxes, confidence = data
    keep = [values >= at_least for values in confidence]
    return (
        truth,
        [b[k] for b, k in zip(boxes, keep, strict=True)],
        [c[k] for c, k in zip(confidence, keep, strict=True)],
    )


# The reference: the text of the rules, box by box, in fractions of whole numbers.


def exact_iou(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    overlap = max(width, 0) * max(height, 0)
    return Fraction(overlap, a[2] * a[3] + b[2] * b[3] - overlap)


def reference_counts(truth, boxes, confidence, strict):
    """(TP, FP, FN) of one image at each threshold."""
    result = []
    iou = [[exact_iou(box, t) for t in truth] for box in boxes]
    for threshold in EXACT_THRESHOLDS:
        free = set(range(len(truth)))
        for box in sorted(range(len(boxes)), key=lambda index: -confidence[index]):
            best = None
            for candidate in sorted(free):
                if best is None or iou[box][candidate] > iou[box][best]:
                    best = candidate
            if best is not None and (iou[box][best] > threshold or (iou[box][best] == threshold and not strict)):
                free.remove(best)
        hits = len(truth) - len(free)
        result.append((hits, len(boxes) - hits, len(free)))
    return result


def reference_score(images, strict):
    scores = []
    for truth, boxes, confidence in images:
        if truth or boxes:
            counts = reference_counts(truth, boxes, confidence, strict)
            scores.append(sum(Fraction(tp, tp + fp + fn) for tp, fp, fn in counts) / len(counts))
    return float(sum(scores) / len(scores)) if scores else math.nan


# Few places and sizes, so that IoUs of exactly a threshold, equal IoUs and equal confidences all come up.
box = st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(1, 10), st.integers(1, 5))
predicted = st.tuples(box, st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9]))
an_image = st.tuples(st.lists(box, max_size=4), st.lists(predicted, max_size=6)).map(
    lambda pair: (pair[0], [b for b, _ in pair[1]], [c for _, c in pair[1]])
)
data_sets = st.lists(an_image, max_size=6)


def random_images(n_images, seed):
    """The same distribution from numpy, for thousands of images at once."""
    rng = np.random.default_rng(seed)

    def some(most):
        n = rng.integers(0, most + 1)
        return np.column_stack(
            [rng.integers(0, 6, n), rng.integers(0, 3, n), rng.integers(1, 11, n), rng.integers(1, 6, n)]
        )

    images = []
    for _ in range(n_images):
        truth, boxes = some(4).tolist(), some(6).tolist()
        images.append((truth, boxes, rng.choice([0.1, 0.25, 0.5, 0.75, 0.9], len(boxes)).tolist()))
    return images


ONE = [100, 100, 200, 200]
F = Fraction
# Q is truth box B. P is nearer to B (4/5) than to A (3/5); Q and A have 2/5.
A, B = [0, 0, 60, 10], [20, 0, 80, 10]
P, Q = [0, 0, 100, 10], B
# S covers both truth boxes L and R, with 1/2 each.
L, R, S = [0, 0, 10, 10], [10, 0, 10, 10], [0, 0, 20, 10]

HAND_CASES = {  # name: truth, boxes, confidence, score, score at or above
    "truth only": ([ONE], [], [], 0, 0),
    "prediction only": ([], [ONE], [0.9], 0, 0),
    "perfect": ([ONE], [ONE], [0.9], 1, 1),
    "IoU 2/5": ([[0, 0, 500, 100]], [[0, 0, 200, 100]], [0.9], 0, F(1, 8)),
    "IoU 9/20": ([[0, 0, 200, 100]], [[0, 0, 90, 100]], [0.9], F(1, 8), F(2, 8)),
    "IoU 1/2": ([ONE], [[100, 100, 200, 100]], [0.9], F(2, 8), F(3, 8)),
    "IoU 11/20": ([[0, 0, 200, 100]], [[0, 0, 110, 100]], [0.9], F(3, 8), F(4, 8)),
    "IoU 3/5": ([[0, 0, 100, 100]], [[0, 0, 60, 100]], [0.9], F(4, 8), F(5, 8)),
    "IoU 13/20": ([[0, 0, 100, 100]], [[0, 0, 65, 100]], [0.9], F(5, 8), F(6, 8)),
    "IoU 7/10": ([[0, 0, 100, 100]], [[0, 0, 70, 100]], [0.9], F(6, 8), F(7, 8)),
    "IoU 3/4": ([ONE], [[100, 100, 200, 150]], [0.9], F(7, 8), 1),
    "no +1 pixel: 4/9, not 25/50": ([[0, 0, 9, 4]], [[0, 0, 4, 4]], [0.9], F(1, 8), F(1, 8)),
    "touching edges": ([[100, 100, 100, 100]], [[200, 100, 100, 100]], [0.9], 0, 0),
    "a truth box is taken once": ([ONE], [ONE, ONE], [0.9, 0.8], F(1, 2), F(1, 2)),
    # Matched once, at 0.40, the half box would keep the truth box from the perfect one.
    "each threshold for itself": ([ONE], [[100, 100, 200, 100], ONE], [0.9, 0.8], F(1, 2), F(1, 2)),
    "the highest IoU, not the first": ([A, B], [P, Q], [0.9, 0.8], F(1, 3), (1 + 7 * F(1, 3)) / 8),
    "by falling confidence": ([A, B], [P, Q], [0.8, 0.9], (4 + 4 * F(1, 3)) / 8, (5 + 3 * F(1, 3)) / 8),
    "equal confidences, P first": ([A, B], [P, Q], [0.5, 0.5], F(1, 3), (1 + 7 * F(1, 3)) / 8),
    "equal confidences, Q first": ([A, B], [Q, P], [0.5, 0.5], (4 + 4 * F(1, 3)) / 8, (5 + 3 * F(1, 3)) / 8),
    "equal IoUs, the other box wants L": ([L, R], [S, L], [0.9, 0.8], F(1, 3), F(1, 3)),
    "equal IoUs, the other box wants R": ([L, R], [S, R], [0.9, 0.8], (2 + 6 * F(1, 3)) / 8, (3 + 5 * F(1, 3)) / 8),
}


@pytest.mark.parametrize("name", HAND_CASES)
def test_hand_cases(name):
    truth, boxes, confidence, score, at_or_above = HAND_CASES[name]
    data = arrays([(truth, boxes, confidence)])
    assert competition_score(*data) == pytest.approx(float(score), abs=1e-12)
    assert competition_score(*data, strict=False) == pytest.approx(float(at_or_above), abs=1e-12)


def test_thresholds_are_the_doubles_nearest_to_the_decimals():
    assert [Fraction(str(threshold)) for threshold in IOU_THRESHOLDS] == EXACT_THRESHOLDS


def test_an_image_without_truth_and_prediction_does_not_count():
    data = arrays([([ONE], [ONE], [0.9]), ([], [], []), ([], [ONE], [0.1])])
    np.testing.assert_array_equal(image_scores(*data), [1, np.nan, 0])
    assert competition_score(*data) == 0.5


@pytest.mark.parametrize("n_images", [0, 1, 3])
def test_nothing_counts(n_images):
    data = arrays([([], [], [])] * n_images)
    assert math.isnan(competition_score(*data))
    assert image_scores(*data).shape == (n_images,)
    assert all(array.shape == (n_images, 8) for array in match_counts(*data))


def test_whole_numbers_and_float32_are_taken():
    truth, boxes = np.array([ONE]), np.array([[100, 100, 200, 100]])
    assert competition_score([truth], [boxes.astype(np.float32)], [np.array([0.9], dtype=np.float32)]) == 0.25


@pytest.mark.parametrize("strict", [True, False])
def test_counts_are_those_of_the_rules_text(strict):
    images = random_images(4000, seed=7)
    ours = np.stack(match_counts(*arrays(images), strict=strict), axis=-1)
    theirs = np.array([reference_counts(*image, strict) for image in images])
    np.testing.assert_array_equal(ours, theirs)


@given(data_sets, st.booleans())
def test_score_is_that_of_the_rules_text(images, strict):
    expected = reference_score(images, strict)
    assert competition_score(*arrays(images), strict=strict) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def hits_of_cocoeval(data, strict):
    """Which boxes COCOeval matches, image by image and by falling confidence, (boxes, 8).

    Its definition differs in three points (see `hilum.eval.coco`), each of which is levelled here, so that nothing is
    left out: it matches at or above the threshold, which is above it for the next double up; of equal IoUs it takes the
    last truth box, which is the first in reverse order; and no image here has more than its 100 boxes.
    """
    truth, boxes, confidence = data
    assert max(map(len, boxes), default=0) <= 100
    thresholds = np.nextafter(IOU_THRESHOLDS, 1) if strict else IOU_THRESHOLDS
    evaluation = evaluate_images([t[::-1] for t in truth], boxes, confidence, iou_thresholds=thresholds)
    hits = [(image["dtMatches"] > 0).T for image in evaluation.evalImgs if image is not None and len(image["dtIds"])]
    return np.concatenate([np.zeros((0, 8), dtype=bool), *hits])


def check_against_cocoeval(data, strict):
    """Box by box, which says more than counts."""
    matches = competition._match(*data, strict=strict)
    theirs = hits_of_cocoeval(data, strict)
    hits_so_far = np.cumsum(theirs, axis=0)
    before_image = np.concatenate([np.zeros((1, 8), dtype=int), hits_so_far])[np.flatnonzero(matches.rank == 0)]
    of_image = np.cumsum(matches.rank == 0) - 1
    np.testing.assert_array_equal(matches.hits_so_far, hits_so_far - before_image[of_image])
    return theirs


@given(data_sets, st.booleans())
def test_matching_is_that_of_cocoeval(images, strict):
    check_against_cocoeval(arrays(images), strict)


def test_matching_of_many_images_is_that_of_cocoeval():
    data = arrays(random_images(3000, seed=8))
    strict, at_or_above = check_against_cocoeval(data, strict=True), check_against_cocoeval(data, strict=False)
    # The cases would tell: some hit a threshold exactly, and some have equal IoUs.
    assert (strict != at_or_above).any()
    backwards = [t[::-1] for t in data[0]], *data[1:]
    assert (hits_of_cocoeval(data, strict=True) != hits_of_cocoeval(backwards, strict=True)).any()


def test_matching_of_boxes_in_fractions_of_pixels_is_that_of_cocoeval():
    rng = np.random.default_rng(10)
    truth = [rng.uniform([0, 0, 100, 100], [700, 700, 300, 300], (n, 4)) for n in rng.integers(0, 5, 1500)]
    near = [
        t[rng.integers(0, max(len(t), 1), 6 * (len(t) > 0))] + rng.normal(0, 15, (6 * (len(t) > 0), 4)) for t in truth
    ]
    confidence = [rng.random(len(b), dtype=np.float32) for b in near]
    theirs = check_against_cocoeval((truth, near, confidence), strict=True)
    assert 0.2 < theirs.mean() < 0.8


@st.composite
def exactly_at_a_threshold(draw):
    """A truth box and a predicted one of whole pixels whose IoU is percent/100 to the last digit."""
    percent = draw(st.sampled_from(range(40, 80, 5)))
    height, left, top = draw(st.integers(1, 1024)), draw(st.integers(0, 1000)), draw(st.integers(0, 1000))
    if draw(st.booleans()):  # the one inside the other: widths as percent to 100
        unit = 100 // math.gcd(percent, 100)
        width = unit * draw(st.integers(1, 1024 // unit))
        inside = width * percent // 100
        boxes = [left, top, width, height], [left + draw(st.integers(0, width - inside)), top, inside, height]
    else:  # of one size, moved by d: (w - d) / (w + d)
        unit = (100 + percent) // math.gcd(100 + percent, 100 - percent)
        width = unit * draw(st.integers(1, 1024 // unit))
        shift = width * (100 - percent) // (100 + percent)
        boxes = [left, top, width, height], [left + shift, top, width, height]
    truth, box = draw(st.permutations(boxes))
    assert exact_iou(truth, box) == Fraction(percent, 100)
    return truth, box, percent


@given(exactly_at_a_threshold())
def test_an_iou_of_exactly_a_threshold(case):
    truth, box, percent = case
    data = arrays([([truth], [box], [0.9])])
    passed = (percent - 40) // 5  # thresholds below
    assert match_counts(*data).true_positive.sum() == passed
    assert match_counts(*data, strict=False).true_positive.sum() == passed + 1
    assert competition_score(*data) == passed / 8


@given(
    st.tuples(st.integers(0, 700), st.integers(0, 700), st.integers(1, 324), st.integers(1, 324)),
    st.tuples(st.integers(-40, 40), st.integers(-40, 40), st.integers(-40, 40), st.integers(-40, 40)),
    st.booleans(),
)
def test_whole_pixels_are_compared_without_rounding(truth, change, strict):
    box = [*np.add(truth[:2], change[:2]).tolist(), *np.maximum(np.add(truth[2:], change[2:]), 1).tolist()]
    iou = exact_iou(truth, box)
    expected = [iou > threshold or (iou == threshold and not strict) for threshold in EXACT_THRESHOLDS]
    counts = match_counts(*arrays([([truth], [box], [0.9])]), strict=strict)
    np.testing.assert_array_equal(counts.true_positive[0], expected)


def check_curve(data, strict, thresholds=None):
    """The curve against the loop it stands for: leave out the boxes below, score what is left."""
    curve = threshold_curve(*data, strict=strict)
    distinct = np.unique(np.concatenate([np.empty(0), *data[2]]))[::-1]
    np.testing.assert_array_equal(curve.confidence, distinct)
    for index in range(len(distinct)) if thresholds is None else thresholds:
        scores = image_scores(*kept(data, distinct[index]), strict=strict)
        assert curve.score[index] == pytest.approx(np.nanmean(scores), abs=1e-12)
        assert curve.n_scored[index] == np.count_nonzero(~np.isnan(scores))
    return curve


@given(data_sets, st.booleans())
def test_curve_is_the_slow_loop(images, strict):
    curve = check_curve(arrays(images), strict)
    assert (np.diff(curve.n_scored) >= 0).all()


def test_curve_of_many_images_is_the_slow_loop():
    truth, boxes, _ = arrays(random_images(1000, seed=9))
    rng = np.random.default_rng(0)
    confidence = [rng.random(len(b)).round(3) for b in boxes]
    chosen = rng.choice(len(np.unique(np.concatenate(confidence))), 100, replace=False)
    curve = check_curve((truth, boxes, confidence), strict=True, thresholds=chosen)
    assert curve.score[-1] == pytest.approx(competition_score(truth, boxes, confidence), abs=1e-12)


def test_best_confidence_is_the_best_of_the_curve():
    # The second box is right, the third wrong, and the fourth is on an image that then begins to count.
    data = arrays([([A, ONE], [A, ONE, [900, 900, 9, 9]], [0.9, 0.6, 0.3]), ([], [ONE], [0.2])])
    curve = threshold_curve(*data)
    np.testing.assert_allclose(curve.score, [1 / 2, 1, 2 / 3, 1 / 3], atol=1e-12)
    assert best_confidence(curve) == (0.6, 1.0)


def test_best_confidence_of_equal_scores_is_the_highest():
    # 0.1 + 0.2 is above 0.3 by rounding alone.
    curve = ThresholdCurve(np.array([0.9, 0.8, 0.7, 0.6]), np.array([0.1, 0.3, 0.1 + 0.2, 0.2]), np.full(4, 9))
    assert best_confidence(curve) == (0.8, 0.3)
    only_wrong = threshold_curve(*arrays([([], [ONE, ONE], [0.9, 0.2])]))
    assert best_confidence(only_wrong) == (0.9, 0.0)


@pytest.mark.parametrize("seed", range(60))
def test_an_operating_point_keeps_a_box_wherever_one_scores_and_all_where_nothing_can_be_told(random_data, seed):
    rng = np.random.default_rng(seed)
    truth, boxes, confidence = random_data(int(rng.integers(1, 6)), seed, tied=bool(seed % 2))
    if seed % 3 == 0:
        truth = [np.empty((0, 4)) for _ in truth]
    if seed % 5 == 0:
        boxes, confidence = [np.empty((0, 4)) for _ in truth], [np.empty(0) for _ in truth]
    least, score = choose_confidence(truth, boxes, confidence)
    every = np.concatenate([np.empty(0), *confidence])
    assert least <= every.max(initial=0)  # never above the highest that was seen
    if not any(map(len, truth)) or not len(every):
        assert (least, score) == (0, 0)
        return
    keep = [values >= least for values in confidence]
    kept = [[array[mask] for array, mask in zip(arrays, keep, strict=True)] for arrays in (boxes, confidence)]
    assert sum(map(len, kept[0])) >= 1
    assert score == pytest.approx(competition_score(truth, *kept), abs=1e-12)
    assert (least, score) == best_confidence(threshold_curve(truth, boxes, confidence))


def test_a_curve_without_predictions_is_empty():
    curve = threshold_curve(*arrays([([ONE], [], []), ([], [], [])]))
    assert [len(array) for array in curve] == [0, 0, 0]
    assert best_confidence(curve) == (0.0, 0.0)


# Laws


@given(data_sets, st.randoms(use_true_random=False))
def test_the_order_of_images_makes_no_difference(images, random):
    shuffled = random.sample(images, len(images))
    assert competition_score(*arrays(shuffled)) == pytest.approx(
        competition_score(*arrays(images)), abs=1e-12, nan_ok=True
    )
    for ours, theirs in zip(threshold_curve(*arrays(shuffled)), threshold_curve(*arrays(images)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


@given(data_sets, st.integers(2, 100), st.integers(0, 900))
def test_scaling_and_shifting_every_box_leaves_the_counts(images, scale, shift):
    truth, boxes, confidence = arrays(images)
    shift_xywh = np.array([shift, shift, 0, 0])
    moved = [b * scale + shift_xywh for b in truth], [b * scale + shift_xywh for b in boxes], confidence
    np.testing.assert_array_equal(match_counts(*moved), match_counts(truth, boxes, confidence))


@given(data_sets)
def test_only_the_order_of_confidences_matters(images):
    truth, boxes, confidence = arrays(images)
    np.testing.assert_array_equal(
        match_counts(truth, boxes, [10 * np.exp(c) for c in confidence]), match_counts(truth, boxes, confidence)
    )


@given(data_sets)
def test_truth_as_prediction_is_perfect_and_a_less_confident_box_elsewhere_costs(images):
    truth = [np.unique(t, axis=0) for t in arrays(images)[0]]
    confidence = [np.ones(len(t)) for t in truth]
    scores = image_scores(truth, truth, confidence)
    np.testing.assert_array_equal(scores, [1 if len(t) else np.nan for t in truth])
    more_boxes = [np.vstack([t, [500, 500, 9, 9]]) for t in truth]
    worse = image_scores(truth, more_boxes, [np.append(c, 0.5) for c in confidence])
    np.testing.assert_allclose(worse, [len(t) / (len(t) + 1) for t in truth], atol=1e-12)


@given(data_sets, st.booleans())
def test_counts_add_up(images, strict):
    data = arrays(images)
    tp, fp, fn = match_counts(*data, strict=strict)
    np.testing.assert_array_equal(tp + fn, np.repeat([len(t) for t in data[0]], 8).reshape(-1, 8))
    np.testing.assert_array_equal(tp + fp, np.repeat([len(b) for b in data[1]], 8).reshape(-1, 8))
    assert (np.stack([tp, fp, fn]) >= 0).all()


# Input that is not as it should be

GOOD = [[1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("truth", "boxes", "confidence", "message"),
    [
        ([[]], [], [], r"boxes_xywh: expected one entry an image, 1, got 0"),
        ([[]], [[]], [], r"confidence: expected one entry an image, 1, got 0"),
        ([[], []], [[], GOOD], [[], [0.5, 0.5]], r"confidence of image 1: expected the shape \(1,\), .*got \(2,\)"),
        ([[], GOOD], [[], GOOD], [[], [math.nan]], r"confidence of image 1, box 0: expected a finite number, got nan"),
        (
            [[], [[1, 2, 3, math.inf]]],
            [[], []],
            [[], []],
            r"truth_xywh of image 1, box 0: .*finite.*\[1.0, 2.0, 3.0, inf\]",
        ),
        (
            [[], []],
            [GOOD, [*GOOD, [1, 2, 0, 4]]],
            [[0.5], [1, 1]],
            r"boxes_xywh of image 1, box 1: .*\[1.0, 2.0, 0.0, 4.0\]",
        ),
        ([[], [[1, 2, 3, -4]]], [[], []], [[], []], r"truth_xywh of image 1, box 0: .* above 0"),
    ],
)
@pytest.mark.parametrize("function", [competition_score, threshold_curve])
def test_wrong_values_are_named(function, truth, boxes, confidence, message):
    with pytest.raises(ValueError, match=message):
        function([boxes_array(t) for t in truth], [boxes_array(b) for b in boxes], [np.array(c) for c in confidence])


@pytest.mark.parametrize("shape", [(0,), (4,), (1, 5), (1, 4, 1)])
def test_wrong_shapes_are_named(shape):
    none = np.empty((0, 4))
    with pytest.raises(ValueError) as caught:
        competition_score([none, none], [none, np.ones(shape)], [np.empty(0), np.empty(0)])
    assert str(caught.value) == f"boxes_xywh of image 1: expected the shape (N, 4), got {shape}"


def test_the_module_is_a_leaf():
    tree = ast.parse(Path(competition.__file__).read_text(encoding="utf-8"))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} == {"collections", "typing", "numpy", "pycocotools"}


# Cases with the scores they must get, made of real data


def check_cases(cases, *, strict, key):
    images = [(case["gt"], case["boxes"], case["confidence"]) for case in cases]
    expected = [math.nan if case[key] is None else case[key] for case in cases]
    np.testing.assert_allclose(image_scores(*arrays(images), strict=strict), expected, rtol=0, atol=1e-12)
    return arrays(images)


@pytest.mark.parametrize(("strict", "key"), [(True, "score"), (False, "score_at_or_above")])
def test_shared_hand_cases(shared, strict, key):
    check_cases(json.loads((shared / "metric_cases/hand.json").read_text()), strict=strict, key=key)


@pytest.mark.parametrize(("strict", "key"), [(True, "score"), (False, "score_at_or_above")])
def test_realistic_cases(shared, strict, key):
    with gzip.open(shared / "metric_cases/realistic.json.gz", "rt") as file:
        cases = json.load(file)
    data = check_cases(cases["images"], strict=strict, key=key)
    if strict:
        assert competition_score(*data) == pytest.approx(cases["score"], abs=1e-12)
        curve = check_curve(data, strict, thresholds=range(0, 1000, 100))
        assert curve.n_scored[-1] == cases["n_scored"]


@pytest.fixture(scope="module")
def real_truth(shared):
    """Truth boxes of every image of stage 2's training set."""
    truth = {}
    with (shared / "rsna_tables/stage_2_train_labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            boxes = truth.setdefault(row["patientId"], [])
            if row["Target"] == "1":
                boxes.append([float(row[name]) for name in ("x", "y", "width", "height")])
    return truth


@pytest.mark.parametrize("name", ["stage1_a.csv", "stage1_b.csv", "stage1_c.csv"])
def test_real_submissions(shared, real_truth, name):
    folder = shared / "metric_cases/submissions"
    expected = json.loads((folder / "expected.json").read_text())[name]
    predictions, problems = read_submission(folder / name)
    assert problems == []
    assert len(predictions) == 1000
    truth = [boxes_array(real_truth[image_id]) for image_id in predictions]
    boxes, confidence = zip(*predictions.values(), strict=True)
    scores = image_scores(truth, boxes, confidence)
    assert np.count_nonzero(~np.isnan(scores)) == expected["n_scored"]
    assert competition_score(truth, boxes, confidence) == pytest.approx(expected["score"], abs=1e-12)
