"""Every key of every backend's config, with type, range, default and reason, from the models that check configs."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType
from typing import Any, get_args, get_origin

from in_words import limits_in_words, reasons, table, type_in_words
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hilum.config import ExperimentConfig
from hilum.plugins import config_class, found_backends


@dataclass(frozen=True)
class Key:
    """A key of a config, or a table of keys, as the reference tells it.

    Attributes:
        name: As it is written on the command line, such as `train.epochs`.
        expected: Its type and range.
        default: Empty of tables.
        reason: What it is for.
    """

    name: str
    expected: str
    default: str
    reason: str


def backends() -> list[str]:
    """Those that come with hilum."""
    return [found.name for found in found_backends() if found.distribution == "hilum"]


def config_keys() -> str:
    """A section a backend, with a table of all its keys."""
    return "\n\n".join(_section(backend) for backend in backends())


def keys_of(model: type[BaseModel], within: str = "") -> Iterator[Key]:
    """The keys of a model and of the tables in it, in their order."""
    why = reasons(model)
    for name, field in model.model_fields.items():
        inner = _tables(field.annotation)
        named = get_origin(field.annotation) is dict and inner  # a table whose keys are names
        key = f"{within}{name}.NAME" if named else f"{within}{name}"
        reason = why.get(name) or (inspect.cleandoc(inner[0].__doc__ or "").partition("\n")[0] if inner else "")
        yield Key(key, "table" if inner else _expected(field), _default(field, is_table=bool(inner)), reason)
        for each in inner:
            yield from keys_of(each, f"{key}.")


def _section(backend: str) -> str:
    rows = [(f"`{key.name}`", key.expected, key.default, key.reason) for key in keys_of(config_class(backend))]
    return f"## {backend}\n\n{table(('key', 'type and range', 'default', 'what for'), rows)}"


def _expected(field: FieldInfo) -> str:
    said = type_in_words(field.annotation).removesuffix(" or null")
    return ", ".join([said, *limits_in_words(field.metadata)])


def _default(field: FieldInfo, *, is_table: bool) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "none"
    return "" if is_table else f"`{_as_yaml(value)}`"


def _as_yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_as_yaml, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _tables(kind: Any) -> list[type[BaseModel]]:
    """The models of tables in a type. A config inside a config is none: it has a section of its own."""
    if inspect.isclass(kind) and kind is not NoneType and issubclass(kind, BaseModel):
        return [] if issubclass(kind, ExperimentConfig) else [kind]
    return [found for each in get_args(kind) for found in _tables(each)]
