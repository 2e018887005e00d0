"""Training that starts with the weights of a finished run: every backend, what the run says, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import hilum
from hilum.config import check_config
from hilum.datasets.folder import Dataset
from hilum.datasets.resplit import Folds, resplit
from hilum.errors import HilumError
from hilum.run import run_digest
from hilum.train_run import train
from hilum.training.log import read_log

STILL = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-12}
EVERY: dict[str, dict[str, Any]] = {
    "resnet": {"image_size": 32, "model": {"channels": 4, "blocks": 1, "depth": 2}, "train": STILL},
    "unet": {"image_size": 32, "model": {"start_channels": 2, "depth": 2}, "train": STILL},
    "segmenter": {
        "image_size": 32,
        "model": {"encoder": "tu-mobilenetv3_small_050", "options": {"decoder_channels": [16, 16, 8, 8, 8]}},
        "train": {**STILL, "image_loss": 0.2},
    },
    "gate": {"image_size": 32, "model": {"name": "test_resnet"}, "train": STILL},
    "torchvision": {
        "image_size": 64,
        "model": {"architecture": "retinanet_resnet50_fpn_v2", "backbone": "mobilenet_v3_small", "channels": 64},
        "train": STILL,
    },
    "dfine": {"image_size": 64, "model": {"size": "nano", "queries": 20}, "train": STILL},
    "yolo": {
        "image_size": 64,
        "model_yaml": {"scales": {"n": [0.33, 0.0625, 256]}},
        "train": {"epochs": 1, "batch_size": 8},
        "ultralytics": {"lr0": 1e-12, "warmup_bias_lr": 0.0, "optimizer": "AdamW", "mosaic": 0.0},
    },
}
NEEDS = {"segmenter": "segmentation_models_pytorch", "gate": "timm", "yolo": "ultralytics", "dfine": "transformers"}


def config(backend: str, start: Path | str | None = None, **changes: Any) -> Any:
    values = {"backend": backend, **EVERY[backend], **changes}
    if start is not None and backend == "yolo":
        values |= {"model": str(start), "model_yaml": {}}
    elif start is not None:
        values["model"] = {**values["model"], "weights": str(start)}
    return check_config(values, "test")


@pytest.fixture(scope="module")
def data(dataset: Path) -> Dataset:
    return Dataset.open(dataset)


@pytest.fixture(scope="module")
def resnet(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("first") / "resnet"
    train(config("resnet"), data, run)
    return run


def learned(run: Path) -> dict[str, torch.Tensor]:
    """All but BatchNorm's statistics, which no learning rate keeps still."""
    stored = load_file(run / "weights.safetensors")
    return {name: tensor for name, tensor in stored.items() if "running_" not in name and "num_batches" not in name}


@pytest.mark.parametrize("backend", EVERY)
def test_every_backend_starts_with_all_weights_of_a_run_and_says_so(
    backend: str, data: Dataset, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(NEEDS.get(backend, "torchvision"))
    first, second = tmp_path / "first", tmp_path / "second"
    train(config(backend, seed=1), data, first)
    train(config(backend, first, seed=2), data, second)
    one, other = learned(first), learned(second)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, atol=1e-6, rtol=1e-6, msg=name)
    environment = json.loads((second / "environment.json").read_text())
    assert environment["pretraining"] == "first"
    assert environment["started_from"] == {
        "run": "first",
        "digest": run_digest(first),
        "data_fingerprint": data.fingerprint,
        "pretraining": None,
    }
    assert "started_from" not in json.loads((first / "environment.json").read_text())
    assert "figures will be too good" not in capfd.readouterr().err


def test_a_finished_run_says_in_one_line_how_it_learns_on(resnet: Path, data: Dataset) -> None:
    longer = config("resnet", train={**STILL, "epochs": 3})
    expected = (
        f"{resnet}: already holds a finished run; give a new folder; there, model.weights={resnet} train.epochs=2 "
        "learns on from its weights"
    )
    with pytest.raises(HilumError) as caught:
        train(longer, data, resnet)
    assert str(caught.value) == expected
    with pytest.raises(HilumError, match=r"there, model\.weights=\S+ learns on from its weights$"):
        train(config("resnet"), data, resnet)


def test_more_epochs_learn_on(data: Dataset, tmp_path: Path) -> None:
    """Where the first run ended, not where random weights begin."""
    steps = {"epochs": 3, "batch_size": 4, "learning_rate": 0.005}
    train(config("resnet", train=steps), data, tmp_path / "first")
    train(config("resnet", tmp_path / "first", train=steps), data, tmp_path / "second")
    first, second = read_log(tmp_path / "first"), read_log(tmp_path / "second")
    assert second[0]["train_loss"] < first[0]["train_loss"]


