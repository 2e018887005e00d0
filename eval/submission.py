"""Submissions to Kaggle's challenges: one row an image, an id and a string with all boxes.

RSNA's has the columns `patientId,PredictionString` and five values a box, `confidence x y width height`, joined by
blanks; the string is empty where the image has no box. `patientId` names an image, not a patient. What the others have
is in `hilum.eval.layouts`; a file's header tells whose it is.

Source: https://www.kaggle.com/c/rsna-pneumonia-detection-challenge/overview/evaluation
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hilum.datasets.boxes import xywh_to_xyxy
from hilum.documents import MAX_CSV_BYTES, csv_lines, read_text
from hilum.errors import HilumError
from hilum.eval.competition import flatten_boxes, flatten_confidence
from hilum.eval.layouts import IMAGE, LAYOUTS, RSNA, STUDY, Layout
from hilum.eval.problems import Problems
from hilum.eval.submission_row import COUNT, Row, read_row, shortest
from hilum.files import csv_text, write_atomically

STRING = "PredictionString"

Boxes = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Boxes as x, y, width, height (N, 4), and confidences (N,)."""
Predictions = dict[str, Boxes]

_PICTURE_ENDINGS = {"dcm", "dicom", "jpg", "jpeg", "png"}
_CORNER_DECIMALS = 6  # a width that is added to a left edge and taken off again is not the same to the last bit


class Submission(NamedTuple):
    """What a file says: `Row` by the id of an image, of a study with `_study`; and lines on its problems."""

    layout: Layout
    rows: dict[str, Row]
    problems: list[str]


def read_submission(
    path: str | Path, sizes_wh: Mapping[str, tuple[int, int]] | None = None
) -> tuple[Predictions, list[str]]:
    """Reads the boxes and confidences of RSNA's submission, as `read_rows` does.

    Returns:
        Image id -> (boxes as x, y, width, height (N, 4), confidence (N,)), in the order of the file; an image whose
        string is empty has no boxes, and one whose row was skipped is not there. Then lines on the problems.

    Raises:
        HilumError: As `read_rows`, or it is of another challenge.
    """
    layout, rows, problems = read_rows(path, sizes_wh)
    if layout is not RSNA:
        raise HilumError(f"{path}: expected a submission to {RSNA.name}, with {RSNA.id_column}, not to {layout.name}")
    return {name: (row.boxes_xywh, row.confidence) for name, row in rows.items()}, problems


