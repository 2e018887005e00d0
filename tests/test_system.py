"""What differs from system to system stands in one module, and what stands in for it works."""

import ast
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import hilum
from hilum import system
from hilum.errors import HilumError
from hilum.files import locked
from hilum.system import holding, keep_freed_memory, memory_bytes, peak_resident_bytes

ROOMS = Path(hilum.__file__).parent
POSIX_MODULES = {"fcntl", "resource", "termios", "tty", "pty", "pwd", "grp", "posix", "syslog", "ctypes"}
POSIX_CALLS = {
    *("fork", "forkpty", "sysconf", "register_at_fork", "mkfifo", "getuid", "geteuid", "setsid", "killpg", "nice"),
    *("SIGKILL", "alarm", "pause", "sigwait", "setitimer", "SIGHUP", "SIGUSR1", "SIGALRM", "getloadavg", "statvfs"),
}


def test_no_other_module_calls_what_only_some_systems_have() -> None:
    seen = set()
    for path in [*ROOMS.glob("*.py"), *ROOMS.glob("*/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                seen |= {(path.name, name) for name in names & (POSIX_MODULES | POSIX_CALLS)}
            elif isinstance(node, ast.Attribute) and node.attr in POSIX_CALLS:
                seen.add((path.name, node.attr))
    assert {name for name, _ in seen} == {"system.py"}, seen


@pytest.fixture(params=["with folder locks", "without"])
def _kind_of_lock(request, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if request.param == "without":
        monkeypatch.setattr(system, "fcntl", None)
        monkeypatch.setattr(system.tempfile, "gettempdir", lambda: str(tmp_path))


@pytest.mark.usefixtures("_kind_of_lock")
def test_a_folder_is_held_by_one_and_free_again_afterwards(tmp_path: Path) -> None:
    folder, other = tmp_path / "folder", tmp_path / "other"
    folder.mkdir(), other.mkdir()
    with holding(folder, wait=False):
        with holding(other, wait=False):
            pass
        with pytest.raises(BlockingIOError), holding(folder, wait=False):
            pass
        with pytest.raises(HilumError, match="folder: taken"), locked(folder, busy="taken"):
            pass
    with holding(folder, wait=True), pytest.raises(ZeroDivisionError), holding(other, wait=True):
        raise ZeroDivisionError
    assert list(folder.iterdir()) == list(other.iterdir()) == []


def test_a_system_that_tells_nothing_of_memory_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory_bytes() > peak_resident_bytes() > 2**20
    monkeypatch.delattr(system.os, "sysconf")
    assert memory_bytes() is None
    monkeypatch.setattr(system, "resource", None)
    monkeypatch.setattr(system.Path, "read_text", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError))
    assert peak_resident_bytes() is None
    system.limit_this_process(memory_bytes=1, cpu_seconds=1)  # nothing is limited: the next line takes more


def test_the_command_line_starts_without_the_calls_of_posix() -> None:
    program = (
        "import os, random, signal, sys, torch, hilum.cli, hilum.comparison.cost\n"
        "for name in [name for name in sys.modules if name.startswith('hilum')]: del sys.modules[name]\n"
        "sys.modules['fcntl'] = sys.modules['resource'] = None\n"
        "for name in ('register_at_fork', 'sysconf', 'sched_getaffinity'): delattr(os, name)\n"
        "for name in ('SIGKILL', 'alarm', 'SIGALRM', 'SIGHUP'): delattr(signal, name)\n"
        "sys.argv = ['hilum', 'config', 'unet']\n"
        "from hilum.__main__ import main; import hilum.commands.process_pool; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "backend: unet" in done.stdout


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory as it likes")
def test_the_maps_of_a_step_are_not_cleared_by_the_kernel_again():
    keep_freed_memory()
    faults = []
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        maps = [torch.ones(12 << 20) for _ in range(8)]  # 48 MB each, 98,304 pages in all
        del maps
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert min(faults[1:]) < 98_304 / 4  # one map may find no place, for what lies between them
