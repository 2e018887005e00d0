"""What was measured of the runs and the baselines of a benchmark, on one set of images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hilum.class_names import check_same_classes
from hilum.comparison.pairwise import compare_groups
from hilum.comparison.results import About, Difference, Entry, Group
from hilum.datasets.boxes import xyxy_to_xywh
from hilum.datasets.folder import Split
from hilum.eval.answer import Answer, everywhere, joined, nothing
from hilum.eval.baselines import average_boxes
from hilum.eval.bootstrap import Resampled
from hilum.eval.measures import Measures, mean_measures, measure
from hilum.eval.travel import Travel
from hilum.predict import Predictor, predict_all
from hilum.result import of_class

AVERAGE = "two average boxes"
NOTHING = "nothing predicted"


@dataclass(frozen=True)
class Measured:
    """What an entry of the results is made from.

    Attributes:
        name, group: as in the results.
        answer: on holdout.
        measures: of that answer.
        run: its folder; None for a baseline.
        about: what else is known of the run.
    """

    name: str
    group: str
    answer: Answer
    measures: Measures
    run: Path | None
    about: About


def baselines(split: Split, training: Split | None) -> list[Measured]:
    """The trivial answers on a split; average boxes, of the training images, only where there are some."""
    answers = {NOTHING: nothing(split)}
    if training:
        answers[AVERAGE] = everywhere(average_boxes(training, split))
    return [
        Measured(name, name, answer, measure(split, answer, {}), None, About(backend=None))
        for name, answer in answers.items()
    ]


def entries_of(measured: Sequence[Measured], travels: Mapping[str, Travel]) -> tuple[Entry, ...]:
    """A row each, baselines among them; with how it travels, by name, where that is known."""
    scores = {each.name: each.measures.score for each in measured}
    return tuple(
        Entry(
            name=each.name,
            group=each.group,
            **each.about.given(),
            **each.measures.figures.given(),
            above_nothing=(scores[each.name] - scores[NOTHING]).interval(),
            above_average_boxes=(scores[each.name] - scores[AVERAGE]).interval(),
            **({"travel": travels[each.name]} if each.name in travels else {}),
        )
        for each in measured
    )


def compare_measured(measured: Sequence[Measured]) -> tuple[tuple[Group, ...], tuple[Difference, ...]]:
    """The configs, and how each two stand to each other on these images."""
    runs: dict[str, list[Resampled]] = {}
    for each in measured:
        runs.setdefault(each.group, []).append(each.measures.score)
    return compare_groups(runs, {each.group for each in measured if each.about.backend is not None})


def mean_measured(of_classes: Sequence[Sequence[Measured]]) -> list[Measured]:
    """The mean over classes of each run and baseline.

    Args:
        of_classes: what was measured of each class; runs and baselines in one order.
    """
    return [
        replace(
            same[0],
            answer=joined([each.answer for each in same]),
            measures=mean_measures([each.measures for each in same]),
        )
        for same in zip(*of_classes, strict=True)
    ]


def predict_answers(predictor: Predictor, split: Split) -> list[Answer]:
    """Every box of a split above the backend's floor, an answer a class, with the predictor's operating point.

    Raises:
        HilumError: pictures that cannot be read, a line each: a score over the others would flatter; or the predictor
            looks for other classes.
    """
    check_same_classes(predictor.class_names, split.class_names, "the run")
    results = predict_all(predictor, split.paths)
    several, least, calibration = len(split.class_names) > 1, predictor.confidence, predictor.calibration
    answers = []
    for class_id in range(len(split.class_names)):
        found = [of_class(r.detections, class_id) if several else r.detections for r in results]
        shows = [r.class_probabilities[class_id] if several else r.image_probability for r in results]
        answer = Answer(
            [xyxy_to_xywh(each.xyxy) for each in found],
            [np.asarray(each.confidence, np.float64) for each in found],
            least[class_id] if isinstance(least, tuple) else least,
            np.array(shows, np.float64),
            calibration=(calibration.boxes[class_id], calibration.images[class_id]) if calibration else None,
        )
        answers.append(answer)
    return answers
