"""What lies on both sides of a split: patients, identical pictures; and whether the sides look alike."""

from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any

from hilum.datasets.folder import SPLITS, Dataset
from hilum.datasets.patients import with_patients

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN = "unknown"


def check_dataset(data: Dataset, patients: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The leak check of a dataset folder or a derived split.

    Args:
        data: opened.
        patients: image id -> person; counts before what the folder says.

    Raises:
        HilumError: a file of the folder is missing or damaged.
    """
    sides: dict[str, pd.DataFrame] = {}
    for split in map(data.split, SPLITS):
        side = with_patients(data.metadata.loc[list(split.image_ids)], patients or {})
        sides[split.name] = side.assign(opacity=[len(boxes) > 0 for boxes in split.boxes_xyxy])
    return leak_check(sides)


def leak_check(sides: "Mapping[str, pd.DataFrame]") -> dict[str, Any]:
    """Compare the sides of a split, each with each.

    An image of an unknown patient shares it with none; two files of the same bytes are the same picture.

    Args:
        sides: name of a split -> its images, as rows of `metadata.csv`; `opacity` says whether each has a box. Cells of
            `patient`, `class`, `view` and `sha256` are "" where it is not known; the last two columns may be missing.

    Returns:
        `patients_known`; `splits`: name -> `images`, `with_opacity`, `patients` (None where none is known),
        `without_patient`, `classes` and `views` (name -> images); `pairs`, one a pair of splits: `between` (two names),
        `patients` on both sides (None where none is known), `their_images` (on either side), `same_pictures` (None
        where no checksum is known), and the ids of two that are the same as `example`.
    """
    known = any((side["patient"] != "").any() for side in sides.values())
    hashed = any("sha256" in side and (side["sha256"] != "").any() for side in sides.values())
    pairs = []
    for names in combinations(sides, 2):
        pair = [sides[name] for name in names]
        patients = set.intersection(*(set(side["patient"]) for side in pair)) - {""}
        same = _same_pictures(*pair) if hashed else []
        pairs.append(
            {
                "between": list(names),
                "patients": len(patients) if known else None,
                "their_images": [int(side["patient"].isin(patients).sum()) for side in pair],
                "same_pictures": len(same) if hashed else None,
                "example": list(min(same)) if same else None,
            }
        )
    return {
        "patients_known": known,
        "splits": {name: _describe(side, known=known) for name, side in sides.items()},
        "pairs": pairs,
    }


def _same_pictures(first: "pd.DataFrame", second: "pd.DataFrame") -> list[tuple[str, str]]:
    """The ids of two images for each checksum that is on both sides, of several the first."""
    columns = ["sha256", "image_id"]
    here, there = (side.loc[side["sha256"] != "", columns].drop_duplicates("sha256") for side in (first, second))
    both = here.merge(there, on="sha256")
    return list(zip(both["image_id_x"], both["image_id_y"], strict=True))


def _describe(side: "pd.DataFrame", *, known: bool) -> dict[str, Any]:
    people = side["patient"][side["patient"] != ""]
    return {
        "images": len(side),
        "with_opacity": int(side["opacity"].sum()),
        "patients": people.nunique() if known else None,
        "without_patient": len(side) - len(people),
        "classes": _counts(side, "class"),
        "views": _counts(side, "view"),
    }


def _counts(side: "pd.DataFrame", column: str) -> dict[str, int]:
    values = side[column].replace("", UNKNOWN) if column in side else [UNKNOWN] * len(side)
    return dict(sorted(Counter(values).items()))


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
