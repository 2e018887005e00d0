"""Make a dataset folder of another one and new labels: same ids, same splits, and a list of what changed."""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from hilum import __version__
from hilum.datasets.coco import boxes_to_coco
from hilum.datasets.folder import SPLITS, Dataset
from hilum.datasets.label_tasks import Labels
from hilum.datasets.left_out import LeftOut, write_left_out
from hilum.datasets.record import CONVERSION
from hilum.datasets.writing import METADATA, write_metadata, write_splits
from hilum.datasets.yolo import boxes_to_yolo, data_yaml
from hilum.documents import read_csv
from hilum.errors import HilumError
from hilum.files import csv_text, write_atomically

CHANGED = "changed.csv"
_SAME_PX = 0.1  # what a tool may round a box by; a box that was not moved stays as it is, to the last digit


@dataclass(frozen=True)
class Change:
    """What new labels did to a picture: how many boxes came, and how many went; one that was moved counts as both."""

    image_id: str
    split: str
    what: str
    boxes_before: int
    boxes_after: int
    came: int
    went: int


def sizes_of(data: Dataset) -> dict[str, tuple[int, int]]:
    """Width and height of every picture of a dataset folder, those without labels too, by image id.

    Raises:
        HilumError: the table of those without labels is missing or damaged.
    """
    table = {row["image_id"]: (row["width"], row["height"]) for row in _unlabelled(data).values()}
    known = {name: size for part in SPLITS for name, size in _of_split(data, part)}
    try:
        return {name: (int(width), int(height)) for name, (width, height) in table.items()} | known
    except ValueError as error:
        raise HilumError(f"{data.path}: unlabelled/metadata.csv: {error}; convert again") from error


def _of_split(data: Dataset, name: Any) -> Iterable[tuple[str, tuple[int, int]]]:
    split = data.split(name)
    sizes = ((int(width), int(height)) for width, height in split.sizes_wh.tolist())
    return zip(split.image_ids, sizes, strict=True)


def _unlabelled(data: Dataset) -> dict[str, dict[str, str]]:
    """The rows of the pictures without labels, by image id; those whose file is there."""
    path = data.root / "unlabelled" / "metadata.csv"
    if not path.is_file():
        return {}
    there = {picture.stem for picture in data.unlabelled()}
    rows = read_csv(path, ("image_id", "patient", "width", "height"), remedy="convert again")
    return {row["image_id"]: row for row in rows if row["image_id"] in there}


