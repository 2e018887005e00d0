"""Peak memory of predicting, in a process that does nothing else (`python -m hilum.comparison.peak_memory`)."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hilum.documents import Count, FigureOrNaN
from hilum.errors import HilumError
from hilum.system import KILLED, peak_resident_bytes


@dataclass(frozen=True)
class PeakMemory:
    """What a process held at most, from its start until the last picture was predicted.

    Attributes:
        resident_bytes: its resident set, Python and all libraries included; not that of processes it starts.
        gpu_bytes: what torch's allocator gave out, over all GPUs, without CUDA's own context; NaN without a GPU.
    """

    resident_bytes: Count
    gpu_bytes: FigureOrNaN


def peak_memory(run: Path, files: Sequence[Path]) -> PeakMemory:
    """Load a run and predict files, in a fresh process, and return what that took.

    Raises:
        HilumError: the process failed, with its last word.
    """
    child = subprocess.run(  # noqa: S603 - this module itself
        # -P: not what lies in the current folder, which may well hold a `datasets`.
        [sys.executable, "-P", "-m", __name__],
        input=json.dumps({"run": str(run), "files": [str(path) for path in files]}),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if child.returncode == KILLED:
        raise HilumError(f"{run}: the process that measures peak memory was killed, most likely for want of memory")
    try:
        if child.returncode:
            raise ValueError  # noqa: TRY301 - the same line as for an answer that is none
        return PeakMemory(**json.loads(child.stdout))
    except (ValueError, TypeError) as error:
        said = [line for line in child.stderr.splitlines() if line.strip()] or ["it said nothing"]
        raise HilumError(
            f"{run}: the process that measures peak memory failed (exit status {child.returncode}): {said[-1].strip()}"
        ) from error


def _predict_and_tell() -> None:
    """The child: reads the run and the files from its input, and writes the figures to its output."""
    answer = os.dup(1)
    os.dup2(2, 1)  # libraries print what they like
    import torch

    from hilum.predict import load, predict_all

    asked = json.load(sys.stdin)
    try:
        predict_all(load(asked["run"]), [Path(name) for name in asked["files"]])
    except HilumError as error:
        sys.exit(str(error))
    devices = range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)  # type: ignore[no-untyped-call]
    gpu = sum(torch.cuda.max_memory_allocated(device) for device in devices) if devices else float("nan")
    with os.fdopen(answer, "w") as file:
        json.dump({"resident_bytes": peak_resident_bytes() or 0, "gpu_bytes": gpu}, file)


if __name__ == "__main__":
    _predict_and_tell()
