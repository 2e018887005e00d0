"""Does the answer work as well for everybody? Each stratum against the rest, with what chance alone would show.

Strata of images are given by a factor: a label an image ("AP", "PA"), "" where unknown; images of unknown label are in
no stratum and in no rest. Compared are

* for any factor (view, sex, age group): competition score, sensitivity, false positives an image, AUROC of the image;
* for images without truth boxes, by class (Normal against Not Normal): false positives an image, and the share of
  images with any;
* for truth boxes, by size: sensitivity; by number in the image: sensitivity and competition score.

Patients are resampled once for all comparisons, so a patient with images on both sides counts on both. One gap in
twenty leaves a 95% interval by chance; so a gap is pointed out only if an interval that holds for all gaps at once
excludes zero (`hilum.eval.bootstrap.simultaneous_intervals`). That a gap is not pointed out does not show that there
is none: look at how wide its interval is.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hilum.documents import Count
from hilum.eval.bootstrap import (
    UNKNOWN,
    Interval,
    Resampled,
    bootstrap,
    bootstrap_ratios,
    group_numbers,
    simultaneous_intervals,
)
from hilum.eval.competition import image_scores
from hilum.eval.image_level import checked_probability, ranking_statistic
from hilum.eval.matching import match_boxes
from hilum.eval.strata_labels import BOX_SIZES, box_count_group, box_size_group

SCORE = "competition score"
SENSITIVITY = "sensitivity"
FALSE_POSITIVES = "false positives an image"
FALSE_ALARMS = "images with a false positive"
AUROC = "AUROC"
LEVEL = 0.95
"""Of the intervals."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Gap:
    """One stratum against the rest of its factor, in one measure. Intervals are NaN where nothing can be said.

    Attributes:
        factor, stratum, measure: What is compared: "view", "AP", "sensitivity".
        items: What the figure of the stratum is taken over: images that count, images, or truth boxes.
        patients: Groups that have such items in the stratum; for the AUROC those with positive images or those with
            negative ones, whichever are fewer.
        inside, outside: The figure in the stratum and in the rest, with their bootstrap intervals.
        gap: Inside minus outside, with its interval by itself.
        simultaneous: The same with the interval that holds for all gaps of the table at once.
        separated: The simultaneous interval excludes zero: the gap is pointed out.
    """

    factor: str
    stratum: str
    measure: str
    items: Count
    patients: Count
    inside: Interval
    outside: Interval
    gap: Interval
    simultaneous: Interval
    separated: bool


@dataclass(frozen=True)
class Strata:
    """All gaps, and how many comparisons were made: a factor of two strata asks one question, not two."""

    comparisons: Count = 0
    level: float = LEVEL
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True)
class Side:
    """One side of a comparison: what each image adds to a ratio; for the AUROC, which images are on it (`rows`)."""

    numerator: Array  # (images,)
    denominator: Array  # (images,)
    rows: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Comparison:
    """Two sides of one measure; `n_strata` is how many the factor has."""

    factor: str
    stratum: str
    measure: str
    n_strata: int
    inside: Side
    outside: Side


def compare_strata(
    truth_xywh: Sequence[NDArray[Any]],
    boxes_xywh: Sequence[NDArray[Any]],
    confidence: Sequence[NDArray[Any]],
    groups: Sequence[Hashable] | NDArray[Any],
    *,
    factors: Mapping[str, Sequence[str]],
    classes: Sequence[str] | None = None,
    sizes_wh: NDArray[Any] | None = None,
    probability: ArrayLike | None = None,
    least_patients: int = 10,
    resamples: int = 2000,
) -> Strata:
    """Compares every stratum with the rest of its factor.

    Args:
        truth_xywh: The truth boxes of each image, (T, 4), in pixels.
        boxes_xywh: The predicted boxes of each image, (N, 4), in pixels: the answer at the operating point.
        confidence: The confidence of each predicted box, (N,).
        groups: The group of each image, (images,): its patient, or the image's own id where patients are unknown.
        factors: Labels of the images by factor, (images,) each, "" where unknown: view, sex, age group.
        classes: The class of each image, (images,), "" where unknown; compared on images without truth boxes.
        sizes_wh: Width and height of each image, (images, 2), in pixels; truth boxes are compared by size if given.
        probability: Of each image, (images,) 0..1; the AUROC is compared if given.
        least_patients: Strata or rests of fewer get their figure, but no gap: a handful of patients resampled says
            nothing of how much a handful varies.
        resamples: How many resamples to draw.

    Returns:
        The gaps by factor, measure and stratum. Unknown labels, and factors with fewer than two strata, are left out.

    Raises:
        ValueError: As in `hilum.eval.competition.match_counts` and `bootstrap.bootstrap`, or labels, classes, sizes or
            probabilities are not one an image.
    """
    group = group_numbers(groups)
    positive = np.array([len(boxes) > 0 for boxes in truth_xywh], dtype=np.bool_)
    labelled = {**factors, **({"class of images without opacity": classes} if classes is not None else {})}
    for name, labels in {"groups": group, **labelled}.items():
        if len(labels) != len(positive):
            raise ValueError(f"{name}: expected one label an image, {len(positive)}, got {len(labels)}")
    comparisons = _comparisons(
        truth_xywh, boxes_xywh, confidence, factors, classes, sizes_wh, ranked=probability is not None
    )
    return judge(comparisons, positive, probability, groups, least_patients=least_patients, resamples=resamples)


