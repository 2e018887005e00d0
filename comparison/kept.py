"""What a benchmark keeps of a run, predictions and cost; made anew where what they were made from has changed."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on

from hilum import __version__
from hilum.class_names import check_same_classes, said_of_classes
from hilum.comparison.cost import Cost, describe_machine, measure_cost
from hilum.datasets.folder import Dataset, Split
from hilum.documents import MAX_RECORD_BYTES, read_json
from hilum.eval.answer import Answer
from hilum.eval.predictions import read_answers
from hilum.eval.predictions_folder import read_about, write_predictions
from hilum.predict import Predictor, predict_all
from hilum.run import OPERATING_POINT, network_files, write_json
from hilum.source_digest import source_digest


class _KeptCost(TypedDict):
    """A run's `cost.json`: what it cost, and what was measured for that."""

    of: dict[str, Any]
    cost: Cost


def predicted(
    predictor: Predictor, run: Path, data: Dataset, split: Split, folder: Path, name: str, tell: Callable[[str], None]
) -> list[Answer]:
    """The run's answer to each class of a split: read where it has been predicted, predicted and kept where not."""
    check_same_classes(predictor.class_names, split.class_names, name)
    about = {
        "run": name,
        "weights": _digest(network_files(run)[-1]),
        "operating_point": _digest(run / OPERATING_POINT),
        **said_of_classes(predictor.class_names),
        "confidence": list(least) if isinstance(least := predictor.confidence, tuple) else least,
        "split": split.name,
        "data_fingerprint": data.fingerprint,
        "hilum": __version__,
        "code": source_digest(),
    }
    if (folder / "images.csv").is_file() and read_about(folder) == about:
        return [*read_answers(folder, split)[0].values()]
    tell(f"{name}: predicts {len(split)} images of {split.name}")
    write_predictions(folder, predict_all(predictor, split.paths), split.coco_ids, about)
    return [*read_answers(folder, split)[0].values()]


def cost_of(predictor: Predictor, run: Path, split: Split, dicoms: Sequence[Path], path: Path, seconds: float) -> Cost:
    of = {
        "weights": _digest(network_files(run)[-1]),
        "machine": describe_machine(),
        "seconds": seconds,
        "dicoms": _names_and_sizes(dicoms),
        "code": source_digest(),
    }
    if path.is_file():
        kept = read_json(path, _KeptCost, at_most=MAX_RECORD_BYTES, remedy="delete it, and it is measured anew")
        if kept["of"] == of:
            return kept["cost"]
    cost = measure_cost(predictor, run, split.paths, dicoms, seconds=seconds)
    write_json(path, {"of": of, "cost": asdict(cost)})
    return cost


def _names_and_sizes(paths: Sequence[Path]) -> str:
    listed = [f"{path.name}\0{path.stat().st_size if path.exists() else None}" for path in paths]
    return hashlib.sha256("\n".join(listed).encode()).hexdigest()[:16]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
