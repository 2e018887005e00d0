"""Libraries that keep to themselves: none reports, looks up a host, or leaves a folder in HOME or the temporary folder.

Several do so as soon as they are imported, or used first. Most read from the environment that they must not, and child
processes inherit it. `hilum` calls `keep_private` before anything else. ultralytics and OpenVINO need more; see
`hilum.detectors.private_ultralytics` and `hilum.sessions.import_openvino`.
"""

import importlib.util
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from importlib.abc import Loader

NOWHERE: Final = "/dev/null/hilum"
"""A folder that never can be."""
_ENVIRONMENT: Final = {
    # ONNX Runtime reads it while it is imported, stores a number of this machine below HOME, and looks up a host.
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "OPENCV_LOG_LEVEL": "SILENT",  # what is wrong with a picture is told in one line, and by hilum
    "MLFLOW_DISABLE_TELEMETRY": "true",  # it reports that it was imported, and looks up a host
    "NO_ALBUMENTATIONS_UPDATE": "1",  # ultralytics imports albumentations where it is installed
}
_Around = Callable[[ModuleType], AbstractContextManager[None]]


def keep_private() -> None:
    """Set up this process, and those that it starts. What is imported already is not reached."""
    os.environ.update(_ENVIRONMENT)
    around: dict[str, _Around] = {"matplotlib": _matplotlib, "torch._dynamo": _dynamo}
    sys.meta_path.insert(0, _ImportsInside({name: of for name, of in around.items() if name not in sys.modules}))


@contextmanager
def environment_variable(name: str, value: str) -> Iterator[None]:
    """While it is open, a variable is so in the environment: of this process, and of those that it starts."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


@contextmanager
def quiet() -> Iterator[None]:
    """While it is open, nothing but errors is told by others: what an exporter tells is about its own workings."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@contextmanager
def without_ultralytics_settings() -> Iterator[None]:
    """Import ultralytics inside, which then makes no file of settings, unless the user said where it shall lie.

    It would make one below HOME, and say so; where it cannot write it, it keeps its settings in memory.
    """
    from unittest.mock import patch  # it imports asyncio

    disabled, make = logging.root.manager.disable, Path.mkdir

    def mkdir(path: Path, *args: Any, **kwargs: Any) -> None:
        if not path.is_relative_to(NOWHERE):  # else it would take the temporary folder instead
            make(path, *args, **kwargs)

    with ExitStack() as stack:
        if "YOLO_CONFIG_DIR" not in os.environ:
            stack.enter_context(environment_variable("YOLO_CONFIG_DIR", NOWHERE))
            stack.enter_context(patch.object(Path, "mkdir", mkdir))
        logging.disable(logging.CRITICAL)
        stack.callback(logging.disable, disabled)
        yield


class _ImportsInside:
    """Imports some modules inside of context managers, whoever asks for them."""

    def __init__(self, around: Mapping[str, _Around]) -> None:
        self._around = dict(around)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - `importlib.util.find_spec` knows it
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        around = self._around.pop(fullname, None)  # for the search below asks here again
        spec = importlib.util.find_spec(fullname) if around else None
        if around and spec and spec.loader:
            spec.loader.exec_module = _inside(around, spec.loader)  # type: ignore[assignment, method-assign]
        return spec


def _inside(around: _Around, loader: "Loader") -> Callable[[ModuleType], None]:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        with around(module):
            execute(module)

    return exec_module


@contextmanager
def _matplotlib(module: ModuleType) -> Iterator[None]:
    """Have no folders made for matplotlib's settings and its list of fonts; a user who has them keeps using them.

    It would make others, among temporary files or here, in the place of some that cannot be written.
    """
    home = Path("~").expanduser()
    own = [Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config", "matplotlib")]
    own += [Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache", "matplotlib")]
    if "MPLCONFIGDIR" in os.environ or "MATPLOTLIBRC" in os.environ or any(os.access(path, os.W_OK) for path in own):
        yield
        return
    # Its own settings; where it is told which, it makes no folder to look for others.
    with environment_variable("MATPLOTLIBRC", str(Path(module.__file__ or "").parent / "mpl-data" / "matplotlibrc")):
        yield
    vars(module).update(get_configdir=lambda: NOWHERE, get_cachedir=lambda: NOWHERE)
    unsaved = logging.getLogger("matplotlib.font_manager")
    unsaved.addFilter(lambda record: not str(record.msg).startswith("Could not save font_manager cache"))


@contextmanager
def _dynamo(_: ModuleType) -> Iterator[None]:
    """Have no folder made in the temporary folder for what torch compiles, though nothing is ever compiled.

    Imported with a folder that is there, it makes none; where something is compiled, it looks again.
    """
    key = "TORCHINDUCTOR_CACHE_DIR"
    if key in os.environ:
        yield
        return
    with environment_variable(key, str(Path(__file__).parent)):
        yield
