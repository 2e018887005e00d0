"""Train any backend from a config: prepare the run folder, train, choose the operating point on val."""

import platform
import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2

from hilum import __version__
from hilum.backend import Backend, backend_named, epochs_chosen_by
from hilum.config import ExperimentConfig, dump_config
from hilum.datasets.derived import CACHE, SPLITS
from hilum.datasets.folder import Dataset, SplitName
from hilum.datasets.record import PARENT
from hilum.errors import HilumError
from hilum.files import PARTIAL, locked, refuse_any_link, remove, write_atomically
from hilum.predict import Predictor, at_operating_point, operating_point
from hilum.run import (
    CONFIG,
    ENVIRONMENT,
    MEMBERS,
    MODEL,
    OPERATING_POINT,
    OUTPUTS,
    START,
    StartedFrom,
    is_complete,
    read_environment,
    run_config,
    started_from,
    weights_files,
    write_json,
)
from hilum.source_digest import source_digest
from hilum.talk import log
from hilum.training.checkpoint import CHECKPOINT
from hilum.training.curves import draw_curves
from hilum.training.device import on_device, pick_device
from hilum.training.distributed import broadcast, is_rank_zero, processes, wait, world_size
from hilum.training.examples import draw_examples, examples
from hilum.training.log import LOG, read_log
from hilum.training.loggers import MLFLOW, TENSORBOARD, Loggers, check_loggers, flat

_HALF_WRITTEN = re.compile(rf"\..+\.[0-9a-f]{{8}}{re.escape(PARTIAL)}")  # as `write_atomically` names its own files
# What may lie in a run before its first epoch ends; the log is empty then.
_BEFORE_LEARNING = {CACHE, CONFIG, ENVIRONMENT, LOG, MEMBERS, MLFLOW, MODEL, OUTPUTS, SPLITS, START, TENSORBOARD}
_DEVICE = "train.device"
_VERSIONS = ("numpy", "opencv-python", "segmentation-models-pytorch", "timm", "torch", "torchvision", "ultralytics")


def train(config: ExperimentConfig, data: Dataset, run: Path) -> Predictor:
    """Train, or go on with an interrupted training.

    Epochs and the operating point are chosen on val; holdout is not looked at.

    Args:
        config: resolved.
        data: the dataset folder. Where it has no `scratch` of its own, `run` is that; squares in it go in the end.
        run: made if it is not there; must be empty, or an interrupted run of the same config on the same data, or one
            of another that had not learned anything yet.

    Raises:
        HilumError: the folder holds something else, or what `check_start` finds.
    """
    config = _of_data(config, data)
    with on_device(str(getattr(getattr(config, "train", None), "device", "auto"))), processes():
        return _train(config, data, run)


def check_start(config: ExperimentConfig, data: Dataset) -> None:
    """Make sure, before anything is written, that nothing that can be known now stops a training.

    Raises:
        HilumError: the data has no image to train or to choose on, or no opacity to learn; `torchrun` started several
            processes, and the backend does not share its batches among them; or the backend cannot have what it starts
            with.
    """
    _trainable(config, data).check_start(_of_data(config, data), data)


def _of_data(config: ExperimentConfig, data: Dataset) -> ExperimentConfig:
    """What a config is on some data: with their classes, and with their bits where the backend reads them."""
    bits = {"bits": data.bits} if data.bits > 8 and backend_named(config.backend).reads_16_bits else {}
    return config.with_classes(data.class_names).model_copy(update=bits)


def _trainable(config: ExperimentConfig, data: Dataset) -> type[Backend]:
    """The backend of a config, if it can train on such data, in so many processes."""
    needed: tuple[SplitName, ...] = ("train", "val")
    for name in needed:
        if not len(data.split(name)):
            raise HilumError(f"{data.path}: the {name} split has no image; convert more images")
    kind = backend_named(config.backend)
    check_loggers(_loggers(config))
    if kind.learns and not data.split("train").shows_opacity:
        raise HilumError(
            f"{data.path}: no image of the train split shows opacity, so there is nothing to learn; convert images "
            "that do, or split them another way"
        )
    if world_size() > 1 and not kind.distributed:
        raise HilumError(f"backend '{config.backend}': does not train under torchrun; start it without")
    return kind


