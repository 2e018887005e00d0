"""Read the challenge's tables as Kaggle lays them out: one row a box, one row an image, never their product.

`stage_2_train_labels.csv` has a row for each box and one for each image without; `stage_2_detailed_class_info.csv`
repeats an image's class once a box. Joining the two on `patientId` multiplies them (37,629 rows instead of 30,227);
here each is read by itself and grouped by image instead.

The readers take bytes, as a table may lie in a folder or in a zip.
"""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hilum.datasets.left_out import LeftOut
from hilum.datasets.tables import MISSING, Table, by_value, plain, quoted

OPACITY = "Lung Opacity"
CLASSES = ("Normal", "No Lung Opacity / Not Normal", OPACITY)
BOX_COLUMNS = ["x", "y", "width", "height"]
LABEL_COLUMNS = ("patientId", *BOX_COLUMNS, "Target")
CLASS_COLUMNS = ("patientId", "class")

MAX_SIDE_PX = 65_535  # DICOM's Rows and Columns have 16 bits
_LONGEST_NUMBER = 8  # characters

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
# '1,024' is left alone: it may be 1.024 or 1024.
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,(\d{1,2}|\d{4,})", re.ASCII)
_WORDS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
_AS_PANDAS_WRITES = ("0", "1", "0.0", "1.0")  # the latter two in a column that had a gap


@dataclass(frozen=True)
class Labels:
    """The label table by image.

    Attributes:
        rows: data rows in the file.
        boxes: image id -> its boxes [x, y, width, height, row in the file]; empty for an image without opacity.
        left_out: what could not be used.
    """

    rows: int
    boxes: dict[str, list[tuple[float, float, float, float, int]]]
    left_out: list[LeftOut]


def read_labels(content: bytes, name: str) -> Labels:
    """Read the label table; what is wrong with a row is said, and the rest is used.

    An image whose rows contradict each other, or none of whose boxes can be used, is left out: as a negative it would
    teach the opposite. So is one whose id differs only in case from an earlier one: where a file system does not tell
    them apart, one would overwrite the other.

    Args:
        content: of the file.
        name: of the file, as messages show it.

    Raises:
        HilumError: not readable as a table, a column is missing, or there are no rows.
    """
    table = Table(name, content)
    rows = table.read(LABEL_COLUMNS)
    target = _targets(table, rows)
    numbers = pd.DataFrame({column: by_value(rows[column], number) for column in BOX_COLUMNS}, dtype=np.float64)
    missing = pd.DataFrame({column: rows[column].str.lower().isin(MISSING) for column in BOX_COLUMNS})
    negative, positive = target == 0, target == 1
    again = rows["image_id"][negative].duplicated()
    table.note("Target is 0 for an image that has such a row already", again.index[again])

    filled = negative & ~missing.all(axis=1)
    fill_value = filled & (missing | numbers.isin([0, -1])).all(axis=1)
    table.note("Target is 0 and the box is filled with 0 or -1, which counts as no box", rows.index[fill_value])
    contradicts = filled & ~fill_value
    for row, image_id in rows.loc[contradicts, ["image_id"]].itertuples(name=None):
        table.leave_out("row", image_id, row, "Target is 0, yet the row has a box")

    boxes = numbers[positive].assign(image_id=rows.loc[positive, "image_id"])
    wrong = _wrong_boxes(rows[positive], boxes)
    boxes = boxes.drop(index=list(wrong))
    with_comma = rows.loc[boxes.index, BOX_COLUMNS].map(lambda cell: "," in cell).any(axis=1)
    table.note("numbers with a decimal comma", boxes.index[with_comma])
    for row, first in _first_of_same(boxes).items():
        wrong[row] = f"the same box a second time, first in row {first}"
    for row, reason in wrong.items():
        table.leave_out("box", rows["image_id"][row], row, reason)

    boxes = boxes[~boxes.index.isin(wrong)]
    facts = rows[["image_id"]].assign(
        row=rows.index,
        negative=negative,
        positive=positive | contradicts,
        unclear=target.isna(),
        has_box=rows.index.isin(boxes.index),
    )
    of_image = facts[facts["image_id"] != ""].groupby("image_id", sort=False)
    images = of_image[["negative", "positive", "unclear", "has_box"]].any().assign(row=of_image["row"].first())
    used = _without_contradictions(table, images)
    by_image: dict[str, list[tuple[float, float, float, float, int]]] = {image_id: [] for image_id in used}
    for row, *box, image_id in boxes.itertuples(name=None):
        if image_id in by_image:
            by_image[image_id].append((*box, row))
    return Labels(table.count, by_image, table.problems())


