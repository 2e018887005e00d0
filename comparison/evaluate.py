"""Score one run, predictions folder, COCO results or submission on one split, beside two trivial baselines."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hilum import __version__
from hilum.comparison.benchmark import AVERAGE, NOTHING, predict_split
from hilum.comparison.chosen_metrics import checked_metrics, metrics_of
from hilum.comparison.results import Entry, Evaluation, MaskFigures
from hilum.datasets.folder import Dataset, Split, SplitName
from hilum.errors import HilumError
from hilum.eval.answer import (
    Answer,
    Threshold,
    as_detections,
    cross_fitted_thresholds,
    everywhere,
    image_thresholds,
    nothing,
    positive_patients,
    with_chosen_confidence,
)
from hilum.eval.baselines import average_boxes, empty_mask
from hilum.eval.measures import measure
from hilum.eval.predictions import read_answer
from hilum.eval.predictions_folder import read_about
from hilum.eval.problems import question_units
from hilum.predict import load
from hilum.run import CONFIG, read_environment, run_digest
from hilum.source_digest import source_digest

_CROSS_FITTED = "cross-fitted over patients on this very split, as there was no other to choose on"
_ENOUGH = 0.5  # what it holds of val, as a share of what it holds of the split, for val to choose on


def evaluate(
    source: Path,
    data: Dataset,
    name: SplitName,
    confidence: float | None = None,
    metrics: Sequence[str] = (),
) -> tuple[Evaluation, list[str]]:
    """Measure whatever holds predictions.

    Nothing is chosen on what is reported: thresholds come from val where the source has predictions on it, else they
    are cross-fitted, and the result says which.

    Args:
        source: a run, a predictions folder, COCO results (.json), or a submission (.csv).
        data: the truth.
        name: of the split.
        confidence: boxes below do not count as the answer; where None that of the run or of the folder; a submission
            is an answer as it is, and for COCO results one is chosen.
        metrics: further ones by name (`hilum.eval.metrics`); of data of several classes, where none is named, those of
            the challenges that have several.

    Returns:
        The figures, and a line for each thing that was not right.

    Raises:
        HilumError: not readable as any of these, nothing in it is of the split, or there is no such metric.
    """
    truth, metrics = data.split(name), checked_metrics(metrics, data)
    if not len(truth):
        raise HilumError(f"{data.path}: the {name} split has no image")
    other = data.split("val") if name != "val" else None
    if (source / CONFIG).is_file():
        answer, elsewhere, chosen, problems = _of_run(source, data, truth, other)
    else:
        answer, elsewhere, chosen, problems = _of_file(source, truth, other, given=confidence is not None)
    if confidence is not None:
        answer, chosen = replace(answer, least=confidence), "the operating point was given"
    if elsewhere is not None and other is not None:
        thresholds, how = image_thresholds(other, elsewhere), "chosen on val"
    else:
        thresholds, how = cross_fitted_thresholds(truth, answer), _CROSS_FITTED
    figures = partial(_figures, data, truth, metrics)
    entries = [Entry(name=what, backend=None, **figures(baseline, {})) for what, baseline in _baselines(data, truth)]
    entries.append(Entry(name=source.name, **figures(answer, thresholds, source)))
    found = Evaluation(
        hilum=__version__,
        code=source_digest(),
        of_run=_run_of(source),
        split=name,
        images=len(truth),
        positive_images=int(truth.positive.sum()),
        patients_known=data.patients_known,
        images_without_patient=data.conversion.get("images_without_patient", 0),
        patients_on_both_sides=data.patients_shared(name),
        data_fingerprint=data.fingerprint,
        chosen=f"{chosen}; thresholds on images were {how}",
        empty_mask=MaskFigures(**empty_mask(truth.boxes_xyxy, truth.sizes_wh)._asdict()),
        entries=tuple(entries),
    )
    return found, problems


def _baselines(data: Dataset, truth: Split) -> Iterator[tuple[str, Answer]]:
    yield NOTHING, nothing(truth)
    if len(train := data.split("train")):
        yield AVERAGE, everywhere(average_boxes(train, truth))


def _figures(
    data: Dataset,
    truth: Split,
    metrics: Sequence[str],
    answer: Answer,
    thresholds: Mapping[str, Threshold],
    source: Path | None = None,
) -> dict[str, Any]:
    """What is measured of an answer, and the metrics that were asked for."""
    figures = measure(truth, answer, thresholds).figures.given()
    more = {"metrics": metrics_of(metrics, truth, as_detections([answer]), data, source)} if metrics else {}
    return figures | more


def _run_of(source: Path) -> str | None:
    """The digest of the run that is evaluated, or whose predictions are; None where nobody says."""
    if (source / CONFIG).is_file():
        return run_digest(source)
    return read_about(source).get("of_run") if source.is_dir() else None


def _of_run(
    run: Path, data: Dataset, truth: Split, other: Split | None
) -> tuple[Answer, Answer | None, str, list[str]]:
    predictor = load(run)
    answer = predict_split(predictor, truth)
    question_units(str(run), answer.boxes_xywh, truth.sizes_wh)  # what is certain: a plug-in may have other units
    problems: list[str] = []
    elsewhere = predict_split(predictor, other) if other is not None and other.shows_opacity else None
    if read_environment(run).get("data_fingerprint") == data.fingerprint:
        seen = {"train": "was trained", "val": "had its epoch and operating point chosen"}.get(truth.name)
        if seen:
            problems.append(f"{run} {seen} on {truth.name}, so these figures flatter; those of holdout do not")
        return answer, elsewhere, "epochs and operating point were chosen on val", problems
    problems.append(f"{run} was trained on other data or another split: it may have seen these very images")
    return answer, elsewhere, "epochs and operating point were chosen on another data set", problems


def _of_file(
    source: Path, truth: Split, other: Split | None, *, given: bool
) -> tuple[Answer, Answer | None, str, list[str]]:
    answer, problems = read_answer(source, truth, beside=other)
    if truth.name != "holdout":
        problems.append(
            f"{source}: figures of {truth.name} flatter whatever was trained or had anything chosen on it; those of "
            "holdout do not"
        )
    elsewhere = None
    if other is not None and len(other):
        try:
            elsewhere, its = read_answer(source, other, beside=truth)
        except HilumError:  # it holds nothing of val
            its = []
        if elsewhere is not None and _held(elsewhere) < _ENOUGH * _held(answer):
            held = f"{len(other) - elsewhere.missing} of {len(other)} images"
            its = [f"{source}: holds {held} of the {other.name} split, too few to choose on"]
            elsewhere = None
        if elsewhere is not None and not other.shows_opacity:
            its = [f"{source}: no image of the {other.name} split shows opacity, so nothing can be chosen there"]
            elsewhere = None
        problems += [line for line in its if line not in problems]
    if given or answer.least_is_given:
        return answer, elsewhere, "the operating point is that of the predictions folder", problems
    if answer.probability is None and source.suffix.lower() == ".csv":  # not the table of a predictions folder
        return answer, elsewhere, "the operating point is the file's: all its boxes are the answer", problems
    on = None if elsewhere is None or other is None else (other, elsewhere)
    how = _CROSS_FITTED if on is None else "chosen on val"
    if on is None and not (patients := positive_patients(truth)):
        problems.append(
            f"{source}: no image of the {truth.name} split shows opacity: no point to choose, all boxes kept"
        )
    elif on is None and patients == 1:
        problems.append(
            f"{source}: only one patient of the {truth.name} split has opacity: for its part no operating point can be "
            "chosen on the other patients, so all boxes there are kept"
        )
    return with_chosen_confidence(answer, truth, on), elsewhere, f"the operating point was {how}", problems


def _held(answer: Answer) -> float:
    """The share of the images that what it was read from says something of."""
    return 1 - answer.missing / len(answer.confidence)
