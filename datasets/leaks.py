"""What lies on both sides of a split: patients, identical pictures; and whether the sides look alike."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from hilum.datasets.folder import SPLITS, Dataset

UNKNOWN = "unknown"


class Facts(NamedTuple):
    """What of an image counts here.

    Attributes:
        image_id: the challenge's `patientId`, which names an image.
        patient: whose it is; "" where nobody said.
        sha256: of the picture file; "" where it is not known.
        kind: its class; "" where it is not known.
        view: PA or AP; "" where it is not known.
        opacity: whether it has a box.
    """

    image_id: str
    patient: str
    sha256: str
    kind: str
    view: str
    opacity: bool


def facts_of(row: Mapping[str, str], *, opacity: bool) -> Facts:
    """Facts of a row of `metadata.csv`."""
    sha256, kind, view = (row.get(key) or "" for key in ("sha256", "class", "view"))
    return Facts(row["image_id"], row["patient"], sha256, kind, view, opacity)


def check_dataset(data: Dataset, patients: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The leak check of a dataset folder or a further split.

    Args:
        data: opened.
        patients: image id -> person; counts before what the folder says.

    Raises:
        HilumError: a file of the folder is missing or damaged.
    """
    splits: dict[str, list[Facts]] = {}
    for name in SPLITS:
        split = data.split(name)
        rows = [data.metadata[image_id] for image_id in split.image_ids]
        rows = [{**row, "patient": (patients or {}).get(row["image_id"], row["patient"])} for row in rows]
        splits[name] = [
            facts_of(row, opacity=len(boxes) > 0) for row, boxes in zip(rows, split.boxes_xyxy, strict=True)
        ]
    return leak_check(splits)


def leak_check(splits: Mapping[str, Sequence[Facts]]) -> dict[str, Any]:
    """Compare the sides of a split, each with each.

    An image of an unknown patient shares it with none; two files of the same bytes are the same picture.

    Args:
        splits: name -> its images.

    Returns:
        `patients_known`; `splits`: name -> `images`, `with_opacity`, `patients` (None where none is known),
        `without_patient`, `classes` and `views` (name -> images); `pairs`, one a pair of splits: `between` (two names),
        `patients` on both sides (None where none is known), `their_images` (on either side), `same_pictures` (None
        where no checksum is known), and the ids of two that are the same as `example`.
    """
    known = any(image.patient for images in splits.values() for image in images)
    hashed = any(image.sha256 for images in splits.values() for image in images)
    pairs = []
    for names in combinations(splits, 2):
        first, second = (splits[name] for name in names)
        patients = {image.patient for image in first} & {image.patient for image in second} - {""}
        pictures, there = ({i.sha256: i.image_id for i in reversed(side) if i.sha256} for side in (first, second))
        same = [(image_id, there[sha256]) for sha256, image_id in pictures.items() if sha256 in there]
        pairs.append(
            {
                "between": list(names),
                "patients": len(patients) if known else None,
                "their_images": [sum(image.patient in patients for image in side) for side in (first, second)],
                "same_pictures": len(same) if hashed else None,
                "example": list(min(same)) if same else None,
            }
        )
    return {
        "patients_known": known,
        "splits": {name: _describe(images, known=known) for name, images in splits.items()},
        "pairs": pairs,
    }


def _describe(images: Sequence[Facts], *, known: bool) -> dict[str, Any]:
    return {
        "images": len(images),
        "with_opacity": sum(image.opacity for image in images),
        "patients": len({image.patient for image in images} - {""}) if known else None,
        "without_patient": sum(not image.patient for image in images),
        "classes": dict(sorted(Counter(image.kind or UNKNOWN for image in images).items())),
        "views": dict(sorted(Counter(image.view or UNKNOWN for image in images).items())),
    }


def leak_warnings(leaks: Mapping[str, Any]) -> list[str]:
    """A line for each thing that flatters a score, or that could not be checked."""
    lines = []
    if not leaks["patients_known"]:
        lines.append("whose the images are is not known: patients may be on both sides, and it cannot be checked")
    elif unknown := sum(split["without_patient"] for split in leaks["splits"].values()):
        lines.append(f"{unknown:,} images are of unknown patients, each counts as a person of its own")
    for pair in leaks["pairs"]:
        first, second = pair["between"]
        if pair["patients"]:
            here, there = pair["their_images"]
            lines.append(
                f"LEAK: patients in both {first} and {second}: {pair['patients']:,}, with {here:,} and {there:,} "
                f"images; figures of {second} flatter"
            )
        if pair["same_pictures"]:
            lines.append(
                f"LEAK: pictures in both {first} and {second}, byte for byte: {pair['same_pictures']:,} "
                f"({pair['example'][0]} is {pair['example'][1]}); figures of {second} flatter"
            )
    return lines
