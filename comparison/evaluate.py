"""Score one run, predictions folder, COCO results or submission on one split, beside two trivial baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

from hilum import __version__
from hilum.comparison.measured import baselines, predict_split
from hilum.comparison.meeting import meeting_lines, meetings
from hilum.comparison.results import Entry, Evaluation, MaskFigures
from hilum.datasets.folder import Dataset, Split, SplitName
from hilum.ensemble.composed import check_origin
from hilum.errors import HilumError
from hilum.eval.answer import (
    Answer,
    Threshold,
    cross_fitted_thresholds,
    image_thresholds,
    positive_patients,
    with_chosen_confidence,
)
from hilum.eval.baselines import empty_mask
from hilum.eval.measures import Measures, measure
from hilum.eval.predictions import read_answer
from hilum.eval.predictions_folder import read_about
from hilum.eval.problems import question_units
from hilum.eval.travel import Travel, travel
from hilum.predict import load
from hilum.run import CONFIG, data_fingerprints, read_environment, run_digest
from hilum.source_digest import source_digest

_CROSS_FITTED = "cross-fitted over patients on this very split, as there was no other to choose on"
EvaluatedSplit = SplitName | Literal["all"]
_ENOUGH = 0.5  # what it holds of val, as a share of what it holds of the split, for val to choose on


def evaluate(
    source: Path,
    data: Dataset,
    name: EvaluatedSplit | None = None,
    confidence: float | None = None,
    home: Dataset | None = None,
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

    Returns:
        The figures, and a line for each thing that was not right.

    Raises:
        HilumError: not readable as any of these, nothing in it is of the split, or it was not trained on `home`.
    """
    name = name or _default_split(source, data)
    truth = data.labelled() if name == "all" else data.split(name)
    if not len(truth):
        what = "no image is labelled" if name == "all" else f"the {name} split has no image"
        raise HilumError(f"{data.path}: {what}")
    if home is not None:
        _check_home(source, home)
    other = home.split("val") if home else data.split("val") if name not in {"val", "all"} else None
    if (source / CONFIG).is_file():
        answer, elsewhere, chosen, problems = _of_run(source, data, truth, other, home)
    else:
        answer, elsewhere, chosen, problems = _of_file(source, truth, other, given=confidence is not None)
    if confidence is not None:
        answer, chosen = replace(answer, least=confidence), "the operating point was given"
    if elsewhere is not None and other is not None:
        thresholds, how = image_thresholds(other, elsewhere), f"chosen on val{' at home' if home else ''}"
    else:
        thresholds, how = cross_fitted_thresholds(truth, answer), _CROSS_FITTED
    # Average boxes of these very images would flatter.
    training = home.split("train") if home else data.split("train") if name != "all" else None
    measured = measure(truth, answer, thresholds)
    entries = [
        *(Entry(name=each.name, backend=None, **each.measures.figures.given()) for each in baselines(truth, training)),
        Entry(name=source.name, **measured.figures.given()),
    ]
    found = Evaluation(
        hilum=__version__,
        code=source_digest(),
        of_run=_run_of(source),
        split=name,
        images=len(truth),
        positive_images=int(truth.positive.sum()),
        patients_known=data.patients_known,
        images_without_patient=data.conversion.get("images_without_patient", 0),
        patients_on_both_sides=0 if name == "all" else data.patients_shared(name),
        data_fingerprint=data.fingerprint,
        chosen=f"{chosen}; thresholds on images were {how}",
        empty_mask=MaskFigures(**empty_mask(truth.boxes_xyxy, truth.sizes_wh)._asdict()),
        entries=tuple(entries),
    )
    if home is None:
        return found, problems
    at_home = _at_home(source, home, answer.least if confidence is not None else None, thresholds)
    return _beside_home(found, data, home, travel(at_home, (truth, answer, measured)), problems)


def _beside_home(
    found: Evaluation, data: Dataset, home: Dataset, moved: Travel, problems: Sequence[str]
) -> tuple[Evaluation, list[str]]:
    """The figures with what they are at home, and what the data share with those at home."""
    truth = data.labelled() if found.split == "all" else data.split(cast("SplitName", found.split))
    shared = meetings(home, data, truth, data.path.resolve().name)
    *baselines, last = found.entries
    entries = (*baselines, Entry(**last.given(), travel=moved))
    more = {"entries": entries, "home_fingerprint": home.fingerprint, "meetings": shared}
    return Evaluation(**found.given() | more), [*problems, *(f"{data.path}: {line}" for line in meeting_lines(shared))]


def _default_split(source: Path, data: Dataset) -> EvaluatedSplit:
    """All images of data that a run was not trained on; else holdout."""
    if (source / CONFIG).is_file() and not data.family() & data_fingerprints(source):
        return "all"
    return "holdout"


def _check_home(source: Path, home: Dataset) -> None:
    if not (source / CONFIG).is_file():
        raise HilumError(f"{source}: is no run, so it was not trained on {home.path}; leave out the home")
    check_origin("home", source, home)
    if not len(home.split("holdout")):
        raise HilumError(f"{home.path}: the holdout split has no image, so there is nothing to compare with")


def _at_home(
    run: Path, home: Dataset, least: Threshold | None, thresholds: Mapping[str, Threshold]
) -> tuple[Split, Answer, Measures]:
    """The run's answer on the holdout at home, at its operating point or the one that was given."""
    holdout = home.split("holdout")
    answer = predict_split(load(run), holdout)
    if least is not None:
        answer = replace(answer, least=least)
    return holdout, answer, measure(holdout, answer, thresholds)


def _run_of(source: Path) -> str | None:
    """The digest of the run that is evaluated, or whose predictions are; None where nobody says."""
    if (source / CONFIG).is_file():
        return run_digest(source)
    return read_about(source).get("of_run") if source.is_dir() else None


def _of_run(
    run: Path, data: Dataset, truth: Split, other: Split | None, home: Dataset | None
) -> tuple[Answer, Answer | None, str, list[str]]:
    predictor = load(run)
    answer = predict_split(predictor, truth)
    question_units(str(run), answer.boxes_xywh, truth.sizes_wh)  # what is certain: a plug-in may have other units
    problems: list[str] = []
    elsewhere = predict_split(predictor, other) if other is not None and other.shows_opacity else None
    if read_environment(run).get("data_fingerprint") == data.fingerprint:
        seen = {"train": "was trained", "val": "had its epoch and operating point chosen"}
        if told := seen.get(truth.name) or (truth.name == "all" and "was trained and chosen in part"):
            problems.append(f"{run} {told} on {truth.name}, so these figures flatter; those of holdout do not")
        return answer, elsewhere, "epochs and operating point were chosen on val", problems
    if home is None:
        hint = "; --home DATA, what it was trained on, tells" if truth.name == "all" else ""
        problems.append(f"{run} was trained on other data or another split: it may have seen these very images{hint}")
    where = "at home" if home else "on another data set"
    return answer, elsewhere, f"epochs and operating point were chosen {where}", problems


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
