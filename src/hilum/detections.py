"""supervision's Detections without the rest of supervision, whose drawing brings matplotlib and SciPy into memory.

The package `supervision` is there for everybody, and its own `__init__` runs once something of it is asked for:
`from supervision import Detections` gives the same class.
"""

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from threading import RLock
from types import ModuleType
from typing import Any

__all__ = ["Detections"]

_LOADING = RLock()


class _Package(ModuleType):
    """A package that gives its submodules, and runs its `__init__` when another attribute is asked for."""

    def __getattr__(self, name: str) -> Any:
        with _LOADING:
            if type(self) is _Package:
                if not name.startswith("__") and find_spec(f"{self.__name__}.{name}"):
                    return import_module(f"{self.__name__}.{name}")
                self.__class__ = ModuleType  # type: ignore[assignment] # an ordinary package from now on
                self.__spec__.loader.exec_module(self)  # type: ignore[union-attr]
        return getattr(self, name)


if "supervision" not in sys.modules and (_spec := find_spec("supervision")):
    sys.modules["supervision"] = module_from_spec(_spec)
    sys.modules["supervision"].__class__ = _Package

from supervision.detection.core import Detections  # noqa: E402 - of the package that is prepared above
