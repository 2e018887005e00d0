"""A run that was exported to OpenVINO in 8-bit integers, calibrated on pictures that it was trained on.

NNCF (Apache-2.0) looks at what each layer gives of them, and rounds weights and what passes between layers to 8 bits.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.modules.module import register_module_forward_pre_hook

from hilum.backend import Backend
from hilum.datasets.boxes import xyxy_to_xywh
from hilum.datasets.folder import Dataset, Split
from hilum.datasets.pictures import read_picture
from hilum.errors import HilumError, first_line
from hilum.eval.competition import competition_score
from hilum.predict import Predictor, load, predict_all
from hilum.private_libraries import quiet
from hilum.result import by_class
from hilum.run import ENVIRONMENT, EXPORTED, FORMATS, read_environment, write_json
from hilum.runtimes import digest
from hilum.sessions import import_nncf, import_openvino

_PICTURES: Final = 128
_TIMED, _ROUNDS, _WARM_UP = 8, 24, 2
_PAUSE_S: Final = 0.05  # threads of the other network wait busily for some time


@dataclass(frozen=True)
class Quality:
    """What a network is worth, and costs.

    Attributes:
        val_score: competition score on val at the run's operating point; of several classes the mean. NaN where val
            shows nothing.
        alone_ms: from a decoded picture to its boxes, one picture a call, the median.
        network_mb: size of the network's files.
    """

    val_score: float
    alone_ms: float
    network_mb: float


@dataclass(frozen=True)
class Quantization:
    """A run in float32 and in 8-bit integers.

    Attributes:
        float32, int8: what each is worth.
        pictures: how many the 8 bits were calibrated on.
        val_images: how many the scores are of.
        problems: what whoever reads this must know, a line each.
    """

    float32: Quality
    int8: Quality
    pictures: int
    val_images: int
    problems: Sequence[str] = ()


def quantize(run: Path, data: Dataset) -> Quantization:
    """Write the network of a run that was exported to OpenVINO anew, in place, in 8-bit integers.

    Args:
        run: the exported run, in float32; its operating point stays.
        data: the dataset folder that it was trained on.

    Raises:
        HilumError: NNCF is not installed, cannot quantize this network, or a picture cannot be read.
    """
    train, val = data.split("train"), data.split("val")
    if not len(train) or not len(val):
        raise HilumError(f"{data.path}: the {'val' if len(train) else 'train'} split has no image; convert more images")
    paths = [train.paths[at] for at in np.linspace(0, len(train) - 1, min(_PICTURES, len(train))).astype(int)]
    before = load(run)
    shown = (network_input(before.backend, read_picture(path)) for path in paths)
    inputs = [seen.numpy().copy() for seen in shown]
    scores, sizes = [_score(before, val)], [_megabytes(run)]
    _write(_in_8_bits(run, inputs), run)
    environment = read_environment(run)
    about: dict[str, Any] = {**environment[EXPORTED]}
    about["sha256"] = {name: digest((run / name).read_bytes()) for name in FORMATS["openvino"]}
    about["calibrated_on"] = {"pictures": len(paths), "data_fingerprint": data.fingerprint}
    write_json(run / ENVIRONMENT, {**environment, EXPORTED: about})
    after = load(run)
    scores, sizes = [*scores, _score(after, val)], [*sizes, _megabytes(run)]
    times = _times_ms([before.backend, after.backend], [read_picture(path) for path in val.paths[:_TIMED]])
    problems = []
    if environment.get("data_fingerprint") != data.fingerprint:
        problems.append(f"{data.path}: not the data, or not the split, that the run was trained on; its scores flatter")
    float32, int8 = (Quality(*each) for each in zip(scores, times, sizes, strict=True))
    return Quantization(float32, int8, len(paths), len(val), problems)


def network_input(backend: Backend, picture: NDArray[np.uint8]) -> Tensor:
    """What the backend shows its network of a picture, (1, ...): what the first module gets that it calls."""
    called: list[tuple[Tensor]] = []

    def take(_: Any, inputs: Any) -> None:
        called.append(inputs)
        raise _EnoughError

    hook = register_module_forward_pre_hook(take)
    try:
        with suppress(_EnoughError):
            backend.predict_batch([picture])
    finally:
        hook.remove()
    ((seen,),) = called
    return seen


class _EnoughError(Exception):
    """Nothing more of a prediction is wanted."""


def _in_8_bits(run: Path, inputs: list[NDArray[np.float32]]) -> Any:
    openvino, nncf = import_openvino(), import_nncf()
    from openvino._offline_transformations import apply_moc_transformations

    network = openvino.Core().read_model(run / "model.xml")
    try:
        with quiet():
            # OpenVINO does so anyhow, but later: where NNCF meets x * sigmoid(x) in two, they stay two, and take half
            # of YOLO26n's time in 8 bits.
            apply_moc_transformations(network, cf=False)
            return nncf.quantize(network, nncf.Dataset(inputs), subset_size=len(inputs))
    except Exception as error:  # whatever a network may do that cannot be quantized
        raise HilumError(f"{run}: NNCF cannot quantize its network: {first_line(error)}") from error


def _write(network: Any, run: Path) -> None:
    openvino = import_openvino()
    for name in FORMATS["openvino"]:  # the run that is loaded may have them open
        (run / name).unlink()
    openvino.save_model(network, run / "model.xml", compress_to_fp16=False)


def _megabytes(run: Path) -> float:
    return sum((run / name).stat().st_size for name in FORMATS["openvino"]) / 1e6


def _score(predictor: Predictor, val: Split) -> float:
    classes = len(val.class_names)
    found = [by_class(result.detections, classes) for result in predict_all(predictor, val.paths)]
    least, scores = np.broadcast_to(predictor.confidence, classes), []
    for at, truth in enumerate(val.by_class().values()):
        kept = [boxes[at][boxes[at].confidence >= least[at]] for boxes in found]
        if any(map(len, truth.boxes_xywh)):
            boxes, confidence = [xyxy_to_xywh(each.xyxy) for each in kept], [each.confidence for each in kept]
            scores.append(competition_score(truth.boxes_xywh, boxes, confidence))
    return float(np.mean(scores)) if scores else float("nan")


def _times_ms(backends: Sequence[Backend], pictures: Sequence[NDArray[np.uint8]]) -> list[float]:
    """The median time of a picture of each backend, in turn."""
    seconds: list[list[float]] = [[] for _ in backends]
    for number in range(_WARM_UP + _ROUNDS):
        for backend, times in zip(backends, seconds, strict=True):
            time.sleep(_PAUSE_S)
            start = time.perf_counter()
            backend.predict_batch([pictures[number % len(pictures)]])
            times.append(time.perf_counter() - start)
    return [1000 * median(times[_WARM_UP:]) for times in seconds]
