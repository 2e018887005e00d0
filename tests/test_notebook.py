"""The walk-through can be read without being run, and runs."""

import json
import os
import shlex
import sys
from copy import deepcopy
from pathlib import Path

import pytest

from hilum.cli import app
from hilum.config import load_config

nbformat = pytest.importorskip("nbformat", reason='nbformat is missing: pip install "hilum[dev]"')
NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "walkthrough.ipynb"
WRITE = "%%writefile "


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def code(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def commands(notebook):
    """Every call of hilum in the shell cells, in order, as lists of arguments."""
    shell = [source for source in code(notebook) if source.startswith("%%bash")]
    lines = [line for source in shell for line in source.replace("\\\n", " ").splitlines()]
    return [shlex.split(line.partition(">")[0])[1:] for line in lines if line.startswith("hilum ")]


def told(notebook, part, stream):
    """What the one code cell that holds this part wrote there."""
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and part in cell.source]
    return "".join(output.text for output in cell.outputs if output.get("name") == stream)


def test_it_is_valid_and_no_output_is_stored(notebook):
    nbformat.validate(notebook)
    assert notebook.cells[0].cell_type == "markdown"
    for cell in notebook.cells:
        assert cell.source.strip()
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
    assert "\n" in NOTEBOOK.read_text()[:20], "one line a value, so that changes can be read"


def test_every_command_of_it_is_there_with_its_options(notebook):
    called = commands(notebook)
    assert [arguments[0] for arguments in called] == [
        *("sample", "convert", "explore", "split"),
        *("train", "train", "predict", "evaluate", "benchmark"),
    ]
    for arguments in called:
        app.parse_args(arguments, exit_on_error=False, print_error=False)


def test_a_wrong_option_would_be_noticed(notebook):
    for arguments in commands(notebook):
        with pytest.raises(Exception, match="--no-such-option"):
            app.parse_args([*arguments, "--no-such-option", "1"], exit_on_error=False, print_error=False)


def test_its_configs_are_valid(notebook, tmp_path):
    written = [source for source in code(notebook) if source.startswith(WRITE)]
    assert len(written) == 2
    for source in written:
        name, _, text = source.removeprefix(WRITE).partition("\n")
        (tmp_path / name).write_text(text)
        assert load_config(str(tmp_path / name)).train.epochs < 10


@pytest.mark.slow
def test_it_runs_from_the_sample_to_the_report(notebook, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason='nbclient is missing: pip install "hilum[dev]"')
    pytest.importorskip("ipykernel", reason='ipykernel is missing: pip install "hilum[dev]"')
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    work = tmp_path / "work"
    work.mkdir()
    done = nbclient.NotebookClient(
        deepcopy(notebook), timeout=900, kernel_name="python3", resources={"metadata": {"path": str(work)}}
    ).execute()
    assert not [output for cell in done.cells for output in cell.get("outputs", []) if output.output_type == "error"]
    assert len(told(done, "hilum.load", "stdout").splitlines()) == 6
    results = json.loads((work / "benchmark" / "results.json").read_text())
    scores = {entry["name"]: entry["score"]["estimate"] for entry in results["entries"]}
    assert min(scores["tiny-resnet"], scores["tiny-unet"]) > scores["two average boxes"]
    report = (work / "benchmark" / "report.html").read_text()
    assert "tiny-resnet" in report
    assert "tiny-unet" in report
    compared = told(done, "hilum benchmark data", "stderr")
    assert "predicts" in compared
    assert " trains " not in compared  # the runs are those trained before
