"""What each part of a composition adds: the parts put in one after another, on the same images."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hilum.compose.composed_config import ComposedConfig
from hilum.compose.composition import Heard, Parameters, compose, operating_point
from hilum.compose.ensemble import Composed
from hilum.datasets.boxes import xyxy_to_xywh
from hilum.datasets.folder import Dataset, Split, SplitName
from hilum.errors import HilumError
from hilum.eval.bootstrap import Resampled, bootstrap_ratios
from hilum.eval.competition import image_scores
from hilum.predict import load


def ablation(run: Path, data: Dataset, name: SplitName = "holdout") -> list[dict[str, Any]]:
    """Score a composed run from its first member alone to the whole, a part more in each row.

    Every part predicts val and the split once. In each row the operating point is chosen anew on val; the other
    parameters are those of the run.

    Args:
        run: a composed run.
        data: that it was trained on.
        name: the split to report.

    Returns:
        For each row its `name`; `confidence` and `val_score`, as chosen on val; the competition `score` on the split,
        and how much the row `added` to the one before (None in the first), paired over patients: 95% intervals as
        {"estimate", "low", "high"}.

    Raises:
        HilumError: not a composed run, or the split has no image.
    """
    backend = load(run).backend
    if not isinstance(backend, Composed):
        raise HilumError(f"{run}: has no parts to leave out; expected a run of the backend compose")
    split, val = data.split(name), data.split("val")
    if not len(split) or not len(val):
        raise HilumError(f"{data.path}: the {val.name if len(split) else name} split has no image")
    heard, on_val = backend.hear(split), backend.hear(val)
    rows: list[dict[str, Any]] = []
    before: Resampled | None = None
    for what, voices, parameters in _steps(backend.config, backend.parameters, on_val.members):
        answers = [compose(_only(each, voices), parameters, backend.config.fusion) for each in (on_val, heard)]
        confidence, val_score = operating_point(val.boxes_xywh, answers[0])
        score = _score(split, answers[1], confidence)
        added = None if before is None else (score - before).interval()._asdict()
        row = {"name": what, "confidence": confidence, "val_score": val_score, "score": score.interval()._asdict()}
        rows.append({**row, "added": added})
        before = score
    return rows


def _steps(
    config: ComposedConfig, chosen: Parameters, members: tuple[str, ...]
) -> Iterator[tuple[str, list[int], Parameters]]:
    """Name, voices and parameters of each row."""
    first, *others = config.members
    views = len(config.views.all())
    voices = [at for at, member in enumerate(members) if member == first]
    now = Parameters(weights=chosen.weights)
    yield first, voices[:1], now
    if config.members[first].folds > 1:
        yield f"+ {config.members[first].folds} folds", voices[::views], now
    if views > 1:
        yield "+ views", voices, now
    for other in others:
        voices = voices + [at for at, member in enumerate(members) if member == other]
        yield f"+ {other}", voices, now
    for what, keys, used in [
        ("+ gate", ("gate_mode", "gate_threshold"), config.gate is not None),
        ("+ top share", ("least_in_image",), config.top_share != 1),
        ("+ relative threshold", ("relative",), config.relative != 0),
        ("+ shrink", ("shrink",), config.shrink != 1),
    ]:
        if used:
            now = now.model_copy(update={key: getattr(chosen, key) for key in keys})
            yield what, voices, now


def _only(heard: Heard, voices: list[int]) -> Heard:
    members = tuple(heard.members[at] for at in voices)
    found = [[of_image[at] for at in voices] for of_image in heard.found]
    return Heard(members, found, heard.sizes_wh, heard.probability)


def _score(split: Split, answers: list[Any], confidence: float) -> Resampled:
    kept = [(boxes[values >= confidence], values[values >= confidence]) for boxes, values in answers]
    scores = image_scores(split.boxes_xywh, [xyxy_to_xywh(boxes) for boxes, _ in kept], [values for _, values in kept])
    ratios = {"score": (np.nan_to_num(scores), ~np.isnan(scores))}
    return bootstrap_ratios(ratios, split.patients)["score"]
