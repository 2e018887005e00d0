"""Parse what may come from anybody: JSON, JSON lines, YAML and CSV, each in one place, each within limits.

Size, depth, number range and encoding are checked while a document is parsed, and its shape by a pydantic model behind
that. Whatever is wrong is one line with the file and the key; a parser never runs for long or grows without bound.
"""

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from hilum.errors import HilumError
from hilum.files import read_regular

MAX_JSON_BYTES: Final = 1 << 29  # 100,000 images with a hundred boxes each take some 300 MB
MAX_YAML_BYTES: Final = 1 << 20
MAX_CSV_BYTES: Final = 1 << 29
_MAX_DEPTH = 64
_MAX_NODES = 20_000  # of a YAML document, with every alias written out
_SHOWN = 80  # characters of a value in a message
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

Model = TypeVar("Model")


def read_text(path: Path, at_most: int) -> str:
    """A regular file as UTF-8, with or without a byte order mark.

    Raises:
        HilumError: not there, not a regular file, too large, or not UTF-8.
    """
    return _decoded(_content(path, at_most), str(path))


def read_json(path: Path, model: type[Model] | TypeAdapter[Model], *, at_most: int = MAX_JSON_BYTES) -> Model:
    """Read a JSON document of a known shape.

    Args:
        path: the file.
        model: what it must hold: a pydantic model, a dataclass, or any type that pydantic knows.
        at_most: bytes.

    Raises:
        HilumError: not readable, not JSON, or of another shape; one line a problem, with the file and the key.
    """
    return check(parse_json(_content(path, at_most), str(path)), model, str(path))


def parse_json(content: bytes | str, where: str) -> Any:
    """Parse JSON (RFC 8259), whose numbers must be finite and fit 64 bits, and whose text must be Unicode.

    Args:
        content: UTF-8.
        where: what messages name as the source.

    Raises:
        HilumError: anything else.
    """
    text = content if isinstance(content, str) else _decoded(content, where)
    try:
        values = json.loads(text, parse_float=_finite, parse_int=_whole, parse_constant=_no_number)
        if _SURROGATE.search(text.encode()):
            json.dumps(values, ensure_ascii=False).encode()
    except RecursionError as error:
        raise HilumError(f"{where}: not read as JSON: nested too deeply") from error
    except UnicodeEncodeError as error:
        raise HilumError(f"{where}: not read as JSON: half a character (a lone surrogate)") from error
    except json.JSONDecodeError as error:
        raise HilumError(f"{where}: not valid JSON in line {error.lineno}: {error.msg}") from error
    except ValueError as error:
        raise HilumError(f"{where}: not read as JSON: {error}") from error
    return values


def read_json_lines(path: Path, *, at_most: int = MAX_JSON_BYTES) -> Iterator[Any]:
    """The values of a file with one JSON document a line, up to the first line that is damaged or lacks its end.

    A run that was killed leaves half a line, and a disk may lose more.

    Raises:
        HilumError: not there, not a regular file, or too large.
    """
    for line in _content(path, at_most).splitlines(keepends=True):
        try:
            value = parse_json(line, str(path))
        except HilumError:
            return
        if not line.endswith(b"\n"):
            return
        yield value


def read_yaml(path: Path) -> dict[Any, Any]:
    """Read a YAML mapping.

    Raises:
        HilumError: not readable, not YAML, a key given twice, larger than a config, or not a mapping.
    """
    values = parse_yaml(_content(path, MAX_YAML_BYTES), str(path))
    if not isinstance(values, dict):
        raise HilumError(f"{path}: expected a YAML mapping (key: value), got {type(values).__name__}")
    return values


