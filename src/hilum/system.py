"""What systems do each in their own way: locks, limits, memory, how processes end.

Nothing else in hilum asks which system it runs on. Where a system lacks something that only makes things safer or
faster, it is left out; what a result depends on has a stand-in.
"""

import ctypes
import hashlib
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

try:
    import fcntl
    import resource
except ImportError:  # Windows
    fcntl = resource = None  # type: ignore[assignment]

KILLED: Final = -9
"""The exit status, as `subprocess` tells it, of a process that the system ended."""
DEVICE: Final = "HILUM_DEVICE"
"""In the environment: what `--device` says, to processes that are started too. It comes before a config's."""
STANDARD_INPUT: Final = Path("/dev/stdin")
"""What the word `-` on the command line stands for."""
_PR_SET_PDEATHSIG: Final = 1  # prctl(2), Linux
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # mallopt(3), glibc
_GRACE_SECONDS: Final = 5
_PAGES: Final = ("SC_PHYS_PAGES", "SC_PAGE_SIZE")


@contextmanager
def holding(folder: Path, *, wait: bool) -> Iterator[None]:
    """Hold a folder that is there, alone among those that ask; free again when this process ends, however it ends.

    On a file system without locks everybody holds it. Windows locks no folders, so there it is a file among the
    temporary ones, named after the folder.

    Raises:
        BlockingIOError: another holds it, and `wait` is false.
    """
    if fcntl is None:
        from filelock import FileLock, Timeout

        name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:32]
        lock = FileLock(Path(tempfile.gettempdir()) / f"hilum-{name}.lock")
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout as error:
            raise BlockingIOError from error
        try:
            yield
        finally:
            lock.release()
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise
        except OSError:
            pass
        yield
    finally:
        os.close(handle)


def flush(path: Path) -> None:
    """Have a file's content, or which names a folder holds, reach the disk; Windows flushes no folders.

    Raises:
        OSError: the disk does not take it.
    """
    windows = os.name == "nt"
    if windows and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if windows else os.O_RDONLY)  # Windows flushes only what may be written to
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def limit_this_process(*, memory_bytes: int, cpu_seconds: int) -> None:
    """Let this process take no more, and leave no image of its memory behind; nothing where the system cannot."""
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))


def memory_bytes() -> int | None:
    """The machine's memory; None where the system does not tell."""
    try:
        pages, size = map(os.sysconf, _PAGES)
    except (AttributeError, OSError, ValueError):  # Windows has no such call
        return None
    return pages * size


def peak_resident_bytes() -> int | None:
    """What this process held in memory at most; None where the system does not tell."""
    # Not ru_maxrss where it can be helped: in Linux a child starts with its parent's.
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if resource is None:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def keep_freed_memory() -> None:
    """Have the C library reuse the memory of one training step, or batch, in the next one, in this process.

    glibc gives large blocks back to the kernel, which clears every page anew the next time: a fifth of the time of a
    network that learns on a CPU, up to 40% of one that predicts. What is kept is what was needed at its height.
    Elsewhere than on glibc it does nothing.
    """
    mallopt = _of_c("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def end_with_parent(parent: int) -> None:
    """Have this process killed when its parent dies, and leave Ctrl+C to the parent, and for a while SIGTERM too.

    Workers of a parent that was killed would go on, and write into a folder that the next command is writing to. Who
    ends a whole group of processes ends the workers with the parent, which is to find them there and let them go; but a
    parent that itself ends one by SIGTERM waits for that. On another system than Linux they end with their next task.

    Args:
        parent: its process id, told by itself: it may be dead before this process comes to ask.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE_SECONDS))
    prctl = _of_c("prctl")
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before that
        os._exit(1)


def default_in_children(number: int) -> None:
    """Give a signal back its usual effect in processes that are forked from this one."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: signal.signal(number, signal.SIG_DFL))


def _of_c(name: str) -> "ctypes._NamedFuncPointer | None":
    """A function of the C library; None where there is no such library, or function."""
    with suppress(OSError, TypeError, AttributeError):
        return getattr(ctypes.CDLL(None), name)  # type: ignore[no-any-return]
    return None
