"""Whatever a file of a dataset, run, prediction or benchmark holds, a command says it in one line with the key."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from hilum.__main__ import main
from hilum.cli import app
from hilum.comparison import cost
from hilum.comparison import kept as kept_module
from hilum.comparison.benchmark import benchmark
from hilum.comparison.peak_memory import PeakMemory
from hilum.config import check_config, dump_config
from hilum.datasets.folder import Dataset
from hilum.eval.prediction_journal import JOURNAL
from hilum.eval.predictions_folder import write_predictions
from hilum.predict import load
from hilum.train_run import train
from hilum.training import loop
from hilum.training.checkpoint import CHECKPOINT

CONFIG = {
    "backend": "unet",
    "image_size": 32,
    "model": {"start_channels": 2, "depth": 2},
    "train": {"epochs": 2, "batch_size": 8, "ema": 0.9},
    "boxes": {"threshold": 0.3},
}


class Stop(Exception):  # noqa: N818
    """The kill."""


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "peak_memory", lambda run, files: PeakMemory(1, float("nan")))
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def made(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config, a run, one that was stopped after its first epoch, predictions and a benchmark on the generated set."""
    folder = tmp_path_factory.mktemp("made")
    config, data = check_config(CONFIG, "test"), Dataset.open(dataset)
    (folder / "c.yaml").write_text(dump_config(config))
    predictor, holdout = train(config, data, folder / "run"), data.split("holdout")

    def stop(state: dict[str, Any], run: Path) -> None:
        save(state, run)
        raise Stop

    save = loop.save_checkpoint
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", stop)
        with pytest.raises(Stop):
            train(config, data, folder / "begun")
    about = {"confidence": 0.0, "floor": 0.0, "split": "holdout", "data_fingerprint": data.fingerprint}
    write_predictions(folder / "found", predictor.predict(holdout.paths, confidence=0), holdout.coco_ids, about)
    benchmark(data, {"run": folder / "run"}, folder / "compared", tell=lambda _: None, cost_seconds=0.0)
    return folder


@pytest.fixture
def place(made: Path, dataset: Path, tmp_path: Path) -> Path:
    """Copies of all of them, and of the dataset, to be damaged."""
    shutil.copytree(made, tmp_path / "all")
    shutil.copytree(dataset, tmp_path / "all" / "data")
    return tmp_path / "all"


