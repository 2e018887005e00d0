"""Parse what may come from anybody: JSON, JSON lines, YAML and CSV, each in one place, each within limits.

Size, depth, number range and encoding are checked while a document is parsed, and its shape by a pydantic model behind
that. Whatever is wrong is one line with the file and the key; a parser never runs for long or grows without bound.
"""

import codecs
import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import yaml
from pydantic import ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError, WrapValidator
from pydantic_core import from_json

from hilum.errors import HilumError
from hilum.files import read_regular
from hilum.yaml_loader import MAX_DEPTH, TOO_DEEP, BoundedLoader

MAX_JSON_BYTES: Final = 1 << 29
_MOST_VALUES: Final = (
    1 << 25
)  # of a JSON document: 3.7 million boxes; as Python's objects they take far more than as text
MAX_RECORD_BYTES: Final = 1 << 24  # of a file that says how others were made
MAX_YAML_BYTES: Final = 1 << 20
MAX_CSV_BYTES: Final = 1 << 29
_SHOWN = 80  # characters of a value in a message

RECORD: Final = ConfigDict(extra="allow", strict=True)
"""For models of what hilum writes: known keys have their types, and a later version's keys are kept."""

Share = Annotated[float, Field(ge=0, le=1)]
_ONE, _EACH = "(one)", "(each)"  # tags, that a problem is told of the right one of two
Shares = Annotated[
    Annotated[Share, Tag(_ONE)] | Annotated[list[Share], Tag(_EACH)],
    Discriminator(lambda value: _EACH if isinstance(value, list) else _ONE),
]
"""One for all classes, or one for each."""
Count = Annotated[int, Field(ge=0, le=1 << 53)]
LARGEST_FIGURE: Final = 1e30  # sums of figures, and the axes of their drawings, stay finite
Figure = Annotated[float, Field(ge=-LARGEST_FIGURE, le=LARGEST_FIGURE)]


def _or_nan(value: object, figure: Callable[[object], float]) -> float:
    return math.nan if value is None or (isinstance(value, float) and math.isnan(value)) else figure(value)


FigureOrNaN = Annotated[Figure, WrapValidator(_or_nan)]
"""JSON has no word for NaN: `write_json` makes it null, and this the other way round."""

Model = TypeVar("Model")


def read_text(path: Path, at_most: int) -> str:
    """A regular file as UTF-8, with or without a byte order mark.

    Raises:
        HilumError: not there, not a regular file, too large, or not UTF-8.
    """
    return _decoded(content_of(path, at_most), str(path))


def read_json(
    path: Path,
    model: type[Model] | TypeAdapter[Model],
    *,
    at_most: int = MAX_JSON_BYTES,
    finite: bool = True,
    remedy: str = "",
) -> Model:
    """Read a JSON document of a known shape.

    Args:
        path: the file.
        model: what it must hold: a pydantic model, a dataclass, or any type that pydantic knows.
        at_most: bytes.
        finite: as in `parse_json`.
        remedy: what to do where it is wrong; said at the end of each line.

    Raises:
        HilumError: not readable, not JSON, or of another shape; one line a problem, with the file and the key.
    """
    with advising(remedy):
        return check(parse_json(content_of(path, at_most), str(path), finite=finite), model, str(path))


def parse_json(content: bytes | str, where: str, *, finite: bool = True) -> Any:
    """Parse JSON (RFC 8259), whose numbers must be finite and fit 64 bits, and whose text must be Unicode.

    Args:
        content: UTF-8.
        where: what messages name as the source.
        finite: False where whoever asks judges each number: NaN, Infinity and numbers out of range come as they are.

    Raises:
        HilumError: anything else.
    """
    try:
        data = content.encode() if isinstance(content, str) else _text(content, where)
        _check_count(data)
        values = from_json(data, allow_inf_nan=not finite)
        _check_values(values, finite=finite)
    except UnicodeEncodeError as error:
        raise HilumError(f"{where}: not read as JSON: half a character (a lone surrogate)") from error
    except ValueError as error:
        reason = TOO_DEEP if "recursion" in str(error) else str(error)
        raise HilumError(f"{where}: not read as JSON: {reason}") from error
    return values


