"""Read the challenge's tables as Kaggle lays them out: one row a box, one row an image, never their product.

`stage_2_train_labels.csv` has a row for each box and one for each image without; `stage_2_detailed_class_info.csv`
repeats an image's class once a box. Joining the two on `patientId` multiplies them (37,629 rows instead of 30,227);
here each is read into a mapping by image instead.

The readers take bytes, as a table may lie in a folder or in a zip. They take what spreadsheets make of a table (other
encodings, delimiters, line ends, column orders), say what they left out, row by row, and say once what they read in
spite of its form. Rows are numbered as an editor numbers lines; the header is usually row 1.
"""

import codecs
import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from hilum.errors import HilumError

OPACITY = "Lung Opacity"
CLASSES = ("Normal", "No Lung Opacity / Not Normal", OPACITY)
LABEL_COLUMNS = ("patientId", "x", "y", "width", "height", "Target")
CLASS_COLUMNS = ("patientId", "class")
PATIENT_COLUMNS = ("patient", "nih_patient")
SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

# Budgets: the challenge has 30,227 rows in 1.5 MB, and all public sets of radiographs together under a million images.
MAX_BYTES = 1 << 28
MAX_ROWS = 1_000_000
MAX_LINE = 1 << 17  # characters; also csv's own limit for a cell
MAX_SPAN = 64  # lines that a quoted cell may run over: else a file of stray quotes takes quadratic time
MAX_SIDE_PX = 65_535  # DICOM's Rows and Columns have 16 bits
_LONGEST_NUMBER = 8  # characters

