"""AP by weights is pycocotools' AP of the images written out that many times."""

import math

import numpy as np
import pytest

from hilum.eval.bootstrap import bootstrap
from hilum.eval.coco import COCO_IOU, coco_ap
from hilum.eval.competition import IOU_THRESHOLDS
from hilum.eval.weighted_ap import coco_ap_statistic

NONE = np.empty((0, 4))
BOX = np.array([[100.0, 100.0, 200.0, 200.0]])


@pytest.mark.parametrize("iou_thresholds", [COCO_IOU, IOU_THRESHOLDS, (0.5,)])
@pytest.mark.parametrize("tied", [False, True])
def test_weights_of_one_give_pycocotools_ap(random_data, iou_thresholds, tied):
    data = random_data(60, seed=1, tied=tied)
    statistic = coco_ap_statistic(*data, iou_thresholds=iou_thresholds)
    assert statistic(np.ones(60))["ap"] == pytest.approx(coco_ap(*data, iou_thresholds=iou_thresholds), abs=1e-12)


@pytest.mark.parametrize("tied", [False, True])
def test_resamples_are_those_of_repeated_images(random_data, tied):
    data = random_data(25, seed=2)
    if tied:  # between images, not inside one: there pycocotools' own result hangs on the order of the boxes
        data[2][:] = [np.argsort(values) / 10 for values in data[2]]
    groups = np.arange(25) // 2
    drawn = bootstrap(coco_ap_statistic(*data, iou_thresholds=COCO_IOU, name="AP"), groups, resamples=12, seed=3)["AP"]
    draws = np.random.default_rng(3)
    for value in drawn.values:
        times = np.bincount(draws.integers(13, size=13), minlength=13)[groups]
        rows = np.repeat(np.arange(25), times)
        repeated = [[array[row] for row in rows] for array in data]
        assert value == pytest.approx(coco_ap(*repeated, iou_thresholds=COCO_IOU), abs=1e-12)
    assert drawn.values.std() > 0.01


def test_more_than_100_boxes_on_an_image():
    truth, boxes = [BOX], [np.repeat(np.array([[400.0, 400.0, 200.0, 200.0]]), 150, axis=0)]
    boxes[0][-1] = BOX[0]
    confidence = [np.linspace(0.9, 0.1, 150)]
    statistic = coco_ap_statistic(truth, boxes, confidence, iou_thresholds=(0.5,))
    assert statistic(np.ones(1))["ap"] == coco_ap(truth, boxes, confidence, iou_thresholds=(0.5,)) == 0


def test_nothing_to_find_and_nothing_found():
    one = np.ones(1)
    assert math.isnan(coco_ap_statistic([NONE], [BOX], [one], iou_thresholds=(0.5,))(one)["ap"])
    assert coco_ap_statistic([BOX], [NONE], [np.ones(0)], iou_thresholds=(0.5,))(one)["ap"] == 0
    assert math.isnan(coco_ap_statistic([], [], [], iou_thresholds=(0.5,))(np.ones(0))["ap"])
    both = coco_ap_statistic([BOX, NONE], [BOX, BOX], [one, one], iou_thresholds=(0.5,))
    assert math.isnan(both(np.array([0.0, 1.0]))["ap"])  # a resample without the only truth
    assert both(np.array([1.0, 0.0]))["ap"] == 1


def test_wrong_thresholds_are_named():
    for thresholds in ((), (0,), (50,)):
        with pytest.raises(ValueError, match="iou_thresholds: expected one or more numbers above 0 and up to 1"):
            coco_ap_statistic([BOX], [BOX], [np.ones(1)], iou_thresholds=thresholds)