def read_json_lines(
    path: Path, model: type[Model] | TypeAdapter[Model], *, at_most: int = MAX_JSON_BYTES, remedy: str = ""
) -> list[Model]:
    """Read a file with one JSON document of a known shape a line; half a last line, of a killed run, is left out.

    Raises:
        HilumError: not readable, or any other line is damaged or of another shape; with its number and the key.
    """
    adapter = model if isinstance(model, TypeAdapter) else TypeAdapter(model)
    with advising(remedy):
        lines = content_of(path, at_most).split(b"\n")[:-1]
        named = ((f"{path}: line {number}", line) for number, line in enumerate(lines, start=1))
        return [check(parse_json(line, where), adapter, where) for where, line in named]


def read_yaml(path: Path) -> dict[Any, Any]:
    """Read a YAML mapping.

    Raises:
        HilumError: not readable, not YAML, a key given twice, larger than a config, or not a mapping.
    """
    values = parse_yaml(content_of(path, MAX_YAML_BYTES), str(path))
    if not isinstance(values, dict):
        raise HilumError(f"{path}: expected a YAML mapping (key: value)")
    return values


def parse_yaml(content: bytes | str, where: str) -> Any:
    """Parse one YAML document: plain values alone, each key once, numbers that are finite and fit 64 bits.

    Raises:
        HilumError: anything else.
    """
    text = content if isinstance(content, str) else _decoded(content, where)
    try:
        return yaml.load(text, Loader=BoundedLoader)  # noqa: S506 - a SafeLoader
    except RecursionError as error:
        raise HilumError(f"{where}: not read as YAML: {TOO_DEEP}") from error
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise HilumError(f"{where}: not valid YAML{line}: {_first_line(error)}") from error


def read_csv(
    path: Path, columns: Sequence[str] = (), *, at_most: int = MAX_CSV_BYTES, remedy: str = ""
) -> list[dict[str, str]]:
    """Read a table that hilum wrote: a header, then rows of text as wide as it.

    Args:
        path: the file.
        columns: which must be there.
        at_most: bytes.
        remedy: what to do where it is wrong; said at the end of each line.

    Raises:
        HilumError: not readable, a column is missing, or a row is wider or narrower than the header.
    """
    with advising(remedy):
        lines = csv_lines(read_text(path, at_most), str(path), strict=True)
        _, header = next(lines, (1, list[str]()))
        if missing := [name for name in columns if name not in header]:
            raise HilumError(f"{path}: column {', '.join(missing)} is missing; found {shown(', '.join(header))}")
        rows = []
        for number, cells in lines:
            if cells and len(cells) != len(header):
                raise HilumError(
                    f"{path}: line {number}: expected {len(header)} cells as in the header, found {len(cells)}"
                )
            if cells:
                rows.append(dict(zip(header, cells, strict=True)))
        return rows


