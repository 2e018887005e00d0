"""Score one run, predictions folder, COCO results or submission on one split, beside two trivial baselines."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hilum import __version__
from hilum.class_names import check_same_classes
from hilum.comparison.chosen_metrics import checked_metrics, metrics_of
from hilum.comparison.measured import Measured, baselines, mean_measured, predict_answers
from hilum.comparison.meeting import meeting_lines, meetings
from hilum.comparison.results import About, Entry, Evaluation, MaskFigures, mean_mask
from hilum.datasets.folder import Dataset, Split, SplitName
from hilum.ensemble.composed import check_origin
from hilum.errors import HilumError
from hilum.eval.answer import (
    Answer,
    Threshold,
    as_detections,
    cross_fitted_thresholds,
    image_thresholds,
    positive_patients,
    with_chosen_confidence,
)
from hilum.eval.baselines import empty_mask
from hilum.eval.measures import measure
from hilum.eval.predictions import read_answers
from hilum.eval.predictions_folder import read_about
from hilum.eval.problems import question_units
from hilum.eval.travel import Travel, travel
from hilum.predict import load
from hilum.run import CONFIG, check_run, read_environment, run_digest, seen_fingerprints
from hilum.source_digest import source_digest

_CROSS_FITTED = "cross-fitted over patients on this very split, as there was no other to choose on"
EvaluatedSplit = SplitName | Literal["all"]
_VAL_HAS_NONE = "cross-fitted over patients on this very split, as no image of val shows it"
_ENOUGH = 0.5  # what it holds of val, as a share of what it holds of the split, for val to choose on


def evaluate(
    source: Path,
    data: Dataset,
    name: EvaluatedSplit | None = None,
    confidence: float | None = None,
    home: Dataset | None = None,
    metrics: Sequence[str] = (),
) -> tuple[Evaluation, list[str]]:
    """Measure whatever holds predictions.

    Nothing is chosen on what is reported: thresholds come from val where the source has predictions on it, else they
    are cross-fitted, and the result says which.

    Args:
        source: a run, a predictions folder, COCO results (.json), or a submission (.csv).
        data: the truth.
        name: of the split; where None holdout, and of data that a run was not trained on, all labelled images.
        confidence: boxes below do not count as the answer; where None that of the run or of the folder; a submission
            is an answer as it is, and for COCO results one is chosen.
        home: the data that a run was trained on: its thresholds are chosen there, and figures are compared with those
            of its holdout.
        metrics: further ones by name (`hilum.eval.metrics`); of data of several classes, where none is named, those of
            the challenges that have several.

    Returns:
        The figures, and a line for each thing that was not right.

    Raises:
        HilumError: not readable as any of these, nothing in it is of the split, it was not trained on `home`, or there
            is no such metric.
    """
    metrics = checked_metrics(metrics, data.class_names)
    if (source / CONFIG).is_file():
        check_run(source)
    name = name or _default_split(source, data)
    truth = data.labelled() if name == "all" else data.split(name)
    if not len(truth):
        what = "no image is labelled" if name == "all" else f"the {name} split has no image"
        raise HilumError(f"{data.path}: {what}")
    if home is not None:
        _check_home(source, home)
        check_same_classes(home.class_names, data.class_names, str(home.path))
    other = home.split("val") if home else data.split("val") if name not in {"val", "all"} else None
    # Average boxes of these very images would flatter.
    training = home.split("train") if home else data.split("train") if name != "all" else None
    given, problems = _given(source, data, truth, other, home, confidence)
    shared = meetings(home, data, truth, data.path.resolve().name) if home else ()
    problems += [f"{data.path}: {line}" for line in meeting_lines(shared)]
    at_home = _at_home(source, home, confidence) if home else [None] * len(given)
    family, of_run, all_boxes = tuple(sorted(data.family())), _run_of(source), not _is_cut(source)

    def told(images: Split, rows: Sequence[Measured], how: str, moved: Travel | None, **more: Any) -> Evaluation:
        return Evaluation(
            hilum=__version__,
            code=source_digest(),
            of_run=of_run,
            all_boxes=all_boxes,
            split=name,
            images=len(images),
            positive_images=int(images.positive.sum()),
            patients_known=data.patients_known,
            images_without_patient=data.conversion.get("images_without_patient", 0),
            patients_on_both_sides=0 if name == "all" else data.patients_shared(name),
            data_fingerprint=data.fingerprint,
            family=family,
            chosen=how,
            empty_mask=MaskFigures(**empty_mask(images.boxes_xyxy, images.sizes_wh)._asdict()),
            entries=tuple(_entries(rows, moved)),
            **({"home_fingerprint": home.fingerprint, "meetings": shared} if home else {}),
            **more,
        )

    judged = [
        _judge(
            source.name,
            truth.of_class(class_id),
            its,
            other.of_class(class_id) if other else None,
            training.of_class(class_id) if training else None,
            (home.split("holdout").of_class(class_id), answer) if home and answer else None,
        )
        for class_id, (its, answer) in enumerate(zip(given, at_home, strict=True))
    ]
    of_classes = [told(each.images, each.rows, each.chosen, each.travel) for each in judged]
    found = of_classes[0]
    if len(judged) > 1:
        how = "; ".join(f"{what}: {each.chosen}" for what, each in zip(truth.class_names, judged, strict=True))
        by_name = dict(zip(truth.class_names, of_classes, strict=True))
        found = told(truth, mean_measured([each.rows for each in judged]), how, None, classes=by_name)
        found = Evaluation(**found.given() | {"empty_mask": mean_mask(of_classes)})
    return _with_metrics(found, metrics, truth, judged, data, source), problems


@dataclass(frozen=True)
class _Judged:
    """What was measured of one class: the baselines, then the answer."""

    images: Split
    rows: list[Measured]
    chosen: str
    travel: Travel | None


def _judge(
    name: str,
    images: Split,
    given: "_Given",
    other: Split | None,
    training: Split | None,
    at_home: tuple[Split, Answer] | None,
) -> _Judged:
    """Measure the answer to one class; all splits are of that class alone."""
    thresholds: Mapping[str, Threshold]
    if given.elsewhere is not None and other is not None and other.shows_opacity:
        thresholds = image_thresholds(other, given.elsewhere)
        how = f"chosen on val{' at home' if at_home else ''}"
    else:
        thresholds = cross_fitted_thresholds(images, given.answer)
        how = _CROSS_FITTED if other is None or other.shows_opacity else _VAL_HAS_NONE
    measures = measure(images, given.answer, thresholds)
    moved = None
    if at_home:
        moved = travel((*at_home, measure(*at_home, thresholds)), (images, given.answer, measures))
    row = Measured(name, name, given.answer, measures, None, About())
    return _Judged(
        images, [*baselines(images, training), row], f"{given.chosen}; thresholds on images were {how}", moved
    )


def _entries(measured: Sequence[Measured], moved: Travel | None) -> Iterator[Entry]:
    """A row each; that of what is evaluated is the last, and tells how it travels."""
    for each in measured:
        trivial = each.about.backend is None
        more = {"backend": None} if trivial else {"travel": moved} if moved else {}
        yield Entry(name=each.name, **each.measures.figures.given(), **more)


def _with_metrics(
    found: Evaluation, metrics: Sequence[str], truth: Split, judged: Sequence[_Judged], data: Dataset, source: Path
) -> Evaluation:
    """The same with what further metrics say of each row, of all classes together."""
    if not metrics:
        return found
    entries = []
    for at, entry in enumerate(found.entries):
        answers = [each.rows[at].answer for each in judged]
        read_from = None if entry.is_baseline else source
        said = metrics_of(metrics, truth, as_detections(answers), data, read_from)
        entries.append(Entry(**entry.given(), metrics=said))
    return Evaluation(**found.given() | {"entries": tuple(entries)})


def _default_split(source: Path, data: Dataset) -> EvaluatedSplit:
    """All images of data that a run was not trained on; else holdout."""
    if (source / CONFIG).is_file() and not data.family() & seen_fingerprints(source):
        return "all"
    return "holdout"


def _check_home(source: Path, home: Dataset) -> None:
    if not (source / CONFIG).is_file():
        raise HilumError(f"{source}: is no run, so it was not trained on {home.path}; leave out the home")
    check_origin("home", source, home)
    if not len(home.split("holdout")):
        raise HilumError(f"{home.path}: the holdout split has no image, so there is nothing to compare with")


def _at_home(run: Path, home: Dataset, confidence: float | None) -> list[Answer | None]:
    """The run's answer to each class on the holdout at home."""
    answers = predict_answers(load(run), home.split("holdout"))
    return [answer if confidence is None else replace(answer, least=confidence) for answer in answers]


