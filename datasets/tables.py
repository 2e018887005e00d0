"""Read a table that may come from anybody into a DataFrame of text, whose index numbers rows as an editor does lines.

pandas reads neither a row that is wider than the header nor one behind a stray quotation mark, and it does not tell in
which line a row stood. So lines are found and parted here, whatever spreadsheets have made of the table (other
encodings, delimiters, line ends, column orders); what was left out is kept row by row, and what was read in spite of
its form is said once.
"""

import codecs
import csv
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hilum.datasets.left_out import LeftOut
from hilum.errors import HilumError

if TYPE_CHECKING:
    import pandas as pd

SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
PICTURE_ENDING = re.compile(r"\.(dcm|dicom|png|jpe?g|tiff?|bmp|webp|jp2)$", re.IGNORECASE)
MISSING = frozenset(
    {"", "nan", "na", "n/a", "#n/a", "<na>", "null", "none"}
)  # what pandas, R, Excel write for no value
BAD_ID = "is empty or holds characters other than letters, digits, '.', '_' and '-'"

# Budgets: the challenge has 30,227 rows in 1.5 MB, and all public sets of radiographs together under a million images.
MAX_BYTES = 1 << 28
MAX_ROWS = 1_000_000
MAX_LINE = 1 << 17  # characters; also csv's own limit for a cell
MAX_SPAN = 64  # lines that a quoted cell may run over: else a file of stray quotes takes quadratic time


