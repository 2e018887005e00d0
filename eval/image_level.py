"""Does this image show an opacity at all? Ranking, operating points and calibration of an image's probability.

The arrays run over images: `positive` says whether an image has a truth box, `probability` how likely the system says
it is, 0..1 (the gate's probability, else the highest confidence of a box, 0 without one). An image is called positive
at or above a threshold. A threshold is chosen on one set of images (`threshold_at_sensitivity`, `youden_threshold`) and
applied to another (`image_ratios`); where there is only one, see `hilum.eval.crossfit`.

What is not defined (sensitivity without positives, AUROC of one class) is NaN.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hilum.documents import Count, FigureOrNaN
from hilum.eval.bootstrap import Statistic

# Differences of the Youden index that are rounding; real ones are at least 1 / images squared.
_ROUNDING = 1e-12
_BINS = 10


@dataclass(frozen=True)
class ReliabilityBin:
    """What images given about the same probability turned out to be.

    Attributes:
        low, high: Bounds of the bin; a probability on a bound belongs to the bin above it, 1 to the last.
        images: How many are in it.
        probability: Their mean probability; NaN in an empty bin.
        observed: The share of them that are positive; NaN in an empty bin.
    """

    low: FigureOrNaN
    high: FigureOrNaN
    images: Count
    probability: FigureOrNaN
    observed: FigureOrNaN


def auroc(positive: ArrayLike, probability: ArrayLike) -> float:
    """Returns the chance that a positive image gets a higher probability than a negative one; ties count half.

    Args:
        positive: (images,) bool, or 0 and 1.
        probability: (images,) 0..1.

    Returns:
        0 to 1; NaN when all images are of one kind.

    Raises:
        ValueError: The arrays have other shapes, or a value is not as described.

    Examples:
        >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8])
        0.875
    """
    return ranking_statistic(positive, probability)(np.ones(np.size(positive)))["auroc"]


def average_precision(positive: ArrayLike, probability: ArrayLike) -> float:
    """Returns the mean, over positive images, of the share of positives among images at least as probable.

    This is scikit-learn's `average_precision_score`: equal probabilities enter together, nothing is interpolated. A
    system without skill gets the share of positives, not 0.5. Arguments and errors are those of `auroc`.

    Returns:
        0 to 1; NaN without a positive image.

    Examples:
        >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8]), 4)
        0.8333
    """
    return ranking_statistic(positive, probability)(np.ones(np.size(positive)))["average_precision"]


def ranking_statistic(positive: ArrayLike, probability: ArrayLike) -> Statistic:
    """Returns "auroc" and "average_precision" as functions of the images' weights, for `hilum.eval.bootstrap`.

    The probabilities are sorted once; each call is two running sums. Arguments and errors are those of `auroc`.
    """
    is_positive, values = checked_probability(positive, probability)
    positives, negatives = np.flatnonzero(is_positive), np.flatnonzero(~is_positive)
    positives = positives[np.argsort(values[positives], kind="stable")]
    negatives = negatives[np.argsort(values[negatives], kind="stable")]
    ranked = values[positives]
    # How many positives and negatives are less probable than each positive, and how many negatives at most as much.
    positives_below = np.searchsorted(ranked, ranked, side="left")
    negatives_below = np.searchsorted(values[negatives], ranked, side="left")
    negatives_up_to = np.searchsorted(values[negatives], ranked, side="right")

    def statistic(weight: NDArray[np.float64]) -> dict[str, float]:
        of_positive = weight[positives]
        positive_sum = np.concatenate([[0.0], np.cumsum(of_positive)])
        negative_sum = np.concatenate([[0.0], np.cumsum(weight[negatives])])
        pairs = positive_sum[-1] * negative_sum[-1]
        won = of_positive @ (negative_sum[negatives_below] + negative_sum[negatives_up_to]) / 2
        true_positive = positive_sum[-1] - positive_sum[positives_below]
        called = true_positive + negative_sum[-1] - negative_sum[negatives_below]
        precision = np.divide(true_positive, called, out=np.zeros(len(called)), where=called > 0)
        return {
            "auroc": float(won / pairs) if pairs else float("nan"),
            "average_precision": (
                float(of_positive @ precision / positive_sum[-1]) if positive_sum[-1] else float("nan")
            ),
        }

    return statistic


def image_ratios(
    positive: ArrayLike, probability: ArrayLike, threshold: float | NDArray[np.float64]
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Returns "sensitivity", "specificity" and "brier" as ratios of sums, for `bootstrap.bootstrap_ratios`.

    Sensitivity is the share of positive images at or above the threshold, specificity that of negative images below it.
    The Brier score is the mean squared difference between probability and truth (Brier GW: Verification of forecasts
    expressed in terms of probability. Monthly Weather Review 1950;78:1-3).

    Args:
        positive: (images,) bool, or 0 and 1.
        probability: (images,) 0..1.
        threshold: One for all images, or one an image (`hilum.eval.crossfit.cross_fit`).

    Returns:
        By name what each image adds to the numerator, (images,), and to the denominator, (images,). Where a threshold
        is NaN, both shares are left without images, and so are NaN there too.

    Raises:
        ValueError: The arrays have other shapes, or a value is not as described.

    Examples:
        >>> hits, of = image_ratios([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8], 0.4)["specificity"]
        >>> float(hits.sum() / of.sum())
        0.5
    """
    is_positive, values = checked_probability(positive, probability)
    thresholds = _checked_threshold(threshold, len(values))
    called, defined = values >= thresholds, not np.isnan(thresholds).any()
    return {
        "sensitivity": ((is_positive & called).astype(np.float64), (is_positive & defined).astype(np.float64)),
        "specificity": ((~is_positive & ~called).astype(np.float64), (~is_positive & defined).astype(np.float64)),
        "brier": ((values - is_positive) ** 2, np.ones(len(values))),
    }


