"""What is chosen on val, on answers made up so that the best choice is known."""

import numpy as np
import pytest
from small_configs import RESNET

from hilum.datasets.boxes import xyxy_to_xywh
from hilum.datasets.fusion import Boxes, weighted_box_fusion
from hilum.ensemble.composed_config import ComposedConfig
from hilum.ensemble.composition import (
    MemberPredictions,
    Parameters,
    adjust,
    choose_parameters,
    compose,
    operating_point,
)

NONE = (np.zeros((0, 4)), np.zeros(0))


def config(**values):
    members = {name: {"config": RESNET} for name in values.pop("members", "a")}
    return ComposedConfig.model_validate({"backend": "compose", "members": members, **values})


def predictions(found, members=("a",), probability=None):
    probabilities = None if probability is None else np.array([probability])
    found = [[Boxes(*each) for each in image] for image in found]
    return MemberPredictions(members, found, np.full((len(found), 2), 1024), probabilities)


def truth(images, seed=0):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(100, 500, (images, 2))
    return [np.array([[x, y, x + 200, y + 150]]) for x, y in corner]


def xywh(boxes):
    return [xyxy_to_xywh(each) for each in boxes]


def enlarged(boxes, factor):
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * factor
    return np.hstack([middle - half, middle + half])


def test_boxes_that_are_too_large_are_shrunk_back():
    real = truth(12)
    answers = predictions([[(enlarged(boxes, 1 / 0.8), np.array([0.9]))] for boxes in real])
    chosen = choose_parameters(config(shrink="val"), answers, xywh(real))
    final = compose(answers, chosen, config().fusion)
    assert operating_point(xywh(real), final)[1] == 1.0
    # Any factor that brings every IoU above 0.75 is as good; the first that does is taken.
    assert 0.8 <= chosen.shrink < 0.95
    assert choose_parameters(config(shrink=0.9), answers, xywh(real)).shrink == 0.9


def test_good_boxes_are_left_alone():
    real = truth(12)
    answers = predictions([[(boxes, np.array([0.9]))] for boxes in real], probability=[0.9] * 12)
    everything = {"shrink": "val", "relative": "val", "top_share": "val", "gate": {"config": RESNET}}
    chosen = choose_parameters(config(**everything), answers, xywh(real))
    assert chosen == Parameters(weights={"a": 1.0}, gate_mode="multiply")
    assert operating_point(xywh(real), adjust(answers, [found for (found,) in answers.found], chosen))[1] == 1.0


def test_a_gate_that_knows_better_removes_false_alarms():
    real = [*truth(10), *[np.zeros((0, 4))] * 10]
    boxes = [(boxes, np.array([0.5])) for boxes in truth(20)]
    likely = [0.8] * 10 + [0.3] * 10
    answers = predictions([[each] for each in boxes], probability=likely)
    for mode in ("multiply", "threshold", "val"):
        settings = config(gate={"config": RESNET, "mode": mode})
        chosen = choose_parameters(settings, answers, xywh(real))
        assert operating_point(xywh(real), compose(answers, chosen, settings.fusion))[1] == 1.0
        assert mode in (chosen.gate_mode, "val")
        if mode == "threshold":
            assert 0.3 < chosen.gate_threshold <= 0.8
    ungated = choose_parameters(config(), answers, xywh(real))
    assert ungated.gate_mode is None
    assert operating_point(xywh(real), compose(answers, ungated, config().fusion))[1] == 0.5


def test_a_relative_threshold_where_sure_and_unsure_images_differ():
    """In sure images the second box is false, and yet surer than the true one of unsure images."""
    real = truth(10)
    wrong = np.array([[800.0, 800, 900, 900]])
    sure = [(np.vstack([boxes, wrong]), np.array([0.9, 0.4])) for boxes in real[:5]]
    unsure = [(boxes, np.array([0.2])) for boxes in real[5:]]
    answers = predictions([[each] for each in [*sure, *unsure]])
    chosen = choose_parameters(config(relative="val"), answers, xywh(real))
    assert 0.4 / 0.9 < chosen.relative < 1
    assert operating_point(xywh(real), compose(answers, chosen, config().fusion))[1] == 1.0
    assert operating_point(xywh(real), compose(answers, Parameters(weights={"a": 1}), config().fusion))[1] < 0.8


