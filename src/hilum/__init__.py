"""hilum: train and compare detectors of lung opacity on chest radiographs.

`__all__` lists the names that are stable: one changes or goes only after two minor versions in which it still works and
gives a DeprecationWarning. Each is a function that a command of its name calls too, with the same arguments, or a type
of what these give. Everything else may change with any version.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hilum.private_libraries import keep_private

if TYPE_CHECKING:
    from hilum.commands.benchmark import benchmark
    from hilum.commands.convert import convert
    from hilum.commands.evaluate import evaluate
    from hilum.commands.split import split
    from hilum.commands.train import train
    from hilum.commands.tune import tune
    from hilum.detections import Detections
    from hilum.errors import HilumError
    from hilum.predict import Predictor, load
    from hilum.result import Result
else:

    def __getattr__(name: str) -> Any:
        """Import what needs torch and cv2 only when it is asked for, so that `hilum --help` is quick."""
        if name not in __all__:
            raise AttributeError(f"module 'hilum' has no attribute '{name}'")
        return getattr(import_module(f"hilum.{_ELSEWHERE.get(name, f'commands.{name}')}"), name)


__version__ = "0.2.0"
__all__ = ["Detections", "HilumError", "Predictor", "Result", "__version__", "load"]
__all__ += ["benchmark", "convert", "evaluate", "split", "train", "tune"]  # each a command, too
_ELSEWHERE = dict.fromkeys(["Predictor", "load"], "predict")
_ELSEWHERE |= {"Detections": "detections", "HilumError": "errors", "Result": "result"}

keep_private()


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
