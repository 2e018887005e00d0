"""Validation shared among processes: the score is that of all images, as if one process had seen them.

ultralytics trains on several GPUs only, never on several CPU processes (its DDP set-up asks for CUDA devices), so the
part of it that is ours runs here over gloo, and the training itself does not.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Not `importorskip`, which would import ultralytics before hilum has told it to keep to itself.
if importlib.util.find_spec("ultralytics") is None:
    pytest.skip("the extra `yolo` is not installed", allow_module_level=True)


def validated_by(ranks: range, folder: Path) -> dict[str, float]:
    """What the first of these processes makes of all images."""
    script = Path(__file__).with_name("gathering.py")
    settings = {"WORLD_SIZE": str(len(ranks)), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, script, folder], env={**os.environ, **settings, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        )
        for rank in ranks
    ]
    assert [process.wait(timeout=300) for process in processes] == [0] * len(ranks)
    (answer,) = folder.glob("*.json")
    found: dict[str, float] = json.loads(answer.read_text())
    return found


def test_the_first_process_scores_what_all_have_seen(tmp_path: Path) -> None:
    for name in ("alone", "together"):
        (tmp_path / name).mkdir()
    alone = validated_by(range(-1, 0), tmp_path / "alone")
    assert alone["images"] == 5
    assert 0 < alone["score"] < 1
    assert validated_by(range(2), tmp_path / "together") == pytest.approx(alone)
