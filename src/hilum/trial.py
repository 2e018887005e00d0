"""Try an exported network out in a process of its own, which may take so much memory and time and no more.

A file of 160 bytes can say that it needs 13 GB, and a runtime computes some of what a network says while it reads it.
What a file says that it needs can be forged, so it is not believed but seen.
"""

import hashlib
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from hilum.errors import HilumError
from hilum.sessions import first_line, session
from hilum.system import limit_this_process, memory_bytes

USUAL_SIZE: Final = 1024
"""Side in pixels of the squares of a network whose config does not say it."""
# Bytes of memory for the runtime itself, with Python; for each byte of the files; for each pixel of a square. That is
# twice of what ultralytics' largest detector takes with either runtime.
_RUNTIME, _PER_BYTE, _PER_PIXEL = 400 << 20, 6, 2048
_SECONDS, _SECONDS_PER_PIXEL = 20, 20 / 2**20
_CHANNELS: Final = 4
_REFUSED, _FAILED, _NO_MEMORY = 3, 4, 5
_CODE: Final = "import sys; from hilum.trial import main; sys.exit(main())"
_passed: set[str] = set()


def try_out(kind: str, contents: Sequence[bytes], size: int) -> None:
    """Load a network and show it one black picture, in another process; once for each, in this one's life.

    Args:
        kind: `onnx` or `openvino`.
        contents: of its files, in the order of `hilum.run.FORMATS`.
        size: side in pixels of the squares that it is to see.

    Raises:
        HilumError: its runtime is not installed, it holds what it must not, it cannot be run, or not with what a
            network for such squares may take.
    """
    memory = _RUNTIME + _PER_BYTE * sum(map(len, contents)) + _PER_PIXEL * size**2
    memory = min(memory, (memory_bytes() or 2 * memory) // 2)
    seconds = int(_SECONDS + _SECONDS_PER_PIXEL * size**2)
    name = hashlib.sha256(b"".join([f"{kind} {size} ".encode(), *contents])).hexdigest()
    if name in _passed:
        return
    words = [kind, size, memory, seconds, *map(len, contents)]
    status, told = _elsewhere([str(word) for word in words], b"".join(contents), 10 * seconds)
    if status == _REFUSED:
        raise HilumError(told)
    if status == _FAILED:
        raise HilumError(f"not a network that can be run: {told}; export again")
    if status != 0:
        given = f"{memory >> 20:,} MiB and {seconds} s"
        raise HilumError(f"cannot be run with {given}, which is what a network for pictures of {size} px is given")
    _passed.add(name)


def _elsewhere(words: list[str], given: bytes, patience_s: int) -> tuple[int, str]:
    """How `main` ends in another process, and the last line that it says."""
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # each thread would take memory of its own
    try:
        # Without the folder that it is started in among its modules: it may have come from anybody.
        done = subprocess.run(  # noqa: S603 - our own code
            [sys.executable, "-P", "-c", _CODE, *words],
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=patience_s,
            check=False,
            env=os.environ | one | {"PYTHONPATH": os.pathsep.join(paths)},
        )
    except subprocess.TimeoutExpired:
        return _NO_MEMORY, ""
    last = done.stdout.decode(errors="replace").strip().rpartition("\n")[2]
    # It may quote a name out of the file, which a terminal would obey.
    return done.returncode, "".join(each if each.isprintable() else "?" for each in last[:200])


def _of_one(shape: Sequence[int | None], size: int) -> list[int]:
    sides = [side for side in shape[1:] if side is not None]
    if len(sides) < len(shape) - 1 or math.prod(sides) > _CHANNELS * size**2:
        raise HilumError(f"takes arrays of shape {shape}, not pictures of {size} px; export again")
    return [1, *sides]


def main() -> int:
    """The other process: its limits, and sizes of the files that come as its input, are its arguments."""
    kind, *numbers = sys.argv[1:]
    size, memory, seconds, *lengths = map(int, numbers)
    limit_this_process(memory_bytes=memory, cpu_seconds=seconds)
    status, told = 0, ""
    try:
        call, shape = session(kind, [sys.stdin.buffer.read(length) for length in lengths], threads=1)
        call(np.zeros(_of_one(shape, size), np.float32))
    except HilumError as error:
        status, told = _REFUSED, str(error)
    except MemoryError:
        status = _NO_MEMORY
    except Exception as error:  # noqa: BLE001 - each runtime has exceptions of its own
        told = first_line(error)
        status = _NO_MEMORY if "alloc" in str(error).lower() else _FAILED
    sys.stdout.write(f"{told}\n")
    sys.stdout.flush()
    os._exit(status)  # the runtimes' own ends may fail without memory