def _train(config: ExperimentConfig, data: Dataset, run: Path) -> Predictor:
    kind = _trainable(config, data)
    pick_device()  # before anything is written
    data = data if data.scratch else replace(data, scratch=run)
    # What an interrupted run started with may be gone. All processes do as the first one, which writes, has seen it.
    if not broadcast(is_rank_zero() and same_experiment(run, config, data)):
        check_start(config, data)
    with _alone(run) if is_rank_zero() else nullcontext():
        if is_rank_zero():
            _claim(run, config, data)
            _warn(kind, config, data, read_environment(run).get("started_from", {}))
        wait()
        backend = kind.train(config, data, run)
        if is_rank_zero():
            if log := read_log(run):  # a composed run has none, but its members do
                title = f"{run.name}: {config.backend}"
                draw_curves(log, run / "curves.png", title=title, score=epochs_chosen_by(config))
            # Makes the run whole, so it comes last.
            write_operating_point(backend, data, run)
            (run / CHECKPOINT).unlink(missing_ok=True)
            if names := _loggers(config):
                _show(at_operating_point(backend, run, data.class_names), data, run, names)
            if data.scratch == run:
                remove(run / CACHE)
        wait()
    return at_operating_point(backend, run, data.class_names)


def _loggers(config: ExperimentConfig) -> tuple[str, ...]:
    return tuple(getattr(getattr(config, "train", None), "loggers", ()))


def _show(predictor: Predictor, data: Dataset, run: Path, names: tuple[str, ...]) -> None:
    """Hand the learning curves, and what is found in a few pictures of val, to the run's loggers."""
    val = data.split("val")
    numbers = examples(val)
    found = list(predictor.predict([val.paths[number] for number in numbers]))
    loggers = Loggers(names, run, len(read_log(run)))
    if (run / "curves.png").is_file():
        loggers.picture("curves", cv2.cvtColor(cv2.imread(str(run / "curves.png")), cv2.COLOR_BGR2RGB))
    loggers.picture("val", draw_examples(val, numbers, found))
    loggers.close()


def _warn(kind: type[Backend], config: ExperimentConfig, data: Dataset, start: StartedFrom) -> None:
    """Tell what training goes on with, and its figures hide."""
    if kind.learns and not data.split("val").shows_opacity:
        log.warning(
            f"{data.path}: no image of the val split shows opacity: the best epoch and an operating point "
            "cannot be told, so the last epoch and all boxes are kept; split the images another way"
        )
    elif kind.learns and len(data.class_names) > 1:
        lacking: dict[SplitName, str] = {
            "train": "it cannot be learned",
            "val": "its operating point cannot be told, so all of its boxes are kept",
        }
        for split, so in lacking.items():
            for name, its in data.split(split).by_class().items():
                if not its.shows_opacity:
                    log.warning(f"{data.path}: no image of the {split} split shows {name}: {so}")
    if data.bits > 8 and kind.learns and not kind.reads_16_bits and hasattr(config, "train"):
        log.warning(f"{data.path}: has pictures of 16 bits, and backend '{config.backend}' reads 8 of them")
    if config.starts_from is not None:
        theirs, ours = (", ".join(names) for names in (run_config(config.starts_from).class_names, data.class_names))
        if theirs != ours:
            anew = "what tells classes apart starts anew where their numbers differ"
            log.warning(f"{config.starts_from}: looks for {theirs}, and {data.path} has {ours}; {anew}")
    if start and start.get("data_fingerprint") != data.fingerprint:
        log.warning(
            f"{start.get('run')}: was trained on other data or another split than {data.path}; if it has seen "
            "images of its val or holdout, figures will be too good"
        )


def write_operating_point(backend: Backend, data: Dataset, run: Path) -> None:
    """Choose on val the confidence from which on boxes are kept, and what else the backend leaves to val; store it."""
    val = data.split("val")
    write_json(run / OPERATING_POINT, {**operating_point(backend, val), "chosen_on": "val", "val_images": len(val)})


def training_seconds(run: Path) -> float:
    """Time spent in epochs, over all interruptions; of a composed run in those of its members."""
    return float(sum(line["seconds"] for path in weights_files(run) for line in read_log(path.parent)))


def same_experiment(run: Path, config: ExperimentConfig, data: Dataset) -> bool:
    """Whether a run was started with this config, on this data, by this version."""
    if not (run / CONFIG).is_file() or not (run / ENVIRONMENT).is_file():
        return False
    environment = read_environment(run)
    try:
        stored = run_config(run)  # read, not compared as text: the order of its keys says nothing
    except HilumError:
        return False
    config = _of_data(config, data)
    return (
        _counted(stored) == _counted(config)
        and environment.get("data_fingerprint") == data.fingerprint
        and environment.get("hilum") == __version__
    )


