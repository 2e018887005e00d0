"""Trains a run that kills itself, again and again; started by test_killed.py as `killing.py DATA OUT HOW...`.

It forks a child for each training, so that the heavy imports happen once. Every HOW is a run folder below OUT, trained
until it is whole: `whole` undisturbed; `event-7` with SIGKILL right before the 7th time that a file of the run is
opened for writing, renamed or removed, and `events` one after another until there is none left; `half-NAME-2` when half
of the 2nd version of the file NAME is written; `after-0.25` after about so many seconds, in each start anew. At the end
one JSON line tells how often each was killed.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, Self

import cv2
import matplotlib.backends.backend_agg
import matplotlib.figure  # noqa: F401 - before the fork, for all children
import torch

from hilum import files
from hilum.config import check_config
from hilum.datasets.folder import Dataset
from hilum.errors import HilumError
from hilum.train_run import train

CONFIG = {
    "backend": "unet",
    "image_size": 32,
    "model": {"start_channels": 2, "depth": 2, "dropout": 0.5, "momentum": 0.5},
    "train": {"epochs": 3, "batch_size": 4, "ema": 0.9, "learning_rate": 0.01},
    "boxes": {"threshold": 0.3},
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_event(number: int, run: Path) -> None:
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in {"open", "os.rename", "os.remove"} or not str(arguments[0]).startswith(str(run)):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        seen += 1
        if seen == number:
            die()

    sys.addaudithook(hook)


def die_in_the_middle(name: str, number: int) -> None:
    seen = 0

    class HalfFile:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: memoryview) -> int:
            self.file.write(data[: len(data) // 2])
            die()
            return 0

    def half_open(path: str, mode: str, **options: Any) -> Any:
        nonlocal seen
        file = open(path, mode, **options)  # noqa: PTH123, SIM115 - as it was asked for; whoever asked closes it
        seen += Path(path).name.startswith(f".{name}.")
        return HalfFile(file) if seen == number else file

    files.open = half_open


def start(data: Dataset, run: Path, how: list[str]) -> int:
    """Train in a child; how it ended: 0, -9 or an exit status."""
    child = os.fork()
    if child:
        if how[0] == "after":
            seconds = float(how[1]) * (0.5 + int.from_bytes(os.urandom(1)) / 255)
            killer = threading.Timer(seconds, lambda: os.kill(child, signal.SIGKILL))
            killer.start()
            status = os.waitpid(child, 0)[1]
            killer.cancel()
        else:
            status = os.waitpid(child, 0)[1]
        return os.waitstatus_to_exitcode(status)
    try:
        if how[0] == "event":
            die_at_event(int(how[1]), run)
        elif how[0] == "half":
            die_in_the_middle(how[1], int(how[2]))
        train(check_config(CONFIG, "test"), data, run)
        os._exit(0)
    except HilumError as error:
        os._exit(3 if "already holds a finished run" in str(error) else 4)
    except BaseException as error:  # noqa: BLE001
        traceback.print_exception(error)
        os._exit(5)


def main() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    data, out = Dataset.open(Path(sys.argv[1])), Path(sys.argv[2])
    check_config(CONFIG, "test")  # imports the backend
    kills = {}
    names = sys.argv[3:]
    for name in names:
        if name == "events":
            names.append("event-1")
            continue
        how, run, kills[name] = name.split("-"), out / name, 0
        started = time.monotonic()
        while (status := start(data, run, how)) == -signal.SIGKILL:
            kills[name] += 1
            if how[0] != "after" or time.monotonic() - started > 60:
                how = ["whole"]
        if status not in (0, 3):
            raise SystemExit(f"{name}: ended with {status}")
        if name.startswith("event-") and kills[name]:
            names.append(f"event-{int(name.removeprefix('event-')) + 1}")
    sys.stdout.write(json.dumps(kills) + "\n")


if __name__ == "__main__":
    main()
