"""What one network backend can, all can; a class that only has a backend's methods is one; old runs load."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hilum
from hilum.backend import Backend, backend_named
from hilum.config import check_config, load_config
from hilum.datasets.folder import Dataset
from hilum.segmenters.keras_conventions import KerasAdam
from hilum.train_run import train
from hilum.training.log import read_log
from hilum.training.settings import TrainSettings

KINDS: dict[str, dict[str, Any]] = {
    "unet": {"backend": "unet", "image_size": 32, "model": {"start_channels": 2, "depth": 2}},
    "torchvision": {
        "backend": "torchvision",
        "image_size": 64,
        "model": {"architecture": "fcos_resnet50_fpn", "backbone": "mobilenet_v3_small", "channels": 64},
    },
    "gate": {"backend": "gate", "image_size": 64, "model": {"name": "test_resnet"}},
    "dfine": {"backend": "dfine", "image_size": 64, "model": {"size": "nano", "queries": 20}},
}


@pytest.fixture(params=list(KINDS))
def values(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "gate" and not find_spec("timm"):
        pytest.skip("needs the extra `smp`")
    if request.param == "dfine" and not find_spec("transformers"):
        pytest.skip("needs the extra `transformers`")
    return KINDS[request.param]


def test_all_settings_are_everybodys(values: dict[str, Any], dataset: Path, tmp_path: Path) -> None:
    settings = {"ema": 0.9, "precision": "bfloat16", "weight_decay": 0.1, "patience": 1, "schedule": "constant"}
    settings["loggers"] = ["tensorboard"] if find_spec("tensorboard") else []
    config = check_config({**values, "train": {"epochs": 1, "batch_size": 16, **settings}}, "test")
    train(config, Dataset.open(dataset), tmp_path / "run")
    assert np.isfinite(read_log(tmp_path / "run")[0]["train_loss"])
    assert (tmp_path / "run" / "tensorboard").is_dir() == bool(settings["loggers"])
    stored = load_config(str(tmp_path / "run" / "config.yaml")).train
    assert isinstance(stored, TrainSettings)
    assert stored == config.train
    assert next(hilum.load(tmp_path / "run").predict(np.zeros((50, 60), np.uint8))).error is None


@pytest.mark.slow
def test_all_are_compiled(values: dict[str, Any], dataset: Path, tmp_path: Path) -> None:
    losses = []
    for compiled in (False, True):
        settings = {"epochs": 1, "batch_size": 16, "compile": compiled}
        run = tmp_path / str(compiled)
        train(check_config({**values, "train": settings}, "test"), Dataset.open(dataset), run)
        losses.append(read_log(run)[0]["train_loss"])
    assert np.isfinite(losses[1])
    assert losses[1] == pytest.approx(losses[0], rel=0.2)  # dropout draws other numbers


def test_of_torchvision_the_backbone_is_compiled_for_training(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[torch.Size] = []

    def compiled(forward: Any) -> Any:
        return lambda pictures: shapes.append(pictures.shape) or forward(pictures)

    monkeypatch.setattr(torch, "compile", compiled)
    losses = []
    for ema in (0.0, 0.9):
        settings = {"epochs": 1, "batch_size": 16, "compile": True, "ema": ema}
        run = tmp_path / str(ema)
        train(check_config({**KINDS["torchvision"], "train": settings}, "test"), Dataset.open(dataset), run)
        losses.append(read_log(run)[0]["train_loss"])
    images = len(Dataset.open(dataset).split("train"))
    assert sum(shape[0] for shape in shapes) == 2 * images  # none of val
    assert losses[0] == losses[1]


def test_without_a_decay_keras_adam_keeps_what_older_checkpoints_hold() -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    assert "keras_decay" not in KerasAdam([parameter], 0.1).state_dict()["param_groups"][0]
    parameter.grad = torch.zeros(3)
    KerasAdam([parameter], 0.1, weight_decay=0.5).step()
    torch.testing.assert_close(parameter.detach(), torch.full((3,), 0.95))


def test_a_class_that_only_has_the_methods_gets_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain:
        distributed = True

        @classmethod
        def train(cls, config: Any, data: Dataset, run: Path) -> "Plain":
            return cls()

        @classmethod
        def load(cls, run: Path) -> "Plain":
            return cls()

        def predict_batch(self, images: list[Any]) -> list[Any]:
            return []

    monkeypatch.setattr("hilum.backend.backend_class", lambda _: Plain)
    kind = backend_named("plain")
    assert issubclass(kind, Plain)
    assert issubclass(kind, Backend)
    assert (kind.distributed, kind.learns, kind.tunable, kind.draws_maps) == (True, True, True, False)
    assert isinstance(kind.load(Path()), kind)
    assert kind.load(Path()).network_to_export() is None
