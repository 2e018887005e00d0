"""`python -m hilum` and the command `hilum`: runs the command line and turns known errors into plain lines."""

import os
import signal
import sys
import traceback
from contextlib import suppress
from typing import Any

from hilum.system import STANDARD_INPUT, default_in_children

_ended_by: list[int] = []
WAITING = {"GOMP_SPINCOUNT": "10000"}
"""How often OpenMP's threads look for work before they sleep: torch is slow beside busy processes if they look on."""


def main() -> None:
    """Run the command line; exit code 1 on an error that the user can mend, 130 when interrupted, 143 when terminated.

    SIGTERM, by which schedulers and `kill` end a program, ends it as Ctrl+C does: what is half written goes.
    """
    if not {"OMP_WAIT_POLICY", *WAITING} & os.environ.keys():  # read once, when torch is imported
        os.environ.update(WAITING)
    signal.signal(signal.SIGTERM, _interrupt)
    default_in_children(signal.SIGTERM)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # another object stands in for it
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # a terminal of few characters
    try:
        from hilum.cli import run

        words = [
            str(STANDARD_INPUT) if word == "-" else word for word in sys.argv[1:]
        ]  # else it would be an unknown option
        run(words)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - each is told by a line
        sys.exit(_tell(error))


def _interrupt(number: int, frame: Any) -> None:
    del frame
    _ended_by.append(number)
    signal.signal(number, signal.SIG_DFL)  # a second one does not wait
    raise KeyboardInterrupt


def _tell(error: BaseException) -> int:
    """Say what ended the command, and return its exit code."""
    from cyclopts import CycloptsError

    from hilum.cli import GOES_ON, app
    from hilum.commands.terminal import complain
    from hilum.errors import HilumError

    # Ended from outside, processes that share the work end too, and each misses the others first.
    if isinstance(error, KeyboardInterrupt) or _ended_by:
        command = next((word for word in sys.argv[1:] if word in set(app)), None)
        complain("interrupted" + ("; the same command again goes on" if command in GOES_ON else ""))
        return 128 + (_ended_by[0] if _ended_by else signal.SIGINT)
    if isinstance(error, HilumError):
        complain(*error.lines)
    elif isinstance(error, CycloptsError):
        complain(" ".join(str(error).split()))
    elif isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    elif isinstance(error, OSError):
        complain(f"{error.filename or 'a file'}: {error.strerror or error}")
    else:  # whatever else: a line instead of a traceback
        if os.environ.get("HILUM_DEBUG"):
            raise error
        # Not the message: it may quote what a file or its name says.
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{os.path.basename(where.filename)}, line {where.lineno}"  # noqa: PTH119
        complain(f"{type(error).__name__} in {place}: a bug; HILUM_DEBUG=1 shows more")
    return 1


if __name__ == "__main__":
    main()
