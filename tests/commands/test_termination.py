"""SIGTERM ends a command as Ctrl+C does: a line, an exit code, no half file, no process left, and it can go on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def wait_for(what, process: subprocess.Popen[str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def start(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize(
    ("number", "code", "everyone"),
    [("TERM", 143, False), pytest.param("TERM", 143, True, marks=pytest.mark.slow), ("INT", 130, False)],
)
def test_a_command_with_workers_ends_and_leaves_nothing(tmp_path: Path, number: str, code: int, everyone: bool) -> None:
    pictures = tmp_path / "out" / "stage_2_train_images"
    process = start("hilum", "sample", tmp_path / "out", "--images", 3000, "--workers", 2)
    wait_for(lambda: pictures.is_dir() and any(pictures.glob("*.dcm")), process)
    (os.killpg if everyone else os.kill)(process.pid, signal.Signals[f"SIG{number}"])
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (code, "", "hilum: interrupted\n")
    deadline = time.monotonic() + 10
    while not is_gone(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert is_gone(process.pid)
    assert not [path.name for path in (tmp_path / "out").rglob(".*")]


def test_a_training_ends_and_goes_on(dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tiny = ["image_size=32", "model.channels=4", "model.blocks=1", "model.depth=2", "boxes.threshold=0.2"]
    process = start("hilum", "train", "resnet", dataset, run, *tiny, "train.epochs=5000")
    wait_for(lambda: (run / "log.jsonl").is_file() and (run / "log.jsonl").stat().st_size > 0, process)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert err.splitlines()[-1] == "hilum: interrupted; the same command again goes on"
    assert "Traceback" not in err
    assert not [path.name for path in run.rglob("*.part")]


@pytest.mark.slow
def test_processes_of_torchrun_end_too(dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tiny = ["image_size=32", "model.channels=4", "model.blocks=1", "model.depth=2", "boxes.threshold=0.2"]
    words = ["torch.distributed.run", "--standalone", "--nproc-per-node", 2, "-m", "hilum"]
    process = start(*words, "train", "resnet", dataset, run, *tiny, "train.epochs=5000")
    wait_for(lambda: (run / "log.jsonl").is_file() and (run / "log.jsonl").stat().st_size > 0, process)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert "hilum: interrupted; the same command again goes on" in err.splitlines()
    assert "a bug" not in err
    assert is_gone(process.pid)
