"""The command line. Whatever is heavy is imported inside the commands, so that `hilum --help` is quick."""

import os
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from importlib import import_module
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
    suppress_keyboard_interrupt=False,  # main says what to do then
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
    with _processes(workers, images, "hilum.converters.sample") as executor, _bar("drawing") as progress:
        write_sample(out, images, seed, opacity_share=opacity_share, executor=executor, progress=progress)
    print(f"{out}: {images} labelled images; hilum convert {out} DATA --patients {out / PATIENT_MAP}")


@app.command
def convert(
    src: Path,
    data: Path,
    *,
    patients: Path | None = None,
    seed: Seed = 0,
    size: Positive | None = None,
    format: Literal["jpg", "png"] | None = None,  # noqa: A002
    bits: Literal[8, 16] = 8,
    window: Positive = 1,
    key: Path | None = None,
    overwrite: bool = False,
    workers: Positive | None = None,
    dask: str | None = None,
) -> None:
    """Convert DICOM files, once, into a dataset folder: the challenge with YOLO and COCO labels, or any tree without.

    Interrupted, the same command again goes on and ends with the same bytes.

    Parameters
    ----------
    src
        Kaggle's download, as a folder or as the zip itself; or a folder of DICOM files, of any depth and names, whose
        pictures become unlabelled and are named by keyed hashes.
    data
        Folder to write.
    patients
        CSV that says whose each image is (columns patientId and patient, or nih_patient), so that nobody is on two
        sides of a split.
    seed
        Of the splits.
    size
        Reduce pictures whose longer side has more pixels to this; boxes and spacing follow.
    format
        Write all pictures so. Where not given, JPEG streams stay as they are and the rest becomes PNG.
    bits
        16 keeps what has more than 8 bits, as PNG.
    window
        Which of a file's windows to apply, from 1.
    key
        File with the key of the hashes, for the same names in several datasets; made where it is missing.
        DATA/sources.key where not given.
    overwrite
        Convert again into a folder that already holds a dataset.
    workers
        Processes; all cores where not given.
    dask
        Address of a Dask scheduler (tcp://10.0.0.1:8786) whose workers convert, and see SRC and DATA under the same
        paths.
    """
    from hilum.converters.cluster import cluster
    from hilum.converters.convert import convert as run
    from hilum.converters.journal import JOURNAL
    from hilum.converters.picture import Rendering

    if dask is not None and workers:
        raise HilumError("--workers counts processes of this machine; with --dask the cluster says how many there are")
    rendering = Rendering(window, bits, size, format)
    pool = (
        _processes(workers, None, "hilum.converters.picture") if dask is None else cluster(dask, [src, data / JOURNAL])
    )
    with pool as executor, _bar("converting") as progress:
        record = run(
            src,
            data,
            rendering=rendering,
            seed=seed,
            patients=patients,
            key=key,
            overwrite=overwrite,
            executor=executor,
            progress=progress,
        )
    _print_conversion(data, record)


