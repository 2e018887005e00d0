"""Train any backend from a config: prepare the run folder, train, choose the operating point on val."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hilum import __version__
from hilum.backend import backend_class
from hilum.config import ExperimentConfig, dump_config
from hilum.converters.files import write_atomically
from hilum.datasets.folder import Dataset, SplitName
from hilum.errors import HilumError
from hilum.predict import Predictor, predict_all
from hilum.run import CONFIG, ENVIRONMENT, OPERATING_POINT, is_complete, read_json, write_json
from hilum.training.checkpoint import CHECKPOINT
from hilum.training.curves import draw_curves
from hilum.training.log import read_log
from hilum.training.validation import best_operating_point

_VERSIONS = ("numpy", "opencv-python", "torch", "torchvision", "ultralytics")


def train(config: ExperimentConfig, data: Dataset, run: Path) -> Predictor:
    """Train, or go on with an interrupted training.

    Epochs and the operating point are chosen on val; holdout is not looked at.

    Args:
        config: resolved.
        data: the dataset folder.
        run: made if it is not there; must be empty or an interrupted run of the same config on the same data.

    Raises:
        HilumError: the folder holds something else, or the data has no image to train or to choose on.
    """
    needed: tuple[SplitName, ...] = ("train", "val")
    for name in needed:
        if not len(data.split(name)):
            raise HilumError(f"{data.path}: the {name} split has no image; convert more images")
    _claim(run, config, data)
    backend = backend_class(config.backend).train(config, data, run)
    write_operating_point(Predictor(backend, 0.0), data, run)
    (run / CHECKPOINT).unlink(missing_ok=True)
    draw_curves(read_log(run), run / "curves.png", title=f"{run.name}: {config.backend}")
    return Predictor(backend, read_json(run / OPERATING_POINT)["confidence"])


def write_operating_point(predictor: Predictor, data: Dataset, run: Path) -> None:
    """Choose on val the confidence from which on boxes are kept, and store it."""
    val = data.split("val")
    found = [result.detections for result in predict_all(predictor, val.paths)]
    confidence, score = best_operating_point(val, found)
    chosen = {"confidence": confidence, "chosen_on": "val", "val_score": score, "val_images": len(val)}
    write_json(run / OPERATING_POINT, chosen)


def training_seconds(run: Path) -> float:
    """Time spent in epochs, over all interruptions."""
    return float(sum(line["seconds"] for line in read_log(run)))


def same_experiment(run: Path, config: ExperimentConfig, data: Dataset) -> bool:
    """Whether a run was started with this config, on this data, by this version."""
    if not (run / CONFIG).is_file() or not (run / ENVIRONMENT).is_file():
        return False
    environment = read_json(run / ENVIRONMENT)
    return (
        (run / CONFIG).read_text(encoding="utf-8") == dump_config(config)
        and environment.get("data_fingerprint") == data.fingerprint
        and environment.get("hilum") == __version__
    )


def _claim(run: Path, config: ExperimentConfig, data: Dataset) -> None:
    try:
        there = {path.name for path in run.iterdir()} if run.is_dir() else set()
        if there and there not in ({CONFIG}, {ENVIRONMENT}):  # one of the two: killed while it was begun
            if is_complete(run):
                raise HilumError(f"{run}: already holds a finished run; give a new folder")
            if not same_experiment(run, config, data):
                raise HilumError(f"{run}: is not an interrupted run of this config on this data; give a new folder")
            return
        run.mkdir(parents=True, exist_ok=True)
        write_json(run / ENVIRONMENT, _environment(config, data))
        write_atomically(run / CONFIG, dump_config(config))
    except OSError as error:
        raise HilumError(f"{run}: cannot be written: {error.strerror}") from error


def _environment(config: ExperimentConfig, data: Dataset) -> dict[str, Any]:
    from hilum.training.loop import pick_device

    versions = {}
    for name in _VERSIONS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "hilum": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": str(pick_device()),
        "versions": versions,
        "seed": config.seed,
        "data_fingerprint": data.fingerprint,
        "patients_known": data.patients_known,
        # RSNA's images are a subset of NIH ChestX-ray14: weights pretrained there have seen the holdout.
        "pretraining": config.pretraining,
    }
