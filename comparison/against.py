"""What changed between two benchmarks on the same data: paired, name by name and image by image."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hilum.comparison.results import RESULTS, Change, ImageCounts, Results
from hilum.datasets.folder import Dataset, Split
from hilum.documents import read_json, shown
from hilum.errors import HilumError
from hilum.eval.answer import Answer
from hilum.eval.bootstrap import Resampled, bootstrap_ratios
from hilum.eval.measures import scores_of
from hilum.eval.predictions import read_answers


def compare_benchmarks(new: Path, old: Path, data: Dataset) -> list[Change]:
    """Subtract an earlier benchmark's figures from a newer one's, on the same holdout images, for each name in both.

    Raises:
        HilumError: one of them is no benchmark folder, or was made on other data; or no name is in both.
    """
    holdout = data.split("holdout")
    measured: list[dict[str, tuple[Resampled, NDArray[np.float64]]]] = []
    for folder in (new, old):
        results = read_json(folder / RESULTS, Results)
        if results.data_fingerprint != data.fingerprint:
            raise HilumError(f"{folder}: was made on other data or another split than {data.path}; nothing is paired")
        names = [entry.name for entry in results.entries if not entry.is_baseline]
        for name in names:
            if Path(name).name != name or name in ("", "..") or "\0" in name:
                raise HilumError(
                    f"{folder / RESULTS}: name {shown(name)}: expected a folder's below predictions, no path"
                )
        answers = {name: read_answers(folder / "predictions" / name / "holdout", holdout)[0] for name in names}
        measured.append(
            {
                name if len(of_classes) == 1 else f"{name}, {what}": _resampled_score(split, of_classes[what])
                for name, of_classes in answers.items()
                for what, split in holdout.by_class().items()
            }
        )
    both = [name for name in measured[0] if name in measured[1]]
    if not both:
        raise HilumError(f"{new} and {old}: no config of the same name is in both")
    return [_change(name, measured[0][name], measured[1][name]) for name in both]


def _change(
    name: str, new: tuple[Resampled, NDArray[np.float64]], old: tuple[Resampled, NDArray[np.float64]]
) -> Change:
    # An image that does not count is rightly left alone.
    change = np.nan_to_num(new[1], nan=1.0) - np.nan_to_num(old[1], nan=1.0)
    return Change(
        name=name,
        new=new[0].interval(),
        old=old[0].interval(),
        difference=(new[0] - old[0]).interval(),
        images=ImageCounts(
            better=int((change > 0).sum()), worse=int((change < 0).sum()), alike=int((change == 0).sum())
        ),
    )


def _resampled_score(split: Split, answer: Answer) -> tuple[Resampled, NDArray[np.float64]]:
    """The competition's score with its resamples, and that of each image."""
    scores = scores_of(split, answer)
    ratio = {"score": (np.nan_to_num(scores), ~np.isnan(scores))}
    return bootstrap_ratios(ratio, split.patients)["score"], scores
