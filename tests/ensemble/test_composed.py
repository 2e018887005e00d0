import json
import shutil
from itertools import pairwise

import cv2
import numpy as np
import pytest
from commandline import hilum as run_command
from small_configs import RESNET

import hilum
from hilum.comparison.ablation import ablation
from hilum.comparison.measured import predict_answers
from hilum.config import check_config
from hilum.datasets.fusion import weighted_box_fusion
from hilum.errors import HilumError
from hilum.eval.competition import competition_score
from hilum.predict import predict_all
from hilum.result import image_probability
from hilum.run import parameter_count
from hilum.train_run import train, training_seconds
from hilum.training.validation import best_operating_point
from hilum.tune_run import tune

UNET = {
    **RESNET,
    "backend": "unet",
    "model": {"start_channels": 4, "depth": 3, "dropout": 0.0, "momentum": 0.1},
}
GATE = {"backend": "gate", "image_size": 64, "model": {"name": "test_resnet"}, "train": {"epochs": 2, "batch_size": 8}}
COMPOSED = {
    "backend": "compose",
    "members": {"resnet": {"config": RESNET, "folds": 2}, "unet": {"config": UNET, "weight": 0.5}},
    "gate": {"config": GATE},
    "views": {"flip": True, "scales": [1.0, 0.9]},
    "fusion": {"choose_weights": True},
    "top_share": "val",
    "relative": "val",
    "shrink": "val",
}


@pytest.fixture(scope="module")
def composed(data, tmp_path_factory):
    """A run with everything in it."""
    pytest.importorskip("timm")
    run = tmp_path_factory.mktemp("composed") / "run"
    train(check_config(COMPOSED, "test"), data, run)
    return run


def grey(path):
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)


def test_every_part_is_an_ordinary_run(composed):
    members = sorted(path.name for path in (composed / "members").iterdir())
    assert members == ["gate", "resnet.fold-1", "resnet.fold-2", "unet"]
    for name in members:
        assert list(hilum.load(composed / "members" / name).predict(np.zeros((64, 64), np.uint8)))
    assert parameter_count(composed) == sum(parameter_count(composed / "members" / name) for name in members) > 0
    assert training_seconds(composed) == pytest.approx(
        sum(training_seconds(composed / "members" / name) for name in members)
    )


def test_the_operating_point_says_what_was_chosen_on_val(composed, data):
    chosen = json.loads((composed / "operating_point.json").read_text())
    assert chosen["chosen_on"] == "val"
    assert chosen["composition"].keys() == {
        "weights", "outside_lungs", "gate_mode", "gate_threshold", "least_in_image", "relative", "shrink"
    }  # fmt: skip
    predictor = hilum.load(composed)
    found = [result.detections for result in predict_all(predictor, data.split("val").paths)]
    confidence, score = best_operating_point(data.split("val"), found)
    assert (chosen["confidence"], chosen["val_score"]) == pytest.approx((confidence, score))
    assert predictor.confidence == chosen["confidence"]
    assert score > 0.1, "the members have learnt nothing: the other tests would hold on nothing"


def test_what_is_chosen_is_no_worse_on_val_than_nothing_chosen(composed, data, tmp_path):
    plain = tmp_path / "plain"
    shutil.copytree(composed, plain)
    point = json.loads((plain / "operating_point.json").read_text())
    neutral = {"weights": {"resnet": 1.0, "unet": 0.5}, "gate_mode": None, "shrink": 1.0}
    (plain / "operating_point.json").write_text(json.dumps({**point, "composition": neutral}))
    val = data.split("val")
    found = [result.detections for result in predict_all(hilum.load(plain), val.paths)]
    assert point["val_score"] >= best_operating_point(val, found)[1]


