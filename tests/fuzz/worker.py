"""Runs cases one after another in one process, and tells of each how it ended.

`python worker.py WORK` reads seeds from its input and answers with two lines of JSON each: what begins, how it ended.
`python worker.py WORK SEED ...` runs these, and shows more; what they were made of stays in WORK/case.
"""

import contextlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import time
import traceback
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import good_folders
from cases import Place, target

CPU_SECONDS, WALL_SECONDS = 20.0, 60
GROWTH_MB = 1024
_ADDRESSES_MB = 2 * 1024  # beyond what the process has: an allocation above fails, and is no refusal
MOST_IN_LINE = 1000
_PYTHON = re.compile(r"\b[A-Z]\w*(Error|Exception|Warning)\b|Traceback|NoneType|<class '")


class TooLongError(BaseException):
    """Raised by the timer; nobody catches it on the way."""


def main() -> None:
    """Make what is missing below WORK, then run cases."""
    work = Path(sys.argv[1]).absolute()
    work.mkdir(parents=True, exist_ok=True)
    for name in ("home", "tmp"):
        (work / name).mkdir(exist_ok=True)
    answer = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries print what they like
    outside = work / "outside"
    if not outside.is_dir():
        (outside / "folder").mkdir(parents=True)
        for path in (outside / "keep.txt", outside / "folder" / "keep.jpg", outside / "folder" / "conversion.json"):
            path.write_text("not to be touched")
    if not (work / "base").is_dir():
        good_folders.make(work / "base-begun")
        (work / "base-begun").rename(work / "base")
    else:
        warm_up(work)
    good_folders.few_resamples()
    os.chdir(work)
    limit = status_mb("VmSize") + _ADDRESSES_MB << 20
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    signal.signal(signal.SIGALRM, too_long)
    by_hand = [int(word) for word in sys.argv[2:]]
    answer.write(json.dumps({"ready": True}) + "\n")
    for seed in by_hand or map(int, sys.stdin):
        for said in run_case(work, seed, by_hand=bool(by_hand)):
            answer.write(json.dumps(said) + "\n")


def warm_up(work: Path) -> None:
    """Import what commands import, so that its memory is not put down to a case."""
    os.chdir(work / "base")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for name in ("run", "exported", "yolo"):
            if Path(name).is_dir():
                good_folders.command("submit", name, "tree", work / "tmp" / "warm.csv", "--overwrite")
        good_folders.command("evaluate", "found", "data")
        import matplotlib.font_manager  # noqa: F401 - which writes a list of fonts where MPLCONFIGDIR says
    (work / "tmp" / "warm.csv").unlink()


def too_long(*_: object) -> None:
    """Asked every second of CPU time or, at last, of the clock."""
    raise TooLongError


def run_case(work: Path, seed: int, *, by_hand: bool) -> Iterator[dict[str, Any]]:
    """Make the case of a seed, run its command and say how it ended."""
    case = work / "case"
    make = target(seed)
    try:
        words = make_case(work, case, seed)
    except Exception as error:  # a fault of these tests
        if by_hand:
            raise
        yield {"begins": seed, "target": make.__name__, "command": []}
        told = f"cannot be made: {type(error).__name__}: {error}"
        yield {"ends": seed, "how": told, "problems": [told], "seconds": 0, "grown_mb": 0, "lines": []}
        return
    yield {"begins": seed, "target": make.__name__, "command": words}
    before = {name: tree_of(work / name) for name in ("outside", "home", "tmp")}
    before["work"] = {path.name: None for path in work.iterdir()}
    halves = set(case.rglob("*.part"))
    reset_peak()
    started_mb, started = status_mb("VmRSS"), time.process_time()
    out, err = io.StringIO(), io.StringIO()
    os.chdir(case)
    signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            ended, lines = outcome(words, by_hand=by_hand)
    except TooLongError:
        ended, lines = "hangs", []
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.chdir(work)
    seconds, grown_mb = time.process_time() - started, status_mb("VmHWM") - started_mb
    problems = [] if ended in {"done", "refused"} else [ended]
    if seconds > CPU_SECONDS:
        problems.append(f"took {seconds:.0f} s")
    if grown_mb > GROWTH_MB:
        problems.append(f"took {grown_mb:.0f} MB")
    problems += [f"wrote outside: {name}" for name in changed(work, before)]
    if ended in {"done", "refused"}:
        problems += [f"half a file: {path.name}" for path in set(case.rglob("*.part")) - halves]
    shown = out.getvalue() + err.getvalue()
    if make.__name__ == "yolo_dataset":  # a bar of ultralytics' own
        shown = re.sub(r"\r?\x1b\[(K|\d*m)|\r", "\n", shown)
    problems += odd_lines([*lines, *shown.split("\n")])
    if by_hand:
        sys.stderr.write(f"{words}\n{out.getvalue()}{err.getvalue()}{lines}\n")
    told = {"seconds": round(seconds, 2), "grown_mb": round(grown_mb), "lines": lines[:3]}
    yield {"ends": seed, "how": ended, "problems": problems, **told}


