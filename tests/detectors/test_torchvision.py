"""torchvision's detectors as a backend: the networks, what they learn from, what they start with, what they find."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import cv2
import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

from hilum.config import check_config, dump_config, load_config
from hilum.datasets.boxes import xyxy_to_xywh
from hilum.datasets.folder import Dataset
from hilum.datasets.letterbox import Letterbox
from hilum.detectors.square_detector import Batch
from hilum.detectors.torchvision import TorchvisionConfig, TorchvisionDetector
from hilum.detectors.torchvision_names import ARCHITECTURES
from hilum.detectors.torchvision_network import CONFIDENCE_FLOOR, MAX_BOXES, DetectionNetwork, fitted_anchors
from hilum.errors import HilumError
from hilum.eval.competition import best_confidence, threshold_curve
from hilum.training import loop, pretrained
from hilum.training.log import read_log

SSDLITE = "ssdlite320_mobilenet_v3_large"
SHIPPED = dict(zip(ARCHITECTURES, ("fasterrcnn", "retinanet", "fcos", "ssdlite"), strict=True))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise URLError("the cable is pulled")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def tiny(architecture: str = "fcos_resnet50_fpn", **changes: Any) -> TorchvisionConfig:
    model: dict[str, Any] = {"architecture": architecture}
    if architecture != SSDLITE:
        model |= {"backbone": "mobilenet_v3_small", "channels": 64}
    values = {"backend": "torchvision", "image_size": 64, "model": model | changes.pop("model", {})}
    values["train"] = {"epochs": 2, "batch_size": 8, "learning_rate": 0.001} | changes.pop("train", {})
    config = check_config(values | changes, "tiny.yaml")
    assert isinstance(config, TorchvisionConfig)
    return config


def with_anchors(config: TorchvisionConfig) -> DetectionNetwork:
    torch.manual_seed(0)
    network = config.network()
    strides = network.strides(config.image_size)
    sizes = network.anchors.sizes_wh.numpy()
    network.set_anchors(
        np.full_like(sizes, 20.3)
        if network.has_anchors
        else np.broadcast_to(strides[:, None, None], sizes.shape).copy()
    )
    return network


def batch(*boxes: list[list[float]], seed: int = 0) -> Batch:
    squares = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (len(boxes), 64, 64), dtype=np.uint8))
    return Batch(squares, tuple(torch.tensor(some).reshape(-1, 4) for some in boxes))


def new_run(folder: Path, config: TorchvisionConfig) -> Path:
    """A run folder as `hilum train` prepares it."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump_config(config))
    return folder


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TorchvisionDetector, Path]:
    """A detector with anchors after two epochs in one go, and the run folder that it left."""
    config = tiny("retinanet_resnet50_fpn_v2")
    run = new_run(tmp_path_factory.mktemp("torchvision") / "run", config)
    return TorchvisionDetector.train(config, Dataset.open(dataset), run), run


# The networks


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_is_torchvisions_own_network(architecture: str) -> None:
    one_class = 1 if architecture in {"retinanet_resnet50_fpn_v2", "fcos_resnet50_fpn"} else 2
    ours = load_config(SHIPPED[architecture], ["model.weights=none", "train.freeze_batchnorm=false"])
    assert isinstance(ours, TorchvisionConfig)
    assert ours.model.architecture == architecture
    network = ours.network()
    build = getattr(torchvision.models.detection, architecture)
    if architecture == SSDLITE:  # only with pretrained weights does torchvision leave the tail whole
        weights = torchvision.models.MobileNet_V3_Large_Weights.IMAGENET1K_V1
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                type(weights), "get_state_dict", lambda *_, **__: torchvision.models.mobilenet_v3_large().state_dict()
            )
            theirs = build(weights=None, weights_backbone=weights, num_classes=one_class)
    else:
        theirs = build(weights=None, weights_backbone=None, num_classes=one_class)
    shapes = {name: tensor.shape for name, tensor in network.detector.state_dict().items() if "sizes_wh" not in name}
    assert shapes == {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_batch_teaches_also_one_without_opacities(architecture: str) -> None:
    network = with_anchors(tiny(architecture)).train()
    boxes = [[10.0, 10, 30, 40], [35, 5, 60, 50]]
    for one in (batch(boxes, []), batch([], []), batch(boxes), batch([])):
        network.zero_grad()
        loss = network(one)
        loss.backward()
        gradients = [parameter.grad for parameter in network.parameters()]
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)  # as several GPUs need
        assert loss.item() > 0
        assert sum(float(gradient.abs().sum()) for gradient in gradients if gradient is not None) > 0


