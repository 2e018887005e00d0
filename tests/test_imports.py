"""Data flows one way and imports point back along it, as CONTRIBUTING.md says."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import hilum

SOURCE = Path(hilum.__file__).parent
STAGES = [
    {"converters"},
    {"datasets"},
    {"training"},
    {"segmenters", "detectors", "classifiers"},
    {"compose"},
    {"eval"},
    {"pages"},
    {"commands"},
]
RANK = {folder: rank for rank, folders in enumerate(STAGES) for folder in folders}
METRICS = {"eval.bootstrap", "eval.competition", "eval.image_level"}
# A split made anew is made of a dataset folder.
EXCEPTIONS = {("converters.resplit", "datasets.folder"), ("converters.resplit", "datasets.leaks")}
MODULES = {f"{path.parent.name}.{path.stem}": path for folder in RANK for path in (SOURCE / folder).glob("*.py")}


def imported(path: Path) -> Iterator[str]:
    """The modules of hilum's folders that a module imports, anywhere in it: `eval.coco`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path}: a relative import"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        yield from (name.removeprefix("hilum.") for name in names if name.removeprefix("hilum.") in MODULES)


def test_every_folder_has_its_stage() -> None:
    assert {path.name for path in SOURCE.iterdir() if path.is_dir()} - {"__pycache__", "configs"} == set(RANK)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_point_back(name: str) -> None:
    folder = name.split(".", maxsplit=1)[0]
    for other in imported(MODULES[name]):
        its = other.split(".")[0]
        earlier = its == folder or RANK[its] < RANK[folder]
        assert earlier or other in METRICS or (name, other) in EXCEPTIONS, f"{name} imports {other}"


def test_the_metrics_that_everyone_may_import_are_leaves() -> None:
    assert {other for name in METRICS for other in imported(MODULES[name])} <= METRICS
    assert MODULES.keys() >= METRICS


def test_no_exception_is_idle() -> None:
    assert {(name, other) for name, other in EXCEPTIONS if other in imported(MODULES[name])} == EXCEPTIONS
