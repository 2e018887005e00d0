import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hilum.datasets.boxes import xyxy_to_xywh
from hilum.datasets.fusion import Boxes, overlaps, soft_nms, vote_average, weighted_box_fusion

FUSIONS = [weighted_box_fusion, vote_average, soft_nms]


@st.composite
def answers(draw):
    """Boxes of some models to an image of 1024 px, whose boxes cluster around few places."""
    found = []
    for _ in range(draw(st.integers(1, 4))):
        count = draw(st.integers(0, 6))
        place = draw(arrays.arrays(np.float64, (count, 2), elements=st.sampled_from([50.0, 400.0, 700.0])))
        jitter = draw(arrays.arrays(np.float64, (count, 4), elements=st.floats(0, 60)))
        confidence = draw(arrays.arrays(np.float64, count, elements=st.floats(0.02, 1)))
        boxes = np.hstack([place, place + 200]) + jitter
        found.append((boxes, confidence))
    return found


def test_two_overlapping_boxes_worked_out_by_hand():
    # IoU of (0, 0, 100, 100) and (0, 0, 100, 80) is 0.8.
    found = [
        (np.array([[0.0, 0, 100, 100]]), np.array([0.8])),
        (np.array([[0.0, 0, 100, 80], [500, 500, 600, 600]]), np.array([0.4, 0.5])),
    ]
    boxes, confidence = weighted_box_fusion(found, [1, 1], iou=0.5)
    np.testing.assert_allclose(boxes, [[0, 0, 100, (0.8 * 100 + 0.4 * 80) / 1.2], [500, 500, 600, 600]])
    np.testing.assert_allclose(confidence, [0.6, 0.25])  # the second model alone sees the lower one
    boxes, confidence = vote_average(found, [1, 1], iou=0.5)
    np.testing.assert_allclose(boxes, [[0, 0, 100, 90], [500, 500, 600, 600]])
    np.testing.assert_allclose(confidence, [0.6, 0.25])
    boxes, confidence = vote_average(found, [1, 1], iou=0.5, votes=2)
    np.testing.assert_allclose(boxes, [[0, 0, 100, 90]])
    boxes, confidence = soft_nms(found, [1, 1], sigma=0.5)
    np.testing.assert_allclose(confidence, [0.8, 0.5, 0.4 * np.exp(-(0.8**2) / 0.5)])
    np.testing.assert_allclose(boxes, [[0, 0, 100, 100], [500, 500, 600, 600], [0, 0, 100, 80]])


def test_weights_count():
    found = [(np.array([[0.0, 0, 100, 100]]), np.array([0.8])), (np.array([[0.0, 0, 100, 80]]), np.array([0.4]))]
    boxes, confidence = weighted_box_fusion(found, [1, 3])
    np.testing.assert_allclose(boxes, [[0, 0, 100, (0.8 * 100 + 1.2 * 80) / 2]])
    np.testing.assert_allclose(confidence, [(0.8 + 3 * 0.4) / 4])
    boxes, confidence = vote_average(found, [1, 3])
    np.testing.assert_allclose(boxes, [[0, 0, 100, 85]])
    np.testing.assert_allclose(confidence, [0.5])
    _, confidence = soft_nms(found, [1, 4])
    assert confidence[0] == 0.4  # now the higher of the two: 0.8 / 4 is lower


def test_a_model_has_one_vote():
    twice = (np.array([[0.0, 0, 100, 100], [0, 0, 100, 95]]), np.array([0.9, 0.8]))
    boxes, confidence = vote_average([twice, (np.zeros((0, 4)), np.zeros(0))], [1, 1], votes=1)
    np.testing.assert_allclose(boxes, twice[0])
    np.testing.assert_allclose(confidence, twice[1] / 2)
    assert len(vote_average([twice, (np.zeros((0, 4)), np.zeros(0))], [1, 1], votes=2)[0]) == 0


