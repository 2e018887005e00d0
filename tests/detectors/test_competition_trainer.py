"""What `yolo` is made of: ultralytics kept private, its networks as data, its trainer judged by the competition."""

import importlib
import importlib.util
import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

# Not `importorskip`, which would import ultralytics before hilum has told it to keep to itself.
if importlib.util.find_spec("ultralytics") is None:
    pytest.skip("the extra `yolo` is not installed", allow_module_level=True)

from hilum.datasets.folder import Dataset, Split
from hilum.datasets.letterbox import Interpolation, Letterbox
from hilum.detectors import private_ultralytics
from hilum.detectors.competition_trainer import (
    FILL,
    CompetitionTrainer,
    CompetitionValidator,
    LetterboxDataset,
)
from hilum.detectors.negatives import with_share_of_negatives
from hilum.detectors.yolo_network import build_network, read_architecture, read_checkpoint
from hilum.errors import HilumError

TINY = {"scales": {"n": [0.33, 0.03125, 256]}}  # an eighth of n's width


@pytest.mark.parametrize("interpolation", ["area", "bilinear"])
@pytest.mark.parametrize("size", [(1024, 1024), (500, 1024), (1024, 500), (333, 777), (40, 30)])
def test_training_and_validation_show_what_prediction_shows(
    split_of: Callable[..., Split], size: tuple[int, int], interpolation: Interpolation
) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, size[::-1], dtype=np.uint8)
    box = [size[0] * 0.25, size[1] * 0.375, size[0] * 0.5, size[1] * 0.25]
    split = split_of({"a": pixels}, {"a": [box]})
    place = Letterbox.fit(size, 64)
    still = {"scale": 0.0, "translate": 0.0, "fliplr": 0.0, "mosaic": 0.0, "hsv_v": 0.0, "erasing": 0.0}
    # In augmentation ultralytics centres to half a pixel, so an odd padding is interpolated there.
    for augment in {False, size == (1024, 1024)}:
        hyp = private_ultralytics.get_cfg(overrides=still)
        shown = LetterboxDataset(split, imgsz=64, augment=augment, hyp=hyp, interpolation=interpolation)[0]
        np.testing.assert_array_equal(shown["img"][0].numpy(), place.apply(pixels, FILL, interpolation))
        centre = shown["bboxes"].numpy() * 64
        expected = place.boxes_to_square([[size[0] * 0.25, size[1] * 0.375, size[0] * 0.75, size[1] * 0.625]])
        np.testing.assert_allclose(centre[:, :2] - centre[:, 2:] / 2, expected[:, :2], atol=1e-3)


@pytest.mark.parametrize("size", [(1024, 1024), (500, 1024), (333, 777), (40, 30)])
def test_stock_code_learns_from_what_it_predicts_on(size: tuple[int, int]) -> None:
    from ultralytics.data.augment import LetterBox

    pixels = np.random.default_rng(1).integers(0, 255, size[::-1], dtype=np.uint8)
    stock = LetterBox((64, 64), auto=False, padding_value=FILL)(image=pixels[..., None])[..., 0]
    ours = Letterbox.fit(size, 64).apply(pixels, FILL, CompetitionTrainer.interpolation)
    np.testing.assert_array_equal(ours, stock)


@given(st.lists(st.booleans()), st.floats(0, 1), st.floats(0, 1), st.integers(0, 9))
def test_a_share_of_the_pictures_without_a_box_is_trained_on(
    positive: list[bool], share: float, larger: float, seed: int
) -> None:
    share, larger = sorted((share, larger))
    kept = with_share_of_negatives(positive, share, seed).tolist()
    assert kept == sorted(set(kept))
    with_box = {i for i, has_box in enumerate(positive) if has_box}
    assert with_box <= set(kept) <= set(with_share_of_negatives(positive, larger, seed).tolist())
    assert abs(len(set(kept) - with_box) - share * (len(positive) - len(with_box))) <= 0.5
    assert with_share_of_negatives(positive, 1.0, seed).tolist() == list(range(len(positive)))
    assert set(with_share_of_negatives(positive, 0.0, seed).tolist()) == with_box