@dataclass(frozen=True)
class _Given:
    """An answer to a class.

    Attributes:
        answer: on the images that are evaluated.
        elsewhere: on those that thresholds may be chosen on; None where it says too little of them.
        chosen: how its operating point was.
    """

    answer: Answer
    elsewhere: Answer | None
    chosen: str


def _given(
    source: Path, data: Dataset, truth: Split, other: Split | None, home: Dataset | None, confidence: float | None
) -> tuple[list[_Given], list[str]]:
    """The answer to each class, and a line for each thing that was not right."""
    if (source / CONFIG).is_file():
        answers, problems = _of_run(source, data, truth, other, home)
    else:
        answers, problems = _of_file(source, truth, other, given=confidence is not None)
    if confidence is not None:
        how = "the operating point was given"
        answers = [replace(each, answer=replace(each.answer, least=confidence), chosen=how) for each in answers]
    return answers, problems


def _run_of(source: Path) -> str | None:
    """The digest of the run that is evaluated, or whose predictions are; None where nobody says."""
    if (source / CONFIG).is_file():
        return run_digest(source)
    return read_about(source).get("of_run") if source.is_dir() else None


def _is_cut(source: Path) -> bool:
    """Whether it is a predictions folder without the boxes below a confidence."""
    is_folder = source.is_dir() and not (source / CONFIG).is_file()
    return is_folder and bool(np.any(read_about(source).get("floor") or 0))


