"""YOLO as a backend: what it stores, shows and finds, and that nothing leaves the machine."""

import csv
import importlib
import importlib.util
import json
import logging
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml

# Not `importorskip`, which would import ultralytics before hilum has told it to keep to itself.
if importlib.util.find_spec("ultralytics") is None:
    pytest.skip("the extra `yolo` is not installed", allow_module_level=True)

from hilum.config import check_config, dump_config
from hilum.converters.convert import convert
from hilum.datasets.boxes import xyxy_to_xywh
from hilum.datasets.folder import Dataset
from hilum.datasets.letterbox import Letterbox
from hilum.detectors import private_ultralytics
from hilum.detectors.competition_trainer import FILL, CompetitionTrainer, CompetitionValidator
from hilum.detectors.run_trainer import RunTrainer
from hilum.detectors.yolo import CONFIDENCE_FLOOR, MAX_BOXES, YOLODetector, _overrides
from hilum.detectors.yolo_config import YOLOConfig
from hilum.detectors.yolo_network import build_network, read_architecture
from hilum.errors import HilumError
from hilum.eval.competition import best_confidence, threshold_curve
from hilum.sample.challenge import write_sample
from hilum.training.log import read_log

TINY = {"scales": {"n": [0.33, 0.03125, 256]}}  # an eighth of n's width


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine make tiny networks ten times slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", autouse=True)
def _no_network() -> Iterator[None]:
    """Every training here runs with the network cable pulled."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        pytest.fail(f"something tried to reach the network: {args}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket.socket, "connect_ex", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """24 generated radiographs."""
    folder = tmp_path_factory.mktemp("yolo-data")
    write_sample(folder / "kaggle", 24, 5, opacity_share=0.6)
    convert(folder / "kaggle", folder / "data")
    return Dataset.open(folder / "data")


@pytest.fixture(scope="module")
def trained(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[YOLODetector, Path]:
    """A detector after two epochs in one go, and the run folder that it left."""
    config = tiny_config()
    run = new_run(tmp_path_factory.mktemp("yolo") / "run", config)
    return YOLODetector.train(config, data, run), run


def tiny_config(*, trust: bool = False, **changes: Any) -> YOLOConfig:
    values = {
        "backend": "yolo",
        "model_yaml": TINY,
        "image_size": 64,
        "train": {"epochs": 2, "batch_size": 4},
        "ultralytics": {"nbs": 4, "optimizer": "AdamW", "lr0": 0.002, "mosaic": 0.0, "cache": "ram"},
    }
    config = check_config(values | changes, where="tiny.yaml", trust=trust)
    assert isinstance(config, YOLOConfig)
    return config


def new_run(folder: Path, config: YOLOConfig) -> Path:
    """A run folder as `hilum train` prepares it."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump_config(config))
    return folder


def pictures(data: Dataset) -> list[np.ndarray]:
    return [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in data.split("val").paths]


def assert_same(found: Any, expected: Any, atol: float = 0.0) -> None:
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=min(atol, 1e-5))
    np.testing.assert_allclose(found.xyxy, expected.xyxy, atol=atol)


# What a run leaves behind


def test_a_run_holds_plain_tensors_an_architecture_and_a_log(trained: tuple[YOLODetector, Path]) -> None:
    _, run = trained
    # Nothing that would have to be unpickled, but the checkpoint, which `hilum.train_run` removes at its end.
    assert [path.name for path in run.rglob("*.pt")] == ["checkpoint.pt"]
    log = read_log(run)
    assert [line["epoch"] for line in log] == [1, 2]
    assert all(line["train_loss"] > 0 and 0 <= line["val_score"] <= 1 and line["seconds"] > 0 for line in log)
    architecture = yaml.safe_load((run / "model.yaml").read_text())
    assert (architecture["nc"], architecture["channels"]) == (1, 1)
    assert str(run) not in (run / "model.yaml").read_text()


