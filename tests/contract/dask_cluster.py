"""A Dask cluster of processes on this machine, for tests: workers run in folders of their own, as on other machines."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def distributed():
    return pytest.importorskip("distributed", reason='Dask is missing: pip install "hilum[dask]"')


class Cluster:
    """Its processes: first the scheduler."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, []
        log = self._start("scheduler", "scheduler", "--host", "127.0.0.1", "--port", "0")
        self.scheduler = self.processes[0]
        self.address = self._wait(log, "Scheduler at:").split()[-1]

    def worker(self, *options):
        log = self._start(
            f"worker-{len(self.processes)}", "worker", self.address, "--host", "127.0.0.1", "--nthreads", "1", *options
        )
        self._wait(log, "Registered to:")
        return self.processes[-1]

    def log(self, process) -> str:
        return (self.folder / f"{process.name}.log").read_text()

    def close(self):
        for process in reversed(self.processes):  # workers before their scheduler, which they would look for
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()

    def _start(self, name, *arguments):
        here = self.folder / name
        here.mkdir()
        log = self.folder / f"{name}.log"
        script = "import sys; from dask.cli import run_cli; sys.argv[0] = 'dask'; run_cli()"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", script, *arguments, "--no-dashboard"],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=here,
                env=os.environ | {"DASK_LOGGING__DISTRIBUTED": "info", "DASK_TEMPORARY_DIRECTORY": str(here)},
            )
        process.name = name
        self.processes.append(process)
        return log

    def _wait(self, log, words):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for line in log.read_text().splitlines():
                if words in line:
                    return line
            assert self.processes[-1].poll() is None, log.read_text()
            time.sleep(0.05)
        raise AssertionError(log.read_text())


@contextmanager
def running(folder):
    processes = Cluster(folder)
    try:
        yield processes
    finally:
        processes.close()


@pytest.fixture(scope="module")
def two_workers(distributed, tmp_path_factory):
    """Not to be killed."""
    with running(tmp_path_factory.mktemp("cluster")) as processes:
        processes.worker("--no-nanny")
        processes.worker("--no-nanny")
        yield processes


@pytest.fixture
def own(distributed, tmp_path):
    """To be killed."""
    (tmp_path / "cluster").mkdir()
    with running(tmp_path / "cluster") as processes:
        yield processes
