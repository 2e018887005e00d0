"""What hilum says on the way, through the logger `hilum`: to standard error, and to a file. Results are not said here.

Whoever uses hilum as a library finds a handler for standard error there, from INFO on, and may take it away.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hilum.printable import one_line, printable

log: Final = logging.getLogger("hilum")


class _StandardError(logging.Handler):
    """Plain lines. Nothing in them is obeyed by a terminal; a bar that is shown stays below them."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            said = record.getMessage()
            wrong = record.levelno >= logging.WARNING
            sys.stderr.write(f"hilum: {one_line(said)}\n" if wrong else f"{printable(said)}\n")
        except Exception:  # noqa: BLE001 - as every handler does
            self.handleError(record)


class _InFile(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{self.formatTime(record)} {record.levelname.lower()} {printable(record.getMessage())}"


_standard_error: Final = _StandardError(logging.INFO)
log.setLevel(logging.DEBUG)
log.propagate = False
log.addHandler(_standard_error)


@contextmanager
def talking(*, verbose: bool = False, quiet: bool = False, file: Path | None = None) -> Iterator[None]:
    """While it is open, say more, or nothing but what is wrong; and append all of it to a file, with the time.

    Raises:
        OSError: the file cannot be written.
    """
    level, handler = _standard_error.level, None
    if file is not None:
        handler = logging.FileHandler(file, encoding="utf-8", errors="backslashreplace")
        handler.setFormatter(_InFile())
        log.addHandler(handler)
    if verbose or quiet:
        _standard_error.setLevel(logging.DEBUG if verbose else logging.WARNING)
    try:
        yield
    finally:
        _standard_error.setLevel(level)
        if handler is not None:
            log.removeHandler(handler)
            handler.close()


def is_quiet() -> bool:
    """Whether nothing is said but what is wrong: no bars either. Python turns it off by the logger's level, too."""
    return _standard_error.level > logging.INFO or not log.isEnabledFor(logging.INFO)
