"""hilum: train and compare detectors of lung opacity on chest radiographs."""

from typing import TYPE_CHECKING, Any

from hilum.private_libraries import keep_private

if TYPE_CHECKING:
    from hilum.predict import Predictor, load
    from hilum.result import Result

__version__ = "0.2.0"
__all__ = ["Predictor", "Result", "__version__", "load"]

keep_private()


def __getattr__(name: str) -> Any:
    """Import what needs torch and cv2 only when it is asked for, so that `hilum --help` is quick."""
    if name in {"Predictor", "Result", "load"}:
        from hilum import predict

        return getattr(predict, name)
    raise AttributeError(f"module 'hilum' has no attribute '{name}'")
