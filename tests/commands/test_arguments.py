"""Words in a wrong order are told as that, and the right order is shown."""

from pathlib import Path

import pytest

from hilum.cli import app
from hilum.config import find_config
from hilum.datasets.folder import Dataset
from hilum.errors import HilumError
from hilum.kinds import TELLING, kind_of
from hilum.run import check_run

FILES = {
    "data": ["conversion.json", "metadata.csv"],
    "run": ["config.yaml", "weights.safetensors", "environment.json", "operating_point.json"],
    "found": ["images.csv", "predictions.json", "predictions.csv"],
    "compared": ["results.json", "table.csv"],
    "kaggle": ["stage_2_train_labels.csv"],
    "tree": ["1.dcm"],
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of each kind, which holds no more than the names that tell it."""
    for folder, names in FILES.items():
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    (tmp_path / "mine.yaml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(command: str) -> tuple[str, ...]:
    with pytest.raises(HilumError) as caught:
        app(command.split(), exit_on_error=False, print_error=False)
    return caught.value.lines


@pytest.mark.parametrize(
    ("given", "first", "meant"),
    [
        ("train data unet new", "CONFIG: data is a dataset folder, where a config is", "train unet data new"),
        ("train run data mine.yaml", "CONFIG: run is a run folder, where a config is", "train mine.yaml data run"),
        ("train unet new data", "RUN: data is a dataset folder", "train unet data new"),
        ("train data new unet", "CONFIG: data is a dataset folder", "train unet data new"),
        ("train new data unet", "CONFIG: new is not a config", "train unet data new"),
        ("predict data run new", "RUN: data is a dataset folder, where a run folder is", "predict run data new"),
        ("predict run new tree/1.dcm", "IMAGES: new is not a dataset folder or pictures", "predict run tree/1.dcm new"),
        ("evaluate data run", "PREDICTIONS: data is a dataset folder", "evaluate run data"),
        ("evaluate data found", "PREDICTIONS: data is a dataset folder", "evaluate found data"),
        ("tune data run", "RUN: data is a dataset folder", "tune run data"),
        ("submit data run new.csv", "RUN: data is a dataset folder", "submit run data new.csv"),
        ("benchmark unet resnet data", "DATA: unet is a config", "benchmark data resnet unet"),
        ("ablate data run data run", "RUN: data is a dataset folder", "ablate run data run data"),
        ("split five data", "NAME: data is a dataset folder", "split data five"),
        ("convert new kaggle", "DATA: kaggle is a download of the challenge", "convert kaggle new"),
        ("convert new tree", "SRC: new is not a download of the challenge or pictures", "convert tree new"),
    ],
)
def test_the_right_order_is_shown(here: Path, given: str, first: str, meant: str) -> None:
    before = sorted(here.rglob("*"))
    (line,) = said(given)
    assert line.startswith(first)
    assert line.endswith(f"; did you mean: hilum {meant}")
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        ("explore run", ["DATA: run is a run folder, where a dataset folder is expected"]),
        ("export data --format onnx", ["RUN: data is a dataset folder, where a run folder is expected"]),
        ("train kaggle kaggle new", ["CONFIG: kaggle is a download", "DATA: kaggle is a download"]),
        ("predict run run new", ["IMAGES: run is a run folder"]),
        ("predict run compared new", ["IMAGES: compared is the folder of a benchmark"]),
        ("predict found data new", ["RUN: found is a predictions folder"]),
        ("evaluate unet data", ["PREDICTIONS: unet is a config"]),
        ("convert run new", ["SRC: run is a run folder"]),
    ],
)
def test_where_no_order_is_right_each_wrong_word_is_told(here: Path, given: str, lines: list[str]) -> None:
    found = said(given)
    assert len(found) == len(lines)
    assert all(
        line.startswith(expected) and "did you mean" not in line for line, expected in zip(found, lines, strict=True)
    )


def test_the_readers_say_it_too(here: Path) -> None:
    for read, wrong, expected in (
        (lambda path: check_run(Path(path)), "data", "a run folder"),
        (lambda path: Dataset.open(Path(path)), "run", "a dataset folder"),
        (find_config, "found", "a config"),
    ):
        with pytest.raises(HilumError) as caught:
            read(wrong)
        assert str(caught.value) == f"{wrong}: is {TELLING[kind_of(Path(wrong))]}, where {expected} is expected"


def test_kinds_are_told_by_more_than_a_config(here: Path) -> None:
    assert [kind_of(here / name) for name in FILES] == [
        "dataset",
        "run",
        "predictions",
        "benchmark",
        "challenge",
        "folder",
    ]
    (here / "tree" / "config.yaml").touch()  # of some other program
    assert kind_of(here / "tree") == "folder"
    assert kind_of(here / ("x" * 300)) == kind_of(Path("a\0b")) == "nothing"
