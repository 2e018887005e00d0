"""The card of a run: what it is for and not for, what it was trained on and how, what it scores and in whom."""

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np

from hilum.calibration import read_calibration
from hilum.comparison.meeting import meeting_lines
from hilum.comparison.pictures import NOT_A_DEVICE
from hilum.comparison.results import Evaluation
from hilum.comparison.tables import findings, interval_text, notes, number_text, score_table, table_rows
from hilum.datasets.folder import Dataset
from hilum.documents import read_json
from hilum.errors import HilumError
from hilum.eval.platt import UNCHANGED
from hilum.hub import RUN_DIGEST
from hilum.pages.card import NOT_KNOWN, card_text, licence, name_of, plain, points, table
from hilum.pages.data_card import origin
from hilum.run import (
    check_run,
    data_fingerprints,
    member_runs,
    operating_confidence,
    parameter_count,
    read_environment,
    read_operating_point,
    run_config,
    run_digest,
    seen_fingerprints,
)

_ULTRALYTICS: Final = (
    "ultralytics, which trained it, says that such weights fall under AGPL-3.0 unless it licensed them otherwise. "
)
_NO_FIGURES: Final = f"How well it does is {NOT_KNOWN} here: no evaluation was given."
_OWN: Final = "the data of its training"
_KIN: Final = "another split of the pictures of its training"
_OTHER: Final = "other data than those of its training"
_SETTINGS: Final = ("seed", "image_size", "epochs", "batch_size", "learning_rate", "precision")


def run_card(
    run: Path, evaluations: Sequence[Path] = (), data: Dataset | None = None, named_licence: str | None = None
) -> str:
    """The card of a run, as Markdown; it says nothing that is not in the run or in what is given with it.

    Args:
        run: the folder.
        evaluations: what `hilum evaluate RUN DATA --json FILE` wrote of it.
        data: what it was trained on.
        named_licence: of the weights.

    Raises:
        HilumError: the run is not whole, an evaluation is of another run or operating point, or the data are others.
    """
    check_run(run)
    config, environment, digest = run_config(run), read_environment(run), run_digest(run)
    fingerprint, known = environment.get("data_fingerprint", NOT_KNOWN), environment.get("patients_known")
    if data is not None and data.fingerprint not in data_fingerprints(run):
        raise HilumError(f"{data.path}: has fingerprint {data.fingerprint}; the run was trained on data {fingerprint}")
    found = [_evaluation(path, run, digest) for path in evaluations]
    whose = [_whose(each, run) for each in found]
    backends = sorted({config.backend, *(run_config(member).backend for member in member_runs(run))})
    scores = {"model-index": [{"name": name_of(run), "results": list(map(_scores, found))}]}
    front: dict[str, Any] = {
        **licence(named_licence, "agpl-3.0" if "yolo" in backends else "other"),
        "library_name": "hilum",
        "pipeline_tag": "object-detection",
        "tags": ["hilum", *backends, "chest-x-ray", "radiology", "medical"],
        **(scores if found else {}),
        RUN_DIGEST: digest,
    }
    no_source = f"Source, terms, numbers of images and patients: {NOT_KNOWN} here; a run keeps a fingerprint alone."
    words = {
        "classes": ", ".join(config.class_names),
        "backends": ", ".join(backends),
        "values": f"{parameter_count(run):,}",
        "digest": digest,
        "licence": named_licence or NOT_KNOWN,
        "fingerprint": fingerprint,
        "whose": NOT_KNOWN if known is None else "known" if known else "not known to the data set",
    }
    blocks = {
        "ultralytics": _ULTRALYTICS if "yolo" in backends else "",
        "origin": origin(data) if data else no_source,
        "how": table(["", ""], _how(run).items()),
        "operating_point": table(["", *config.class_names], _operating_point(run)),
        "figures": "\n\n".join(filter(None, chain(*map(_figures, found, whose)))) or _NO_FIGURES,
        "limits": points(_limits(found, whose, patients_known=bool(known))),
    }
    return card_text("run_card.md", run, front, words, blocks)


def _evaluation(path: Path, run: Path, digest: str) -> Evaluation:
    found = read_json(path, Evaluation, remedy="give what `hilum evaluate RUN DATA --json FILE` wrote")
    of_classes = tuple(found.classes.values()) or (found,)
    if found.of_run != digest or not all(each.entries for each in (found, *of_classes)):
        raise HilumError(f"{path}: is of run {found.of_run or NOT_KNOWN}, and this is run {digest}; evaluate it again")
    kept, chosen = [each.entries[-1].least_confidence for each in of_classes], _least(run)
    if len(kept) != len(chosen) or not np.allclose(kept, chosen):
        told = f"boxes at confidence >= {kept}, and the run keeps those at {chosen}"
        raise HilumError(f"{path}: is of {told}; evaluate the run without --confidence")
    if not found.all_boxes:
        told = "is of predictions without the boxes below a confidence, so AP and FROC are too low"
        raise HilumError(f"{path}: {told}; evaluate the run itself")
    return found