@pytest.mark.parametrize(
    "architecture",
    [pytest.param(name, marks=[] if name == "fcos_resnet50_fpn" else pytest.mark.slow) for name in ARCHITECTURES],
)
def test_it_learns_to_find_a_box_and_to_be_silent(architecture: str) -> None:
    """A bright block on dark ground, and ground alone."""
    network = with_anchors(
        tiny(architecture, model={} if architecture == SSDLITE else {"backbone": "resnet18"})
    ).train()
    squares = torch.full((4, 64, 64), 40, dtype=torch.uint8)
    squares[0, 12:34, 8:26] = squares[1, 30:52, 36:54] = 220
    boxes = [[8.0, 12, 26, 34]], [[36.0, 30, 54, 52]], [], []
    one = Batch(squares, tuple(torch.tensor(some).reshape(-1, 4) for some in boxes))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.001)
    for _ in range(40):
        optimizer.zero_grad()
        network(one).backward()
        optimizer.step()
    network.eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train()  # the batch's own statistics: MobileNet's running ones follow too slowly for 40 steps
    with torch.inference_mode():
        found = network(squares)
    best = [float(found[number]["scores"].max()) if len(found[number]["scores"]) else 0.0 for number in range(4)]
    assert min(best[:2]) > 2 * max(best[2:])
    for number in (0, 1):
        assert torchvision.ops.box_iou(found[number]["boxes"][:1], one.boxes_xyxy[number]).item() > 0.6


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_coordinates_stay_precise_under_autocast(architecture: str) -> None:
    network = with_anchors(tiny(architecture)).eval()
    squares = batch([], []).squares
    seen = []
    network.anchors.register_forward_hook(lambda _, __, anchors: seen.append(anchors[0]))
    with torch.inference_mode():
        network(squares)
        with torch.autocast("cpu", torch.bfloat16):
            found = network(squares)
    assert torch.equal(*seen)
    assert all(one["boxes"].dtype == torch.float32 for one in found)
    assert any((one["boxes"] != one["boxes"].bfloat16().float()).any() for one in found)


def test_anchors_lie_around_the_middle_of_their_cells() -> None:
    network = with_anchors(tiny("retinanet_resnet50_fpn_v2")).eval()
    sizes = np.random.default_rng(0).uniform(5, 50, network.anchors.sizes_wh.shape)
    network.set_anchors(sizes)
    seen: list[torch.Tensor] = []
    network.anchors.register_forward_hook(lambda _, __, anchors: seen.extend(anchors))
    with torch.inference_mode():
        network(batch([], []).squares)
    grids = [int(64 / stride) for stride in network.strides(64)]
    expected = [
        [
            (x + 0.5) * 64 / grid - w / 2,
            (y + 0.5) * 64 / grid - h / 2,
            (x + 0.5) * 64 / grid + w / 2,
            (y + 0.5) * 64 / grid + h / 2,
        ]
        for grid, shapes in zip(grids, sizes, strict=True)
        for y in range(grid)
        for x in range(grid)
        for w, h in shapes
    ]
    assert len(seen) == 2
    for anchors in seen:
        np.testing.assert_allclose(anchors.numpy(), expected, atol=1e-4)


def test_nothing_resizes_the_square() -> None:
    network = with_anchors(tiny()).eval()
    seen: list[torch.Tensor] = []
    network.detector.backbone.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    squares = batch([], [], []).squares
    with torch.inference_mode():
        network(squares)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = (squares[:, None].float() / 255 - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(seen[0], expected)


# What training leaves behind


def test_anchors_are_fitted_to_train_and_stored_with_the_weights(trained: Any, dataset: Path) -> None:
    detector, run = trained
    stored = load_file(run / "weights.safetensors")["detector.anchor_generator.sizes_wh"]
    assert torch.equal(stored, detector._network.anchors.sizes_wh)
    data, config = Dataset.open(dataset), tiny("retinanet_resnet50_fpn_v2")
    np.testing.assert_allclose(stored, fitted_anchors(config.network(), data.split("train"), 64), rtol=1e-5)
    halved = replace(data.split("train"), boxes_xyxy=tuple(boxes / 2 for boxes in data.split("train").boxes_xyxy))
    assert not np.allclose(stored, fitted_anchors(config.network(), halved, 64), rtol=0.1)


def test_fcos_has_places_instead_of_anchors(dataset: Path) -> None:
    network = tiny().network()
    sizes = fitted_anchors(network, Dataset.open(dataset).split("train"), 64)
    assert sizes.shape == (5, 1, 2)
    assert (sizes[..., 0] == network.strides(64)[:, None]).all()


def test_the_epoch_is_chosen_by_the_score_that_the_stored_weights_reach(trained: Any, dataset: Path) -> None:
    detector, run = trained
    val = Dataset.open(dataset).split("val")
    pictures = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in val.paths]
    found = detector.predict_batch(pictures)
    curve = threshold_curve(
        val.boxes_xywh, [xyxy_to_xywh(one.xyxy) for one in found], [one.confidence for one in found]
    )
    assert max(line["val_score"] for line in read_log(run)) == pytest.approx(best_confidence(curve)[1], abs=1e-6)


