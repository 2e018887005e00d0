"""The command line. Whatever is heavy is imported inside the commands, so that `hilum --help` is quick."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter, validators

from hilum import __version__
from hilum.errors import HilumError

app = App(
    name="hilum",
    version=__version__,
    help="Train and compare detectors of lung opacity on chest radiographs. Research software, not a medical device.",
)
Split = Literal["train", "val", "holdout"]
Positive = Annotated[int, Parameter(validator=validators.Number(gte=1))]
Seed = Annotated[int, Parameter(validator=validators.Number(gte=0))]
Share = Annotated[float | None, Parameter(validator=validators.Number(gte=0, lte=1))]


@app.command
def sample(
    out: Path, *, images: Positive = 200, seed: Seed = 0, opacity_share: Share = None, workers: Positive | None = None
) -> None:
    """Generate a data set in the shape of Kaggle's download: DICOM files, both tables, a sample submission.

    The pictures are drawn: phantoms that look like radiographs, with soft opacities of the real sizes and places.

    Parameters
    ----------
    out
        Folder to write; a new or an empty one.
    images
        Labelled images; a ninth as many unlabelled test images come on top.
    seed
        The same seed gives the same files.
    opacity_share
        Share of images with opacity; the challenge's 22.5% where not given.
    workers
        Processes; all cores where not given.
    """
    from hilum.converters.sample import PATIENT_MAP, write_sample

    if out.is_dir() and any(out.iterdir()):
        raise HilumError(f"{out}: is not empty; give a new folder")
    with _processes(workers, images) as executor, _bar("drawing") as progress:
        write_sample(out, images, seed, opacity_share=opacity_share, executor=executor, progress=progress)
    print(f"{out}: {images} labelled images; hilum convert {out} DATA --patients {out / PATIENT_MAP}")


@app.command
def convert(
    src: Path,
    data: Path,
    *,
    patients: Path | None = None,
    seed: Seed = 0,
    overwrite: bool = False,
    workers: Positive | None = None,
) -> None:
    """Convert the challenge's DICOM files and tables, once, into a dataset folder with YOLO and COCO labels.

    Parameters
    ----------
    src
        Folder laid out as Kaggle's download.
    data
        Folder to write.
    patients
        CSV that says whose each image is (columns patientId and patient, or nih_patient), so that nobody is on two
        sides of a split.
    seed
        Of the splits.
    overwrite
        Convert again into a folder that already holds a dataset.
    workers
        Processes; all cores where not given.
    """
    from hilum.converters.convert import convert as run

    with _processes(workers, None) as executor, _bar("converting") as progress:
        record = run(src, data, seed=seed, patients=patients, overwrite=overwrite, executor=executor, progress=progress)
    _print_conversion(data, record)


@app.command
def train(config: str, data: Path, run: Path, *overrides: str) -> None:
    """Train a backend; on a run that was interrupted, go on with it.

    Parameters
    ----------
    config
        Path of a YAML file, or the name of a shipped one (see `hilum config`).
    data
        Dataset folder.
    run
        Run folder to write.
    overrides
        Keys with other values: train.epochs=3 image_size=256
    """
    from hilum.config import load_config
    from hilum.datasets.folder import Dataset
    from hilum.run import OPERATING_POINT, read_json
    from hilum.train import train as run_training

    if "=" in run.name:
        raise HilumError(f"'{run}' was read as RUN, which seems to be forgotten: hilum train CONFIG DATA RUN key=value")
    run_training(load_config(config, overrides), Dataset.open(data), run)
    chosen = read_json(run / OPERATING_POINT)
    print(
        f"{run}: competition score {chosen['val_score']:.3f} on val at confidence >= {chosen['confidence']:.3f}, "
        f"which was chosen there; hilum evaluate {run} {data} tells that of holdout"
    )


@app.command
def predict(
    run: Path,
    images: Path,
    out: Path,
    *,
    split: Split = "holdout",
    confidence: Share = None,
    pictures: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 24,
    batch_size: Positive = 16,
) -> None:
    """Find opacities: COCO results, a CSV, a table of images, and pictures with boxes.

    Parameters
    ----------
    run
        Run folder.
    images
        A DICOM, JPEG or PNG file, a folder of them, a text file that lists them, or a dataset folder.
    out
        Folder to write.
    split
        Of a dataset folder.
    confidence
        Keep boxes from here on; the run's operating point where not given; 0 keeps all.
    pictures
        Draw the first this many.
    batch_size
        Images that the network sees at once.
    """
    from hilum.datasets.folder import Dataset
    from hilum.datasets.pictures import read_picture
    from hilum.eval.pictures import draw_boxes
    from hilum.eval.predictions import write_predictions
    from hilum.predict import load

    if (out / "conversion.json").exists() or (out / "config.yaml").exists():
        raise HilumError(f"{out}: is a dataset or a run folder; give OUT a folder of its own")
    coco_ids = None
    if (images / "conversion.json").is_file():
        chosen = Dataset.open(images).split(split)
        paths, coco_ids = list(chosen.paths), chosen.coco_ids
    else:
        paths = _picture_paths(images)
    if not paths:
        raise HilumError(f"{images}: " + ("lists no image" if coco_ids is None else f"the {split} split has no image"))
    predictor = load(run)
    results = []
    with _bar("predicting") as progress:
        stream = predictor.predict(paths, confidence=confidence, batch_size=batch_size)
        for path, result in zip(paths, stream, strict=True):
            results.append(result)
            progress(len(results), len(paths))
            if result.error:
                _complain(f"{path}: {result.error}")
            elif len(results) <= pictures:
                (out / "pictures").mkdir(parents=True, exist_ok=True)
                found = result.detections
                draw_boxes(
                    read_picture(path),
                    found.xyxy,
                    found.confidence,
                    out / "pictures" / f"{len(results):05d}-{path.stem}.jpg",
                )
    write_predictions(out, results, coco_ids)
    failed = sum(result.error is not None for result in results)
    boxes = sum(len(result.detections) for result in results)
    print(f"{out}: {boxes} boxes on {len(results) - failed} images" + (f", {failed} not read" if failed else ""))
    if failed == len(results):
        raise HilumError(f"{images}: none of its {failed} images could be read")


@app.command
def evaluate(
    predictions: Path, data: Path, *, split: Split = "holdout", confidence: Share = None, json: Path | None = None
) -> None:
    """Score predictions with the competition's metric and COCO AP, beside two trivial baselines.

    Parameters
    ----------
    predictions
        A run, a predictions folder, COCO results (.json), or a submission (.csv).
    data
        Dataset folder.
    split
        The split to score on. Figures of train and val flatter: they were trained or chosen there.
    confidence
        Boxes below do not count as the answer; a run's operating point, else 0, where not given.
    json
        File to write the figures to.
    """
    from hilum.datasets.folder import Dataset
    from hilum.eval.baselines import average_boxes
    from hilum.eval.benchmark import AVERAGE, NOTHING, predict_split
    from hilum.eval.measures import Answer, everywhere, measure, nothing
    from hilum.eval.predictions import read_answer
    from hilum.eval.tables import notes, print_table, table_rows
    from hilum.predict import load
    from hilum.run import ENVIRONMENT, read_json, write_json

    dataset = Dataset.open(data)
    truth = dataset.split(split)
    chosen = "as in the file: AP ranks the boxes in it alone, the score takes all of them as the answer"
    if (predictions / "config.yaml").is_file():
        answer = predict_split(load(predictions), truth)
        chosen = "epochs and operating point were chosen on val"
        if read_json(predictions / ENVIRONMENT).get("data_fingerprint") != dataset.fingerprint:
            chosen = "epochs and operating point were chosen on another data set"
            _complain(f"{predictions} was trained on other data or another split: it may have seen these very images")
        if confidence is not None:
            answer = Answer(answer.boxes_xywh, answer.confidence, confidence)
    else:
        answer, problems = read_answer(predictions, truth, confidence or 0.0)
        for problem in problems:
            _complain(problem)
    answers = {
        NOTHING: nothing(truth),
        AVERAGE: everywhere(average_boxes(dataset.split("train"), truth)),
        predictions.name: answer,
    }
    entries: list[dict[str, Any]] = [{"name": name, **measure(truth, a).to_json()} for name, a in answers.items()]
    about = {
        "hilum": __version__,
        "split": split,
        "images": len(truth),
        "positive_images": sum(len(boxes) > 0 for boxes in truth.boxes_xyxy),
        "patients_known": dataset.patients_known,
        "data_fingerprint": dataset.fingerprint,
        "chosen": chosen,
    }
    print_table(table_rows(entries), f"{predictions} on {split}")
    print("\n".join(notes(about)))
    if json:
        write_json(json, {**about, "entries": entries})


@app.command
def benchmark(data: Path, *configs: str, out: Path = Path("benchmark")) -> None:
    """Train or reuse several configs on the same data and put them side by side, with trivial baselines.

    Parameters
    ----------
    data
        Dataset folder.
    configs
        Paths of YAML files, or names of shipped ones.
    out
        Folder for runs, table.csv, table.md, results.json and comparison.png.
    """
    from hilum.config import load_config
    from hilum.datasets.folder import Dataset
    from hilum.eval.benchmark import benchmark as run
    from hilum.eval.tables import print_table, table_rows

    if not configs:
        raise HilumError("no config given; for example: hilum benchmark DATA resnet unet yolo26n")
    # All configs are read before anything is trained: a typing error in the last shall not cost the first's hours.
    names = [config.removesuffix(".yaml").strip("/").replace("/", "-") for config in configs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise HilumError(f"config '{twice[0]}' is given twice, or two files share this name; name each once")
    loaded = {name: load_config(config) for name, config in zip(names, configs, strict=True)}
    entries = run(Dataset.open(data), loaded, out, tell=_complain)
    print_table(table_rows([entry.to_json() for entry in entries]), f"{data}, holdout")
    print(f"{out / 'table.md'}\n{out / 'table.csv'}\n{out / 'results.json'}\n{out / 'comparison.png'}")


@app.command
def submit(run: Path, images: Path, out: Path, *, confidence: Share = None, overwrite: bool = False) -> None:
    """Write a submission in Kaggle's form.

    Parameters
    ----------
    run
        Run folder.
    images
        A dataset folder, whose unlabelled images are meant, or a folder of pictures.
    out
        The CSV file to write.
    confidence
        Keep boxes from here on; the run's operating point where not given.
    overwrite
        Write over an existing file.
    """
    from hilum.datasets.boxes import xyxy_to_xywh
    from hilum.datasets.folder import Dataset
    from hilum.eval.submission import write_submission
    from hilum.predict import load

    dataset = (images / "conversion.json").is_file()
    paths = Dataset.open(images).unlabelled() if dataset else _picture_paths(images)
    if not paths:
        raise HilumError(f"{images}: the dataset has no unlabelled images; give a folder of pictures")
    if not out.absolute().parent.is_dir():
        raise HilumError(f"{out}: its folder does not exist")
    if out.is_dir() or (out.exists() and not overwrite):
        raise HilumError(f"{out}: is there already; give a new file, or --overwrite to replace one")
    stems = [path.stem for path in paths]
    if twice := next((path for path in paths if stems.count(path.stem) > 1), None):
        raise HilumError(f"{twice}: another file has the same name, and a submission knows images by name")
    predictor = load(run)
    results = []
    with _bar("predicting") as progress:
        for result in predictor.predict(paths, confidence=confidence):
            results.append(result)
            progress(len(results), len(paths))
    bad = [f"{path}: {result.error}" for path, result in zip(paths, results, strict=True) if result.error]
    for line in bad:
        _complain(f"{line}; it gets an empty row")
    if len(bad) == len(paths):
        raise HilumError(f"{images}: none of its {len(bad)} images could be read")
    ids = [result.image_id for result in results]
    boxes = [xyxy_to_xywh(result.detections.xyxy) for result in results]
    write_submission(out, ids, boxes, [result.detections.confidence for result in results])
    print(f"{out}: {sum(map(len, boxes))} boxes on {len(ids)} images")


@app.command
def backends() -> None:
    """List the backends that are installed, and what is missing for those that cannot be used."""
    from rich.console import Console
    from rich.table import Table

    from hilum.backend import found_backends

    table = Table("backend", "from", "state")
    for found in found_backends():
        table.add_row(found.name, found.distribution, found.problem or "ready")
    Console().print(table)


@app.command
def config(name: str | None = None, *overrides: str) -> None:
    """Print a config resolved, with all its defaults; without a name, list the shipped ones.

    Parameters
    ----------
    name
        Path of a YAML file, or the name of a shipped one.
    overrides
        Keys with other values: train.epochs=3
    """
    from hilum.config import dump_config, load_config, shipped_configs

    if name is None:
        print("\n".join(shipped_configs()))
    else:
        print(dump_config(load_config(name, overrides)), end="")


def print(text: str, end: str = "\n") -> None:  # noqa: A001
    """Write a result to standard output; what is only told on the way goes to standard error."""
    sys.stdout.write(text + end)


def _complain(line: str) -> None:
    sys.stderr.write(f"hilum: {line}\n")


def _picture_paths(source: Path) -> list[Path]:
    from hilum.datasets.pictures import SUFFIXES

    if source.is_dir():
        paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise HilumError(f"{source}: no {', '.join(sorted(SUFFIXES))} file in this folder")
        return paths
    if not source.is_file():
        raise HilumError(f"{source}: no such file or folder")
    if source.suffix.lower() != ".txt":
        return [source]
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise HilumError(f"{source}: not a text file in UTF-8") from error
    return [source.parent / line.strip() for line in lines if line.strip()]


def _leave_ctrl_c_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _processes(workers: int | None, items: int | None) -> Iterator[Executor | None]:
    """A pool of processes, or None where one is enough: starting it takes longer than 16 pictures."""
    count = workers or os.cpu_count() or 1
    if count == 1 or (items is not None and items <= 16):
        yield None
        return
    with ProcessPoolExecutor(
        count, mp_context=get_context("spawn"), initializer=_leave_ctrl_c_to_the_parent
    ) as executor:
        yield executor


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print_conversion(data: Path, record: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", str(data), title_justify="left")
    for label, key in [
        ("rows in the label table", "label_rows"),
        ("images", "images"),
        ("with opacity", "positive_images"),
        ("boxes", "boxes"),
        ("unlabelled images", "unlabelled_images"),
        ("JPEG streams kept untouched", "untouched_jpeg"),
    ]:
        table.add_row(label, f"{record[key]:,}")
    for name, count in record["classes"].items():
        table.add_row(f"class {name}", f"{count:,}")
    for name, counts in record["splits"].items():
        table.add_row(f"split {name}", f"{counts['images']:,} images, {counts['positive_images']:,} with opacity")
    for what, count in record["left_out"].items():
        table.add_row(f"left out: {what}", f"{count:,}")
    Console().print(table)
    if not record["patients_known"]:
        _complain(
            "no patient map was given: images of one person may lie on both sides of a split; "
            "--patients FILE keeps them together"
        )
    elif record["images_without_patient"]:
        _complain(f"{record['images_without_patient']} images are not in the patient map; each counts as a person")
    if record["left_out"]:
        _complain(f"{data / 'left_out.csv'} says what was left out and why")
