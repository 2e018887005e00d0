"""What other tools see in a dataset folder and in a further split: the boxes of the label table, and no others."""

import csv
import importlib.util
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import supervision
from pycocotools.coco import COCO
from torchvision.datasets import CocoDetection

from hilum.datasets.folder import SPLITS, Dataset
from hilum.datasets.resplit import Shares, resplit

needs_ultralytics = pytest.mark.skipif(
    importlib.util.find_spec("ultralytics") is None, reason="the extra `yolo` is not installed"
)


@pytest.fixture(scope="module")
def truth(sample_folder):
    """Image id -> boxes as sorted rows of left, top, width, height, read from the table by hand."""
    boxes = defaultdict(list)
    with (sample_folder / "stage_2_train_labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            box = [row[key] for key in ("x", "y", "width", "height")]
            boxes[row["patientId"]] += [[float(value) for value in box]] if row["Target"] == "1" else []
    assert {len(found) > 0 for found in boxes.values()} == {True, False}
    return {image_id: sorted(found) for image_id, found in boxes.items()}


@pytest.fixture(scope="module")
def data(dataset, tmp_path_factory):
    """The generated set with a further split; in a folder of its own, as ultralytics writes caches into it."""
    folder = tmp_path_factory.mktemp("tools") / "DATA"
    shutil.copytree(dataset, folder)
    resplit(folder, "further", Shares((0.4, 0.3, 0.3)), seed=4)
    return folder


@pytest.fixture(params=[".", "splits/further"])
def folder(data, request):
    return data / request.param


def assert_same(found, truth, image_ids):
    """`found`: image id -> boxes (N, 4) left, top, width, height; the same to a hundredth of a pixel."""
    assert sorted(found) == sorted(image_ids)
    for image_id, boxes in found.items():
        rows = sorted(np.asarray(boxes, np.float64).reshape(-1, 4).round(3).tolist())
        assert len(rows) == len(truth[image_id]), image_id
        assert np.allclose(rows, truth[image_id], rtol=0, atol=0.01), image_id


def xyxy_to_rows(boxes_xyxy):
    return np.hstack([boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]])


def test_the_splits_hold_every_image_once_with_and_without_opacity(folder, truth):
    splits = [Dataset.open(folder).split(name).image_ids for name in SPLITS]
    assert sorted(image_id for ids in splits for image_id in ids) == sorted(truth)
    assert {len(truth[image_id]) > 0 for image_id in splits[0]} == {True, False}


@pytest.mark.parametrize("name", SPLITS)
def test_pycocotools(folder, truth, name):
    coco = COCO(folder / "annotations" / f"{name}.json")
    found = {
        Path(image["file_name"]).stem: [box["bbox"] for box in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))]
        for image in coco.loadImgs(coco.getImgIds())
    }
    assert_same(found, truth, Dataset.open(folder).split(name).image_ids)


@pytest.mark.parametrize("name", SPLITS)
def test_torchvision(data, folder, truth, name):
    pairs = CocoDetection(str(data / "images"), str(folder / "annotations" / f"{name}.json"))
    found = {}
    for number, (picture, boxes) in zip(pairs.ids, pairs, strict=True):
        assert picture.size == (1024, 1024)
        found[Path(pairs.coco.imgs[number]["file_name"]).stem] = [box["bbox"] for box in boxes]
    assert_same(found, truth, Dataset.open(folder).split(name).image_ids)


@pytest.mark.parametrize("name", SPLITS)
def test_supervision_from_coco(data, folder, truth, name):
    pairs = supervision.DetectionDataset.from_coco(
        images_directory_path=str(data / "images"),
        annotations_path=str(folder / "annotations" / f"{name}.json"),
    )
    found = {Path(path).stem: xyxy_to_rows(detections.xyxy) for path, _, detections in pairs}
    assert pairs.classes == ["opacity"]
    assert_same(found, truth, Dataset.open(folder).split(name).image_ids)


def test_supervision_from_yolo_sees_all_splits_at_once(data, folder, truth):
    pairs = supervision.DetectionDataset.from_yolo(
        images_directory_path=str(data / "images"),
        annotations_directory_path=str(data / "labels"),
        data_yaml_path=str(folder / "data.yaml"),
    )
    found = {Path(path).stem: xyxy_to_rows(detections.xyxy) for path, _, detections in pairs}
    assert pairs.classes == ["opacity"]
    assert_same(found, truth, truth)


@needs_ultralytics
@pytest.mark.parametrize("relative", [False, True])
def test_ultralytics_reads_it_from_any_working_directory(folder, truth, tmp_path, monkeypatch, relative):
    from hilum.detectors.private_ultralytics import YOLODataset, nothing_leaves, ultralytics

    monkeypatch.chdir(tmp_path)
    where = os.path.relpath(folder) if relative else folder
    with nothing_leaves():
        found = ultralytics.data.utils.check_det_dataset(str(Path(where) / "data.yaml"))
    assert (found["channels"], found["names"]) == (1, {0: "opacity"})
    for key, name in [("train", "train"), ("val", "val"), ("test", "holdout")]:
        seen = YOLODataset(img_path=found[key], data=found, task="detect", augment=False, imgsz=64)
        boxes = {
            Path(label["im_file"]).stem: (label["bboxes"] - np.pad(label["bboxes"][:, 2:] / 2, ((0, 0), (0, 2)))) * 1024
            for label in seen.labels
        }
        assert_same(boxes, truth, Dataset.open(folder).split(name).image_ids)
        assert all(Path(label["im_file"]).is_file() for label in seen.labels)


@needs_ultralytics
@pytest.mark.slow
def test_stock_yolo_trains_from_another_working_directory(folder, tmp_path):
    import matplotlib as mpl
    import yaml

    from hilum.detectors.yolo_network import read_architecture

    tiny = read_architecture("yolo26n.yaml", {"scales": {"n": [0.33, 0.03125, 256]}})
    (tmp_path / "tiny26n.yaml").write_text(yaml.safe_dump(tiny))
    fonts = tmp_path / "settings" / "Ultralytics"
    fonts.mkdir(parents=True)
    # ultralytics would download this font.
    shutil.copy(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", fonts / "Arial.ttf")
    words = ["detect", "train", "model=tiny26n.yaml", f"data={folder / 'data.yaml'}", "epochs=1", "imgsz=64", "batch=8"]
    words += ["device=cpu", "workers=0", "amp=False", "plots=False", f"project={tmp_path}", "name=run"]
    private = {"YOLO_CONFIG_DIR": str(fonts.parent), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
    done = subprocess.run(
        [Path(sys.executable).with_name("yolo"), *words],
        cwd=tmp_path,
        env={**os.environ, **private, "YOLO_VERBOSE": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "run" / "results.csv").read_text().splitlines()) == 2
    split = Dataset.open(folder).split("train")
    empty = sum(len(boxes) == 0 for boxes in split.boxes_xyxy)
    assert f"{len(split)} images, {empty} backgrounds, 0 corrupt" in done.stdout + done.stderr