def read_classes(content: bytes, name: str) -> tuple[dict[str, str], list[LeftOut]]:
    """Read the class table: image id -> class, each image once; a second, different class is reported.

    Names are taken whatever their case, blanks and punctuation. An image whose class is none of the three is in the
    mapping with an empty class: it has a row, and what is wrong with that was reported.

    Args:
        content: of the file.
        name: of the file, as messages show it.

    Raises:
        HilumError: not readable as a table, a column is missing, or there are no rows.
    """
    table = Table(name, content)
    rows = table.read(CLASS_COLUMNS)
    for row, image_id, problem in rows.loc[rows["problem"] != "", ["image_id", "problem"]].itertuples(name=None):
        table.leave_out("row", image_id, row, problem)
    rows = rows[rows["problem"] == ""]
    known = {plain(kind): kind for kind in CLASSES}
    kinds = by_value(rows["class"], lambda cell: known.get(plain(cell)))
    for row, image_id, cell in rows.loc[kinds.isna(), ["image_id", "class"]].itertuples(name=None):
        reason = f"class is {described(cell)}, expected one of {', '.join(CLASSES)}"
        table.leave_out("row", image_id, row, reason)
    for cell, respelt in rows["class"][kinds.notna() & (kinds != rows["class"])].groupby(rows["class"]):
        table.note(f"class is written {quoted(str(cell))}, read as {kinds[respelt.index[0]]!r}", respelt.index)
    first = kinds.groupby(rows["image_id"], sort=False).transform("first")
    for row in kinds.index[kinds.notna() & (kinds != first)]:
        reason = f"a second class, {kinds[row]!r}; the first, {first[row]!r}, is kept"
        table.leave_out("row", rows["image_id"][row], row, reason)
    return dict(zip(rows["image_id"], first.fillna(""), strict=True)), table.problems()


def _targets(table: Table, rows: pd.DataFrame) -> "pd.Series[float]":
    """0, 1, or NaN where it is neither, or the row cannot be used, which is said."""
    cells = rows["Target"]
    target = by_value(cells, _target).astype(float).where(rows["problem"] == "")
    for row, image_id, cell, problem in rows.loc[target.isna(), ["image_id", "Target", "problem"]].itertuples(
        name=None
    ):
        reason = problem or f"Target is {described(cell)}, expected 0 or 1"
        table.leave_out("row", image_id, row, reason)
    other_words = cells[target.notna() & ~cells.isin(_AS_PANDAS_WRITES)]
    for cell, same in other_words.groupby(other_words):
        table.note(f"Target is written {quoted(str(cell))}, read as {target[same.index[0]]:g}", same.index)
    return target


def _wrong_boxes(rows: pd.DataFrame, boxes: pd.DataFrame) -> dict[int, str]:
    """The rows whose box cannot be used, and why."""
    numbers = boxes[BOX_COLUMNS]
    unread, beyond = numbers.isna().any(axis=1), (numbers.abs() > MAX_SIDE_PX).any(axis=1)
    flat = (numbers[["width", "height"]] <= 0).any(axis=1)
    wrong: dict[int, str] = {}
    for row, *cells in rows.loc[unread | beyond | flat, BOX_COLUMNS].itertuples(name=None):
        if all(cell.lower() in MISSING for cell in cells):
            wrong[row] = "Target is 1, yet the row has no box"
        elif unread[row]:
            wrong[row] = f"box is {', '.join(map(described, cells))}; expected are four finite numbers"
        elif flat[row]:
            wrong[row] = f"box is {' x '.join(map(described, cells[2:]))} px, expected a width and a height above 0"
        else:
            wrong[row] = f"box reaches beyond {MAX_SIDE_PX:,} px, farther than a DICOM picture can"
    return wrong


def _first_of_same(boxes: pd.DataFrame) -> dict[int, int]:
    """The rows whose box an earlier row of the image has too, and the first of these."""
    same = boxes[boxes.duplicated(keep=False)].reset_index(names="row")
    first = same.groupby(["image_id", *BOX_COLUMNS])["row"].transform("first")
    return {row: first_row for row, first_row in zip(same["row"], first, strict=True) if row != first_row}


def _without_contradictions(table: Table, images: pd.DataFrame) -> "pd.Index[str]":
    """The images that can be used; of the others it is said why not."""
    reasons = {
        "its rows contradict each other: Target 0 and a box": images["negative"] & images["positive"],
        "one of its rows has Target 0, another cannot be used": images["negative"] & images["unclear"],
        "Target is 1, yet none of its boxes can be used": images["positive"] & ~images["has_box"],
        "none of its rows can be used": ~(images["negative"] | images["has_box"]),
    }
    reason = pd.Series(np.select(list(reasons.values()), list(reasons), ""), images.index)
    ids = images.index.to_series()
    first = ids.groupby(ids.str.lower()).transform("first")
    for image_id in images.index[(reason != "") | (first != ids)]:
        spelling, why = first[image_id], reason[image_id]
        if spelling != image_id:
            why = f"the id differs only in case from {spelling!r} of row {images['row'][spelling]}"
        table.leave_out("image", image_id, int(images["row"][image_id]), why)
    return images.index[(reason == "") & (first == ids)]


def _target(cell: str) -> float | None:
    value = _WORDS.get(cell.lower(), number(cell))
    return value if value in (0, 1) else None


def number(cell: str) -> float | None:
    if len(cell) > 40:
        return None
    if _DECIMAL_COMMA.fullmatch(cell):
        cell = cell.replace(",", ".")
    return float(cell) if _NUMBER.fullmatch(cell) else None


def described(cell: str) -> str:
    """A cell as a table that may be shared can show it: a number of pixels, else its kind and length alone.

    It stands where something else was expected, so it may be a name, a date of birth, or another number of a person.
    """
    value = number(cell)
    if value is not None and len(cell) <= _LONGEST_NUMBER and abs(value) <= MAX_SIDE_PX:
        return cell
    if not cell:
        return "empty"
    return f"{'a number' if value is not None else 'text'} of {len(cell)} characters"
