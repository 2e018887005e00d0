"""Every family of detectors that ultralytics ships, through the configs that we ship."""

import importlib.util
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

# Not `importorskip`, which would import ultralytics before hilum has told it to keep to itself.
if importlib.util.find_spec("ultralytics") is None:
    pytest.skip("the extra `yolo` is not installed", allow_module_level=True)

from hilum.config import load_config
from hilum.converters.convert import convert
from hilum.datasets.folder import Dataset
from hilum.detectors.private_ultralytics import RTDETRDecoder, tasks, ultralytics
from hilum.detectors.yolo import YOLODetector
from hilum.detectors.yolo_config import YOLOConfig
from hilum.detectors.yolo_network import build_network, check_end_to_end, queries_to_boxes, read_architecture
from hilum.errors import HilumError
from hilum.sample.challenge import write_sample
from hilum.train_run import train

FAMILIES = {
    "v3": "yolov3-tiny",
    "v5": "yolov5n",
    "v6": "yolov6n",
    "v8": "yolov8n",
    "v9": "yolov9t",
    "v10": "yolov10n",
    "11": "yolo11n",
    "12": "yolo12n",
    "26": "yolo26n",
    "rt-detr": "rtdetr-resnet50",
}
DETECTING = {
    path: architecture
    for path in sorted((Path(ultralytics.__file__).parent / "cfg" / "models").rglob("*.yaml"))
    if (architecture := tasks.yaml_model_load(path))["head"][-1][2] in {"Detect", "v10Detect", "RTDETRDecoder"}
}
PLAIN = re.compile(r"yolov?\d+[a-z]?|yolov3-\w+|rtdetr-\w+")  # and no variant, such as yolov8-ghost-p2


def sizes(path: Path) -> list[str]:
    """The names of the networks in a YAML: yolov8.yaml describes five, yolov9c.yaml one."""
    scales = DETECTING[path].get("scales", {})
    return [f"{path.stem}{scale}" for scale in scales] if len(scales) > 1 else [path.stem]


SIZES = [name for path in DETECTING if PLAIN.fullmatch(path.stem) for name in sizes(path)]


def config_of(name: str, *overrides: str) -> YOLOConfig:
    config = load_config("rtdetr" if name.startswith("rtdetr") else "yolo26n", [f"model={name}.yaml", *overrides])
    assert isinstance(config, YOLOConfig)
    return config


def test_no_family_of_ultralytics_is_left_out() -> None:
    assert {path.parent.name for path in DETECTING} == set(FAMILIES)


def test_the_docs_name_every_size_of_every_family() -> None:
    page = (Path(__file__).parents[2] / "docs" / "backends.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if re.match(r"\| (YOLO|RT-DETR)", line)]
    assert sorted(re.findall(r"`([\w-]+)`", "".join(rows))) == sorted(SIZES)
    assert set(FAMILIES.values()) <= set(SIZES)


@pytest.mark.parametrize(
    "name", [name if name in FAMILIES.values() else pytest.param(name, marks=pytest.mark.slow) for name in SIZES]
)
def test_a_size_builds_for_one_class_and_one_channel(name: str) -> None:
    config = config_of(name)
    architecture = read_architecture(config.model, config.model_yaml)
    network = build_network(architecture)
    check_end_to_end(network, config.boxes.end_to_end)
    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert layers[0].in_channels == 1
    assert network.model[-1].nc == 1
    assert config.image_size % int(network.stride.max()) == 0
    assert architecture.get("scale", "") in ("", Path(config.model).stem[-1], "l")  # RT-DETR's ResNets are an "l"


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES.values())
def test_a_family_trains_is_stored_as_tensors_and_finds_the_same_boxes_again(name: str, tmp_path: Path) -> None:
    write_sample(tmp_path / "kaggle", 24, 5, opacity_share=0.6)
    convert(tmp_path / "kaggle", tmp_path / "data")
    data = Dataset.open(tmp_path / "data")
    small = ("image_size=64", "train.epochs=1", "train.batch_size=4", "ultralytics.nbs=4", "ultralytics.amp=false")
    detector = train(config_of(name, *small), data, tmp_path / "run").backend
    assert not list((tmp_path / "run").rglob("*.pt"))
    assert (tmp_path / "run" / "weights.safetensors").is_file()
    pictures = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in data.split("val").paths]
    found = detector.predict_batch(pictures)
    assert sum(len(boxes) for boxes in found) > 0
    for ours, again in zip(found, YOLODetector.load(tmp_path / "run").predict_batch(pictures), strict=True):
        np.testing.assert_array_equal(ours.xyxy, again.xyxy)
        np.testing.assert_array_equal(ours.confidence, again.confidence)


@pytest.mark.parametrize(
    ("model", "end_to_end", "message"),
    [
        ("yolov8n.yaml", True, "no head without NMS"),
        ("rtdetr-resnet50.yaml", False, "needs no NMS; start from the config rtdetr, or say true"),
        ("yolov8n-world.yaml", False, "ends in WorldDetect"),
        ("yoloe-11n.yaml", False, "ends in YOLOEDetect"),
    ],
)
def test_what_a_network_cannot_do_is_said(model: str, end_to_end: bool, message: str) -> None:
    with pytest.raises(HilumError, match=message):
        check_end_to_end(build_network(read_architecture(model, {})), end_to_end)


def test_the_boxes_of_an_rtdetr_are_those_of_ultralytics_own_predictor() -> None:
    """Its own code for shares of the picture -> pixels, on a picture of the network's size."""
    torch.manual_seed(0)
    network = build_network(read_architecture("yolov8-rtdetr.yaml", {"scales": {"n": [0.33, 0.125, 256]}})).eval()
    assert isinstance(network.model[-1], RTDETRDecoder)
    picture = torch.rand(2, 1, 96, 96)
    with torch.inference_mode():
        output = network(picture)
    predictor = ultralytics.models.rtdetr.RTDETRPredictor(overrides={"conf": 0.0, "device": "cpu", "verbose": False})
    predictor.model = network
    predictor.batch = (["a", "b"],)
    original = [np.zeros((96, 96, 1), np.uint8)] * 2
    theirs = predictor.postprocess((output[0].clone(), output[1]), picture, original)
    for rows, result in zip(queries_to_boxes(output, 96), theirs, strict=True):
        np.testing.assert_allclose(rows[:, :4], result.boxes.xyxy, atol=1e-4)
        np.testing.assert_allclose(rows[:, 4], result.boxes.conf)