@given(answers(), st.sampled_from([0.3, 0.55, 0.7]), st.integers(0, 99))
def test_weighted_box_fusion_is_the_published_one(found, iou, seed):
    """Of its authors' package, in units of the image's side; it computes in single precision."""
    published = pytest.importorskip("ensemble_boxes").weighted_boxes_fusion
    # Values of their own for every box, so that nothing hangs on the order of equals.
    rng = np.random.default_rng(seed)
    found = [(boxes + rng.random(boxes.shape), np.clip(c * rng.uniform(0.9, 1, len(c)), 0, 1)) for boxes, c in found]
    weights = rng.uniform(0.2, 3, len(found)).tolist()
    boxes, confidence = weighted_box_fusion(found, weights, iou=iou)
    theirs, scores, _ = published(
        [boxes / 1024 for boxes, _ in found],
        [confidence for _, confidence in found],
        [np.zeros(len(confidence)) for _, confidence in found],
        weights=weights,
        iou_thr=iou,
        conf_type="absent_model_aware_avg",
    )
    assert len(boxes) == len(theirs)
    order, their_order = np.lexsort((*boxes.T, -confidence.round(4))), np.lexsort((*theirs.T, -scores.round(4)))
    np.testing.assert_allclose(confidence[order], scores[their_order], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(np.sort(boxes[:, 0]), np.sort(theirs[:, 0] * 1024), atol=0.05)
    np.testing.assert_allclose(np.sort(boxes[:, 3]), np.sort(theirs[:, 3] * 1024), atol=0.05)


def test_narrow_soft_nms_of_equal_boxes_is_torchvisions_nms():
    """Boxes that are equal or far apart leave nothing to lower but copies, which a narrow Gaussian drops."""
    import torch
    from torchvision.ops import nms

    rng = np.random.default_rng(0)
    places = rng.permutation(10)[:6] * 100.0
    boxes = np.stack([places, places, places + 80, places + 80], axis=1)
    found = [(boxes, rng.random(6)) for _ in range(3)]
    ours, confidence = soft_nms(found, [1, 1, 1], sigma=0.01)
    everything, scores = np.concatenate([boxes] * 3), np.concatenate([each for _, each in found])
    kept = nms(torch.from_numpy(everything), torch.from_numpy(scores), 0.5).numpy()
    np.testing.assert_array_equal(ours, everything[kept])
    np.testing.assert_array_equal(confidence, scores[kept])


def apart(seed):
    rng = np.random.default_rng(seed)
    places = rng.permutation(9)[:5]
    corner = np.stack([places % 3, places // 3], axis=1) * 300.0 + rng.uniform(0, 50, (5, 2))
    boxes = np.hstack([corner, corner + rng.uniform(50, 200, (5, 2))])
    order = np.argsort(-(confidence := rng.uniform(0.1, 1, 5)))
    return boxes[order], confidence[order]


@pytest.mark.parametrize("fuse", [weighted_box_fusion, vote_average])
@pytest.mark.parametrize("weights", [[1, 1, 1], [0.5, 2, 1]])
def test_fusion_of_identical_answers_is_the_identity(fuse, weights):
    answer = apart(1)
    boxes, confidence = fuse([answer] * 3, weights)
    np.testing.assert_allclose(boxes, answer[0])
    np.testing.assert_allclose(confidence, answer[1])


@pytest.mark.parametrize("fuse", FUSIONS)
@given(answers(), st.randoms())
def test_the_order_of_models_and_of_boxes_makes_no_difference(fuse, found, random):
    weights = [1.0, 0.5, 2.0, 1.5][: len(found)]
    boxes, confidence = fuse(found, weights)
    order = random.sample(range(len(found)), len(found))
    mixed = []
    for at in order:
        rows = random.sample(range(len(found[at][1])), len(found[at][1]))
        mixed.append((found[at][0][rows], found[at][1][rows]))
    again, their_confidence = fuse(mixed, [weights[at] for at in order])
    # As sets: rounding may exchange two that are equally sure.
    ours, theirs = np.column_stack([boxes, confidence]), np.column_stack([again, their_confidence])
    np.testing.assert_allclose(ours[np.lexsort(ours.round(6).T)], theirs[np.lexsort(theirs.round(6).T)], atol=1e-6)


@pytest.mark.parametrize("fuse", FUSIONS)
@given(answers())
def test_well_formed(fuse, found):
    weights = [3.0, 0.1, 1.0, 0.5][: len(found)]
    boxes, confidence = fuse(found, weights)
    assert boxes.shape == (len(confidence), 4)
    assert ((confidence > 0) & (confidence <= 1 + 1e-12)).all()
    assert (np.diff(confidence) <= 0).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert len(boxes) <= sum(len(each) for _, each in found)
    if len(boxes):  # inside the hull of what was found
        pooled = np.concatenate([each for each, _ in found])
        assert (boxes.min(axis=0) >= pooled.min(axis=0) - 1e-6).all()
        assert (boxes.max(axis=0) <= pooled.max(axis=0) + 1e-6).all()


def test_nothing_and_boxes_without_confidence():
    none = (np.zeros((0, 4)), np.zeros(0))
    zero = (np.array([[0.0, 0, 10, 10]]), np.zeros(1))
    for fuse in FUSIONS:
        for found in ([none, none], [zero, none]):
            boxes, confidence = fuse(found, [1, 1])
            assert boxes.shape == (0, 4)
            assert confidence.shape == (0,)
        with pytest.raises(ValueError, match="weight above 0"):
            fuse([none, none], [1])


def test_overlaps_are_cocos():
    from pycocotools import mask

    rng = np.random.default_rng(3)
    corner = rng.uniform(0, 100, (20, 2))
    boxes = np.hstack([corner, corner + rng.uniform(5, 100, (20, 2))])
    expected = mask.iou(xyxy_to_xywh(boxes[:1]), xyxy_to_xywh(boxes), [0] * 20)[0]
    np.testing.assert_allclose(overlaps(boxes[0], boxes), expected)


def test_clusters_of_too_few_models_are_dropped():
    box, other = np.array([[0.0, 0, 10, 10]]), np.array([[50.0, 50, 60, 60]])
    one = np.ones(1)
    found = [Boxes(box, one), Boxes(np.vstack([box, other]), np.ones(2)), Boxes(np.vstack([other, other]), np.ones(2))]
    assert len(weighted_box_fusion(found, [1, 1, 1], votes=1).xyxy) == 2
    assert len(weighted_box_fusion(found, [1, 1, 1], votes=2).xyxy) == 2
    np.testing.assert_array_equal(weighted_box_fusion(found[:2], [1, 1], votes=2).xyxy, box)
    assert len(weighted_box_fusion(found[2:], [1], votes=2).xyxy) == 0