def test_a_top_share_where_second_boxes_are_less_sure_than_false_alarms():
    """A confidence alone either loses the second opacity or keeps the false alarm."""
    one, two = truth(8, 1), [boxes + 300 for boxes in truth(8, 2)]
    two = [np.array([[700.0, 50, 900, 200]]) for _ in two]
    real = [*[np.vstack(pair) for pair in zip(one, two, strict=True)], *[np.zeros((0, 4))] * 8]
    found = [(boxes, np.array([0.9, 0.3])) for boxes in real[:8]] + [(boxes, np.array([0.5])) for boxes in truth(8)]
    answers = predictions([[each] for each in found])
    chosen = choose_parameters(config(top_share="val"), answers, xywh(real))
    assert 0.5 < chosen.least_in_image <= 0.9
    assert operating_point(xywh(real), compose(answers, chosen, config().fusion))[1] == 1.0


def test_a_member_that_is_wrong_gets_little_weight():
    real = truth(12)
    rng = np.random.default_rng(0)
    good = [(boxes, np.array([0.9])) for boxes in real]
    bad = [(boxes + rng.choice([-70, 70], 4), np.array([0.9])) for boxes in real]
    answers = predictions(list(zip(bad, good, strict=True)), members=("a", "b"))
    settings = config(members="ab", fusion={"choose_weights": True})
    chosen = choose_parameters(settings, answers, xywh(real))
    assert chosen.weights["b"] > chosen.weights["a"]
    equal = Parameters(weights={"a": 1, "b": 1})
    scores = [operating_point(xywh(real), compose(answers, each, settings.fusion))[1] for each in (chosen, equal)]
    assert scores[0] > scores[1]
    assert choose_parameters(config(members="ab"), answers, xywh(real)).weights == {"a": 1.0, "b": 1.0}


def test_folds_and_views_share_their_members_weight():
    (box,) = truth(1)
    a, b, c = ((enlarged(box, factor), np.array([sure])) for factor, sure in ((1, 0.9), (1.05, 0.5), (1.1, 0.7)))
    together = compose(
        predictions([[a, b, c]], members=("x", "x", "y")), Parameters(weights={"x": 1, "y": 1}), config().fusion
    )
    boxes, confidence = weighted_box_fusion([a, b, c], [0.5, 0.5, 1], iou=0.4)
    np.testing.assert_allclose(together[0][0], boxes)
    np.testing.assert_allclose(together[0][1], confidence)


def test_a_member_that_is_alone_is_left_as_it_is():
    overlapping = (np.array([[0.0, 0, 100, 100], [0, 0, 100, 90]]), np.array([0.9, 0.005]))
    (answer,) = compose(predictions([[overlapping]]), Parameters(weights={"a": 1}), config().fusion)
    np.testing.assert_array_equal(answer[0], overlapping[0])
    np.testing.assert_array_equal(answer[1], overlapping[1])


def test_enlarged_boxes_stay_inside_the_image():
    found = (np.array([[900.0, 0, 1024, 100]]), np.array([0.9]))
    (answer,) = compose(predictions([[found]]), Parameters(weights={"a": 1}, shrink=1.1), config().fusion)
    assert (answer[0] >= 0).all()
    assert (answer[0] <= 1024).all()


@pytest.mark.parametrize("method", ["weighted_boxes", "soft_nms", "votes"])
def test_nothing_found_is_nothing_answered(method):
    settings = config(members="ab", fusion={"method": method})
    answers = compose(predictions([[NONE, NONE]], ("a", "b")), Parameters(weights={"a": 1, "b": 1}), settings.fusion)
    assert answers[0][0].shape == (0, 4)
