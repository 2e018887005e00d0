"""Read anybody's files within bounds; write files so that a reader, or a killed run, never sees half of one."""

import csv
import fcntl
import io
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TextIO

from hilum.errors import HilumError

PARTIAL = ".part"


def read_regular(path: Path | str, at_most: int) -> bytes:
    """The whole content of a regular file: its kind is known before it is opened to the end, its size before its bytes.

    A named pipe or a device would be waited on for ever; a sparse file takes as much memory as it says to be long.

    Args:
        path: the file; a link to one is followed.
        at_most: bytes.

    Raises:
        HilumError: it is not a regular file, or larger; the reason alone, for the caller knows which file.
        OSError: it is not there, or cannot be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > at_most:
            raise HilumError(f"{_size(size)}; at most {_size(at_most)} are read")
        content = file.read(size + 1)  # one more, which is there if the file grew meanwhile
    if len(content) > size:
        raise HilumError("it grows while it is read; wait until it is whole")
    return content


@contextmanager
def open_regular(path: Path | str) -> Iterator[BinaryIO]:
    """A regular file, open for reading; anything else is refused before it is waited on.

    Raises:
        HilumError: it is not a regular file; the reason alone.
        OSError: it is not there, or cannot be read.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise HilumError("a pipe or a device; a regular file is expected")
        yield file


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe without a writer would be waited on


def _size(count: int) -> str:
    """A number of bytes, for people."""
    return f"{count >> 20:,} MiB" if count >= 1 << 20 else f"{count:,} bytes"


def write_atomically(path: Path | str, content: bytes | str, *, private: bool = False) -> None:
    """Write `content` (text as UTF-8) to a file beside `path`, then rename it over `path`.

    Args:
        path: the file.
        content: all of it.
        private: nobody but its owner may read it.

    Raises:
        OSError: the disk is full or the folder is not writable; no half file is left.
    """
    data = content.encode() if isinstance(content, str) else content
    folder, name = os.path.split(path)
    # Not the process's number: two machines of a cluster may have the same, and write to the same disk.
    partial = os.path.join(folder, f".{name}.{secrets.token_hex(4)}{PARTIAL}")  # noqa: PTH118 - twice an image
    try:
        with open(partial, "wb", buffering=0, opener=_private if private else None) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        os.replace(partial, path)  # noqa: PTH105
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)  # noqa: PTH108
        raise


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text file that is written bit by bit, and takes the place of `path` when it is whole.

    Its hidden name is always the same, so that another try writes over what a kill left: one writer a file.

    Args:
        path: the file.

    Raises:
        OSError: the disk is full or the folder is not writable; no half file is left.
    """
    partial = path.with_name(f".{path.name}{PARTIAL}")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            yield file
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextmanager
def locked(folder: Path, *, busy: str | None) -> Iterator[None]:
    """Keep other commands that lock it too out of a folder, which is there.

    Args:
        folder: the folder.
        busy: what is said where another command holds it; None waits for its end instead.

    Raises:
        HilumError: `busy`.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if busy is None else fcntl.LOCK_NB))
            except BlockingIOError as error:
                raise HilumError(f"{folder}: {busy}") from error
        yield
    finally:
        os.close(handle)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV, lines ending in a single newline on every system."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
