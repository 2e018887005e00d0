"""What libraries leave alone from the moment that hilum is imported, and what users have set themselves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import hilum

ASK = """
import hilum, os, sys
import matplotlib
if "torch" in sys.argv:
    import torchvision.ops
print(matplotlib.get_configdir(), matplotlib.get_cachedir(), os.environ.get("TORCHINDUCTOR_CACHE_DIR"), sep="\\n")
print(*sorted(key for key in os.environ if key.startswith(("MATPLOTLIB", "MPL", "ORT"))), sep="\\n")
"""


def asked(home: Path, *words: str, **environment: str) -> list[str]:
    theirs = ("XDG_", "MPL", "MATPLOTLIB", "ORT_", "TORCH")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(theirs)}
    paths = {"HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": str(Path(hilum.__file__).parents[1])}
    command = [sys.executable, "-c", ASK, *words]
    done = subprocess.run(command, env={**kept, **paths, **environment}, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_no_folder_is_made(tmp_path: Path) -> None:
    nowhere = "/dev/null/hilum"
    assert asked(tmp_path, "torch") == [nowhere, nowhere, "None", "ORT_DISABLE_TELEMETRY"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("own", [".config", ".cache"])
def test_a_user_who_has_matplotlibs_folder_keeps_it(tmp_path: Path, own: str) -> None:
    (tmp_path / own / "matplotlib").mkdir(parents=True)
    assert asked(tmp_path)[:2] == [str(tmp_path / ".config" / "matplotlib"), str(tmp_path / ".cache" / "matplotlib")]


def test_a_folder_that_a_user_names_is_used(tmp_path: Path) -> None:
    assert asked(tmp_path, MPLCONFIGDIR=str(tmp_path / "mine"))[:2] == [str(tmp_path / "mine")] * 2
