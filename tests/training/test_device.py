"""Which device computes: the command's word before the config's; one line where there is none; the same digits."""

from pathlib import Path
from typing import Any

import pytest
import torch

from hilum.config import check_config
from hilum.datasets.folder import Dataset
from hilum.errors import HilumError
from hilum.system import DEVICE
from hilum.train_run import train
from hilum.training import device, loop
from hilum.training.device import deterministic, on_device, pick_device

TINY: dict[str, Any] = {
    "backend": "resnet",
    "image_size": 32,
    "model": {"channels": 4, "blocks": 1, "depth": 2},
    "train": {"epochs": 1, "batch_size": 8},
}


@pytest.fixture(autouse=True)
def _as_at_the_start() -> None:
    """Stock ultralytics, which other tests run, leaves on what it turns on."""
    torch.use_deterministic_algorithms(False)


def config(**settings: Any) -> Any:
    return check_config({**TINY, "train": {**TINY["train"], **settings}}, "test")


def test_the_commands_word_comes_before_the_configs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DEVICE, raising=False)
    assert pick_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    with on_device("cuda:77"):
        with pytest.raises(HilumError, match=r"^device: torch \S+ finds no 'cuda:77' on this machine; it finds cpu"):
            pick_device()
        monkeypatch.setenv(DEVICE, "cpu")
        assert pick_device() == torch.device("cpu")
    with monkeypatch.context() as patch:
        patch.setenv(DEVICE, "cuda:1")
        patch.setattr(device.torch.cuda, "is_available", lambda: True)
        patch.setattr(device.torch.cuda, "device_count", lambda: 2)
        chosen: list[torch.device] = []
        patch.setattr(device.torch.cuda, "set_device", chosen.append)
        assert pick_device() == torch.device("cuda:1")
        assert chosen == [torch.device("cuda:1")]


@pytest.mark.parametrize("word", ["gpu", "cuda:", "cuda:x", "CPU", "1"])
def test_a_config_names_a_device_as_torch_does(word: str) -> None:
    with pytest.raises(HilumError, match=r"train\.device"):
        config(device=word)


def test_a_training_starts_on_the_configs_device_or_not_at_all(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(HilumError, match="finds no 'cuda:77'"):
        train(config(device="cuda:77"), Dataset.open(dataset), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    train(config(device="cpu"), Dataset.open(dataset), tmp_path / "run")


def test_an_interrupted_training_goes_on_on_another_device(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(Exception):  # noqa: N818
        pass

    def killed(*_: Any) -> None:
        raise Stop

    data, run = Dataset.open(dataset), tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("hilum.train_run.write_operating_point", killed)
        with pytest.raises(Stop):
            train(config(), data, run)
    train(config(device="cpu"), data, run)
    assert (run / "operating_point.json").is_file()


def test_deterministic_is_for_this_training_alone(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[bool] = set()
    step = loop.step

    def watched(*given: Any, **named: Any) -> torch.Tensor:
        seen.add(torch.are_deterministic_algorithms_enabled())
        return step(*given, **named)

    monkeypatch.setattr(loop, "step", watched)
    for name in ("one", "two"):
        train(config(deterministic=True), Dataset.open(dataset), tmp_path / name)
    assert seen == {True}
    assert not torch.are_deterministic_algorithms_enabled()
    one, two = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


def test_an_operation_without_such_a_form_is_one_line() -> None:
    expected = r"^train\.deterministic: .* does not have a deterministic .*; set it to false"
    with pytest.raises(HilumError, match=expected), deterministic(wanted=True):
        raise RuntimeError("x_cuda does not have a deterministic implementation, but you set ...\nmore")
    with pytest.raises(RuntimeError, match="else"), deterministic(wanted=True):
        raise RuntimeError("something else")
    assert not torch.are_deterministic_algorithms_enabled()
