import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import hilum

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "hilum"


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def links():
    return sorted(path for path in SOURCE.iterdir() if path.is_symlink())


def test_every_package_of_the_tree_is_listed_and_no_other(project):
    setuptools = project["tool"]["setuptools"]
    assert setuptools["packages"] == ["hilum", *(f"hilum.{path.name}" for path in links())]
    assert setuptools["package-dir"] == {"hilum": "src/hilum"} | {f"hilum.{path.name}": path.name for path in links()}


def test_each_folder_in_the_package_is_a_link_to_its_name_at_the_root():
    assert links()
    for path in SOURCE.iterdir():
        if path.is_dir() and path.name != "__pycache__":
            assert path.is_symlink(), path
            assert path.readlink() == Path("..") / ".." / path.name


def test_every_folder_of_modules_at_the_root_is_linked():
    folders = {path.parent.name for path in ROOT.glob("[a-z]*/*.py")} - {"tests", "speed", "src"}
    assert folders <= {path.name for path in links()}


def test_no_folder_at_the_root_can_be_imported_by_its_own_name():
    for path in links():
        assert not list(path.resolve().rglob("__init__.py")), path.name
        assert not list(path.resolve().glob("*/*.py")), f"{path.name}: folders below it are not in the list of packages"


def test_every_file_that_is_no_module_is_package_data(project):
    data = project["tool"]["setuptools"]["package-data"]
    matched = {
        path
        for package, patterns in data.items()
        for pattern in patterns
        for path in (ROOT / "src" / Path(*package.split("."))).resolve().glob(pattern)
    }
    there = {path for link in links() for path in link.resolve().rglob("*") if path.is_file()}
    there = {path for path in there if path.suffix != ".py" and "__pycache__" not in path.parts}
    assert matched == there | {SOURCE / "py.typed"}
    assert {path.suffix for path in there} == {".yaml", ".css", ".js", ".md"}


def in_wheel(wheel: Path) -> set[str]:
    names = zipfile.ZipFile(wheel).namelist()
    return {name.removeprefix("hilum/") for name in names if name.startswith("hilum/")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from what git holds, without the links: a checkout on Windows may have text files in their place."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, names.split("\0")):
        path = ROOT / name
        if path.is_file() and not path.is_symlink() and not name.startswith(("tests/", "docs/")):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, tree / name)
    for link in links():
        (tree / "src" / "hilum" / link.name).write_text(f"../../{link.name}")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, tree]
    subprocess.run(build, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_a_wheel_that_is_built_without_links_holds_every_module_and_table(wheel: Path) -> None:
    rooms = [SOURCE, *links()]
    there = {path for room in rooms for path in room.resolve().rglob("*") if path.is_file() and not path.is_symlink()}
    names = {path.relative_to(SOURCE if path.is_relative_to(SOURCE) else ROOT).as_posix() for path in there}
    assert in_wheel(wheel) == {name for name in names if "__pycache__" not in name}


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_the_main_job_runs_from_the_wheel_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own, whose libraries are this one's, for installing them again takes minutes."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    where = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip())
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel], check=True)

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*words: str) -> str:
        command = [python, "-P", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def hilum(*words: str) -> str:
        return run("-m", "hilum", *words)

    assert str(site) in run("-c", "import hilum; print(hilum.__file__)")
    hilum("sample", "kaggle", "--images", "60", "--seed", "0")
    hilum("convert", "kaggle", "data", "--patients", "kaggle/patient_map.csv")
    hilum("train", "sample/unet", "data", "run", "train.epochs=1")
    hilum("predict", "run", "kaggle/stage_2_test_images", "found")
    assert "competition score" in hilum("evaluate", "run", "data")
    hilum("benchmark", "data", "run", "--out", "benchmark")
    assert (tmp_path / "benchmark" / "report.html").stat().st_size > 10_000


def test_entry_points_name_what_is_there(project):
    declared = project["project"]["entry-points"]["hilum.backends"]
    for target in [*declared.values(), *project["project"]["scripts"].values()]:
        module, _, name = target.partition(":")
        source = (ROOT / "src" / Path(*module.split("."))).with_suffix(".py").read_text()
        assert f"class {name}" in source or f"def {name}(" in source, target
    assert set(declared) <= {point.name for point in entry_points(group="hilum.backends")}


def test_the_version_is_the_packages(project):
    assert hilum.__version__ == project["project"]["version"]
