"""A run folder: what training writes, and whether it is whole."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any, Final, Literal, Required, TypeVar

from pydantic import FiniteFloat, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on

from hilum.class_names import Confidence
from hilum.config import RUN_CONFIG, ExperimentConfig, Table, load_config
from hilum.documents import MAX_RECORD_BYTES, RECORD, Count, Shares, problems, read_json
from hilum.errors import HilumError
from hilum.files import write_atomically
from hilum.kinds import mistaken
from hilum.weights_file import read_header

CONFIG = RUN_CONFIG
WEIGHTS = "weights.safetensors"
OPERATING_POINT = "operating_point.json"
ENVIRONMENT = "environment.json"
MODEL = "model.yaml"  # the architecture, of a backend whose config does not give it
START = "start.safetensors"  # what training starts with, until it is whole
OUTPUTS = "ultralytics"  # its own; it empties this folder before it trains on several GPUs
MEMBERS = "members"  # folder of the runs that a composed run is made of
EXPORTED: Final = "exported"  # what `environment.json` says of the export that made a run
_CHOOSE_AGAIN = "tune or train again"
Format = Literal["onnx", "openvino"]
# What an exported run has in the place of its weights.
FORMATS: Final[dict[Format, tuple[str, ...]]] = {"onnx": ("model.onnx",), "openvino": ("model.xml", "model.bin")}


@with_config(RECORD)
class CalibratedOn(TypedDict, total=False):
    """What the 8 bits of an exported run were calibrated on: how many pictures of train, and of which data."""

    pictures: Count
    data_fingerprint: str


@with_config(RECORD)
class Exported(TypedDict, total=False):
    """Of an exported run: which values its network had, and the digest of each file."""

    format: str
    sha256: dict[str, str]
    parameters: Count
    versions: dict[str, str]
    calibrated_on: CalibratedOn


@with_config(RECORD)
class StartedFrom(TypedDict, total=False):
    """The run whose weights a run started with: its digest, and what that was trained on and started with."""

    run: str
    digest: str
    data_fingerprint: str | None
    pretraining: str | None


@with_config(RECORD)
class Environment(TypedDict, total=False):
    """What `environment.json` holds: what a run was trained with, and on; in the order in which it is written.

    Attributes:
        hilum: The version that trained it.
        code: Digest of hilum's modules.
        python: Its version.
        system: Operating system and processor.
        device: On which it was trained.
        versions: Of the libraries that decide what is learned.
        seed: The config's.
        data_fingerprint: Of the split that it was trained on.
        root_fingerprint: Of the dataset folder, where that is a further split of it.
        patients_known: Whether the data know whose the images are.
        pretraining: Where the weights come from that it started with; null for random ones.
        started_from: The run whose weights it started with: its name, its digest, and the fingerprint of its data.
        exported: Of an exported run: its format, and the digest of each file of the network.
    """

    hilum: str
    code: str
    python: str
    system: str
    device: str
    versions: dict[str, str]
    seed: int
    data_fingerprint: str
    root_fingerprint: str
    patients_known: bool
    pretraining: str | None
    started_from: StartedFrom
    exported: Exported


@with_config(RECORD)
class CalibrationRecord(TypedDict, total=False):
    """Slope and intercept of each class, of boxes and of images, and Brier scores on val: before, and cross-fitted."""

    boxes: Required[list[list[FiniteFloat]]]
    images: Required[list[list[FiniteFloat]]]
    val_brier: dict[str, list[float | None]]


@with_config(RECORD)
class OperatingPointRecord(TypedDict, total=False):
    """What `operating_point.json` holds: what was chosen on val; null stands for a figure that is not finite.

    Attributes:
        confidence: From which on boxes are kept; of several classes a list, one each.
        boxes: How maps become boxes, where `hilum tune` chose it.
        composition: What a composed run chose in the place of `val`.
        calibration: Slope and intercept on logits, of boxes and of images, a class each; and Brier scores on val.
        at: What was wished of it, such as `fp_per_image=0.25`.
        figure: What `val_score` is, where it is not the competition score.
        val_score: On val, at this confidence.
        chosen_on: The split, `val`.
        val_images: How many images that was.
        untuned_val_score: On val, before `hilum tune`.
        data_fingerprint: Of the data whose val it was chosen on.
    """

    confidence: Required[Shares]
    boxes: dict[str, Any]
    composition: Any
    calibration: CalibrationRecord
    at: str
    figure: str
    val_score: float | None
    chosen_on: str
    val_images: Count
    untuned_val_score: float | None
    data_fingerprint: str


def check_run(run: Path) -> None:
    """Make sure that a run folder is whole.

    Raises:
        HilumError: no such folder, or training did not finish.
    """
    if run.is_file():
        pickled = run.suffix.lower() in {".pt", ".pth"}
        why = ", and a pickle, which can run code; training can start from it: `model=FILE`" if pickled else ""
        raise HilumError(f"{run}: a file, where a run folder is expected{why}")
    if not run.is_dir():
        raise HilumError(f"{run}: no such run folder; `hilum train CONFIG DATA {run}` makes one")
    if missing := _missing(run):
        if mistake := mistaken(run, "a run folder"):
            raise HilumError(mistake)
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


def read_environment(run: Path) -> Environment:
    """What a run was trained with, and on.

    Raises:
        HilumError: the record is missing or damaged; one line a problem.
    """
    return read_json(run / ENVIRONMENT, Environment, at_most=MAX_RECORD_BYTES, remedy="train again")


def read_operating_point(run: Path) -> OperatingPointRecord:
    """What was chosen on val.

    Raises:
        HilumError: the record is missing or damaged; one line a problem.
    """
    path = run / OPERATING_POINT
    return read_json(path, OperatingPointRecord, at_most=MAX_RECORD_BYTES, remedy=_CHOOSE_AGAIN)


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
    trained = read_environment(run).get("data_fingerprint")
    return {trained, read_operating_point(run).get("data_fingerprint", trained)}


def seen_fingerprints(run: Path) -> set[str | None]:
    """Of data whose pictures the run may have seen: those it was trained on, and the folder these are a split of."""
    return data_fingerprints(run) | {read_environment(run).get("root_fingerprint")}


def operating_confidence(run: Path) -> Confidence:
    """The confidence from which on boxes are kept, as chosen on val; of several classes one for each.

    Raises:
        HilumError: the record is missing or damaged, or has not one for each class.
    """
    confidence = read_operating_point(run)["confidence"]
    if not isinstance(confidence, list):
        return confidence
    if len(confidence) != len(names := run_config(run).class_names):
        raise HilumError(
            f"{run / OPERATING_POINT}: confidence: has {len(confidence)} values, the run {len(names)} classes; "
            f"{_CHOOSE_AGAIN}"
        )
    return tuple(confidence)


TableT = TypeVar("TableT", bound=Table)


def operating_boxes(run: Path, untuned: TableT) -> TableT:
    """The parameters of boxes that `hilum tune` chose; those of the config where it did not choose.

    Raises:
        HilumError: the file holds others than the config has, or values out of their range.
    """
    path = run / OPERATING_POINT
    tuned = read_operating_point(run).get("boxes", {}) if path.is_file() else {}
    try:
        return untuned.model_validate({**untuned.model_dump(), **tuned})
    except ValidationError as error:
        lines = [f"{path}: boxes.{line}; {_CHOOSE_AGAIN}" for line in problems(error)]
        raise HilumError(*lines) from error


def member_runs(run: Path) -> list[Path]:
    """The runs that a run is made of, if it is composed, their own members among them; sorted."""
    return sorted(path.parent for path in (run / MEMBERS).rglob(CONFIG))


def weights_files(run: Path) -> list[Path]:
    """The run's weights, and those of the runs that it is made of, if it is composed; also exported ones."""
    return [path for folder in (run, *member_runs(run)) for path in network_files(folder)]


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


def started_from(run: Path) -> StartedFrom:
    """What a run says that starts with the weights of this one.

    Raises:
        HilumError: this one is not whole.
    """
    check_run(run)
    environment = read_environment(run)
    return {
        "run": run.absolute().name,
        "digest": run_digest(run),
        "data_fingerprint": environment.get("data_fingerprint"),
        "pretraining": environment.get("pretraining"),
    }


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
    count = read_environment(run).get("exported", Exported()).get("parameters")
    if count is None:
        raise HilumError(f"{run / ENVIRONMENT}: {EXPORTED}.parameters: this key is missing; export again")
    return count


def _values_in(path: Path) -> int:
    header = read_header(path)
    return sum(math.prod(each["shape"]) for each in header.values() if not each["dtype"].startswith(("I", "U")))
