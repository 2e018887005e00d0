"""Kaggle's submission.csv: one row an image, `patientId,PredictionString`.

The string holds five values a box, `confidence x y width height`, all joined by blanks; it is empty where the image has
no box. `patientId` names an image, not a patient.

Source: https://www.kaggle.com/c/rsna-pneumonia-detection-challenge/overview/evaluation
"""

import csv
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.eval.competition import flatten_boxes, flatten_confidence

COLUMNS = ("patientId", "PredictionString")

Predictions = dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]


def read_submission(path: str | Path) -> tuple[Predictions, list[str]]:
    """Reads a submission, uses what can be used and says what could not.

    The header may be in any case and order and stand among other columns; a byte-order mark, CRLF, blank lines, stray
    blanks and quotes are all fine. Beyond that:

    * A box with something that is not a finite number, or a width or height not above 0, is skipped.
    * A row whose number of values is not a multiple of 5 is skipped: which value is missing cannot be known.
    * A row without an id, or with one that an earlier row had, is skipped.
    * A confidence outside 0..1 is kept, since the score depends on the order of confidences only.

    Args:
        path: The CSV file, UTF-8.

    Returns:
        Image id -> (boxes as x, y, width, height (N, 4), confidence (N,)), in the order of the file; an image whose
        string is empty has no boxes, and one whose row was skipped is not there. Then one line for each problem,
        naming the file, the row (as an editor counts lines, the header being 1) and what was done.

    Raises:
        ValueError: The file is not CSV text with the two columns.
    """
    path = Path(path)
    predictions: Predictions = {}
    problems: list[str] = []
    row_of: dict[str, int] = {}
    # utf-8-sig drops a byte-order mark. A blank before a quote would otherwise make the quote part of the value.
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, skipinitialspace=True)
        try:
            id_column, string_column = _columns(path, next(reader, []))
            for values in reader:
                if not any(value.strip() for value in values):
                    continue
                row = f"{path.name}, row {reader.line_num}"
                image_id = values[id_column].strip() if id_column < len(values) else ""
                if not image_id:
                    problems.append(f"{row}: no {COLUMNS[0]}; row skipped")
                    continue
                if image_id in row_of:
                    problems.append(f"{row}: {image_id} was in row {row_of[image_id]} already; row skipped")
                    continue
                if string_column >= len(values):
                    problems.append(f"{row}: no {COLUMNS[1]} column; row skipped")
                    continue
                words = values[string_column].split()
                if len(words) % 5:
                    problems.append(f"{row}: {len(words)} values, expected five a box; row skipped")
                    continue
                row_of[image_id] = reader.line_num
                predictions[image_id], box_problems = _boxes(words)
                problems.extend(f"{row}, {problem}" for problem in box_problems)
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a CSV file in UTF-8: {error}") from error
    return predictions, problems


def write_submission(
    path: str | Path,
    image_ids: Sequence[str],
    boxes_xywh: Sequence[NDArray[Any]],
    confidence: Sequence[NDArray[Any]],
) -> None:
    """Writes a submission; the file appears whole or not at all.

    Numbers are written with as many digits as it takes to read the same float64 again.

    Args:
        path: The CSV file, in a folder that exists; replaced if it is there.
        image_ids: The id of each image.
        boxes_xywh: The boxes of each image, (N, 4): x, y, width, height in pixels.
        confidence: The confidence of each box, (N,), 0 to 1.

    Raises:
        ValueError: An id is empty, has blanks around it or is there twice, the lengths differ, a confidence is outside
            0..1, or the boxes are not valid, as in `hilum.eval.competition.match_counts`.
    """
    path = Path(path)
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
    stops = np.cumsum(n_boxes)
    # Beside the file, not in the system's temporary folder: a rename is atomic on one file system only.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for image_id, stop, count in zip(image_ids, stops.tolist(), n_boxes.tolist(), strict=True):
                writer.writerow([image_id, " ".join(map(_shortest, values[stop - count : stop].ravel().tolist()))])
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _columns(path: Path, header: list[str]) -> tuple[int, int]:
    """Returns the positions of the two columns."""
    names = [name.strip().casefold() for name in header]
    wanted = [name.casefold() for name in COLUMNS]
    if not set(wanted) <= set(names):
        found = ", ".join(name.strip() for name in header)[:200] or "nothing"
        raise ValueError(f"{path}: expected the columns {' and '.join(COLUMNS)} in the first row, found {found}")
    return names.index(wanted[0]), names.index(wanted[1])


def _boxes(words: list[str]) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], list[str]]:
    """Reads five words a box; returns (boxes (N, 4), confidence (N,)) and what was wrong."""
    rows: list[list[float]] = []
    problems: list[str] = []
    for begin in range(0, len(words), 5):
        five = words[begin : begin + 5]
        box = f"box {begin // 5 + 1}"
        try:
            numbers = [float(word) for word in five]
        except ValueError:
            numbers = [math.nan]
        if not all(map(math.isfinite, numbers)):
            problems.append(f"{box}: '{' '.join(five)}' is not five finite numbers; box skipped")
            continue
        if min(numbers[3:]) <= 0:
            problems.append(f"{box}: width {five[3]} and height {five[4]} are not both above 0; box skipped")
            continue
        if not 0 <= numbers[0] <= 1:
            problems.append(f"{box}: confidence {five[0]} is outside 0..1; kept as it is")
        rows.append(numbers)
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    return (table[:, 1:], table[:, 0]), problems


def _shortest(value: float) -> str:
    """Writes 605.0 as 605, and every number with the fewest digits that give it back."""
    return repr(value).removesuffix(".0")