_MISSING = {"", "nan", "na", "n/a", "#n/a", "<na>", "null", "none"}  # what pandas, R and Excel write for no value
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
# '1,024' is left alone: it may be 1.024 or 1024.
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,(\d{1,2}|\d{4,})", re.ASCII)
_WORDS = {"true": 1, "yes": 1, "false": 0, "no": 0}
_BAD_ID = "patientId is empty or holds characters other than letters, digits, '.', '_' and '-'"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something of the source that did not come along: an image, a box or a row, and why.

    A `note` did come along: how something was read whose form is unusual, said once, with the first row it is in.
    """

    what: str
    image_id: str
    file: str
    row: int | None
    reason: str


@dataclass
class Labels:
    """The label table by image.

    Attributes:
        rows: data rows in the file.
        boxes: image id -> its boxes [x, y, width, height, row in the file]; empty for an image without opacity.
        left_out: what could not be used.
    """

    rows: int = 0
    boxes: dict[str, list[tuple[float, float, float, float, int]]] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)


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
    table = _Table(name, content)
    images: dict[str, _Image] = {}
    first_spelling: dict[str, str] = {}
    for row, (cell, *numbers, target_cell), problem in table.read(LABEL_COLUMNS):
        image_id = table.image_id(row, cell)
        if not image_id:
            table.leave_out("row", "", row, problem or _BAD_ID)
            continue
        image = images.get(image_id)
        if image is None:
            image = images[image_id] = _Image(row)
            first_spelling.setdefault(image_id.lower(), image_id)
        target = None if problem else table.target(row, target_cell)
        if target is None:
            image.unclear = True
            table.leave_out("row", image_id, row, problem or f"Target is {_described(target_cell)}, expected 0 or 1")
        elif target == 0:
            if image.negative:
                table.note(row, "Target is 0 for an image that has such a row already")
            image.negative = True
            if any(numbers) and not all(number.lower() in _MISSING for number in numbers):
                # A fill value in place of nothing (`fillna(0)`) is no box.
                if all(number.lower() in _MISSING or _number(number) in (0, -1) for number in numbers):
                    table.note(row, "Target is 0 and the box is filled with 0 or -1, which counts as no box")
                else:
                    image.positive = True
                    table.leave_out("row", image_id, row, "Target is 0, yet the row has a box")
        else:
            image.positive = True
            box = table.box(row, numbers)
            if isinstance(box, str):
                table.leave_out("box", image_id, row, box)
            elif box in image.boxes:
                table.leave_out("box", image_id, row, f"the same box a second time, first in row {image.boxes[box]}")
            else:
                image.boxes[box] = row
    boxes = {}
    for image_id, image in images.items():
        first = first_spelling[image_id.lower()]
        reason = image.contradiction()
        if first != image_id:
            reason = f"the id differs only in case from {first!r} of row {images[first].row}"
        if reason:
            table.leave_out("image", image_id, image.row, reason)
        else:
            boxes[image_id] = [(*box, row) for box, row in image.boxes.items()]
    return Labels(table.rows, boxes, table.problems())


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
    table = _Table(name, content)
    known = {_plain(kind): kind for kind in CLASSES}
    classes: dict[str, str] = {}
    for row, (id_cell, cell), problem in table.read(CLASS_COLUMNS):
        image_id = table.image_id(row, id_cell)
        if problem or not image_id:
            table.leave_out("row", image_id, row, problem or _BAD_ID)
            continue
        kind = known.get(_plain(cell), "")
        if not kind:
            expected = ", ".join(CLASSES)
            table.leave_out("row", image_id, row, f"class is {_described(cell)}, expected one of {expected}")
        elif kind != cell:
            table.note(row, f"class is written {_quote(cell)}, read as {kind!r}")
        first = classes.get(image_id)
        if first and kind and first != kind:
            table.leave_out("row", image_id, row, f"a second class, {kind!r}; the first, {first!r}, is kept")
        classes[image_id] = first or kind
    return classes, table.problems()


def read_patients(content: bytes, name: str) -> dict[str, str]:
    """Read a patient map: columns `patientId` (the image) and `patient` or `nih_patient` (the person).

    Other columns are free, and images whose person is empty are left away. Nothing else is: an image that lost its
    person counts as somebody else and may put one person into two splits, so a damaged map has to be mended.

    Args:
        content: of the file.
        name: of the file, as messages show it.

    Raises:
        HilumError: not readable as a table, a column is missing, a row cannot be used, or an image has two patients.
    """
    table = _Table(name, content)
    columns = {_plain(column) for column in table.header}
    person = next((column for column in PATIENT_COLUMNS if _plain(column) in columns), None)
    if person is None:
        raise HilumError(f"{name}: expected a column 'patient' or 'nih_patient', found {_list(table.header)}")
    patients: dict[str, str] = {}
    for row, (cell, patient), problem in table.read(("patientId", person)):
        image_id = table.image_id(row, cell)
        if problem or not image_id:
            raise HilumError(f"{name}: row {row}: {problem or _BAD_ID}; mend the map")
        owner = "" if patient.lower() in _MISSING else patient
        if patients.setdefault(image_id, owner) != owner:
            raise HilumError(f"{name}: row {row}: image {image_id} has two patients; mend the map")
    return {image_id: owner for image_id, owner in patients.items() if owner}


def match_case(image_ids: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Find ids that `known` holds too, but for their case: id -> as `known` spells it.

    Ids that `known` holds as they are, or that could be two of `known`, are not in the result; nor are two ids that
    could be the same one.
    """
    ours, theirs = set(image_ids), set(known)
    spare: dict[str, list[str]] = {}
    asked: dict[str, list[str]] = {}
    for image_id in theirs - ours:
        spare.setdefault(image_id.lower(), []).append(image_id)
    for image_id in sorted(ours - theirs):
        asked.setdefault(image_id.lower(), []).append(image_id)
    return {
        same[0]: spare[lower][0] for lower, same in asked.items() if len(same) == 1 and len(spare.get(lower, ())) == 1
    }


@dataclass(slots=True)
class _Image:
    """What the rows of the label table say about one image."""

    row: int
    negative: bool = False
    positive: bool = False
    unclear: bool = False
    boxes: dict[tuple[float, float, float, float], int] = field(default_factory=dict)

    def contradiction(self) -> str:
        if self.negative and self.positive:
            return "its rows contradict each other: Target 0 and a box"
        if self.negative and self.unclear:
            return "one of its rows has Target 0, another cannot be used"
        if self.positive and not self.boxes:
            return "Target is 1, yet none of its boxes can be used"
        return "" if self.negative or self.boxes else "none of its rows can be used"


