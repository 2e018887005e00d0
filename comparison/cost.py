"""What a trained detector costs: time, memory, size, arithmetic."""

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from hilum.backend import Backend
from hilum.comparison.peak_memory import PeakMemory, peak_memory
from hilum.datasets.pictures import Image, read_picture
from hilum.documents import Count, Figure, FigureOrNaN
from hilum.errors import HilumError
from hilum.predict import Predictor
from hilum.run import parameter_count, weights_files
from hilum.system import memory_bytes
from hilum.train_run import training_seconds

BATCH_SIZE = 16
_DISTINCT = 64  # pictures; they are all held in memory
_WARM_UP = 2
_AT_LEAST = 5
# What fills `Predictor.predict` at once: a batch, and two that are decoded ahead of it.
_FULL = 3 * BATCH_SIZE

Source = Literal["arrays", "DICOM", "pictures", "dataset pictures"]


@dataclass(frozen=True)
class Latency:
    """Time from decoded arrays to their boxes.

    Attributes:
        p50_ms, p95_ms: over the calls, a picture: a batch's time is divided by its pictures.
        calls: how many were timed.
        outside_network: share of that time, 0..1, that was not spent in a `torch.nn.Module`: letterbox, copies,
            boxes from the output. NaN where the backend calls none.
    """

    p50_ms: Figure
    p95_ms: Figure
    calls: Count
    outside_network: FigureOrNaN


@dataclass(frozen=True)
class Throughput:
    """The whole pipeline with everything that `Predictor.predict` does, in batches.

    Attributes:
        images_per_second: from the call to the last result.
        images: how many were predicted.
        source: what they came from. Files are in the system's cache, and are decoded ahead of the network.
    """

    images_per_second: Figure
    images: Count
    source: Source


@dataclass(frozen=True)
class Cost:
    """What a trained run costs on this machine.

    Attributes:
        latency_alone: a picture a call.
        latency_batched: `batch_size` pictures a call.
        from_arrays: throughput of pictures that are decoded.
        from_files: throughput of DICOM files where there were any, else of other pictures that were given, else of
            the dataset's.
        parameters: values in the weights, BatchNorm's running ones included.
        flops: of one picture alone, in all torch operations that torch's counter knows (convolutions and matrix
            products), whose convention it is that a multiplication with its addition is two; papers often count such
            pairs, half of it. NaN where the backend runs no such operation.
        weights_bytes: of the run's weights, on disk.
        peak_memory: of a fresh process that predicts three batches of files.
        training_seconds: spent in epochs; NaN where the run has no log of any.
        batch_size: of everything but `latency_alone` and `flops`.
    """

    latency_alone: Latency
    latency_batched: Latency
    from_arrays: Throughput
    from_files: Throughput
    parameters: Count
    flops: FigureOrNaN
    weights_bytes: Count
    peak_memory: PeakMemory
    training_seconds: FigureOrNaN
    batch_size: Count = BATCH_SIZE


def measure_cost(
    predictor: Predictor, run: Path, pictures: Sequence[Path], dicoms: Sequence[Path] = (), *, seconds: float = 20.0
) -> Cost:
    """Measure a trained run; nothing else should keep the machine busy meanwhile.

    Args:
        predictor: of that run.
        run: its folder.
        pictures: of the dataset; the first 64 are used, in turn.
        dicoms: the files to measure throughput from, the same way: those of them that are DICOM, told by content; where
            none is, all of them; the pictures where there are none.
        seconds: for what is timed, in all. Each figure takes its five calls or batches even where they last longer;
            the rest (peak memory above all, which starts a process) comes on top.

    Raises:
        HilumError: no pictures, pictures that cannot be read (a line each), or the run is not whole.
    """
    pictures, given = pictures[:_DISTINCT], list(islice(filter(_is_dicom, dicoms), _DISTINCT))
    source: Source = "DICOM" if given else "pictures" if dicoms else "dataset pictures"
    given = given or list(dicoms[:_DISTINCT])
    arrays = _read(pictures)
    _read(given)  # all can be read, and are in the system's cache as the pictures are
    if not arrays:
        raise HilumError(f"{run}: no picture to measure its cost on")
    files: Sequence[Path] = given or pictures
    backend, each = predictor.backend, seconds / 4
    return Cost(
        latency_alone=_latency(backend, arrays, 1, each),
        latency_batched=_latency(backend, arrays, BATCH_SIZE, each),
        from_arrays=_throughput(predictor, arrays, "arrays", each),
        from_files=_throughput(predictor, files, source, each),
        parameters=parameter_count(run),
        flops=count_flops(lambda: backend.predict_batch([arrays[0]])),
        weights_bytes=sum(path.stat().st_size for path in weights_files(run)),
        peak_memory=peak_memory(run, list(islice(cycle(files), _FULL))),
        training_seconds=training_seconds(run) or float("nan"),
    )


