"""Choose a threshold on some images and apply it to others, where there is one labelled set only.

Patients are dealt into folds. For each fold the threshold is chosen on all the others, so no image had a say in the
threshold it is judged by. What is reported then is the procedure, "choose, then apply", not one threshold: the folds'
differ a little. With a validation split there is no need for it: choose there, and report on holdout.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hilum.eval.bootstrap import group_numbers
from hilum.eval.competition import choose_confidence


def deal_folds(
    groups: Sequence[Hashable] | NDArray[Any], positive: ArrayLike | None = None, *, folds: int = 5, seed: int = 0
) -> NDArray[np.int64]:
    """Returns the fold of each image, (images,), 0 to `folds` - 1; no group is in two.

    Groups with positive images are dealt first, each to the fold with the fewest of these so far: where two groups have
    some, every fold leaves some to choose on. Then come the others, each to the fold with the fewest images so far.
    Both are dealt at random, the large ones first.

    Args:
        groups: The group of each image, (images,): its patient, or the image's own id where patients are unknown.
        positive: Whether each image is positive, (images,); where None, none is.
        folds: How many, 2 or more.
        seed: Of the random order; the order of the images makes no difference.

    Raises:
        ValueError: `folds` is below 2, there are fewer groups than folds, a group is missing, or `positive` has another
            shape.

    Examples:
        >>> deal_folds(["a", "a", "b", "c"], folds=2)
        array([0, 0, 1, 1])
        >>> deal_folds(["a", "b", "c", "d"], [True, False, False, True], folds=2)
        array([0, 1, 0, 1])
    """
    if folds < 2:
        raise ValueError(f"folds: expected 2 or more, got {folds}")
    group = group_numbers(groups)
    sizes = np.bincount(group)
    if len(sizes) < folds:
        raise ValueError(f"groups: {folds} folds need at least {folds} groups, got {len(sizes)}")
    is_positive = np.zeros(len(group), dtype=np.bool_) if positive is None else np.asarray(positive, dtype=np.bool_)
    if is_positive.shape != group.shape:
        raise ValueError(f"positive: expected the shape {group.shape}, one an image, got {is_positive.shape}")
    positives = np.bincount(group, weights=is_positive).astype(np.int64)
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    fold_of_group = np.empty(len(sizes), dtype=np.int64)
    dealt = np.zeros((2, folds), dtype=np.int64)  # images, and positive ones
    for number in shuffled[np.lexsort((-sizes[shuffled], -positives[shuffled]))]:
        emptiest = int(np.lexsort(dealt if positives[number] else dealt[:1])[0])
        fold_of_group[number] = emptiest
        dealt[:, emptiest] += sizes[number], positives[number]
    return fold_of_group[group]


def cross_fit(choose: Callable[[NDArray[np.int64]], float], fold: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns for each image the threshold that was chosen without its fold, (images,).

    Args:
        choose: Takes the indices of the images to choose on, rising, and returns the threshold.
        fold: The fold of each image, (images,) (`deal_folds`).

    Raises:
        ValueError: `fold` has another shape, or all images are in one fold, so that none is left to choose on.

    Examples:
        The highest of the other folds:

        >>> heights = np.array([1.0, 5.0, 3.0])
        >>> cross_fit(lambda rows: heights[rows].max(), np.array([0, 1, 1]))
        array([5., 1., 1.])
    """
    fold = np.asarray(fold)
    if fold.ndim != 1:
        raise ValueError(f"fold: expected the shape (images,), got {fold.shape}")
    numbers = np.unique(fold)
    if len(numbers) == 1:
        raise ValueError("fold: all images are in one fold, none is left to choose on")
    thresholds = np.full(len(fold), np.nan)
    for number in numbers:
        thresholds[fold == number] = choose(np.flatnonzero(fold != number))
    return thresholds


def cross_fit_confidence(
    truth_xywh: Sequence[NDArray[Any]],
    boxes_xywh: Sequence[NDArray[Any]],
    confidence: Sequence[NDArray[Any]],
    fold: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Returns for each image the competition's operating point, chosen without its fold, (images,).

    An image's answer is its boxes with at least this confidence. Where no image outside its fold has a truth box, that
    is all of them (`hilum.eval.competition.choose_confidence`).

    Args:
        truth_xywh: The truth boxes of each image, (T, 4), in pixels.
        boxes_xywh: The predicted boxes of each image, (N, 4), in pixels: all that could be kept.
        confidence: The confidence of each predicted box, (N,).
        fold: The fold of each image, (images,) (`deal_folds`).

    Raises:
        ValueError: As in `hilum.eval.competition.match_counts` and `cross_fit`, or `fold` has another length.
    """
    if len(fold) != len(truth_xywh):
        raise ValueError(f"fold: expected one entry an image, {len(truth_xywh)}, got {len(fold)}")
    if not len(truth_xywh) == len(boxes_xywh) == len(confidence):
        raise ValueError(
            "expected one entry an image in each, "
            f"got {len(truth_xywh)} of truth, {len(boxes_xywh)} of boxes, {len(confidence)} of confidence"
        )

    def choose(rows: NDArray[np.int64]) -> float:
        picked = [[array[row] for row in rows] for array in (truth_xywh, boxes_xywh, confidence)]
        return choose_confidence(*picked)[0]

    return cross_fit(choose, fold)
