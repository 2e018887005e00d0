"""Train or reuse every config on the same data, measure all on holdout, and put them into one table."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hilum import __version__
from hilum.config import ExperimentConfig
from hilum.converters.files import write_atomically
from hilum.datasets.boxes import xyxy_to_xywh
from hilum.datasets.folder import Dataset, Split
from hilum.datasets.pictures import read_picture
from hilum.errors import HilumError
from hilum.eval.baselines import average_boxes
from hilum.eval.bootstrap import Interval, paired_difference
from hilum.eval.measures import Answer, Measures, everywhere, measure, nothing, scores_of
from hilum.eval.pictures import choose_images, draw_comparison
from hilum.eval.tables import table_csv, table_markdown, table_rows
from hilum.predict import Predictor, detect_all, load
from hilum.run import is_complete, parameter_count, read_json, run_config, write_json
from hilum.train import same_experiment, train, training_seconds

AVERAGE = "two average boxes"
NOTHING = "nothing predicted"
_TIMED = 20


@dataclass(frozen=True)
class Entry:
    """A row of the table.

    Attributes:
        name: of the config, or of a baseline.
        backend: None for a baseline.
        measures: on holdout, at the operating point that was chosen on val.
        above_nothing, above_average: paired difference of the competition score to the baseline, with its 95%
            interval over patients.
        parameters: values in the weights, BatchNorm's running ones included.
        training_seconds: spent in epochs.
        latency_ms: median for one picture, from the decoded array to its boxes.
    """

    name: str
    backend: str | None
    measures: Measures
    above_nothing: Interval
    above_average: Interval
    parameters: int | None = None
    training_seconds: float | None = None
    latency_ms: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "backend": self.backend,
            **self.measures.to_json(),
            "above_nothing": self.above_nothing._asdict(),
            "above_average_boxes": self.above_average._asdict(),
            "parameters": self.parameters,
            "training_seconds": self.training_seconds,
            "latency_ms": self.latency_ms,
        }


def benchmark(
    data: Dataset, configs: Mapping[str, ExperimentConfig], out: Path, *, tell: Callable[[str], None]
) -> list[Entry]:
    """Compare configs on one data set.

    Epochs and operating points are chosen on val; every figure is of holdout. A run below `out/runs` is reused when
    its config, the data's fingerprint and hilum's version agree.

    Args:
        data: the dataset folder.
        configs: name -> resolved config.
        out: folder for runs, `table.csv`, `table.md`, `results.json` and `comparison.png`.
        tell: called with a line on what is being done.

    Raises:
        HilumError: the holdout split is empty, or a run folder holds something else.
    """
    holdout = data.split("holdout")
    if not len(holdout):
        raise HilumError(f"{data.path}: the holdout split has no image; convert more images")
    for name, config in configs.items():  # before anything is trained
        _check_reusable(out / "runs" / name, config, data)
    answers: dict[str, Answer] = {
        NOTHING: nothing(holdout),
        AVERAGE: everywhere(average_boxes(data.split("train"), holdout)),
    }
    entries: list[Entry] = []
    costs: dict[str, dict[str, Any]] = {NOTHING: {"backend": None}, AVERAGE: {"backend": None}}
    for name, config in configs.items():
        run = out / "runs" / name
        predictor = _trained(name, config, data, run, tell)
        tell(f"{name}: predicts {len(holdout)} holdout images")
        answers[name] = predict_split(predictor, holdout)
        costs[name] = {
            "backend": config.backend,
            "parameters": parameter_count(run),
            "training_seconds": training_seconds(run),
            "latency_ms": _latency_ms(predictor, holdout),
        }
    scores = {name: scores_of(holdout, answer) for name, answer in answers.items()}
    for name, answer in answers.items():
        entries.append(
            Entry(
                name=name,
                measures=measure(holdout, answer),
                above_nothing=paired_difference(scores[name], scores[NOTHING], holdout.patients),
                above_average=paired_difference(scores[name], scores[AVERAGE], holdout.patients),
                **costs[name],
            )
        )
    _write(out, data, holdout, entries)
    shown = {name: answer for name, answer in answers.items() if name in configs}
    draw_comparison(holdout, shown, choose_images(holdout, 4, 2), out / "comparison.png")
    return entries


def predict_split(predictor: Predictor, split: Split) -> Answer:
    """Every box of a split above the backend's floor, with the predictor's operating point.

    Raises:
        HilumError: pictures that cannot be read, a line each: a score over the others would flatter.
    """
    found = detect_all(predictor, split.paths)
    boxes = [xyxy_to_xywh(detections.xyxy) for detections in found]
    return Answer(boxes, [np.asarray(d.confidence, np.float64) for d in found], predictor.confidence)


def _check_reusable(run: Path, config: ExperimentConfig, data: Dataset) -> None:
    if is_complete(run) and not same_experiment(run, config, data):
        raise HilumError(
            f"{run}: a run of another config, other data or another version ({run_config(run).backend}, "
            f"hilum {read_json(run / 'environment.json').get('hilum')}); delete it or give another --out"
        )


def _trained(name: str, config: ExperimentConfig, data: Dataset, run: Path, tell: Callable[[str], None]) -> Predictor:
    if is_complete(run):
        tell(f"{name}: reuses {run}")
        return load(run)
    tell(f"{name}: trains {config.backend} into {run}")
    return train(config, data, run)


def _latency_ms(predictor: Predictor, split: Split) -> float:
    """Median time for one picture alone; the first few, which warm caches up, do not count."""
    pictures = [read_picture(path) for path in split.paths[:_TIMED]]
    warm_up = pictures[:3]
    seconds = []
    for picture in [*warm_up, *pictures]:
        start = time.perf_counter()
        predictor.backend.predict_batch([picture])
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[len(warm_up) :]) * 1000)


def _write(out: Path, data: Dataset, holdout: Split, entries: Sequence[Entry]) -> None:
    about = {
        "hilum": __version__,
        "data_fingerprint": data.fingerprint,
        "patients_known": data.patients_known,
        "split": "holdout",
        "images": len(holdout),
        "positive_images": sum(len(boxes) > 0 for boxes in holdout.boxes_xyxy),
        "chosen": "epochs and operating points were chosen on val; differences are paired",
    }
    rows = table_rows([entry.to_json() for entry in entries])
    results = {**about, "entries": [entry.to_json() for entry in entries]}
    write_json(out / "results.json", results)
    write_atomically(out / "table.csv", table_csv(rows))
    write_atomically(out / "table.md", table_markdown(rows, about))