def read_rows(path: str | Path, sizes_wh: Mapping[str, tuple[int, int]] | None = None) -> Submission:
    r"""Reads a submission, uses what can be used and says what could not.

    The header may be in any case and order and stand among other columns; a byte-order mark, CRLF, blank lines, stray
    blanks and quotes are all fine. Beyond that, each of these is named with its row:

    * A box with something that is not a finite number, or a width or height not above 0, is skipped, and so is one of
      a class that the challenge, or such a row, does not have.
    * A box that reaches out of its image, or a confidence outside 0..1, is kept as it is: the competition scored boxes
      as they were, and by the order of confidences only. So is a box of a whole image that is not 0 0 1 1.
    * A row whose number of values is not a multiple of 5, or of 6 where boxes have a class, is skipped: which value is
      missing cannot be known.
    * A row without an id, with one that an earlier row had, or with one of no image that is scored, is skipped.
    * Cells beyond the header's columns are left out.
    * An id with a folder or the ending of a picture file (`C:\xrays\a.dcm`) is read without them.
    * Columns separated by semicolons or tabs are read.

    Args:
        path: The CSV file, UTF-8.
        sizes_wh: The images to score and their width and height in pixels; where None, every id is taken and no box is
            outside. Studies are taken whatever they are called.

    Returns:
        What it says, in the order of the file; an image whose string is empty has no boxes, and one whose row was
        skipped is not there. Lines on the problems tell file, row (as an editor counts lines, the header being 1),
        image id, what was done; up to 20 lines a kind of problem, and how many more there are.

    Raises:
        HilumError: The file cannot be read, or is not CSV text with the two columns.
    """
    path = Path(path)
    rows: dict[str, Row] = {}
    problems = Problems(path.name)
    row_of: dict[str, int] = {}
    text = read_text(path, MAX_CSV_BYTES)
    separator = max(",;\t", key=text.partition("\n")[0].count)  # a comma, unless another one is more frequent
    # A blank before a quote would otherwise make the quote part of the value.
    lines = csv_lines(text, str(path), delimiter=separator, skip_blanks=True)
    _, header = next(lines, (1, list[str]()))
    layout, id_column, string_column = _columns(path, header)
    if name := {";": "semicolons", "\t": "tabs"}.get(separator):
        problems.add("separators", f"{path.name}, row 1: columns separated by {name}; a submission has commas")
    for line, values in lines:
        if not any(value.strip() for value in values):
            continue
        written = values[id_column].strip() if id_column < len(values) else ""
        stem, of = _of(written, layout)
        image_id = stem + STUDY if of == STUDY else image_name(stem, sizes_wh) if stem else ""
        row = f"{path.name}, row {line}" + (f" ({image_id})" if image_id else "")
        cell = values[string_column] if string_column < len(values) else None
        problem = _row_problem(image_id, cell, layout, None if of == STUDY else sizes_wh, row_of)
        if problem or of is None:
            kind, reason = problem or ("ids of neither", f"is neither ..{IMAGE} nor ..{STUDY}")
            problems.add(kind, f"{row}: {reason}; row skipped")
            continue
        if of != STUDY and image_id != stem:
            problems.add("ids that are paths", f"{row}: the id is '{written}'; read without the rest")
        if beyond := [value.strip() for value in values[len(header) :] if value.strip()]:
            problems.add(
                "rows with more cells than the header",
                f"{row}: '{separator.join(beyond)[:80]}' after the last column; left out",
            )
        row_of[image_id] = line
        size_wh = None if sizes_wh is None or of == STUDY else sizes_wh[image_id]
        rows[image_id] = read_row((cell or "").split(), row, size_wh, problems, layout, of)
    return Submission(layout, rows, problems.lines())


def read_by_class(
    source: Path, class_names: Sequence[str], sizes_wh: Mapping[str, tuple[int, int]]
) -> tuple[dict[str, tuple[Boxes, ...]], dict[str, list[float]] | None, list[str]]:
    """Reads a submission as what was found of some classes.

    Args:
        source: The CSV file.
        class_names: Of what is looked for.
        sizes_wh: The images to score, as `read_rows` takes them.

    Returns:
        By image the boxes (N, 4) and confidences (N,) of each class. Where boxes have a class, the probability of each
        class: of a single one it follows from the class of images without a box, else it is that of the surest box.
        Lines on the problems.

    Raises:
        HilumError: As `read_rows`, or it does not say of which of several classes a box is.
    """
    layout, rows, lines = read_rows(source, sizes_wh)
    if len(class_names) > 1 and not layout.words:
        raise HilumError(
            f"{source}: does not say of which class a box is, and there are {len(class_names)}; give COCO results"
        )
    names = layout.classes_of(class_names) if layout.words else ("",)
    images = {name: row for name, row in rows.items() if name in sizes_wh}
    known = {*names, layout.nothing}
    if others := sum(name not in known for row in images.values() for name in row.classes):
        lines.append(f"{source}: {others:,} boxes of classes that the data do not have were left out")
    found = {image_id: tuple(row.of(name) for name in names) for image_id, row in images.items()}
    if not layout.words:
        return found, None, lines
    shows = {image_id: [float(sure.max(initial=0.0)) for _, sure in its] for image_id, its in found.items()}
    for image_id, row in images.items() if len(names) == 1 else ():
        nothing = row.of(layout.nothing)[1]
        shows[image_id] = [float(1 - nothing.max())] if len(nothing) else shows[image_id]
    return found, shows, lines


def _of(written: str, layout: Layout) -> tuple[str, str | None]:
    """The id of the image or study that a row is of, and which of both; None where the challenge has no such row."""
    if not layout.study_classes:
        return written, IMAGE
    return next(((written.removesuffix(end), end) for end in (IMAGE, STUDY) if written.endswith(end)), (written, None))


