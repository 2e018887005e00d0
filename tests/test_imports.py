"""Imports run one way, with no exception: a module imports its own room, and rooms that come before it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import hilum

SOURCE = Path(hilum.__file__).parent
# From the bottom up, as CONTRIBUTING.md draws it. Rooms of one line do not import each other.
ORDER = (
    "printable private_libraries system",
    "errors talk",
    "class_names detections files yaml_loader progress walk source_digest",
    "documents sealed_lines kinds pseudonyms cluster",
    "plugins config_problems weights_file",
    "config",
    "dicom",
    "findings",
    "datasets",
    "result run",
    "hub",
    "eval sessions",
    "calibration",
    "trial",
    "runtimes",
    "training",
    "backend",
    "predict network_backend",
    "sample converters",
    "segmenters detectors classifiers",
    "quantize",
    "train_run tune_run export",
    "ensemble",
    "comparison",
    "pages pacs",
    "commands",
    "cli",
    "__main__ pretended_gpu",
    "testing",
)
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms.split()}
FOLDERS = sorted(path.name for path in SOURCE.iterdir() if path.is_dir() and any(path.glob("*.py")))
MODULES = {path.stem: path for path in SOURCE.glob("*.py") if path.stem != "__init__"} | {
    f"{folder}.{path.stem}": path for folder in FOLDERS for path in (SOURCE / folder).glob("*.py")
}


def imported(path: Path) -> Iterator[str]:
    """The modules of hilum that a module imports, anywhere in it: `eval.coco`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path}: a relative import"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        yield from (name.removeprefix("hilum.") for name in names if name.removeprefix("hilum.") in MODULES)


def test_every_room_has_its_place() -> None:
    assert {name.split(".")[0] for name in MODULES} == set(RANK)
    assert len(RANK) == sum(len(rooms.split()) for rooms in ORDER)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_run_one_way(name: str) -> None:
    room = name.split(".", maxsplit=1)[0]
    for other in imported(MODULES[name]):
        its = other.split(".")[0]
        assert its == room or RANK[its] < RANK[room], f"{name} imports {other}"


def test_within_a_room_no_module_imports_itself_by_others() -> None:
    graph = {name: set(imported(path)) for name, path in MODULES.items()}
    done: set[str] = set()
    while rest := {name for name, others in graph.items() if name not in done and others <= done}:
        done |= rest
    assert done == set(graph), f"a circle among {sorted(set(graph) - done)}"
