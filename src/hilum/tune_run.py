"""Choose on val how a trained network's output becomes boxes, and store it as the run's operating point."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hilum.datasets.folder import Dataset
from hilum.errors import HilumError
from hilum.files import write_atomically
from hilum.predict import find_all, load
from hilum.run import OPERATING_POINT, read_environment, read_operating_point, write_json
from hilum.training.calibrating import Reached, Wish, calibrated, confidence_at
from hilum.training.validation import OperatingPoint, best_operating_point, split_to_choose_on

_ROUNDING = 1e-12  # two different scores lie further apart


@dataclass(frozen=True)
class Tuning:
    """What `tune` found.

    Attributes:
        untuned: the config's parameters, at their best confidence.
        chosen: the point with the highest score; of equals the one that changes the fewest parameters.
        points: all that were tried, those two among them.
        val_images: how many images they were scored on.
        problems: what whoever reads the scores must know, a line each.
        reached: what the operating point that was wished for gives on val; None without a wish.
    """

    untuned: OperatingPoint
    chosen: OperatingPoint
    points: Sequence[OperatingPoint]
    val_images: int
    problems: Sequence[str] = ()
    reached: Reached | None = None

    def effects(self) -> list[tuple[str, Any, float, float]]:
        """Each value of each parameter that has several: name, value, the score with all else as chosen, the best."""
        rows = []
        for name in self.chosen.parameters:
            values = sorted({point.parameters[name] for point in self.points})
            for value in values if len(values) > 1 else ():
                having = [point for point in self.points if point.parameters[name] == value]
                others = self.chosen.parameters | {name: value}
                (alone,) = [point.score for point in having if point.parameters == others]
                rows.append((name, value, alone, max(point.score for point in having)))
        return rows


def tune(
    run: Path, data: Dataset, progress: Callable[[int, int], None] | None = None, wish: Wish | None = None
) -> Tuning:
    """Choose, on val alone, the run's parameters of boxes and its confidence, calibrate both, and write them.

    The parameters of the config are among those that are tried, so on val the choice is never worse. With a wish they
    are chosen as without one, and then the confidence that fulfils it; of a backend that has nothing to tune, it alone.

    Args:
        run: a finished run; tuned again, it starts from its config once more.
        data: the dataset folder; that of the training, or its choice is made on images that may have been trained on.
        progress: called with the images done and their total.
        wish: what the operating point shall reach on val; None for the highest competition score.

    Raises:
        HilumError: not a finished run, val shows no opacity, the backend chose on val while it was trained and there is
            no wish, or the wish cannot be fulfilled.
    """
    val = split_to_choose_on(data)
    predictor = load(run)
    data = data if data.scratch else replace(data, scratch=run)
    trained = read_operating_point(run)
    if not predictor.backend.tunable and (wish is None or "figure" in trained):  # that of a gate is of no boxes
        raise HilumError(f"{run}: all that its backend leaves to val was chosen when it was trained; nothing to tune")
    points = predictor.backend.tune(data, progress) if predictor.backend.tunable else []
    found = [] if points else find_all(predictor.backend, val.paths)
    points = points or [OperatingPoint({}, *best_operating_point(val, found))]
    untuned = points[0]
    highest = max(point.score for point in points) - _ROUNDING
    chosen = min(
        (point for point in points if point.score >= highest),
        key=lambda point: sum(value != untuned.parameters[name] for name, value in point.parameters.items()),
    )
    before = (run / OPERATING_POINT).read_bytes()
    kept = {"composition": its} if (its := trained.get("composition")) else {}
    values = {
        "confidence": chosen.confidence,
        **({"boxes": chosen.parameters} if chosen.parameters else {}),
        **kept,
        "chosen_on": "val",
        "val_score": chosen.score,
        "val_images": len(val),
        "untuned_val_score": untuned.score,
        "data_fingerprint": data.fingerprint,
    }
    write_json(run / OPERATING_POINT, values)
    reached = None
    try:
        found = found or find_all(load(run).backend, val.paths)  # with the boxes that were chosen
        if wish is not None:
            reached = confidence_at(val, found, wish)
            chosen = chosen._replace(confidence=reached.confidence, score=reached.score)
            values |= {"val_score": reached.score, "at": str(wish)}
        record, calibration = calibrated(val, found, chosen.confidence)
        write_json(run / OPERATING_POINT, values | record)
    except BaseException:
        write_atomically(run / OPERATING_POINT, before)
        raise
    points = [point._replace(confidence=calibration.of_confidence(point.confidence)) for point in points]
    untuned, chosen = (
        each._replace(confidence=calibration.of_confidence(each.confidence)) for each in (untuned, chosen)
    )
    problems = [] if reached is None or reached.sensitivity > 0 else [f"--at {wish}: no true box of val is kept there"]
    if read_environment(run).get("data_fingerprint") != data.fingerprint:
        problems.append(f"{run} was trained on other data or another split: this val may hold images of its train")
    return Tuning(untuned, chosen, points, len(val), problems, reached)