@pytest.fixture
def complaint(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[[str], list[str]]:
    """Runs a command line in the folder of the copies, which must fail, and returns what it complains of."""

    def complaint(command: str) -> list[str]:
        monkeypatch.chdir(place)
        monkeypatch.setattr(sys, "argv", ["hilum", *command.split()])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfd.readouterr().err
        assert ended.value.code == 1, said
        assert "a bug" not in said
        assert "Traceback" not in said
        lines = [line.removeprefix("hilum: ") for line in said.splitlines() if line.startswith("hilum: ")]
        assert all(len(line) < 600 for line in lines)
        return lines

    return complaint


def put(path: Path, keys: str, value: Any) -> None:
    """Give a key of a JSON file another value: `images.0.id`."""
    values = json.loads(path.read_text())
    *way, last = [int(key) if key.isdigit() else key for key in keys.split(".")]
    inner = values
    for key in way:
        inner = inner[key]
    inner[last] = value
    path.write_text(json.dumps(values))


HUGE = 10**400
AGAIN, AGAINST = "benchmark data run --out compared", "benchmark data --out compared --against compared"
TRAIN, HOLDOUT = "data/annotations/train.json", "data/annotations/holdout.json"
RECORD, TABLE = "data/conversion.json", "data/metadata.csv"


@pytest.mark.parametrize(
    ("file", "key", "value", "command", "said"),
    [
        (RECORD, "complete", "yes", "explore data", "complete: input should be a valid boolean, got 'yes'"),
        (RECORD, "images_without_patient", "\ud800", "evaluate found data", "not read as JSON: unexpected end of hex"),
        (RECORD, "images_without_patient", [], "evaluate found data", "images_without_patient: input should be"),
        (
            RECORD,
            "patients_known",
            1,
            "train c.yaml data new",
            "patients_known: input should be a valid boolean, got 1",
        ),
        (RECORD, "parent_fingerprint", {}, "split data two", "parent_fingerprint: input should be a valid string"),
        (RECORD, "images", "many", "predict run data out", "images: input should be a valid integer, got 'many'"),
        (RECORD, "left_out", {"a": "b"}, "split data --check", "left_out.a: input should be a valid integer, got 'b'"),
        (TRAIN, "images.0.id", "3", "train c.yaml data new", "images.0.id: input should be a valid integer, got '3'"),
        (TRAIN, "images.0.id", HUGE, "explore data", "images.0.id: larger than a whole number of 64 bits"),
        (TRAIN, "images.1", None, "explore data", "images.1: input should be a valid dictionary, got None"),
        (TRAIN, "images.0.width", 0, "split data two", "images.0.width: input should be greater than or equal to 1"),
        (TRAIN, "images.0.height", 10**9, "split data two", "images.0.height: input should be less than or equal to"),
        (TRAIN, "images.0.width", 60_000, "explore data", None),
        (TRAIN, "images.0.file_name", "../../x.png", "explore data", "images.0.file_name: expected the name of a pic"),
        (TRAIN, "images.0.file_name", "/etc/passwd", "explore data", "images.0.file_name: expected the name of a pic"),
        (TRAIN, "images.0.file_name", "a\0b", "explore data", "images.0.file_name: expected the name of a pic"),
        (TRAIN, "images.0.file_name", "no.png", "explore data", "images.0.file_name: metadata.csv has no row of 'no'"),
        (TRAIN, "annotations", {}, "explore data", "annotations: input should be a valid list"),
        (TRAIN, "annotations.0.image_id", 10**6, "explore data", "annotations.0.image_id: no image of this file"),
        (TRAIN, "annotations.0.bbox", [1, 2, 3], "split data --check", "annotations.0.bbox: list should have at least"),
        (TRAIN, "annotations.0.bbox.1", "2", "explore data", "annotations.0.bbox.1: input should be a valid number"),
        (TRAIN, "annotations.0.bbox.1", HUGE, "explore data", "annotations.0.bbox.1: larger than a whole number"),
        (TRAIN, "annotations.0.bbox.0", 1e300, "explore data", "annotations.0.bbox: reaches 1e+300 px beyond its"),
        (TRAIN, "annotations.0.bbox.2", 0, "explore data", "annotations.0.bbox: width 0 and height"),
        (HOLDOUT, "annotations.0.bbox.3", -1, "evaluate found data", "annotations.0.bbox: width"),
        ("found/about.json", "split", ["holdout"], "evaluate found data", "split: input should be a valid string"),
        ("found/about.json", "confidence", "high", "evaluate found data", "confidence: input should be a valid number"),
        (
            "found/about.json",
            "floor",
            2,
            "evaluate found data",
            "floor: input should be less than or equal to",
        ),
        ("run/operating_point.json", "confidence", "0.5", "evaluate run data", "confidence: input should be a valid"),
        ("run/operating_point.json", "confidence", 2, "predict run data out", "confidence: input should be less than"),
        (
            "run/operating_point.json",
            "boxes",
            {"threshold": []},
            "predict run data out",
            "boxes.threshold: input",
        ),
        ("run/environment.json", "data_fingerprint", {}, "tune run data", "data_fingerprint: input should be a valid"),
        (
            "run/environment.json",
            "exported",
            [],
            "benchmark data run --out new",
            "exported: input should be",
        ),
        (
            "begun/environment.json",
            "hilum",
            ["0.1"],
            "train c.yaml data begun",
            "hilum: input should be",
        ),
        ("compared/results.json", "entries", 3, AGAINST, "entries: input"),
        (
            "compared/results.json",
            "entries.2.name",
            "../../x",
            AGAINST,
            "name",
        ),
        ("compared/predictions/run/val/about.json", "split", 1, AGAIN, "split: input"),
        (
            "compared/predictions/run/cost.json",
            "cost.flops",
            "inf",
            AGAIN,
            "cost.flops: ",
        ),
        (
            "compared/predictions/run/cost.json",
            "cost",
            [],
            AGAIN,
            "cost: input should be",
        ),
    ],
)
def test_a_wrong_value_is_named_with_file_and_key(
    file: str, key: str, value: Any, command: str, said: str | None, place: Path, complaint: Any
) -> None:
    put(place / file, key, value)
    if said is None:  # a size alone is not wrong: only together with the other side it may be
        put(place / file, key.replace("width", "height"), value)
        said = "images.0: 60000 x 60000 px; at most"
    (line,) = [each for each in complaint(command) if not each.startswith("run: ")]  # how far the benchmark is
    assert line.startswith(f"{file}: ")
    assert said in line


@pytest.mark.parametrize("file", [RECORD, TRAIN, "run/operating_point.json", "found/about.json"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[" * 5000, "not read as JSON: nested more than 64 deep"),
        (b"\xff\xfe{\0}\0", "not text in UTF-8"),
        (b'{"a": 1e400}', "not read as JSON: a: larger than a number can be"),
        (b"", "not read as JSON: EOF"),
        (b"7", "input should be a valid dictionary, got 7"),
    ],
)
def test_what_is_no_record_is_named(file: str, content: bytes, said: str, place: Path, complaint: Any) -> None:
    (place / file).write_bytes(content)
    commands = {"data": "explore data", "run": "predict run data out", "found": "evaluate found data"}
    command = commands[file.partition("/")[0]]
    (line,) = complaint(command)
    assert line.startswith(f"{file}: {said}")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("\n", "\n\n"), None),
        (lambda text: text + text.splitlines()[1] + "\n", "has two rows"),
        (lambda text: text.replace("image_id", "id"), "column image_id is missing; found 'id, split"),
        (lambda text: text + "a,b\n", "expected 13 cells as in the header, found 2"),
        (lambda text: text.replace(",holdout,", f",{'x' * 200_000},", 1), "not a table: field larger than field limit"),
        (lambda text: text.replace(",holdout,", f",{'x' * 300},", 1), "300 characters, at most 256 are read"),
        (lambda text: text.replace(",holdout,", ",\0,", 1), "it holds zero bytes"),
        (lambda text: text.replace(",holdout,", ',"x"y,', 1), "not a table: "),
    ],
)
def test_a_damaged_table_is_named(change: Any, said: str | None, place: Path, complaint: Any) -> None:
    path = place / TABLE
    path.write_text(change(path.read_text()))
    if said is None:
        assert len(Dataset.open(place / "data").metadata) == 48
    else:
        (line,) = complaint("explore data")
        assert line.startswith(f"{TABLE}: ")
        assert said in line


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("status", "perhaps", "input tag 'perhaps' found using 'status' does not match"),
        ("coco_id", "one", "predicted.coco_id: input should be a valid integer"),
        ("coco_id", "9" * 400, "predicted.coco_id: "),
        ("probability", "likely", "predicted.probability: input should be a valid number"),
        ("probability", "inf", "predicted.probability: input should be a finite number"),
        ("image_id", "x" * 140_000, "not a table: field larger than field limit"),
    ],
)
def test_a_damaged_table_of_images_is_named(column: str, value: str, said: str, place: Path, complaint: Any) -> None:
    path = place / "found/images.csv"
    header, first, *others = path.read_text().splitlines()
    cells = first.split(",")
    cells[header.split(",").index(column)] = value
    path.write_text("\n".join([header, ",".join(cells), *others]) + "\n")
    (line,) = complaint("evaluate found data")
    assert line.startswith("found/images.csv")
    assert said in line


