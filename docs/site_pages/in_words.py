"""Types, limits and docstrings of models, in the words of the reference."""

import inspect
import re
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from hilum.config import ExperimentConfig

_TYPES = {
    int: "whole number",
    float: "number",
    str: "text",
    bool: "true or false",
    NoneType: "null",
    Any: "anything",
}
_ENDLESS = 1e15  # a limit beyond which is of JSON, and not of what is meant
_BOUNDS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "multiple_of": "multiple of"}


def type_in_words(kind: Any) -> str:
    """A type with its limits."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return ", ".join([type_in_words(inner[0]), *limits_in_words(inner[1:])])
    if origin in {Required, NotRequired}:
        return type_in_words(inner[0])
    if origin in {Union, UnionType}:
        return " or ".join(map(type_in_words, inner))
    if origin is Literal:
        return ", ".join(f"`{each}`" for each in inner)
    if origin in {tuple, list}:
        return f"list of {type_in_words(inner[0])}"
    if origin is dict or hasattr(kind, "__required_keys__"):
        return "table"
    if inspect.isclass(kind) and issubclass(kind, ExperimentConfig):
        return "a config, by its name or in place"
    return _TYPES[kind]


def limits_in_words(constraints: Any) -> list[str]:
    """Of limits, pydantic's and ours alike, by the names of their attributes."""
    said = []
    for each in constraints:
        if isinstance(each, FieldInfo):
            said += limits_in_words(each.metadata)
            continue
        bounds = ((name, getattr(each, name, None)) for name in _BOUNDS)
        said += [f"{_BOUNDS[name]} {value:g}" for name, value in bounds if value is not None and abs(value) < _ENDLESS]
        if pattern := getattr(each, "pattern", None):
            said.append(f"`{pattern}`")
        if getattr(each, "min_length", None) == 1:
            said.append("not empty")
    return said


def reasons(model: type) -> dict[str, str]:
    """What the docstrings of a model, and of those that it derives from, say of its keys under `Attributes:`."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        section = re.search(r"^Attributes:\n((?: .*\n?|\n)+)", inspect.cleandoc(each.__doc__ or ""), re.MULTILINE)
        for entry in re.finditer(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section[1] if section else "", re.MULTILINE):
            said = " ".join(entry[2].split())
            found[entry[1]] = said[:1].upper() + said[1:]
    return found


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """In Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
