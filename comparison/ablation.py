"""What each part of a composition adds: the parts put in one after another, on the same images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hilum.comparison.additions import Addition, FoldChoice
from hilum.datasets.boxes import xyxy_to_xywh
from hilum.datasets.folder import Dataset, Split, SplitName
from hilum.datasets.fusion import Boxes
from hilum.ensemble.composed import Composed, boxes_of, check_origin
from hilum.ensemble.composed_config import ComposedConfig, Views
from hilum.ensemble.composition import MemberPredictions, Parameters, choose_parameters, compose, operating_point
from hilum.errors import HilumError
from hilum.eval.answer import Answer
from hilum.eval.bootstrap import Resampled, bootstrap_ratios
from hilum.eval.coco import coco_ap
from hilum.eval.competition import IOU_THRESHOLDS
from hilum.eval.measures import box_ratios
from hilum.predict import load, predict_all


@dataclass(frozen=True)
class _Tried:
    """A row on one fold: its answer on the split, and what was chosen for it on val; no parameters of a single run."""

    name: str
    answer: Answer
    val_score: float
    parameters: Parameters | None

    def choice(self) -> FoldChoice:
        """What was chosen, as it is told."""
        parameters = self.parameters and self.parameters.model_dump(mode="json")
        return FoldChoice(confidence=float(self.answer.least), val_score=self.val_score, parameters=parameters)


def ablation(
    folds: Sequence[tuple[Path, Dataset]],
    *,
    before: Mapping[str, Sequence[Path]] | None = None,
    name: SplitName = "holdout",
    progress: Callable[[int, int], None] | None = None,
) -> list[Addition]:
    """Score composed runs from their first member alone to the whole, a part more in each row.

    Each row is the composition that has only these parts: whatever its config leaves to val, the operating point too,
    is chosen anew on val, so that the last row is the run itself. Every part predicts val and the split once. With
    several folds each chooses on its own val, and their answers are pooled.

    Args:
        folds: composed runs of the same parts, each with the data that it was trained on; no image is in the split
            of two.
        before: rows to put first, by name: other runs, one a fold, in the order of the folds.
        name: the split to report.
        progress: called with folds done and folds in all.

    Raises:
        HilumError: not a composed run, or of other parts or other data; or a split has no image, or shares one.
    """
    earlier = before or {}
    for what, runs in earlier.items():
        if len(runs) != len(folds):
            raise HilumError(f"{what}: {len(runs)} runs for {len(folds)} composed ones; expected one for each of them")
    splits = [data.split(name) for _, data in folds]
    _check_disjoint(splits, [data for _, data in folds])
    truth = [boxes for split in splits for boxes in split.boxes_xywh]
    patients = [patient for split in splits for patient in split.patients]
    tried: list[list[_Tried]] = []
    for at, (run, data) in enumerate(folds):
        if progress:
            progress(at, len(folds))
        tried.append(list(_of_fold(run, data, {what: runs[at] for what, runs in earlier.items()}, splits[at])))
        if [row.name for row in tried[at]] != [row.name for row in tried[0]]:
            raise HilumError(f"{run}: is composed of other parts than {folds[0][0]}; nothing can be pooled")
    rows: list[Addition] = []
    previous: Resampled | None = None
    for of_folds in zip(*tried, strict=True):
        answer = _pooled([row.answer for row in of_folds])
        figures = bootstrap_ratios(box_ratios(truth, *answer.kept()), patients)
        rows.append(
            Addition(
                name=of_folds[0].name,
                **{what: figure.interval() for what, figure in figures.items()},
                added=None if previous is None else (figures["score"] - previous).interval(),
                ap_competition=coco_ap(truth, answer.boxes_xywh, answer.confidence, iou_thresholds=IOU_THRESHOLDS),
                folds=tuple(each.choice() for each in of_folds),
            )
        )
        previous = figures["score"]
    return rows


def _of_fold(run: Path, data: Dataset, before: Mapping[str, Path], split: Split) -> Iterator[_Tried]:
    for each in (run, *before.values()):
        check_origin(each.name, each, data)
    if len(data.class_names) > 1:
        raise HilumError(
            f"{data.path}: has {len(data.class_names)} classes; what each part adds is told of data of one"
        )
    backend = load(run).backend
    if not isinstance(backend, Composed):
        raise HilumError(f"{run}: has no parts to leave out; expected a run of the backend compose")
    val = data.split("val")
    for what, single in before.items():
        predictor = load(single)
        found = [[boxes_of(each.detections) for each in predict_all(predictor, part.paths)] for part in (val, split)]
        yield _tried(what, val, found[0], found[1], None)
    on_val, predictions = backend.predict_split(val), backend.predict_split(split)
    for what, config in steps(backend.config):
        parts = [_only(each, backend.config, config) for each in (on_val, predictions)]
        parameters = choose_parameters(config, parts[0], val.boxes_xywh)
        answers = [compose(each, parameters, config.fusion) for each in parts]
        yield _tried(what, val, answers[0], answers[1], parameters)


def steps(config: ComposedConfig) -> Iterator[tuple[str, ComposedConfig]]:
    """The rows: each a name, and the composition of that many parts."""
    first, *others = config.members
    one_fold = {name: member.model_copy(update={"folds": 1}) for name, member in config.members.items()}
    one_view = Views(scales=config.views.scales[:1])
    neutral = {"views": one_view, "lungs": None, "gate": None, "top_share": 1.0, "relative": 0.0, "shrink": 1.0}
    now = config.model_copy(update={"members": {first: one_fold[first]}, **neutral})
    yield first, now
    if config.members[first].folds > 1:
        now = now.model_copy(update={"members": {first: config.members[first]}})
        yield f"+ {config.members[first].folds} folds", now
    for what, key in [
        ("gate", "gate"),
        ("views", "views"),
        ("lungs", "lungs"),
        ("top share", "top_share"),
        ("relative threshold", "relative"),
        ("shrink", "shrink"),
    ]:
        if getattr(config, key) != neutral[key]:
            now = now.model_copy(update={key: getattr(config, key)})
            yield f"+ {what}", now
    for other in others:
        now = now.model_copy(update={"members": {**now.members, other: config.members[other]}})
        yield f"+ {other}", now


def _only(predictions: MemberPredictions, whole: ComposedConfig, part: ComposedConfig) -> MemberPredictions:
    """What the member views predict that are in a part of the composition."""
    views = [view in part.views.all() for view in whole.views.all()]
    kept: list[bool] = []
    for name, member in whole.members.items():
        folds = part.members[name].folds if name in part.members else 0
        kept += [seen and fold < folds for fold in range(member.folds) for seen in views]
    columns = [at for at, wanted in enumerate(kept) if wanted]
    probabilities = None
    if part.gate is not None and predictions.probabilities is not None:
        probabilities = predictions.probabilities[views * part.gate.folds]
    found = [[of_image[at] for at in columns] for of_image in predictions.found]
    members = tuple(predictions.members[at] for at in columns)
    return replace(predictions, members=members, found=found, probabilities=probabilities)


def _tried(
    name: str, val: Split, on_val: Sequence[Boxes], found: Sequence[Boxes], parameters: Parameters | None
) -> _Tried:
    confidence, val_score = operating_point(val.boxes_xywh, on_val)
    boxes = [xyxy_to_xywh(boxes) for boxes, _ in found]
    return _Tried(name, Answer(boxes, [values for _, values in found], confidence), val_score, parameters)


def _pooled(answers: Sequence[Answer]) -> Answer:
    return Answer(
        [boxes for answer in answers for boxes in answer.boxes_xywh],
        [values for answer in answers for values in answer.confidence],
        np.concatenate([np.full(len(answer.boxes_xywh), answer.least) for answer in answers]),
    )


def _check_disjoint(splits: Sequence[Split], folds: Sequence[Dataset]) -> None:
    owner: dict[str, Dataset] = {}
    for split, data in zip(splits, folds, strict=True):
        for needed in (split, data.split("val")):
            if not needed.shows_opacity:
                what = "no image that shows opacity" if len(needed) else "no image"
                raise HilumError(f"{data.path}: the {needed.name} split has {what}")
        twice = [image_id for image_id in split.image_ids if image_id in owner]
        if twice:
            raise HilumError(
                f"{data.path}: {len(twice)} images of its {split.name}, {twice[0]} among them, are in that "
                f"of {owner[twice[0]].path} too; only folds that share none, as of `hilum split --folds`, can be pooled"
            )
        owner |= dict.fromkeys(split.image_ids, data)