@pytest.mark.parametrize("value", [1e300, -1e7, "wide", None, [1]])
def test_a_box_beyond_any_picture_is_left_out_of_results(value: Any, place: Path, complaint: Any) -> None:
    path = place / "found/predictions.json"
    path.write_text(json.dumps([{"image_id": 1, "bbox": [1, value, 3, 4], "score": 0.5}]))
    (place / "found/images.csv").unlink()
    lines = complaint("evaluate found/predictions.json data")
    assert "entry 1: expected image_id, bbox [x, y, width, height] in pixels and score" in lines[0]


LINES: list[tuple[Any, str]] = [
    (lambda line: {**line, "seconds": {"v": 3.061}}, "line 1: seconds: input should be a valid number"),
    (lambda line: {**line, "train_loss": HUGE}, "line 1: not read as JSON: train_loss: larger than a whole number"),
    (lambda line: {**line, "train_loss": 1e300}, "line 1: train_loss: input should be less than or equal to"),
    (lambda line: {**line, "val_score": "0.5"}, "line 1: val_score: input should be a valid number, got '0.5'"),
    (lambda line: {**line, "epoch": -1}, "line 1: epoch: input should be greater than or equal to 0, got -1"),
    (lambda line: [line], "line 1: input should be a valid dictionary"),
    (lambda line: {"epoch": 1}, "line 1: train_loss: this key is missing"),
]


