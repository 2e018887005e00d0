"""Everything that is said of one answer on one split, with intervals over patients."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.datasets.folder import Split
from hilum.eval.answer import Answer, Threshold, by_name, has_opacity
from hilum.eval.bootstrap import Interval, Resampled, bootstrap, bootstrap_ratios
from hilum.eval.bounds import with_perfect_boxes, with_perfect_classifier
from hilum.eval.coco import COCO_IOU, coco_ap
from hilum.eval.competition import IOU_THRESHOLDS, competition_score, image_scores, match_counts, threshold_curve
from hilum.eval.froc import FROC_RATES, froc_curve, froc_statistic, rank_boxes
from hilum.eval.image_level import image_ratios, ranking_statistic, reliability_curve
from hilum.eval.mistakes import Mistakes, sort_mistakes
from hilum.eval.strata import age_group, compare_strata
from hilum.eval.triage import positives_read, triage, triage_statistic
from hilum.eval.weighted_ap import coco_ap_statistic

OPERATING_POINT = "operating point"
_RESAMPLES, _AP_RESAMPLES = 2000, 500
_CURVE_POINTS = 200
_PRECISION_RECALL_IOU = (0.40, 0.50)


@dataclass(frozen=True)
class Measures:
    """Figures of one answer on one split.

    Attributes:
        figures: with their resamples, so that they can be subtracted from another answer's on the same split:
            "score" (the competition's, at the operating point), "sensitivity" (share of true boxes matched at
            IoU > 0.40, there), "false_positives_per_image" (boxes without such a match), "auroc",
            "average_precision" and "brier" of the image's probability, "sooner_share" (of the worklist, by which an
            image with opacity is read sooner), "froc 0.125" ... "froc 8" and "froc mean", "ap_competition" (COCO AP at
            IoU 0.40:0.05:0.75, over all boxes; fewer resamples).
        score_at_or_above: the score with IoU >= t in place of > t, as the winners' public code has it.
        ap_coco: COCO AP at IoU 0.50:0.05:0.95, over all boxes.
        least_confidence: the operating point; NaN where it was cross-fitted.
        images: in the split.
        images_scored: those that count for the score: with truth or with an answer.
        image_points: by name the threshold on an image's probability, its sensitivity and its specificity.
        bounds: the score with the same boxes behind a perfect classifier, and with perfect boxes where it answers.
        mistakes: the kind of every box.
        details: what pages and files show besides: curves, reliability, triage, strata; plain values.
    """

    figures: Mapping[str, Resampled]
    score_at_or_above: float
    ap_coco: float
    least_confidence: float
    images: int
    images_scored: int
    image_points: Mapping[str, dict[str, Any]]
    bounds: Mapping[str, float]
    mistakes: Mistakes
    details: Mapping[str, Any]

    @property
    def score(self) -> Interval:
        """The competition score at the operating point."""
        return self.figures["score"].interval()

    def to_json(self) -> dict[str, Any]:
        """Plain values; an interval becomes an object."""
        intervals = {name: figure.interval()._asdict() for name, figure in self.figures.items()}
        rates = [f"froc {rate:g}" for rate in FROC_RATES]
        return {
            **{name: value for name, value in intervals.items() if not name.startswith("froc")},
            "froc": {
                "false_positives_per_image": list(FROC_RATES),
                "sensitivity": [intervals[name] for name in rates],
                "mean": intervals["froc mean"],
            },
            "score_at_or_above": self.score_at_or_above,
            "ap_coco": self.ap_coco,
            "least_confidence": self.least_confidence,
            "images": self.images,
            "images_scored": self.images_scored,
            "image_points": dict(self.image_points),
            "bounds": dict(self.bounds),
            "mistakes": {
                "boxes": {str(kind): count for kind, count in self.mistakes.box_totals().items()},
                "truth": {str(kind): count for kind, count in self.mistakes.truth_totals().items()},
            },
            **self.details,
        }


def scores_of(split: Split, answer: Answer) -> NDArray[np.float64]:
    """Each image's competition score at the operating point; NaN where the image does not count."""
    return image_scores(split.boxes_xywh, *answer.kept())