def test_a_loaded_detector_finds_identical_boxes(trained: tuple[YOLODetector, Path], data: Dataset) -> None:
    detector, run = trained
    for found, expected in zip(
        YOLODetector.load(run).predict_batch(pictures(data)), detector.predict_batch(pictures(data)), strict=True
    ):
        assert_same(found, expected)


def test_the_epoch_is_chosen_by_the_score_that_the_stored_weights_reach(
    trained: tuple[YOLODetector, Path], data: Dataset
) -> None:
    detector, run = trained
    val = data.split("val")
    found = detector.predict_batch(pictures(data))
    curve = threshold_curve(val.boxes_xywh, [xyxy_to_xywh(f.xyxy) for f in found], [f.confidence for f in found])
    assert max(line["val_score"] for line in read_log(run)) == pytest.approx(best_confidence(curve)[1], abs=1e-4)


def test_an_interrupted_training_ends_exactly_as_one_in_one_go(
    trained: tuple[YOLODetector, Path], data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config()
    run = new_run(tmp_path / "run", config)
    save = RunTrainer.save_model

    def save_then_fail(trainer: RunTrainer) -> bool:
        save(trainer)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunTrainer, "save_model", save_then_fail)
        with pytest.raises(KeyboardInterrupt):
            YOLODetector.train(config, data, run)
    assert len(read_log(run)) == 1
    YOLODetector.train(config, data, run)
    assert len(read_log(run)) == 2
    assert (run / "weights.safetensors").read_bytes() == (trained[1] / "weights.safetensors").read_bytes()


