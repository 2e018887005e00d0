"""Nothing but the folders that a command is given can be written: HOME, temporary files and /dev/shm are read-only.

So it is in a container with `--read-only` and one volume.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

READ_ONLY = """
mount --bind "$PLACE" "$PLACE" && mount -o remount,ro,bind / && cd "$PLACE" || exit 99
# What is bound is read-only here alone: without it the system's own /dev/shm would be, for everybody.
if test -d /dev/shm; then mount --bind /dev/shm /dev/shm && mount -o remount,ro,bind /dev/shm || exit 99; fi
for folder in "$HOME" /tmp /dev/shm; do ! touch "$folder/hilum-test" 2>/dev/null || exit 99; done
exec "$@"
"""
UNSHARE = shutil.which("unshare")
TINY = ("image_size=64", "train.epochs=1")


@pytest.fixture
def hilum(tmp_path: Path):
    """Runs a command line where only `tmp_path` can be written."""
    command = [str(UNSHARE), "--mount", "sh", "-c", READ_ONLY, "sh"]
    environment = {**os.environ, "PLACE": str(tmp_path), "OMP_NUM_THREADS": "1"}

    def run(*words: object) -> str:
        line = [*command, sys.executable, "-m", "hilum", *map(str, words)]
        done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    if (
        UNSHARE is None
        or subprocess.run([*command, "true"], check=False, env=environment, capture_output=True).returncode
    ):
        pytest.skip("this system lets these tests mount nothing anew")
    return run


def test_the_main_job(hilum, tmp_path):
    assert "works in one process" in hilum("sample", "kaggle", "--images", 40, "--opacity-share", 0.5)
    hilum("convert", "kaggle", "data", "--workers", 2)
    hilum("train", "sample/unet", "data", "run", *TINY)
    hilum("predict", "run", "kaggle/stage_2_test_images", "found", "--dicom", "sr")
    hilum("explore", "data")
    left = {"kaggle", "data", "run", "found"}
    assert {path.name for path in tmp_path.iterdir()} == left


@pytest.mark.slow
def test_yolo_and_the_benchmark(hilum, tmp_path):
    hilum("sample", "kaggle", "--images", 60, "--opacity-share", 0.5)
    hilum("convert", "kaggle", "data")
    hilum("train", "sample/yolo", "data", "one", *TINY)
    hilum("train", "sample/unet", "data", "other", *TINY)
    assert "two average boxes" in hilum("benchmark", "data", "one", "other", "--out", "side-by-side")
    assert {path.name for path in tmp_path.iterdir()} == {"kaggle", "data", "one", "other", "side-by-side"}
