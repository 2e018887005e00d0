"""What is measured of an answer, as `results.json` holds it: a misspelt figure is an error of the type checker."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from hilum.documents import Count, FigureOrNaN
from hilum.eval.bootstrap import UNKNOWN, Interval
from hilum.eval.image_level import ReliabilityBin
from hilum.eval.strata import Strata
from hilum.eval.triage import Triage

NAN = float("nan")
Curve = tuple[tuple[FigureOrNaN, FigureOrNaN], ...]
"""Points (x, y) by rising x or by falling threshold; a couple of hundred at most."""


class Record(BaseModel):
    """Part of a file of results. What an older version did not write yet has a default, and NaN stands for null."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def dump(self) -> dict[str, Any]:
        """Plain values of what was given, in the order of the fields."""
        return self.model_dump(exclude_unset=True)

    def given(self) -> dict[str, Any]:
        """The fields that were given, as they are: to make a larger record of them."""
        return {name: value for name, value in self if name in self.model_fields_set}


class Froc(Record):
    """Sensitivity of boxes at each of `hilum.eval.froc.FROC_RATES`, and the mean over them."""

    false_positives_per_image: tuple[float, ...] = ()
    sensitivity: tuple[Interval, ...] = ()
    mean: Interval = UNKNOWN


class ImagePoint(Record):
    """Images called at a threshold, which is NaN where it differs from image to image, or is undefined."""

    threshold: FigureOrNaN = NAN
    sensitivity: Interval = UNKNOWN
    specificity: Interval = UNKNOWN


class Bounds(Record):
    """The score with the same boxes behind a perfect classifier, and with perfect boxes where there is an answer."""

    perfect_classifier: FigureOrNaN = NAN
    perfect_boxes: FigureOrNaN = NAN


class KindCounts(Record):
    """How many boxes are of which kind (`hilum.eval.mistakes.Kind`): the predicted ones, and the true ones."""

    boxes: dict[str, Count] = {}
    truth: dict[str, Count] = {}


class Curves(Record):
    """Curves for drawings.

    Attributes:
        threshold: score against confidence.
        froc: share of true boxes found against false positives an image.
        precision_recall: by IoU ("0.40"), precision against recall of boxes.
        worklist: share of the images with opacity read against the share of the worklist read.
    """

    threshold: Curve = ()
    froc: Curve = ()
    precision_recall: dict[str, Curve] = {}
    worklist: Curve = ()


class Figures(Record):
    """Figures of one answer on one split.

    Attributes:
        score: the competition's, at the operating point.
        sensitivity: share of true boxes matched at IoU > 0.40, there.
        false_positives_per_image: boxes without such a match.
        brier, auroc, average_precision: of the image's probability.
        sooner_share: of the worklist, by which an image with opacity is read sooner.
        ap_competition: COCO AP at IoU 0.40:0.05:0.75, over all boxes; fewer resamples.
        froc: over all boxes.
        score_at_or_above: the score with IoU >= t in place of > t, as the winners' public code has it.
        ap_coco: COCO AP at IoU 0.50:0.05:0.95, over all boxes.
        least_confidence: the operating point; NaN where it was cross-fitted.
        images: in the split.
        images_scored: those that count for the score: with truth or with an answer.
        image_points: by the name of the threshold on an image's probability.
        bounds, mistakes, triage, reliability, strata, curves: see there.
        box_reliability: that of boxes: how many hit an opacity, by their confidence.
        reliability_before, box_reliability_before: of what was said before it was calibrated; empty where it was not.
    """

    score: Interval = UNKNOWN
    sensitivity: Interval = UNKNOWN
    false_positives_per_image: Interval = UNKNOWN
    brier: Interval = UNKNOWN
    auroc: Interval = UNKNOWN
    average_precision: Interval = UNKNOWN
    sooner_share: Interval = UNKNOWN
    ap_competition: Interval = UNKNOWN
    froc: Froc = Froc()
    score_at_or_above: FigureOrNaN = NAN
    ap_coco: FigureOrNaN = NAN
    least_confidence: FigureOrNaN = NAN
    images: Count = 0
    images_scored: Count = 0
    image_points: dict[str, ImagePoint] = {}
    bounds: Bounds = Bounds()
    mistakes: KindCounts = KindCounts()
    triage: Triage | None = None
    reliability: tuple[ReliabilityBin, ...] = ()
    box_reliability: tuple[ReliabilityBin, ...] = ()
    reliability_before: tuple[ReliabilityBin, ...] = ()
    box_reliability_before: tuple[ReliabilityBin, ...] = ()
    strata: Strata = Strata()
    curves: Curves = Curves()
