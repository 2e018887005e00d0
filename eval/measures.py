"""Everything that is said of one answer on one split, with intervals over patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.datasets.folder import Split
from hilum.eval.answer import Answer, Boxes, Threshold, by_name
from hilum.eval.bootstrap import Resampled, Statistic, bootstrap, bootstrap_ratios, mean_of
from hilum.eval.bounds import with_perfect_boxes, with_perfect_classifier
from hilum.eval.coco import COCO_IOU, coco_ap
from hilum.eval.competition import IOU_THRESHOLDS, competition_score, image_scores, match_counts, threshold_curve
from hilum.eval.figures import Bounds, Curve, Curves, Figures, Froc, ImagePoint, KindCounts
from hilum.eval.froc import FROC_RATES, RankedBoxes, froc_curve, froc_statistic, rank_boxes
from hilum.eval.image_level import ReliabilityBin, image_ratios, ranking_statistic, reliability_curve
from hilum.eval.mistakes import Mistakes, sort_mistakes, totals
from hilum.eval.strata import Strata, compare_strata
from hilum.eval.strata_labels import age_group
from hilum.eval.triage import positives_read, triage, triage_statistic
from hilum.eval.weighted_ap import coco_ap_statistic

OPERATING_POINT = "operating point"
_RESAMPLES, _AP_RESAMPLES = 2000, 500
_CURVE_POINTS = 200
_PRECISION_RECALL_IOU = (0.40, 0.50)
_INTERVALS = (
    *("score", "sensitivity", "false_positives_per_image", "brier", "auroc", "average_precision"),
    *("sooner_share", "ap_competition"),
)


@dataclass(frozen=True)
class Measures:
    """What was measured of one answer on one split.

    Attributes:
        figures: to be told.
        drawn: the figures that have intervals, by name, with their resamples, so that others' can be subtracted.
        mistakes: the kind of every box.
    """

    figures: Figures
    drawn: Mapping[str, Resampled]
    mistakes: Mistakes

    @property
    def score(self) -> Resampled:
        """The competition's."""
        return self.drawn["score"]


def scores_of(split: Split, answer: Answer) -> NDArray[np.float64]:
    """Each image's competition score at the operating point; NaN where the image does not count."""
    return image_scores(split.boxes_xywh, *answer.kept())


def box_ratios(truth_xywh: Boxes, boxes_xywh: Boxes, confidence: Boxes) -> dict[str, tuple[Any, Any]]:
    """Score, sensitivity and false positives an image of boxes that count, for `bootstrap_ratios`."""
    scores = image_scores(truth_xywh, boxes_xywh, confidence)
    counts = match_counts(truth_xywh, boxes_xywh, confidence)
    hits, missed = counts.true_positive[:, 0], counts.false_negative[:, 0]
    return {
        "score": (np.nan_to_num(scores), ~np.isnan(scores)),
        "sensitivity": (hits, hits + missed),
        "false_positives_per_image": (counts.false_positive[:, 0], np.ones(len(scores))),
    }


def measure(split: Split, answer: Answer, thresholds: Mapping[str, Threshold]) -> Measures:
    """Measure an answer against the truth of a split.

    Args:
        split: the truth.
        answer: its operating point chosen elsewhere, or cross-fitted.
        thresholds: on an image's probability, by name; chosen elsewhere, or cross-fitted (`hilum.eval.answer`).
    """
    truth, (boxes, confidence) = split.boxes_xywh, answer.kept()
    positive, probability = split.positive, answer.probabilities()
    answered = np.array([len(found) > 0 for found in boxes], np.float64)
    points: dict[str, tuple[NDArray[np.float64], Threshold]] = {OPERATING_POINT: (answered, 0.5)}
    points |= {name: (probability, threshold) for name, threshold in thresholds.items()}
    ratios = box_ratios(truth, boxes, confidence)
    ratios["brier"] = image_ratios(positive, probability, 0.5)["brier"]
    for name, (value, threshold) in points.items():
        at = image_ratios(positive, value, threshold)
        ratios |= {f"{part} at {name}": at[part] for part in ("sensitivity", "specificity")}
    drawn = bootstrap_ratios(ratios, split.patients, resamples=_RESAMPLES)
    ranked = rank_boxes(truth, answer.boxes_xywh, answer.confidence)
    for statistic, resamples in [
        (ranking_statistic(positive, probability), _RESAMPLES),
        (triage_statistic(positive, probability), _RESAMPLES),
        (froc_statistic(ranked), _RESAMPLES),
        (_competition_ap(split, answer), _AP_RESAMPLES),
    ]:
        drawn |= bootstrap(statistic, split.patients, resamples=resamples)
    interval = {name: figure.interval() for name, figure in drawn.items()}
    chosen = by_name({OPERATING_POINT: answer.least, **thresholds})
    mistakes = sort_mistakes(truth, boxes, confidence, split.kinds)
    figures = Figures(
        **_with_intervals(drawn),
        score_at_or_above=competition_score(truth, boxes, confidence, strict=False),
        ap_coco=coco_ap(truth, answer.boxes_xywh, answer.confidence, iou_thresholds=COCO_IOU),
        least_confidence=chosen[OPERATING_POINT],
        images=len(split),
        images_scored=int(ratios["score"][1].sum()),
        image_points={
            name: ImagePoint(
                threshold=chosen[name],
                sensitivity=interval[f"sensitivity at {name}"],
                specificity=interval[f"specificity at {name}"],
            )
            for name in points
        },
        bounds=Bounds(
            perfect_classifier=competition_score(truth, *with_perfect_classifier(truth, boxes, confidence)),
            perfect_boxes=competition_score(truth, *with_perfect_boxes(truth, boxes, confidence)),
        ),
        mistakes=KindCounts(boxes=totals(mistakes.boxes), truth=totals(mistakes.truth)),
        triage=triage(positive, probability),
        **_reliabilities(answer, positive, ranked),
        strata=_strata(split, answer),
        curves=_curves(split, answer, ranked),
    )
    return Measures(figures, drawn, mistakes)


