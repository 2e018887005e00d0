"""`train.select`: the epoch that is kept is that which a metric likes best, in every backend that has epochs."""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from hilum.backend import epochs_chosen_by
from hilum.config import check_config
from hilum.datasets.folder import Dataset
from hilum.errors import HilumError
from hilum.predict import Predictor, load, predict_all
from hilum.result import image_probability
from hilum.run import read_operating_point
from hilum.train_run import train
from hilum.training.log import read_log
from hilum.training.validation import best_operating_point

TRAIN = {"epochs": 2, "batch_size": 8}
UNET = {"backend": "unet", "image_size": 32, "model": {"start_channels": 2, "depth": 2}, "boxes": {"threshold": 0.2}}
YOLO = {
    "backend": "yolo",
    "image_size": 64,
    "model_yaml": {"scales": {"n": [0.33, 0.03125, 256]}},
    "ultralytics": {"nbs": 8, "mosaic": 0.0, "optimizer": "AdamW", "lr0": 0.01, "warmup_epochs": 0},
}
GATE = {"backend": "gate", "image_size": 64, "model": {"name": "test_resnet"}}
FCOS = {
    "backend": "torchvision",
    "image_size": 64,
    "model": {"architecture": "fcos_resnet50_fpn", "backbone": "mobilenet_v3_small", "channels": 64},
}

# Likes the first epoch best, and keeps what it was shown.
FALLING = """
seen = []

def falling(split, found):
    seen.append((split, found))
    return 5 - 4 * len(seen)
"""


@pytest.fixture
def falling(install):
    install("falling_metric", FALLING, "hilum.metrics", ["falling"])
    return lambda: sys.modules["falling_metric"].seen


def config(values, **changes):
    return check_config(values | {"train": TRAIN | changes}, "test")


def sums(found):
    """What tells one epoch's answers from another's."""
    return np.array([[each.confidence.sum(), image_probability(each)] for each in found])


@pytest.mark.parametrize(
    ("values", "needs"),
    [
        (UNET, "torch"),
        pytest.param(YOLO, "ultralytics", id="yolo"),
        pytest.param(GATE, "timm", id="gate"),
        pytest.param(FCOS, "torchvision", id="fcos"),
    ],
)
def test_the_epoch_that_a_plug_in_likes_best_is_kept(dataset, tmp_path, falling, values, needs):
    if find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed")
    data, run = Dataset.open(dataset), tmp_path / "run"
    predictor = train(config(values, select="falling"), data, run)
    val = data.split("val")
    log, seen = read_log(run), falling()
    assert [line["val_score"] for line in log] == [1, -3]
    assert [split.image_ids for split, _ in seen] == [val.image_ids] * 2
    first, second = (sums(found) for _, found in seen)
    kept = [each.detections for each in predict_all(Predictor(load(run).backend, 0.0), val.paths)]
    apart = abs(first - second).max()
    assert apart > 1e-3, "two epochs that cannot be told apart"
    # Pictures are seen one by one here, and in batches there.
    assert abs(sums(found_as_backend(predictor, val)) - first).max() < apart / 5
    # The operating point is the competition's, whatever the epoch was chosen by.
    if values is not GATE:
        chosen = read_operating_point(run)
        assert (chosen["confidence"], chosen["val_score"]) == pytest.approx(best_operating_point(val, kept))
    assert epochs_chosen_by(config(values, select="falling")) == "falling"


def found_as_backend(predictor, val):
    from hilum.datasets.pictures import read_picture

    return [predictor.backend.predict_batch([read_picture(path)])[0] for path in val.paths]


@pytest.mark.parametrize("values", [UNET, YOLO, GATE])
def test_a_metric_that_is_not_there_is_named_before_anything_is_written(dataset, tmp_path, values):
    with pytest.raises(HilumError, match=r"^metric: no metric is called 'aproc'; did you mean 'auroc'\?$"):
        train(config(values, select="aproc"), Dataset.open(dataset), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["competition", "ap", "siim"])
def test_the_gate_finds_no_boxes_to_choose_by(name):
    with pytest.raises(HilumError, match=f"test: train.select: '{name}' is of boxes, and the gate finds none; auroc"):
        config(GATE, select=name)


def test_what_is_the_default_is_not_written(tmp_path):
    """So that a run's files are those of before there was a choice."""
    for values, default in ((UNET, "competition"), (YOLO, "competition"), (GATE, "auroc")):
        chosen = config(values)
        assert chosen.train.select == default
        assert "select" not in chosen.model_dump(mode="json")["train"]
    assert config(UNET, select="froc").model_dump(mode="json")["train"]["select"] == "froc"


def test_curves_and_the_report_say_what_it_was(dataset, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("hilum.train_run.draw_curves", lambda log, path, *, title, score: drawn.append(score))
    train(config(UNET, select="froc", epochs=1), Dataset.open(dataset), tmp_path / "run")
    assert drawn == ["FROC mean"]
    assert 0 <= read_log(tmp_path / "run")[0]["val_score"] <= 1
    assert epochs_chosen_by(config(UNET)) == "competition score"
    assert epochs_chosen_by(config(GATE)) == "image AUROC"


def test_a_run_is_used_where_its_metric_is_not_installed(dataset, tmp_path, falling):
    run = tmp_path / "run"
    train(config(UNET, select="falling", epochs=1), Dataset.open(dataset), run)
    text = (run / "config.yaml").read_text().replace("falling", "elsewhere")
    Path(run / "config.yaml").write_text(text)
    assert load(run).confidence == read_operating_point(run)["confidence"]