class Table:
    """A table's text, and what was found wrong with it while it was read.

    Attributes:
        header: the names of the columns as they are.
        count: data rows read.
    """

    def __init__(self, name: str, content: bytes) -> None:
        """Find the lines and the header.

        Args:
            name: of the file, as messages show it.
            content: of the file.

        Raises:
            HilumError: too large, empty, or not text.
        """
        self.name, self.count = name, 0
        self._left_out: list[LeftOut] = []
        self._notes: list[tuple[int, int, str]] = []  # first row, number of rows, what was unusual
        self._lines, self._damaged = _lines(content, name)
        at = next((at for at, line in enumerate(self._lines) if line.strip()), None)
        if at is None:
            raise HilumError(f"{name}: the file is empty; expected a table with a header")
        self._first = at + 1
        header = self._lines[at][:MAX_LINE]
        self._delimiter = max(",;\t|", key=header.count)
        self.header = [cell.strip() for cell in next(csv.reader([header], delimiter=self._delimiter))]

    def leave_out(self, what: str, image_id: str, row: int, reason: str) -> None:
        self._left_out.append(LeftOut(what, image_id, self.name, row, reason))

    def note(self, what: str, rows: "Sequence[int] | pd.Index[Any]") -> None:
        """Say once what was unusual in some rows, if there are any."""
        if len(rows):
            self._notes.append((int(rows[0]), len(rows), what))

    def problems(self) -> list[LeftOut]:
        """All that was left out, by row, then whole images, then the notes."""
        notes = sorted(self._notes, key=lambda note: note[0])
        if self._damaged:
            notes = [(self._damaged, 1, "bytes that are not text in the file's encoding, from this row on"), *notes]
        said = [
            LeftOut("note", "", self.name, row, what + (f" (so in {count} rows)" if count > 1 else ""))
            for row, count, what in notes
        ]
        return sorted(self._left_out, key=lambda entry: (entry.what == "image", entry.row)) + said

    def read(self, columns: Sequence[str]) -> "pd.DataFrame":
        """Rows that are not blank, by their number.

        Args:
            columns: of the table; the first one names the images.

        Returns:
            The stripped cells of `columns`; `named`: the first as it is written; `image_id`: the id in it, or '' where
            there is none that can be a file name; `problem`: why a row cannot be trusted, or ''.

        Raises:
            HilumError: a column is missing or there twice, or there are no rows.
        """
        import pandas as pd

        places, others = self._places(columns), len(self.header) - len(columns)
        if others:
            self.leave_out("column", "", self._first, f"{_columns(others)} more than are used")
        width, numbers, records = len(self.header), [], []
        for row, cells, damage in self._records(width):
            values = [cells[at].strip() if at < len(cells) else "" for at in places]
            if not damage and not any(values) and not any(map(str.strip, cells)):
                continue
            problem = damage
            if len(cells) > width and any(map(str.strip, cells[width:])):
                problem = f"the row has {len(cells)} cells, the header {width}: any of them may be in the wrong column"
            numbers.append(row)
            records.append([*values, problem])
        if not records:
            raise HilumError(f"{self.name}: a header and no rows below it")
        self.count = len(records)
        rows = pd.DataFrame(records, index=numbers, columns=[*columns, "problem"], dtype=object)
        rows["named"] = rows[columns[0]]
        rows["image_id"] = list(map(_image_id, rows[columns[0]]))
        differs = (rows["image_id"] != "") & (rows["image_id"] != rows["named"])
        self.note(f"{columns[0]} is written as a file name, read as the id in it", rows.index[differs])
        no_id = (rows["image_id"] == "") & (rows["problem"] == "")
        rows.loc[no_id, "problem"] = f"{columns[0]} {BAD_ID}"
        return rows

    def _places(self, columns: Sequence[str]) -> list[int]:
        found = [plain(name) for name in self.header]
        if missing := [name for name in columns if plain(name) not in found]:
            raise HilumError(f"{self.name}: column {', '.join(missing)} is missing; found {listed(self.header)}")
        if doubled := [name for name in columns if found.count(plain(name)) > 1]:
            raise HilumError(f"{self.name}: column {', '.join(doubled)} is there more than once; keep one")
        return [found.index(plain(name)) for name in columns]

    def _records(self, width: int) -> Iterator[tuple[int, list[str], str]]:
        """The number of each row's last line, its cells, and why they cannot be trusted or ''."""
        lines, delimiter, at = self._lines, self._delimiter, self._first
        broken, unmatched = list[int](), list[int]()
        while at < len(lines):
            line, span, cells, damage = lines[at], 1, [], ""
            if len(line) > MAX_LINE:
                damage = f"the line has {len(line)} characters, more than a row can have"
            elif '"' not in line:
                cells = line.split(delimiter)
            elif quoted := self._quoted(at, width):
                cells, span = quoted
                broken += [at + span] if span > 1 else []
            else:
                cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
                unmatched.append(at + 1)
            at += span
            yield at, cells, damage
        self.note("a quoted cell holds line breaks; its lines are read as one row", broken)
        self.note("the quotation marks of the line do not match", unmatched)

    def _quoted(self, at: int, width: int) -> tuple[list[str], int] | None:
        """The record that begins in line `at`, and its number of lines; None where it is not strictly right.

        A stray quotation mark swallows the rows up to the next one. Such a line is then read for itself.
        """
        lines = (f"{line}\n" for line in self._lines[at : at + MAX_SPAN])
        reader = csv.reader(lines, delimiter=self._delimiter, skipinitialspace=True, strict=True)
        try:
            cells = next(reader)
        except csv.Error:
            return None
        return (cells, reader.line_num) if reader.line_num == 1 or len(cells) == width else None


def by_value(cells: "pd.Series[Any]", read: Callable[[str], Any]) -> "pd.Series[Any]":
    """What a function makes of each cell; it is asked once a value, of which there are few."""
    return cells.map({cell: read(cell) for cell in cells.unique()})


def plain(name: str) -> str:
    """A name without what people write differently: case, blanks, punctuation, a second byte order mark."""
    return re.sub(r"[\W_]+", "", name).lower()


def quoted(cell: str, length: int = 40) -> str:
    """The beginning of a cell as a message may show it: control characters escaped."""
    return repr(cell[:length]) + "..." * (len(cell) > length)


def listed(names: Sequence[str], most: int = 8) -> str:
    """The first of some names, for a message."""
    return ", ".join(map(quoted, names[:most])) + f" and {len(names) - most} more" * (len(names) > most)


def _columns(count: int) -> str:
    return "1 column" if count == 1 else f"{count:,} columns"


def _image_id(cell: str) -> str:
    if PICTURE_ENDING.search(cell):
        cell = PICTURE_ENDING.sub("", re.split(r"[/\\]", cell)[-1])
    return cell if SAFE_ID.fullmatch(cell) else ""


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