def test_the_seed_says_which_pictures_without_a_box() -> None:
    kept = {tuple(with_share_of_negatives([False] * 40, 0.5, seed)) for seed in (0, 0, 1)}
    assert len(kept) == 2


@pytest.mark.parametrize(("negatives", "expected"), [(1.0, "abcdef"), (0.0, "ab")])
def test_the_dataset_leaves_pictures_without_a_box_out_whole(
    split_of: Callable[..., Split], negatives: float, expected: str
) -> None:
    pictures = {name: np.full((64, 64), number, np.uint8) for number, name in enumerate("abcdef")}
    split = split_of(pictures, {name: [[16, 16, 32, 16]] for name in "ab"})

    def open_dataset(share: float) -> LetterboxDataset:
        return LetterboxDataset(split, imgsz=64, augment=False, hyp=private_ultralytics.get_cfg(), negatives=share)

    dataset = open_dataset(negatives)
    assert "".join(Path(dataset[i]["im_file"]).stem for i in range(len(dataset))) == expected
    assert [int(dataset[i]["img"].max()) for i in range(len(dataset))] == list(range(len(expected)))
    assert len(open_dataset(1.0)) == 6


def test_no_picture_left_to_train_on_is_said(split_of: Callable[..., Split]) -> None:
    split = split_of({"a": np.zeros((64, 64), np.uint8)}, {})
    with pytest.raises(HilumError, match=r"train\.negatives: 0\.0 leaves no picture"):
        LetterboxDataset(split, imgsz=64, hyp=private_ultralytics.get_cfg(), negatives=0.0)


def test_boxes_are_those_that_ultralytics_reads_off_the_label_files(dataset: Path, tmp_path: Path) -> None:
    """To the last digit, and in the same order."""
    shutil.copytree(dataset, tmp_path / "data")  # ultralytics writes its cache there
    for split in map(Dataset.open(tmp_path / "data").split, ("train", "val")):
        stock = private_ultralytics.YOLODataset(
            img_path=str(tmp_path / "data" / f"{split.name}.txt"), data={"names": {0: "opacity"}, "channels": 1}
        )
        ours = LetterboxDataset(split, imgsz=64, augment=False)
        assert ours.im_files == stock.im_files
        for mine, theirs in zip(ours.labels, stock.labels, strict=True):
            assert mine.keys() == theirs.keys()
            assert (mine["im_file"], mine["shape"]) == (theirs["im_file"], theirs["shape"])
            np.testing.assert_array_equal(mine["bboxes"], theirs["bboxes"])
            np.testing.assert_array_equal(mine["cls"], theirs["cls"])
            assert mine["bboxes"].dtype == theirs["bboxes"].dtype
    assert max(len(label["cls"]) for label in ours.labels) > 1


def test_a_box_that_is_there_twice_counts_once_as_in_ultralytics(split_of: Callable[..., Split]) -> None:
    split = split_of({"a": np.zeros((64, 64), np.uint8)}, {"a": [[8, 8, 16, 16], [0, 0, 16, 16], [8, 8, 16, 16]]})
    (label,) = LetterboxDataset(split, imgsz=64, augment=False).labels
    np.testing.assert_array_equal(label["bboxes"], [[0.125, 0.125, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25]])


