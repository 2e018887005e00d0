"""Backends are found by name through the entry points `hilum.backends`, where ours are declared like anybody's."""

from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from hilum.errors import HilumError

GROUP = "hilum.backends"


@dataclass(frozen=True)
class FoundBackend:
    """A declared backend: its class, or why it cannot be used here."""

    name: str
    distribution: str
    problem: str | None


def backend_class(name: str) -> type[Any]:
    """Return the backend declared under `name`, a `hilum.backend.Backend`.

    Raises:
        HilumError: no such backend, or it cannot be imported (an extra is missing, or a plug-in is broken).
    """
    declared = {point.name: point for point in entry_points(group=GROUP)}
    if name not in declared:
        near = get_close_matches(name, declared, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"installed are {', '.join(sorted(declared))}"
        raise HilumError(f"backend: no backend is called '{name}'; {hint}")
    try:
        return _load(declared[name])
    except Exception as error:  # a plug-in may fail in any way
        raise HilumError(f"backend '{name}' cannot be used: {_problem(error)}") from error


def found_backends() -> list[FoundBackend]:
    """Every declared backend, also those that cannot be imported: one broken plug-in must not stop the others."""
    found = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            _load(point)
            problem = None
        except Exception as error:  # noqa: BLE001 - a plug-in may fail in any way
            problem = _problem(error)
        found.append(FoundBackend(point.name, point.dist.name if point.dist else "?", problem))
    return found


def _problem(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _load(point: EntryPoint) -> type[Any]:
    found: type[Any] = point.load()
    return found
