"""The good folders that are fuzzed: small, made by hilum's own commands, a few seconds in all."""

import csv
import importlib
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
from cases import YOLO

TINY = """backend: resnet
image_size: 32
model: {{channels: 4, blocks: 1, depth: 2}}
train: {{epochs: {epochs}, batch_size: 4}}
boxes: {{threshold: 0.2}}
"""
COMPOSED = "backend: compose\nmembers: {a: {config: tiny.yaml}, b: {config: {base: tiny.yaml, seed: 1}}}\nshrink: val\n"


def command(*words: object) -> None:
    """Run one of hilum's commands here."""
    from hilum.cli import app

    app([str(word) for word in words], exit_on_error=False, print_error=False, result_action="return_value")


def make(base: Path) -> None:
    """Make them all below `base`."""
    conftest = Path(__file__).parents[1] / "contract" / "dicom_files.py"
    spec = importlib.util.spec_from_file_location("small_sources", conftest)
    sources: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sources)

    base.mkdir()
    os.chdir(base)
    sources._small_source(Path("kaggle"), 24)
    ids = [path.stem for path in sorted(Path("kaggle/stage_2_train_images").iterdir())]
    with Path("kaggle/patients.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["patientId", "patient"], *([each, f"p{n // 2}"] for n, each in enumerate(ids))])
    Path("list.txt").write_text("".join(f"{each}\n" for each in ids[::3]))
    Path("val.txt").write_text("".join(f"{each}\n" for each in ids[1::3]))
    rows = Path("kaggle/stage_2_train_labels.csv").read_text().splitlines(keepends=True)
    Path("stage_1_train_labels.csv").write_text("".join(row for row in rows if row[:5] not in {"img00", "img07"}))
    _make_tree(Path("tree"), sources)
    _make_pictures(Path("pictures"), sources)
    for name, epochs in (("tiny", 1), ("longer", 2)):
        Path(f"{name}.yaml").write_text(TINY.format(epochs=epochs))
    Path("composed.yaml").write_text(COMPOSED)

    command("convert", "kaggle", "data", "--patients", "kaggle/patients.csv", "--workers", 1)
    command("split", "data", "five", "--folds", 3)
    command("train", "tiny.yaml", "data", "run")
    command("train", "composed.yaml", "data", "composed")
    command("predict", "run", "data", "found", "--confidence", 0)
    _write_marks(Path("marks.csv"))
    command("evaluate", "found", "marks.csv", "--json", "figures.json")
    command("evaluate", "run", "data", "--json", "scored.json")
    command("submit", "run", "data", "unlabelled.csv")
    _write_submission(Path("submission.csv"))
    _write_layouts()
    command("pick", "run", "data", "task", "--images", 2)
    shutil.move("task/instances_default.json", "labels.json")
    tasks = json.loads(Path("task/label_studio.json").read_text())
    Path("tasks.json").write_text(json.dumps([{**task, "annotations": task["predictions"]} for task in tasks]))
    shutil.rmtree("task")
    with suppress(KeyboardInterrupt), _interrupting("EpochLog", "epoch", calls=2):
        command("train", "longer.yaml", "data", "begun")
    with suppress(KeyboardInterrupt), _interrupting("PredictionJournal", "results", calls=1):
        command("predict", "run", "data", "predicting", "--confidence", 0)
    _begin_conversion()
    with suppress(ImportError):
        import onnx  # noqa: F401

        command("export", "run", "--format", "onnx", "--out", "exported")
    with suppress(ImportError):
        import ultralytics  # noqa: F401 - what hilum does before it imports it is done: `sample/yolo` was looked up

        command("train", "sample/yolo", "data", "yolo", *YOLO)
    with costs_nothing():
        command("benchmark", "data", "run", "--out", "bench")
    for needed in ("begun/checkpoint.pt", "predicting/.predictions.jsonl", "converting/.conversion.jsonl"):
        assert Path(needed).is_file(), needed


def _make_tree(folder: Path, sources: Any) -> None:
    folder.mkdir()
    small = sources._picture(1)
    deep = (sources._picture(2).astype(np.uint16) << 2) + 9
    (folder / "jpeg.dcm").write_bytes(sources._dicom(small, jpeg=sources._jpeg(small)))
    (folder / "plain.dcm").write_bytes(sources._dicom(sources._picture(3)))
    tags = {"BitsStored": 10, "HighBit": 9, "WindowCenter": "500", "WindowWidth": "900"}
    (folder / "deep.dcm").write_bytes(sources._dicom(deep, PhotometricInterpretation="MONOCHROME1", **tags))


def _make_pictures(folder: Path, sources: Any) -> None:
    folder.mkdir()
    for number, ending in enumerate(("jpg", "png", "tif", "bmp", "webp", "jp2")):
        done, content = cv2.imencode(f".{ending}", sources._picture(number))
        assert done, ending
        (folder / f"picture{number}.{ending}").write_bytes(content.tobytes())


def _write_marks(path: Path) -> None:
    images = json.loads(Path("found/about.json").read_text())["of_images"]
    with Path("found/images.csv").open(newline="") as file:
        numbers = [row["coco_id"] for row in csv.DictReader(file)]
    rows = [[images, number, "agree", at % 2, 0.5, 1] for at, number in enumerate(numbers)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["images", "number", "mark", "opacity", "probability", "boxes"], *rows])


def _write_submission(path: Path) -> None:
    ids = {
        image["id"]: Path(image["file_name"]).stem
        for image in json.loads(Path("data/annotations/holdout.json").read_text())["images"]
    }
    found = json.loads(Path("found/predictions.json").read_text())
    rows = [
        [
            name,
            " ".join(f"{box['score']} {' '.join(map(str, box['bbox']))}" for box in found if box["image_id"] == number),
        ]
        for number, name in ids.items()
    ]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["patientId", "PredictionString"], *rows])


