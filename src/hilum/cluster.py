"""Map over the workers of a Dask cluster, which may come, go and die on the way.

Dask's own executor would hold every task at once, wait for ever where all workers are gone, and run on machines that
do not see the files: their share of the pictures would then be left out as unreadable.
"""

import logging
import os
import time
from asyncio import run, wait_for
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hilum import __version__
from hilum.errors import HilumError, first_line
from hilum.source_digest import source_digest

CONNECT_S = 10
PATIENCE_S = 60  # without any worker; a nanny starts a new one within seconds, a batch system takes longer
_LOOK_S = 2  # between two looks at the workers
_AHEAD = 8  # tasks a thread that are sent in advance: a million files need not lie in the scheduler's memory
_CODE = "code of hilum"
_DECIDE_PICTURES = ("numpy", "opencv-python", "pydicom", "imagecodecs")


@contextmanager
def cluster(
    address: str,
    shared: Sequence[Path] = (),
    patience_s: float = PATIENCE_S,
    packages: Sequence[str] = (),
    instead: Callable[..., Any] | None = None,
) -> Iterator[Executor]:
    """An executor whose `map` runs on the workers of a cluster.

    A task whose worker dies is given to another; one that killed four workers is an error, or has a stand-in.

    Args:
        address: of the scheduler, as in tcp://10.0.0.1:8786.
        shared: files and folders that every worker must see under the same path, or its tasks are errors.
        patience_s: how long to wait where no worker is there.
        packages: that decide results, beside those that decide the bytes of a picture.
        instead: gives the result of a task that killed four workers twice, from its arguments; without it that ends
            the map. Twice, because tasks that were with another as its workers died count as guilty, too.

    Raises:
        HilumError: Dask is not installed, or no scheduler answers; from `map`: the cluster is gone, has no workers, or
            a worker is not fit for the work.
    """
    try:
        from distributed import Client
        from distributed.comm import connect
        from distributed.core import send_recv
        from distributed.security import Security
    except ImportError as error:
        raise HilumError('--dask needs Dask: pip install "hilum[dask]"') from error

    async def answers() -> None:  # Client itself would wait for ever for an answer in Dask's protocol
        security = Security().get_connection_args("client")
        comm = await wait_for(connect(address, timeout=CONNECT_S, **security), CONNECT_S)
        try:
            identity = await wait_for(send_recv(comm, op="identity"), CONNECT_S)
        finally:
            comm.abort()
        if identity["type"] != "Scheduler":
            raise ValueError(identity["type"])

    with _quiet():
        try:
            run(answers())
            client = Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError, ImportError) as error:
            raise HilumError(
                f"{address}: no Dask scheduler answers; give the address that `dask scheduler` prints"
            ) from error
        try:
            there = [str(path.absolute()) for path in shared]
            yield _Cluster(client, address, there, patience_s, versions(*packages), instead)
        finally:
            client.close(timeout=CONNECT_S)


@contextmanager
def _quiet() -> Iterator[None]:
    """A cluster that is lost is told in one line, not in tracebacks of its connections."""
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] in {"distributed", "tornado"}]
    levels = {logging.getLogger(name): logging.getLogger(name).level for name in names}
    try:
        for logger in levels:
            logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


