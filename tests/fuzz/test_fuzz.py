"""Everything that hilum reads, damaged by the thousand: done or refused in one line, soon, in little memory, at home.

A case that fails is made again and shown by the command that its line ends with; what it was made of is kept.
"""

import json
import os
import select
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PATIENCE = 75  # seconds; a worker's own timer comes first, unless a library does not let it
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is measured in /proc")


class Worker:
    """A process that runs cases; a new one where it died."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> subprocess.Popen[str]:
        if self.process is not None and self.process.poll() is None:
            return self.process
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HILUM")}
        environment |= {"HOME": str(self.work / "home"), "TMPDIR": str(self.work / "tmp"), "OMP_NUM_THREADS": "1"}
        environment |= {"MPLCONFIGDIR": str(self.work / "matplotlib"), "PYTHONDONTWRITEBYTECODE": "1"}
        with (self.work / "log.txt").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "worker.py"), str(self.work)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
            )
        assert self.answer(300) == {"ready": True}, (self.work / "log.txt").read_text()[-2000:]
        return self.process

    def answer(self, seconds: float) -> dict[str, Any] | None:
        """The next line, or None where the process ended or is not heard of."""
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        line = self.process.stdout.readline() if ready else ""
        return json.loads(line) if line else None

    def run(self, seed: int) -> dict[str, Any]:
        """How a case ended; one that was not heard of is tried again, for the machine may have had else to do."""
        told = self.once(seed)
        if told["how"].startswith(("hangs", "died")):
            told = self.once(seed)
        if told["problems"]:
            self.keep(seed)
        return told

    def once(self, seed: int) -> dict[str, Any]:
        process = self.start()
        process.stdin.write(f"{seed}\n")
        process.stdin.flush()
        began = self.answer(PATIENCE) or {"target": "?", "command": []}
        ended = self.answer(PATIENCE)
        if ended is None:
            with process:
                process.kill()
            how = f"died ({process.returncode})"
            ended = {"how": how, "problems": [how], "seconds": PATIENCE, "grown_mb": 0, "lines": []}
        return began | ended | {"seed": seed}

    def keep(self, seed: int) -> None:
        """What the command left of the case; pipes and the like are made again with the seed."""
        kept = self.work / "failed" / str(seed)
        shutil.rmtree(kept, ignore_errors=True)
        copied = shutil.ignore_patterns(
            *(
                p.name
                for p in (self.work / "case").rglob("*")
                if not ((p.is_file() and p.stat().st_size < 1 << 24) or p.is_dir())
            )
        )
        shutil.copytree(self.work / "case", kept, symlinks=True, ignore=copied)

    def stop(self) -> None:
        if self.process is not None:
            with self.process:  # which closes its pipes
                self.process.kill()


def fuzz(seeds: range, folder: Path, workers: int) -> list[dict[str, Any]]:
    """Run all seeds, shared among so many workers."""
    results: list[dict[str, Any]] = []
    pool = []
    for number in range(workers):
        work = folder / f"work{number}"
        work.mkdir()
        if number:
            shutil.copytree(folder / "work0" / "base", work / "base")
        pool.append(Worker(work))
        pool[-1].start()

    def work_off(worker: Worker, mine: range) -> None:
        results.extend(worker.run(seed) for seed in mine)

    threads = [threading.Thread(target=work_off, args=(worker, seeds[n::workers])) for n, worker in enumerate(pool)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for worker in pool:
        worker.stop()
    return results


@pytest.mark.parametrize(
    ("seeds", "workers"),
    [(range(300), 1), pytest.param(range(1000, 7000), 2, marks=pytest.mark.slow)],
    ids=["300", "6000"],
)
def test_whatever_is_read_ends_well(seeds: range, workers: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = Path(os.environ.get("HILUM_FUZZ_FOLDER") or tmp_path_factory.mktemp("fuzz"))
    began = time.monotonic()
    results = fuzz(seeds, folder, workers)
    assert len(results) == len(seeds)
    ends = Counter((result["target"], result["how"]) for result in results)
    slowest = max(result["seconds"] for result in results)
    largest = max(result["grown_mb"] for result in results)
    print(  # noqa: T201 - the figures of a run, with -s
        f"{len(results)} cases in {time.monotonic() - began:.0f} s; at most {slowest:.1f} s and {largest} MB"
    )
    (folder / "results.json").write_text(json.dumps(results, indent=1))
    failed = [
        f"{result['target']}: {'; '.join(result['problems'])}: hilum {' '.join(result['command'])!r} "
        f"(HILUM_FUZZ_FOLDER/worker.py {result['seed']})"
        for result in sorted(results, key=lambda result: (result["target"], result["problems"]))
        if result["problems"]
    ]
    assert not failed, f"{len(failed)} of {len(results)} in {folder}/work*/failed:\n" + "\n".join(failed)
    # The changes are neither all harmless nor all deadly; of fewer than ten of a kind that cannot be told.
    often = {target for target, count in Counter(result["target"] for result in results).items() if count >= 10}
    assert often
    assert all(ends[target, "done"] for target in often), ends
    assert 0.2 < sum(count for (_, how), count in ends.items() if how == "refused") / len(results) < 0.8, ends