def _of_run(
    run: Path, data: Dataset, truth: Split, other: Split | None, home: Dataset | None
) -> tuple[list[_Given], list[str]]:
    predictor = load(run)
    answers = predict_answers(predictor, truth)
    for answer in answers:
        question_units(str(run), answer.boxes_xywh, truth.sizes_wh)  # what is certain: a plug-in may have other units
    problems: list[str] = []
    on_other: Sequence[Answer | None] | None = (
        predict_answers(predictor, other) if other is not None and other.shows_opacity else None
    )
    if read_environment(run).get("data_fingerprint") == data.fingerprint:
        seen = {"train": "was trained", "val": "had its epoch and operating point chosen"}
        if told := seen.get(truth.name) or (truth.name == "all" and "was trained and chosen in part"):
            problems.append(f"{run} {told} on {truth.name}, so these figures flatter; those of holdout do not")
        where = "on val"
    else:
        where = "at home" if home else "on another data set"
        if home is None:
            hint = "; --home DATA, what it was trained on, tells" if truth.name == "all" else ""
            problems.append(
                f"{run} was trained on other data or another split: it may have seen these very images{hint}"
            )
    chosen = f"epochs and operating point{'s' * (len(answers) > 1)} were chosen {where}"
    pairs = zip(answers, on_other or [None] * len(answers), strict=True)
    return [_Given(answer, elsewhere, chosen) for answer, elsewhere in pairs], problems


def _of_file(source: Path, truth: Split, other: Split | None, *, given: bool) -> tuple[list[_Given], list[str]]:
    answers, problems = read_answers(source, truth, beside=other)
    if truth.name != "holdout":
        problems.append(
            f"{source}: figures of {truth.name} flatter whatever was trained or had anything chosen on it; those of "
            "holdout do not"
        )
    elsewhere: list[Answer | None] = [None] * len(answers)
    if other is not None and len(other):
        on_other, its = _on_other(source, other, truth, next(iter(answers.values())))
        elsewhere = on_other or elsewhere
        problems += [line for line in its if line not in problems]
    found = []
    for class_id, (name, answer) in enumerate(answers.items()):
        images, on, chosen_on = truth.of_class(class_id), elsewhere[class_id], None
        if on is not None and other is not None:
            if (of_class := other.of_class(class_id)).shows_opacity:
                chosen_on = of_class, on
            else:
                problems.append(f"{source}: no image of the {other.name} split shows {name}: nothing is chosen there")
        point, how, line = _operating_point(source, images, answer, chosen_on, given=given)
        problems += [line.replace("opacity", name) if len(answers) > 1 else line] if line else []
        found.append(_Given(point, on, how))
    return found, problems


def _on_other(source: Path, other: Split, truth: Split, answer: Answer) -> tuple[list[Answer | None] | None, list[str]]:
    """The answers on what thresholds may be chosen on, and what to say of them; None where they are too few."""
    try:
        answers, its = read_answers(source, other, beside=truth)
    except HilumError:  # it holds nothing of val
        return None, []
    there = next(iter(answers.values()))
    if not other.shows_opacity:
        return None, [f"{source}: no image of the {other.name} split shows opacity, so nothing can be chosen there"]
    if _held(there) < _ENOUGH * _held(answer):
        held = f"{len(other) - there.missing} of {len(other)} images"
        return None, [f"{source}: holds {held} of the {other.name} split, too few to choose on"]
    return [*answers.values()], its


def _operating_point(
    source: Path, truth: Split, answer: Answer, on: tuple[Split, Answer] | None, *, given: bool
) -> tuple[Answer, str, str]:
    """The answer at its operating point, how that was chosen, and what is wrong with it."""
    if given or answer.least_is_given:
        return answer, "the operating point is that of the predictions folder", ""
    if answer.probability is None and source.suffix.lower() == ".csv":  # not the table of a predictions folder
        return answer, "the operating point is the file's: all its boxes are the answer", ""
    how, line = _CROSS_FITTED if on is None else "chosen on val", ""
    if on is None and not (patients := positive_patients(truth)):
        line = f"{source}: no image of the {truth.name} split shows opacity: no point to choose, all boxes kept"
    elif on is None and patients == 1:
        line = (
            f"{source}: only one patient of the {truth.name} split has opacity: for its part no operating point can be "
            "chosen on the other patients, so all boxes there are kept"
        )
    return with_chosen_confidence(answer, truth, on), f"the operating point was {how}", line


def _held(answer: Answer) -> float:
    """The share of the images that what it was read from says something of."""
    return 1 - answer.missing / len(answer.confidence)
