"""Types of the values that several commands take, and the check of what Python calls their functions with."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, overload

from cyclopts import Parameter, validators

from hilum.errors import HilumError

AnyPath = Path | str
Split = Literal["train", "val", "holdout"]
Positive = Annotated[int, Parameter(validator=validators.Number(gte=1))]
Seed = Annotated[int, Parameter(validator=validators.Number(gte=0))]
Share = Annotated[float | None, Parameter(validator=validators.Number(gte=0, lte=1))]
PickBy = Literal["mixed", "uncertainty", "disagreement", "diversity", "random"]


@overload
def path_of(given: AnyPath) -> Path: ...
@overload
def path_of(given: AnyPath | None) -> Path | None: ...
def path_of(given: AnyPath | None) -> Path | None:
    """The path that was given, perhaps as text."""
    return None if given is None else Path(given)


def check_values(function: Callable[..., object], given: Mapping[str, Any]) -> None:
    """Check what a command's function is called with, as the command line checks it.

    Args:
        function: whose parameters say what they take.
        given: its `locals()`, before there are others than those.

    Raises:
        HilumError: a value of another type, or out of range.
    """
    from pydantic import TypeAdapter

    from hilum.documents import check, shown

    for name, parameter in inspect.signature(function).parameters.items():
        each = given[name] if parameter.kind is parameter.VAR_POSITIONAL else [given[name]]
        for value in each:
            check(value, TypeAdapter(parameter.annotation, config={"strict": True}), name)
            for validator in _validators(parameter.annotation) if value is not None else ():
                try:
                    validator(type(value), value)
                except ValueError as error:
                    raise HilumError(f"{name}: {shown(value)}: {error}") from error


def _validators(annotation: Any) -> Iterator[Callable[[type, Any], None]]:
    for part in get_args(annotation):
        if isinstance(part, Parameter):
            yield from part.validator  # type: ignore[misc] # cyclopts makes a tuple of what was given
        else:
            yield from _validators(part)
