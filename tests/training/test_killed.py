"""SIGKILL anywhere: the run that is started again ends as the one that nobody disturbed, to the last byte."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hilum.training.log import read_log


def _train(data: Path, out: Path, *hows: str) -> dict[str, int]:
    """Run folders below `out`, and how often each was killed."""
    script = Path(__file__).with_name("killing.py")
    done = subprocess.run(
        [sys.executable, script, data, out, "whole", *hows],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kills: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    assert kills.pop("whole") == 0
    return kills


def _left(run: Path) -> dict[str, Any]:
    """What training left: every file, the log without its seconds, the curves without the run's name above them."""
    files: dict[str, Any] = {path.name: path.read_bytes() for path in run.iterdir()}
    files["log.jsonl"] = [{**line, "seconds": 0} for line in read_log(run)]
    assert files.pop("curves.png")[:4] == b"\x89PNG"
    return files


def _check(data: Path, out: Path, *hows: str) -> dict[str, int]:
    kills = _train(data, out, *hows)
    whole = _left(out / "whole")
    assert [line["epoch"] for line in whole["log.jsonl"]] == [1, 2, 3]
    assert set(whole) == {
        "config.yaml",
        "environment.json",
        "log.jsonl",
        "operating_point.json",
        "weights.safetensors",
    }
    for how in kills:
        assert _left(out / how) == whole, how
    return kills


@pytest.mark.slow
def test_in_the_middle_of_a_checkpoint(dataset: Path, tmp_path: Path) -> None:
    assert _check(dataset, tmp_path, "half-checkpoint.pt-2") == {"half-checkpoint.pt-2": 1}


@pytest.mark.slow
def test_in_the_middle_of_every_other_file(dataset: Path, tmp_path: Path) -> None:
    files = ("environment.json", "config.yaml", "checkpoint.pt", "weights.safetensors", "operating_point.json")
    assert set(_check(dataset, tmp_path, *(f"half-{name}-1" for name in files)).values()) == {1}


@pytest.mark.slow
def test_before_every_write_rename_and_removal(dataset: Path, tmp_path: Path) -> None:
    kills = list(_check(dataset, tmp_path, "events").values())
    assert len(kills) > 20
    assert kills == [1] * (len(kills) - 1) + [0]


@pytest.mark.slow
def test_at_random_moments_over_and_over(dataset: Path, tmp_path: Path) -> None:
    kills = _check(dataset, tmp_path, "after-0.6", "after-0.8", "after-1.0", "after-1.3")
    assert sum(kills.values()) > 0
