"""The public names: functions that the commands call too, found when they are asked for, each with an example."""

import ast
import inspect
import json
import logging
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from commandline import hilum as command

import hilum
from hilum.cli import SHOWN, app
from hilum.comparison.results import Results
from hilum.documents import read_json
from hilum.run import json_text

DOCS = Path(__file__).parents[1] / "docs" / "python.md"
NEW = ("train.epochs=1", "image_size=64", "model.start_channels=2", "model.depth=2")
FUNCTIONS = [name for name in hilum.__all__ if name.islower() and not name.startswith("_") and name != "load"]


def test_no_name_is_that_of_a_module():
    """Importing `hilum.train` would put the module in the place of the function."""
    modules = {path.stem for path in Path(hilum.__file__).parent.iterdir()}
    assert not modules & {*hilum.__all__}


def test_names_are_known_without_torch_and_stay_what_they_are():
    code = """
import sys
import hilum
assert {*hilum.__all__} <= {*dir(hilum)}
heavy = {"torch", "numpy", "cv2", "pydicom", "cyclopts", "pydantic"} & {*sys.modules}
assert not heavy, heavy
import hilum.cli, hilum.commands.train, hilum.train_run, hilum.tune_run, hilum.eval, hilum.comparison.evaluate
from hilum import *
assert callable(train) and hilum.train is train and hilum.tune is tune and evaluate is hilum.evaluate and load
try:
    hilum.tain
except AttributeError as error:
    assert "'tain'" in str(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted({*hilum.__all__} - {"Detections", "__version__"}))  # that one is supervision's
def test_each_name_is_explained_with_an_example_that_is_run(name):
    value = getattr(hilum, name)
    assert ">>> " in (value.__doc__ or "") + (
        getattr(value, "predict", None).__doc__ or "" if name == "Predictor" else ""
    )
    # `pytest --doctest-modules` looks into the module where it stands.
    assert getattr(import_module(value.__module__), name) is value


def test_the_type_hints_say_where_each_name_is():
    tree = ast.parse(Path(hilum.__file__).read_text())
    (block,) = [each for each in tree.body if isinstance(each, ast.If)]
    named = {alias.name: each.module for each in block.body for alias in each.names}
    assert named.keys() == {*hilum.__all__} - {"__version__"}
    for name, module in named.items():
        assert getattr(import_module(module), name) is getattr(hilum, name)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_command_takes_what_its_function_takes(name):
    ours, theirs = (inspect.signature(each).parameters for each in (getattr(hilum, name), app[name].default_command))
    assert [*ours.values()] == [*theirs.values()]
    assert getattr(hilum, name) in SHOWN


def test_every_function_is_public_that_gives_what_is_printed():
    assert {each.__name__ for each in SHOWN} == {*FUNCTIONS}


def bytes_of(folder: Path, *but: str) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in but)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_python_writes_what_the_command_line_writes(example_folder):
    data = hilum.convert("KAGGLE", "A", patients="KAGGLE/patient_map.csv", size=512, workers=1)
    command("convert", "KAGGLE", "B", "--patients", "KAGGLE/patient_map.csv", "--size", 512, "--workers", 1)
    assert bytes_of(Path("A")) == bytes_of(Path("B"))
    assert data.path == Path("A")
    assert data.conversion == json.loads(Path("A/conversion.json").read_text())

    folds = hilum.split("A", "three", folds=3, seed=2)
    told = command("split", "B", "three", "--folds", 3, "--seed", 2)
    assert bytes_of(Path("A/splits")) == bytes_of(Path("B/splits"))
    assert [fold.data.path.name for fold in folds] == ["three-0", "three-1", "three-2"]
    assert [f"hilum: B/splits/three-{at}: {line}" for at, fold in enumerate(folds) for line in fold.warnings] == [
        *told.stderr.splitlines()
    ]
    assert hilum.split("A", "three-1", check=True) == [folds[1]]

    run = hilum.train("sample/unet", "A", "RUN_A", *NEW)
    told = command("train", "sample/unet", "B", "RUN_B", *NEW)
    timed = "environment.json", "log.jsonl", "log.csv", "curves.png"
    assert bytes_of(Path("RUN_A"), *timed) == bytes_of(Path("RUN_B"), *timed)
    assert f"{run.figure} {run.val_score:.3f} on val" in told.stdout

    tuning = hilum.tune("RUN_A", "A")
    told = command("tune", "RUN_B", "B")
    assert bytes_of(Path("RUN_A"), *timed) == bytes_of(Path("RUN_B"), *timed)
    assert f"{len(tuning.points):,} combinations on {tuning.val_images}" in told.stdout

    found = hilum.evaluate("RUN_A", "A", split="all", metric=("froc",), json="a.json")
    shutil.rmtree("RUN_B")
    shutil.copytree("RUN_A", "B_/RUN_A")  # the name of the run is told
    told = command("evaluate", "B_/RUN_A", "B", "--split", "all", "--metric", "froc", "--json", "b.json")
    assert Path("a.json").read_text() == Path("b.json").read_text()
    assert json_text(found.dump()) == Path("a.json").read_text()
    assert found.split == "all"
    assert told.stdout.count("RUN_A")

    one = hilum.benchmark("A", "RUN_A", out="BENCH")
    two = hilum.benchmark("A", out="BENCH", against="BENCH")
    assert one.results.dump() == two.results.dump() == read_json(Path("BENCH/results.json"), Results).dump()
    assert [change.name for change in two.changes] == ["RUN_A"]
    assert not one.changes
    told = command("benchmark", "A", "RUN_A", "--out", "BENCH", "--against", "BENCH")
    assert "BENCH/report.html" in told.stdout
    assert "BENCH against BENCH" in told.stdout


def test_marks_of_a_reader_are_an_evaluation_too(example_folder):
    command("predict", "RUN", "STUDIES", "FOUND")
    about = json.loads(Path("FOUND/about.json").read_text())
    rows = [f"{about['of_images'][:16]},{number},{opacity}" for number, opacity in ((1, 1), (2, 0))]
    Path("marks.csv").write_text("\n".join(["images,number,opacity", *rows, ""]))
    found = hilum.evaluate("FOUND", "marks.csv", json="figures.json")
    assert (found.images, found.positive_images) == (2, 1)
    assert json_text(found.dump()) == Path("figures.json").read_text()
    told = command("evaluate", "FOUND", "marks.csv")
    assert "FOUND as marks.csv has it" in told.stdout
    with pytest.raises(hilum.HilumError, match="--confidence: marks are of what was predicted"):
        hilum.evaluate("FOUND", "marks.csv", confidence=0.5)


def test_nothing_is_printed_where_the_log_is_off(example_folder, capfd):
    log = logging.getLogger("hilum")
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        hilum.train("sample/unet", "DATA", "NEW", *NEW)
        hilum.tune("NEW", "DATA")
        hilum.evaluate("NEW", "DATA")
        assert list(hilum.load("NEW").predict("a.dcm"))
        log.setLevel(logging.ERROR)
        hilum.convert("KAGGLE", "MORE", workers=1)
        hilum.benchmark("DATA", "NEW", out="BENCH")
        hilum.split("DATA", "other", by="image")
    finally:
        log.setLevel(before)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: hilum.convert("KAGGLE", "X", bits=12), "bits: input should be 8 or 16, got 12"),
        (lambda: hilum.convert("KAGGLE", "X", size=0), "size: input should be greater than or equal to 1, got 0"),
        (lambda: hilum.convert("KAGGLE", "X", seed="3"), "seed: input should be a valid integer, got '3'"),
        (lambda: hilum.convert(3, "X"), "src: expected a path, as text or as pathlib.Path, not 3"),
        (lambda: hilum.convert("DATA", "X"), "SRC: DATA is a dataset folder"),
        (lambda: hilum.convert("KAGGLE", "X", workers=1, dask="tcp://a:1"), "--workers counts processes"),
        (lambda: hilum.split("DATA", "x", folds=2), "folds: input should be greater than or equal to 3, got 2"),
        (lambda: hilum.split("DATA", "x", shares=[0.5, 0.2, 0.3]), "shares: input should be a valid tuple"),
        (lambda: hilum.split("DATA", "x", shares=(0.5, 0.2, 0.2)), "add up to 1"),
        (lambda: hilum.train("nothing", "DATA", "X"), "config 'nothing': neither a YAML file"),
        (lambda: hilum.train("unet", "DATA", "X", "epochs=3"), "did you mean 'train.epochs'?"),
        (lambda: hilum.train("unet", "DATA", "X", 3), "overrides: input should be a valid string"),
        (lambda: hilum.tune("DATA", "RUN"), "did you mean: hilum tune RUN DATA"),
        (lambda: hilum.tune("RUN", "DATA", at="much"), "--at much: expected"),
        (
            lambda: hilum.evaluate("RUN", "DATA", confidence=1.5),
            "confidence: input should be less than or equal to 1, got 1.5",
        ),
        (lambda: hilum.evaluate("RUN", "DATA", split="test"), "split: input should be 'train', 'val', 'holdout'"),
        (lambda: hilum.evaluate("RUN", "DATA", metric="siim"), "metric: input should be a valid tuple"),
        (lambda: hilum.benchmark("DATA"), "no config given"),
        (
            lambda: hilum.benchmark("DATA", "RUN", out="X", seeds=0),
            "seeds: input should be greater than or equal to 1, got 0",
        ),
        (lambda: hilum.load("DATA"), "DATA: is a dataset folder"),
    ],
)
def test_what_is_wrong_is_told_as_on_the_command_line(example_folder, call, said):
    with pytest.raises(hilum.HilumError) as error:
        call()
    assert said in str(error.value)
    assert not Path("X").exists()


def test_a_script_need_not_guard_its_main(example_folder):
    Path("script.py").write_text(
        "import hilum\nprint('once')\nprint(hilum.convert('KAGGLE', 'MINE', workers=2).conversion['images'])\n"
    )
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "once\n24\n"), done.stderr


def test_the_page_of_the_docs_runs(example_folder, capsys):
    for name in ("DATA", "RUN"):
        shutil.rmtree(name)
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    exec(compile(code, str(DOCS), "exec"), {})  # noqa: S102 - our own page
    said = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"RUN: \d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\] on holdout", said[0])
    assert len(said) >= 2 + 1
    assert all(f"`hilum.{name}(" in DOCS.read_text() for name in [*FUNCTIONS, "load"])


@pytest.mark.slow
def test_mypy_sees_the_types():
    words = ["--strict", "--no-error-summary", str(Path(__file__).with_name("typed_api.py"))]
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-m", "mypy", *words], capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stdout