def test_the_images_probability_is_the_gates(composed, data):
    paths = data.split("train").paths[:4]
    gate = hilum.load(composed / "members" / "gate").backend
    images = [grey(path) for path in paths]
    views = [[view.show(image) for image in images] for view in hilum.load(composed).backend.config.views.all()]
    expected = np.mean([[image_probability(found) for found in gate.predict_batch(view)] for view in views], axis=0)
    results = list(hilum.load(composed).predict(paths))
    assert [result.image_probability for result in results] == pytest.approx(expected.tolist(), abs=1e-5)


def test_folds_differ_and_saw_neither_val_nor_holdout(composed, data):
    weights = [(composed / "members" / f"resnet.fold-{n}" / "weights.safetensors").read_bytes() for n in (1, 2)]
    assert weights[0] != weights[1]


def test_the_same_command_trains_only_what_is_missing(composed, data, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(composed, run)
    (run / "operating_point.json").unlink()
    (run / "weights.safetensors").unlink()
    (run / "members" / "unet" / "operating_point.json").unlink()  # killed before it was written
    kept = (run / "members" / "resnet.fold-1" / "weights.safetensors").stat().st_mtime_ns
    config = check_config(COMPOSED, "test")
    with pytest.raises(HilumError, match="not a finished run"):
        hilum.load(run)
    train(config, data, run)
    assert (run / "members" / "resnet.fold-1" / "weights.safetensors").stat().st_mtime_ns == kept
    for name in ("operating_point.json", "weights.safetensors"):
        assert (run / name).read_bytes() == (composed / name).read_bytes()
    with pytest.raises(HilumError, match="already holds a finished run"):
        train(config, data, run)


def test_a_member_that_was_exchanged_is_noticed(composed, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(composed, run)
    shutil.copy(run / "members" / "resnet.fold-2" / "weights.safetensors", run / "members" / "resnet.fold-1")
    with pytest.raises(HilumError, match=r"resnet\.fold-1: has changed since"):
        hilum.load(run)
    shutil.rmtree(run / "members" / "unet")
    with pytest.raises(HilumError, match=r"resnet\.fold-1: has changed|unet: no such run"):
        hilum.load(run)


@pytest.mark.parametrize(
    "broken", [None, {"weights": {"a": 1}}, {"weights": {"resnet": 1, "unet": 1}, "shrink": -1}, {"shrink": 1}]
)
def test_a_damaged_operating_point_is_named(composed, tmp_path, broken):
    run = tmp_path / "run"
    shutil.copytree(composed, run)
    point = json.loads((run / "operating_point.json").read_text())
    (run / "operating_point.json").write_text(json.dumps({**point, "composition": broken}))
    with pytest.raises(HilumError, match=r"operating_point\.json: composition"):
        hilum.load(run)


def test_runs_that_are_there_become_one(composed, data, tmp_path):
    """Two runs, equal weights: the composition is their fusion, and needs them no more."""
    runs = {}
    for name, values in (("one", RESNET), ("two", UNET)):
        runs[name] = tmp_path / name
        train(check_config(values, "test"), data, runs[name])
    values = {"backend": "compose", "members": {name: {"run": str(run)} for name, run in runs.items()}}
    both = tmp_path / "both"
    train(check_config(values, "test"), data, both)
    images = [grey(path) for path in data.split("val").paths[:3]]
    alone = [hilum.load(run).backend.predict_batch(images) for run in runs.values()]
    for run in runs.values():
        shutil.rmtree(run)
    for image, answer in enumerate(hilum.load(both).backend.predict_batch(images)):
        found = [(each[image].xyxy, each[image].confidence) for each in alone]
        boxes, confidence = weighted_box_fusion(found, [1, 1], iou=0.4)
        np.testing.assert_allclose(answer.xyxy, boxes, atol=1e-6)
        np.testing.assert_allclose(answer.confidence, confidence, atol=1e-6)


def test_a_run_of_other_data_is_refused_before_anything_is_trained(composed, data, tmp_path):
    fold = composed / "members" / "resnet.fold-1"  # of other data: it has another train split
    values = {"backend": "compose", "members": {"a": {"config": RESNET}, "b": {"run": str(fold)}}}
    with pytest.raises(HilumError, match="may have seen its val or holdout"):
        train(check_config(values, "test"), data, tmp_path / "run")
    values["members"]["b"]["run"] = str(tmp_path / "nowhere")
    with pytest.raises(HilumError, match="no such run folder"):
        train(check_config(values, "test"), data, tmp_path / "other")
    assert not (tmp_path / "run" / "members").exists()


def test_seeds_of_a_composition_are_seeds_of_its_members(data, tmp_path):
    values = {"backend": "compose", "members": {"a": {"config": {**RESNET, "seed": 2}}}, "seed": 3}
    train(check_config(values, "test"), data, tmp_path / "run")
    assert "seed: 5" in (tmp_path / "run" / "members" / "a" / "config.yaml").read_text()


def test_the_ablation_ends_with_the_run_itself(composed, data):
    rows = ablation([(composed, data)])
    assert [row.name for row in rows] == [
        "resnet", "+ 2 folds", "+ gate", "+ views", "+ top share", "+ relative threshold", "+ shrink", "+ unet"
    ]  # fmt: skip
    holdout, predictor = data.split("holdout"), hilum.load(composed)
    answer = predict_answers(predictor, holdout)[0]
    (chosen,) = rows[-1].folds
    assert chosen.confidence == pytest.approx(predictor.confidence)
    assert chosen.parameters == json.loads((composed / "operating_point.json").read_text())["composition"]
    assert rows[-1].score.estimate == pytest.approx(competition_score(holdout.boxes_xywh, *answer.kept()))
    assert rows[0].added is None
    for before, row in pairwise(rows):
        gain = row.score.estimate - before.score.estimate
        assert row.added.estimate == pytest.approx(gain)
        assert row.added.low <= row.added.high
    first = hilum.load(composed / "members" / "resnet.fold-1")
    val = data.split("val")
    found = [result.detections for result in predict_all(first, val.paths)]
    (chosen,) = rows[0].folds
    assert (chosen.confidence, chosen.val_score) == pytest.approx(best_operating_point(val, found))


def test_the_command_prints_the_ablation(composed, data, tmp_path):
    done = run_command("ablate", composed, data.path, "--json", tmp_path / "rows")
    rows = json.loads((tmp_path / "rows").read_text())["rows"]
    table = done.stdout.splitlines()
    under_the_header = next(number for number, line in enumerate(table) if line.startswith("\u2500")) + 1
    assert len(rows) == 8
    lines = table[under_the_header : under_the_header + 8]
    for line, row in zip(lines, rows, strict=True):
        assert row["name"] in line
        assert f"{row['score']['estimate']:.3f}" in line


def test_pretraining_of_a_run_that_is_taken_over_is_told(composed, tmp_path):
    taken = tmp_path / "taken"
    shutil.copytree(composed / "members" / "unet", taken)
    environment = json.loads((taken / "environment.json").read_text())
    (taken / "environment.json").write_text(json.dumps({**environment, "pretraining": "nih.safetensors"}))
    values = {"backend": "compose", "members": {"a": {"run": str(taken)}, "b": {"config": RESNET}}}
    assert check_config(values, "test").pretraining == "nih.safetensors"
    assert check_config(COMPOSED, "test").pretraining is None


def test_tuning_does_not_undo_what_was_chosen(composed, data):
    before = (composed / "operating_point.json").read_bytes()
    for run in (composed, composed / "members" / "gate"):
        with pytest.raises(HilumError, match="nothing to tune"):
            tune(run, data)
    assert (composed / "operating_point.json").read_bytes() == before


def test_only_a_composition_has_parts(composed, data):
    with pytest.raises(HilumError, match="no parts to leave out"):
        ablation([(composed / "members" / "unet", data)])