def test_training_stops_when_the_score_no_longer_rises_and_keeps_the_best_epoch(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, stored = iter([0.1, 0.3, 0.2, 0.25, 0.2, 0.2]), []
    stats, save, run = CompetitionValidator.get_stats, RunTrainer.save_model, tmp_path / "run"

    def save_and_look(trainer: RunTrainer) -> bool:
        saved = save(trainer)
        stored.append((run / "weights.safetensors").read_bytes())
        return saved

    monkeypatch.setattr(CompetitionValidator, "get_stats", lambda self: {**stats(self), "fitness": next(scores)})
    monkeypatch.setattr(RunTrainer, "save_model", save_and_look)
    settings = tiny_config().ultralytics | {"patience": 2}
    config = tiny_config(train={"epochs": 6, "batch_size": 8}, ultralytics=settings)
    YOLODetector.train(config, data, new_run(run, config))
    assert [line["val_score"] for line in read_log(run)] == [0.1, 0.3, 0.2, 0.25]
    assert stored[0] != stored[1] == stored[2] == stored[3]


def test_images_without_opacity_can_be_left_out_of_training_but_not_of_val(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[str]] = {}
    build = RunTrainer.build_dataset

    def build_and_look(trainer: RunTrainer, path: str, mode: str = "train", batch: int | None = None) -> Any:
        dataset = build(trainer, path, mode, batch)
        seen[mode] = [Path(file).stem for file in dataset.im_files]
        return dataset

    monkeypatch.setattr(RunTrainer, "build_dataset", build_and_look)
    config = tiny_config(train={"epochs": 1, "batch_size": 4, "negatives": 0})
    YOLODetector.train(config, data, new_run(tmp_path / "run", config))
    train, val = data.split("train"), data.split("val")
    with_opacity = [path.stem for path, boxes in zip(train.paths, train.boxes_xywh, strict=True) if len(boxes)]
    assert sorted(seen["train"]) == sorted(with_opacity)
    assert len(with_opacity) < len(train)
    assert sorted(seen["val"]) == sorted(path.stem for path in val.paths)


# What it finds


def test_detections_are_ordered_and_inside_the_picture(trained: tuple[YOLODetector, Path]) -> None:
    wide = np.random.default_rng(0).integers(0, 255, (500, 1024), dtype=np.uint8)
    tall = np.ascontiguousarray(wide.T)
    for picture, found in zip((wide, tall), trained[0].predict_batch([wide, tall]), strict=True):
        assert len(found) <= MAX_BOXES
        assert found.xyxy.shape == (len(found), 4)
        assert found.xyxy.min(initial=0) >= 0
        assert (found.xyxy <= [picture.shape[1], picture.shape[0]] * 2).all()
        assert (found.xyxy[:, 2:] > found.xyxy[:, :2]).all()
        assert (np.diff(found.confidence) <= 0).all()
        assert ((found.confidence > CONFIDENCE_FLOOR) & (found.confidence <= 1)).all()
        assert (found.class_id == 0).all()


def test_alone_or_in_a_batch_of_mixed_sizes_is_the_same(trained: tuple[YOLODetector, Path], data: Dataset) -> None:
    detector = trained[0]
    image = pictures(data)[0]
    mixed = [image, cv2.resize(image, (500, 1024)), cv2.resize(image, (300, 200)), image[:40, :700]]
    together = detector.predict_batch(mixed)
    for picture, found in zip(mixed, together, strict=True):
        assert_same(detector.predict_batch([picture])[0], found, atol=1e-2)
    assert max(len(found) for found in together) > 0


def test_a_picture_padded_to_a_square_has_its_boxes_shifted(trained: tuple[YOLODetector, Path], data: Dataset) -> None:
    image = np.ascontiguousarray(pictures(data)[0][:, 256:768])  # 512 x 1024: its place is exact at 64 px
    padded = cv2.copyMakeBorder(image, 0, 0, 256, 256, cv2.BORDER_CONSTANT, value=FILL)
    found, in_square = trained[0].predict_batch([image, padded])
    shifted = (in_square.xyxy - [256, 0, 256, 0]).clip(0, [512, 1024, 512, 1024])
    kept = (shifted[:, 2:] > shifted[:, :2]).all(axis=1)
    np.testing.assert_allclose(found.xyxy, shifted[kept], atol=1e-2)


@pytest.mark.parametrize("shape", [(500, 1024), (1024, 500), (1024, 1024), (37, 53)])
def test_boxes_come_back_in_pixels_of_the_original(
    trained: tuple[YOLODetector, Path], monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]
) -> None:
    boxes = np.array([[3.0, 5.0, 30.0, 21.0], [0.0, 0.0, shape[1], shape[0]]])
    place = Letterbox.fit(shape[::-1], 64)
    in_padding = [[0.0, 0.0, 64.0, 0.0]]
    rows = np.vstack([place.boxes_to_square(boxes), in_padding])
    rows = np.column_stack([rows, [0.2, 0.9, 0.95], np.zeros(3)])
    monkeypatch.setattr(YOLODetector, "_detect", lambda self, squares: [rows])
    found = trained[0].predict_batch([np.zeros(shape, np.uint8)])[0]
    np.testing.assert_allclose(found.xyxy, boxes[::-1], atol=1e-9)
    np.testing.assert_allclose(found.confidence, [0.9, 0.2])


def test_bilinear_it_finds_the_boxes_of_stock_ultralytics(tmp_path: Path) -> None:
    """On pictures of 500 px in a square of 128, from the same weights; shown averages it finds others."""
    config = tiny_config(image_size=128, interpolation="bilinear")
    torch.manual_seed(5)
    network = build_network(read_architecture(config.model, config.model_yaml))
    for module in network.modules():  # so that boxes depend on the picture, as those of a trained network do
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.constant_(module.weight, 2)
            torch.nn.init.normal_(module.bias)
    network.end2end = False  # type: ignore[assignment]
    torch.save({"model": network, "train_args": {"task": "detect"}}, tmp_path / "stock.pt")
    images = list(np.random.default_rng(0).integers(0, 256, (3, 500, 500), np.uint8))
    paths = [str(tmp_path / f"{number}.png") for number in range(3)]
    assert all(cv2.imwrite(path, image) for path, image in zip(paths, images, strict=True))
    stock = private_ultralytics.ultralytics.YOLO(tmp_path / "stock.pt").predict(
        paths, imgsz=128, rect=False, conf=0.001, iou=0.3, max_det=100, device="cpu", verbose=False
    )
    expected = [np.column_stack([one.boxes.xyxy, one.boxes.conf]) for one in stock]
    found = YOLODetector(network, config).predict_batch(images)
    for mine, unsorted in zip(found, expected, strict=True):
        assert len(mine) == len(unsorted) > 0
        theirs = unsorted[np.argsort(-unsorted[:, 4], kind="stable")]
        np.testing.assert_allclose(mine.xyxy, theirs[:, :4], atol=0.01)
        np.testing.assert_allclose(mine.confidence, theirs[:, 4], atol=1e-5)
    averaged = YOLODetector(network, tiny_config(image_size=128)).predict_batch(images)
    assert any(len(one) != len(two) or (one.xyxy != two.xyxy).any() for one, two in zip(found, averaged, strict=True))


