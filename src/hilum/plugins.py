"""Backends are found by name through the entry points `hilum.backends`, where ours are declared like anybody's.

Who declares the backend's `Config` among `hilum.configs` too has configs read without importing the backend.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any

from hilum.errors import HilumError, first_line

GROUP = "hilum.backends"
CONFIGS = "hilum.configs"


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
    return _usable(_backend(name, entry_points(name=name)))


def config_class(name: str) -> type[Any]:
    """Return the `Config` of the backend declared under `name`, a `hilum.config.ExperimentConfig`.

    Raises:
        HilumError: as `backend_class` does.
    """
    declared = entry_points(name=name)  # read once, for they are in a file of each distribution
    backend = _backend(name, declared)
    for point in declared.select(group=CONFIGS):
        if _distribution(point) == _distribution(backend):
            return _usable(point)
    config: type[Any] = _usable(backend).Config
    return config


def _backend(name: str, declared: EntryPoints) -> EntryPoint:
    if found := list(declared.select(group=GROUP)):
        return found[-1]
    names = sorted({point.name for point in entry_points(group=GROUP)})
    near = get_close_matches(name, names, 1)
    hint = f"did you mean '{near[0]}'?" if near else f"installed are {', '.join(names)}"
    raise HilumError(f"backend: no backend is called '{name}'; {hint}")


def _usable(point: EntryPoint) -> type[Any]:
    try:
        return _load(point)
    except Exception as error:  # a plug-in may fail in any way
        raise cannot_be_used(point.name, error) from error


def cannot_be_used(name: str, error: Exception) -> HilumError:
    """What to raise where the library of a backend is missing, or a plug-in is broken."""
    return HilumError(f"backend '{name}' cannot be used: {first_line(error)}")


def found_backends() -> list[FoundBackend]:
    """Every declared backend, also those that cannot be imported: one broken plug-in must not stop the others."""
    found = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            _load(point)
            problem = None
        except Exception as error:  # noqa: BLE001 - a plug-in may fail in any way
            problem = first_line(error)
        found.append(FoundBackend(point.name, _distribution(point), problem))
    return found


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "?"


def _load(point: EntryPoint) -> type[Any]:
    found: type[Any] = point.load()
    return found