def test_the_fitness_is_the_competition_score_in_original_pixels(tmp_path: Path) -> None:
    args = private_ultralytics.get_cfg(overrides={"imgsz": 64, "plots": False, "save_dir": str(tmp_path)})
    validator = CompetitionValidator(save_dir=tmp_path, args=args)
    validator.data, validator.device = {"val": ""}, torch.device("cpu")
    network = build_network(read_architecture("yolo26n.yaml", TINY))
    validator.init_metrics(network)
    place = Letterbox.fit((500, 1024), 64)
    truth = np.array([[100.0, 200.0, 300.0, 600.0]])
    in_square = place.boxes_to_square(truth)
    centre = np.hstack([(in_square[:, :2] + in_square[:, 2:]) / 2, in_square[:, 2:] - in_square[:, :2]]) / 64
    batch = {
        "img": torch.zeros(2, 1, 64, 64),
        "batch_idx": torch.zeros(1),
        "cls": torch.zeros(1, 1),
        "bboxes": torch.tensor(centre, dtype=torch.float32),
        "ori_shape": [(1024, 500), (1024, 1024)],
        "ratio_pad": [None, None],
        "im_file": ["a.jpg", "b.jpg"],
    }
    hit = {"bboxes": torch.tensor(in_square), "conf": torch.tensor([0.8]), "cls": torch.zeros(1)}
    false_alarm = {"bboxes": torch.tensor([[1.0, 1, 9, 9]]), "conf": torch.tensor([0.9]), "cls": torch.zeros(1)}
    validator.update_metrics([hit, false_alarm], batch)
    np.testing.assert_allclose(validator._truth_xywh[0], [[100, 200, 200, 400]], atol=1e-3)
    stats = validator.get_stats()
    assert stats["fitness"] == stats["competition/score"] == 0.5  # a hit, and an image without truth that counts
    assert stats["competition/confidence"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("yolo99n.yaml", "neither a YAML file nor a model"),
        ("https://example.org/yolo26n.yaml", "neither a YAML file nor a model"),
        ("yolo26n-seg.yaml", "ends in Segment26"),
    ],
)
def test_what_is_no_detection_model_is_refused(model: str, message: str) -> None:
    with pytest.raises(HilumError, match=message):
        build_network(read_architecture(model, {}))


@pytest.mark.parametrize("trust", [True, False])
@pytest.mark.parametrize(
    ("model", "replaced", "first"),
    [
        ("yolo26n.yaml", TINY, "model.0.conv.weight"),
        ("rtdetr-resnet50.yaml", {}, "model.0.layer.0.conv.weight"),
    ],
)
def test_weights_for_colour_pictures_become_weights_for_gray_ones(
    tmp_path: Path, model: str, replaced: dict[str, Any], first: str, trust: bool
) -> None:
    architecture = {**private_ultralytics.tasks.yaml_model_load(model), **replaced, "channels": 3, "nc": 80}
    rtdetr = "rtdetr" in model
    kind = private_ultralytics.tasks.RTDETRDetectionModel if rtdetr else private_ultralytics.tasks.DetectionModel
    source = kind(architecture, ch=3, nc=80, verbose=False)
    torch.save({"model": source.half(), "train_args": {}}, tmp_path / "colour.pt")
    architecture, tensors = read_checkpoint(tmp_path / "colour.pt", trust=trust)
    colour = source.float().state_dict()[first]
    torch.testing.assert_close(tensors[first], colour.sum(1, keepdim=True))
    head = f"model.{len(source.model) - 1}."
    body = [name for name in source.state_dict() if not name.startswith(head)]
    assert set(body) <= set(tensors)  # all but the head, whose width depends on the number of classes
    _, unexpected = build_network(architecture).load_state_dict(tensors, strict=False)
    assert unexpected == []


def test_everything_that_calls_home_is_off() -> None:
    from ultralytics.utils import SETTINGS, USER_CONFIG_DIR

    assert not any(value for value in SETTINGS.values() if value is True)
    assert not private_ultralytics.events.enabled
    with private_ultralytics.nothing_leaves():
        assert private_ultralytics.plotting.check_font("Arial.ttf").is_file()
    assert Path.home() not in Path(USER_CONFIG_DIR).parents


def test_without_ultralytics_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("hilum.detectors")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(ImportError, match=r'pip install "hilum\[yolo\]"'):
        importlib.import_module("hilum.detectors.yolo")


@pytest.mark.parametrize("model", ["yolo26n.yaml", "yolo11n.yaml", "yolov8n.yaml", "yolov10n.yaml"])
def test_ultralytics_own_detectors_can_be_built(model: str) -> None:
    network = build_network(read_architecture(model, {"scales": {"n": [0.33, 0.0625, 256]}}))
    assert network.yaml["channels"] == 1
    assert math.isfinite(sum(float(tensor.sum()) for tensor in network.state_dict().values()))