def test_a_run_of_another_split_is_warned_of(
    resnet: Path, data: Dataset, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (other, *_) = resplit(data.path, "fine-tuning", Folds(3), seed=5, overwrite=True)
    run = tmp_path / "run"
    train(config("resnet", resnet), Dataset.open(other), run)
    assert f"hilum: resnet: was trained on other data or another split than {other}" in capfd.readouterr().err
    assert json.loads((run / "environment.json").read_text())["started_from"]["data_fingerprint"] == data.fingerprint


def test_an_interrupted_training_goes_on_without_the_run_that_it_started_with(
    resnet: Path, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Path(shutil.copytree(resnet, tmp_path / "start"))
    settings = config("resnet", start)

    class Stop(Exception):  # noqa: N818
        pass

    def killed(*_: Any) -> None:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr("hilum.train_run.write_operating_point", killed)
        with pytest.raises(Stop):
            train(settings, data, tmp_path / "run")
    shutil.rmtree(start)
    train(settings, data, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["started_from"]["run"] == "start"


@pytest.mark.parametrize("form", ["file", "folder", "parts"])
def test_a_file_or_a_folder_of_tensors_gives_a_network_of_ours_whole(form: str, resnet: Path, tmp_path: Path) -> None:
    stored = load_file(resnet / "weights.safetensors")
    names = list(stored)
    parts = {"model-1-of-2": names[:3], "model-2-of-2": names[3:]} if form == "parts" else {"model": names}
    for part, inside in parts.items():
        save_file({name: stored[name] for name in inside}, tmp_path / f"{part}.safetensors")
    settings = config("resnet", tmp_path / "model.safetensors" if form == "file" else tmp_path)
    started = settings.starting_network().state_dict()
    counters = {name for name in stored if name.endswith("num_batches_tracked")}
    assert all(torch.equal(started[name], stored[name]) for name in stored.keys() - counters)
    assert settings.starts_from is None
    assert settings.pretraining == ("model.safetensors" if form == "file" else tmp_path.name)


def test_what_is_no_run_of_the_same_model_is_refused_before_anything_is_written(
    resnet: Path, data: Dataset, tmp_path: Path
) -> None:
    unfinished, empty, damaged = (tmp_path / name for name in ("unfinished", "empty", "damaged"))
    for folder in (unfinished, damaged):
        shutil.copytree(resnet, folder)
    (unfinished / "operating_point.json").unlink()
    (damaged / "weights.safetensors").write_bytes(b"nothing")
    empty.mkdir()
    wide = {"model": {"channels": 8, "blocks": 1, "depth": 2}}
    refused: list[tuple[Any, str]] = [
        (config("resnet", unfinished), rf"^{unfinished}: not a finished run, operating_point\.json missing"),
        (config("resnet", empty), rf"^model\.weights: {empty}: neither a run folder nor one of \.safetensors files"),
        (config("resnet", damaged), rf"^{damaged}/weights\.safetensors: "),
        (config("resnet", tmp_path / "gone"), r"^model\.weights: .*gone: no such file; expected none, the folder"),
        (config("unet", resnet), "not the weights of the network that shall start with them .*; start from a run of"),
        (config("resnet", resnet, **wide), "expected the shape .*; start from a run of the same model"),
    ]
    for settings, message in refused:
        with pytest.raises(HilumError, match=message) as caught:
            train(settings, data, tmp_path / "run")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_yolo_takes_a_run_of_its_own_alone(resnet: Path, data: Dataset, tmp_path: Path) -> None:
    pytest.importorskip("ultralytics")
    with pytest.raises(HilumError, match=rf"^model: {resnet}: holds no model\.yaml; expected a finished run of the"):
        train(config("yolo", resnet), data, tmp_path / "run")
    with pytest.raises(HilumError, match="brings its own architecture"):
        check_config({"backend": "yolo", **EVERY["yolo"], "model": str(resnet)}, "test")


@pytest.mark.parametrize("backend", EVERY)
def test_on_data_of_other_classes_what_tells_them_apart_starts_anew(
    backend: str, data: Dataset, three_classes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(NEEDS.get(backend, "torchvision"))
    first, second = tmp_path / "first", tmp_path / "second"
    train(config(backend, seed=1), data, first)
    train(config(backend, first, seed=2), Dataset.open(three_classes), second)
    assert "first: looks for opacity, and" in (said := capfd.readouterr().err)
    assert "has left, right, low; what tells classes apart starts anew" in said
    one, other = learned(first), learned(second)
    assert one.keys() == other.keys()
    anew = {name for name, tensor in one.items() if other[name].shape != tensor.shape}
    assert 0 < len(anew) < 0.2 * len(one)
    for name in one.keys() - anew:
        torch.testing.assert_close(other[name], one[name], atol=1e-6, rtol=1e-6, msg=name)
    assert len(hilum.load(second).class_names) == 3


def test_a_run_of_another_model_is_refused_whatever_its_classes(
    resnet: Path, three_classes: Path, tmp_path: Path
) -> None:
    wide = config("resnet", resnet, model={"channels": 8, "blocks": 1, "depth": 2, "weights": str(resnet)})
    with pytest.raises(HilumError, match=r"expected the shape .*; start from a run of the same model"):
        train(wide, Dataset.open(three_classes), tmp_path / "run")
