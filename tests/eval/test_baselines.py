"""Average boxes, and the mask without any."""

import csv
import math

import numpy as np
import pytest

from hilum.datasets.boxes import xywh_to_xyxy
from hilum.eval.baselines import empty_mask

NONE = np.empty((0, 4))


def test_the_empty_mask_by_the_segmenters_own_figures():
    torch = pytest.importorskip("torch")
    from hilum.datasets.letterbox import Letterbox
    from hilum.datasets.masks import boxes_to_mask
    from hilum.segmenters.losses import mean_iou

    rng = np.random.default_rng(0)
    sizes = rng.integers(40, 200, (12, 2))
    boxes = []
    for size in sizes:
        corner = rng.uniform(0, 0.5, (rng.integers(0, 3), 2)) * size
        boxes.append(np.hstack([corner, corner + rng.uniform(0.1, 0.5, corner.shape) * size]))
    masks = np.stack(
        [
            boxes_to_mask(Letterbox.fit(tuple(size.tolist()), 64).boxes_to_square(image), (64, 64))
            for size, image in zip(sizes, boxes, strict=True)
        ]
    )
    figures = empty_mask(boxes, sizes, size=64)
    assert figures.pixel_accuracy == pytest.approx((masks == 0).mean())
    target = torch.from_numpy(masks)
    assert figures.mean_iou == pytest.approx(float(mean_iou(torch.zeros(masks.shape), target)), abs=1e-6)


def test_no_opacity_no_fault():
    assert empty_mask([NONE, NONE], np.full((2, 2), 100)) == (1, 1)
    assert all(map(math.isnan, empty_mask([], np.empty((0, 2), dtype=np.int64))))


def test_boxes_that_overlap_count_once():
    box = np.array([[0, 0, 50, 100]])
    assert empty_mask([np.vstack([box, box])], np.array([[100, 100]]), size=100).pixel_accuracy == 0.5


def test_the_challenge_s_labels(shared):
    boxes: dict[str, list[list[float]]] = {}
    with (shared / "rsna_tables" / "stage_2_train_labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            image = boxes.setdefault(row["patientId"], [])
            if row["Target"] == "1":
                image.append([float(row[key]) for key in ("x", "y", "width", "height")])
    truth, sizes = [xywh_to_xyxy(np.array(rows)) for rows in boxes.values()], np.full((len(boxes), 2), 1024)
    figures = empty_mask(truth, sizes, size=1024)
    assert figures.pixel_accuracy == pytest.approx(0.97353, abs=5e-6)
    assert figures.mean_iou == pytest.approx(0.7747, abs=5e-5)
    np.testing.assert_allclose(empty_mask(truth, sizes), figures, atol=5e-5)  # hardly different as segmenters see it


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match=r"sizes_wh: expected the shape \(1, 2\), got \(2, 2\)"):
        empty_mask([NONE], np.ones((2, 2), dtype=np.int64))