@app.command
def split(
    data: Path,
    name: str | None = None,
    *,
    seed: Seed = 0,
    by: Literal["patient", "image"] | None = None,
    shares: Annotated[tuple[float, float, float] | None, Parameter(negative="")] = None,
    folds: Annotated[int | None, Parameter(validator=validators.Number(gte=3))] = None,
    stage1: Path | None = None,
    report: Literal[2560, 5000] | None = None,
    holdout_list: Path | None = None,
    val_list: Path | None = None,
    val_share: Annotated[float | None, Parameter(validator=validators.Number(gt=0, lt=1))] = None,
    keep_shared: Annotated[bool, Parameter(negative="")] = False,
    patients: Path | None = None,
    overwrite: bool = False,
    check: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Split a dataset folder anew, into DATA/splits/NAME, and say what leaks; no picture is moved or converted again.

    Without --folds, --stage1, --report or --holdout-list: train, val and holdout by --shares, the images of a patient
    together, stratified by class, view, sex and decade of life. Every command takes DATA/splits/NAME for DATA.

    Parameters
    ----------
    data
        Dataset folder.
    name
        Of the split to write, or with --check of the one to look at.
    seed
        The same seed gives the same split.
    by
        What stays together: the images of a patient, or only each image.
    shares
        Of train, val and holdout; 0.7 0.15 0.15 where not given.
    folds
        Write so many splits, NAME-0, NAME-1, ...; each image is in the holdout of one.
    stage1
        The challenge's stage_1_train_labels.csv: hold out the images that it lacks, which were stage 1's test set.
        Images that share a patient with them leave train and val.
    report
        Hold out as many as the report did, at random by image: 2560 (its ResNet) or 5000 (its UNet).
    holdout_list
        Hold out the images that this file lists: ids, one a line, or a CSV with a column patientId. Images that share
        a patient with them leave train and val.
    val_list
        The same for val; all other images are train then.
    val_share
        Share of val in what is not held out; 0.15 where not given.
    keep_shared
        Keep images in train and val though they share a patient with holdout.
    patients
        CSV that says whose each image is, where DATA does not know it or is wrong.
    overwrite
        Replace the split of this name.
    check
        Write nothing; only say what leaks in DATA, or in its split NAME.
    """
    from hilum.converters.resplit import Folds, Kind, Lists, Report, Shares, Stage1, read_patients, resplit
    from hilum.datasets.folder import Dataset
    from hilum.datasets.leaks import check_dataset

    every = {
        "--by": by,
        "--shares": shares,
        "--folds": folds,
        "--stage1": stage1,
        "--report": report,
        "--holdout-list": holdout_list,
        "--val-list": val_list,
        "--val-share": val_share,
        "--keep-shared": keep_shared or None,
        "--overwrite": overwrite or None,
    }
    options = {key: value for key, value in every.items() if value is not None}
    kinds = [key for key in ("--folds", "--stage1", "--report", "--holdout-list") if key in options]
    if len(kinds) > 1:
        raise HilumError(f"{' and '.join(kinds)}: each makes a split of its own; give one of them")
    what = "--check" if check else kinds[0] if kinds else "a split by shares"
    fitting = {
        "--check": set[str](),
        "a split by shares": {"--by", "--shares"},
        "--folds": {"--by"},
        "--stage1": {"--val-share", "--keep-shared"},
        "--report": {"--val-share"},
        "--holdout-list": {"--val-list", "--keep-shared"} | ({"--val-share"} if val_list is None else set()),
    }[what] | ({"--overwrite", what} if not check else set())
    if wrong := [key for key in options if key not in fitting]:
        raise HilumError(f"{', '.join(wrong)}: does not go with {what}; see hilum split --help")
    if shares and not (min(shares) > 0 and abs(sum(shares) - 1) < 1e-6):
        raise HilumError(f"--shares {' '.join(map(str, shares))}: expected three numbers above 0 that add up to 1")
    if check:
        folder = data / "splits" / name if name else data
        dataset = Dataset.open(folder)
        _print_leaks(dataset, check_dataset(dataset, read_patients(patients, dataset) if patients else None))
        return
    if name is None:
        raise HilumError("the split needs a name: hilum split DATA NAME ...; --check instead looks at that of DATA")
    share = {} if val_share is None else {"val_share": val_share}
    kind: Kind
    if folds:
        kind = Folds(folds, by or "patient")
    elif stage1:
        kind = Stage1(stage1, **share, keep_shared=keep_shared)
    elif report:
        kind = Report(report, **share)
    elif holdout_list:
        kind = Lists(holdout_list, val_list, **share, keep_shared=keep_shared)
    else:
        kind = Shares(shares or Shares.shares, by or "patient")
    for folder in resplit(data, name, kind, seed=seed, patients=patients, overwrite=overwrite):
        dataset = Dataset.open(folder)
        _print_leaks(dataset, check_dataset(dataset))


@app.command
def explore(data: Path, *, out: Path | None = None, stage1: Path | None = None) -> None:
    """Describe a dataset folder on one HTML page: what is in it, and what in it can mislead.

    Parameters
    ----------
    data
        Dataset folder.
    out
        Folder for the page and its figures as PNG files; DATA/explore where not given.
    stage1
        The challenge's stage_1_train_labels.csv: images that it does not name were the first stage's test set.
    """
    from hilum.pages.explore import explore as run

    with _bar("exploring") as progress:
        page = run(data, out, stage1=stage1, progress=progress)
    print(f"{page}")


@app.command
def train(config: str, data: Path, run: Path, *overrides: str, trust: bool = False) -> None:
    """Train a backend; on a run that was interrupted, go on with it.

    On several GPUs or machines: torchrun --nproc-per-node 8 -m hilum train CONFIG DATA RUN. The processes share each
    batch of train.batch_size images, and see DATA and RUN under the same paths; YOLO has ultralytics.device instead.

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
    trust
        Read the .pt file that the config starts from: it is a pickle, which can run code when it is read.
    """
    from hilum.config import load_config
    from hilum.datasets.folder import Dataset
    from hilum.run import OPERATING_POINT, read_json
    from hilum.train import train as run_training
    from hilum.training.distributed import is_first, processes

    if "=" in run.name:
        raise HilumError(f"'{run}' was read as RUN, which seems to be forgotten: hilum train CONFIG DATA RUN key=value")
    with processes():
        run_training(load_config(config, overrides, trust=trust), Dataset.open(data), run)
        if not is_first():
            return
    chosen = read_json(run / OPERATING_POINT)
    print(
        f"{run}: {chosen.get('figure', 'competition score')} {chosen['val_score']:.3f} on val "
        f"at confidence >= {chosen['confidence']:.3f}, "
        f"which was chosen there; hilum evaluate {run} {data} tells that of holdout"
    )


@app.command
def tune(run: Path, data: Path) -> None:
    """Choose on val how a run's network becomes boxes, and at which confidence they are kept; prediction follows.

    Parameters
    ----------
    run
        Run folder, of a finished training; its operating point is written anew.
    data
        Dataset folder that it was trained on.
    """
    from rich.console import Console
    from rich.table import Table

    from hilum.datasets.folder import Dataset
    from hilum.tune import tune as run_tuning

    with _bar("tuning") as progress:
        tuning = run_tuning(run, Dataset.open(data), progress)
    for problem in tuning.problems:
        _complain(problem)
    untuned, chosen = tuning.untuned, tuning.chosen
    table = Table("on val", "untuned", "tuned")
    table.add_row("competition score", f"{untuned.score:.3f}", f"{chosen.score:.3f}")
    table.add_row("boxes are kept at confidence >=", f"{untuned.confidence:.3f}", f"{chosen.confidence:.3f}")
    for name, value in untuned.parameters.items():
        table.add_row(f"boxes.{name}", f"{value}", f"{chosen.parameters[name]}")
    Console().print(table)
    if len(tuning.points) == 1:
        print(f"{run}: its backend has nothing to tune but the confidence")
        return
    table = Table("boxes.", "value (* tuned)", "score, others as tuned", "best score, any others")
    for name, value, alone, best in tuning.effects():
        mark = " *" if chosen.parameters[name] == value else ""
        table.add_row(name, f"{value}{mark}", f"{alone:.3f}", f"{best:.3f}")
    Console().print(table)
    print(
        f"{run}: {len(tuning.points):,} combinations on {tuning.val_images:,} images of val; the best of so many "
        f"flatters, hilum evaluate {run} {data} tells the score of holdout"
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
    dataset = Dataset.open(images) if (images / "conversion.json").is_file() else None
    if dataset is None:
        paths = _picture_paths(images)
    elif dataset.conversion["images"]:
        chosen = dataset.split(split)
        paths, coco_ids = list(chosen.paths), chosen.coco_ids
    else:  # a converted tree without labels
        paths = dataset.unlabelled()
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
    about: dict[str, Any] = {
        "run": run.name,
        "hilum": __version__,
        "confidence": predictor.confidence if confidence is None else confidence,
        "floor": predictor.confidence if confidence is None else confidence,
    }
    if dataset is not None:
        about |= {"split": split, "data_fingerprint": dataset.fingerprint}
    write_predictions(out, results, coco_ids, about)
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
        Boxes below do not count as the answer. Where not given: that of the run or the predictions folder; for COCO
        results one is chosen on val, or cross-fitted where they have nothing of val; a submission is kept as it is.
    json
        File to write the figures to.
    """
    from hilum.datasets.folder import Dataset
    from hilum.eval.evaluate import evaluate as run
    from hilum.eval.tables import findings, notes, print_table, table_rows
    from hilum.run import write_json

    results, problems = run(predictions, Dataset.open(data), split, confidence)
    for problem in problems:
        _complain(problem)
    print_table(table_rows(results), f"{predictions} on {split}")
    print("\n".join([*findings(results), *notes(results)]))
    if json:
        write_json(json, results)


@app.command
def benchmark(
    data: Path,
    *configs: str,
    out: Path = Path("benchmark"),
    seeds: Positive = 1,
    dicom: Path | None = None,
    against: Path | None = None,
    trust: bool = False,
) -> None:
    """Train or reuse several configs on the same data and put them side by side, with trivial baselines and bounds.

    Interrupted, the same command again goes on: what is there, runs, predictions, costs, is used.

    Parameters
    ----------
    data
        Dataset folder.
    configs
        Paths of YAML files, or names of shipped ones, or folders of finished runs, exported ones too; the file's or
        folder's name becomes the config's. None is needed with --against.
    out
        Folder for runs, predictions, report.html, table.csv, table.md, results.json and comparison.png.
    seeds
        Runs of each config, with seeds that count up from its own.
    dicom
        Folder of DICOM files to measure throughput on; the dataset's own pictures where not given.
    against
        The folder of an earlier benchmark on the same data: what changed, name by name, image by image.
    trust
        Read the .pt files that configs start from: they are pickles, which can run code when they are read.
    """
    from hilum.config import load_config
    from hilum.datasets.folder import Dataset
    from hilum.eval.against import compare_benchmarks
    from hilum.eval.benchmark import benchmark as run
    from hilum.eval.tables import print_differences, print_table, table_rows
    from hilum.pages.report import write_report
    from hilum.run import write_json

    if not configs and against is None:
        raise HilumError("no config given; for example: hilum benchmark DATA resnet unet yolo26n")
    # All configs are read before anything is trained: a typing error in the last shall not cost the first's hours.
    runs = {config for config in configs if _is_run(config)}
    names = [
        Path(config).absolute().name
        if config in runs
        else (Path(config).stem if Path(config).is_file() else config.replace("/", "-"))
        for config in configs
    ]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise HilumError(f"config '{twice[0]}' is given twice, or two files share this name; name each once")
    loaded = {
        name: Path(config) if config in runs else load_config(config, trust=trust)
        for name, config in zip(names, configs, strict=True)
    }
    dataset = Dataset.open(data)
    if loaded:
        options = ["--out", str(out), "--seeds", str(seeds), *(["--dicom", str(dicom)] if dicom else [])]
        options += ["--trust"] if trust else []
        command = shlex.join(["hilum", "benchmark", str(data), *configs, *options])
        dicoms = _picture_paths(dicom) if dicom else []
        found = run(dataset, loaded, out, seeds=seeds, tell=_complain, dicoms=dicoms, command=command)
        write_report(out / "report.html", found)
        print_table(table_rows(found.results), f"{data}, holdout")
        files = ("report.html", "table.md", "table.csv", "results.json", "comparison.png")
        print("\n".join(str(out / name) for name in files))
    if against:
        differences = compare_benchmarks(out, against, dataset)
        print_differences(differences, f"{out} against {against}, competition score on holdout")
        write_json(out / "against.json", {"against": against.name, "differences": differences})


@app.command
def ablate(
    run: Path,
    data: Path,
    *more: Path,
    before: tuple[str, ...] = (),
    split: Split = "holdout",
    json: Path | None = None,
) -> None:
    """Show what each part of a composed run adds: its parts put in one after another.

    Each row is chosen anew on val. Several folds are pooled, each chosen on its own val:
    hilum ablate run-0 DATA/splits/four-0 run-1 DATA/splits/four-1 ...

    Parameters
    ----------
    run
        Run folder of the backend compose, such as `hilum train winners` makes.
    data
        Dataset folder that it was trained on.
    more
        Further runs of the same parts, each with its dataset folder; their holdouts share no image.
    before
        A row to put first, from runs of any backend, one for each composed run: --before 'no negatives=RUN,RUN'. It
        can be given several times.
    split
        The split to score on. Figures of train and val flatter: they were trained or chosen there.
    json
        File to write the figures to.
    """
    from hilum.datasets.folder import Dataset
    from hilum.eval.ablation import ablation
    from hilum.eval.tables import print_additions
    from hilum.run import write_json

    if len(more) % 2:
        raise HilumError(f"{more[-1]}: a run without its data; expected hilum ablate RUN DATA RUN DATA ...")
    pairs = [(run, Dataset.open(data)), *((a, Dataset.open(b)) for a, b in zip(more[::2], more[1::2], strict=True))]
    earlier: dict[str, list[Path]] = {}
    for row in before:
        name, given, listed = row.partition("=")
        if not name or not given or name in earlier:
            raise HilumError(f"--before '{row}': expected NAME=RUN,RUN,... with a name of its own")
        earlier[name] = [Path(each) for each in listed.split(",")]
    with _bar("folds") as progress:
        rows = ablation(pairs, before=earlier, name=split, progress=progress)
    images = sum(len(each.split(split)) for _, each in pairs)
    print_additions(rows, f"{', '.join(str(each) for each, _ in pairs)} on {images:,} images of {split}")
    if json:
        named = {name: [each.name for each in those] for name, those in earlier.items()}
        runs = [each.name for each, _ in pairs]
        write_json(json, {"runs": runs, "before": named, "split": split, "images": images, "rows": rows})


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
    named = Counter(path.stem for path in paths)
    if twice := next((path for path in paths if named[path.stem] > 1), None):
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
def export(
    run: Path,
    *,
    format: Literal["onnx", "openvino"],  # noqa: A002
    out: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Write a run anew with its network in another format, for a CPU. It is used like the run itself.

    Parameters
    ----------
    run
        Run folder, of a finished training.
    format
        onnx for ONNX Runtime (hilum[onnx]), openvino for OpenVINO (hilum[openvino]).
    out
        Folder to write; RUN-onnx or RUN-openvino beside the run where not given.
    overwrite
        Replace an exported run that is there.
    """
    from hilum.export import export as run_export

    folder = out or Path(f"{run.absolute()}-{format}" if run.name in {"", ".."} else f"{run}-{format}")
    difference = run_export(run, format, folder, overwrite=overwrite)
    compared = "only its outputs' shapes were compared" if difference is None else f"to {difference:.1g} of the value"
    print(f"{folder}: its network gives what that of {run} gives, {compared}")


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


def _is_run(source: str) -> bool:
    from hilum.config import shipped_configs

    return source not in shipped_configs() and (Path(source) / "config.yaml").is_file()


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


@contextmanager
def _processes(workers: int | None, items: int | None, module: str) -> Iterator[Executor | None]:
    """A pool of processes that load `module` meanwhile, or None where one process is enough."""
    count = workers or os.cpu_count() or 1
    if count == 1 or (items is not None and items <= 16):  # starting a pool takes longer than 16 pictures
        yield None
        return
    from hilum.converters.workers import end_with_parent

    with ProcessPoolExecutor(
        count, mp_context=get_context("spawn"), initializer=end_with_parent, initargs=(os.getpid(),)
    ) as executor:
        for _ in range(count):
            executor.submit(import_module, module)
        yield executor


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print_leaks(data: Any, leaks: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from hilum.datasets.leaks import leak_warnings

    console = Console() if sys.stdout.isatty() else Console(width=150)
    sides = leaks["splits"]
    print(str(data.path))
    table = Table("", *sides)
    table.add_row("images", *(f"{side['images']:,}" for side in sides.values()))
    if leaks["patients_known"]:
        table.add_row("patients", *(f"{side['patients']:,}" for side in sides.values()))
    table.add_row("with opacity", *(_share(side["with_opacity"], side["images"]) for side in sides.values()))
    for what, key in [("class", "classes"), ("view", "views")]:
        for value in sorted({value for side in sides.values() for value in side[key]}):
            cells = (_share(side[key].get(value, 0), side["images"]) for side in sides.values())
            table.add_row(f"{what} {value}", *cells)
    console.print(table)
    table = Table("on both sides of", "patients", "their images", "identical pictures")
    for pair in leaks["pairs"]:
        known = pair["patients"] is not None
        table.add_row(
            " and ".join(pair["between"]),
            f"{pair['patients']:,}" if known else "not known",
            " and ".join(f"{count:,}" for count in pair["their_images"]) if known else "not known",
            "not known" if pair["same_pictures"] is None else f"{pair['same_pictures']:,}",
        )
    console.print(table)
    if data.is_further_split:
        for reason, count in data.conversion["left_out"].items():
            print(f"{count:,} images are in none of them, listed in {data.path / 'left_out.csv'}: each {reason}")
    for line in leak_warnings(leaks):
        _complain(f"{data.path}: {line}")


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""


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
        if record["images"] or key in {"unlabelled_images", "untouched_jpeg"}:
            table.add_row(label, f"{record[key]:,}")
    for name, count in record["classes"].items():
        table.add_row(f"class {name}", f"{count:,}")
    for name, counts in record["splits"].items() if record["images"] else ():
        table.add_row(f"split {name}", f"{counts['images']:,} images, {counts['positive_images']:,} with opacity")
    for what, count in record["left_out"].items():
        table.add_row(f"left out: {what}", f"{count:,}")
    Console().print(table)
    if not record["images"]:
        _complain(f"{data / 'sources.csv'} and the key lead back to the files: do not share them with the pictures")
    elif not record["patients_known"]:
        _complain(
            "no patient map was given: images of one person may lie on both sides of a split; "
            "--patients FILE keeps them together"
        )
    elif record["images_without_patient"]:
        _complain(f"{record['images_without_patient']} images are not in the patient map; each counts as a person")
    if record["left_out"]:
        _complain(f"{data / 'left_out.csv'} says what was left out and why")
