"""What each part of a composition adds, as `hilum ablate` tells it."""

from typing import Any

from hilum.documents import FigureOrNaN
from hilum.eval.bootstrap import Interval
from hilum.eval.figures import Record


class FoldChoice(Record):
    """What was chosen on a fold's val; no parameters of a single run."""

    confidence: FigureOrNaN
    val_score: FigureOrNaN
    parameters: dict[str, Any] | None


class Addition(Record):
    """A row of the ablation, at the operating point.

    Attributes:
        added: how much it added to the score of the row before, paired over patients; None in the first.
        ap_competition: over all boxes, whose confidences are ranked together though the folds' may differ.
    """

    name: str
    score: Interval
    sensitivity: Interval
    false_positives_per_image: Interval
    added: Interval | None
    ap_competition: FigureOrNaN
    folds: tuple[FoldChoice, ...]