def test_no_boxes_and_no_images(trained: tuple[YOLODetector, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    assert trained[0].predict_batch([]) == []
    monkeypatch.setattr(YOLODetector, "_detect", lambda self, squares: [np.zeros((0, 6))])
    found = trained[0].predict_batch([np.zeros((9, 7), np.uint8)])[0]
    assert (found.xyxy.shape, found.confidence.shape, found.class_id.shape) == ((0, 4), (0,), (0,))


# What it refuses


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ultralytics": {"lrr0": 1}}, "'lrr0' is not a valid"),
        ({"ultralytics": {"lr0": "fast"}}, "lr0"),
        ({"ultralytics": {"imgsz": 320}}, "'imgsz' is set by image_size"),
        ({"ultralytics": {"distill_model": "teacher.pt"}}, "unpickle"),
        ({"ultralytics": {"augmentations": [{"__class_fullname__": "Blur"}]}}, "by their names"),
        ({"ultralytics": {"split": "test"}}, "epochs are chosen on val"),
        ({"ultralytics": {"cache": "disk"}}, "dataset folder"),
        ({"model": "yolo26n.pt"}, "model_yaml"),
        ({"image_size": 100}, "multiple of 32"),
        ({"train": {"epochs": 1, "batch_size": 4, "negatives": 2}}, "train.negatives"),
        ({"boxes": {"nms_io": 0.5}}, "did you mean 'nms_iou'"),
    ],
)
def test_a_wrong_config_is_one_line_that_names_the_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(HilumError) as error:
        tiny_config(**changes)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_weights_are_not_downloaded(data: Dataset, tmp_path: Path) -> None:
    config = tiny_config(model="yolo26n.pt", model_yaml={})
    with pytest.raises(HilumError, match="not downloaded"):
        YOLODetector.train(config, data, new_run(tmp_path / "run", config))


@pytest.mark.parametrize(
    "change",
    [
        {"activation": "__import__('pathlib').Path('ran').touch()"},
        {"backbone": [[-1, 1, "torch_safe_load", ["evil.pt"]]]},
        {"backbone": [[-1, 1, "nn.Module.__subclasses__", []]]},
        {"backbone": [[-1, 1, "TorchVision", [64, "resnet18", "DEFAULT"]]]},
        {"head": None},
    ],
)
def test_a_run_folder_of_a_stranger_cannot_run_code(
    trained: tuple[YOLODetector, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    for name in ("config.yaml", "weights.safetensors"):
        (tmp_path / name).write_bytes((trained[1] / name).read_bytes())
    architecture = yaml.safe_load((trained[1] / "model.yaml").read_text())
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(architecture | change))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HilumError, match=r"model\.yaml: ") as caught:
        YOLODetector.load(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "ran").exists()


# Where it meets ultralytics


