"""A third party's detector: installed as a package of its own, found through its entry point, used like ours."""

import importlib
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import pytest
from contract import BackendContract

from hilum.backend import found_backends

PACKAGE = Path(__file__).parent / "plugin_package"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the package."""
    if find_spec("setuptools") is None or find_spec("pip") is None:
        pytest.skip("pip and setuptools are needed to install a package without a connection")
    source, target = tmp_path_factory.mktemp("source") / "package", tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE, source)  # building writes beside the sources
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(source)], check=True, capture_output=True, text=True)
    return target


@pytest.fixture(scope="class")
def found(installed: Path):
    """The package, seen by this process too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(installed))
        yield
    sys.modules.pop("grid_detector", None)
    importlib.invalidate_caches()


@pytest.mark.usefixtures("found")
class TestThirdParty(BackendContract):
    values: ClassVar = {"backend": "grid", "image_size": 64, "epochs": 2}

    def test_it_is_listed_beside_ours(self):
        (listed,) = [backend for backend in found_backends() if backend.name == "grid"]
        assert (listed.distribution, listed.problem) == ("grid-detector", None)


@pytest.fixture
def hilum(installed: Path):
    def run(*words: object, code: int = 0) -> str:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(installed), "COLUMNS": "120"}
        command = [sys.executable, "-m", "hilum", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert "Traceback" not in done.stderr + done.stdout
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    return run


@pytest.mark.slow
def test_the_command_line_knows_it(hilum, dataset, tmp_path):
    assert "grid" in hilum("backends")
    config, run = tmp_path / "grid.yaml", tmp_path / "run"
    config.write_text("backend: grid\nepochs: 2\n")
    assert "did you mean 'epochs'" in hilum("train", config, dataset, run, "epoch=3", code=1)
    assert "competition score" in hilum("train", config, dataset, run)
    hilum("predict", run, dataset, tmp_path / "found", "--pictures", 0)
    assert (tmp_path / "found" / "predictions.json").is_file()
    assert "competition score" in hilum("evaluate", run, dataset)
