"""COCO's AP: values that follow from its definition, and pycocotools run the usual way, through files."""

import contextlib
import io
import json
import math

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from hilum.eval import coco
from hilum.eval.coco import COCO_IOU, coco_ap
from hilum.eval.competition import IOU_THRESHOLDS

NONE = np.empty((0, 4))
BOX = np.array([[100.0, 100.0, 200.0, 200.0]])
HALF = np.array([[100.0, 100.0, 200.0, 100.0]])  # IoU 1/2 with BOX
FAR = np.array([[700.0, 700.0, 50.0, 50.0]])


@pytest.fixture(autouse=True, params=["pycocotools", "faster-coco-eval"])
def engine(request, monkeypatch):
    """Every test runs with both."""
    if request.param == "pycocotools":
        monkeypatch.setattr(coco, "faster", None)
    else:
        pytest.importorskip("faster_coco_eval", reason="the extra 'faster' is not installed")
    return request.param


def random_data(n_images, seed):
    """Boxes near the truth and boxes anywhere, more than 100 on some images."""
    rng = np.random.default_rng(seed)

    def anywhere(n):
        return np.column_stack([rng.integers(0, 700, (n, 2)), rng.integers(60, 300, (n, 2))]).astype(np.float64)

    truth, boxes, confidence = [], [], []
    for image in range(n_images):
        truth.append(anywhere(rng.integers(0, 4)))
        near = truth[-1] + rng.integers(-10, 10, truth[-1].shape)
        boxes.append(
            np.vstack([near[rng.random(len(near)) < 0.8], anywhere(120 if image == 7 else rng.integers(0, 2))])
        )
        confidence.append(rng.random(len(boxes[-1])).round(2))
    return truth, boxes, confidence