@pytest.mark.parametrize(("change", "said"), LINES)
@pytest.mark.parametrize(
    ("run", "command"), [("begun", "train c.yaml data begun"), ("run", "benchmark data run --out new")]
)
def test_a_wrong_line_of_the_log_is_named(
    change: Any, said: str, run: str, command: str, place: Path, complaint: Any
) -> None:
    path = place / run / "log.jsonl"
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(change(json.loads(first))), *others]) + "\n")
    lines = complaint(command)
    assert sum(line.startswith(f"{run}/log.jsonl: {said}") for line in lines) == 1


def test_a_log_in_another_encoding_is_named(place: Path, complaint: Any) -> None:
    path = place / "begun/log.jsonl"
    path.write_bytes(path.read_text().encode("utf-16"))
    (line,) = complaint("train c.yaml data begun")
    assert line.startswith("begun/log.jsonl: line 1: not text in UTF-8")


def test_half_a_last_line_of_the_log_is_what_a_kill_leaves(place: Path) -> None:
    path = place / "begun/log.jsonl"
    path.write_text(path.read_text() + '{"epoch": 2, "train_l')
    train(check_config(CONFIG, "test"), Dataset.open(place / "data"), place / "begun")


STATES: dict[str, Any] = {
    "network": lambda state: state.update(network=list(state["network"])),
    "network.bogus": lambda state: state["network"].update(bogus=torch.zeros(1)),
    "network.1": lambda state: state["network"].update({1: torch.zeros(1)}),
    "missing": lambda state: state["network"].popitem(),
    "text": lambda state: state["network"].update({next(iter(state["network"])): "x"}),
    "nan": lambda state: next(iter(state["network"].values())).fill_(float("nan")),
    "double": lambda state: state["network"].update({key: v.double() for key, v in state["network"].items()}),
    "no optimizer": lambda state: state.pop("optimizer"),
    "optimizer": lambda state: state.update(optimizer=[]),
    "state": lambda state: state["optimizer"].update(state=[1]),
    "state.x": lambda state: state["optimizer"]["state"].update(x={}),
    "state.0": lambda state: state["optimizer"]["state"].update({0: None}),
    "state.0.exp_avg": lambda state: state["optimizer"]["state"][0].pop("exp_avg"),
    "state.0.shape": lambda state: state["optimizer"]["state"][0].update(exp_avg=torch.zeros(1).expand(10**12)),
    "state.0.step": lambda state: state["optimizer"]["state"][0].update(step=torch.tensor(-1.0)),
    "groups": lambda state: state["optimizer"].update(param_groups=3),
    "lr": lambda state: state["optimizer"]["param_groups"][0].update(lr="fast"),
    "betas": lambda state: state["optimizer"]["param_groups"][0].update(betas=(1.0, 1.0)),
    "params": lambda state: state["optimizer"]["param_groups"][0].update(params=[1]),
    "average": lambda state: state.update(average=None),
    "average.steps": lambda state: state["average"].update(steps="many"),
    "epochs": lambda state: state.update(epochs="two"),
    "epochs < 0": lambda state: state.update(epochs=-3),
    "best": lambda state: state.update(best=[0.5]),
    "best_epoch": lambda state: state.pop("best_epoch"),
}


