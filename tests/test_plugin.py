"""A third party's detector: installed as a package of its own, found through its entry point, used like ours."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import pytest

from hilum.errors import HilumError
from hilum.plugins import backend_class, found_backends
from hilum.testing import BackendContract

PACKAGE = Path(__file__).parent / "plugin_package"


def install(package: Path, target: Path) -> Path:
    """Have pip install a package into a folder, without a connection."""
    if find_spec("setuptools") is None or find_spec("pip") is None:
        pytest.skip("pip and setuptools are needed to install a package")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(package)], check=True, capture_output=True, text=True)
    return target


@contextmanager
def importable(folder: Path, module: str) -> Iterator[None]:
    """The packages in a folder, seen by this process too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield
    sys.modules.pop(module, None)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the package is installed."""
    source = tmp_path_factory.mktemp("source") / "package"
    shutil.copytree(PACKAGE, source)  # building writes beside the sources
    return install(source, tmp_path_factory.mktemp("site"))


class TestThirdParty(BackendContract):
    values: ClassVar = {"backend": "grid", "image_size": 64, "train": {"epochs": 2, "batch_size": 8}}

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def importable(cls, installed: Path) -> Iterator[None]:
        with importable(installed, "grid_detector"):
            yield

    def test_it_is_listed_beside_ours(self):
        (listed,) = [backend for backend in found_backends() if backend.name == "grid"]
        assert (listed.distribution, listed.problem) == ("grid-detector", None)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("class Detector(", "was never closed"),
        ("import a_library_that_is_not_there", "No module named 'a_library_that_is_not_there'"),
        ("raise RuntimeError('no GPU here\\nand more')", "no GPU here"),
        ("other = 1", "has no attribute 'Detector'"),
    ],
)
def test_a_broken_one_is_named_and_stops_no_other(tmp_path, code, problem):
    (tmp_path / "broken_plugin.py").write_text(code)
    record = tmp_path / "broken_plugin-1.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1\n")
    (record / "entry_points.txt").write_text("[hilum.backends]\nbroken = broken_plugin:Detector\n")
    with importable(tmp_path, "broken_plugin"):
        states = {backend.name: backend.problem for backend in found_backends()}
        assert problem in states["broken"]
        assert states["resnet"] is states["torchvision"] is None
        assert backend_class("resnet").__name__ == "ResNetSegmenter"
        with pytest.raises(HilumError, match="backend 'broken' cannot be used") as error:
            backend_class("broken")
    assert problem in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.skipif(
    not find_spec("transformers"), reason="transformers, which the docs' example needs, is not installed"
)
class TestTheDocsExample(BackendContract):
    values: ClassVar = {"backend": "detr", "image_size": 64, "train": {"epochs": 1}}

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def importable(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        source = tmp_path_factory.mktemp("detr")
        text = (PACKAGE.parents[1] / "docs" / "how-to" / "plug-in.md").read_text(encoding="utf-8")
        for name in ("pyproject.toml", "hilum_detr.py"):
            (block,) = re.findall(rf"```\w+\n# {re.escape(name)}\n(.*?)```", text, re.DOTALL)
            (source / name).write_text(block)
        with importable(install(source, tmp_path_factory.mktemp("site")), "hilum_detr"):
            yield


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
    config.write_text("backend: grid\ntrain: {epochs: 2, batch_size: 8}\n")
    assert "did you mean 'train.epochs'" in hilum("train", config, dataset, run, "train.epoch=3", code=1)
    assert "competition score" in hilum("train", config, dataset, run)
    hilum("predict", run, dataset, tmp_path / "found", "--pictures", 0)
    assert (tmp_path / "found" / "predictions.json").is_file()
    assert "competition score" in hilum("evaluate", run, dataset)