def test_an_interrupted_training_ends_exactly_as_one_in_one_go(
    trained: Any, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny("retinanet_resnet50_fpn_v2")
    run = new_run(tmp_path / "run", config)
    save = loop.save_checkpoint

    def save_then_fail(*args: Any) -> None:
        save(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", save_then_fail)
        with pytest.raises(KeyboardInterrupt):
            TorchvisionDetector.train(config, Dataset.open(dataset), run)
    assert len(read_log(run)) == 1
    TorchvisionDetector.train(config, Dataset.open(dataset), run)
    assert len(read_log(run)) == 2
    assert (run / "weights.safetensors").read_bytes() == (trained[1] / "weights.safetensors").read_bytes()


# What it finds


def test_detections_are_few_ordered_and_above_the_floor(trained: Any) -> None:
    wide = np.random.default_rng(0).integers(0, 255, (500, 1024), dtype=np.uint8)
    (found,) = trained[0].predict_batch([wide])
    assert 0 < len(found) <= MAX_BOXES
    assert ((found.confidence > CONFIDENCE_FLOOR) & (found.confidence <= 1)).all()
    assert (np.diff(found.confidence) <= 0).all()


def test_boxes_overlap_no_more_than_nms_allows(trained: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    (found,) = trained[0].predict_batch([noise])
    boxes = torch.from_numpy(found.xyxy)
    overlap = torchvision.ops.box_iou(boxes, boxes).fill_diagonal_(0)
    assert len(found) > 1
    assert overlap.max() <= 0.3 + 1e-6


@pytest.mark.parametrize("shape", [(500, 1024), (1024, 500), (37, 53)])
def test_boxes_come_back_in_pixels_of_the_original(trained: Any, monkeypatch: pytest.MonkeyPatch, shape: Any) -> None:
    boxes = np.array([[3.0, 5.0, 30.0, 21.0], [0.0, 0.0, shape[1], shape[0]]])
    in_square = np.vstack([Letterbox.fit(shape[::-1], 64).boxes_to_square(boxes), [[0.0, 0.0, 64.0, 0.0]]])
    rows = {"boxes": torch.from_numpy(in_square), "scores": torch.tensor([0.2, 0.9, 0.95])}
    monkeypatch.setattr(DetectionNetwork, "forward", lambda *_: [rows])
    (found,) = trained[0].predict_batch([np.zeros(shape, np.uint8)])
    np.testing.assert_allclose(found.xyxy, boxes[::-1], atol=1e-9)
    np.testing.assert_allclose(found.confidence, [0.9, 0.2])
    assert trained[0].predict_batch([]) == []


# What training starts with


def classifier_file(path: Path, name: str = "mobilenet_v3_small") -> dict[str, torch.Tensor]:
    torch.manual_seed(9)
    tensors = torchvision.models.get_model(name, weights=None).state_dict()
    tensors = {
        key: torch.randn_like(tensor) if tensor.is_floating_point() else tensor for key, tensor in tensors.items()
    }
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save({"model": {f"module.{key}": value for key, value in tensors.items()}, "epoch": 3}, path)
    return tensors


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("architecture", ["fcos_resnet50_fpn", SSDLITE])
def test_a_classifiers_file_becomes_the_backbone(tmp_path: Path, architecture: str, ending: str) -> None:
    path = tmp_path / f"mine.{ending}"
    name = "mobilenet_v3_small" if architecture == "fcos_resnet50_fpn" else "mobilenet_v3_large"
    tensors = classifier_file(path, name)
    config = tiny(architecture, model={"weights": str(path)})
    network = config.starting_network().detector.backbone
    there = [tensor for tensor in network.state_dict().values() if tensor.is_floating_point()]
    wanted = [value for key, value in tensors.items() if key.startswith("features.") and value.is_floating_point()]
    assert all(any(one.shape == value.shape and torch.equal(one, value) for one in there) for value in wanted)
    assert config.pretraining == path.name


def test_a_run_is_where_another_can_start(trained: Any) -> None:
    weights = trained[1] / "weights.safetensors"
    network = tiny("retinanet_resnet50_fpn_v2", model={"weights": str(weights)}).starting_network()
    stored = load_file(weights)
    for name, tensor in network.state_dict().items():
        if "sizes_wh" in name:
            assert not tensor.any()  # fitted anew
        elif "num_batches_tracked" not in name:
            assert torch.equal(tensor, stored[name]), name


def test_a_detector_of_other_classes_gives_all_but_its_class_layers(tmp_path: Path) -> None:
    torch.manual_seed(5)
    coco = torchvision.models.detection.fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91)
    torch.save(coco.state_dict(), tmp_path / "coco.pth")
    model = {"weights": str(tmp_path / "coco.pth"), "backbone": None, "channels": 256}
    mine, theirs = tiny(model=model).starting_network().detector.state_dict(), coco.state_dict()
    others = {name for name, tensor in mine.items() if name not in theirs or not torch.equal(tensor, theirs[name])}
    head = "head.classification_head.cls_logits"
    assert others == {"anchor_generator.sizes_wh", f"{head}.weight", f"{head}.bias"}


def test_weights_of_something_else_are_refused_in_one_line(tmp_path: Path) -> None:
    classifier_file(tmp_path / "small.pth")
    torch.save({"weights": [1, 2]}, tmp_path / "list.pth")
    torch.save(torch.nn.Linear(1, 1), tmp_path / "pickle.pth")
    (tmp_path / "text.safetensors").write_text("nothing")
    for name, model, message in [
        ("none.pth", {}, "no such file; expected none, hub, package, or the path"),
        ("list.pth", {}, "holds no tensors with names"),
        ("pickle.pth", {}, "cannot be read as tensors"),
        ("text.safetensors", {}, "cannot be read as tensors"),
        ("small.pth", {"backbone": "resnet18"}, "not the weights of this backbone: of its 100 tensors 100 are missing"),
        ("small.pth", {"backbone": "mobilenet_v3_large"}, "not the weights of this backbone"),
    ]:
        with pytest.raises(HilumError) as error:
            tiny(model=model | {"weights": str(tmp_path / name)}).starting_network()
        assert message in str(error.value)
        assert len(str(error.value).splitlines()) == 1


def test_without_a_connection_the_hub_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    config = tiny(model={"weights": "hub"})
    assert config.pretraining == "MobileNet_V3_Small_Weights.IMAGENET1K_V1"
    with pytest.raises(
        HilumError, match=r"cannot get MobileNet_V3_Small_Weights.IMAGENET1K_V1 .*https://.*none"
    ) as error:
        config.starting_network()
    assert len(str(error.value).splitlines()) == 1


def test_the_hubs_weights_become_the_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = classifier_file(tmp_path / "hub.pth")
    monkeypatch.setattr(pretrained, "download_classifier", lambda _: tensors)
    network = tiny(model={"weights": "hub"}).starting_network()
    assert torch.equal(network.detector.backbone.body.state_dict()["0.0.weight"], tensors["features.0.0.weight"])


def test_frozen_statistics_stay_and_the_others_move(tmp_path: Path) -> None:
    classifier_file(tmp_path / "mine.pth")
    torch.manual_seed(0)
    config = tiny(
        "fasterrcnn_resnet50_fpn_v2", model={"weights": str(tmp_path / "mine.pth")}, train={"freeze_batchnorm": True}
    )
    network = config.starting_network()
    network.detector.backbone.body.load_state_dict(tiny().network().detector.backbone.body.state_dict())
    network.set_anchors(np.full(network.anchors.sizes_wh.shape, 20.0))
    before = {name: tensor.clone() for name, tensor in network.named_buffers() if "running_mean" in name}
    frozen = TorchvisionDetector(network, config).frozen()
    network.train()
    for module in frozen:
        module.eval()
    network(batch([[5.0, 5, 30, 30]], []))
    moved = {
        name for name, tensor in network.named_buffers() if name in before and not torch.equal(tensor, before[name])
    }
    assert moved
    assert moved == {name for name in before if ".body." not in name}


# What it refuses


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"architecture": "fcos"}}, "model.architecture: "),
        ({"model": {"architecture": SSDLITE, "backbone": "resnet18", "channels": 256}}, "backbone: SSDlite comes with"),
        ({"model": {"channels": 32}}, "model.channels: "),
        ({"image_size": 100}, "image_size: "),
        ({"train": {"freeze_batchnorm": True}}, "random weights come with no statistics"),
        ({"boxes": {"nms": 0.5}}, "did you mean 'nms_iou'"),
        ({"augmentation": {"flips": 0.5}}, "did you mean 'flip'"),
    ],
)
def test_a_wrong_config_is_one_line_that_names_the_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(HilumError) as error:
        tiny(**changes)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_damaged_weights_are_named(trained: Any, tmp_path: Path) -> None:
    tensors = load_file(trained[1] / "weights.safetensors")
    name = next(name for name in tensors if name.endswith("cls_logits.weight"))
    tensors[name] = tensors[name] * float("nan")
    save_file(tensors, tmp_path / "weights.safetensors")
    (tmp_path / "config.yaml").write_bytes((trained[1] / "config.yaml").read_bytes())
    with pytest.raises(HilumError, match="not finite; train again"):
        TorchvisionDetector.load(tmp_path)