def _is_dicom(path: Path) -> bool:
    """Whether it is neither of the other kinds that can be read; a DICOM file may lack the word that names it."""
    with suppress(OSError), path.open("rb") as file:
        return not file.read(8).startswith((b"\xff\xd8", b"\x89PNG\r\n\x1a\n"))
    return True  # reading it says what is wrong


def describe_machine() -> dict[str, Any]:
    """What figures of time depend on; nothing that tells whose machine it is."""
    system = platform.system()
    with suppress(OSError):
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    return {
        "cpu": _cpu_name(),
        "cpu_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round((memory_bytes() or 0) / 2**30, 1),
        "gpus": [torch.cuda.get_device_name(device) for device in range(torch.cuda.device_count())],
        "system": f"{system}, {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
    }


def count_flops(call: Callable[[], object]) -> float:
    """Floating-point operations of a call, a multiplication and an addition being two; NaN where none was seen."""
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops()) or float("nan")


class NetworkClock:
    """Adds up the time in outermost calls of any `torch.nn.Module`, while it is entered as a context.

    The hook on all modules is taken away while an outermost call runs, so the network itself runs without hooks, at
    its own speed.

    Attributes:
        seconds: in such calls.
        calls: how many there were.
    """

    def __init__(self) -> None:
        """Start at 0."""
        self.seconds = 0.0
        self.calls = 0
        self._outermost: nn.Module | None = None
        self._since = 0.0
        self._on_enter: RemovableHandle | None = None
        self._on_leave: dict[nn.Module, RemovableHandle] = {}

    def __enter__(self) -> Self:
        self._on_enter = register_module_forward_pre_hook(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        for handle in (self._on_enter, *self._on_leave.values()):
            if handle is not None:
                handle.remove()
        self._on_leave.clear()

    def _enter(self, module: nn.Module, _: Any) -> None:
        if self._on_enter is not None:
            self._on_enter.remove()
        if module not in self._on_leave:
            self._on_leave[module] = module.register_forward_hook(self._leave, always_call=True)
        self._outermost = module
        _synchronize()
        self._since = time.perf_counter()

    def _leave(self, module: nn.Module, _: Any, __: Any) -> None:
        if module is not self._outermost:  # one that was outermost before, and is called inside another now
            return
        _synchronize()
        self.seconds += time.perf_counter() - self._since
        self.calls += 1
        self._outermost = None
        self._on_enter = register_module_forward_pre_hook(self._enter)


def _synchronize() -> None:
    """Wait for the GPU, where one is in use."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()


def _read(paths: Sequence[Path]) -> list[NDArray[np.uint8]]:
    arrays, bad = [], []
    for path in paths:
        try:
            arrays.append(read_picture(path))
        except HilumError as error:
            bad.append(f"{path}: {error}")
    if bad:
        raise HilumError(*bad)
    return arrays


def _latency(backend: Backend, arrays: Sequence[NDArray[np.uint8]], size: int, seconds: float) -> Latency:
    forever = cycle(arrays)
    for _ in range(_WARM_UP):
        backend.predict_batch(list(islice(forever, size)))
    taken: list[float] = []
    with NetworkClock() as clock:
        until = time.perf_counter() + seconds
        while len(taken) < _AT_LEAST or time.perf_counter() < until:
            batch = list(islice(forever, size))
            _synchronize()
            start = time.perf_counter()
            backend.predict_batch(batch)
            _synchronize()
            taken.append(time.perf_counter() - start)
    p50, p95 = np.percentile(np.array(taken) * 1000 / size, [50, 95])
    outside = 1 - clock.seconds / sum(taken) if clock.calls else float("nan")
    return Latency(float(p50), float(p95), len(taken), outside)


def _throughput(predictor: Predictor, images: Sequence[Image], source: Source, seconds: float) -> Throughput:
    start = time.perf_counter()

    def whole_batches() -> Iterator[Image]:
        for number, image in enumerate(cycle(images)):
            if number % BATCH_SIZE == 0 and number >= _AT_LEAST * BATCH_SIZE and time.perf_counter() > start + seconds:
                return
            yield image

    count = 0
    for result in predictor.predict(whole_batches(), batch_size=BATCH_SIZE):
        if result.error:
            raise HilumError(f"{result.image_id}: {result.error}")
        count += 1
    _synchronize()
    return Throughput(count / (time.perf_counter() - start), count, source)


def _cpu_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
