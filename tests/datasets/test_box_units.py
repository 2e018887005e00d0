"""Boxes in other units than pixels are told, and those of the challenge never are."""

import csv

import numpy as np
import pytest

from hilum.datasets.box_units import doubtful_units, wrong_units

SIZE = np.array([1024, 1024])


def boxes_like_the_challenge_s(number, rng):
    """(number, 4) xywh inside 1024 px: in the left or right lung, of sizes as there."""
    wh = np.column_stack([rng.uniform(80, 400, number), rng.uniform(80, 600, number)])
    left = np.where(rng.random(number) < 0.5, 100, 550) + rng.uniform(0, 60, number)
    return np.column_stack([left, rng.uniform(50, 950 - wh[:, 1]), wh]).round()


def corners(boxes_xywh):
    return np.hstack([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]])


@pytest.mark.parametrize("number", [2, 3, 10, 200])
def test_relative_boxes_and_corners_are_refused_however_few(number):
    rng = np.random.default_rng(number)
    for _ in range(50):
        boxes = boxes_like_the_challenge_s(number, rng)
        for relative in (boxes / 1024, corners(boxes) / 1024, boxes / 1024 - 0.03):
            assert f"all {number} boxes lie within 1 px" in wrong_units(relative, SIZE)
            assert wrong_units(relative) == wrong_units(relative, SIZE)
        boxes[0] = [600, 500, 300, 400]
        boxes[-1] = [560, 300, 250, 350]
        told = wrong_units(corners(boxes), SIZE)
        beyond = (corners(boxes).reshape(-1, 2, 2).sum(axis=1) > 1.05 * 1024).any(axis=1)
        assert (told is None) == (beyond.mean() < 0.1)
        assert told is None or "read as left, top, right, bottom they lie inside" in told
        assert wrong_units(boxes, SIZE) is None


def test_what_could_be_right_is_only_asked_about():
    rng = np.random.default_rng(0)
    boxes = boxes_like_the_challenge_s(20, rng)
    for other, size, told in [
        (boxes * 256 / 1024, SIZE, "reduced picture"),
        (boxes * 640 / 1024, SIZE, "reduced picture"),
        (boxes[:4] * 224 / 1024, SIZE, "reduced picture"),
        (boxes, SIZE // 4, "20 of 20 boxes reach out of their images; are they in pixels of a larger picture"),
        (boxes[:1] / 1024, SIZE, "1 of 1 boxes lie within 1 px"),
        (np.vstack([boxes / 1024, boxes[:3]]), SIZE, "20 of 23 boxes lie within 1 px"),
        (np.array([[614.0, 420, 820, 667]]), SIZE, "read as left, top, right, bottom"),
    ]:
        assert wrong_units(other, size) is None
        assert told in doubtful_units(other, size)
    assert doubtful_units(boxes, SIZE) is None
    assert doubtful_units(np.zeros((0, 4)), np.zeros((0, 2))) is None
    assert wrong_units(np.zeros((0, 4))) is None


def test_each_image_has_its_own_size():
    boxes = np.array([[10.0, 10, 40, 40], [300, 300, 600, 700], [200, 500, 500, 900]])
    assert wrong_units(boxes, np.array([[64, 64], [1024, 1024], [1024, 1024]])) is not None
    assert wrong_units(boxes, np.array([[64, 64], [1024, 1024], [600, 900]])) is not None
    assert wrong_units(boxes, np.array([[64, 64], [1024, 1024], [400, 800]])) is None  # no corner either


def test_no_part_of_the_challenge_s_boxes_is_doubted_and_every_part_of_them_in_other_units_is(shared):
    with (shared / "rsna_tables" / "stage_2_train_labels.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["Target"] == "1"]
    truth = np.array([[float(row[name]) for name in ("x", "y", "width", "height")] for row in rows])
    assert len(truth) == 9555
    rng = np.random.default_rng(0)
    refused = []
    for number in [*range(1, 40), 100, 1000, 9555]:
        for _ in range(20):
            some = truth[rng.choice(len(truth), number, replace=False)]
            assert wrong_units(some, SIZE) is None
            refused.append(wrong_units(corners(some), SIZE) is not None)
            if number > 1:
                assert wrong_units(some / 1024, SIZE) is not None
            if number > 19:
                assert refused[-1]
                assert doubtful_units(some, SIZE) is None
                assert doubtful_units(some / 2, SIZE) is not None
    assert np.mean(refused) > 0.95


def test_the_winners_answers_are_not_doubted(shared):
    from hilum.eval.submission import read_submission

    for path in sorted((shared / "metric_cases" / "submissions").glob("*.csv")):
        boxes = np.concatenate([boxes for boxes, _ in read_submission(path)[0].values()])
        assert wrong_units(boxes, SIZE) is doubtful_units(boxes, SIZE) is None