def _with_intervals(drawn: Mapping[str, Resampled]) -> dict[str, Any]:
    interval = {name: figure.interval() for name, figure in drawn.items()}
    froc = Froc(
        false_positives_per_image=FROC_RATES,
        sensitivity=tuple(interval[f"froc {rate:g}"] for rate in FROC_RATES),
        mean=interval["froc mean"],
    )
    return {**{name: interval[name] for name in _INTERVALS}, "froc": froc}


def _needs_no_truth(name: str) -> bool:
    """Whether a figure is one of false alarms too, so that a class that nobody has counts."""
    return name in {"false_positives_per_image", "brier"} or name.startswith("specificity")


def mean_measures(of_classes: Sequence[Measures]) -> Measures:
    """The mean over the classes that have a true box, of those figures of which a mean means something.

    False positives, specificity and the Brier score are the mean over all classes: there are false alarms of a class
    that nobody has, too.

    Args:
        of_classes: of one answer; all of one split.
    """
    counting = [each for each in of_classes if any(each.mistakes.truth)] or list(of_classes)
    drawn = {
        name: mean_of([each.drawn[name] for each in (of_classes if _needs_no_truth(name) else counting)])
        for name in counting[0].drawn
    }
    figures = [each.figures for each in counting]
    return Measures(
        Figures(
            **_with_intervals(drawn),
            score_at_or_above=fmean(each.score_at_or_above for each in figures),
            ap_coco=fmean(each.ap_coco for each in figures),
            images=figures[0].images,
            image_points={
                name: ImagePoint(
                    sensitivity=drawn[f"sensitivity at {name}"].interval(),
                    specificity=drawn[f"specificity at {name}"].interval(),
                )
                for name in figures[0].image_points
            },
            bounds=Bounds(
                perfect_classifier=fmean(each.bounds.perfect_classifier for each in figures),
                perfect_boxes=fmean(each.bounds.perfect_boxes for each in figures),
            ),
        ),
        drawn,
        Mistakes((), ()),
    )


def _reliabilities(
    answer: Answer, positive: NDArray[np.bool_], ranked: RankedBoxes
) -> dict[str, tuple[ReliabilityBin, ...]]:
    probability = answer.probabilities()
    found = {"reliability": (positive, probability), "box_reliability": (ranked.hit, ranked.confidence)}
    if answer.calibration is not None:
        boxes, images = answer.calibration
        found["reliability_before"] = (positive, images.undo(probability))
        found["box_reliability_before"] = (ranked.hit, boxes.undo(ranked.confidence))
    return {name: reliability_curve(*pair) for name, pair in found.items() if len(pair[0])}


def _competition_ap(split: Split, answer: Answer) -> Statistic:
    return coco_ap_statistic(
        split.boxes_xywh, answer.boxes_xywh, answer.confidence, iou_thresholds=IOU_THRESHOLDS, name="ap_competition"
    )


def _strata(split: Split, answer: Answer) -> Strata:
    ages = [age_group(age) for age in split.ages_years]
    return compare_strata(
        split.boxes_xywh,
        *answer.kept(),
        split.patients,
        factors={"view": split.views, "sex": split.sexes, "age group": ages},
        classes=split.kinds,
        sizes_wh=split.sizes_wh,
        probability=answer.probabilities(),
        resamples=_RESAMPLES,
    )


def _curves(split: Split, answer: Answer, ranked: RankedBoxes) -> Curves:
    truth, positive = split.boxes_xywh, split.positive
    curve = threshold_curve(truth, answer.boxes_xywh, answer.confidence)
    froc, shares = froc_curve(ranked), np.linspace(0, 1, 51)
    read = positives_read(positive, answer.probabilities(), shares)
    return Curves(
        threshold=_thinned(curve.confidence, curve.score),
        froc=_thinned(froc.false_positives, froc.sensitivity),
        precision_recall={
            f"{iou:.2f}": _precision_recall(rank_boxes(truth, answer.boxes_xywh, answer.confidence, iou=iou))
            for iou in _PRECISION_RECALL_IOU
        },
        worklist=_thinned(shares, read) if positive.any() else (),
    )


def _precision_recall(ranked: RankedBoxes) -> Curve:
    total = int(ranked.n_truth.sum())
    if not len(ranked.hit) or not total:
        return ()
    last_of_equals = np.append(np.diff(ranked.confidence) != 0, True)
    hits = np.cumsum(ranked.hit)[last_of_equals]
    return _thinned(hits / total, hits / (np.flatnonzero(last_of_equals) + 1))


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> Curve:
    """At most a couple of hundred points of a curve, its ends and its highest among them."""
    if not len(x):
        return ()
    chosen = np.unique(np.linspace(0, len(x) - 1, _CURVE_POINTS).astype(int))
    if np.isfinite(y).any():
        chosen = np.union1d(chosen, [int(np.nanargmax(y))])
    return tuple(zip(x[chosen].tolist(), y[chosen].tolist(), strict=True))