def threshold_at_sensitivity(positive: ArrayLike, probability: ArrayLike, sensitivity: float = 0.95) -> float:
    """Returns the highest threshold at which at least this share of the positive images is called positive.

    It is the probability of one of them; where too many positives have probability 0, it is 0 and calls every image.
    Choose it on validation images. `positive` and `probability` are those of `auroc`.

    Args:
        positive: (images,).
        probability: (images,).
        sensitivity: The share to reach, above 0 and up to 1.

    Returns:
        The threshold; NaN without a positive image.

    Raises:
        ValueError: As in `auroc`, or `sensitivity` is out of range.

    Examples:
        >>> threshold_at_sensitivity([1, 1, 1, 1, 0], [0.9, 0.8, 0.7, 0.2, 0.3], 0.75)
        0.7
    """
    if not 0 < sensitivity <= 1:
        raise ValueError(f"sensitivity: expected a share above 0 and up to 1, got {sensitivity}")
    is_positive, values = checked_probability(positive, probability)
    falling = -np.sort(-values[is_positive])
    if not len(falling):
        return float("nan")
    needed = int(np.ceil(sensitivity * len(falling) - 1e-9))  # 0.95 * 20 is a little more than 19 in some roundings
    return float(falling[max(needed, 1) - 1])


def youden_threshold(positive: ArrayLike, probability: ArrayLike) -> float:
    """Returns the threshold with the highest sensitivity + specificity - 1; the highest of equals.

    Choose it on validation images. Arguments and errors are those of `auroc`.

    Source: Youden WJ: Index for rating diagnostic tests. Cancer 1950;3:32-35.

    Returns:
        The probability of an image; NaN when all images are of one kind.

    Examples:
        >>> youden_threshold([0, 0, 1, 1], [0.1, 0.4, 0.6, 0.8])
        0.6
    """
    is_positive, values = checked_probability(positive, probability)
    if is_positive.all() or not is_positive.any():
        return float("nan")
    thresholds = np.unique(values)[::-1]
    n_below_positive = np.searchsorted(np.sort(values[is_positive]), thresholds, side="left")
    n_below_negative = np.searchsorted(np.sort(values[~is_positive]), thresholds, side="left")
    index = n_below_negative / np.count_nonzero(~is_positive) - n_below_positive / np.count_nonzero(is_positive)
    return float(thresholds[np.argmax(index >= index.max() - _ROUNDING)])


def reliability_curve(positive: ArrayLike, probability: ArrayLike) -> tuple[ReliabilityBin, ...]:
    """Returns how often images are positive, by the probability they were given, in ten bins of equal width.

    Arguments and errors are those of `auroc`.

    Examples:
        >>> first, *_, last = reliability_curve([0, 1, 1], [0.0, 0.9, 1.0])
        >>> last
        ReliabilityBin(low=0.9, high=1.0, images=2, probability=0.95, observed=1.0)
    """
    is_positive, values = checked_probability(positive, probability)
    edges = np.arange(_BINS + 1) / _BINS  # each the double nearest to its decimal, as a probability of 0.3 is
    bin_of = np.searchsorted(edges[1:-1], values, side="right")
    images = np.bincount(bin_of, minlength=_BINS)
    sums = (np.bincount(bin_of, weights=of, minlength=_BINS) for of in (values, is_positive))
    means = (np.divide(of, images, out=np.full(_BINS, np.nan), where=images > 0).tolist() for of in sums)
    columns = edges[:-1].tolist(), edges[1:].tolist(), images.tolist(), *means
    return tuple(ReliabilityBin(*of_bin) for of_bin in zip(*columns, strict=True))


def checked_probability(positive: ArrayLike, probability: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Returns both as arrays, (images,), of bool and of float64.

    Raises:
        ValueError: The arrays have other shapes, `positive` is not bool or 0 and 1, or a probability is not in 0..1.
    """
    kinds = np.asarray(positive)
    values = np.asarray(probability, dtype=np.float64)
    if kinds.ndim != 1:
        raise ValueError(f"positive: expected the shape (images,), got {kinds.shape}")
    if not np.isin(kinds, (0, 1)).all():
        raise ValueError(f"positive: expected True and False, or 1 and 0, got {kinds[~np.isin(kinds, (0, 1))][0]}")
    if values.shape != kinds.shape:
        raise ValueError(f"probability: expected the shape {kinds.shape}, one an image, got {values.shape}")
    good = (values >= 0) & (values <= 1)  # NaN is neither
    if not good.all():
        at = int(np.argmin(good))
        raise ValueError(f"probability of image {at}: expected a number from 0 to 1, got {values[at]}")
    return kinds.astype(np.bool_), values


def _checked_threshold(threshold: float | NDArray[np.float64], n_images: int) -> NDArray[np.float64]:
    thresholds = np.asarray(threshold, dtype=np.float64)
    if thresholds.shape not in ((), (n_images,)):
        raise ValueError(f"threshold: expected one number or the shape ({n_images},), got {thresholds.shape}")
    return thresholds
