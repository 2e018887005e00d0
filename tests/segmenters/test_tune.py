from itertools import product

import cv2
import numpy as np
import pytest

from hilum.datasets.boxes import xyxy_to_xywh
from hilum.eval.competition import best_confidence, threshold_curve
from hilum.segmenters import tune
from hilum.segmenters.masks_to_boxes import enlarge_foreground, probability_to_boxes
from hilum.segmenters.tune import GRID, sweep

SMALL = {
    "threshold": (0.5, 0.05, 0.3, 0.8),
    "min_area_px": (1, 20, 300),
    "connectivity": (8, 4),
    "fill_holes": (False, True),
    "confidence": ("mean", "max"),
}


def _images(seed: int, count: int = 12) -> tuple[list[tuple[np.ndarray, tuple[int, int]]], list[np.ndarray]]:
    """Maps with blobs, rings and noise, in images of several sizes; truth near some of the blobs."""
    rng = np.random.default_rng(seed)
    maps, truth = [], []
    for number in range(count):
        size_wh = (int(rng.integers(30, 90)), int(rng.integers(30, 90)))
        coarse = rng.random((20, 24)).astype(np.float32) ** 3
        probability = cv2.GaussianBlur(coarse, (0, 0), 0.7) if number % 3 else coarse
        if number % 4 == 0:
            probability *= 0.04  # below every threshold
        maps.append((probability, size_wh))
        boxes, _ = probability_to_boxes(probability, size_wh, threshold=0.4, min_area_px=30)
        truth.append(
            xyxy_to_xywh(boxes[: rng.integers(0, 3)] + rng.integers(-2, 3, 4).clip([-2, -2, 0, 0], [0, 0, 2, 2]))
        )
    return maps, truth


@pytest.mark.parametrize("seed", range(3))
def test_every_point_is_what_predicting_with_it_scores(seed):
    maps, truth = _images(seed)
    points = sweep(maps, truth, SMALL)
    assert [tuple(point.parameters.values()) for point in points] == list(product(*SMALL.values()))
    assert len({point.score for point in points}) > 5
    for point in points:
        found = [probability_to_boxes(*map_, **point.parameters) for map_ in maps]
        curve = threshold_curve(truth, [xyxy_to_xywh(boxes) for boxes, _ in found], [values for _, values in found])
        assert (point.confidence, point.score) == best_confidence(curve)


def test_each_map_is_enlarged_once_and_the_first_values_come_first(monkeypatch):
    maps, truth = _images(0)
    enlarged = []
    monkeypatch.setattr(tune, "enlarge_foreground", lambda *some: enlarged.append(1) or enlarge_foreground(*some))
    points = sweep(iter(maps), truth, SMALL)
    assert len(enlarged) == sum(probability.max() > 0.05 for probability, _ in maps) < len(maps)
    assert points[0].parameters == {name: values[0] for name, values in SMALL.items()}


def test_nothing_found_is_no_score():
    points = sweep([(np.zeros((4, 4), np.float32), (9, 9))] * 2, [np.array([[1, 1, 3, 3]]), np.zeros((0, 4))])
    assert len(points) == np.prod([len(values) for values in GRID.values()])
    assert {(point.confidence, point.score) for point in points} == {(0.0, 0.0)}


def test_a_broken_map_is_an_error():
    with pytest.raises(ValueError, match="NaN"):
        sweep([(np.full((4, 4), np.nan, np.float32), (9, 9))], [np.zeros((0, 4))])