@pytest.mark.parametrize("name", STATES)
def test_a_checkpoint_of_something_else_is_refused(name: str, place: Path, complaint: Any) -> None:
    path = place / "begun" / CHECKPOINT
    stored = torch.load(path, weights_only=True)
    STATES[name](stored["state"])
    torch.save(stored, path)
    before = {each.name: each.read_bytes() for each in (place / "begun").iterdir()}
    (line,) = complaint("train c.yaml data begun")
    assert line.startswith("begun/checkpoint.pt: of another network or training than config.yaml says, or damaged (")
    assert line.endswith("); delete it to train from the start")
    assert {each.name: each.read_bytes() for each in (place / "begun").iterdir()} == before


def test_a_checkpoint_whose_bytes_changed_is_damaged(place: Path, complaint: Any) -> None:
    path = place / "begun" / CHECKPOINT
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (line,) = complaint("train c.yaml data begun")
    assert line == "begun/checkpoint.pt: damaged; delete it to train from the start"


def header_of(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda header, name: header.pop(name), "is missing"),
        (lambda header, name: header.update(bogus=header[name]), "bogus is not of it"),
        (lambda header, name: header[name].update(shape=[10**9] * 30), "list should have at most 16 items"),
        (lambda header, name: header[name].update(shape=[10**9] * 9), "holds less than its shape says"),
        (lambda header, name: header[name].update(shape=["1"]), "shape.0: input should be a valid integer"),
        (lambda header, name: header[name].update(data_offsets=[0, 10**12]), "holds less than its shape says"),
        (lambda header, name: header[name].update(dtype={}), "dtype: input should be a valid string"),
        (lambda header, name: header.update({name: [1]}), "input should be a valid dictionary"),
        (lambda header, name: header.update(__metadata__=3), "__metadata__: input should be a valid dictionary"),
    ],
)
def test_a_damaged_header_of_weights_is_named(change: Any, said: str, place: Path, complaint: Any) -> None:
    path = place / "run/weights.safetensors"
    header, rest = header_of(path)
    change(header, next(key for key in header if key != "__metadata__"))
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + rest)
    (line,) = complaint("predict run data out")
    assert line.startswith("run/weights.safetensors: ")
    assert said in line


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, (1 << 62).to_bytes(8, "little") + b"{}", b"\0" * 8])
def test_what_is_no_file_of_weights_is_named(content: bytes, place: Path, complaint: Any) -> None:
    (place / "run/weights.safetensors").write_bytes(content)
    (line,) = complaint("predict run data out")
    assert line.startswith("run/weights.safetensors: not a safetensors file")


