"""Write what a dataset folder holds beside pictures and label files: splits, COCO files, tables."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hilum.converters.picture import Box, Picture, scaled
from hilum.converters.rsna import OPACITY, LeftOut
from hilum.datasets.coco import boxes_to_coco, coco_json
from hilum.datasets.splits import DEFAULT_SHARES, split_by_group
from hilum.datasets.yolo import data_yaml
from hilum.files import csv_text, write_atomically

METADATA = (
    "image_id",
    "split",
    "class",
    "patient",
    "sex",
    "age_years",
    "view",
    "spacing_mm",
    "width",
    "height",
    "source_width",
    "source_height",
    "sha256",
)


@dataclass(frozen=True)
class Labelled:
    """A labelled picture of the dataset.

    Attributes:
        picture: as it was written.
        boxes_xywh: inside the picture, in its own pixels, so after any reduction.
        kind: the class; empty where it is unknown, or contradicts the boxes.
        patient: empty where unknown.
    """

    picture: Picture
    boxes_xywh: tuple[Box, ...]
    kind: str
    patient: str


def labelled(picture: Picture, boxes_xywh: Sequence[Box], kind: str, patient: str) -> Labelled:
    """Put a picture together with the boxes (in source pixels, inside the picture), class and patient of the tables."""
    known = kind if (kind == OPACITY) == bool(boxes_xywh) else ""
    return Labelled(picture, tuple(scaled(box, picture.scale_xy) for box in boxes_xywh), known, patient)


def write_dataset(out: Path, images: Sequence[Labelled], seed: int) -> dict[str, Any]:
    """Deal the images, sorted by id, into splits and write everything but pictures and label files.

    Returns:
        The counts, for the conversion record.
    """
    strata = [f"{image.kind or bool(image.boxes_xywh)}|{image.picture.tags.view}" for image in images]
    # A person of the map and an image without one must not meet under one name.
    groups = [f"patient {i.patient}" if i.patient else f"image {i.picture.image_id}" for i in images]
    splits = split_by_group(groups, strata, seed=seed)
    for name in DEFAULT_SHARES:
        at = [number for number, split in enumerate(splits) if split == name]
        pictures = [images[number].picture for number in at]
        coco = boxes_to_coco(
            [number + 1 for number in at],
            [picture.file_name for picture in pictures],
            [picture.size_wh for picture in pictures],
            [np.array(images[number].boxes_xywh, np.float64) for number in at],
        )
        write_atomically(out / "annotations" / f"{name}.json", coco_json(coco))
        write_atomically(out / f"{name}.txt", "".join(f"./images/{picture.file_name}\n" for picture in pictures))
    write_atomically(out / "data.yaml", data_yaml())
    rows = [
        _row(image.picture, {"split": split, "class": image.kind, "patient": image.patient})
        for image, split in zip(images, splits, strict=True)
    ]
    write_atomically(out / "metadata.csv", csv_text(METADATA, rows))
    positive = [bool(image.boxes_xywh) for image in images]
    return {
        "images": len(images),
        "boxes": sum(len(image.boxes_xywh) for image in images),
        "positive_images": sum(positive),
        "classes": dict(sorted(Counter(image.kind or "unknown" for image in images).items())),
        "seed": seed,
        "splits": {
            name: {
                "images": splits.count(name),
                "positive_images": sum(p for p, split in zip(positive, splits, strict=True) if split == name),
            }
            for name in DEFAULT_SHARES
        },
    }


def write_unlabelled(out: Path, pictures: Sequence[Picture]) -> None:
    """Write the table of the pictures without labels, sorted by id."""
    rows = [_row(picture, {"split": "", "class": "", "patient": picture.patient}) for picture in pictures]
    write_atomically(out / "unlabelled" / "metadata.csv", csv_text(METADATA, rows))


def write_left_out(out: Path, left_out: Sequence[LeftOut]) -> None:
    """Write the table of what did not come along, and why."""
    header = ["what", "image_id", "file", "row", "reason"]
    rows = [[e.what, e.image_id, e.file, "" if e.row is None else e.row, e.reason] for e in left_out]
    write_atomically(out / "left_out.csv", csv_text(header, rows))


def _row(picture: Picture, of_tables: Mapping[str, str]) -> list[object]:
    spacing_mm = picture.tags.spacing_mm
    if spacing_mm is not None and picture.size_wh != picture.source_size_wh:
        spacing_mm = round(spacing_mm / picture.scale_xy[1], 6)
    tags = {"sex": picture.tags.sex, "age_years": picture.tags.age_years, "view": picture.tags.view}
    row: dict[str, object] = {
        "image_id": picture.image_id,
        **of_tables,
        **tags,
        "spacing_mm": spacing_mm,
        "width": picture.size_wh[0],
        "height": picture.size_wh[1],
        "source_width": picture.source_size_wh[0],
        "source_height": picture.source_size_wh[1],
        "sha256": picture.sha256,
    }
    return ["" if row[name] is None else row[name] for name in METADATA]
