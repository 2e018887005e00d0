"""Learning rates, one an epoch. Epochs count from 0."""

import math
from collections.abc import Callable


def cosine(epoch: int, epochs: int, learning_rate: float) -> float:
    """Half a cosine from `learning_rate` towards 0: lr / 2 * (cos(pi * epoch / epochs) + 1).

    The capstone report's schedule for its ResNet. The last epoch, `epochs - 1`, still learns.
    """
    _check(epoch, epochs)
    return learning_rate / 2 * (math.cos(math.pi * epoch / epochs) + 1)


def constant(epoch: int, epochs: int, learning_rate: float) -> float:
    """`learning_rate` at all times, as the capstone report trained its U-Net. Arguments and errors as in `cosine`."""
    _check(epoch, epochs)
    return learning_rate


SCHEDULES: dict[str, Callable[[int, int, float], float]] = {"cosine": cosine, "constant": constant}
"""The schedules by the name a config gives them."""


def _check(epoch: int, epochs: int) -> None:
    if not 0 <= epoch <= epochs or epochs < 1:
        raise ValueError(f"epoch must lie in 0..epochs with epochs >= 1, got epoch={epoch}, epochs={epochs}")