def judge(
    comparisons: Sequence[Comparison],
    positive: NDArray[np.bool_],
    probability: ArrayLike | None,
    groups: Sequence[Hashable] | NDArray[Any],
    *,
    least_patients: int = 10,
    resamples: int = 2000,
) -> Strata:
    """Tells the gap of each comparison, and which are beyond chance; the arguments are those of `compare_strata`."""
    group = group_numbers(groups)
    chance = None if probability is None else checked_probability(positive, probability)[1]
    figures = _resample(comparisons, positive, chance, group, resamples=resamples)
    patients = [
        [_n_patients(side, group, positive) for side in (comparison.inside, comparison.outside)]
        for comparison in comparisons
    ]
    differences = [
        inside - outside if min(both) >= least_patients and np.isfinite(inside.estimate - outside.estimate) else None
        for both, (inside, outside) in zip(patients, figures, strict=True)
    ]
    compared = [difference for difference in differences if difference is not None]
    together = dict(zip(map(id, compared), simultaneous_intervals(compared), strict=True))
    gaps = tuple(
        Gap(
            factor=comparison.factor,
            stratum=comparison.stratum,
            measure=comparison.measure,
            items=int(comparison.inside.denominator.sum()),
            patients=both[0],
            inside=inside.interval(),
            outside=outside.interval(),
            gap=UNKNOWN if difference is None else difference.interval(),
            simultaneous=(at_once := together.get(id(difference), UNKNOWN)),
            separated=at_once.excludes_zero,
        )
        for comparison, both, (inside, outside), difference in zip(
            comparisons, patients, figures, differences, strict=True
        )
    )
    return Strata(_questions(comparisons, differences), LEVEL, gaps)


def _questions(comparisons: Sequence[Comparison], differences: Sequence[Resampled | None]) -> int:
    """How many questions were asked: the two strata of a factor are the two sides of one."""
    asked = (one for one, difference in zip(comparisons, differences, strict=True) if difference is not None)
    return round(sum(0.5 if one.n_strata == 2 else 1 for one in asked))


def _comparisons(
    truth_xywh: Sequence[NDArray[Any]],
    boxes_xywh: Sequence[NDArray[Any]],
    confidence: Sequence[NDArray[Any]],
    factors: Mapping[str, Sequence[str]],
    classes: Sequence[str] | None,
    sizes_wh: NDArray[Any] | None,
    *,
    ranked: bool,
) -> list[Comparison]:
    """What is compared with what; the arguments are those of `compare_strata`, `ranked` asks for the AUROC."""
    matches = match_boxes(truth_xywh, boxes_xywh, confidence)
    measures = image_measures(matches, image_scores(truth_xywh, boxes_xywh, confidence), truth_xywh)
    n_truth = measures[SENSITIVITY][1]
    comparisons: list[Comparison] = []
    for name, labels in factors.items():
        wanted = [SCORE, SENSITIVITY, FALSE_POSITIVES, *([AUROC] if ranked else [])]
        comparisons += _by_image(name, labels, measures, wanted)
    if classes is not None:
        without = ["" if n else label for n, label in zip(n_truth, classes, strict=True)]
        comparisons += _by_image("class of images without opacity", without, measures, [FALSE_POSITIVES, FALSE_ALARMS])
    counts = [box_count_group(int(n)) for n in n_truth]
    comparisons += _by_image("number of boxes", counts, measures, [SCORE, SENSITIVITY])
    if sizes_wh is not None:
        comparisons += _by_box_size(truth_xywh, matches, np.asarray(sizes_wh))
    return comparisons


