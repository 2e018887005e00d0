"""The training loop: what is kept, what is logged, and that an interruption changes nothing."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hilum.config import check_config
from hilum.datasets.folder import Dataset
from hilum.errors import HilumError
from hilum.segmenters.segmenter import Segmenter
from hilum.train_run import train
from hilum.training import loop
from hilum.training.checkpoint import CHECKPOINT, load_weights
from hilum.training.log import read_log
from hilum.training.loop import fit, merge_trailing_image, shuffled_batches
from hilum.training.settings import TrainSettings

Validate = Callable[[nn.Module], dict[str, float]]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Stop(Exception):  # noqa: N818
    """The kill."""


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))


def batches(epoch: int) -> Iterator[NDArray[np.int64]]:
    return shuffled_batches(18, 6, 0, epoch)


def load(epoch: int, numbers: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    x = torch.stack([torch.randn(4, generator=torch.Generator().manual_seed(number)) for number in numbers.tolist()])
    return x + 0.01 * epoch, x.sum(1, keepdim=True)


def run_fit(run: Path, validate: Validate, epochs: int = 4, batches: Any = batches, **more: Any) -> nn.Module:
    run.mkdir(exist_ok=True)
    net = more.pop("net", None) or network()
    given = {name: more.pop(name) for name in ("loss", "load", "prepare", "frozen") if name in more}
    fit(
        net,
        torch.optim.Adam(net.parameters()),
        TrainSettings(epochs=epochs, batch_size=6, learning_rate=0.01, schedule="constant", **more),
        run,
        seed=3,
        batches=batches,
        validate=validate,
        **{"loss": nn.functional.mse_loss, "load": load} | given,
    )
    return net


def counting(*scores: float) -> Validate:
    left = iter(scores)
    return lambda _: {"val_score": next(left)}


def fail_at(epoch: int) -> Callable[[int], Iterator[NDArray[np.int64]]]:
    def until(number: int) -> Iterator[NDArray[np.int64]]:
        if number == epoch:
            raise Stop
        return batches(number)

    return until


def test_two_epochs_and_two_more_are_four(tmp_path: Path) -> None:
    whole = run_fit(tmp_path / "whole", counting(1, 2, 3, 4))
    with pytest.raises(Stop):
        run_fit(tmp_path / "parts", counting(1, 2), batches=fail_at(2))
    assert (tmp_path / "parts" / CHECKPOINT).is_file()
    parts = run_fit(tmp_path / "parts", counting(3, 4))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[name]), name
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]
    logs = [[{**line, "seconds": 0} for line in read_log(tmp_path / name)] for name in ("whole", "parts")]
    assert logs[0] == logs[1]
    assert [line["epoch"] for line in logs[0]] == [1, 2, 3, 4]


def test_the_best_epoch_is_kept_and_of_equals_the_later(tmp_path: Path) -> None:
    run_fit(tmp_path / "best", counting(1, 5, 5, 2))
    run_fit(tmp_path / "third", counting(1, 2, 3), epochs=3)
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("best", "third")]
    assert weights[0] == weights[1]
    load_weights(network(), tmp_path / "best")


def test_the_best_score_is_remembered_over_an_interruption(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        run_fit(tmp_path / "run", counting(9, 1), batches=fail_at(2))
    kept = (tmp_path / "run" / "weights.safetensors").read_bytes()
    run_fit(tmp_path / "run", counting(2, 3))
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == kept


@pytest.mark.parametrize("where", ["save_weights", "save_checkpoint"])
@pytest.mark.parametrize("after", [True, False])
def test_killed_around_a_save_no_epoch_is_logged_twice_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, after: bool
) -> None:
    save, calls = getattr(loop, where), []

    def killed(*args: Any) -> None:
        calls.append(1)
        if len(calls) < 2 or after:
            save(*args)
        if len(calls) == 2:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(loop, where, killed)
        with pytest.raises(Stop):
            run_fit(tmp_path / "run", counting(1, 2, 3, 4))
    # The weights come after the checkpoint, which is enough to write them again.
    rest = counting(2, 3, 4) if where == "save_checkpoint" and not after else counting(3, 4)
    run_fit(tmp_path / "run", rest)
    assert [line["epoch"] for line in read_log(tmp_path / "run")] == [1, 2, 3, 4]


@pytest.mark.parametrize("after", [True, False])
def test_killed_around_the_weights_of_the_best_epoch_they_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    save, calls = loop.save_weights, []

    def killed(*args: Any) -> None:
        calls.append(1)
        if len(calls) < 2 or after:
            save(*args)
        if len(calls) == 2:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_weights", killed)
        with pytest.raises(Stop):
            run_fit(tmp_path / "run", counting(1, 9))
    run_fit(tmp_path / "run", counting(2, 3))
    run_fit(tmp_path / "whole", counting(1, 9, 2, 3))
    assert _weights(tmp_path / "run") == _weights(tmp_path / "whole")


def test_it_stops_after_so_many_epochs_without_a_better_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_fit(tmp_path / "run", counting(1, 3, 2, 3, 1, 2), epochs=9, patience=2)
    assert [line["val_score"] for line in read_log(tmp_path / "run")] == [1, 3, 2, 3, 1, 2]
    assert "stopped after epoch 6: no better score on val for 2 epochs" in capsys.readouterr().err
    run_fit(tmp_path / "four", counting(1, 3, 2, 3), epochs=4)
    assert _weights(tmp_path / "run") == _weights(tmp_path / "four")


@pytest.mark.parametrize("killed_at", range(1, 6))
def test_patience_is_remembered_over_an_interruption(tmp_path: Path, killed_at: int) -> None:
    scores = (1, 3, 2, 3, 1, 2)
    run_fit(tmp_path / "whole", counting(*scores), epochs=9, patience=2)
    with pytest.raises(Stop):
        run_fit(tmp_path / "parts", counting(*scores), epochs=9, patience=2, batches=fail_at(killed_at))
    run_fit(tmp_path / "parts", counting(*scores[killed_at:]), epochs=9, patience=2)
    assert _told(tmp_path / "parts") == _told(tmp_path / "whole")
    assert _weights(tmp_path / "parts") == _weights(tmp_path / "whole")
    run_fit(tmp_path / "parts", counting(), epochs=9, patience=2)  # stopped before: not an epoch more
    assert _told(tmp_path / "parts") == _told(tmp_path / "whole")


def test_the_average_is_what_is_judged_and_kept_over_an_interruption_too(tmp_path: Path) -> None:
    judged: list[dict[str, Tensor]] = []

    def validate(network: nn.Module) -> dict[str, float]:
        assert not network.training
        judged.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        return {"val_score": len(judged)}

    last = run_fit(tmp_path / "whole", validate, ema=0.9)
    kept = network()
    load_weights(kept, tmp_path / "whole")
    for name, tensor in kept.state_dict().items():
        assert torch.equal(tensor, judged[-1][name]), name
    assert not torch.equal(kept[0].weight, last[0].weight)
    assert not torch.equal(kept[1].running_mean, last[1].running_mean)
    with pytest.raises(Stop):
        run_fit(tmp_path / "parts", counting(1, 2), ema=0.9, batches=fail_at(2))
    run_fit(tmp_path / "parts", counting(3, 4), ema=0.9)
    assert _weights(tmp_path / "parts") == _weights(tmp_path / "whole")


def test_an_average_of_little_memory_is_the_network(tmp_path: Path) -> None:
    last = run_fit(tmp_path, counting(1, 2, 3, 4), ema=1e-9)
    kept = network()
    load_weights(kept, tmp_path)
    for name, tensor in kept.state_dict().items():
        torch.testing.assert_close(tensor, last.state_dict()[name])


def test_frozen_batchnorm_keeps_its_statistics_and_learns_its_weights(tmp_path: Path) -> None:
    fresh, frozen = network(), network()
    run_fit(tmp_path, counting(1, 2, 3, 4), net=frozen, frozen=[frozen[1]])
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(getattr(frozen[1], name), getattr(fresh[1], name))
    assert not torch.equal(frozen[1].weight, fresh[1].weight)


def test_in_bfloat16_it_learns_nearly_the_same_and_weights_stay_float32(tmp_path: Path) -> None:
    computed_in = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        computed_in.append(output.dtype)
        return nn.functional.mse_loss(output.float(), target)

    full = run_fit(tmp_path / "full", counting(1, 2, 3, 4), loss=loss)
    half = run_fit(tmp_path / "half", counting(1, 2, 3, 4), loss=loss, precision="bfloat16")
    assert computed_in == [torch.float32] * 12 + [torch.bfloat16] * 12
    assert {tensor.dtype for tensor in half.parameters()} == {torch.float32}
    losses = [[line["train_loss"] for line in read_log(tmp_path / name)] for name in ("full", "half")]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert not torch.equal(full[0].weight, half[0].weight)


@pytest.mark.slow
def test_compiled_it_learns_the_same(tmp_path: Path) -> None:
    plain, fast = (network() for _ in range(2))
    for net in (plain, fast):
        net[2].p = 0.0  # compiled, it would draw other numbers
    run_fit(tmp_path / "plain", counting(1, 2), epochs=2, net=plain)
    run_fit(tmp_path / "fast", counting(1, 2), epochs=2, net=fast, compile=True)
    losses = [[line["train_loss"] for line in read_log(tmp_path / name)] for name in ("plain", "fast")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    for layer in (0, 3):  # the first one's bias is left out: before a BatchNorm, what moves it is rounding alone
        torch.testing.assert_close(fast[layer].weight, plain[layer].weight, rtol=1e-3, atol=1e-4)


def test_what_is_prepared_is_what_the_network_gets(tmp_path: Path) -> None:
    run_fit(tmp_path / "plain", counting(1, 2, 3, 4))
    doubled = lambda epoch, numbers: tuple(2 * part for part in load(epoch, numbers))  # noqa: E731
    halve = lambda x, y: (x / 2, y / 2)  # noqa: E731
    run_fit(tmp_path / "prepared", counting(1, 2, 3, 4), load=doubled, prepare=halve)
    assert _weights(tmp_path / "prepared") == _weights(tmp_path / "plain")


def test_tensorboard_holds_the_log_and_nothing_twice(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run_fit(tmp_path / "run", counting(1, 2), epochs=2, loggers=["tensorboard"])
    (tmp_path / "run" / CHECKPOINT).unlink()  # as if killed in the first epoch
    run_fit(tmp_path / "run", counting(1, 2, 3), epochs=3, loggers=["tensorboard"])
    events = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    log = read_log(tmp_path / "run")
    assert set(events.Tags()["scalars"]) == set(log[0]) - {"epoch"}
    for name in ("train_loss", "val_score"):
        shown = [(event.step, event.value) for event in events.Scalars(name)]
        assert shown == [(line["epoch"], pytest.approx(line[name])) for line in log]


def test_without_tensorboard_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.delitem(sys.modules, "hilum.training.tensorboard_logger", raising=False)
    with pytest.raises(HilumError, match=r'^train\.loggers: .*pip install "hilum\[tensorboard\]"$'):
        run_fit(tmp_path / "run", counting(), loggers=["tensorboard"])


def _weights(run: Path) -> bytes:
    return (run / "weights.safetensors").read_bytes()


def _told(run: Path) -> list[dict[str, Any]]:
    return [{**line, "seconds": 0} for line in read_log(run)]


def unet(**changes: Any) -> Any:
    values = {
        "backend": "unet",
        "image_size": 32,
        "model": {"start_channels": 2, "depth": 2, "dropout": 0.5},
        "train": {"epochs": 3, "batch_size": 4},
    }
    return check_config(values | changes, "tiny.yaml")


def test_an_interrupted_run_goes_on_to_the_same_weights_and_to_no_other_config(
    tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, config = Dataset.open(dataset), unet()
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(config, data, whole)
    validate, calls = Segmenter.validate, []

    def killed(self: Segmenter, *args: Any) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            raise Stop
        return validate(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Segmenter, "validate", killed)
        with pytest.raises(Stop):
            train(config, data, parts)
    assert len(read_log(parts)) == 1
    with pytest.raises(HilumError, match="not an interrupted run of this config"):
        train(unet(seed=1), data, parts)
    train(config, data, parts)
    assert (whole / "weights.safetensors").read_bytes() == (parts / "weights.safetensors").read_bytes()
    assert len(read_log(parts)) == 3
    with pytest.raises(HilumError, match="finished run"):
        train(config, data, parts)


YOLO = {
    "backend": "yolo",
    "image_size": 64,
    "train": {"epochs": 1, "batch_size": 8},
    "ultralytics": {"mosaic": 0.0, "workers": 0, "amp": False},
}


@pytest.mark.parametrize("config", [unet(), check_config(YOLO, "test")], ids=["unet", "yolo"])
def test_killed_before_the_operating_point_no_epoch_is_trained_again(
    tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch, config: Any
) -> None:
    def killed(*_: Any) -> None:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr("hilum.train_run.write_operating_point", killed)
        with pytest.raises(Stop):
            train(config, Dataset.open(dataset), tmp_path)
    weights, log = (tmp_path / "weights.safetensors").read_bytes(), (tmp_path / "log.jsonl").read_text()
    train(config, Dataset.open(dataset), tmp_path)
    assert (tmp_path / "weights.safetensors").read_bytes() == weights
    assert (tmp_path / "log.jsonl").read_text() == log
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.parametrize("images", [1, 2, 4, 5, 7, 8, 9, 10])
@pytest.mark.parametrize("size", [2, 4])
def test_no_image_is_alone_in_its_batch_and_none_is_much_larger(images: int, size: int) -> None:
    made = list(merge_trailing_image(shuffled_batches(images, size, 0, 3)))
    assert np.concatenate(made).tolist() == np.concatenate(list(shuffled_batches(images, size, 0, 3))).tolist()
    assert all(1 < len(batch) <= size + 1 for batch in made) or images == 1
    assert all(len(batch) == size for batch in made[:-1])
