"""The run folder is prepared without harm to what lies there."""

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from hilum import network_backend
from hilum.config import check_config, load_config
from hilum.datasets.folder import Dataset
from hilum.datasets.resplit import Lists, resplit
from hilum.errors import HilumError
from hilum.run import run_config, weights_files
from hilum.train_run import check_start, train
from hilum.tune_run import tune


def test_a_config_of_the_users_own_is_not_written_over(dataset: Path, tmp_path: Path) -> None:
    mine = tmp_path / "config.yaml"
    mine.write_text("# mine\nbase: sample/unet\n")
    with pytest.raises(HilumError, match="give a new folder"):
        train(load_config(str(mine)), Dataset.open(dataset), tmp_path)
    assert mine.read_text() == "# mine\nbase: sample/unet\n"
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_second_training_in_the_same_folder_is_refused(dataset: Path, tmp_path: Path) -> None:
    first = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(first, fcntl.LOCK_EX)
    try:
        with pytest.raises(HilumError, match="another training is writing there"):
            train(load_config("sample/unet"), Dataset.open(dataset), tmp_path)
    finally:
        os.close(first)
    assert not list(tmp_path.iterdir())


RESNET: dict[str, Any] = {
    "backend": "resnet",
    "image_size": 32,
    "model": {"channels": 4, "blocks": 1, "depth": 2},
    "train": {"epochs": 1, "batch_size": 8},
}
YOLO: dict[str, Any] = {"backend": "yolo", "image_size": 32, "train": {"epochs": 1, "batch_size": 8}}
NOWHERE = {"weights": "/nowhere/w.pth"}
CANNOT_START: dict[str, dict[str, Any]] = {
    "segmenter": {**RESNET, "backend": "segmenter", "model": {"encoder": "resnet18", **NOWHERE}},
    "torchvision": {
        "backend": "torchvision",
        "image_size": 64,
        "model": {"backbone": "mobilenet_v3_small", "channels": 64, **NOWHERE},
    },
    "gate": {"backend": "gate", "image_size": 32, "model": NOWHERE, "train": {"epochs": 1, "batch_size": 8}},
    "yolo": {**YOLO, "model": "yolo26m.yml"},
    "architecture": {**YOLO, "model_yaml": {"activation": "print(1)"}},
}
NEEDS = {
    "segmenter": "segmentation_models_pytorch",
    "gate": "timm",
    "yolo": "ultralytics",
    "architecture": "ultralytics",
}


@pytest.mark.parametrize("name", CANNOT_START)
def test_a_config_that_cannot_start_leaves_its_folder_to_the_corrected_one(
    name: str, dataset: Path, tmp_path: Path
) -> None:
    pytest.importorskip(NEEDS.get(name, "torchvision"))
    data, run = Dataset.open(dataset), tmp_path / "run"
    with pytest.raises(HilumError, match=r"^model"):
        train(check_config(CANNOT_START[name], "x"), data, run)
    train(check_config(RESNET, "x"), data, run)
    assert run_config(run) == check_config(RESNET, "x")


