"""A worklist read by falling image probability: how much sooner is an image with opacity read?

All images wait at once, as after a night, and one reader takes them one by one. First come, first served, an image is
in the middle of the list on average, whatever it shows. Images of equal probability (all those without a box, say) come
in random order; every figure is the expectation over these orders, in closed form.

The mean gain is the area under the ROC curve in other words: an image with opacity comes (AUROC - 1/2) x (images
without opacity) places sooner. A worklist cannot move positives ahead of positives, so the most it can gain is half of
the images without opacity.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hilum.documents import Count, FigureOrNaN
from hilum.eval.bootstrap import Statistic
from hilum.eval.image_level import checked_probability, ranking_statistic


@dataclass(frozen=True)
class Triage:
    """Where the images with opacity stand in the worklist; places count from 1. NaN where there is none.

    Attributes:
        images: In the worklist.
        positives: Of them with opacity.
        mean_place: Of an image with opacity.
        median_place: The median of their expected places.
        first_come_place: Mean and median place first come, first served.
        best_mean_place: Mean place when every image with opacity comes before every one without.
        sooner_images: How many fewer images are read before an image with opacity, on average; negative: later.
        sooner_share: The same as a share of the worklist, -0.5 to 0.5.
        sooner_minutes: The same in reading time; NaN, for nobody says what one image takes.
    """

    images: Count
    positives: Count
    mean_place: FigureOrNaN
    median_place: FigureOrNaN
    first_come_place: FigureOrNaN
    best_mean_place: FigureOrNaN
    sooner_images: FigureOrNaN
    sooner_share: FigureOrNaN
    sooner_minutes: FigureOrNaN = float("nan")


def triage(positive: ArrayLike, probability: ArrayLike) -> Triage:
    """Compares the ranked worklist with first come, first served.

    Args:
        positive: (images,) bool, or 0 and 1: whether an image shows an opacity.
        probability: (images,) 0..1.

    Raises:
        ValueError: The arrays have other shapes, or a value is not as described.

    Examples:
        >>> worklist = triage([0, 1, 0, 1], [0.2, 0.9, 0.6, 0.6])
        >>> worklist.mean_place, worklist.sooner_images
        (1.75, 0.75)
    """
    is_positive, values = checked_probability(positive, probability)
    rising = np.sort(values)
    n_above = len(values) - np.searchsorted(rising, values[is_positive], side="right")
    n_at_least = len(values) - np.searchsorted(rising, values[is_positive], side="left")
    places = (n_above + 1 + n_at_least) / 2  # the middle of those that share its probability
    known = len(places) > 0
    first_come = (len(values) + 1) / 2 if known else float("nan")
    mean = float(places.mean()) if known else float("nan")
    return Triage(
        images=len(values),
        positives=len(places),
        mean_place=mean,
        median_place=float(np.median(places)) if known else float("nan"),
        first_come_place=first_come,
        best_mean_place=(len(places) + 1) / 2 if known else float("nan"),
        sooner_images=first_come - mean,
        sooner_share=(first_come - mean) / len(values) if known else float("nan"),
    )


def triage_statistic(positive: ArrayLike, probability: ArrayLike) -> Statistic:
    """Returns "sooner_share" as a function of the images' weights, for `hilum.eval.bootstrap`.

    Arguments and errors are those of `triage`.
    """
    is_negative = ~checked_probability(positive, probability)[0]
    ranking = ranking_statistic(positive, probability)

    def statistic(weight: NDArray[np.float64]) -> dict[str, float]:
        images = float(weight.sum())
        if not weight @ ~is_negative:
            return {"sooner_share": float("nan")}
        negatives = float(weight @ is_negative)
        return {"sooner_share": (ranking(weight)["auroc"] - 0.5) * negatives / images if negatives else 0.0}

    return statistic


def positives_read(
    positive: ArrayLike, probability: ArrayLike, shares: Sequence[float] | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns the share of images with opacity that are read once a share of the worklist is; the cumulative gain.

    First come, first served, the two shares are equal. Inside a group of equal probabilities, and inside one image, the
    curve is a straight line: the expectation over random orders.

    Args:
        positive: (images,), as in `triage`.
        probability: (images,), as in `triage`.
        shares: Of the worklist, (k,), 0 to 1.

    Returns:
        (k,); NaN without an image with opacity.

    Raises:
        ValueError: As in `triage`, or a share is outside 0..1.

    Examples:
        >>> positives_read([1, 0, 1, 0], [0.9, 0.5, 0.5, 0.1], [0.25, 0.5, 1])
        array([0.5 , 0.75, 1.  ])
    """
    wanted = np.asarray(shares, dtype=np.float64)
    if wanted.ndim != 1 or not ((wanted >= 0) & (wanted <= 1)).all():
        raise ValueError(f"shares: expected numbers from 0 to 1, shape (k,), got {wanted.tolist()}")
    is_positive, values = checked_probability(positive, probability)
    if not is_positive.any():
        return np.full(len(wanted), np.nan)
    order = np.argsort(-values, kind="stable")
    falling = values[order]
    ends = np.flatnonzero(np.append(falling[1:] != falling[:-1], True)) + 1  # images read after each group of equals
    found = np.cumsum(is_positive[order])[ends - 1]
    curve: NDArray[np.float64] = np.interp(
        wanted * len(values), np.concatenate([[0], ends]), np.concatenate([[0], found]) / found[-1]
    )
    return curve