def _least(run: Path) -> list[float]:
    """From which confidence on boxes are kept, a class each."""
    confidence = operating_confidence(run)
    return list(confidence) if isinstance(confidence, tuple) else [confidence] * len(run_config(run).class_names)


def _whose(found: Evaluation, run: Path) -> str:
    if found.data_fingerprint in data_fingerprints(run):
        return _OWN
    return _KIN if {found.data_fingerprint, *found.family} & seen_fingerprints(run) else _OTHER


def _scores(found: Evaluation) -> dict[str, Any]:
    """Figures of one evaluation as the hub's `model-index` has them."""
    entry = found.entries[-1]
    figures = {
        "competition score": entry.score.estimate,
        "AP 0.40:0.75": entry.ap_competition.estimate,
        "image AUROC": entry.auroc.estimate,
    }
    metrics = [
        {"type": name.lower().replace(" ", "_"), "name": name, "value": round(value, 4)}
        for name, value in figures.items()
        if math.isfinite(value)
    ]
    data = {"type": "hilum", "name": f"data {found.data_fingerprint}", "split": found.split}
    return {"task": {"type": "object-detection"}, "dataset": data, "metrics": metrics}


def _how(run: Path) -> dict[str, object]:
    """Settings and versions, but no path of a machine."""
    config, environment = run_config(run).model_dump(), read_environment(run)
    settings = config | (config["train"] if isinstance(config.get("train"), dict) else {})
    start = environment.get("started_from", {}).get("digest", NOT_KNOWN) if "started_from" in environment else "no run"
    return {
        **{name.replace("_", " "): settings[name] for name in _SETTINGS if name in settings},
        "pretraining": environment.get("pretraining", NOT_KNOWN) or "none",
        "started from": start,
        **{name: environment.get(name, NOT_KNOWN) for name in ("hilum", "code", "python", "device")},
        **environment.get("versions", {}),
    }


def _operating_point(run: Path) -> Iterator[list[object]]:
    """A row a figure, a column a class; what is one for all classes stands in the first."""
    point, classes = read_operating_point(run), len(run_config(run).class_names)
    calibration = read_calibration(run, classes)
    yield ["boxes are kept at confidence >=", *(number_text(least, 3) for least in _least(run))]
    for what in ("boxes", "images"):
        platts = getattr(calibration, what) if calibration else ()
        told = [
            "none" if platt == UNCHANGED else f"slope {platt.slope:.3f}, intercept {platt.intercept:.3f}"
            for platt in platts or [UNCHANGED] * classes
        ]
        yield [f"calibration of {what}, by Platt's method on val", *told]
    score = point.get("val_score")
    about = {"chosen for": point.get("at", "the highest score on val"), "images of val": point.get("val_images")}
    for what, value in {**about, "score on val": None if score is None else number_text(score, 3)}.items():
        yield [what, NOT_KNOWN if value is None else value, *[""] * (classes - 1)]


def _figures(found: Evaluation, whose: str) -> Iterator[str]:
    """Figures with intervals, of several classes each and their mean, and in whom it does better or worse."""
    which = "All labelled images" if found.split == "all" else found.split.capitalize()
    yield f"### {plain(which)} of {whose} ({plain(found.data_fingerprint)})"
    for name, each in {"": found, **found.classes}.items():
        yield f"#### {plain(name)}" if name else ""
        yield table(*score_table(table_rows(each)))
        rows = [
            [f"{gap.factor}: {gap.stratum}", gap.measure, f"{gap.patients:,}", interval_text(gap.inside),
             interval_text(gap.outside), interval_text(gap.simultaneous, signed=True) or "too few to say"]
            for gap in each.entries[-1].strata.gaps
        ]  # fmt: skip
        header = ["in whom", "figure", "patients", "there [95%]", "in the others [95%]", "gap, all gaps at once"]
        of = f"In whom: {len(rows)} figures by view, sex, age, size and number of boxes, as far as these are known"
        yield f"<details><summary>{of}</summary>\n\n{table(header, rows)}\n\n</details>" if rows else ""
    yield points(line.removeprefix("- ") for line in [*findings(found), *notes(found)] if NOT_A_DEVICE not in line)


def _limits(found: Sequence[Evaluation], whose: Sequence[str], *, patients_known: bool) -> Iterator[str]:
    if not patients_known:
        yield "Whose the images of training are is not known: patients may be on both sides, and figures may flatter."
    if _OTHER not in whose:
        yield "No figures on data of another source are here: whether it holds there is not known."
    for each, its in zip(found, whose, strict=True):
        if its == _KIN:
            yield f"Figures of {each.split} of {_KIN} flatter: it may have been trained on these very images."
        elif its == _OWN and each.split != "holdout":
            yield f"Figures of {each.split} of its own data flatter: it was trained or chosen there."
        yield from meeting_lines(each.meetings)
