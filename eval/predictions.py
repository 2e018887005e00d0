"""Predictions on disk: a folder with COCO results, a CSV, and a table of which images were looked at."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.converters.files import csv_text, write_atomically
from hilum.datasets.boxes import xyxy_to_xywh
from hilum.datasets.folder import Split
from hilum.errors import HilumError
from hilum.eval.measures import Answer
from hilum.eval.submission import Predictions, read_submission
from hilum.predict import Result

RESULTS = "predictions.json"
IMAGES = "images.csv"


def write_predictions(folder: Path, results: Sequence[Result], coco_ids: Sequence[int] | None = None) -> None:
    """Write `predictions.json` (COCO results), `predictions.csv` and `images.csv`.

    Args:
        folder: made if it is not there.
        results: one an image.
        coco_ids: the images' ids in a data set; numbers from 1 where None. `images.csv` tells whose they are.
    """
    ids = list(coco_ids) if coco_ids is not None else list(range(1, len(results) + 1))
    found: list[dict[str, Any]] = []
    rows: list[list[Any]] = []
    images: list[list[Any]] = []
    for number, result in zip(ids, results, strict=True):
        boxes = xyxy_to_xywh(result.detections.xyxy).tolist()
        for box, confidence in zip(boxes, result.detections.confidence.tolist(), strict=True):
            found.append({"image_id": number, "category_id": 1, "bbox": box, "score": confidence})
            rows.append([result.image_id, *(f"{value:.3f}" for value in box), f"{confidence:.6f}"])
        status = "failed" if result.error else "predicted"
        probability = "" if result.error else f"{result.image_probability:.6f}"
        images.append([number, result.image_id, status, len(boxes), probability, result.error or ""])
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / RESULTS, "[\n" + ",\n".join(json.dumps(entry) for entry in found) + "\n]\n")
    write_atomically(
        folder / "predictions.csv", csv_text(["image_id", "x", "y", "width", "height", "confidence"], rows)
    )
    header = ["coco_id", "image_id", "status", "boxes", "probability", "error"]
    write_atomically(folder / IMAGES, csv_text(header, images))  # last: a folder that has it is whole


def read_answer(source: Path, split: Split, least: float = 0.0) -> tuple[Answer, list[str]]:
    """Read predictions on a split, whoever wrote them.

    Args:
        source: a predictions folder, COCO results (.json), or a submission (.csv).
        split: the images; those that the source lacks count as predicted without a box, and are named.
        least: the operating point of the answer.

    Returns:
        The answer in the split's order, and a line for each thing that was not right.

    Raises:
        HilumError: not readable as any of the three.
    """
    if source.is_dir():
        known, problems = _read_folder(source)
    elif source.suffix.lower() == ".json" and (source.parent / IMAGES).is_file():
        known, problems = _read_folder(source.parent)  # its numbers are the folder's own
    elif source.suffix.lower() == ".json":
        names = dict(zip(split.coco_ids, split.image_ids, strict=True))
        known, problems = _read_coco(source, names)
    elif source.suffix.lower() == ".csv":
        try:
            known, problems = read_submission(source)
        except ValueError as error:
            raise HilumError(str(error)) from error
    else:
        raise HilumError(f"{source}: expected a run, a predictions folder, COCO results (.json) or a submission (.csv)")
    missing = [image_id for image_id in split.image_ids if image_id not in known]
    if missing and len(missing) == len(split):
        raise HilumError(f"{source}: none of the {len(split)} images of the {split.name} split is in it")
    if missing:
        problems.append(
            f"{source}: {len(missing)} of {len(split)} images of the {split.name} split are not in it, "
            f"{missing[0]} first; they count as predicted without a box"
        )
    strangers = len(known.keys() - set(split.image_ids))
    if strangers:
        problems.append(f"{source}: {strangers} images are not in the {split.name} split and were passed over")
    none = (np.zeros((0, 4)), np.zeros(0))
    pairs = [known.get(image_id, none) for image_id in split.image_ids]
    return Answer([boxes for boxes, _ in pairs], [confidence for _, confidence in pairs], least), problems


def _read_folder(folder: Path) -> tuple[Predictions, list[str]]:
    path = folder / IMAGES
    names: dict[int, str] = {}
    problems: list[str] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["status"] == "predicted":
                    names[int(row["coco_id"])] = row["image_id"]
                else:
                    problems.append(f"{path}: {row['image_id']}: not predicted: {row['error']}")
    except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
        raise HilumError(f"{path}: not the table of a predictions folder ({type(error).__name__})") from error
    known, more = _read_coco(folder / RESULTS, names)
    none = (np.zeros((0, 4)), np.zeros(0))
    return {name: known.get(name, none) for name in names.values()}, problems + more


def _read_coco(path: Path, names: dict[int, str]) -> tuple[Predictions, list[str]]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HilumError(f"{path}: cannot be read as JSON ({type(error).__name__})") from error
    if not isinstance(entries, list):
        raise HilumError(f"{path}: expected COCO results, a list of objects, found {type(entries).__name__}")
    found: dict[str, list[tuple[list[float], float]]] = {}
    problems: list[str] = []
    strange = 0
    for number, entry in enumerate(entries, start=1):
        try:
            box, score, image = [float(value) for value in entry["bbox"]], float(entry["score"]), entry["image_id"]
            name = names.get(image)
            fine = len(box) == 4 and all(map(math.isfinite, [*box, score])) and min(box[2:]) > 0
        except (KeyError, TypeError, ValueError, OverflowError):
            fine = False
        if not fine:
            problems.append(
                f"{path}: entry {number}: expected image_id, bbox [x, y, width, height] and score; left out"
            )
        elif name is None:
            strange += 1
        else:
            found.setdefault(name, []).append((box, score))
    if strange:
        problems.append(f"{path}: {strange} boxes are of images that are not among those looked at; left out")
    return {name: _arrays(boxes) for name, boxes in found.items()}, problems


def _arrays(boxes: list[tuple[list[float], float]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.array([box for box, _ in boxes], np.float64), np.array([score for _, score in boxes], np.float64)