def csv_lines(
    text: str, where: str, *, delimiter: str = ",", strict: bool = False, skip_blanks: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """The cells of each line of a table, and the line's number as an editor shows it: of a quoted cell its last.

    Args:
        text: of the whole table.
        where: what messages name as the source.
        delimiter: between cells.
        strict: refuse quotation marks that are out of place.
        skip_blanks: in front of a cell.

    Raises:
        HilumError: zero bytes, or a cell of more than 131,072 characters; with `strict` a stray quotation mark.
    """
    if "\0" in text:
        raise HilumError(f"{where}: not a table: it holds zero bytes")
    source = io.StringIO(text, newline="")
    reader = csv.reader(source, delimiter=delimiter, strict=strict, skipinitialspace=skip_blanks)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise HilumError(f"{where}: line {reader.line_num}: not a table: {error}") from error


def check(values: Any, model: type[Model] | TypeAdapter[Model], where: str) -> Model:
    """Check plain values against a model.

    Raises:
        HilumError: one line a problem, each with `where` and the key.
    """
    adapter = model if isinstance(model, TypeAdapter) else TypeAdapter(model)
    try:
        return adapter.validate_python(values)
    except ValidationError as error:
        raise HilumError(*(f"{where}: {problem}" for problem in problems(error))) from error


def problems(error: ValidationError, most: int = 10) -> list[str]:
    """A validation's problems, a line each: the key, what was expected, what was given."""
    found = error.errors(include_url=False, include_context=False)
    lines = []
    for problem in found[:most]:
        key = ".".join(str(part) for part in problem["loc"] if part not in {_ONE, _EACH})
        message = problem["msg"].removeprefix("Value error, ")
        given = "" if isinstance(problem["input"], dict | list) else f", got {shown(problem['input'])}"
        what = "this key is missing" if problem["type"] == "missing" else f"{message[:1].lower()}{message[1:]}{given}"
        lines.append(f"{shown(key, quote=False)}: {what}" if key else what)
    if len(found) > most:
        lines.append(f"and {len(found) - most:,} more like these")
    return lines


def shown(value: object, most: int = _SHOWN, *, quote: bool = True) -> str:
    """The beginning of a value as a message may show it: what a terminal would obey is escaped."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = repr(value) if isinstance(value, float) or abs(value) < 1 << 64 else "a number of many digits"
    else:
        text = repr(value if isinstance(value, str | bytes | bool | None) else str(value))
        text = text if quote else text[1:-1]
    return text if len(text) <= most else text[:most] + "..."


def content_of(path: Path, at_most: int) -> bytes:
    """The bytes of a file that may come from anybody.

    Raises:
        HilumError: it cannot be read, or is larger; with its path.
    """
    try:
        return read_regular(path, at_most)
    except OSError as error:
        raise HilumError(f"{path}: cannot be read: {error.strerror}") from error
    except HilumError as error:
        raise HilumError(f"{path}: {error}") from error


def _check_count(data: bytes) -> None:
    """Make sure, before anything is built, that JSON holds no more values than fit into memory.

    Raises:
        ValueError: it does.
    """
    if sum(map(data.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise ValueError(f"more than {_MOST_VALUES:,} values")


def _text(content: bytes, where: str) -> bytes:
    """UTF-8 without the mark that some editors put before it."""
    _decoded(content, where)
    return content.removeprefix(codecs.BOM_UTF8)


def _decoded(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        line = f", in line {number}" if b"\n" in content else ""
        raise HilumError(f"{where}: not text in UTF-8{line}") from error


@contextmanager
def advising(remedy: str) -> Iterator[None]:
    """Say at the end of each line of an error what to do."""
    try:
        yield
    except HilumError as error:
        if not remedy:
            raise
        raise HilumError(*(f"{line}; {remedy}" for line in error.lines)) from error


def _check_values(values: Any, *, finite: bool) -> None:
    """Make sure, level by level, that nothing is nested too deeply and no number is out of range.

    Raises:
        ValueError: something is; with its key.
    """
    level, depth = [values], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(TOO_DEEP)
        inner: list[Any] = []
        for value in level:
            kind = type(value)
            if kind is float:
                if finite and not math.isfinite(value):
                    raise ValueError(f"{_key_of(value, values)}larger than a number can be")
            elif kind is dict:
                inner.extend(value.values())
            elif kind is list:
                inner.extend(value)
            elif kind is int and finite and not -(1 << 63) <= value < 1 << 64:
                raise ValueError(f"{_key_of(value, values)}larger than a whole number of 64 bits")
        level = inner


def _key_of(wanted: object, values: Any, key: str = "") -> str:
    """The key of a value inside plain ones, for a message: `images.3.width: `; nothing where it is alone."""
    pairs = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for name, value in pairs:
        its = f"{key}.{name}" if key else str(name)
        if value is wanted:
            return f"{shown(its, quote=False)}: "
        if found := _key_of(wanted, value, its):
            return found
    return ""


def _first_line(error: Exception) -> str:
    text = str(getattr(error, "problem", None) or error).strip().splitlines()
    return shown(text[0], quote=False) if text else type(error).__name__