def parse_yaml(content: bytes | str, where: str) -> Any:
    """Parse one YAML document: plain values alone, each key once, numbers that are finite and fit 64 bits.

    Raises:
        HilumError: anything else.
    """
    text = content if isinstance(content, str) else _decoded(content, where)
    try:
        return yaml.load(text, Loader=_BoundedLoader)  # noqa: S506 - a SafeLoader
    except RecursionError as error:
        raise HilumError(f"{where}: not read as YAML: nested too deeply") from error
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise HilumError(f"{where}: not valid YAML{line}: {_first_line(error)}") from error


def read_csv(path: Path, columns: Sequence[str] = (), *, at_most: int = MAX_CSV_BYTES) -> list[dict[str, str]]:
    """Read a table that hilum wrote: a header, then rows of text as wide as it.

    Args:
        path: the file.
        columns: which must be there.
        at_most: bytes.

    Raises:
        HilumError: not readable, a column is missing, or a row is wider or narrower than the header.
    """
    text = _decoded(_content(path, at_most), str(path))
    if "\0" in text:
        raise HilumError(f"{path}: not a table: it holds zero bytes")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        if missing := [name for name in columns if name not in header]:
            raise HilumError(f"{path}: column {', '.join(missing)} is missing; found {shown(', '.join(header))}")
        rows = []
        for cells in reader:
            if len(cells) != len(header):
                raise HilumError(
                    f"{path}: line {reader.line_num}: expected {len(header)} cells as in the header, found {len(cells)}"
                )
            rows.append(dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise HilumError(f"{path}: line {reader.line_num}: not a table: {error}") from error
    return rows


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
        key = ".".join(str(part) for part in problem["loc"])
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


def _content(path: Path, at_most: int) -> bytes:
    try:
        return read_regular(path, at_most)
    except OSError as error:
        raise HilumError(f"{path}: cannot be read: {error.strerror}") from error
    except HilumError as error:
        raise HilumError(f"{path}: {error}") from error


def _decoded(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise HilumError(f"{where}: line {line}: not text in UTF-8") from error


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is larger than a number can be")
    return value


def _whole(text: str) -> int:
    if len(text) > 20 or not -(1 << 63) <= (value := int(text)) < 1 << 64:
        raise ValueError(f"{text[:20]}... is larger than a whole number of 64 bits")
    return value


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number in JSON")


def _first_line(error: Exception) -> str:
    text = str(getattr(error, "problem", None) or error).strip().splitlines()
    return shown(text[0], quote=False) if text else type(error).__name__


class _BoundedLoader(yaml.SafeLoader):
    """YAML takes the last of two equal keys without a word, and a few aliases of aliases fill any memory."""

    def get_single_data(self) -> Any:
        node = self.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return self.construct_document(node)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth = getattr(self, "_depth", 0) + 1
        if self._depth > _MAX_DEPTH:
            raise ValueError(f"nested more than {_MAX_DEPTH} deep")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                problem = f"key {shown(key)} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > 80 or not -(1 << 63) <= (value := super().construct_yaml_int(node)) < 1 << 64:
            raise ValueError("a whole number of more than 64 bits")
        return value

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        value = super().construct_yaml_float(node)
        if not math.isfinite(value):
            raise ValueError(f"{shown(node.value)} is no finite number")
        return value


_BoundedLoader.add_constructor("tag:yaml.org,2002:int", _BoundedLoader.construct_yaml_int)
_BoundedLoader.add_constructor("tag:yaml.org,2002:float", _BoundedLoader.construct_yaml_float)


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Nodes of a document, an aliased one as often as it is named.

    Raises:
        ValueError: more than a config has, or a node that holds itself.
    """
    count = known.get(id(node))
    if count is None:
        known[id(node)] = _MAX_NODES + 1  # until it is counted: whoever meets it inside itself finds it too large
        inner = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        count = 1
        for part in inner if isinstance(node, yaml.CollectionNode) else ():
            count += _count(part, known)
            if count > _MAX_NODES:
                break
        known[id(node)] = count
    if count > _MAX_NODES:
        raise ValueError(f"more than {_MAX_NODES:,} values, with those that aliases repeat")
    return count
