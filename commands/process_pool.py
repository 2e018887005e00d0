"""Processes that share a command's work."""

import os
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from importlib import import_module

_SAFE_PATH = "PYTHONSAFEPATH"


@contextmanager
def process_pool(workers: int | None, items: int | None, module: str) -> Iterator[Executor | None]:
    """A pool of processes that load `module` meanwhile, or None where one process is enough."""
    count = workers or os.cpu_count() or 1
    if count == 1 or (items is not None and items <= 16):  # starting a pool takes longer than 16 pictures
        yield None
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from hilum.converters.workers import end_with_parent

    with (
        _without_this_folder(),
        ProcessPoolExecutor(
            count, mp_context=get_context("spawn"), initializer=end_with_parent, initargs=(os.getpid(),)
        ) as executor,
    ):
        for _ in range(count):
            executor.submit(import_module, module)
        yield executor


@contextmanager
def _without_this_folder() -> Iterator[None]:
    """While it is open, processes that start do not take modules from the folder that the command is given in.

    It may have come from anybody.
    """
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        del os.environ[_SAFE_PATH]
        if before is not None:
            os.environ[_SAFE_PATH] = before
