import tomllib
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
    assert project["tool"]["setuptools"]["packages"] == ["hilum", *(f"hilum.{path.name}" for path in links())]


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
    assert {path.suffix for path in there} == {".yaml", ".css", ".js"}


def test_entry_points_name_what_is_there(project):
    declared = project["project"]["entry-points"]["hilum.backends"]
    for target in [*declared.values(), *project["project"]["scripts"].values()]:
        module, _, name = target.partition(":")
        source = (ROOT / "src" / Path(*module.split("."))).with_suffix(".py").read_text()
        assert f"class {name}" in source or f"def {name}(" in source, target
    assert set(declared) <= {point.name for point in entry_points(group="hilum.backends")}


def test_the_version_is_the_packages(project):
    assert hilum.__version__ == project["project"]["version"]
