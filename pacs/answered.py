"""Which objects need no answer any more, by keyed hashes of their UIDs: those that had one, and the answers themselves.

A file of lines, one an object, with the day. What is older than a month is forgotten: whoever sends it again then gets
the same answer, under the same UIDs, once more.
"""

import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from hilum.files import make_durable, write_atomically

_DAYS: Final = 30
_LINE = re.compile(rb"(\d{1,7}) ([0-9a-f]{16})")
_MAX_BYTES: Final = 1 << 28  # of the file: some ten million objects


class Answered:
    """The hashes, in memory and in a file of this process's own."""

    def __init__(self, path: Path) -> None:
        """Take what the file holds; half a last line, of a killed process, is left out.

        Raises:
            OSError: it cannot be read or written.
        """
        self._path = path
        self._day_of: dict[str, int] = {}
        if path.exists():
            with path.open("rb") as file:
                lines = file.read(_MAX_BYTES).splitlines(keepends=True)
            found = (_LINE.fullmatch(line[:-1]) for line in lines if line.endswith(b"\n"))
            self._day_of = {line[2].decode(): int(line[1]) for line in found if line}
        self._today = -1
        self._begin_day()

    def __contains__(self, name: str) -> bool:
        return name in self._day_of

    def add(self, names: Iterable[str]) -> None:
        """Take up names, for good once this returns.

        Raises:
            OSError: the disk does not take them.
        """
        if _day() != self._today:
            self._begin_day()
        new = dict.fromkeys(names, self._today)
        with self._path.open("ab") as file:
            file.write(_lines(new))
            file.flush()
            os.fsync(file.fileno())
        self._day_of |= new

    def _begin_day(self) -> None:
        self._today = _day()
        self._day_of = {name: day for name, day in self._day_of.items() if day > self._today - _DAYS}
        write_atomically(self._path, _lines(self._day_of), private=True)
        make_durable(self._path)
        make_durable(self._path.parent)


def _lines(day_of: dict[str, int]) -> bytes:
    return "".join(f"{day} {name}\n" for name, day in day_of.items()).encode()


def _day() -> int:
    """Days since 1970."""
    return int(datetime.now(UTC).timestamp() // 86_400)
