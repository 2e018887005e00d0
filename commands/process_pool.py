"""Processes that share a command's work."""

import os
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from importlib import import_module


@contextmanager
def process_pool(workers: int | None, items: int | None, module: str) -> Iterator[Executor | None]:
    """A pool of processes that load `module` meanwhile, or None where one process is enough."""
    count = workers or os.cpu_count() or 1
    if count == 1 or (items is not None and items <= 16):  # starting a pool takes longer than 16 pictures
        yield None
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from hilum.commands.terminal import complain
    from hilum.private_libraries import environment_variable
    from hilum.system import end_with_parent

    try:
        get_context("spawn").Lock()
    except OSError as error:  # a lock that processes share lies in /dev/shm, which is not everywhere to be written
        complain(f"works in one process, for this system lets none share a lock: {error.strerror or error}")
        yield None
        return
    with (
        # Python would look for modules in the folder that the command is given in, which may have come from anybody.
        environment_variable("PYTHONSAFEPATH", "1"),
        ProcessPoolExecutor(
            count, mp_context=get_context("spawn"), initializer=end_with_parent, initargs=(os.getpid(),)
        ) as executor,
    ):
        for _ in range(count):
            executor.submit(import_module, module)
        yield executor
