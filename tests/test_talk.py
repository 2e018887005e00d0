"""What is said on the way: to whom, how much, and that a name in it is obeyed by no terminal."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from commandline import complaint, hilum
from rich.console import Console
from torch import nn

from hilum import talk
from hilum.talk import log, talking
from hilum.training import meter
from hilum.training.meter import HALF_A_MINUTE, Meter, in_words, tell_start

TINY = ["image_size=32", "model.start_channels=2", "model.depth=2", "train.epochs=1"]


def say_all() -> None:
    for level in ("debug", "info", "warning", "error"):
        getattr(log, level)(f"{level} a\x1b[2J\nb")


@pytest.mark.parametrize(
    ("options", "levels"),
    [({}, 3), ({"verbose": True}, 4), ({"quiet": True}, 2), ({"verbose": True, "quiet": True}, 4)],
)
def test_how_much_is_said(options: dict[str, bool], levels: int, capsys: pytest.CaptureFixture[str]) -> None:
    with talking(**options):
        say_all()
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == levels
    assert "\x1b" not in said.err
    assert "hilum: warning a" in said.err


def test_a_file_gets_all_of_it_with_the_time(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("before\n")
    with talking(quiet=True, file=tmp_path / "log"):
        say_all()
    log.info("after")
    before, *lines = (tmp_path / "log").read_text().splitlines()
    assert before == "before"
    assert [line.split()[2] for line in lines] == ["debug", "info", "warning", "error"]
    assert all(line[:2] == "20" and "\x1b" not in line for line in lines)


def test_a_training_says_what_begins_and_the_options_go_anywhere(dataset: Path, tmp_path: Path) -> None:
    said = hilum("train", "unet", dataset, tmp_path / "one", *TINY, "--log-file", tmp_path / "log").stderr
    start = next(line for line in said.splitlines() if line.startswith("one: on "))
    assert " parameters; " in start
    assert " images to learn from, " in start
    assert start.endswith("epochs: 1, of 2 steps")
    assert "epoch   1/1  loss" in said
    written = (tmp_path / "log").read_text()
    assert start in written
    assert "one: starts with random weights" in written
    silent = hilum("-q", "--device", "cpu", "train", "unet", dataset, tmp_path / "two", *TINY)
    assert silent.stderr == ""
    assert "competition score" in silent.stdout
    assert json.loads((tmp_path / "two" / "environment.json").read_text())["device"] == "cpu"


def test_wrong_options_are_one_line(dataset: Path, tmp_path: Path) -> None:
    assert "--device: expected cpu, cuda, cuda:1 or mps, not 'gpu'" in complaint("--device", "gpu", "backends")
    assert "nowhere/log: No such file" in complaint("--log-file", tmp_path / "nowhere" / "log", "backends")
    line = complaint("train", "unet", dataset, tmp_path / "run", *TINY, "--device", "cuda:77")
    assert "device: torch" in line
    assert "finds no 'cuda:77' on this machine; it finds cpu" in line
    assert not (tmp_path / "run").exists()


def test_after_two_hyphens_words_are_no_options(tmp_path: Path) -> None:
    assert "-q" in complaint("config", "--", "-q")


def test_a_library_finds_one_handler_and_root_gets_nothing() -> None:
    code = "import logging; logging.basicConfig(); from hilum.talk import log; log.info('once')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "once\n"


# How far an epoch is


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(meter.time, "monotonic", made)
    return made


def test_without_a_terminal_a_line_each_half_minute(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[int] = []

    def loss() -> float:
        asked.append(1)
        return 0.5

    with Meter("epoch 2/9", 1200) as shown:
        for step in range(1, 121):
            clock.now += 1
            shown.seen(10 * step, loss)
    lines = capsys.readouterr().err.splitlines()
    assert HALF_A_MINUTE == 30
    assert lines[0] == "epoch 2/9  300/1,200 images  loss 0.5000  10.0 images/s  90 s left"
    assert lines[1] == "epoch 2/9  600/1,200 images  loss 0.5000  10.0 images/s  60 s left"
    assert len(lines) == len(asked) == 4  # a GPU is not waited for at every step


def test_on_a_terminal_a_bar_that_goes(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    for quiet in (False, True):
        file = io.StringIO()
        monkeypatch.setattr(meter, "Console", lambda file=file, **_: Console(file=file, force_terminal=True, width=120))
        with talking(quiet=quiet), Meter("epoch 2/9", 1200) as shown:
            clock.now += 30
            shown.seen(300, lambda: 0.5)
            shown._bar.refresh()
        said = file.getvalue()
        assert ("epoch 2/9" in said) is not quiet
        assert ("300/1200" in said and "loss 0.5000  10.0 images/s" in said) is not quiet


def test_what_begins_is_told_in_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    tell_start("run", nn.Linear(1000, 2), torch.device("cpu"), (24_124, 1280), (20, 1508))
    said = capsys.readouterr().err
    assert said.startswith("run: on cpu, threads: ")
    assert "; 2,002 parameters; 24,124 images to learn from, 1,280 to choose on; epochs: 20, of 1,508 steps" in said


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.4, "4 s"), (99, "99 s"), (110, "2 min"), (3600, "60 min"), (7500, "2 h 05 min")]
)
def test_a_time_is_told_as_one_reads_it(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_the_room_of_words_says_nothing_by_itself() -> None:
    assert talk.log.name == "hilum"
    assert not talk.is_quiet()