class _Table:
    """A table's text, and what was found wrong with it while it was read.

    Attributes:
        header: the names of the columns as they are.
        rows: data rows read so far.
    """

    def __init__(self, name: str, content: bytes) -> None:
        self.name = name
        self.rows = 0
        self._left_out: list[LeftOut] = []
        self._notes: dict[str, tuple[int, int]] = {}  # what was unusual -> first row, number of rows
        self._lines, damaged = _lines(content, name)
        if damaged:
            self.note(damaged, "bytes that are not text in the file's encoding, from this row on")
        at = next((at for at, line in enumerate(self._lines) if line.strip()), None)
        if at is None:
            raise HilumError(f"{name}: the file is empty; expected a table with a header")
        self._first = at + 1
        header = self._lines[at][:MAX_LINE]
        self._delimiter = max(",;\t|", key=header.count)
        self.header = [cell.strip() for cell in next(csv.reader([header], delimiter=self._delimiter))]

    def leave_out(self, what: str, image_id: str, row: int, reason: str) -> None:
        self._left_out.append(LeftOut(what, image_id, self.name, row, reason))

    def note(self, row: int, what: str) -> None:
        first, count = self._notes.get(what, (row, 0))
        self._notes[what] = first, count + 1

    def problems(self) -> list[LeftOut]:
        """All that was left out, in the order it was met, and then the notes."""
        notes = [
            LeftOut("note", "", self.name, row, what + (f" (so in {count} rows)" if count > 1 else ""))
            for what, (row, count) in self._notes.items()
        ]
        return self._left_out + notes

    def read(self, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str], str]]:
        """Rows that are not blank: number, the stripped cells of `columns`, and why they cannot be trusted or ''."""
        found = [_plain(name) for name in self.header]
        missing = [name for name in columns if _plain(name) not in found]
        if missing:
            raise HilumError(f"{self.name}: column {', '.join(missing)} is missing; found {_list(self.header)}")
        doubled = [name for name in columns if found.count(_plain(name)) > 1]
        if doubled:
            raise HilumError(f"{self.name}: column {', '.join(doubled)} is there more than once; keep one")
        places = [found.index(_plain(name)) for name in columns]
        others = [name for at, name in enumerate(self.header) if at not in places]
        if others:
            columns_ = "1 column" if len(others) == 1 else f"{len(others):,} columns"
            self.leave_out("column", "", self._first, f"{columns_} more than are used")
        width = len(self.header)
        for row, cells, damage in self._records(width):
            values = [cells[at].strip() if at < len(cells) else "" for at in places]
            if not damage and not any(values) and not any(map(str.strip, cells)):
                continue
            problem = damage
            if len(cells) > width and any(map(str.strip, cells[width:])):
                problem = f"the row has {len(cells)} cells, the header {width}: any of them may be in the wrong column"
            self.rows += 1
            yield row, values, problem
        if not self.rows:
            raise HilumError(f"{self.name}: a header and no rows below it")

    def _records(self, width: int) -> Iterator[tuple[int, list[str], str]]:
        lines, delimiter, at = self._lines, self._delimiter, self._first
        while at < len(lines):
            line, span, cells, damage = lines[at], 1, [], ""
            if len(line) > MAX_LINE:
                damage = f"the line has {len(line)} characters, more than a row can have"
            elif '"' not in line:
                cells = line.split(delimiter)
            else:
                cells, span = self._quoted(at, width)
            at += span
            yield at, cells, damage

    def _quoted(self, at: int, width: int) -> tuple[list[str], int]:
        """The record that begins in line `at`, and its number of lines.

        A stray quotation mark swallows the rows up to the next one. So a record counts only if it is strictly right;
        else its first line is read for itself.
        """
        lines = (f"{line}\n" for line in self._lines[at : at + MAX_SPAN])
        reader = csv.reader(lines, delimiter=self._delimiter, skipinitialspace=True, strict=True)
        try:
            cells = next(reader)
            if reader.line_num == 1:
                return cells, 1
            if len(cells) == width:
                self.note(reader.line_num + at, "a quoted cell holds line breaks; its lines are read as one row")
                return cells, reader.line_num
        except csv.Error:
            pass
        self.note(at + 1, "the quotation marks of the line do not match")
        return next(csv.reader([self._lines[at]], delimiter=self._delimiter, skipinitialspace=True)), 1

    def image_id(self, row: int, cell: str) -> str:
        """The id in a cell, or '' if there is none that can be a file name."""
        image_id = cell
        if cell[-4:].lower() == ".dcm":
            image_id = re.split(r"[/\\]", cell)[-1][:-4]
        if not SAFE_ID.fullmatch(image_id):
            return ""
        if image_id != cell:
            self.note(row, "patientId is written as a file name, read as the id in it")
        return image_id

    def target(self, row: int, cell: str) -> int | None:
        if cell in ("0", "1"):
            return int(cell)
        value = _WORDS.get(cell.lower(), _number(cell))
        if value not in (0, 1):
            return None
        if cell not in ("0.0", "1.0"):  # so pandas writes a column that had a gap
            self.note(row, f"Target is written {_quote(cell)}, read as {value:g}")
        return int(value)

    def box(self, row: int, cells: list[str]) -> tuple[float, float, float, float] | str:
        """The box, or why there is none."""
        x, y, width, height = (_number(cell) for cell in cells)
        if x is None or y is None or width is None or height is None:
            if all(cell.lower() in _MISSING for cell in cells):
                return "Target is 1, yet the row has no box"
            return f"box is {', '.join(map(_described, cells))}; expected are four finite numbers"
        if width <= 0 or height <= 0:
            size = " x ".join(map(_described, cells[2:]))
            return f"box is {size} px, expected a width and a height above 0"
        if max(abs(x), abs(y), width, height) > MAX_SIDE_PX:
            return f"box reaches beyond {MAX_SIDE_PX:,} px, farther than a DICOM picture can"
        if any("," in cell for cell in cells):
            self.note(row, "numbers with a decimal comma")
        return x, y, width, height