def ap_through_files(data, iou_thresholds, folder):
    """pycocotools as its own demo uses it: both sides read from a file, the first line of `summarize`."""
    truth, boxes, confidence = data
    truth_rows = [(image, box.tolist()) for image, rows in enumerate(truth) for box in rows]
    annotations = [
        {"id": 1 + i, "image_id": image, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for i, (image, box) in enumerate(truth_rows)
    ]
    results = [
        {"image_id": image, "category_id": 1, "bbox": box.tolist(), "score": score}
        for image, (rows, scores) in enumerate(zip(boxes, confidence, strict=True))
        for box, score in zip(rows, scores.tolist(), strict=True)
    ]
    images = [{"id": image} for image in range(len(truth))]
    dataset = {"images": images, "categories": [{"id": 1, "name": "opacity"}], "annotations": annotations}
    (folder / "truth.json").write_text(json.dumps(dataset))
    (folder / "results.json").write_text(json.dumps(results))
    with contextlib.redirect_stdout(io.StringIO()):
        annotated = COCO(folder / "truth.json")
        evaluation = COCOeval(annotated, annotated.loadRes(str(folder / "results.json")), "bbox")
        if iou_thresholds is not None:
            evaluation.params.iouThrs = np.array(iou_thresholds)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[0]


@pytest.mark.parametrize("own_thresholds", [True, False])
def test_ap_is_that_of_pycocotools(own_thresholds, tmp_path):
    data = random_data(200, seed=1)
    ours = coco_ap(*data, iou_thresholds=COCO_IOU if own_thresholds else IOU_THRESHOLDS)
    theirs = ap_through_files(data, None if own_thresholds else IOU_THRESHOLDS, tmp_path)
    assert 0.05 < ours < 0.95
    assert ours == pytest.approx(theirs, abs=1e-12)


def tied_data(n_images, seed):
    """Few places, sizes and confidences: exact thresholds, equal IoUs and equal confidences come up all the time."""
    rng = np.random.default_rng(seed)

    def some(most):
        n = rng.integers(0, most + 1)
        return np.column_stack([rng.integers(0, 6, n), rng.integers(0, 3, n), rng.integers(1, 11, n), np.full(n, 3)])

    truth, boxes = [some(4) for _ in range(n_images)], [some(6) for _ in range(n_images)]
    return truth, boxes, [rng.choice([0.1, 0.5, 0.9], len(rows)) for rows in boxes]


def test_both_engines_give_the_same(monkeypatch):
    pytest.importorskip("faster_coco_eval", reason="the extra 'faster' is not installed")
    for seed in range(60):
        data = random_data(40, seed) if seed % 6 == 0 else tied_data(1 + seed // 2, seed)
        for thresholds in (COCO_IOU, IOU_THRESHOLDS, (0.5,)):
            with monkeypatch.context() as patch:
                installed = coco_ap(*data, iou_thresholds=thresholds)
                patch.setattr(coco, "faster", None)
                assert coco_ap(*data, iou_thresholds=thresholds) == pytest.approx(installed, abs=1e-9, nan_ok=True)


def test_the_faster_one_is_used_where_it_is_installed(engine, monkeypatch):
    def unused(*args):
        raise AssertionError(args)

    monkeypatch.setattr(coco, "COCOeval", unused)
    if engine == "faster-coco-eval":
        assert coco_ap([BOX], [BOX], [np.ones(1)], iou_thresholds=COCO_IOU) == pytest.approx(1)
    else:
        with pytest.raises(AssertionError):
            coco_ap([BOX], [BOX], [np.ones(1)], iou_thresholds=COCO_IOU)


def test_perfect():
    assert coco_ap([BOX, NONE], [BOX, NONE], [np.ones(1), np.ones(0)], iou_thresholds=COCO_IOU) == pytest.approx(1)


def test_a_threshold_that_is_hit_exactly_is_a_match():
    # 1/2 of ten thresholds from 0.50, and three of the competition's eight: 0.40, 0.45, 0.50.
    half = [BOX], [HALF], [np.ones(1)]
    assert coco_ap(*half, iou_thresholds=COCO_IOU) == pytest.approx(1 / 10)
    assert coco_ap(*half, iou_thresholds=IOU_THRESHOLDS) == pytest.approx(3 / 8)


def test_a_more_confident_wrong_box_costs_and_a_less_confident_one_does_not():
    # Precision is 1/2 at every recall in the first case, 1 in the second: AP is about order.
    assert coco_ap([BOX, NONE], [BOX, FAR], [np.array([0.5]), np.array([0.9])], iou_thresholds=(0.5,)) == pytest.approx(
        0.5
    )
    assert coco_ap([BOX, NONE], [BOX, FAR], [np.array([0.9]), np.array([0.5])], iou_thresholds=(0.5,)) == pytest.approx(
        1
    )


def test_recall_has_101_levels():
    # One of two found: precision is 1 up to recall 0.50, 51 of 101 levels.
    assert coco_ap([BOX, BOX], [BOX, NONE], [np.ones(1), np.ones(0)], iou_thresholds=(0.5,)) == pytest.approx(51 / 101)


def test_only_the_100_most_confident_boxes_of_an_image_are_seen():
    many = np.vstack([np.repeat(FAR, 100, axis=0), BOX])
    confidence = np.linspace(0.9, 0.1, 101)
    assert coco_ap([BOX], [many], [confidence], iou_thresholds=(0.5,)) == 0
    assert coco_ap([BOX], [many[1:]], [confidence[1:]], iou_thresholds=(0.5,)) == pytest.approx(1 / 100)


def test_nothing_predicted_is_0_and_no_truth_is_nan():
    assert coco_ap([BOX], [NONE], [np.ones(0)], iou_thresholds=COCO_IOU) == 0
    assert math.isnan(coco_ap([NONE], [BOX], [np.ones(1)], iou_thresholds=COCO_IOU))
    assert math.isnan(coco_ap([NONE], [NONE], [np.ones(0)], iou_thresholds=COCO_IOU))
    assert math.isnan(coco_ap([], [], [], iou_thresholds=COCO_IOU))


def test_it_is_silent(capfd):
    coco_ap([BOX], [HALF], [np.ones(1)], iou_thresholds=COCO_IOU)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("thresholds", [(), (0.0, 0.5), (0.5, 50), (math.nan,)])
def test_thresholds_that_make_no_sense(thresholds):
    with pytest.raises(ValueError, match="iou_thresholds: expected"):
        coco_ap([BOX], [BOX], [np.ones(1)], iou_thresholds=thresholds)


def test_lengths_that_differ():
    with pytest.raises(ValueError, match="boxes_xywh: expected one entry an image, 2, got 1"):
        coco_ap([BOX, BOX], [BOX], [np.ones(1)], iou_thresholds=COCO_IOU)
