"""Detectors of several classes: boxes learn, and are found, with theirs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from hilum.config import check_config
from hilum.datasets.cache import square_pictures
from hilum.datasets.folder import Dataset
from hilum.datasets.letterbox import Letterbox
from hilum.detectors.square_detector import Batch, SquareDetector
from hilum.detectors.torchvision import TorchvisionDetector
from hilum.detectors.torchvision_names import ARCHITECTURES
from hilum.errors import HilumError

NAMES = ("left", "right", "low")
SSDLITE = "ssdlite320_mobilenet_v3_large"


def tiny(architecture: str) -> Any:
    small = {} if architecture == SSDLITE else {"backbone": "resnet18", "channels": 64}
    values = {"backend": "torchvision", "image_size": 64, "model": {"architecture": architecture, **small}}
    return check_config(values, "test").with_classes(NAMES)


def test_a_batch_holds_the_class_of_each_box_that_is_left(three_classes: Path) -> None:
    data = Dataset.open(three_classes)
    split, squares = data.split("train"), square_pictures(data, "train", 64)
    config = tiny("fcos_resnet50_fpn")
    moved = config.model_copy(update={"augmentation": config.augmentation.model_copy(update={"translate": 0.5})})
    numbers = np.arange(len(split))
    detector = TorchvisionDetector(torch.nn.Identity(), moved)
    (batch,) = detector.load_batch(squares, split, 0, numbers)
    left = 0
    for class_id in range(3):
        (alone,) = detector.load_batch(squares, split.of_class(class_id), 0, numbers)
        for boxes, ids, expected in zip(batch.boxes_xyxy, batch.class_ids, alone.boxes_xyxy, strict=True):
            assert torch.equal(boxes[ids == class_id], expected)
            left += len(expected)
    assert 0 < left < sum(map(len, split.boxes_xyxy))
    there = batch.to(torch.device("cpu"))
    assert all(map(torch.equal, there.class_ids, batch.class_ids))
    plain = Batch(batch.squares, batch.boxes_xyxy)  # all of one class
    assert [ids.tolist() for ids in plain.class_ids] == [[0] * len(boxes) for boxes in batch.boxes_xyxy]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_same_place_of_the_head_learns_a_class_and_finds_it(architecture: str) -> None:
    config = tiny(architecture)
    torch.manual_seed(0)
    network: Any = config.network()
    sizes = network.anchors.sizes_wh.numpy()
    network.set_anchors(
        np.full_like(sizes, 20.3) if network.has_anchors else sizes + network.strides(64)[:, None, None]
    )
    if architecture == "fasterrcnn_resnet50_fpn_v2":
        heads = [network.detector.roi_heads.box_predictor.cls_score]
    elif architecture == SSDLITE:
        heads = [each[-1] for each in network.detector.head.classification_head.module_list]
    else:
        heads = [network.detector.head.classification_head.cls_logits]
    before = 1 if architecture in {"fasterrcnn_resnet50_fpn_v2", SSDLITE} else 0  # the background
    squares = torch.randint(0, 256, (2, 64, 64), dtype=torch.uint8)
    boxes = torch.tensor([[20.0, 20, 40, 40], [30.0, 10, 50, 30]])[:, None]
    for class_id in range(3):
        network.train().zero_grad()
        network(Batch(squares, tuple(boxes), tuple(torch.full((2, 1), class_id)))).backward()
        gradient = sum(head.bias.grad.view(-1, before + 3).sum(0) for head in heads)
        assert int(gradient[before:].argmin()) == class_id
        for head in heads:
            with torch.no_grad():
                head.bias.view(-1, before + 3)[:, before:] = torch.eye(3)[class_id] * 20 - 10
        detector = TorchvisionDetector(network, config)
        found = detector.detections(detector.see(squares.numpy()), [Letterbox.fit((64, 64), 64)] * 2)
        best = [each.class_id[each.confidence > 0.5] for each in found]
        assert set(np.concatenate(best).tolist()) == {class_id}


def test_a_network_that_does_not_say_of_which_class_a_box_is_is_refused() -> None:
    output: Any = [{"boxes": torch.tensor([[1.0, 1, 9, 9]]), "scores": torch.tensor([0.5])}]
    places = [Letterbox.fit((64, 64), 64)]
    one = check_config({"backend": "torchvision", "image_size": 64}, "test")
    assert SquareDetector.detections(TorchvisionDetector(torch.nn.Identity(), one), output, places)[0].class_id == [0]
    detector = TorchvisionDetector(torch.nn.Identity(), one.with_classes(NAMES))
    with pytest.raises(HilumError, match="gives boxes without class_ids, and there are 3 classes; train it on data of"):
        detector.detections(output, places)


# ultralytics


@pytest.fixture
def yolo() -> Any:
    pytest.importorskip("ultralytics")
    from hilum.detectors import competition_trainer

    return competition_trainer


def test_yolos_labels_are_those_of_label_files(yolo: Any, three_classes: Path) -> None:
    split = Dataset.open(three_classes).split("train")
    dataset = yolo.LetterboxDataset(split, imgsz=64, augment=False)
    assert dataset.data["names"] == dict(enumerate(NAMES))
    found = {label["im_file"]: label["cls"].ravel().tolist() for label in dataset.labels}
    for path, ids in zip(split.paths, split.class_ids, strict=True):
        assert found[str(path)] == ids.tolist()


def test_yolos_fitness_is_the_mean_over_classes(yolo: Any, tmp_path: Path) -> None:
    from hilum.detectors import private_ultralytics
    from hilum.detectors.yolo_network import build_network, read_architecture

    args = private_ultralytics.get_cfg(overrides={"imgsz": 64, "plots": False, "save_dir": str(tmp_path)})
    validator = yolo.CompetitionValidator(save_dir=tmp_path, args=args)
    validator.data, validator.device = {"val": ""}, torch.device("cpu")
    architecture = read_architecture("yolo26n.yaml", {"scales": {"n": [0.33, 0.03125, 256]}}, 3)
    validator.init_metrics(build_network(architecture, class_names=NAMES))
    batch = {
        "img": torch.zeros(1, 1, 64, 64),
        "batch_idx": torch.zeros(2),
        "cls": torch.tensor([[0.0], [2.0]]),
        "bboxes": torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.75, 0.75, 0.25, 0.25]]),
        "ori_shape": [(64, 64)],
        "ratio_pad": [None],
        "im_file": ["a.png"],
    }
    boxes = torch.tensor([[8.0, 8, 24, 24], [40, 40, 56, 56], [1, 1, 9, 9]], dtype=torch.float64)
    # The first is right, the second where one of another class is, the third of a class that val does not show.
    pred = {"bboxes": boxes, "conf": torch.tensor([0.8, 0.6, 0.7]), "cls": torch.tensor([0.0, 0, 1])}
    validator.update_metrics([pred], batch)
    stats = validator.get_stats()
    assert stats["fitness"] == stats["competition/score"] == pytest.approx((1 + 0) / 2)
    assert [stats[f"competition/confidence-{k}"] for k in range(3)] == pytest.approx([0.8, 0, 0])


def test_a_model_of_another_number_of_classes_is_no_run_of_these(yolo: Any) -> None:
    from hilum.detectors.yolo_network import build_network, read_architecture

    architecture = read_architecture("yolo26n.yaml", {"scales": {"n": [0.33, 0.03125, 256]}}, 2)
    with pytest.raises(HilumError, match=r"^run: nc: expected 3, as there are classes, got 2; train again"):
        build_network(architecture, "run", class_names=NAMES)
    for wrong in (0, 65, "2", True):
        with pytest.raises(HilumError, match="nc"):
            build_network({**architecture, "nc": wrong}, "run", class_names=NAMES)


def test_stock_code_learns_the_classes_of_a_folder(
    yolo: Any, three_classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultralytics import YOLO

    from hilum.detectors import private_ultralytics
    from hilum.detectors.yolo_network import read_architecture

    seen: list[Any] = []
    stats = yolo.CompetitionValidator.get_stats
    monkeypatch.setattr(yolo.CompetitionValidator, "get_stats", lambda self: seen.append(stats(self)) or seen[-1])
    model = tmp_path / "tiny.yaml"
    model.write_text(yaml.safe_dump(read_architecture("yolo26n.yaml", {"scales": {"n": [0.33, 0.03125, 256]}}, 3)))
    settings = {"imgsz": 64, "epochs": 1, "batch": 8, "workers": 0, "plots": False, "amp": False, "verbose": False}
    with private_ultralytics.quietly():
        YOLO(str(model)).train(
            trainer=yolo.CompetitionTrainer, data=str(three_classes / "data.yaml"), project=str(tmp_path), **settings
        )
    assert {"competition/confidence-0", "competition/confidence-2", "competition/score"} <= seen[-1].keys()


def test_another_data_yaml_is_refused(yolo: Any, three_classes: Path, dataset: Path, tmp_path: Path) -> None:
    trainer: Callable[..., Any] = yolo.CompetitionTrainer
    theirs = (dataset / "data.yaml").read_text()
    ours = (three_classes / "data.yaml").read_text()
    try:
        (three_classes / "data.yaml").write_text(theirs)
        overrides = {"data": str(three_classes / "data.yaml"), "save_dir": str(tmp_path), "model": "yolo26n.yaml"}
        with pytest.raises(HilumError, match="is not as hilum wrote it"):
            trainer(overrides=overrides)
    finally:
        (three_classes / "data.yaml").write_text(ours)
