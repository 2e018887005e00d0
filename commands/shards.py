"""`hilum predict --dask`: the images in shards, each predicted by a worker that keeps the run in memory."""

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import Any, Final

from numpy.typing import NDArray

from hilum.class_names import Confidence
from hilum.cluster import cluster, worker_address
from hilum.commands.worklist import Worklist
from hilum.converters.source import SourceFile
from hilum.datasets.pictures import PackedPicture
from hilum.detections import Detections
from hilum.errors import HilumError
from hilum.predict import Predictor, load
from hilum.private_libraries import environment_variable
from hilum.result import Result, no_detections
from hilum.run import check_run, operating_confidence, read_environment, run_config, run_digest
from hilum.system import DEVICE

_Picture = Path | PackedPicture
_Predicted = tuple[list[Result], list[str], str]
_BATCHES: Final = 4  # a shard: few enough to lose little, many enough to be worth the way to a worker
_DECIDE_RESULTS: Final = ("torch", "torchvision", "timm", "transformers", "ultralytics", "onnxruntime", "openvino")
_DIED: Final = "given up: workers died of it, or of an image predicted beside it, out of memory perhaps; see their logs"
_ROOM = BoundedSemaphore(2)  # shards in work on one worker: the images of one are read while the other is looked at
_NETWORK = Lock()


@dataclass(frozen=True)
class RunOfWorkers:
    """A run that workers load themselves: the folder, absolute, its digest, and what `--device` says, if anything."""

    folder: Path
    digest: str
    device: str
    confidence: Confidence
    class_names: tuple[str, ...]

    def predict(
        self, executor: Executor, pictures: Sequence[_Picture], page: Worklist, confidence: Confidence, batch_size: int
    ) -> Iterator[Result]:
        """What `Predictor.predict` gives, in batches of the same images; workers write the pictures of the page.

        Raises:
            HilumError: a worker is not fit for the work, or the cluster is gone.
        """
        starts = range(0, len(pictures), size := _BATCHES * batch_size)
        parts = ([_absolute(picture) for picture in pictures[start : start + size]] for start in starts)
        page = replace(page, pictures=replace(page.pictures, out=page.pictures.out.absolute()), sources=())
        pages = (replace(page, numbers=page.numbers[start : start + size]) for start in starts)
        options = repeat(confidence), repeat(batch_size)
        for results, unseen, worker in executor.map(_predict, repeat(self), parts, pages, *options):
            if seen := next(filter(_can_read, unseen), None):
                raise HilumError(f"{worker}: this worker cannot read {seen}; share it under the same path")
            yield from results


def run_of_workers(run: Path) -> RunOfWorkers:
    """A run, which this process does not load.

    Raises:
        HilumError: the folder is not a finished run.
    """
    check_run(run)
    known = operating_confidence(run), run_config(run).class_names
    return RunOfWorkers(run.absolute(), run_digest(run), os.environ.get(DEVICE, ""), *known)


def workers_for(run: Path, address: str, shared: Sequence[Path]) -> AbstractContextManager[Executor]:
    """The cluster with this scheduler; its workers must see the run and what is shared, and have what the run needs."""
    made_with = read_environment(run)
    told = made_with.get("versions", {}).keys() | made_with.get("exported", {}).get("versions", {}).keys()
    packages = [name for name in _DECIDE_RESULTS if name in told]
    return cluster(address, [run, *shared], packages=packages, instead=_given_up)


class _InTurn(Predictor):
    """One whose network computes for one thread at a time, with all threads that the worker may use."""

    def find(self, images: list[NDArray[Any]]) -> list[Detections]:
        with _NETWORK:
            return super().find(images)


def _predict(
    run: RunOfWorkers, pictures: list[_Picture], page: Worklist, confidence: Confidence, batch_size: int
) -> _Predicted:
    """On a worker: the results, files that it cannot read, and its address."""
    import torch
    from distributed import get_worker

    try:
        with _ROOM:
            torch.set_num_threads(get_worker().state.nthreads)  # what it says holds for the thread that says it
            with _NETWORK:
                predictor = _loaded(run)
            look = page.look(0)
            results = list(predictor.predict(pictures, confidence=confidence, batch_size=batch_size, look=look))
    except HilumError as error:
        raise error.within(worker_address()) from error
    bad = (_path(picture) for picture, result in zip(pictures, results, strict=True) if result.error)
    return results, [path for path in bad if not _can_read(path)], worker_address()


@lru_cache(maxsize=1)
def _loaded(run: RunOfWorkers) -> Predictor:
    if (digest := run_digest(run.folder)) != run.digest:
        raise HilumError(f"this worker sees another run in {run.folder}: its digest is {digest}, expected {run.digest}")
    with environment_variable(DEVICE, run.device) if run.device else nullcontext():
        return _InTurn(**vars(load(run.folder)))


def _given_up(run: RunOfWorkers, pictures: list[_Picture], *_: Any) -> _Predicted:
    """What stands for the results of a shard of which worker after worker died."""
    return [Result("", no_detections(), math.nan, _DIED, class_names=run.class_names)] * len(pictures), [], ""


def _absolute(picture: _Picture) -> _Picture:
    """The picture for a worker, which runs in another folder."""
    if isinstance(picture, SourceFile):
        return replace(picture, path=os.path.abspath(picture.path))  # noqa: PTH100 - of a zip, or below a folder
    return picture.absolute() if isinstance(picture, Path) else picture


def _path(picture: _Picture) -> str:
    return picture.path if isinstance(picture, SourceFile) else str(picture)


def _can_read(path: str) -> bool:
    try:
        return os.access(path, os.R_OK)
    except ValueError:  # no path can hold a zero byte
        return False
