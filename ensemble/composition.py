"""From what all parts find in an image to one answer, and how the numbers in between are chosen on val."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hilum.class_names import Confidence
from hilum.config import Table
from hilum.datasets.boxes import xyxy_to_xywh
from hilum.datasets.fusion import Boxes, soft_nms, vote_average, weighted_box_fusion
from hilum.ensemble.adjustments import GateMode, by_image_score, by_relative_score, gate, share_to_score, shrink
from hilum.ensemble.composed_config import ComposedConfig, Fusion
from hilum.ensemble.lungs import lungs_first
from hilum.eval.competition import choose_confidence
from hilum.training.validation import choose_by_class

MOST_BOXES = 100
"""An image's answer has at most so many boxes of a class, as that of a member."""

# What is tried on val, what changes nothing first: of equally good values the first is taken.
_WEIGHTS = (1.0, 0.25, 0.5, 2.0, 4.0)
_TOP_SHARES = (1.0, *(round(share, 2) for share in np.arange(0.95, 0.0, -0.05).tolist()))
_RELATIVE = tuple(round(share, 2) for share in np.arange(0.0, 1.0, 0.1).tolist())
_SHRINK = (1.0, *(round(factor, 3) for factor in np.arange(0.975, 0.749, -0.025).tolist()), 1.025, 1.05, 1.075, 1.1)
_OUTSIDE = (1.0, 0.9, 0.75, 0.5, 0.25, 0.1, 0.0)
_GATE_THRESHOLDS = 25

T = TypeVar("T")


class Parameters(Table):
    """What was chosen on val, beside the operating point, or given by the config.

    Attributes:
        weights: of the members.
        outside_lungs: factor on the confidence of a box outside the lungs.
        gate_mode: None where the gate has no say.
        gate_threshold: images less probable than this get no box.
        least_in_image: images whose best box is less confident than this get none.
        relative: boxes below this share of the image's best are dropped.
        shrink: factor on width and height.
    """

    weights: dict[str, float]
    outside_lungs: float = Field(default=1.0, ge=0, le=1)
    gate_mode: GateMode | None = None
    gate_threshold: float = Field(default=0.0, ge=0, le=1)
    least_in_image: float = Field(default=0.0, ge=0, le=1)
    relative: float = Field(default=0.0, ge=0, le=1)
    shrink: float = Field(default=1.0, gt=0)


@dataclass(frozen=True)
class MemberPredictions:
    """What all members' folds predict of some images, in every view; a column is a fold in a view.

    Of several classes, each image stands here once for each of them, in their order, and whatever is done to an image's
    boxes is done within a class.

    Attributes:
        members: the member that each column belongs to, (columns,).
        found: [image][column], in pixels of the image.
        sizes_wh: (images, 2) pixels.
        probabilities: of the gate's folds and views, (columns, images); None where there is no gate.
        lungs: a map of them for each image; None where none are looked for.
        classes: how often each image stands here.
    """

    members: tuple[str, ...]
    found: Sequence[Sequence[Boxes]]
    sizes_wh: NDArray[np.int64]
    probabilities: NDArray[np.float64] | None
    lungs: Sequence[NDArray[np.float32]] | None = None
    classes: int = 1

    @property
    def probability(self) -> NDArray[np.float64] | None:
        """Of the gate, (images,): the mean of its columns."""
        return None if self.probabilities is None else self.probabilities.mean(axis=0)


def compose(predictions: MemberPredictions, parameters: Parameters, fusion: Fusion) -> list[Boxes]:
    """The answers: fused, lungs first, gated, reduced, shrunk; boxes inside the image, by falling confidence."""
    return adjust(predictions, fuse(predictions, parameters.weights, fusion), parameters)


def fuse(predictions: MemberPredictions, weights: dict[str, float], fusion: Fusion) -> list[Boxes]:
    """The boxes of each image. A member's weight is shared by its columns; a column that is alone is left as it is."""
    if len(predictions.members) == 1:
        return [found for (found,) in predictions.found]
    of_members = [weights[member] / predictions.members.count(member) for member in predictions.members]
    fused = []
    for columns in predictions.found:
        above = [boxes.where(boxes.confidence >= fusion.floor) for boxes in columns]
        if fusion.method == "weighted_boxes":
            boxes, confidence = weighted_box_fusion(above, of_members, iou=fusion.iou)
        elif fusion.method == "soft_nms":
            boxes, confidence = soft_nms(above, of_members)
        else:
            boxes, confidence = vote_average(above, of_members, iou=fusion.iou, votes=fusion.votes)
        fused.append(Boxes(boxes[:MOST_BOXES], confidence[:MOST_BOXES]))
    return fused


