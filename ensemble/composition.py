"""From what all parts find in an image to one answer, and how the numbers in between are chosen on val."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hilum.config import Table
from hilum.datasets.boxes import xyxy_to_xywh
from hilum.ensemble.adjustments import GateMode, gate, in_likely_image, near_best, shrink, top_images
from hilum.ensemble.composed_config import ComposedConfig, Fusion
from hilum.ensemble.fusion import Found, soft_nms, vote_average, weighted_box_fusion
from hilum.ensemble.lungs import lungs_first
from hilum.eval.competition import choose_confidence

MOST_BOXES = 100
"""An image's answer has at most so many boxes, as that of a member."""

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
class Heard:
    """What all voices (a member's fold and view) say of some images.

    Attributes:
        members: the member that each voice belongs to, (voices,).
        found: [image][voice], in pixels of the image.
        sizes_wh: (images, 2) pixels.
        probabilities: of the gate's voices, (voices, images); None where there is no gate.
        lungs: an image's map of them each; None where nobody says.
    """

    members: tuple[str, ...]
    found: Sequence[Sequence[Found]]
    sizes_wh: NDArray[np.int64]
    probabilities: NDArray[np.float64] | None
    lungs: Sequence[NDArray[np.float32]] | None = None

    @property
    def probability(self) -> NDArray[np.float64] | None:
        """Of the gate, (images,): the mean of its voices."""
        return None if self.probabilities is None else self.probabilities.mean(axis=0)


def compose(heard: Heard, parameters: Parameters, fusion: Fusion) -> list[Found]:
    """The answers: fused, lungs first, gated, reduced, shrunk; boxes inside the image, by falling confidence."""
    return adjust(heard, fuse(heard, parameters.weights, fusion), parameters)


def fuse(heard: Heard, weights: dict[str, float], fusion: Fusion) -> list[Found]:
    """One answer an image. A member's weight is shared by its voices; a voice that is alone is left as it is."""
    if len(heard.members) == 1:
        return [found for (found,) in heard.found]
    of_voices = [weights[member] / heard.members.count(member) for member in heard.members]
    fused = []
    for voices in heard.found:
        loud = [_above(found, fusion.floor) for found in voices]
        if fusion.method == "weighted_boxes":
            boxes, confidence = weighted_box_fusion(loud, of_voices, iou=fusion.iou)
        elif fusion.method == "soft_nms":
            boxes, confidence = soft_nms(loud, of_voices)
        else:
            boxes, confidence = vote_average(loud, of_voices, iou=fusion.iou, votes=fusion.votes)
        fused.append((boxes[:MOST_BOXES], confidence[:MOST_BOXES]))
    return fused


def _above(found: Found, floor: float) -> Found:
    boxes, confidence = found
    return boxes[confidence >= floor], confidence[confidence >= floor]


def adjust(heard: Heard, fused: Sequence[Found], parameters: Parameters) -> list[Found]:
    """Everything after the fusion."""
    probability = np.ones(len(fused)) if heard.probability is None else heard.probability
    maps = [None] * len(fused) if heard.lungs is None or parameters.outside_lungs == 1 else heard.lungs
    answers = []
    for found, likely, size_wh, lungs in zip(fused, probability.tolist(), heard.sizes_wh.tolist(), maps, strict=True):
        if lungs is not None:
            found = lungs_first(found, lungs, tuple(size_wh), parameters.outside_lungs)  # noqa: PLW2901
        if parameters.gate_mode is not None:
            found = gate(found, likely, mode=parameters.gate_mode, threshold=parameters.gate_threshold)  # noqa: PLW2901
        boxes, confidence = near_best(in_likely_image(found, parameters.least_in_image), parameters.relative)
        answers.append((shrink(boxes, parameters.shrink).clip(0, size_wh * 2), confidence))
    return answers


def operating_point(truth_xywh: Sequence[NDArray[np.float64]], answers: Sequence[Found]) -> tuple[float, float]:
    """The confidence from which on boxes are best kept, and the competition score that this gives."""
    boxes = [xyxy_to_xywh(boxes) for boxes, _ in answers]
    return choose_confidence(truth_xywh, boxes, [confidence for _, confidence in answers])


def choose_parameters(config: ComposedConfig, heard: Heard, truth_xywh: Sequence[NDArray[np.float64]]) -> Parameters:
    """Choose what the config leaves to val, one after another.

    In this order: weights, lungs, gate, top share, relative threshold, shrink.
    Each is the value whose threshold curve has the highest maximum, with what was chosen before it and without what
    comes after. Those that the config gives are taken over.

    Args:
        config: says what is to be chosen.
        heard: on val.
        truth_xywh: of val, in the same order.
    """
    weights = _choose_weights(config, heard, truth_xywh)
    fused = fuse(heard, weights, config.fusion)

    def best(candidates: Iterable[Parameters]) -> Parameters:
        return _first_best(candidates, lambda each: operating_point(truth_xywh, adjust(heard, fused, each))[1])

    def vary(now: Parameters, name: str, values: Iterable[float]) -> Parameters:
        return best(now.model_copy(update={name: value}) for value in values)

    chosen = Parameters(weights=weights)
    if config.lungs is not None and heard.lungs is not None:
        chosen = vary(chosen, "outside_lungs", _OUTSIDE if config.lungs.outside == "val" else (config.lungs.outside,))
    if config.gate is not None and heard.probability is not None:
        modes: tuple[GateMode, ...] = ("multiply", "threshold") if config.gate.mode == "val" else (config.gate.mode,)
        likely = np.quantile(heard.probability, np.linspace(0, 1, _GATE_THRESHOLDS)[:-1]).tolist()
        thresholds = [0.0, *likely] if config.gate.threshold == "val" else [config.gate.threshold]
        chosen = best(
            chosen.model_copy(update={"gate_mode": mode, "gate_threshold": threshold})
            for threshold in thresholds
            for mode in modes
        )
    scores = [float(confidence.max(initial=0.0)) for _, confidence in adjust(heard, fused, chosen)]
    shares = _TOP_SHARES if config.top_share == "val" else (config.top_share,)
    chosen = vary(chosen, "least_in_image", [top_images(scores, share) for share in shares])
    chosen = vary(chosen, "relative", _RELATIVE if config.relative == "val" else (config.relative,))
    return vary(chosen, "shrink", _SHRINK if config.shrink == "val" else (config.shrink,))


def _choose_weights(
    config: ComposedConfig, heard: Heard, truth_xywh: Sequence[NDArray[np.float64]]
) -> dict[str, float]:
    """The members' weights: given, or one member after another chosen against those before it."""
    weights = {name: member.weight for name, member in config.members.items()}
    if not config.fusion.choose_weights:
        return weights
    for name in list(weights)[1:]:  # only their ratios matter
        candidates = [{**weights, name: weights[name] * factor} for factor in _WEIGHTS]
        weights = _first_best(candidates, lambda each: operating_point(truth_xywh, fuse(heard, each, config.fusion))[1])
    return weights


def _first_best(candidates: Iterable[T], score: Callable[[T], float]) -> T:
    """The candidate with the highest score; of equals (to rounding) the first."""
    (best, highest), *others = [(each, score(each)) for each in candidates]
    for each, its in others:
        if its > highest + 1e-12:
            best, highest = each, its
    return best