def _lines(content: bytes, name: str) -> tuple[list[str], int | None]:
    """The lines of a table without their ends, whatever its encoding, and the first that does not fit the encoding."""
    if len(content) > MAX_BYTES:
        raise HilumError(f"{name}: {len(content) >> 20} MB, expected at most {MAX_BYTES >> 20}; is it the right file?")
    if content.startswith((b"PK\3\4", b"\x1f\x8b")):
        raise HilumError(f"{name}: a compressed file or a workbook, expected CSV text; unpack it, or save it as CSV")
    if max(content.count(b"\n"), content.count(b"\r")) > MAX_ROWS:
        raise HilumError(f"{name}: more than {MAX_ROWS:,} rows; is it the right file?")
    encoding = _encoding(content)
    try:
        return _split(content.decode(encoding)), None
    except UnicodeDecodeError:
        fits = content.decode(encoding, "replace").partition("\ufffd")[0]
        if encoding == "utf-8-sig":
            # Latin-1 keeps cells that differ different, which "replace" does not.
            text = content.removeprefix(codecs.BOM_UTF8).decode("latin-1")
        else:
            text = content.decode(encoding, "replace")
        return _split(text), len(_split(fits))


def _encoding(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(content) >= 8 and not any(content[1:8:2]):
        return "utf-16-le"
    return "utf-16-be" if len(content) >= 8 and not any(content[:8:2]) else "utf-8-sig"


def _split(text: str) -> list[str]:
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _number(cell: str) -> float | None:
    if len(cell) > 40:
        return None
    if _DECIMAL_COMMA.fullmatch(cell):
        cell = cell.replace(",", ".")
    return float(cell) if _NUMBER.fullmatch(cell) else None


def _plain(name: str) -> str:
    """A name without what people write differently: case, blanks, punctuation, a second byte order mark."""
    return re.sub(r"[\W_]+", "", name).lower()


def _described(cell: str) -> str:
    """A cell as a table that may be shared can show it: a number of pixels, else its kind and length alone.

    It stands where something else was expected, so it may be a name, a date of birth, or another number of a person.
    """
    value = _number(cell)
    if value is not None and len(cell) <= _LONGEST_NUMBER and abs(value) <= MAX_SIDE_PX:
        return cell
    if not cell:
        return "empty"
    return f"{'a number' if value is not None else 'text'} of {len(cell)} characters"


def _quote(cell: str, length: int = 40) -> str:
    """The beginning of a cell as a message may show it: control characters escaped."""
    return repr(cell[:length]) + "..." * (len(cell) > length)


def _list(names: list[str], most: int = 8) -> str:
    return ", ".join(map(_quote, names[:most])) + f" and {len(names) - most} more" * (len(names) > most)