@pytest.mark.parametrize("wrong", [{"config": {**YOLO, "model": "yolo26m.yml"}}, {"run": "/nowhere"}])
def test_no_member_is_trained_before_all_can_start(wrong: dict[str, Any], dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("ultralytics")
    composed = check_config({"backend": "compose", "members": {"a": {"config": RESNET}, "b": wrong}}, "x")
    with pytest.raises(HilumError, match=r"yolo26m\.yml|/nowhere"):
        train(composed, Dataset.open(dataset), tmp_path)
    assert not list(tmp_path.iterdir())


def test_under_torchrun_all_members_must_share_their_batches(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ultralytics")
    monkeypatch.setattr("hilum.train_run.world_size", lambda: 2)
    members = {"a": {"config": RESNET}, "b": {"config": YOLO}}
    with pytest.raises(HilumError, match=r"^b: backend 'yolo': does not train under torchrun"):
        check_start(check_config({"backend": "compose", "members": members}, "x"), Dataset.open(dataset))


def _stop(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    def stop(*args: Any, **kwargs: Any) -> None:
        raise HilumError("stopped before the first step")

    monkeypatch.setattr(owner, name, stop)


def test_a_training_that_learned_nothing_makes_room_for_another(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Dataset.open(dataset)
    first = check_config({"backend": "compose", "members": {"a": {"config": RESNET}, "b": {"config": RESNET}}}, "x")
    with monkeypatch.context() as patch:
        _stop(patch, network_backend, "fit")
        with pytest.raises(HilumError, match="stopped"):
            train(first, data, tmp_path)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"config.yaml", "environment.json"}
    (tmp_path / "log.jsonl").touch()  # as it is before the first epoch ends
    (tmp_path / "tensorboard").mkdir()
    train(check_config(RESNET, "x"), data, tmp_path)
    assert weights_files(tmp_path) == [tmp_path / "weights.safetensors"]  # no member of the other's is left


def test_the_next_training_builds_the_architecture_of_its_own_config(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ultralytics")
    from hilum.detectors.run_trainer import RunTrainer

    _stop(monkeypatch, RunTrainer, "train")
    written = []
    for model in ("yolo26n.yaml", "yolov8n.yaml"):
        with pytest.raises(HilumError, match="stopped"):
            train(check_config({**YOLO, "model": model}, "x"), Dataset.open(dataset), tmp_path)
        written.append((tmp_path / "model.yaml").read_text())
    assert written[0] != written[1]


@pytest.mark.parametrize(
    "learned", ["checkpoint.pt", "weights.safetensors", "log.jsonl", "members/a/weights.safetensors", "notes.txt"]
)
def test_what_was_learned_is_not_given_up_for_another_config(
    learned: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Dataset.open(dataset)
    with monkeypatch.context() as patch:
        _stop(patch, network_backend, "fit")
        with pytest.raises(HilumError, match="stopped"):
            train(check_config(RESNET, "x"), data, tmp_path)
    (tmp_path / learned).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / learned).write_text("{}\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(HilumError, match="which differs in seed, on this data; give a new folder"):
        train(check_config({**RESNET, "seed": 1}, "x"), data, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def _split_without_opacity(dataset: Path, name: str, folder: Path) -> Dataset:
    """A further split of the data whose train or val shows none."""
    data = Dataset.open(dataset)
    splits = [data.split(each) for each in ("train", "val", "holdout")]
    shows = {
        name: len(boxes) > 0 for each in splits for name, boxes in zip(each.image_ids, each.boxes_xyxy, strict=True)
    }
    negative = [image_id for image_id, positive in shows.items() if not positive]
    val = negative[:6] if name == "val" else [*(image_id for image_id in shows if shows[image_id]), negative[0]]
    lists = {"val": val, "holdout": negative[-2:]}
    for each, ids in lists.items():
        (folder / f"{each}.txt").write_text("".join(f"{image_id}\n" for image_id in ids))
    kept = Lists(folder / "holdout.txt", folder / "val.txt", keep_shared=True)
    (path,) = resplit(dataset, f"no-opacity-in-{name}", kept, seed=0, overwrite=True)
    return Dataset.open(path)


TORCHVISION: dict[str, Any] = {
    "backend": "torchvision",
    "image_size": 64,
    "model": {"backbone": "mobilenet_v3_small", "channels": 64},
    "train": {"epochs": 1, "batch_size": 8},
}
GATE: dict[str, Any] = {"backend": "gate", "image_size": 32, "train": {"epochs": 1, "batch_size": 8}}
COMPOSED: dict[str, Any] = {"backend": "compose", "members": {"a": {"config": RESNET}}, "top_share": "val"}
EVERY = {"resnet": RESNET, "torchvision": TORCHVISION, "yolo": YOLO, "compose": COMPOSED, "gate": GATE}


@pytest.mark.parametrize("name", EVERY)
def test_train_without_opacity_is_refused(name: str, dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip(NEEDS.get(name, "torchvision"))
    data = _split_without_opacity(dataset, "train", tmp_path)
    for stopped in (check_start, lambda config, data: train(config, data, tmp_path / "run")):
        with pytest.raises(HilumError, match=f"^{data.path}: no image of the train split shows opacity"):
            stopped(check_config(EVERY[name], "x"), data)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["resnet", "yolo", "compose"])
def test_val_without_opacity_is_warned_of_and_kills_no_box(
    name: str, dataset: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(NEEDS.get(name, "torchvision"))
    data = _split_without_opacity(dataset, "val", tmp_path)
    predictor = train(check_config(EVERY[name], "x"), data, tmp_path / "run")
    assert f"hilum: {data.path}: no image of the val split shows opacity" in capfd.readouterr().err
    assert predictor.confidence == 0
    with pytest.raises(HilumError, match=r"nothing can be chosen on it"):
        tune(tmp_path / "run", data)


def test_the_gate_needs_both_kinds_of_images_in_val(dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("timm")
    with pytest.raises(HilumError, match="the val split needs images with opacity, and without"):
        check_start(check_config(GATE, "x"), _split_without_opacity(dataset, "val", tmp_path))


def test_a_class_that_a_split_lacks_is_told_once(
    three_classes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of four classes the data has three: the fourth is in no split."""
    folder = Path(shutil.copytree(three_classes, tmp_path / "data"))
    record = json.loads((folder / "conversion.json").read_text())
    names = [*record["class_names"], "nowhere"]
    (folder / "conversion.json").write_text(json.dumps({**record, "class_names": names}))
    predictor = train(check_config(RESNET, "test"), Dataset.open(folder), tmp_path / "run")
    said = capfd.readouterr().err
    assert said.count(f"{folder}: no image of the train split shows nowhere: it cannot be learned\n") == 1
    assert said.count(f"{folder}: no image of the val split shows nowhere: its operating point cannot be told, so") == 1
    assert said.count("no image of the") == 2
    assert (len(predictor.confidence), predictor.confidence[3]) == (4, 0.0)
    assert run_config(tmp_path / "run").class_names == tuple(names)
