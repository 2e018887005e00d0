"""What is wrong with a config: at which key, who gave it (a file, its base or an override), and which key was meant."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from hilum.documents import shown
from hilum.errors import HilumError

Key = tuple[str, ...]
Inner = Callable[[type[BaseModel], Any], tuple[type[BaseModel], Any]]
"""The model and the values of a table, where a table may be a config that only its values say the model of."""
_LEAD = re.compile(r"(\w[\w.-]*): ")


@dataclass(frozen=True)
class Problem:
    """Something wrong in a config.

    Attributes:
        table: where it was found; () for the config as a whole.
        key: what is wrong, as exactly as is known.
        said: the line, which begins with the key.
        near: of an unknown key, those that may be meant.
    """

    table: Key
    key: Key
    said: str
    near: tuple[Key, ...] = ()

    def within(self, outer: Key) -> "Problem":
        """The same, of a config inside another one."""
        near = tuple(outer + each for each in self.near)
        return Problem(outer + self.table, outer + self.key, f"{'.'.join(outer)}: {self.said}", near)


class ConfigError(HilumError):
    """A config that is not right."""

    def __init__(self, problems: Iterable[Problem], lines: Iterable[str] | None = None) -> None:
        self.problems = tuple(problems)
        super().__init__(*((problem.said for problem in self.problems) if lines is None else lines))

    def __reduce__(self) -> tuple[type[HilumError], tuple[str, ...]]:
        return HilumError, self.args


@dataclass(frozen=True)
class Override:
    """`a.b=value`, as it was given."""

    text: str
    key: Key


@dataclass(frozen=True)
class Origin:
    """Who gave which key.

    Attributes:
        where: names the config.
        bases: what it goes on, by name, the nearest one last.
        own: its own values, before they were merged with those of the bases.
        overrides: what was given in their place.
    """

    where: str
    bases: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    own: Mapping[str, Any] | None = None
    overrides: tuple[Override, ...] = ()

    def tell(self, problem: Problem) -> str:
        """The problem's line, which begins with who gave the key."""
        for override in reversed(self.overrides):
            if problem.key[: len(override.key)] == override.key:
                unknown = problem.near and problem.key == override.key
                what = f"unknown key; {_hint(problem.near)}" if unknown else problem.said
                return f"override {shown(override.text)}: {what}"
        depth = len(problem.table)
        inside = [o for o in self.overrides if depth and len(o.key) > depth and o.key[:depth] == problem.table]
        beside = f" with override {', '.join(shown(o.text) for o in inside)}" if inside else ""
        return f"{self.where}{beside}: {self.told_of_base(problem).said}"

    def told_of_base(self, problem: Problem) -> Problem:
        """The problem, with the base that its key comes from, where it does."""
        if not problem.key or (self.own is not None and _holds(self.own, problem.key)):
            return problem
        for name, values in reversed(self.bases):
            if _holds(values, problem.key):
                key = ".".join(problem.key)
                said = f"{problem.said}; it comes from the base {name}, and `{key}: null` leaves it out"
                return Problem(problem.table, problem.key, said, problem.near)
        return problem


def _holds(values: Any, key: Key) -> bool:
    for part in key:
        if not isinstance(values, Mapping) or part not in values:
            return False
        values = values[part]
    return True


def explain(error: ValidationError, model: type[BaseModel], values: Any, inner: Inner) -> Iterator[Problem]:
    """What pydantic found.

    Args:
        error: what it raised.
        model: what the config was checked against.
        values: the config.
        inner: finds what only values say.
    """
    for problem in error.errors(include_url=False, include_context=False):
        key = tuple(str(part) for part in problem["loc"])
        where = shown(".".join(key) or "config", quote=False)
        if problem["type"] == "extra_forbidden":
            known = list(keys(model, values, inner))
            beside = [each for each in known if each[:-1] == key[:-1]]
            if near := _meant(key, known):
                hint = _hint(each[-1:] if each in beside else each for each in near)
            else:
                hint = f"known here: {', '.join(each[-1] for each in beside)}"
            yield Problem(key, key, f"{where}: unknown key; {hint}", near)
            continue
        if problem["type"] == "missing":
            what = "this key is missing"
        else:
            message = problem["msg"].removeprefix("Value error, ")
            given = "" if isinstance(problem["input"], dict | list | BaseModel) else f", got {shown(problem['input'])}"
            what = f"{message[:1].lower()}{message[1:]}{given}"
        # A check of a whole table begins with the key that it is about.
        lead = _LEAD.match(what) if problem["type"] == "value_error" else None
        exact = (*key, *lead[1].split(".")) if lead else key
        yield Problem(key, exact, f"{where}: {what}")


def keys(model: type[BaseModel], values: Any, inner: Inner, above: Key = ()) -> Iterator[Key]:
    """Every key that a config of this model and these values may have, those of its inner tables included."""
    model, values = inner(model, values)
    for name, field in model.model_fields.items():
        key = (*above, name)
        yield key
        given = values.get(name) if isinstance(values, Mapping) else None
        if callable(field.json_schema_extra):  # it may import what the keys are for
            schema: dict[str, Any] = {"properties": {}}
            field.json_schema_extra(schema)
            yield from ((*key, each) for each in schema["properties"])
        table = _table(field.annotation)
        if table is None:
            continue
        if get_origin(field.annotation) is dict:  # names of the user's
            for each, its in given.items() if isinstance(given, Mapping) else ():
                yield (*key, str(each))
                yield from keys(table, its, inner, (*key, str(each)))
        else:
            yield from keys(table, given, inner, key)


def _table(annotation: Any) -> type[BaseModel] | None:
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and not get_args(kind) and issubclass(kind, BaseModel):
            return kind
        if get_args(kind) and (found := next(filter(None, map(_table, get_args(kind))), None)):
            return found
    return None


def _meant(key: Key, known: Sequence[Key]) -> tuple[Key, ...]:
    """The known keys that an unknown one may be: of its own table, else of its name in another one, else alike."""
    beside = {each[-1]: each for each in known if each[:-1] == key[:-1]}
    if near := get_close_matches(key[-1], beside, 1):
        return (beside[near[0]],)
    names = {each[-1] for each in known}
    name = key[-1] if key[-1] in names else next(iter(get_close_matches(key[-1], names, 1, 0.75)), None)
    return tuple(sorted((each for each in known if each[-1] == name), key=len))[:2]


def _hint(near: Iterable[Key]) -> str:
    return f"did you mean {' or '.join(repr('.'.join(each)) for each in near)}?"
