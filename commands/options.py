"""Types of the values that several commands take, and the check of what Python calls their functions with."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from cyclopts import Parameter, validators

from hilum.errors import HilumError

AnyPath = Path | str
Split = Literal["train", "val", "holdout"]
# Bounds twice: for the command line, whose errors name the option, and for Python.
Positive = Annotated[int, Ge(1), Parameter(validator=validators.Number(gte=1))]
Seed = Annotated[int, Ge(0), Parameter(validator=validators.Number(gte=0))]
Share = Annotated[float, Ge(0), Le(1), Parameter(validator=validators.Number(gte=0, lte=1))] | None
PickBy = Literal["mixed", "uncertainty", "disagreement", "diversity", "random"]


def path_of(given: AnyPath | None) -> Path | None:
    """The path that was given, perhaps as text, if one was."""
    return None if given is None else Path(given)


def check_values(function: Callable[..., object], given: Mapping[str, Any]) -> None:
    """Check what a command's function is called with, as the command line does: its parameters say what they take.

    Args:
        function: of the command.
        given: its `locals()`, when it begins.

    Raises:
        HilumError: a value is of another type, or out of range.
    """
    from pydantic import TypeAdapter

    from hilum.documents import check

    for name, parameter in inspect.signature(function).parameters.items():
        takes = parameter.annotation
        for value in given[name] if parameter.kind is parameter.VAR_POSITIONAL else [given[name]]:
            if takes not in {AnyPath, AnyPath | None}:
                check(value, TypeAdapter(takes, config={"strict": True}), name)
            elif not isinstance(value, takes):  # pydantic would tell of each type in a line of its own terms
                raise HilumError(f"{name}: expected a path, as text or as pathlib.Path, not {value!r}")
