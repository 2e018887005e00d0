"""What changed between two benchmarks on the same data: paired, name by name and image by image."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, with_config
from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on

from hilum.comparison.benchmark import RESULTS
from hilum.datasets.folder import Dataset, Split
from hilum.documents import RECORD, read_json
from hilum.errors import HilumError
from hilum.eval.answer import Answer
from hilum.eval.bootstrap import Resampled, bootstrap_ratios
from hilum.eval.measures import scores_of
from hilum.eval.predictions import read_answer


def _name_of_folder(name: str) -> str:
    if Path(name).name != name or name == ".." or "\0" in name:
        raise ValueError("expected the name of a folder below predictions, without a path")
    return name


@with_config(RECORD)
class _Entry(TypedDict):
    """A row of a benchmark; a baseline has no backend."""

    name: Annotated[str, AfterValidator(_name_of_folder)]
    backend: str | None


@with_config(RECORD)
class _Results(TypedDict):
    """What is read of a benchmark's `results.json`."""

    data_fingerprint: str
    entries: list[_Entry]


def compare_benchmarks(new: Path, old: Path, data: Dataset) -> list[dict[str, Any]]:
    """Subtract an earlier benchmark's figures from a newer one's, name by name, on the same holdout images.

    Returns:
        For each name that both have: the name, both scores, the paired difference as an interval, and on how many
        images the new one is better, worse and alike.

    Raises:
        HilumError: one of them is no benchmark folder, or was made on other data; or no name is in both.
    """
    holdout = data.split("holdout")
    measured: list[dict[str, tuple[Resampled, NDArray[np.float64]]]] = []
    for folder in (new, old):
        results = read_json(folder / RESULTS, _Results)
        if results["data_fingerprint"] != data.fingerprint:
            raise HilumError(f"{folder}: was made on other data or another split than {data.path}; nothing is paired")
        names = [entry["name"] for entry in results["entries"] if entry["backend"] is not None]
        answers = {name: read_answer(folder / "predictions" / name / "holdout", holdout)[0] for name in names}
        measured.append({name: _resampled_score(holdout, answer) for name, answer in answers.items()})
    both = [name for name in measured[0] if name in measured[1]]
    if not both:
        raise HilumError(f"{new} and {old}: no config of the same name is in both")
    compared = []
    for name in both:
        (new_score, new_images), (old_score, old_images) = (figures[name] for figures in measured)
        # An image that does not count is rightly left alone.
        change = np.nan_to_num(new_images, nan=1.0) - np.nan_to_num(old_images, nan=1.0)
        compared.append(
            {
                "name": name,
                "new": new_score.interval()._asdict(),
                "old": old_score.interval()._asdict(),
                "difference": (new_score - old_score).interval()._asdict(),
                "images": {
                    "better": int((change > 0).sum()),
                    "worse": int((change < 0).sum()),
                    "alike": int((change == 0).sum()),
                },
            }
        )
    return compared


def _resampled_score(split: Split, answer: Answer) -> tuple[Resampled, NDArray[np.float64]]:
    """The competition's score with its resamples, and that of each image."""
    scores = scores_of(split, answer)
    ratio = {"score": (np.nan_to_num(scores), ~np.isnan(scores))}
    return bootstrap_ratios(ratio, split.patients)["score"], scores
