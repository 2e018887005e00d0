"""Processes that share a command's work."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import Any


class _Process(SpawnProcess):
    """A process that does not run the caller's script again, which need not have `if __name__ == "__main__"`."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's own name
        script = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            return SpawnProcess._Popen(process_obj)  # noqa: SLF001 - what the class overrides
        finally:
            sys.modules["__main__"] = script


class _Context(SpawnContext):
    Process = _Process


@contextmanager
def process_pool(workers: int | None, items: int | None, module: str) -> Iterator[Executor | None]:
    """A pool of processes that load `module` meanwhile, or None where one process is enough."""
    count = workers or os.cpu_count() or 1
    if count == 1 or (items is not None and items <= 16):  # starting a pool takes longer than 16 pictures
        yield None
        return
    from concurrent.futures import ProcessPoolExecutor

    from hilum.private_libraries import environment_variable
    from hilum.system import end_with_parent
    from hilum.talk import log

    # Python would look for modules in the folder that the command is given in, which may have come from anybody; a
    # pool's locks start a process, too.
    with environment_variable("PYTHONSAFEPATH", "1"):
        try:
            pool = ProcessPoolExecutor(
                count, mp_context=_Context(), initializer=end_with_parent, initargs=(os.getpid(),)
            )
        except OSError as error:  # a lock that processes share lies in /dev/shm, which is not everywhere to be written
            log.warning("works in one process, for this system lets none share a lock: %s", error.strerror or error)
            yield None
            return
        with pool as executor:
            for _ in range(count):
                executor.submit(import_module, module)
            yield executor