def make_case(work: Path, case: Path, seed: int) -> list[str]:
    """The folder and the command of a seed, always the same."""
    if case.is_symlink() or case.is_file():
        case.unlink()
    shutil.rmtree(case, ignore_errors=True)
    case.mkdir(parents=True)
    return target(seed)(Place(work / "base", case, work / "outside", random.Random(seed)))


def outcome(words: list[str], *, by_hand: bool) -> tuple[str, list[str]]:
    """Run a command as `hilum.__main__` does: how it ended, and its lines."""
    from cyclopts import CycloptsError

    from hilum.errors import HilumError

    try:
        if words[0] == "benchmark":
            with good_folders.costs_nothing():
                good_folders.command(*words)
        else:
            good_folders.command(*words)
    except HilumError as error:
        return ("refused", list(error.args)) if all(map(str.strip, error.args)) and error.args else ("says nothing", [])
    except CycloptsError as error:
        return "refused", [" ".join(str(error).split())]
    except TooLongError:
        raise
    except BaseException as error:  # noqa: BLE001 - which is what is looked for
        if isinstance(error, OSError) and error.filename and not isinstance(error, BrokenPipeError):
            return "refused", []  # it says which file
        if by_hand:
            traceback.print_exc(file=sys.__stderr__)
        ours = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if "hilum" in frame.filename or "wt" in frame.filename
        ]
        where = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in ours][-2:]
        return f"a bug: {type(error).__name__} at {' > '.join(where)}: {str(error)[:100]!r}", []
    return "done", []


def odd_lines(lines: list[str]) -> Iterator[str]:
    """What a terminal would obey, or is longer than anybody reads."""
    for line in lines:
        if any(unicodedata.category(each) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for each in line):
            yield f"raw characters: {line[:100]!r}"
        elif found := _PYTHON.search(line):
            yield f"names {found[0]}: {line[:200]!r}"
        elif len(line) > MOST_IN_LINE and not line.startswith(
            ("\u2502", "\u250f", "\u2521", "\u2514", " ", "\u2503", "- ")
        ):
            yield f"a line of {len(line)} characters: {line[:60]!r}"


def tree_of(folder: Path) -> dict[str, Any]:
    """Names, sizes, contents of small files."""
    return {
        str(p.relative_to(folder)): (p.read_bytes() if p.is_file() and p.stat().st_size < 1 << 16 else None)
        for p in folder.rglob("*")
    }


def changed(work: Path, before: dict[str, Any]) -> list[str]:
    """What lies otherwise than before, beside the case."""
    names = []
    for name in ("outside", "home", "tmp"):
        now = tree_of(work / name)
        names += [
            f"{name}/{each}"
            for each in sorted(now.keys() | before[name].keys())
            if now.get(each, 0) != before[name].get(each, 0)
        ]
    there = {path.name for path in work.iterdir()}
    return names + sorted(there ^ before["work"].keys())


def status_mb(key: str) -> int:
    """A figure of /proc/self/status, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) >> 10
    raise KeyError(key)


def reset_peak() -> None:
    """Have the peak of resident memory measured from now on (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main()
