"""What lies on both sides of a split, or in two data sets: patients, pictures; and whether the sides resemble."""

from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from hilum.datasets.folder import SPLITS, Dataset, Split
from hilum.datasets.likeness import look_alike, same_pixels, signatures
from hilum.datasets.patients import with_patients

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN = "unknown"
LEAK = "LEAK"
"""Begins the line on what flatters."""


def check_dataset(data: Dataset, patients: Mapping[str, str] | None = None, *, look: bool = False) -> dict[str, Any]:
    """The leak check of a dataset folder or a derived split.

    Args:
        data: opened.
        patients: image id -> person; counts before what the folder says.
        look: decode the pictures, and look for those that are the same or look alike.

    Raises:
        HilumError: a file of the folder is missing or damaged.
    """
    return leak_check({split.name: _side(data, split, patients, look=look) for split in map(data.split, SPLITS)})


def check_between(home: Dataset, away: Dataset, split: Split, name: str) -> list[dict[str, Any]]:
    """The leak check of a data set with one that something was, or will be, trained on.

    Args:
        home: trained on.
        away: the other one.
        split: its images that are looked at.
        name: what the other one is called.

    Returns:
        The `pairs` of `leak_check`, with pictures looked at and `same_ids`: one a split of `home`.

    Raises:
        HilumError: a file of a folder is missing or damaged.
    """
    other = _side(away, split, look=True)
    sides = {part.name: _side(home, part, look=True) for part in map(home.split, SPLITS)}
    known = {any((side["patient"] != "").any() for side in ours) for ours in (sides.values(), [other])} == {True}
    pairs = [_compare((part, name), side, other, known=known, hashed=True) for part, side in sides.items()]
    ids = [len(set(side["image_id"]) & set(other["image_id"])) for side in sides.values()]
    return [pair | {"same_ids": count} for pair, count in zip(pairs, ids, strict=True)]


def _side(data: Dataset, split: Split, patients: Mapping[str, str] | None = None, *, look: bool) -> "pd.DataFrame":
    side = with_patients(data.metadata.loc[list(split.image_ids)], patients or {})
    side = side.assign(opacity=[len(boxes) > 0 for boxes in split.boxes_xyxy])
    return side.assign(signature=list(signatures(data, split.paths))) if look else side


def leak_check(sides: "Mapping[str, pd.DataFrame]") -> dict[str, Any]:
    """Compare the sides of a split, each with each.

    An image of an unknown patient shares it with none; two files of the same bytes are the same picture.

    Args:
        sides: name of a split -> its images, as rows of `metadata.csv`; `opacity` says whether each has a box. Cells of
            `patient`, `class`, `view` and `sha256` are "" where it is not known; the last two columns may be missing.
            So may `signature`, that of the picture (`hilum.datasets.likeness`).

    Returns:
        `patients_known`; `splits`: name -> `images`, `with_opacity`, `patients` (None where none is known),
        `without_patient`, `classes` and `views` (name -> images); `pairs`, one a pair of splits: `between` (two names),
        `patients` on both sides (None where none is known), `their_images` (on either side), `same_pictures` (None
        where no checksum is known), and the ids of two that are the same as `example`. Where there are signatures, also
        `same_pixels` and `look_alike`: images of the second side that are, when decoded, the same as one of the first,
        and others that look like one; `same_patient`, how many of both are of the same patient; and the ids of two as
        `alike_example`.
    """
    known = any((side["patient"] != "").any() for side in sides.values())
    hashed = any("sha256" in side and (side["sha256"] != "").any() for side in sides.values())
    pairs = [
        _compare(names, *(sides[name] for name in names), known=known, hashed=hashed)
        for names in combinations(sides, 2)
    ]
    return {
        "patients_known": known,
        "splits": {name: _describe(side, known=known) for name, side in sides.items()},
        "pairs": pairs,
    }


def _compare(
    names: tuple[str, str], first: "pd.DataFrame", second: "pd.DataFrame", *, known: bool, hashed: bool
) -> dict[str, Any]:
    """What two sides share, as `leak_check` tells it."""
    patients = (set(first["patient"]) & set(second["patient"])) - {""}
    same = _same_pictures(first, second) if hashed else []
    return {
        "between": list(names),
        "patients": len(patients) if known else None,
        "their_images": [int(side["patient"].isin(patients).sum()) for side in (first, second)],
        "same_pictures": len(same) if hashed else None,
        "example": list(min(same)) if same else None,
        **(_looked_at(first, second) if "signature" in first else {}),
    }


def _looked_at(first: "pd.DataFrame", second: "pd.DataFrame") -> dict[str, Any]:
    if first.empty or second.empty:
        return {"same_pixels": 0, "look_alike": 0, "same_patient": 0, "alike_example": None}
    ours, theirs = (np.stack(list(side["signature"])) for side in (first, second))
    same, alike = same_pixels(ours, theirs), look_alike(ours, theirs)
    both = np.where(same >= 0, same, alike)
    found = np.flatnonzero(both >= 0)
    people = [side["patient"].to_numpy(str) for side in (first, second)]
    return {
        "same_pixels": int((same >= 0).sum()),
        "look_alike": int(((same < 0) & (alike >= 0)).sum()),
        "same_patient": int(((people[0][both] == people[1]) & (both >= 0) & (people[1] != "")).sum()),
        "alike_example": [first["image_id"].iloc[both[found[0]]], second["image_id"].iloc[found[0]]]
        if len(found)
        else None,
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
    return [*lines, *(line for pair in leaks["pairs"] for line in pair_warnings(pair))]


def pair_warnings(pair: Mapping[str, Any]) -> list[str]:
    """The same of one pair of sides."""
    first, second = pair["between"]
    flatters = f"figures of {second} flatter"
    if first == "holdout":  # of another data set, or of none that was trained on
        flatters = "the two are not independent"
    lines = []
    if pair["patients"]:
        here, there = pair["their_images"]
        told = f"patients in both {first} and {second}: {pair['patients']:,}, with {here:,} and {there:,} images"
        if "same_ids" in pair and not pair["same_ids"] + pair["same_patient"]:  # names of two data sets
            lines.append(
                f"{told}, by name; of none of them a picture is alike, so each set may number its own patients"
            )
        else:
            lines.append(f"{LEAK}: {told}; {flatters}")
    if pair.get("same_ids"):
        lines.append(f"{LEAK}: images of one id in both {first} and {second}: {pair['same_ids']:,}; {flatters}")
    if pair["same_pictures"]:
        lines.append(
            f"{LEAK}: pictures in both {first} and {second}, byte for byte: {pair['same_pictures']:,} "
            f"({pair['example'][0]} is {pair['example'][1]}); {flatters}"
        )
    pixels, alike = pair.get("same_pixels", 0), pair.get("look_alike", 0)
    if alike or pixels > (pair["same_pictures"] or 0):
        lines.append(
            f"{LEAK}: pictures in both {first} and {second}, once decoded: {pixels:,} the same, {alike:,} that "
            f"look alike ({pair['alike_example'][0]} and {pair['alike_example'][1]}); {flatters}"
        )
    return lines