def test_a_changed_line_of_an_interrupted_prediction_is_not_believed(place: Path, monkeypatch: Any) -> None:
    """The journal goes on from the last line that is as it was written, and ends with the same files."""
    monkeypatch.chdir(place)

    def predicted(out: str) -> dict[str, bytes]:
        command = f"predict run data {out} --confidence 0 --pictures 0"
        app(command.split(), result_action="return_value")
        files = [path for path in (place / out).iterdir() if path.is_file()]
        return {path.name: re.sub(rb'"time": "[^"]*"', b"", path.read_bytes()) for path in files}

    with pytest.MonkeyPatch.context() as patch:  # the last step of a prediction is to take the journal away
        patch.setattr("hilum.eval.prediction_journal.PredictionJournal.remove", lambda _: None)
        whole = predicted("out")
    journal = (place / "out" / JOURNAL).read_bytes()
    del whole[JOURNAL]
    lines = journal.splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if number and b"0." in line)
    for old, new in ((b"0.", b"1."), (b"null", b'"no"'), (b"[[", b"[[1.0, 1.0, 5.0, 5.0], [")):
        changed = [*lines[:at], lines[at].replace(old, new, 1), *lines[at + 1 :]]
        if changed == lines:
            continue
        shutil.rmtree(place / "out")
        (place / "out").mkdir()
        (place / "out" / JOURNAL).write_bytes(b"".join(changed))
        assert predicted("out") == whole


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_journal_that_is_no_file_is_replaced(kind: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    (place / "out").mkdir()
    theirs = place / "theirs.txt"
    theirs.write_text("mine")
    if kind == "link":
        (place / "out" / JOURNAL).symlink_to(theirs)
    else:
        os.mkfifo(place / "out" / JOURNAL)
    app(["predict", "run", "data", "out", "--pictures", "0"], result_action="return_value")
    assert (place / "out" / "images.csv").is_file()
    assert theirs.read_text() == "mine"


COMMANDS = {
    HOLDOUT: "evaluate found data",
    TRAIN: "explore data",
    RECORD: "evaluate found data",
    "found/about.json": "evaluate found data",
    "run/config.yaml": "predict run data out",
    "run/log.jsonl": AGAIN,
    "begun/log.jsonl": "train c.yaml data begun",
    "begun/checkpoint.pt": "train c.yaml data begun",
}


@pytest.mark.parametrize(
    ("name", "file", "key"),
    [
        ("data/OverflowError-boxes-17-holdout.json", HOLDOUT, ""),
        ("data/ValueError-competition-231-holdout.json", HOLDOUT, ""),
        ("data/RecursionError-folder-163-train.json", TRAIN, "nested more than 64 deep"),
        ("data/UnicodeEncodeError-terminal-10-conversion.json", RECORD, "not read as JSON"),
        ("predictions/TypeError-predictions-80-about.json", "found/about.json", "split: input should be"),
        ("run/RecursionError-config-193-config.yaml", "run/config.yaml", "more than 20,000 values"),
        ("run/TypeError-train-121-log.jsonl", "run/log.jsonl", "line 1: epoch: input should be a valid integer"),
        ("resume/OverflowError-curves-26-log.jsonl", "begun/log.jsonl", "train_loss: larger than a whole number"),
        ("resume/UnicodeDecodeError-log-90-log.jsonl", "begun/log.jsonl", "line 1: not text in UTF-8"),
        ("resume/AttributeError-loop-223-checkpoint.pt", "begun/checkpoint.pt", "delete it to train from the start"),
    ],
)
def test_files_that_once_ended_in_a_bug(
    name: str, file: str, key: str, shared: Path, place: Path, complaint: Any
) -> None:
    source = shared / "faults" / "foreign" / name
    if not source.is_file():
        pytest.skip(f"{name} is not there")
    shutil.copy(source, place / file)
    (place / file).chmod(0o644)
    lines = complaint(COMMANDS[file])
    told = [each for each in lines if not each.startswith("run: ")]
    assert all(each.startswith(f"{file}: ") for each in told)
    assert any(key in each for each in told)


def test_the_benchmark_keeps_costs_and_believes_no_wrong_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = Dataset.open(place / "data"), place / "compared"
    kept = json.loads((out / "predictions/run/cost.json").read_text())
    assert kept["cost"]["peak_memory"]["gpu_bytes"] is None  # NaN
    load(place / "run")
    measured: list[object] = []
    monkeypatch.setattr(kept_module, "measure_cost", lambda *_, **__: measured.append(1))
    again = benchmark(data, {"run": place / "run"}, out, tell=lambda _: None, cost_seconds=0.0)
    assert not measured
    cost_again = again.measured[-1].about.cost
    assert cost_again is not None
    assert asdict(cost_again.latency_alone) == kept["cost"]["latency_alone"]
