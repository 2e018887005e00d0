"""Kaggle's submission.csv: one row an image, `patientId,PredictionString`.

The string holds five values a box, `confidence x y width height`, all joined by blanks; it is empty where the image has
no box. `patientId` names an image, not a patient.

Source: https://www.kaggle.com/c/rsna-pneumonia-detection-challenge/overview/evaluation
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.datasets.boxes import LARGEST_PX
from hilum.documents import MAX_CSV_BYTES, csv_lines, read_text
from hilum.errors import HilumError
from hilum.eval.competition import flatten_boxes, flatten_confidence
from hilum.eval.problems import Problems
from hilum.files import csv_text, write_atomically

COLUMNS = ("patientId", "PredictionString")

Predictions = dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]

_PICTURE_ENDINGS = {"dcm", "dicom", "jpg", "jpeg", "png"}
# A box that is drawn to the edge may pass it by rounding.
_OUTSIDE_PIXELS = 0.01


def read_submission(
    path: str | Path, sizes_wh: Mapping[str, tuple[int, int]] | None = None
) -> tuple[Predictions, list[str]]:
    r"""Reads a submission, uses what can be used and says what could not.

    The header may be in any case and order and stand among other columns; a byte-order mark, CRLF, blank lines, stray
    blanks and quotes are all fine. Beyond that, each of these is named with its row:

    * A box with something that is not a finite number, or a width or height not above 0, is skipped.
    * A box that reaches out of its image, or a confidence outside 0..1, is kept as it is: the competition scored boxes
      as they were, and by the order of confidences only.
    * A row whose number of values is not a multiple of 5 is skipped: which value is missing cannot be known.
    * A row without an id, with one that an earlier row had, or with one of no image that is scored, is skipped.
    * Cells beyond the header's columns are left out.
    * An id with a folder or the ending of a picture file (`C:\xrays\a.dcm`) is read without them.
    * Columns separated by semicolons or tabs are read.

    Args:
        path: The CSV file, UTF-8.
        sizes_wh: The images to score and their width and height in pixels; where None, every id is taken and no box is
            outside.

    Returns:
        Image id -> (boxes as x, y, width, height (N, 4), confidence (N,)), in the order of the file; an image whose
        string is empty has no boxes, and one whose row was skipped is not there. Then lines on the problems: file, row
        (as an editor counts lines, the header being 1), image id, what was done; up to 20 lines a kind of problem, and
        how many more there are.

    Raises:
        HilumError: The file cannot be read, or is not CSV text with the two columns.
    """
    path = Path(path)
    predictions: Predictions = {}
    problems = Problems(path.name)
    row_of: dict[str, int] = {}
    text = read_text(path, MAX_CSV_BYTES)
    separator = max(",;\t", key=text.partition("\n")[0].count)  # a comma, unless another one is more frequent
    # A blank before a quote would otherwise make the quote part of the value.
    lines = csv_lines(text, str(path), delimiter=separator, skip_blanks=True)
    _, header = next(lines, (1, list[str]()))
    id_column, string_column = _columns(path, header)
    if separator != ",":
        name = {";": "semicolons", "\t": "tabs"}[separator]
        problems.add("separators", f"{path.name}, row 1: columns separated by {name}; a submission has commas")
    for line, values in lines:
        if not any(value.strip() for value in values):
            continue
        written = values[id_column].strip() if id_column < len(values) else ""
        image_id = image_name(written, sizes_wh) if written else ""
        row = f"{path.name}, row {line}" + (f" ({image_id})" if image_id else "")
        cell = values[string_column] if string_column < len(values) else None
        if problem := _row_problem(image_id, cell, sizes_wh, row_of):
            kind, reason = problem
            problems.add(kind, f"{row}: {reason}; row skipped")
            continue
        if image_id != written:
            problems.add("ids that are paths", f"{row}: the id is '{written}'; read without the rest")
        if beyond := [value.strip() for value in values[len(header) :] if value.strip()]:
            problems.add(
                "rows with more cells than the header",
                f"{row}: '{separator.join(beyond)[:80]}' after the last column; left out",
            )
        row_of[image_id] = line
        size_wh = None if sizes_wh is None else sizes_wh[image_id]
        predictions[image_id] = _boxes((cell or "").split(), row, size_wh, problems)
    return predictions, problems.lines()


def _row_problem(
    image_id: str, cell: str | None, sizes_wh: Mapping[str, object] | None, row_of: Mapping[str, int]
) -> tuple[str, str] | None:
    """The kind of problem for which a row is skipped, and what it is; None where it can be read.

    Args:
        image_id: of the row, or "" where it has none.
        cell: the boxes; None where the row ends before them.
        sizes_wh: the images to score; None for any.
        row_of: the rows of the images that were there already.
    """
    if not image_id:
        return "rows without an id", f"no {COLUMNS[0]}"
    if sizes_wh is not None and image_id not in sizes_wh:
        return "rows of other images", "is not among the images to score"
    if image_id in row_of:
        return "rows of images that were there already", f"was in row {row_of[image_id]} already"
    if cell is None:
        return f"rows without {COLUMNS[1]}", f"no {COLUMNS[1]} column"
    if (count := len(cell.split())) % 5:
        return "rows with a wrong number of values", f"{count} values, expected five a box"
    return None


def image_name(written: str, known: Mapping[str, object] | None = None) -> str:
    r"""Returns the image id that somebody wrote as a file's path: without folders and the ending of a picture.

    Args:
        written: The id, as it was written.
        known: The ids that there are; one of them is not shortened further.

    Examples:
        >>> image_name(r"C:\xrays\00a8.DCM"), image_name("images/00a8.jpg"), image_name("1.2.840.10008")
        ('00a8', '00a8', '1.2.840.10008')
    """
    name = re.split(r"[\\/]", written)[-1].strip()
    stem, _, ending = name.rpartition(".")
    shorter = [name, stem] if stem and ending.casefold() in _PICTURE_ENDINGS else [name]
    return next((id_ for id_ in (written, *shorter) if known and id_ in known), shorter[-1] or written)


def reaches_out(box_xywh: Sequence[float], size_wh: tuple[int, int]) -> bool:
    """Whether a box is, in part or whole, outside its image, by more than a hundredth of a pixel."""
    x, y, width, height = box_xywh
    return (
        min(x, y) < -_OUTSIDE_PIXELS
        or x + width > size_wh[0] + _OUTSIDE_PIXELS
        or y + height > size_wh[1] + _OUTSIDE_PIXELS
    )


def write_submission(
    path: str | Path,
    image_ids: Sequence[str],
    boxes_xywh: Sequence[NDArray[Any]],
    confidence: Sequence[NDArray[Any]],
) -> None:
    """Writes a submission; the file appears whole or not at all. See `submission_text`.

    Args:
        path: The CSV file, in a folder that exists; replaced if it is there.
        image_ids: The id of each image.
        boxes_xywh: The boxes of each image.
        confidence: The confidence of each box.

    Raises:
        ValueError: As `submission_text`.
    """
    write_atomically(path, submission_text(image_ids, boxes_xywh, confidence))


def submission_text(
    image_ids: Sequence[str], boxes_xywh: Sequence[NDArray[Any]], confidence: Sequence[NDArray[Any]]
) -> str:
    """Returns a submission as CSV.

    Numbers are written with as many digits as it takes to read the same float64 again.

    Args:
        image_ids: The id of each image.
        boxes_xywh: The boxes of each image, (N, 4): x, y, width, height in pixels.
        confidence: The confidence of each box, (N,), 0 to 1.

    Raises:
        ValueError: An id is empty, has blanks around it or is there twice, the lengths differ, a confidence is outside
            0..1, or the boxes are not valid, as in `hilum.eval.competition.match_counts`.
    """
    if len(boxes_xywh) != len(image_ids):
        raise ValueError(f"boxes_xywh: expected one entry an image, {len(image_ids)}, got {len(boxes_xywh)}")
    seen: set[str] = set()
    for index, image_id in enumerate(image_ids):
        if not image_id or image_id != image_id.strip() or image_id in seen:
            raise ValueError(
                f"image_ids: {image_id!r} of image {index} is empty, has blanks around it or is there twice"
            )
        seen.add(image_id)
    boxes, n_boxes = flatten_boxes("boxes_xywh", boxes_xywh)
    scores = flatten_confidence("confidence", confidence, n_boxes)
    if len(scores) and not 0 <= scores.min() <= scores.max() <= 1:
        raise ValueError(f"confidence: expected values from 0 to 1, got {scores.min()} to {scores.max()}")

    values = np.column_stack([scores, boxes])
    rows = (
        [image_id, " ".join(map(_shortest, values[stop - count : stop].ravel().tolist()))]
        for image_id, stop, count in zip(image_ids, np.cumsum(n_boxes).tolist(), n_boxes.tolist(), strict=True)
    )
    return csv_text(COLUMNS, rows)


def _columns(path: Path, header: list[str]) -> tuple[int, int]:
    """Returns the positions of the two columns."""
    names = [name.strip().casefold() for name in header]
    positions = [names.index(column.casefold()) for column in COLUMNS if names.count(column.casefold()) == 1]
    if len(positions) < len(COLUMNS):
        found = ", ".join(name.strip() for name in header)[:200] or "nothing"
        raise HilumError(f"{path}: expected the columns {' and '.join(COLUMNS)} in the first row, once, found {found}")
    return positions[0], positions[1]


def _boxes(
    words: list[str], row: str, size_wh: tuple[int, int] | None, problems: Problems
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Reads five words a box; returns boxes (N, 4) and confidence (N,)."""
    rows: list[list[float]] = []
    for begin in range(0, len(words), 5):
        five = words[begin : begin + 5]
        box = f"{row}, box {begin // 5 + 1}"
        try:
            numbers = [float(word) for word in five]
        except ValueError:
            numbers = [math.nan]
        # float() takes 1_000, which no other reader of the file would.
        far = max(map(abs, numbers[1:]), default=0.0) > LARGEST_PX
        if far or not all(map(math.isfinite, numbers)) or any("_" in word for word in five):
            problems.add(
                "boxes that are not five finite numbers",
                f"{box}: '{' '.join(five)[:80]}' is not five finite numbers; box skipped",
            )
            continue
        if min(numbers[3:]) <= 0:
            problems.add(
                "boxes without a size",
                f"{box}: width {five[3]} and height {five[4]} are not both above 0; box skipped",
            )
            continue
        if not 0 <= numbers[0] <= 1:
            problems.add("confidences outside 0..1", f"{box}: confidence {five[0]} is outside 0..1; kept as it is")
        if size_wh and reaches_out(numbers[1:], size_wh):
            problems.add(
                "boxes that reach out of their image",
                f"{box}: {' '.join(five[1:])} reaches out of the {size_wh[0]} x {size_wh[1]} image; kept as it is",
            )
        rows.append(numbers)
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    return table[:, 1:], table[:, 0]


def _shortest(value: float) -> str:
    """Writes 605.0 as 605, and every number with the fewest digits that give it back."""
    return repr(value).removesuffix(".0")
