"""A predictions folder: COCO results, a CSV, JSON lines, a table of which images were looked at, and what made them."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import count, repeat
from pathlib import Path
from typing import Any

from pydantic import with_config
from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on

from hilum.class_names import class_names_of
from hilum.datasets.boxes import xyxy_to_xywh
from hilum.documents import MAX_RECORD_BYTES, RECORD, Shares, read_json
from hilum.files import csv_line, replacing
from hilum.result import Result
from hilum.run import write_json

RESULTS = "predictions.json"
TABLE = "predictions.csv"
LINES = "results.jsonl"
IMAGES = "images.csv"
ABOUT = "about.json"
CATEGORY = 1  # of the first class; further ones follow it
_COLUMNS = (
    *("coco_id", "image_id", "status", "boxes", "probability"),
    *("error", "warning", "modality", "body_part", "view"),
    *("path", "sop_instance_uid", "study_instance_uid"),  # which lead back to a person
)


@with_config(RECORD)
class About(TypedDict, total=False):
    """What `about.json` says of predictions; see `write_predictions`. Any of it may be missing or null.

    Attributes:
        run: Name of the run.
        hilum: The version that predicted.
        class_names: Of what was looked for, where that is not opacity alone.
        confidence: The operating point, from which on boxes count; of several classes a list.
        floor: Below which no box was written.
        split: Of the dataset folder whose images these are.
        data_fingerprint: Of that folder.
        of_run: Digest of the run, by which predictions of another one are told.
        of_images: Digest of the images, likewise.
    """

    run: str | None
    hilum: str | None
    class_names: list[str]
    confidence: Shares | None
    floor: Shares | None
    split: str | None
    data_fingerprint: str | None
    of_run: str | None
    of_images: str | None


def write_predictions(
    folder: Path,
    results: Iterable[Result],
    coco_ids: Iterable[int] | None = None,
    about: Mapping[str, Any] | None = None,
    places: Iterable[str] | None = None,
    at: datetime | None = None,
) -> None:
    """Write `predictions.json` (COCO results), `predictions.csv`, `results.jsonl`, `images.csv`, and `about.json`.

    Results are written as they come, and let go; the files appear when all are there.

    Args:
        folder: made if it is not there; predictions in it are replaced.
        results: one an image.
        coco_ids: the images' ids in a data set; numbers from 1 where None. `images.csv` tells whose they are.
        about: what the predictions were made with, any JSON values. `read_answer` goes by these: `confidence`, the
            operating point; `floor`, the confidence below which no box was written (of several classes one for each);
            `class_names`, where they are not the challenge's; `split`, of the data set. Others
            are for people, and for who calls `read_about`: `run`, `hilum`, `data_fingerprint`, and `of_run` and
            `of_images`, digests that tell predictions of another run or of other images.
        places: where each image lies. With it the table of images leads back to a person: it has the path and, of a
            DICOM file, the UIDs; where None, these columns are empty. `results.jsonl` has them too.
        at: when this was; `results.jsonl` tells it in UTC.
    """
    folder.mkdir(parents=True, exist_ok=True)
    class_names = class_names_of(about or {})
    several = len(class_names) > 1
    # The last that is opened takes its place first. The table of images goes before all others are replaced and comes
    # after them: a folder that has it is whole, and of one piece.
    with (
        replacing(folder / IMAGES) as images,
        replacing(folder / TABLE) as table,
        replacing(folder / LINES) as lines,
        replacing(folder / RESULTS) as found,
    ):
        images.write(csv_line([*_COLUMNS, *(probability_column(name) for name in class_names if several)]))
        table.write(csv_line(["image_id", "x", "y", "width", "height", "confidence", *(["class"] if several else [])]))
        found.write("[\n")
        between, made_by = "", _made_by(about or {}, at)
        numbers = count(1) if coco_ids is None else coco_ids
        known = coco_ids is not None, places is not None
        named = zip(numbers, repeat(None) if places is None else places, strict=all(known))
        for (number, place), result in zip(named, results, strict=any(known)):
            boxes = xyxy_to_xywh(result.detections.xyxy).tolist()
            detections = result.detections
            sure = zip(boxes, detections.confidence.tolist(), detections.class_id.tolist(), strict=True)
            for box, confidence, class_id in sure:
                entry = {"image_id": number, "category_id": CATEGORY + class_id, "bbox": box, "score": confidence}
                found.write(between + json.dumps(entry))
                between = ",\n"
                cells = [result.image_id, *(f"{value:.3f}" for value in box), f"{confidence:.6f}"]
                table.write(csv_line([*cells, *([class_names[class_id]] if several else [])]))
            status = "failed" if result.error else "predicted"
            # All digits: rounding would make ties, and ties change an area under a curve.
            probability = "" if result.error else repr(float(result.image_probability))
            row = [number, result.image_id, status, len(boxes), probability, *_said(result, place)]
            of_classes = [*map(repr, result.class_probabilities)] or [""] * (len(class_names) if several else 0)
            images.write(csv_line([*row, *of_classes]))
            lines.write(json.dumps(_line(result, place, made_by)) + "\n")
        found.write("\n]\n")
        (folder / IMAGES).unlink(missing_ok=True)
        if about is None:
            (folder / ABOUT).unlink(missing_ok=True)
        else:
            write_json(folder / ABOUT, dict(about))


def probability_column(class_name: str) -> str:
    """The column of the table of images that has the probability of one class of several."""
    return f"probability of {class_name}"


def _made_by(about: Mapping[str, Any], at: datetime | None) -> dict[str, Any]:
    """What each line of `results.jsonl` says of what made it."""
    return {
        "run": about.get("run"),
        "run_digest": about.get("of_run"),
        "operating_point": about.get("confidence"),
        "hilum": about.get("hilum"),
        "time": at.astimezone(UTC).isoformat(timespec="seconds") if at else None,
    }


def _line(result: Result, place: str | None, made_by: Mapping[str, Any]) -> dict[str, Any]:
    values = {"path": place, **result.to_dict()}
    if place is None:
        values |= {"sop_instance_uid": None, "study_instance_uid": None}
    return {**values, **made_by}


def holds_predictions(folder: Path) -> bool:
    """Whether predictions lie in a folder, whole or in part."""
    return any((folder / name).exists() for name in (RESULTS, TABLE, LINES, IMAGES, ABOUT))


def _said(result: Result, place: str | None) -> list[str]:
    """The text cells of an image's row, from `error` on."""
    shown = result.description
    identifiers = ("", "", "") if place is None else (place, shown.sop_instance_uid, shown.study_instance_uid)
    return [result.error or "", result.warning or "", shown.modality, shown.body_part, shown.view, *identifiers]


def read_about(folder: Path) -> dict[str, Any]:
    """Read what a predictions folder was made with; empty where nobody wrote it.

    Raises:
        HilumError: `about.json` is damaged, or a key that `About` knows is of another type; one line a problem.
    """
    path = folder / ABOUT
    if not path.exists():
        return {}
    return {**read_json(path, About, at_most=MAX_RECORD_BYTES, remedy="predict again")}
