"""A run that was exported to OpenVINO in 8-bit integers, calibrated on pictures that it was trained on.

NNCF (Apache-2.0) looks at what each layer gives of them, and rounds weights and what passes between layers to 8 bits.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.modules.module import register_module_forward_pre_hook

from hilum.backend import Backend
from hilum.class_names import check_same_classes
from hilum.datasets.folder import Dataset
from hilum.datasets.pictures import read_picture
from hilum.errors import HilumError, first_line
from hilum.predict import load, operating_point
from hilum.private_libraries import quiet
from hilum.run import (
    ENVIRONMENT,
    EXPORTED,
    FORMATS,
    OPERATING_POINT,
    read_environment,
    read_operating_point,
    write_json,
)
from hilum.runtimes import digest, load_exported
from hilum.sessions import import_nncf, import_openvino
from hilum.training.validation import split_to_choose_on

_PICTURES: Final = 128
_ROUNDS, _WARM_UP = 24, 2
# What is cheap stays in float32. For all that meets in a `Concat` NNCF would have one scale, which in a UNet, through
# its skip connections, reaches from the picture in 0..1 to sums of a hundred.
_FLOAT: Final = ("Add", "Concat", "Divide", "Multiply", "Subtract")
# So do the last two layers before each output: of YOLO26n they cost a fiftieth of the time, and a sigmoid follows.
_LAYERS: Final = ("Convolution", "ConvolutionBackpropData", "GroupConvolution", "MatMul")
_LAST: Final = 2
_PAUSE_S: Final = 0.05  # threads of the other network wait busily for some time


@dataclass(frozen=True)
class Quality:
    """What a network is worth, and costs.

    Attributes:
        val_score: on val, with the operating point that suits it best there; of several classes the mean.
        alone_ms: from a decoded picture to its boxes, one picture a call, the median.
        network_ms: of this, the network's share.
        network_mb: size of the network's files.
    """

    val_score: float
    alone_ms: float
    network_ms: float
    network_mb: float


@dataclass(frozen=True)
class Quantization:
    """A run in float32 and in 8-bit integers.

    Attributes:
        figure: what the scores on val are, for people.
        float32, int8: what each is worth.
        pictures: how many the 8 bits were calibrated on.
        val_images: how many the scores are of.
        problems: what whoever reads this must know, a line each.
    """

    figure: str
    float32: Quality
    int8: Quality
    pictures: int
    val_images: int
    problems: Sequence[str] = ()


def quantize(run: Path, data: Dataset) -> Quantization:
    """Write the network of a run that was exported to OpenVINO anew, in place, in 8-bit integers.

    Args:
        run: the exported run, in float32. The confidence of its operating point is chosen on val anew.
        data: the dataset folder that it was trained on.

    Raises:
        HilumError: NNCF is not installed, cannot quantize this network, or a picture cannot be read.
    """
    train = data.split("train")
    if not len(train):
        raise HilumError(f"{data.path}: the train split has no image; convert more images")
    val = split_to_choose_on(data)
    paths = [train.paths[at] for at in np.linspace(0, len(train) - 1, min(_PICTURES, len(train))).astype(int)]
    before = load(run)
    check_same_classes(before.class_names, data.class_names, "--int8")
    inputs = [network_input(before.backend, read_picture(path, before.backend.bits)) for path in paths]
    score, size, network = operating_point(before.backend, val)["val_score"], _megabytes(run), load_exported(run)
    _write(_in_8_bits(run, inputs), run)
    environment = read_environment(run)
    about: dict[str, Any] = {**environment[EXPORTED]}
    about["sha256"] = {name: digest((run / name).read_bytes()) for name in FORMATS["openvino"]}
    about["versions"] = {**about.get("versions", {}), "nncf": version("nncf")}
    about["calibrated_on"] = {"pictures": len(paths), "data_fingerprint": data.fingerprint}
    write_json(run / ENVIRONMENT, {**environment, EXPORTED: about})
    after = load(run)
    chosen = {**operating_point(after.backend, val), "val_images": len(val), "data_fingerprint": data.fingerprint}
    write_json(run / OPERATING_POINT, {**read_operating_point(run), **chosen})
    picture = read_picture(val.paths[0], before.backend.bits)
    whole = [partial(backend.predict_batch, [picture]) for backend in (before.backend, after.backend)]
    times = _times_ms([*whole, *(partial(each, inputs[0]) for each in (network, load_exported(run)))])
    problems = []
    if environment.get("data_fingerprint") != data.fingerprint:
        problems.append(f"{data.path}: not the data, or not the split, that the run was trained on; its scores flatter")
    float32 = Quality(score, times[0], times[2], size)
    int8 = Quality(chosen["val_score"], times[1], times[3], _megabytes(run))
    return Quantization(before.backend.val_score, float32, int8, len(paths), len(val), problems)


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


def _in_8_bits(run: Path, inputs: list[Tensor]) -> Any:
    openvino, nncf = import_openvino(), import_nncf()
    from openvino._offline_transformations import apply_moc_transformations

    network = openvino.Core().read_model(run / "model.xml")
    try:
        with quiet():
            # OpenVINO does so anyhow, but later: where NNCF meets x * sigmoid(x) in two, they stay two, and take half
            # of YOLO26n's time in 8 bits.
            apply_moc_transformations(network, cf=False)
            spared = nncf.IgnoredScope(types=list(_FLOAT), names=sorted(_last_layers(network)), validate=False)
            shown = nncf.Dataset([each.numpy() for each in inputs])
            return nncf.quantize(network, shown, subset_size=len(inputs), ignored_scope=spared)
    except Exception as error:  # whatever a network may do that cannot be quantized
        raise HilumError(f"--int8: NNCF cannot quantize this network: {first_line(error)}") from error


def _last_layers(network: Any) -> set[str]:
    """The names of the layers that are the last, or the last but one, before an output."""
    found, seen = set(), set()
    waiting = [(result, _LAST) for result in network.get_results()]
    while waiting:
        node, left = waiting.pop()
        name = node.get_friendly_name()
        if left == 0 or (name, left) in seen:
            continue
        seen.add((name, left))
        if node.get_type_name() in _LAYERS:
            found.add(name)
            left -= 1
        waiting += [(taken.get_source_output().get_node(), left) for taken in node.inputs()]
    return found


def _write(network: Any, run: Path) -> None:
    openvino = import_openvino()
    for name in FORMATS["openvino"]:  # the run that is loaded may have them open
        (run / name).unlink()
    openvino.save_model(network, run / "model.xml", compress_to_fp16=False)


def _megabytes(run: Path) -> float:
    return sum((run / name).stat().st_size for name in FORMATS["openvino"]) / 1e6


def _times_ms(calls: Sequence[Callable[[], object]]) -> list[float]:
    """The median time of each call, all of them in turn."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(_WARM_UP + _ROUNDS):
        for call, times in zip(calls, seconds, strict=True):
            time.sleep(_PAUSE_S)
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return [1000 * median(times[_WARM_UP:]) for times in seconds]
