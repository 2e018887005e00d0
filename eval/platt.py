"""Probabilities that mean what they say: Platt's two numbers, fitted to what images and boxes turned out to be.

A probability p becomes sigmoid(slope * logit(p) + intercept). With a slope above 0 that keeps every order, so that no
rank, no curve and no threshold changes but in how it is told. Isotonic regression would fit more closely and make
ties, between which a worklist cannot choose; temperature scaling is the special case without an intercept.

Sources: Platt J: Probabilistic outputs for support vector machines. Advances in Large Margin Classifiers 1999:61-74.
Guo C, Pleiss G, Sun Y, Weinberger KQ: On calibration of modern neural networks. ICML 2017.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

_EDGE: Final = 1e-9  # 0 and 1 have no logit
_LEAST_OF_EACH: Final = 10
_SLOPES: Final = (0.01, 100.0)


class Platt(NamedTuple):
    """A way from probabilities to calibrated ones; (1, 0) changes nothing."""

    slope: float
    intercept: float

    def apply(self, probability: ArrayLike) -> NDArray[np.float64]:
        """Calibrated probabilities, of any shape, in the same order."""
        if self == UNCHANGED:
            return np.asarray(probability, np.float64)
        return _sigmoid(self.slope * _logits(probability) + self.intercept)

    def undo(self, calibrated: ArrayLike) -> NDArray[np.float64]:
        """What calibrated probabilities were before, to rounding."""
        if self == UNCHANGED:
            return np.asarray(calibrated, np.float64)
        return _sigmoid((_logits(calibrated) - self.intercept) / self.slope)


UNCHANGED: Final = Platt(1.0, 0.0)


def fit_platt(positive: ArrayLike, probability: ArrayLike) -> Platt:
    """The two numbers with the least log loss; `UNCHANGED` where fewer than ten are positive, or negative.

    Args:
        positive: (N,), what they turned out to be.
        probability: (N,), 0..1, what was said of them.

    Raises:
        ValueError: the shapes differ.
    """
    from scipy.optimize import minimize  # predicting needs none of it

    shows, logits = np.asarray(positive, np.bool_), _logits(probability)
    if shows.shape != logits.shape:
        raise ValueError(f"positive: expected the shape {logits.shape}, as of probability, got {shows.shape}")
    if min(shows.sum(), (~shows).sum()) < _LEAST_OF_EACH:
        return UNCHANGED

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        said = parameters[0] * logits + parameters[1]
        off = _sigmoid(said) - shows
        return float(np.mean(np.logaddexp(0, said) - shows * said)), np.array([np.mean(off * logits), np.mean(off)])

    found = minimize(loss, np.array(UNCHANGED), jac=True, method="L-BFGS-B", bounds=[_SLOPES, (None, None)])
    return Platt(*map(float, found.x))


def fit_where_it_helps(
    positive: ArrayLike, probability: ArrayLike, fold: NDArray[np.int64]
) -> tuple[Platt, tuple[float, float]]:
    """The same on all; `UNCHANGED` where what is fitted on some folds does not make the others' log loss less.

    Args:
        positive: (N,).
        probability: (N,).
        fold: (N,), such that no patient is in two.

    Returns:
        The two numbers, and the Brier score of the probabilities as they were and as cross-fitted.
    """
    shows, before = np.asarray(positive, np.bool_), np.asarray(probability, np.float64)
    after = before.copy()
    for number in np.unique(fold):
        its = fold == number
        after[its] = fit_platt(shows[~its], before[~its]).apply(before[its])
    helps = len(shows) > 0 and _of(_log_loss, shows, after) < _of(_log_loss, shows, before)
    return (fit_platt(shows, before) if helps else UNCHANGED), (_of(_brier, shows, before), _of(_brier, shows, after))


def _of(figure: Callable[..., Any], shows: NDArray[np.bool_], probability: NDArray[np.float64]) -> float:
    return float(np.mean(figure(shows, probability))) if len(shows) else float("nan")


def _log_loss(shows: NDArray[np.bool_], probability: NDArray[np.float64]) -> NDArray[np.float64]:
    logits = _logits(probability)
    return np.asarray(np.logaddexp(0, np.where(shows, -logits, logits)), np.float64)


def _brier(shows: NDArray[np.bool_], probability: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((probability - shows) ** 2, np.float64)


def _logits(probability: ArrayLike) -> NDArray[np.float64]:
    inside = np.clip(np.asarray(probability, np.float64), _EDGE, 1 - _EDGE)
    return np.asarray(np.log(inside) - np.log1p(-inside), np.float64)


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.exp(-np.logaddexp(0, -logits)), np.float64)
