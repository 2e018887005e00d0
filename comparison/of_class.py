"""One class of a benchmark: what is measured of it, as if it were the only one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from hilum.comparison.external import Place
from hilum.comparison.measured import Measured, baselines
from hilum.comparison.results import About
from hilum.datasets.folder import Split
from hilum.eval.answer import Answer, image_thresholds
from hilum.eval.measures import measure


@dataclass(frozen=True)
class OfClass:
    """One class of a benchmark: the splits of that class alone, and what was measured there."""

    holdout: Split
    val: Split
    places: list[Place]
    measured: list[Measured]

    @classmethod
    def begin(cls, class_id: int, holdout: Split, val: Split, training: Split, places: Sequence[Place]) -> Self:
        """With the baselines."""
        of_class, learned_from = holdout.of_class(class_id), training.of_class(class_id)
        away = [place.of_class(class_id) for place in places]
        for place in away:
            place.measured += baselines(place.split, learned_from)
        return cls(of_class, val.of_class(class_id), away, baselines(of_class, learned_from))

    def measure(
        self,
        name: str,
        group: str,
        run: Path,
        about: About,
        answers: tuple[Answer, Answer, Sequence[Answer]],
    ) -> None:
        """Add what is measured of a run, by its answers on val, on holdout and in each other place."""
        chosen_on, at_home, away = answers
        thresholds = image_thresholds(self.val, chosen_on)
        measures = measure(self.holdout, at_home, thresholds)
        self.measured.append(Measured(name, group, at_home, measures, run, about))
        for place, answer in zip(self.places, away, strict=True):
            there = About(backend=about.backend, seed=about.seed)
            measures = measure(place.split, answer, thresholds)
            place.measured.append(Measured(name, group, answer, measures, run, there))