def _differing(run: Path, config: ExperimentConfig) -> list[str]:
    """The keys, with dots, in which a config is another than a run's own; up to five."""
    try:
        stored = run_config(run)
    except HilumError:
        return []
    one, other = _counted(stored), _counted(config)
    keys = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
    return keys[:5] + (["..."] if len(keys) > 5 else [])


def _counted(config: ExperimentConfig) -> dict[str, Any]:
    """What tells one experiment from another, its keys with dots: all but the device, for one may go on elsewhere."""
    return {key: value for key, value in flat(config.model_dump(mode="json")).items() if not key.endswith(_DEVICE)}


def has_learned(run: Path) -> bool:
    """Whether a folder holds anything but what a training leaves there that ended before its first epoch did."""
    if not run.is_dir():
        return run.exists()
    there = {path.name for path in run.iterdir() if not _HALF_WRITTEN.fullmatch(path.name)}
    if there <= {ENVIRONMENT}:  # killed while it was begun
        return False
    # CONFIG alone is a file of the user's.
    if not {CONFIG, ENVIRONMENT} <= there <= _BEFORE_LEARNING or "hilum" not in read_environment(run):
        return True
    members = (run / MEMBERS).iterdir() if MEMBERS in there else ()
    return (LOG in there and (run / LOG).stat().st_size > 0) or any(map(has_learned, members))


def _alone(run: Path) -> AbstractContextManager[None]:
    """Keep a second training, started because this one seemed to be gone, out of the folder."""
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HilumError(f"{run}: cannot be written: {error.strerror}") from error
    return locked(run, busy="another training is writing there; wait for its end")


def _claim(run: Path, config: ExperimentConfig, data: Dataset) -> None:
    refuse_any_link(run)  # ultralytics and TensorBoard write into folders of their own in ways of their own
    try:
        halves = {path.name for path in run.iterdir() if _HALF_WRITTEN.fullmatch(path.name)}  # what a kill left
        complete, same = is_complete(run), same_experiment(run, config, data)
        if not complete and not same and has_learned(run):
            begun = read_environment(run).get("hilum") if (run / ENVIRONMENT).is_file() else __version__
            versions = "" if begun == __version__ else f" (hilum {begun} began it, this is {__version__})"
            keys = _differing(run, config)
            differs = f", which differs in {', '.join(keys)}," if keys else ""
            raise HilumError(
                f"{run}: is not an interrupted run of this config{differs} on this data{versions}; give a new folder"
            )
        for name in halves | ({CHECKPOINT} if complete else set()):
            (run / name).unlink(missing_ok=True)
        if complete:
            raise HilumError(f"{run}: already holds a finished run; give a new folder{_going_on(run, config)}")
        if not same:
            for name in (LOG, MODEL, START):  # of a training that learned nothing
                (run / name).unlink(missing_ok=True)
            for name in (MEMBERS, MLFLOW, OUTPUTS, TENSORBOARD):
                remove(run / name)
            environment = _environment(config, data)
            write_json(run / ENVIRONMENT, environment)
            start = config.pretraining or "random weights"
            log.debug(f"{run.name}: starts with {start}; versions {environment['versions']}")
            write_atomically(run / CONFIG, dump_config(config))
    except OSError as error:
        raise HilumError(f"{run}: cannot be written: {error.strerror}") from error


def _going_on(run: Path, config: ExperimentConfig) -> str:
    """How to go on from a finished run, for its error."""
    if config.start_key is None:
        return ""
    done, wanted = (getattr(getattr(some, "train", None), "epochs", 0) for some in (run_config(run), config))
    more = f" train.epochs={wanted - done}" if wanted > done else ""
    return f"; there, {config.start_key}={run}{more} learns on from its weights"


def _environment(config: ExperimentConfig, data: Dataset) -> dict[str, Any]:
    versions = {}
    for name in _VERSIONS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "hilum": __version__,
        "code": source_digest(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": str(pick_device()),
        "versions": versions,
        "seed": config.seed,
        "data_fingerprint": data.fingerprint,
        **({"root_fingerprint": data.conversion[PARENT]} if data.is_further_split else {}),
        "patients_known": data.patients_known,
        # RSNA's images are a subset of NIH ChestX-ray14: weights pretrained there have seen the holdout.
        "pretraining": config.pretraining,
        **({} if config.starts_from is None else {"started_from": started_from(config.starts_from)}),
    }