class _Cluster(Executor):
    """Only `map` is there, and it is lazy: tasks are sent as results are taken."""

    def __init__(
        self,
        client: Any,
        address: str,
        shared: Sequence[str],
        patience_s: float,
        wanted: dict[str, str],
        instead: Callable[..., Any] | None,
    ) -> None:
        self._client, self._address, self._shared, self._patience_s = client, address, shared, patience_s
        self._wanted, self._instead = wanted, instead
        self._asked: set[str] = set()
        self._threads, self._looked, self._seen = 0, float("-inf"), time.monotonic()

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,  # noqa: ARG002 - of the interface; convert gives none
        chunksize: int = 1,  # noqa: ARG002
    ) -> Generator[Any]:
        """Results in order, each as soon as it is there."""
        sent: deque[tuple[Any, Callable[..., Any], tuple[Any, ...]]] = deque()
        self._seen = time.monotonic()
        for arguments in zip(*iterables, strict=False):
            self._look()
            sent.append((self._send(fn, arguments), fn, arguments))
            while sent and (len(sent) > max(1, _AHEAD * self._threads) or sent[0][0].done()):
                yield self._surely(*sent.popleft())
        while sent:
            yield self._surely(*sent.popleft())

    def _surely(self, future: Any, fn: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """The result of a task; where there is a stand-in, of a task that is sent once more if its workers died."""
        if self._instead is None:
            return self._result(future)
        for tried in (future, None):
            with suppress(WorkersDiedError):
                return self._result(tried or self._send(fn, arguments))
        return self._instead(*arguments)

    def _send(self, fn: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        with self._told():
            return self._client.submit(_on_worker, self._wanted, self._shared, fn, arguments, pure=False)

    def _result(self, future: Any) -> Any:
        while True:
            with self._told():
                try:
                    result, error = future.result(timeout=_LOOK_S)
                    break
                except TimeoutError:
                    pass
            self._look()
        if error is not None:
            raise error
        return result

    def _look(self) -> None:
        """Count the workers, now and then, and give up where there has been none for too long."""
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return
        with self._told():
            threads: dict[str, int] = self._client.nthreads()
            self._ask(set(threads) - self._asked)
        self._threads, self._looked = sum(threads.values()), now
        if self._threads:
            self._seen = now
        elif now - self._seen > self._patience_s:
            raise HilumError(
                f"{self._address}: no worker for {self._patience_s:.0f} s; start `dask worker {self._address}` "
                "where hilum is installed, and the same command again goes on"
            )

    def _ask(self, addresses: set[str]) -> None:
        """Whether new workers are fit: one that cannot even read a task dies of it, as if the files were to blame."""
        self._asked |= addresses
        if not addresses:
            return
        options = {"workers": list(addresses), "on_error": "return", "callback_timeout": CONNECT_S}
        with suppress(TimeoutError):  # one that is stopped may go on later; each task asks again
            for address, said in self._client.run(_unfit, self._wanted, self._shared, **options).items():
                if isinstance(said, Exception) and "hilum" in str(said):  # and it is not only that the worker is gone
                    raise HilumError(f"{address}: this worker has another hilum, or none: {first_line(said)}")
                if isinstance(said, str):
                    raise HilumError(f"{address}: {said}")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say in one line what can happen to a cluster."""
        from distributed import KilledWorker

        try:
            yield
        except HilumError:
            raise
        except KilledWorker as error:
            raise WorkersDiedError(
                f"{self._address}: {error.allowed_failures + 1} workers died one after the other of the same files, "
                "out of memory perhaps; see their logs"
            ) from error
        except (OSError, CancelledError) as error:
            raise HilumError(f"{self._address}: the scheduler is gone; the same command again goes on") from error


class WorkersDiedError(HilumError):
    """Worker after worker died of one task."""


def versions(*packages: str) -> dict[str, str]:
    """Of hilum, its code, and the packages that decide the bytes of a picture, and others; empty where not installed.

    The end of a version behind a plus is left out: it says which GPU a package was built for.
    """
    return {name: _version(name) for name in ("hilum", _CODE, *_DECIDE_PICTURES, *packages)}


@cache
def _version(name: str) -> str:
    if name in {"hilum", _CODE}:
        return __version__ if name == "hilum" else source_digest()
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return ""


def _on_worker(
    wanted: dict[str, str], shared: Sequence[str], fn: Callable[..., Any], arguments: tuple[Any, ...]
) -> tuple[Any, Exception | None]:
    """The result or the error: Dask would write the arguments of a failed task, names of files, to the worker's log."""
    try:
        if unfit := _unfit(wanted, shared):
            return None, HilumError(f"{worker_address()}: {unfit}")
        return fn(*arguments), None
    except Exception as error:  # noqa: BLE001 - raised again where it can be told
        return None, error


def _unfit(wanted: dict[str, str], shared: Sequence[str]) -> str | None:
    """Why this worker cannot take part; None where it can."""
    for name, expected in wanted.items():
        if (there := _version(name)) != expected:
            return f"this worker has {f'{name} {there}' if there else f'no {name}'}, expected {expected or 'none'}"
    unseen = (path for path in shared if not os.path.exists(path))  # noqa: PTH110 - before every task
    return next((f"this worker does not see {path}; share it under the same path" for path in unseen), None)


def worker_address() -> str:
    """Of the worker that this is."""
    from distributed import get_worker

    return str(get_worker().address)
