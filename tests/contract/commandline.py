"""The command line in this process: a process of its own would spend seconds on importing torch."""

import io
import signal
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

from hilum.__main__ import main


def hilum(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command as `python -m hilum` does; it ends with this code, and never with a traceback."""
    told, said = io.StringIO(), io.StringIO()
    handler, ended = signal.getsignal(signal.SIGTERM), 0
    with (
        patch.object(sys, "argv", ["hilum", *map(str, words)]),
        redirect_stdout(told),
        redirect_stderr(said),
        warnings.catch_warnings(),
    ):
        _warn_as_python_does()
        try:
            main()
        except SystemExit as end:
            ended = end.code or 0
        finally:
            signal.signal(signal.SIGTERM, handler)
    done = subprocess.CompletedProcess(sys.argv, ended, told.getvalue(), said.getvalue())
    assert "Traceback" not in done.stderr + done.stdout
    assert done.returncode == code, done.stderr
    return done


def _warn_as_python_does() -> None:
    """On stderr, and not as errors, which pytest makes of warnings."""
    warnings.resetwarnings()
    for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", kind)
    warnings.showwarning = lambda *given: sys.stderr.write(warnings.formatwarning(*given[:4]))


def complaint(*words: object) -> str:
    """The single line that a command complains with."""
    lines = [line for line in hilum(*words, code=1).stderr.splitlines() if line.strip()]
    assert len(lines) == 1, lines
    assert lines[0].startswith("hilum: ")
    return lines[0]
