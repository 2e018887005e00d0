"""Backends are found by name through the entry points `hilum.backends`, where ours are declared like anybody's.

Who declares the backend's `Config` among `hilum.configs` too has configs read without importing the backend. Metrics of
others (`hilum.eval.metrics`) are found through `hilum.metrics`, trackers of a training
(`hilum.training.loggers`) through `hilum.loggers`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any

from hilum.errors import HilumError, first_line

GROUP = "hilum.backends"
CONFIGS = "hilum.configs"
METRICS = "hilum.metrics"
LOGGERS = "hilum.loggers"
_WHAT = {GROUP: "backend", CONFIGS: "backend", METRICS: "metric", LOGGERS: "logger"}


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
    found: type[Any] = _usable(_declared(name, GROUP, entry_points(name=name)))
    return found


def declared_metric(name: str, ours: Sequence[str]) -> Any:
    """Return what is declared under `name` among metrics.

    Args:
        name: of the metric.
        ours: names that need no declaration, which an error tells.

    Raises:
        HilumError: no such metric, or it cannot be imported.
    """
    return _usable(_declared(name, METRICS, entry_points(name=name), ours))


def declared_logger(name: str) -> Any:
    """Return what is declared under `name` among loggers, a class as `hilum.training.loggers.Logger` is.

    Raises:
        HilumError: no such logger, or it cannot be imported.
    """
    return _usable(_declared(name, LOGGERS, entry_points(name=name)))


def config_class(name: str) -> type[Any]:
    """Return the `Config` of the backend declared under `name`, a `hilum.config.ExperimentConfig`.

    Raises:
        HilumError: as `backend_class` does.
    """
    declared = entry_points(name=name)  # read once, for they are in a file of each distribution
    backend = _declared(name, GROUP, declared)
    for point in declared.select(group=CONFIGS):
        if _distribution(point) == _distribution(backend):
            beside: type[Any] = _usable(point)
            return beside
    config: type[Any] = _usable(backend).Config
    return config


def _declared(name: str, group: str, declared: EntryPoints, ours: Sequence[str] = ()) -> EntryPoint:
    if found := list(declared.select(group=group)):
        return found[-1]
    names = sorted({point.name for point in entry_points(group=group)} | {*ours})
    near = get_close_matches(name, names, 1)
    hint = f"did you mean '{near[0]}'?" if near else f"installed are {', '.join(names)}"
    raise HilumError(f"{_WHAT[group]}: no {_WHAT[group]} is called '{name}'; {hint}")


def _usable(point: EntryPoint) -> Any:
    try:
        return _load(point)
    except Exception as error:  # a plug-in may fail in any way
        raise cannot_be_used(point.name, error, _WHAT[point.group]) from error


def cannot_be_used(name: str, error: Exception, what: str = "backend") -> HilumError:
    """What to raise where the library of a backend is missing, or a plug-in is broken."""
    return HilumError(f"{what} '{name}' cannot be used: {first_line(error)}")


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


def _load(point: EntryPoint) -> Any:
    return point.load()