def test_it_trains_from_stock_code_and_on_from_its_checkpoint(data: Dataset, tmp_path: Path) -> None:
    architecture = tmp_path / "tiny26n.yaml"
    architecture.write_text(yaml.safe_dump(read_architecture("yolo26n.yaml", TINY)))
    settings = {"epochs": 2, "imgsz": 64, "batch": 8, "nbs": 8, "optimizer": "AdamW", "device": "cpu", "plots": False}
    model = private_ultralytics.ultralytics.YOLO(architecture)
    model.train(trainer=CompetitionTrainer, data=str(data.yaml_path), project=str(tmp_path), name="stock", **settings)
    with (tmp_path / "stock" / "results.csv").open(newline="") as file:
        scores = [float(row["competition/score"]) for row in csv.DictReader(file)]
    assert len(scores) == 2
    assert model.trainer.best_fitness == max(scores)  # by which stock ultralytics chose best.pt

    config = tiny_config(
        model=str(tmp_path / "stock" / "weights" / "best.pt"),
        model_yaml={},
        train={"epochs": 1, "batch_size": 8},
    )
    run = new_run(tmp_path / "run", config)
    YOLODetector.train(config, data, run)
    assert json.loads((run / "log.jsonl").read_text())["epoch"] == 1


def test_stock_training_with_our_metric_prints_what_stock_training_prints(
    data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """But for the lines about files that ours does not read: it looks at no label file, and writes no cache."""
    architecture = tmp_path / "tiny26n.yaml"
    architecture.write_text(yaml.safe_dump(read_architecture("yolo26n.yaml", TINY)))
    shutil.copytree(data.path, tmp_path / "data")  # stock training writes into it
    settings = {"epochs": 1, "imgsz": 64, "batch": 8, "device": "cpu", "plots": False, "amp": False, "exist_ok": True}
    told = []
    for trainer in (None, CompetitionTrainer):
        caplog.clear()
        capsys.readouterr()
        with private_ultralytics.nothing_leaves():
            private_ultralytics.ultralytics.YOLO(architecture).train(
                trainer=trainer,
                data=str(tmp_path / "data" / "data.yaml"),
                project=str(tmp_path),
                name="run",
                **settings,
            )
        progress = [line.rsplit("\r", 1)[-1] for line in capsys.readouterr().out.splitlines()]
        lines = "\n".join([*(record.getMessage() for record in caplog.records), *progress])
        lines = re.sub(r"Scanning \S+", "Scanning", lines)
        words = re.sub(r"[\d.]+(G|K|M)?(it/s|s/it|ms|s|MB|\b)?|[━╸─±]+", "#", lines).splitlines()
        files = ("Fast image access", "New cache created", "Slow image access")
        told.append([re.sub(r"[#\s]+", " ", line) for line in words if not any(each in line for each in files)])
    stock, ours = told
    assert ours == stock
    assert any("Epoch GPU_mem box_loss" in line for line in ours)
    assert any("mAP" in line for line in ours)
    assert sum("Scanning" in line for line in ours) == 2


def test_training_of_ours_prints_nothing_of_ultralytics(
    data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny_config(train={"epochs": 1, "batch_size": 8})
    YOLODetector.train(config, data, new_run(tmp_path / "run", config)).predict_batch(pictures(data))
    assert not [record for record in caplog.records if record.name == "ultralytics"]
    assert capsys.readouterr().out == ""
    assert private_ultralytics.LOGGER.level == logging.INFO


def test_processes_for_several_gpus_are_started_from_a_folder_that_is_removed(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config()
    run = new_run(tmp_path / "run", config)
    (run / "model.yaml").write_text(yaml.safe_dump(read_architecture(config.model, TINY)))
    (run / ".ultralytics" / "DDP").mkdir(parents=True)
    (run / ".ultralytics" / "DDP" / "left.pt").touch()  # by a training that was killed
    seen: list[Any] = []

    def start(command: list[str], **_: Any) -> None:
        files = sorted(path.suffix for path in (run / ".ultralytics" / "DDP").iterdir())
        seen.append((Path(command[-1]).parent, os.environ["YOLO_CONFIG_DIR"], files))

    trainer = RunTrainer(overrides=_overrides(config, data, run))
    trainer.ddp, trainer.world_size = True, 2
    monkeypatch.setattr("ultralytics.engine.trainer.subprocess.run", start)
    trainer.train()
    assert seen == [(run / ".ultralytics" / "DDP", str(run / ".ultralytics"), [".pt", ".py"])]
    assert not (run / ".ultralytics").exists()
    assert "YOLO_CONFIG_DIR" not in os.environ
