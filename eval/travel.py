"""Does an answer hold elsewhere? Its figures at home beside those on images of another source, and what differs.

Home and away are other images, so their resamples are independent. In whom it falls is judged group by group, home
against away, as strata are (`hilum.eval.strata`): an interval that holds for all of them at once has to leave out zero.
What another threshold alone would mend is told twice: with the confidence that is best on these very images, which no
one could have known and which flatters, and with one that is chosen for each fifth of the patients on the others.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hilum.datasets.folder import Split
from hilum.documents import FigureOrNaN
from hilum.eval.answer import Answer, with_chosen_confidence
from hilum.eval.bootstrap import UNKNOWN, Interval, bootstrap_ratios
from hilum.eval.competition import choose_confidence, competition_score, image_scores
from hilum.eval.figures import NAN, Record
from hilum.eval.matching import match_boxes
from hilum.eval.measures import Measures
from hilum.eval.strata import (
    AUROC,
    FALSE_POSITIVES,
    SCORE,
    SENSITIVITY,
    Comparison,
    Strata,
    image_measures,
    judge,
    side_of,
    strata_of,
)
from hilum.eval.strata_labels import age_group, picture_size_group

CALIBRATION: Final = "calibration in the large"
"""Mean probability given minus the share of images that show an opacity: above 0, it is too sure."""
PICTURE: Final = "picture"
_MEASURES: Final = (SCORE, SENSITIVITY, FALSE_POSITIVES, AUROC)


class Moved(Record):
    """A figure at home and away, and home minus away."""

    home: Interval = UNKNOWN
    away: Interval = UNKNOWN
    difference: Interval = UNKNOWN


class Travel(Record):
    """How an answer does away from home, its operating point and thresholds as chosen at home.

    Attributes:
        figures: by name, as `Measures.drawn` has them, and `CALIBRATION`.
        strata: each group at home (`inside`) and away (`outside`). Of pictures, home is all of home.
        best_confidence: the confidence with the highest score on the images away.
        best_score: with it; it flatters.
        cross_fitted_score: with confidences chosen on the other patients away.
    """

    figures: Mapping[str, Moved] = Field(default_factory=dict)
    strata: Strata = Strata()
    best_confidence: FigureOrNaN = NAN
    best_score: FigureOrNaN = NAN
    cross_fitted_score: FigureOrNaN = NAN

    def moved(self, name: str) -> Moved:
        """A figure, NaN where it is not known."""
        return self.figures.get(name, Moved())


def travel(home: tuple[Split, Answer, Measures], away: tuple[Split, Answer, Measures]) -> Travel:
    """Compares an answer away with that of the same detector at home.

    Args:
        home: the split, the answer on it, and what was measured of it.
        away: the same of another data set; boxes count from the same confidence on.
    """
    split, answer, its = away
    draws = [
        {**measured.drawn, **bootstrap_ratios(_calibration(of, given), of.patients, resamples=_resamples(measured))}
        for of, given, measured in (home, away)
    ]
    best = score = NAN
    if split.shows_opacity:
        best, score = choose_confidence(split.boxes_xywh, answer.boxes_xywh, answer.confidence)
    cross_fitted = with_chosen_confidence(answer, split, None)
    return Travel(
        figures={
            name: Moved(home=here.interval(), away=there.interval(), difference=here.beyond(there).interval())
            for name, here in draws[0].items()
            if (there := draws[1].get(name)) is not None
        },
        strata=_strata(home[:2], away[:2], _resamples(its)),
        best_confidence=best,
        best_score=score,
        cross_fitted_score=competition_score(split.boxes_xywh, *cross_fitted.kept()),
    )


def _resamples(measured: Measures) -> int:
    return len(measured.score.values)


def _calibration(split: Split, answer: Answer) -> Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    return {CALIBRATION: (answer.probabilities() - split.positive, np.ones(len(split)))}


def _strata(home: tuple[Split, Answer], away: tuple[Split, Answer], resamples: int) -> Strata:
    """Every group that both have, at home and away, as one set of images whose patients do not meet."""
    both = (home, away)
    boxes, confidence = ([values for _, answer in both for values in answer.kept()[part]] for part in (0, 1))
    truth = [values for split, _ in both for values in split.boxes_xywh]
    measures = image_measures(match_boxes(truth, boxes, confidence), image_scores(truth, boxes, confidence), truth)
    here = np.arange(len(truth)) < len(home[0])
    comparisons = [
        # Each group is a question of its own, also where a factor has two.
        Comparison(factor, stratum, name, 1, *(side_of(measures, name, rows) for rows in sides))
        for factor, stratum, sides in _groups(home[0], away[0], here)
        for name in _MEASURES
    ]
    return judge(
        comparisons,
        np.concatenate([split.positive for split, _ in both]),
        np.concatenate([answer.probabilities() for _, answer in both]),
        [f"{where} {patient}" for where, (split, _) in enumerate(both) for patient in split.patients],
        resamples=resamples,
    )


def _groups(
    home: Split, away: Split, here: NDArray[np.bool_]
) -> Iterator[tuple[str, str, tuple[NDArray[np.bool_], NDArray[np.bool_]]]]:
    """Factor, stratum, and the images of it at home and away, among those of both."""

    def labels(of: Split) -> dict[str, Sequence[str]]:
        return {"view": of.views, "sex": of.sexes, "age group": [age_group(age) for age in of.ages_years]}

    for factor, at_home in labels(home).items():
        label = np.array([*at_home, *labels(away)[factor]], np.str_)
        shared = [name for name in strata_of(label[here].tolist()) if name in label[~here]]
        yield from ((factor, name, (here & (label == name), ~here & (label == name))) for name in shared)
    size = np.array([*[""] * len(home), *map(picture_size_group, away.sizes_wh)], np.str_)
    if len(strata := strata_of(size.tolist())) > 1:
        yield from ((PICTURE, name, (here, size == name)) for name in strata)
