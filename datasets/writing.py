"""Write what a dataset folder holds beside pictures and label files: COCO files and lists of its splits, its table."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hilum.datasets.annotations import Coco
from hilum.datasets.coco import coco_json
from hilum.datasets.folder import SPLITS
from hilum.datasets.splits import LEAVES
from hilum.files import csv_text, write_atomically

if TYPE_CHECKING:
    import pandas as pd


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


def write_splits(folder: Path, images: "pd.DataFrame", coco: Coco, pictures: str = "./images/") -> dict[str, Any]:
    """Write the COCO file and the list of each split, and `metadata.csv`.

    Args:
        folder: a dataset folder, or a derived split of one.
        images: the rows of `metadata.csv`; those whose `split` is `LEAVES` are in none, and are not written.
        coco: all images, in the same order, and their boxes; boxes are numbered anew in each split.
        pictures: stands before the names of pictures in the lists, which ultralytics reads.

    Returns:
        The counts, for `conversion.json`.
    """
    split_of = dict(zip((image["id"] for image in coco["images"]), images["split"], strict=True))
    counts: dict[str, dict[str, int]] = {}
    for name in SPLITS:
        side = [image for image in coco["images"] if split_of[image["id"]] == name]
        boxes = [box for box in coco["annotations"] if split_of[box["image_id"]] == name]
        numbered = [{**box, "id": number} for number, box in enumerate(boxes, start=1)]
        part = {"images": side, "annotations": numbered, "categories": coco["categories"]}
        write_atomically(folder / "annotations" / f"{name}.json", coco_json(part))
        write_atomically(folder / f"{name}.txt", "".join(f"{pictures}{image['file_name']}\n" for image in side))
        counts[name] = {"images": len(side), "positive_images": len({box["image_id"] for box in boxes})}
    stays = images[images["split"] != LEAVES]
    write_metadata(folder, stays)
    return {
        "images": len(stays),
        "boxes": sum(split_of[box["image_id"]] != LEAVES for box in coco["annotations"]),
        "positive_images": sum(count["positive_images"] for count in counts.values()),
        "classes": dict(sorted(Counter(kind or "unknown" for kind in stays["class"]).items())),
        "splits": counts,
    }


def write_metadata(folder: Path, images: "pd.DataFrame") -> None:
    """Write `metadata.csv`; None is an empty cell."""
    write_atomically(folder / "metadata.csv", csv_text(list(images.columns), images.itertuples(index=False, name=None)))
