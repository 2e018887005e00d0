"""A file of lines that an interrupted command goes on from: what is not as it was written is not believed.

Each line ends with a digest of itself and of all before it. A line that was changed, cut, moved or lost ends what is
taken from the file. That shows damage; whoever writes all the digests anew can still lie.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from hilum.files import naming, open_to_append

_MAX_LINE: Final = 1 << 22  # bytes
_DIGITS: Final = 16  # of a digest, hexadecimal


class SealedLines:
    """An open file of sealed lines, to which its only writer adds."""

    def __init__(self, path: Path, begun: str, take: Callable[[str], bool]) -> None:
        """Open a file and take the lines that can be believed; cut off the others.

        Args:
            path: the file; made where it is missing, and where a link or a pipe lies in its place.
            begun: its first line, which says what the others depend on. Where the file has another, it begins anew.
            take: called with each further line, in order; False ends what is taken, as damage does.

        Raises:
            OSError: it cannot be written.
        """
        self._path = path
        self._file = open_to_append(path)
        self._seal = b""
        length = 0
        for number, (line, seal, size) in enumerate(_believed(self._file)):
            if (line != begun) if number == 0 else not take(line):
                break
            self._seal, length = seal, length + size
        self._file.truncate(length)
        self._file.seek(0, os.SEEK_END)
        if not length:
            self.add(begun)

    def add(self, line: str) -> None:
        """Write a line, which holds no line break."""
        content = line.encode()
        self._seal = _seal(self._seal, content)
        with naming(self._path):
            self._file.write(content + b" " + self._seal + b"\n")
            self._file.flush()

    def __iter__(self) -> Iterator[str]:
        """The lines behind the first, read one at a time."""
        with open_to_append(self._path) as file:
            for number, (line, _, _) in enumerate(_believed(file)):
                if number:
                    yield line

    def close(self) -> None:
        """Close the file."""
        with naming(self._path):
            self._file.close()


def _believed(file: BinaryIO) -> Iterator[tuple[str, bytes, int]]:
    """Each line up to the first that is not as it was written, its seal, and its bytes with both."""
    file.seek(0)
    before = b""
    while (whole := file.readline(_MAX_LINE)).endswith(b"\n"):
        content, _, seal = whole[:-1].rpartition(b" ")
        if seal != _seal(before, content):
            return
        yield content.decode(errors="replace"), seal, len(whole)
        before = seal


def _seal(before: bytes, content: bytes) -> bytes:
    return hashlib.sha256(before + b"\n" + content).hexdigest()[:_DIGITS].encode()