def image_measures(
    matches: Sequence[NDArray[np.int64]], scores: Array, truth_xywh: Sequence[NDArray[Any]]
) -> dict[str, tuple[Array, Array]]:
    """What each image adds to the numerator and the denominator of each measure; for the AUROC, that it counts."""
    n_truth = np.array([len(boxes) for boxes in truth_xywh], dtype=np.float64)
    hits = np.array([np.count_nonzero(match >= 0) for match in matches], dtype=np.float64)
    false = np.array([len(match) for match in matches], dtype=np.float64) - hits
    one = np.ones(len(n_truth))
    return {
        SCORE: (np.nan_to_num(scores), (~np.isnan(scores)).astype(np.float64)),
        SENSITIVITY: (hits, n_truth),
        FALSE_POSITIVES: (false, one),
        FALSE_ALARMS: ((false > 0).astype(np.float64), one),
        AUROC: (one, one),
    }


def side_of(measures: Mapping[str, tuple[Array, Array]], name: str, rows: NDArray[np.bool_]) -> Side:
    """The side of a comparison in one measure that some of the images, (images,), are."""
    top, bottom = measures[name]
    return Side(top * rows, bottom * rows, np.flatnonzero(rows) if name == AUROC else None)


def strata_of(labels: Sequence[str]) -> list[str]:
    """The known labels, in their order."""
    return sorted(set(labels) - {""}, key=lambda name: (not name.startswith("<"), name))


def _by_image(
    factor: str, labels: Sequence[str], measures: Mapping[str, tuple[Array, Array]], names: Sequence[str]
) -> list[Comparison]:
    label = np.asarray(labels, dtype=np.str_)
    strata = strata_of(label.tolist())
    if len(strata) < 2:
        return []
    comparisons = []
    for name in names:
        for stratum in strata:
            both = label == stratum, (label != stratum) & (label != "")
            sides = [side_of(measures, name, rows) for rows in both]
            comparisons.append(Comparison(factor, stratum, name, len(strata), *sides))
    return comparisons


def _by_box_size(
    truth_xywh: Sequence[NDArray[Any]], matches: Sequence[NDArray[np.int64]], sizes_wh: NDArray[Any]
) -> list[Comparison]:
    if sizes_wh.shape != (len(truth_xywh), 2):
        raise ValueError(f"sizes_wh: expected the shape ({len(truth_xywh)}, 2), got {sizes_wh.shape}")
    boxes, found = (np.zeros((len(BOX_SIZES), len(truth_xywh))) for _ in range(2))
    for image, (truth, match) in enumerate(zip(truth_xywh, matches, strict=True)):
        if len(truth):
            sizes = np.array([BOX_SIZES.index(size) for size in box_size_group(truth, sizes_wh[image])])
            np.add.at(boxes[:, image], sizes, 1)
            np.add.at(found[:, image], sizes[match[match >= 0]], 1)
    present = np.flatnonzero(boxes.sum(axis=1))
    return [
        Comparison(
            "box size",
            BOX_SIZES[size],
            SENSITIVITY,
            len(present),
            Side(found[size], boxes[size]),
            Side(found.sum(axis=0) - found[size], boxes.sum(axis=0) - boxes[size]),
        )
        for size in present
        if len(present) > 1
    ]


def _resample(
    comparisons: Sequence[Comparison],
    positive: NDArray[np.bool_],
    probability: Array | None,
    group: NDArray[np.int64],
    *,
    resamples: int,
) -> list[tuple[Resampled, Resampled]]:
    """The figures inside and outside of each comparison, all of the same draws."""
    sides = {
        f"{number} {where}": (comparison.measure, side)
        for number, comparison in enumerate(comparisons)
        for where, side in (("inside", comparison.inside), ("outside", comparison.outside))
    }
    figures = bootstrap_ratios(
        {name: (side.numerator, side.denominator) for name, (measure, side) in sides.items() if measure != AUROC},
        group,
        resamples=resamples,
    )
    if probability is not None:
        rankings = {
            name: (side.rows, ranking_statistic(positive[side.rows], probability[side.rows]))
            for name, (measure, side) in sides.items()
            if measure == AUROC and side.rows is not None
        }

        def statistic(weight: Array) -> dict[str, float]:
            return {name: ranking(weight[rows])["auroc"] for name, (rows, ranking) in rankings.items()}

        figures.update(bootstrap(statistic, group, resamples=resamples))
    return [(figures[f"{number} inside"], figures[f"{number} outside"]) for number in range(len(comparisons))]


def _n_patients(side: Side, group: NDArray[np.int64], positive: NDArray[np.bool_]) -> int:
    if side.rows is None:
        return len(np.unique(group[side.denominator > 0]))
    rows = side.rows
    return min(len(np.unique(group[rows[kind]])) for kind in (positive[rows], ~positive[rows]))
