"""A run folder: what training writes, and whether it is whole."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pydantic import ValidationError

from hilum.config import ExperimentConfig, Table, load_config
from hilum.errors import HilumError
from hilum.files import write_atomically

CONFIG = "config.yaml"
WEIGHTS = "weights.safetensors"
OPERATING_POINT = "operating_point.json"
ENVIRONMENT = "environment.json"
MODEL = "model.yaml"  # the architecture, of a backend whose config does not give it
START = "start.safetensors"  # what training starts with, until it is whole
OUTPUTS = "ultralytics"  # its own; it empties this folder before it trains on several GPUs
MEMBERS = "members"  # folder of the runs that a composed run is made of
EXPORTED = "exported"  # what `environment.json` says of the export that made a run
Format = Literal["onnx", "openvino"]
# What an exported run has in the place of its weights.
FORMATS: Final[dict[Format, tuple[str, ...]]] = {"onnx": ("model.onnx",), "openvino": ("model.xml", "model.bin")}


def check_run(run: Path) -> None:
    """Make sure that a run folder is whole.

    Raises:
        HilumError: no such folder, or training did not finish.
    """
    if run.is_file():
        pickled = run.suffix.lower() in {".pt", ".pth"}
        why = ", and a pickle, which can run code; training can start from it: `model=FILE --trust`" if pickled else ""
        raise HilumError(f"{run}: a file, where a run folder is expected{why}")
    if not run.is_dir():
        raise HilumError(f"{run}: no such run folder; `hilum train CONFIG DATA {run}` makes one")
    if missing := _missing(run):
        raise HilumError(
            f"{run}: not a finished run, {', '.join(missing)} missing; the same `hilum train` again goes on with it"
        )


def is_complete(run: Path) -> bool:
    """Whether training has finished here."""
    return not _missing(run)


def exported_format(run: Path) -> Format | None:
    """What runs the run's network: the format it was exported to; None where that is PyTorch."""
    if (run / WEIGHTS).is_file():
        return None
    return next((kind for kind, names in FORMATS.items() if all((run / name).is_file() for name in names)), None)


def network_files(run: Path) -> list[Path]:
    """The files that hold the run's own network: its weights, or what it was exported to."""
    kind = exported_format(run)
    return [run / name for name in (FORMATS[kind] if kind else (WEIGHTS,))]


def _missing(run: Path) -> list[str]:
    """In the order in which training writes them."""
    needed = (CONFIG, *(() if exported_format(run) else (WEIGHTS,)), ENVIRONMENT, OPERATING_POINT)
    return [name for name in needed if not (run / name).is_file()]


def run_config(run: Path) -> ExperimentConfig:
    """The resolved config that a run was trained with."""
    return load_config(str(run / CONFIG), trust=None)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        HilumError: not readable, or not an object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HilumError(f"{path}: cannot be read as JSON ({type(error).__name__})") from error
    if not isinstance(values, dict):
        raise HilumError(f"{path}: expected a JSON object, found {type(values).__name__}")
    return values


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON object, atomically; a figure that is not finite becomes null, for JSON has no word for it."""
    write_atomically(path, json_text(values))


def json_text(values: dict[str, Any]) -> str:
    """What `write_json` writes."""
    return json.dumps(_null_for_nan(values), indent=1, allow_nan=False) + "\n"


def _null_for_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _null_for_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_null_for_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def data_fingerprints(run: Path) -> set[str | None]:
    """Of the data that the run was trained on, and of those that its operating point was chosen on."""
    trained = read_json(run / ENVIRONMENT).get("data_fingerprint")
    return {trained, read_json(run / OPERATING_POINT).get("data_fingerprint", trained)}


def operating_confidence(run: Path) -> float:
    """The confidence from which on boxes are kept, as chosen on val."""
    path = run / OPERATING_POINT
    value = read_json(path).get("confidence")
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise HilumError(f"{path}: confidence: expected a number from 0 to 1, got {value!r}")
    return float(value)


TableT = TypeVar("TableT", bound=Table)


def operating_boxes(run: Path, untuned: TableT) -> TableT:
    """The parameters of boxes that `hilum tune` chose; those of the config where it did not choose.

    Raises:
        HilumError: the file holds others than the config has, or values out of their range.
    """
    path = run / OPERATING_POINT
    tuned = read_json(path).get("boxes", {}) if path.is_file() else {}
    if not isinstance(tuned, dict):
        raise HilumError(f"{path}: boxes: expected parameters by name, got {tuned!r}")
    try:
        return untuned.model_validate({**untuned.model_dump(), **tuned})
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in problem["loc"])
        raise HilumError(f"{path}: boxes.{name}: {problem['msg']}; `hilum tune` writes it anew") from error


def weights_files(run: Path) -> list[Path]:
    """The run's weights, and those of the runs that it is made of, if it is composed; also exported ones."""
    members = sorted(path.parent for path in (run / MEMBERS).rglob(CONFIG))
    return [path for folder in (run, *members) for path in network_files(folder)]


def run_digest(run: Path) -> str:
    """Of all that a run predicts with: configs, operating points and networks, its own and those of its members."""
    digest = hashlib.sha256()
    for folder in dict.fromkeys(path.parent for path in weights_files(run)):
        for path in (folder / CONFIG, folder / OPERATING_POINT, *network_files(folder)):
            if path.is_file():
                with path.open("rb") as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
                digest.update(f"{path.relative_to(run).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()[:16]


def parameter_count(run: Path) -> int:
    """Values in the run's weights, BatchNorm's running ones included, step counters not; from the header alone.

    An exported network counts as the one that it was.
    """
    return sum(
        _exported_values(path.parent) if path.name != WEIGHTS else _values_in(path)
        for path in weights_files(run)
        if path.name != "model.bin"
    )


def _exported_values(run: Path) -> int:
    path = run / ENVIRONMENT
    about = read_json(path).get(EXPORTED)
    count = about.get("parameters") if isinstance(about, dict) else None
    if not isinstance(count, int):
        raise HilumError(f"{path}: {EXPORTED}.parameters: expected a whole number, got {count!r}; export again")
    return count


def _values_in(path: Path) -> int:
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        count = 0
        for name, tensor in header.items():
            if name == "__metadata__" or tensor["dtype"].startswith(("I", "U")):
                continue
            size = 1
            for side in tensor["shape"]:
                size *= side
            count += size
    except (OSError, ValueError, KeyError, TypeError, MemoryError) as error:
        raise HilumError(f"{path}: not a safetensors file ({type(error).__name__})") from error
    return count
