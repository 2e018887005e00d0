"""A checkpoint comes back as it was, or is refused in one line."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hilum.errors import HilumError
from hilum.training.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from hilum.training.loop import fit
from hilum.training.settings import TrainSettings

STATE: dict[str, Any] = {"network": {"weight": torch.arange(500.0)}, "epochs": 3, "best": 0.25}


def test_round_trip(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    save_checkpoint(STATE, tmp_path)
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert torch.equal(found["network"]["weight"], STATE["network"]["weight"])
    assert (found["epochs"], found["best"]) == (3, 0.25)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_half_written_it_is_refused(tmp_path: Path, share: float) -> None:
    save_checkpoint(STATE, tmp_path)
    content = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(content[: int(share * len(content))])
    with pytest.raises(HilumError, match=r"checkpoint\.pt: damaged; delete it to train from the start$"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("stored", "version"),
    [
        ({"format": 0, "hilum": "0.0.7", "state": STATE}, "0.0.7"),
        ({"format": 99, "hilum": "3.1.0", "state": {}}, "3.1.0"),
        (STATE, "of an unknown version"),  # before there was an envelope
        ([1, 2], "of an unknown version"),
    ],
)
def test_of_another_version_it_is_refused_and_the_version_named(tmp_path: Path, stored: Any, version: str) -> None:
    torch.save(stored, tmp_path / CHECKPOINT)
    with pytest.raises(HilumError, match=rf"checkpoint\.pt: written by hilum {version}, in a form that .* not read"):
        load_checkpoint(tmp_path)


def test_half_a_checkpoint_of_another_version_is_refused_too(tmp_path: Path) -> None:
    torch.save({"format": 99, "hilum": "3.1.0", "state": STATE}, tmp_path / CHECKPOINT)
    content = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(content[: len(content) // 2])
    with pytest.raises(HilumError, match="damaged"):
        load_checkpoint(tmp_path)


def test_code_in_it_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"format": 1, "state": Evil()}, tmp_path / CHECKPOINT)
    with pytest.raises(HilumError, match="damaged"):
        load_checkpoint(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"network": nn.Linear(3, 1).state_dict()},
        {"network": nn.Linear(2, 1).state_dict(), "optimizer": {}},
    ],
)
def test_of_another_network_it_is_refused_before_anything_is_written(tmp_path: Path, state: dict[str, Any]) -> None:
    save_checkpoint(state, tmp_path)
    network = nn.Linear(2, 1)
    with pytest.raises(HilumError, match=r"checkpoint\.pt: of another network or training than config\.yaml says"):
        fit(
            network,
            torch.optim.SGD(network.parameters(), lr=0.1),
            TrainSettings(epochs=1, batch_size=1),
            tmp_path,
            seed=0,
            batches=lambda _: [],
            load=lambda *_: pytest.fail("trained"),
            loss=nn.functional.mse_loss,
            validate=lambda _: pytest.fail("validated"),
        )
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]
