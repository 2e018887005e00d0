"""`hilum predict --dask`: the images in shards, each predicted by a worker that keeps the run in memory."""

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
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

_Picture = Path | PackedPicture
_Predicted = tuple[list[Result], list[str], str]
_BATCHES: Final = 4  # a shard: few enough to lose little, many enough to be worth the way to a worker
_DECIDE_RESULTS: Final = (
    *("torch", "torchvision", "timm", "segmentation-models-pytorch", "transformers", "ultralytics"),
    *("onnxruntime", "openvino"),
)
_DIED: Final = "given up: workers died of it, or of an image predicted beside it, out of memory perhaps; see their logs"
_VARIABLE: Final = "HILUM_DEVICE"  # of `hilum.training.device`, which imports torch
_ROOM = BoundedSemaphore(2)  # shards in work on one worker: the images of one are read while the other is looked at
_NETWORK = Lock()


@dataclass(frozen=True)
class _Run:
    """What all shards share: the run, absolute, its digest, and what `--device` says, empty where it says nothing."""

    folder: Path
    digest: str
    device: str
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class _Shard:
    """What a worker is sent; the worker writes the pictures beside the page, too."""

    run: _Run
    pictures: list[_Picture]
    page: Worklist
    confidence: Confidence
    batch_size: int


@dataclass(frozen=True)
class Workers:
    """A run on the workers of a cluster, which load it themselves.

    Attributes:
        confidence: its operating point.
        class_names: of what it looks for.
    """

    executor: Executor
    run: _Run
    confidence: Confidence

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.run.class_names

    def predict(
        self, pictures: Sequence[_Picture], page: Worklist, confidence: Confidence, batch_size: int
    ) -> Iterator[Result]:
        """What `Predictor.predict` gives, in batches of the same images.

        Args:
            pictures: the images.
            page: of these images.
            confidence: keep boxes from here on.
            batch_size: images that the network sees at once.

        Raises:
            HilumError: a worker is not fit for the work, or the cluster is gone.
        """
        size = _BATCHES * batch_size
        beside = replace(page, pictures=replace(page.pictures, out=page.pictures.out.absolute()), sources=())
        shards = (
            _Shard(
                self.run,
                [_absolute(picture) for picture in pictures[start : start + size]],
                replace(beside, numbers=page.numbers[start : start + size]),
                confidence,
                batch_size,
            )
            for start in range(0, len(pictures), size)
        )
        for results, unseen, worker in self.executor.map(_predict, shards):
            if seen := next(filter(_can_read, unseen), None):
                raise HilumError(f"{worker}: this worker cannot read {seen}; share it under the same path")
            yield from results


@contextmanager
def workers(address: str, run: Path, shared: Sequence[Path]) -> Iterator[Workers]:
    """The workers of the cluster with this scheduler, for one run.

    Args:
        address: of the scheduler.
        run: the run folder, which they must see under the same path.
        shared: what else they must see so.

    Raises:
        HilumError: the folder is not a finished run, Dask is not installed, or no scheduler answers.
    """
    check_run(run)
    environment = read_environment(run)
    made_with = environment.get("versions", {}).keys() | environment.get("exported", {}).get("versions", {}).keys()
    packages = [name for name in _DECIDE_RESULTS if name in made_with]
    what = _Run(run.absolute(), run_digest(run), os.environ.get(_VARIABLE, ""), run_config(run).class_names)
    with cluster(address, [run, *shared], packages=packages, instead=_given_up) as executor:
        yield Workers(executor, what, operating_confidence(run))


class _InTurn(Predictor):
    """One whose network computes for one thread at a time, with all threads that the worker may use."""

    def find(self, images: list[NDArray[Any]]) -> list[Detections]:
        with _NETWORK:
            return super().find(images)


def _predict(shard: _Shard) -> _Predicted:
    """On a worker: the results, files that it cannot read, and its address."""
    import torch
    from distributed import get_worker

    with _ROOM:
        torch.set_num_threads(get_worker().state.nthreads)  # what it says holds for the thread that says it
        try:
            with _NETWORK:
                predictor = _loaded(shard.run)
            found = predictor.predict(
                shard.pictures, confidence=shard.confidence, batch_size=shard.batch_size, look=shard.page.look(0)
            )
            results = list(found)
        except HilumError as error:
            raise error.within(worker_address()) from error
    bad = (_path(picture) for picture, result in zip(shard.pictures, results, strict=True) if result.error)
    return results, [path for path in bad if not _can_read(path)], worker_address()


@lru_cache(maxsize=1)
def _loaded(run: _Run) -> Predictor:
    if (digest := run_digest(run.folder)) != run.digest:
        raise HilumError(f"this worker sees another run in {run.folder}: its digest is {digest}, expected {run.digest}")
    with environment_variable(_VARIABLE, run.device) if run.device else nullcontext():
        return _InTurn(**vars(load(run.folder)))


def _given_up(shard: _Shard) -> _Predicted:
    """What stands for the results of a shard of which worker after worker died."""
    nothing = Result("", no_detections(), math.nan, _DIED, class_names=shard.run.class_names)
    return [nothing] * len(shard.pictures), [], ""


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
