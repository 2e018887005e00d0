"""What a path leads to, told by the files that mark it, so that words in a wrong order are told as that."""

from pathlib import Path
from typing import Final, Literal

Kind = Literal[
    "dataset", "run", "predictions", "benchmark", "challenge", "config", "archive", "file", "folder", "empty", "nothing"
]
# Those that can be meant for something else only by mistake, as messages call them.
TELLING: Final[dict[Kind, str]] = {
    "dataset": "a dataset folder",
    "run": "a run folder",
    "predictions": "a predictions folder",
    "benchmark": "the folder of a benchmark",
    "challenge": "a download of the challenge",
    "config": "a config",
}
_OF_RUNS = {
    *("environment.json", "operating_point.json", "weights.safetensors", "start.safetensors", "log.jsonl"),
    *("checkpoint.pt", "model.onnx", "model.xml", "members", "ultralytics"),
}
_OF_BEGUN_PREDICTIONS = {".predictions.jsonl", ".unpacked"}


def kind_of(path: Path) -> Kind:
    """What a path leads to; only names in a folder are looked at, no content."""
    try:
        if not path.is_dir():
            if not path.exists():
                return "nothing"
            return {".yaml": "config", ".yml": "config", ".zip": "archive"}.get(path.suffix.lower(), "file")  # type: ignore[return-value]
        names = {each.name for each in path.iterdir()}
    except (OSError, ValueError):  # not to be looked into, or no name of a file at all
        return "nothing"
    if "conversion.json" in names:
        return "dataset"
    if "config.yaml" in names and names & _OF_RUNS:
        return "run"
    if {"images.csv", "predictions.json"} <= names or names & _OF_BEGUN_PREDICTIONS:
        return "predictions"
    if {"results.json", "table.csv"} <= names:
        return "benchmark"
    if any(name.endswith("_train_labels.csv") for name in names):
        return "challenge"
    return "folder" if names else "empty"


def mistaken(path: Path, expected: str) -> str | None:
    """A line on a path that clearly leads to something else than is expected there, such as "a run folder"."""
    what = TELLING.get(kind_of(path))
    return None if what in {None, expected} else f"{path}: is {what}, where {expected} is expected"