def adjust(predictions: MemberPredictions, fused: Sequence[Boxes], parameters: Parameters) -> list[Boxes]:
    """Everything after the fusion."""
    probability = np.ones(len(fused)) if predictions.probability is None else predictions.probability
    maps = [None] * len(fused) if predictions.lungs is None or parameters.outside_lungs == 1 else predictions.lungs
    answers = []
    for found, likely, size_wh, lungs in zip(
        fused, probability.tolist(), predictions.sizes_wh.tolist(), maps, strict=True
    ):
        if lungs is not None:
            found = lungs_first(found, lungs, tuple(size_wh), parameters.outside_lungs)  # noqa: PLW2901
        if parameters.gate_mode is not None:
            found = gate(found, likely, mode=parameters.gate_mode, threshold=parameters.gate_threshold)  # noqa: PLW2901
        boxes, confidence = by_relative_score(by_image_score(found, parameters.least_in_image), parameters.relative)
        answers.append(Boxes(shrink(boxes, parameters.shrink).clip(0, size_wh * 2), confidence))
    return answers


def operating_point(truth_xywh: Sequence[NDArray[np.float64]], answers: Sequence[Boxes]) -> tuple[float, float]:
    """The confidence from which on boxes are best kept, and the competition score that this gives."""
    boxes = [xyxy_to_xywh(each.xyxy) for each in answers]
    return choose_confidence(truth_xywh, boxes, [each.confidence for each in answers])


def operating_points(
    truth_xywh: Sequence[NDArray[np.float64]], answers: Sequence[Boxes], classes: int
) -> tuple[Confidence, float]:
    """The same of several classes, see `choose_by_class`; of one, that of it."""
    boxes = [xyxy_to_xywh(each.xyxy) for each in answers]
    return choose_by_class(truth_xywh, boxes, [each.confidence for each in answers], classes)


def choose_parameters(
    config: ComposedConfig, predictions: MemberPredictions, truth_xywh: Sequence[NDArray[np.float64]]
) -> Parameters:
    """Choose what the config leaves to val, one after another.

    In this order: weights, lungs, gate, top share, relative threshold, shrink.
    Each is the value whose threshold curve has the highest maximum, with what was chosen before it and without what
    comes after; of several classes, the highest mean of theirs. Those that the config gives are taken over.

    Args:
        config: says what is to be chosen.
        predictions: on val.
        truth_xywh: of val, in the same order.
    """

    def score(answers: Sequence[Boxes]) -> float:
        return operating_points(truth_xywh, answers, predictions.classes)[1]

    weights = _choose_weights(config, predictions, score)
    fused = fuse(predictions, weights, config.fusion)

    def best(candidates: Iterable[Parameters]) -> Parameters:
        return _first_best(candidates, lambda each: score(adjust(predictions, fused, each)))

    def vary(now: Parameters, name: str, values: Iterable[float]) -> Parameters:
        return best(now.model_copy(update={name: value}) for value in values)

    chosen = Parameters(weights=weights)
    if config.lungs is not None and predictions.lungs is not None:
        chosen = vary(chosen, "outside_lungs", _OUTSIDE if config.lungs.outside == "val" else (config.lungs.outside,))
    if config.gate is not None and predictions.probability is not None:
        modes: tuple[GateMode, ...] = ("multiply", "threshold") if config.gate.mode == "val" else (config.gate.mode,)
        likely = np.quantile(predictions.probability, np.linspace(0, 1, _GATE_THRESHOLDS)[:-1]).tolist()
        thresholds = [0.0, *likely] if config.gate.threshold == "val" else [config.gate.threshold]
        chosen = best(
            chosen.model_copy(update={"gate_mode": mode, "gate_threshold": threshold})
            for threshold in thresholds
            for mode in modes
        )
    scores = [float(confidence.max(initial=0.0)) for _, confidence in adjust(predictions, fused, chosen)]
    shares = _TOP_SHARES if config.top_share == "val" else (config.top_share,)
    chosen = vary(chosen, "least_in_image", [share_to_score(scores, share) for share in shares])
    chosen = vary(chosen, "relative", _RELATIVE if config.relative == "val" else (config.relative,))
    return vary(chosen, "shrink", _SHRINK if config.shrink == "val" else (config.shrink,))


def _choose_weights(
    config: ComposedConfig, predictions: MemberPredictions, score: Callable[[Sequence[Boxes]], float]
) -> dict[str, float]:
    """The members' weights: given, or one member after another chosen against those before it."""
    weights = {name: member.weight for name, member in config.members.items()}
    if not config.fusion.choose_weights:
        return weights
    for name in list(weights)[1:]:  # only their ratios matter
        candidates = [{**weights, name: weights[name] * factor} for factor in _WEIGHTS]
        weights = _first_best(candidates, lambda each: score(fuse(predictions, each, config.fusion)))
    return weights


def _first_best(candidates: Iterable[T], score: Callable[[T], float]) -> T:
    """The candidate with the highest score; of equals (to rounding) the first."""
    (best, highest), *others = [(each, score(each)) for each in candidates]
    for each, its in others:
        if its > highest + 1e-12:
            best, highest = each, its
    return best