def _row_problem(
    image_id: str,
    cell: str | None,
    layout: Layout,
    sizes_wh: Mapping[str, object] | None,
    row_of: Mapping[str, int],
) -> tuple[str, str] | None:
    """The kind of problem for which a row is skipped, and what it is; None where it can be read.

    Args:
        image_id: of the row, or "" where it has none.
        cell: the boxes; None where the row ends before them.
        layout: of the file.
        sizes_wh: the images to score; None for any.
        row_of: the rows of the images that were there already.
    """
    if not image_id:
        return "rows without an id", f"no {layout.id_column}"
    if sizes_wh is not None and image_id not in sizes_wh:
        return "rows of other images", "is not among the images to score"
    if image_id in row_of:
        return "rows of images that were there already", f"was in row {row_of[image_id]} already"
    if cell is None:
        return f"rows without {STRING}", f"no {STRING} column"
    if (count := len(cell.split())) % layout.values_per_box:
        return "rows with a wrong number of values", f"{count} values, expected {COUNT[layout.values_per_box]} a box"
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


def write_submission(
    path: str | Path,
    image_ids: Sequence[str],
    boxes_xywh: Sequence[NDArray[Any]],
    confidence: Sequence[NDArray[Any]],
) -> None:
    """Writes RSNA's submission; the file appears whole or not at all. See `submission_text`.

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
    """Returns RSNA's submission as CSV.

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
    return _text(RSNA, image_ids, boxes_xywh, confidence, ())


def rows_text(layout: Layout, rows: Mapping[str, Row]) -> str:
    """Returns a submission as CSV; corners are rounded to a millionth of a pixel.

    Args:
        layout: Its form.
        rows: What it says, by the id that is written: `Layout.row_id` of an image, a study's with `_study`.

    Raises:
        ValueError: As `submission_text`.
    """
    given = rows.values()
    words = {**layout.words, **layout.names_by_word(study=True)}
    boxes, confidence = [row.boxes_xywh for row in given], [row.confidence for row in given]
    return _text(layout, list(rows), boxes, confidence, [words[name] for row in given for name in row.classes])


def _text(
    layout: Layout,
    ids: Sequence[str],
    boxes_xywh: Sequence[NDArray[Any]],
    confidence: Sequence[NDArray[Any]],
    words: Sequence[str],
) -> str:
    seen: set[str] = set()
    for index, image_id in enumerate(ids):
        if not image_id or image_id != image_id.strip() or image_id in seen:
            raise ValueError(
                f"image_ids: {image_id!r} of image {index} is empty, has blanks around it or is there twice"
            )
        seen.add(image_id)
    boxes, n_boxes = flatten_boxes("boxes_xywh", boxes_xywh)
    scores = flatten_confidence("confidence", confidence, n_boxes)
    if len(scores) and not 0 <= scores.min() <= scores.max() <= 1:
        raise ValueError(f"confidence: expected values from 0 to 1, got {scores.min()} to {scores.max()}")
    if layout.words:
        boxes = xywh_to_xyxy(boxes).round(_CORNER_DECIMALS)
    written = [" ".join(map(shortest, values)) for values in np.column_stack([scores, boxes]).tolist()]
    if layout.words:
        written = [f"{word} {values}" for word, values in zip(words, written, strict=True)]
    rows = (
        [image_id, " ".join(written[stop - count : stop])]
        for image_id, stop, count in zip(ids, np.cumsum(n_boxes).tolist(), n_boxes.tolist(), strict=True)
    )
    return csv_text((layout.id_column, STRING), rows)


def _columns(path: Path, header: list[str]) -> tuple[Layout, int, int]:
    """Returns whose submission it is, and the positions of the two columns."""
    names = [name.strip().casefold() for name in header]
    if names.count(STRING.casefold()) == 1:
        for layout in LAYOUTS.values():
            if names.count(layout.id_column.casefold()) == 1:
                return layout, names.index(layout.id_column.casefold()), names.index(STRING.casefold())
            if layout.id_column.casefold() in names:
                break
    found = ", ".join(name.strip() for name in header)[:200] or "nothing"
    others = " or ".join(f"{layout.id_column} in {layout.name}" for layout in LAYOUTS.values() if layout is not RSNA)
    raise HilumError(
        f"{path}: expected the columns {RSNA.id_column} and {STRING} in the first row, once (for the first, {others}), "
        f"found {found}"
    )
