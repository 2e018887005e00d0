"""16 bits from the source to the network: what 8 bits lose is kept on the way, and 8-bit data stay what they are."""

import json
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

import hilum
from hilum.config import check_config, load_config
from hilum.converters.convert import convert
from hilum.converters.rendering import Rendering
from hilum.datasets.augmentation import Variation, augment, vary_picture
from hilum.datasets.augmentation_config import Augmentation
from hilum.datasets.bits import as_bits
from hilum.datasets.cache import square_pictures
from hilum.datasets.folder import Dataset
from hilum.datasets.letterbox import letterbox_batch
from hilum.datasets.picture_tensors import as_tensor, to_unit
from hilum.datasets.pictures import read_picture
from hilum.ensemble.views import View
from hilum.predict import Predictor
from hilum.segmenters.unet import UNetSegmenter
from hilum.train_run import train

SIDE = 64
OPACITY_XYXY = (16, 24, 40, 48)
CONTRAST = 80  # of 65,535: a third of what one level of 256 is
UNET = {
    "backend": "unet",
    "image_size": SIDE,
    "model": {"start_channels": 2, "depth": 2},
    "train": {"epochs": 1, "batch_size": 4},
}


def faint(*, shown: bool, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """A grey field between a black and a white stripe, in which an opacity is a third of an 8-bit level brighter."""
    pixels = np.full((SIDE, SIDE), 30_000 + 257 * seed, np.uint16)
    pixels -= np.uint16(pixels[0, 0] % 257)  # what one 8-bit level holds lies half below and half above it
    pixels[:4], pixels[-4:] = 0, 65_535
    if shown:
        left, top, right, bottom = OPACITY_XYXY
        pixels[top:bottom, left:right] += CONTRAST
    return pixels


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 PNGs of 16 bits with a table of boxes: half of them with the faint opacity."""
    folder = tmp_path_factory.mktemp("faint")
    left, top, right, bottom = OPACITY_XYXY
    rows, box = ["image_id,x,y,width,height"], f"{left},{top},{right - left},{bottom - top}"
    for number in range(24):
        shown = number % 2 == 0
        cv2.imwrite(str(folder / f"p{number:02}.png"), faint(shown=shown, seed=number))
        rows.append(f"p{number:02},{box if shown else ',,,'}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def converted(source: Path, out: Path, bits: int) -> Dataset:
    convert(source, out, rendering=Rendering(bits=bits))  # type: ignore[arg-type]
    return Dataset.open(out)


@pytest.fixture(scope="module")
def deep(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return converted(source, tmp_path_factory.mktemp("deep") / "data", 16)


@pytest.fixture(scope="module")
def shallow(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return converted(source, tmp_path_factory.mktemp("shallow") / "data", 8)


class Amplifier(nn.Module):
    """Is sure of what is brighter than the field by half of the faint opacity's contrast, and not white."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        field = pictures.flatten(2).median(2).values[..., None, None]
        brighter = (pictures - field) * 65_535
        return torch.where(brighter < 2 * CONTRAST, brighter - CONTRAST / 2, -CONTRAST)


def finder(bits: int) -> Predictor:
    config = check_config({**UNET, **({"bits": 16} if bits == 16 else {})}, "test")
    return Predictor(UNetSegmenter(Amplifier(), config), 0.5)  # type: ignore[arg-type]


def test_an_opacity_that_8_bits_lose_is_found_in_16(deep: Dataset, shallow: Dataset) -> None:
    val, its = deep.split("val"), shallow.split("val")
    assert val.positive.any()
    assert not val.positive.all()
    found = list(finder(16).predict(val.paths))
    assert [len(result.detections) > 0 for result in found] == val.positive.tolist()
    for result in found:
        if len(result.detections):
            np.testing.assert_allclose(result.detections.xyxy, [OPACITY_XYXY])
    assert not any(len(result.detections) for result in finder(8).predict(val.paths))
    for bits in (8, 16):  # what is lost in conversion is lost for all
        assert not any(len(result.detections) for result in finder(bits).predict(its.paths))


def test_cache_and_augmentation_keep_16_bits(deep: Dataset) -> None:
    train_split = deep.split("train")
    squares = square_pictures(deep, "train", SIDE, 16)
    number = int(np.flatnonzero(train_split.positive)[0])
    square = squares[number]
    assert square.dtype == np.uint16
    np.testing.assert_array_equal(square, read_picture(train_split.paths[number], 16))
    everything = Augmentation(
        flip=1, rotate_degrees=3, shear_degrees=1, scale=0.02, translate=0.01, gamma=0.02, noise=0, cutout=0
    )
    boxes = train_split.boxes_in_square(number, SIDE)
    varied, (box,) = augment(square, boxes, everything, np.random.default_rng(0))
    network = Amplifier()(to_unit(torch.from_numpy(varied)[None]))[0, 0]
    left, top, right, bottom = np.rint(box).astype(int)
    assert (network[top + 6 : bottom - 6, left + 6 : right - 6] > 0).all()  # still there, brighter than the field
    backend = UNetSegmenter(Amplifier(), check_config({**UNET, "bits": 16}, "test"))  # type: ignore[arg-type]
    batch, _ = backend.prepare(*backend.load_batch(squares, train_split, 0, np.array([number])))
    assert len(batch.unique()) >= 4  # black, white, the field, the opacity


def test_16_bits_are_varied_as_8_are() -> None:
    rng = np.random.default_rng(3)
    pixels = cv2.resize(rng.integers(0, 256, (9, 9), np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    for variation in (
        Variation(mirrored=True),
        Variation(angle_degrees=7, shear_degrees=2, scale=1.1, translate_xy=(3, -2)),
        Variation(gamma=0.7),
        Variation(noise=0.05, noise_seed=5),
        Variation(covered_xyxy=(4, 5, 20, 30)),
    ):
        given = as_tensor(as_bits(pixels, 16))
        before = given.clone()
        deep = vary_picture(given, variation)
        shallow = vary_picture(torch.from_numpy(pixels), variation)
        assert deep.dtype == torch.int32
        assert torch.equal(given, before)
        assert (deep / 257 - shallow).abs().max() <= 1, variation


def test_levels_there_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8)
    deep = as_bits(levels, 16)
    assert (deep[0], deep[-1], deep.dtype) == (0, 65_535, np.uint16)
    np.testing.assert_array_equal(as_bits(deep, 8), levels)
    assert as_bits(levels, 8) is levels
    nearest = np.rint(np.arange(65_536) / 257).astype(np.uint8)
    np.testing.assert_array_equal(as_bits(np.arange(65_536).astype(np.uint16), 8), nearest)
    assert torch.equal(to_unit(as_tensor(deep[None, None])), to_unit(as_tensor(levels[None, None])))


def test_dicom_and_its_converted_picture_are_the_same(sample_folder: Path, make_dicom: Any, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 4096, (SIDE, SIDE)).astype(np.uint16)
    content = make_dicom(stored, BitsStored=12, HighBit=11, WindowCenter=2000, WindowWidth=3500)
    (tmp_path / "source" / "a.dcm").write_bytes(content)
    convert(tmp_path / "source", tmp_path / "data", rendering=Rendering(bits=16))
    (png,) = (tmp_path / "data").rglob("*.png")
    assert cv2.imread(str(png), cv2.IMREAD_UNCHANGED).dtype == np.uint16
    from_dicom = read_picture(tmp_path / "source" / "a.dcm", 16)
    np.testing.assert_array_equal(from_dicom, read_picture(png, 16))
    assert len(np.unique(from_dicom)) > 2000
    eight = min((sample_folder / "stage_2_train_images").glob("*.dcm"))  # has 8 bits, and stays so
    np.testing.assert_array_equal(read_picture(eight, 16), as_bits(read_picture(eight), 16))


def test_padding_and_views_are_of_16_bits() -> None:
    tall = np.full((64, 32), 65_535, np.uint16)
    _, squares = letterbox_batch([tall, as_bits(tall, 8)], SIDE, fill=114, bits=16)
    assert squares.dtype == np.uint16
    assert squares[0, 0, 0] == 114 * 257
    np.testing.assert_array_equal(squares[0], squares[1])
    assert letterbox_batch([tall], SIDE)[1].dtype == np.uint8
    shown = View(mirrored=True, scale=0.5).show(tall)
    assert (shown.dtype, shown.max()) == (np.uint16, 65_535)


@pytest.mark.parametrize(
    ("values", "package"),
    [
        (UNET, "torch"),
        ({"backend": "gate", "image_size": SIDE, "model": {"name": "test_resnet"}}, "timm"),
        (
            {
                "backend": "torchvision",
                "image_size": SIDE,
                "model": {"architecture": "fcos_resnet50_fpn", "backbone": "mobilenet_v3_small", "channels": 64},
            },
            "torchvision",
        ),
    ],
    ids=["unet", "gate", "torchvision"],
)
def test_a_run_keeps_the_bits_of_its_data(values: dict[str, Any], package: str, deep: Dataset, tmp_path: Path) -> None:
    pytest.importorskip(package)
    config = check_config({**values, "train": {"epochs": 1, "batch_size": 8}}, "test")
    trained = train(config, deep, tmp_path / "run")
    assert load_config(str(tmp_path / "run" / "config.yaml")).bits == 16
    loaded = hilum.load(tmp_path / "run")
    assert (trained.backend.bits, loaded.backend.bits) == (16, 16)
    path = deep.split("val").paths[0]
    for image in (path, cv2.imread(str(path), cv2.IMREAD_UNCHANGED), as_bits(read_picture(path), 8)):
        assert next(loaded.predict(image)).error is None
    assert list((deep.path / "cache").glob(f"16bit-{SIDE}-*.npy"))


def test_who_reads_8_bits_says_so(deep: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("ultralytics")
    values = {
        "backend": "yolo",
        "image_size": SIDE,
        "model_yaml": {"scales": {"n": [0.33, 0.03125, 256]}},
        "train": {"epochs": 1, "batch_size": 8},
        "ultralytics": {"workers": 0},
    }
    logging.getLogger("hilum").addHandler(caplog.handler)
    try:
        predictor = train(check_config(values, "test"), deep, tmp_path / "run")
    finally:
        logging.getLogger("hilum").removeHandler(caplog.handler)
    said = [record.message for record in caplog.records if "16 bits" in record.message]
    assert said == [f"{deep.path}: has pictures of 16 bits, and backend 'yolo' reads 8 of them"]
    assert predictor.backend.bits == 8
    assert "bits" not in (tmp_path / "run" / "config.yaml").read_text()


def test_a_composition_sees_the_most_that_a_part_does(deep: Dataset, tmp_path: Path) -> None:
    values = {"backend": "compose", "members": {"one": {"config": {**UNET, "train": {"epochs": 1, "batch_size": 8}}}}}
    predictor = train(check_config(values, "test"), deep, tmp_path / "run")
    assert predictor.backend.bits == 16
    assert next(hilum.load(tmp_path / "run").predict(deep.split("val").paths[0])).error is None


def test_8_bit_data_say_nothing_of_bits(shallow: Dataset, tiny_run: Path) -> None:
    assert shallow.bits == 8
    assert "bits" not in (tiny_run / "config.yaml").read_text()
    assert json.loads((shallow.path / "conversion.json").read_text())["rendering"]["bits"] == 8