def relabel(data: Dataset, labels: Mapping[str, Labels], left_out: list[LeftOut], out: Path) -> list[Change]:
    """Write a dataset folder with new labels.

    Pictures that had labels stay in their split, under their number; those that had none go to train, numbered on. A
    picture whose patient is in val or holdout is left out. Pictures are hard links where that can be. The folder
    appears whole or not at all; the one it is made of stays as it is.

    Args:
        data: a dataset folder.
        labels: by image id, of pictures that are there.
        left_out: what of them could not be used; more is added.
        out: must not be there.

    Returns:
        What changed, also written as `changed.csv`.

    Raises:
        HilumError: `data` is a further split, `out` is there already, or nothing changes.
    """
    if data.is_further_split:
        raise HilumError(f"{data.path}: is a further split; give the dataset folder, {data.root}")
    if out.exists():
        raise HilumError(f"{out}: is there already; give a new folder")
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        changes = _write(data, labels, left_out, part)
        if not changes:
            raise HilumError(f"{data.path}: the labels are those that it has; nothing was written")
        part.rename(out)
    except OSError as error:
        raise HilumError(f"{out}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return changes


def _write(data: Dataset, labels: Mapping[str, Labels], left_out: list[LeftOut], out: Path) -> list[Change]:
    rows: dict[str, dict[str, Any]] = {str(row["image_id"]): dict(row) for _, row in data.metadata.iterrows()}
    changes: list[Change] = []
    images: dict[int, tuple[str, Any, Labels]] = {}
    for name in SPLITS:
        split, coco = data.split(name), data.coco(name)[0]
        for number, image in enumerate(coco["images"]):
            image_id = split.image_ids[number]
            before = Labels(split.boxes_xywh[number], split.class_ids[number])
            images[image["id"]] = image_id, image, _kept(before, labels.get(image_id, before))
            changes += _change(image_id, name, "relabelled", before, images[image["id"]][2])
    side = {row["patient"]: row["split"] for row in rows.values() if row["patient"]}
    pictures = {picture.stem: picture for picture in data.unlabelled()}
    without, sizes = _unlabelled(data), sizes_of(data)
    for image_id in sorted(labels.keys() & without.keys()):
        row = without[image_id]
        if (its := side.get(row["patient"], "train")) != "train":
            left_out.append(LeftOut("image", image_id, "", None, f"its patient is in {its}"))
            continue
        number, file_name = max(images, default=0) + 1, pictures[image_id].name
        size = dict(zip(("width", "height"), sizes[image_id], strict=True))
        images[number] = image_id, {"id": number, "file_name": file_name, **size}, labels[image_id]
        nothing = Labels(np.zeros((0, 4)), np.zeros(0, np.int64))
        changes += _change(image_id, "train", "labelled", nothing, labels[image_id]) or [
            Change(image_id, "train", "labelled", 0, 0, 0, 0)
        ]
        rows[image_id] = {**row, "split": "train"}
    for change in changes:
        if bool(change.boxes_before) != bool(change.boxes_after):
            rows[change.image_id]["class"] = ""  # what was said of it before was said of other boxes
    if changes:
        _write_folder(data, out, images, rows, [*left_out], changes)
    return changes


def _kept(before: Labels, after: Labels) -> Labels:
    """New labels, in which a box that was there already is the old one."""
    boxes = after.boxes_xywh.copy()
    for number, (box, class_id) in enumerate(zip(after.boxes_xywh, after.class_ids, strict=True)):
        same = np.flatnonzero((before.class_ids == class_id) & (abs(before.boxes_xywh - box) < _SAME_PX).all(axis=1))
        boxes[number] = before.boxes_xywh[same[0]] if len(same) else box
    return Labels(boxes, after.class_ids)


def _change(image_id: str, split: str, what: str, before: Labels, after: Labels) -> list[Change]:
    old, new = (sorted(zip(each.boxes_xywh.tolist(), each.class_ids.tolist(), strict=True)) for each in (before, after))
    came, went = sum(box not in old for box in new), sum(box not in new for box in old)
    return [Change(image_id, split, what, len(old), len(new), came, went)] if old != new else []


def _write_folder(
    data: Dataset,
    out: Path,
    images: Mapping[int, tuple[str, Any, Labels]],
    rows: Mapping[str, dict[str, Any]],
    left_out: list[LeftOut],
    changes: list[Change],
) -> None:
    import pandas as pd

    for folder in ("images", "labels", "annotations", "unlabelled/images"):
        (out / folder).mkdir(parents=True)
    ordered = sorted(images)
    for number in ordered:
        image_id, image, labels = images[number]
        of_data = data.path / "images" / image["file_name"]
        _link(of_data if of_data.is_file() else data.path / "unlabelled/images" / image["file_name"], out / "images")
        size = image["width"], image["height"]
        boxes, class_ids = labels.boxes_xywh.tolist(), labels.class_ids.tolist()
        write_atomically(out / "labels" / f"{image_id}.txt", boxes_to_yolo(boxes, size, class_ids))
    named = {image_id for image_id, _, _ in images.values()}
    for picture in data.unlabelled():
        if picture.stem not in named:
            _link(picture, out / "unlabelled/images")
    rest = [row for name, row in _unlabelled(data).items() if name not in named]
    write_metadata(out / "unlabelled", pd.DataFrame(rest, columns=METADATA, dtype=object).fillna(""))
    columns = list(data.metadata.columns)
    table = pd.DataFrame([rows[images[number][0]] for number in ordered], columns=columns, dtype=object).fillna("")
    entries = [images[number] for number in ordered]
    coco = boxes_to_coco(
        ordered,
        [image["file_name"] for _, image, _ in entries],
        [(image["width"], image["height"]) for _, image, _ in entries],
        [labels.boxes_xywh for _, _, labels in entries],
        [labels.class_ids.tolist() for _, _, labels in entries],
        data.class_names,
    )
    counts = write_splits(out, table, coco)
    write_atomically(out / "data.yaml", data_yaml(data.class_names))
    write_left_out(out, left_out)
    write_atomically(out / CHANGED, csv_text([field.name for field in fields(Change)], map(astuple, changes)))
    unnamed = int((table["patient"] == "").sum())
    record = {**data.conversion, **counts, "unlabelled_images": len(rest), "images_without_patient": unnamed}
    record |= {"hilum": __version__, "relabelled_from": data.fingerprint}
    write_atomically(out / CONVERSION, json.dumps(record, indent=1) + "\n")


def _link(picture: Path, folder: Path) -> None:
    """The same picture in another folder: a hard link where the file system has them across both, else a copy."""
    with suppress(OSError):
        os.link(picture, folder / picture.name)
        return
    shutil.copyfile(picture, folder / picture.name)