def measure(split: Split, answer: Answer, thresholds: Mapping[str, Threshold], *, seed: int = 0) -> Measures:
    """Measure an answer against the truth of a split.

    Args:
        split: the truth.
        answer: its operating point chosen elsewhere, or cross-fitted.
        thresholds: on an image's probability, by name; chosen elsewhere, or cross-fitted (`hilum.eval.answer`).
        seed: of the resamples; answers that are to be compared need the same.
    """
    truth, groups = split.boxes_xywh, split.patients
    boxes, confidence = answer.kept()
    scores = image_scores(truth, boxes, confidence)
    counts = match_counts(truth, boxes, confidence)
    hits, missed = counts.true_positive[:, 0], counts.false_negative[:, 0]
    positive, probability = has_opacity(split), answer.probabilities()
    answered = np.array([len(found) > 0 for found in boxes], np.float64)
    points: dict[str, tuple[NDArray[np.float64], Threshold]] = {OPERATING_POINT: (answered, 0.5)}
    points |= {name: (probability, threshold) for name, threshold in thresholds.items()}
    ratios: dict[str, tuple[Any, Any]] = {
        "score": (np.nan_to_num(scores), ~np.isnan(scores)),
        "sensitivity": (hits, hits + missed),
        "false_positives_per_image": (counts.false_positive[:, 0], np.ones(len(split))),
        "brier": image_ratios(positive, probability, 0.5)["brier"],
    }
    for name, (value, threshold) in points.items():
        at = image_ratios(positive, value, threshold)
        ratios |= {f"{part} at {name}": at[part] for part in ("sensitivity", "specificity")}
    figures = bootstrap_ratios(ratios, groups, resamples=_RESAMPLES, seed=seed)
    ranked = rank_boxes(truth, answer.boxes_xywh, answer.confidence)
    for statistic, resamples in [
        (ranking_statistic(positive, probability), _RESAMPLES),
        (triage_statistic(positive, probability), _RESAMPLES),
        (froc_statistic(ranked), _RESAMPLES),
        (_competition_ap(split, answer), _AP_RESAMPLES),
    ]:
        figures |= bootstrap(statistic, groups, resamples=resamples, seed=seed)
    chosen = by_name({OPERATING_POINT: answer.least, **thresholds})
    image_points = {
        name: {
            "threshold": chosen[name],
            "sensitivity": figures.pop(f"sensitivity at {name}").interval()._asdict(),
            "specificity": figures.pop(f"specificity at {name}").interval()._asdict(),
        }
        for name in points
    }
    return Measures(
        figures=figures,
        score_at_or_above=competition_score(truth, boxes, confidence, strict=False),
        ap_coco=coco_ap(truth, answer.boxes_xywh, answer.confidence, iou_thresholds=COCO_IOU),
        least_confidence=float(answer.least) if np.ndim(answer.least) == 0 else float("nan"),
        images=len(split),
        images_scored=int(np.isfinite(scores).sum()),
        image_points=image_points,
        bounds={
            "perfect_classifier": competition_score(truth, *with_perfect_classifier(truth, boxes, confidence)),
            "perfect_boxes": competition_score(truth, *with_perfect_boxes(truth, boxes, confidence)),
        },
        mistakes=sort_mistakes(truth, boxes, confidence, split.classes),
        details=_details(split, answer, seed),
    )


def _competition_ap(split: Split, answer: Answer) -> Any:
    return coco_ap_statistic(
        split.boxes_xywh, answer.boxes_xywh, answer.confidence, iou_thresholds=IOU_THRESHOLDS, name="ap_competition"
    )


def _details(split: Split, answer: Answer, seed: int) -> dict[str, Any]:
    truth, positive, probability = split.boxes_xywh, has_opacity(split), answer.probabilities()
    curve = threshold_curve(truth, answer.boxes_xywh, answer.confidence)
    ranked = rank_boxes(truth, answer.boxes_xywh, answer.confidence)
    froc = froc_curve(ranked)
    shares = np.linspace(0, 1, 51)
    reliability = reliability_curve(positive, probability)
    strata = compare_strata(
        truth,
        *answer.kept(),
        split.patients,
        factors={
            "view": split.views,
            "sex": split.sexes,
            "age group": [age_group(age) for age in split.ages_years],
        },
        classes=split.classes,
        sizes_wh=split.sizes_wh,
        probability=probability,
        resamples=_RESAMPLES,
        seed=seed,
    )
    return {
        "triage": asdict(triage(positive, probability)),
        "reliability": [
            dict(zip(("low", "high", "images", "probability", "observed"), values, strict=True))
            for values in zip(*(column.tolist() for column in reliability), strict=True)
        ],
        "strata": {
            "comparisons": strata.comparisons,
            "level": strata.level,
            "gaps": [
                {
                    **asdict(gap),
                    **{part: getattr(gap, part)._asdict() for part in ("inside", "outside", "gap", "simultaneous")},
                }
                for gap in strata.gaps
            ],
        },
        "curves": {
            "threshold": _thinned(curve.confidence, curve.score),
            "froc": _thinned(froc.false_positives, froc.sensitivity),
            "precision_recall": {f"{iou:.2f}": _precision_recall(split, answer, iou) for iou in _PRECISION_RECALL_IOU},
            "worklist": _thinned(shares, positives_read(positive, probability, shares)) if positive.any() else [],
        },
    }


def _precision_recall(split: Split, answer: Answer, iou: float) -> list[list[float]]:
    ranked = rank_boxes(split.boxes_xywh, answer.boxes_xywh, answer.confidence, iou=iou)
    total = int(ranked.n_truth.sum())
    if not len(ranked.hit) or not total:
        return []
    last_of_equals = np.append(np.diff(ranked.confidence) != 0, True)
    hits = np.cumsum(ranked.hit)[last_of_equals]
    return _thinned(hits / total, hits / (np.flatnonzero(last_of_equals) + 1))


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[list[float]]:
    """At most a couple of hundred points of a curve, its ends and its highest among them."""
    if not len(x):
        return []
    chosen = np.unique(np.linspace(0, len(x) - 1, _CURVE_POINTS).astype(int))
    if np.isfinite(y).any():
        chosen = np.union1d(chosen, [int(np.nanargmax(y))])
    return [[float(a), float(b)] for a, b in zip(x[chosen], y[chosen], strict=True)]