def _write_layouts() -> None:
    """The submission in the form of two other challenges."""
    with Path("submission.csv").open(newline="") as file:
        rows = [(row["patientId"], row["PredictionString"].split()) for row in csv.DictReader(file)]
    for name, column, end, word, nothing in (
        ("siim.csv", "id", "_image", "opacity", "none"),
        ("vinbigdata.csv", "image_id", "", "7", "14"),
    ):
        with Path(name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([column, "PredictionString"])
            for image_id, words in rows:
                boxes = [list(map(float, words[start : start + 5])) for start in range(0, len(words), 5)]
                told = [f"{word} {sure} {x} {y} {x + w} {y + h}" for sure, x, y, w, h in boxes]
                writer.writerow([image_id + end, " ".join([*told, f"{nothing} 0.5 0 0 1 1"])])


def _begin_conversion() -> None:
    from hilum.converters.convert import convert
    from hilum.converters.rendering import Rendering

    def stop(done: int, total: int) -> None:
        if done == total:
            raise KeyboardInterrupt

    case = Path.cwd().parent / "case"  # the journal knows pictures by their folder, and this is where cases are made
    case.mkdir(exist_ok=True)
    with suppress(KeyboardInterrupt):
        convert(Path("tree"), case / "converting", rendering=Rendering(), progress=stop)
    (case / "converting").rename("converting")


@contextmanager
def _interrupting(name: str, method: str, *, calls: int) -> Iterator[None]:
    """While it is open, a class's method is stopped at that call, wherever the class is."""
    kind = next(found for module in _ours() if (found := getattr(module, name, None)) is not None)
    original, left = getattr(kind, method), [calls]

    def stopping(*args: Any, **more: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return original(*args, **more)

    with patch.object(kind, method, stopping):
        yield


def few_resamples() -> None:
    """Have intervals drawn from a few resamples from now on: nobody looks at them."""
    for module in _ours():
        for name, value in list(vars(module).items()):
            if "RESAMPLES" in name and isinstance(value, int):
                setattr(module, name, 20)
            elif "resamples" in (getattr(value, "__kwdefaults__", None) or {}):
                value.__kwdefaults__["resamples"] = 20


@contextmanager
def costs_nothing() -> Iterator[None]:
    """While it is open, a benchmark does not measure time and memory, which takes its time."""
    for name in ("cost", "kept"):
        importlib.import_module(f"hilum.comparison.{name}")
    from hilum.comparison.cost import Cost, Latency, Throughput
    from hilum.comparison.peak_memory import PeakMemory

    latency, throughput = Latency(1.0, 1.0, 1, 0.5), Throughput(1.0, 1, "arrays")

    def measured(*_: Any, **__: Any) -> Cost:
        return Cost(latency, latency, throughput, throughput, 1, 1.0, 1, PeakMemory(1, float("nan")), 1.0)

    modules = [module for module in _ours() if hasattr(module, "measure_cost")]
    assert modules
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(patch.object(module, "measure_cost", measured))
        yield


def _ours() -> list[Any]:
    return [module for name, module in list(sys.modules.items()) if name.startswith("hilum.")]
