"""`hilum tune`: what it chooses, writes and changes."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hilum
from hilum.backend import Backend
from hilum.cli import app
from hilum.config import check_config
from hilum.datasets.boxes import xyxy_to_xywh
from hilum.datasets.folder import Dataset
from hilum.errors import HilumError
from hilum.eval.competition import competition_score
from hilum.eval.platt import Platt
from hilum.predict import Predictor, load
from hilum.run import OPERATING_POINT, operating_confidence, read_operating_point
from hilum.train_run import train
from hilum.training.calibrating import Wish, read_wish
from hilum.training.validation import OperatingPoint
from hilum.tune_run import Tuning, tune

TINY = {
    "backend": "unet",
    "image_size": 64,
    "model": {"start_channels": 4, "depth": 3, "dropout": 0.0, "momentum": 0.5},
    "train": {"epochs": 4, "batch_size": 4, "learning_rate": 0.01},
    "boxes": {"threshold": 0.37},
}


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("tune") / "run"
    train(check_config(TINY, "test"), Dataset.open(dataset), run)
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def _chosen(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / OPERATING_POINT).read_text()))


def _score(predictor: Predictor, data: Dataset) -> float:
    val = data.split("val")
    found = [result.detections for result in predictor.predict(val.paths)]
    return competition_score(val.boxes_xywh, [xyxy_to_xywh(f.xyxy) for f in found], [f.confidence for f in found])


def test_prediction_follows_and_is_never_worse_on_val(run: Path, dataset: Path) -> None:
    data, before = Dataset.open(dataset), _chosen(run)
    tuning = tune(run, data)
    chosen = _chosen(run)
    assert tuning.untuned.parameters["threshold"] == 0.37
    assert (tuning.untuned.confidence, tuning.untuned.score) == (before["confidence"], before["val_score"])
    assert chosen["boxes"] == tuning.chosen.parameters
    assert chosen["untuned_val_score"] == before["val_score"]
    assert chosen["val_score"] > before["val_score"]
    assert tuning.chosen.score == max(point.score for point in tuning.points) > 0
    assert _score(hilum.load(run), data) == pytest.approx(chosen["val_score"], abs=1e-12)
    assert not tuning.problems


def test_tuned_again_it_writes_the_same_bytes(run: Path, dataset: Path) -> None:
    tune(run, Dataset.open(dataset))
    first = (run / OPERATING_POINT).read_bytes()
    tune(run, Dataset.open(dataset))
    assert (run / OPERATING_POINT).read_bytes() == first
    assert {path.name for path in run.iterdir()} == {
        *("config.yaml", "curves.png", "environment.json", "log.jsonl", "operating_point.json", "weights.safetensors")
    }


def test_only_vals_boxes_are_looked_at(run: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = Dataset.split

    def without_boxes(self: Dataset, name: Any) -> Any:
        found = split(self, name)
        return found if name == "val" else replace(found, boxes_xyxy=None, kinds=None)

    told = tune(run, Dataset.open(dataset)).chosen
    monkeypatch.setattr(Dataset, "split", without_boxes)
    assert tune(run, Dataset.open(dataset)).chosen == told


def test_an_untuned_run_is_as_its_config_says(run: Path) -> None:
    assert "boxes" not in _chosen(run)
    backend: Any = hilum.load(run).backend
    assert backend._to_boxes == backend._config.boxes
    assert backend._to_boxes.threshold == 0.37


def _point(score: float, **changes: Any) -> OperatingPoint:
    return OperatingPoint({"threshold": 0.5, "fill_holes": False} | changes, 0.7, score)


POINTS = [
    _point(0.5),
    _point(0.6, threshold=0.4, fill_holes=True),
    _point(0.6 - 1e-15, fill_holes=True),
    _point(0.1, threshold=0.4),
]


def test_of_equals_the_fewest_changes(run: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hilum.segmenters.segmenter.Segmenter.tune", lambda *_: POINTS)
    tuning = tune(run, Dataset.open(dataset))
    assert tuning.chosen == POINTS[2]
    assert _chosen(run)["boxes"] == {"threshold": 0.5, "fill_holes": True}


def test_effects_are_of_one_parameter_each() -> None:
    assert Tuning(POINTS[0], POINTS[1], POINTS, 60).effects() == [
        ("threshold", 0.4, 0.6, 0.6),
        ("threshold", 0.5, 0.6 - 1e-15, 0.6 - 1e-15),
        ("fill_holes", False, 0.1, 0.5),
        ("fill_holes", True, 0.6, 0.6),
    ]


def test_other_data_are_told(run: Path, dataset: Path) -> None:
    environment = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps(environment | {"data_fingerprint": "other"}))
    (problem,) = tune(run, Dataset.open(dataset)).problems
    assert "trained on other data or another split" in problem


@pytest.mark.parametrize(
    ("boxes", "what"),
    [
        ({"threshold": 1.5}, r"boxes\.threshold: .*less than 1"),
        ({"connectivity": 6}, r"boxes\.connectivity: "),
        ({"treshold": 0.5}, r"boxes\.treshold: "),
        ([1], "boxes: input should be a valid dictionary"),
    ],
)
def test_a_damaged_operating_point_is_named(run: Path, boxes: Any, what: str) -> None:
    (run / OPERATING_POINT).write_text(json.dumps(_chosen(run) | {"boxes": boxes}))
    with pytest.raises(HilumError, match=rf"operating_point\.json: {what}"):
        hilum.load(run)


def test_an_unfinished_run_is_refused(run: Path, dataset: Path) -> None:
    (run / "weights.safetensors").unlink()
    with pytest.raises(HilumError, match="not a finished run"):
        tune(run, Dataset.open(dataset))


def test_a_backend_without_parameters_has_its_confidence_chosen(
    run: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, backend = _chosen(run), hilum.load(run).backend
    monkeypatch.setattr(type(backend), "tune", Backend.tune)
    monkeypatch.setattr("hilum.tune_run.load", lambda _: Predictor(backend, 0.9))
    app(["tune", str(run), str(dataset)], result_action="return_value")
    after = _chosen(run)
    assert "boxes" not in after
    assert (after["confidence"], after["val_score"]) == (before["confidence"], before["val_score"])
    assert "has nothing to tune but the confidence" in capsys.readouterr().out


def test_the_command_shows_the_choice_and_what_each_parameter_does(
    run: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app(["tune", str(run), str(dataset)], result_action="return_value")
    shown, chosen = capsys.readouterr().out, _chosen(run)
    for text in (f"{chosen['val_score']:.3f}", f"{chosen['untuned_val_score']:.3f}", "boxes.fill_holes", "0.37"):
        assert text in shown
    for name in ("threshold", "min_area_px", "connectivity", "fill_holes", "confidence"):
        assert re.search(rf"^{name} .* \*", shown, re.MULTILINE)
    assert shown.count(" *") == 5


def test_maps_are_seen_once(run: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hilum.segmenters.segmenter import Segmenter

    seen: list[int] = []
    see: Callable[..., Any] = Segmenter.see
    monkeypatch.setattr(Segmenter, "see", lambda self, squares: seen.append(len(squares)) or see(self, squares))
    done: list[tuple[int, int]] = []
    data = Dataset.open(dataset)
    tune(run, data, lambda *some: done.append(some))
    assert sum(seen) == 2 * len(data.split("val"))  # once to choose, once to calibrate what was chosen
    assert done[-1] == (len(data.split("val")),) * 2
    assert np.all(np.diff([number for number, _ in done]) > 0)


def test_of_several_classes_each_has_its_confidence(three_classes: Path, tmp_path: Path) -> None:
    data, run = Dataset.open(three_classes), tmp_path / "run"
    train(check_config({**TINY, "image_size": 32}, "test"), data, run)
    tuning = tune(run, data)
    chosen = _chosen(run)
    assert chosen["confidence"] == list(tuning.chosen.confidence)
    assert len(chosen["confidence"]) == 3
    predictor, val = hilum.load(run), data.split("val")
    assert predictor.confidence == tuning.chosen.confidence
    results = list(predictor.predict(val.paths))
    scores = [
        competition_score(
            each.boxes_xywh,
            [xyxy_to_xywh(result.detections.xyxy[result.detections.class_id == k]) for result in results],
            [result.detections.confidence[result.detections.class_id == k] for result in results],
        )
        for k, each in enumerate(val.by_class().values())
        if each.shows_opacity
    ]
    assert tuning.chosen.score == pytest.approx(np.mean(scores)) == chosen["val_score"]


def test_a_run_is_calibrated_and_its_wish_is_kept(run: Path, dataset: Path) -> None:
    data = Dataset.open(dataset)
    tuning = tune(run, data, wish=read_wish("fp_per_image=0.5"))
    record = read_operating_point(run)
    assert record["at"] == "fp_per_image=0.5"
    assert record["confidence"] == tuning.chosen.confidence == operating_confidence(run)
    results = list(load(run).predict(data.split("val").paths))
    true = sum(map(len, data.split("val").boxes_xyxy))
    assert sum(len(each.detections) for each in results) - true <= 0.5 * len(results)
    before = (run / OPERATING_POINT).read_bytes()
    with pytest.raises(HilumError, match="--at sensitivity=1: all boxes"):
        tune(run, data, wish=Wish("sensitivity", 1.0))
    assert (run / OPERATING_POINT).read_bytes() == before


@pytest.mark.parametrize("rows", [[[0.0, 1.0]], [[1.0]], [], [[1.0, 0.0], [1.0, 0.0]]])
def test_a_damaged_calibration_is_told(run: Path, dataset: Path, rows: Any) -> None:
    tune(run, Dataset.open(dataset))
    path = run / OPERATING_POINT
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "calibration": {"boxes": rows, "images": [[1.0, 0.0]]}}))
    with pytest.raises(HilumError, match=r"calibration.boxes: expected a slope above 0"):
        load(run)


def test_a_calibrated_run_says_other_numbers_of_the_same_boxes(run: Path, dataset: Path) -> None:
    data = Dataset.open(dataset)
    tune(run, data)
    path, paths = run / OPERATING_POINT, data.split("val").paths
    plain = json.loads(path.read_text())
    predict = load(run).predict
    before = list(predict(paths, confidence=0.0))
    path.write_text(json.dumps({**plain, "calibration": {"boxes": [[0.5, -1.0]], "images": [[0.5, 1.0]]}}))
    after = list(load(run).predict(paths, confidence=0.0))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.detections.xyxy, other.detections.xyxy)
        np.testing.assert_allclose(other.detections.confidence, Platt(0.5, -1.0).apply(one.detections.confidence))
        assert other.image_probability == pytest.approx(Platt(0.5, 1.0).apply(one.image_probability))
    assert len({each.image_probability for each in before}) == len(before), "images tie"
