"""Read anybody's files within bounds; write files so that a reader, or a killed run, never sees half of one.

A folder that the user names may hold what comes from anybody. A link in it could lead whoever writes or deletes there
to files elsewhere, so hilum makes its folders with `own_folder`, its files under new names, and deletes with `remove`.
The named folder itself may be a link. Whoever swaps a folder for a link meanwhile is not kept out.
"""

import csv
import errno
import io
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO, TextIO

from hilum.errors import HilumError
from hilum.system import flush, holding

PARTIAL = ".part"
NOT_WRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
"""Errors of a folder that is not to be written to, in contrast to one that is full or gone."""


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


def read_open(file: IO[bytes], at_most: int) -> bytes:
    """What an open file holds from where it stands, whatever it says of its length.

    Raises:
        HilumError: it is closed, holds more, or gives no bytes; the reason alone.
        OSError: it cannot be read.
    """
    parts: list[bytes] = []
    left = at_most + 1
    try:
        while left > 0 and (part := file.read(min(left, 1 << 20))):
            if not isinstance(part, bytes):
                raise HilumError("an open file that gives text; open it for reading bytes: 'rb'")
            parts.append(part)
            left -= len(part)
    except ValueError as error:
        raise HilumError("an open file that is closed by now, or not open for reading bytes") from error
    if left <= 0:
        raise HilumError(f"more than {_size(at_most)}, which is the most that is read")
    return b"".join(parts)


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
        OSError: the disk is full or the folder is not writable; it names `path`, and no half file is left.
    """
    data = content.encode() if isinstance(content, str) else content
    folder, name = os.path.split(path)
    # Not the process's number: two machines of a cluster may have the same, and write to the same disk.
    partial = os.path.join(folder, f".{name}.{secrets.token_hex(4)}{PARTIAL}")  # noqa: PTH118 - twice an image
    try:
        with naming(path):
            with open(partial, "xb", buffering=0, opener=_private if private else None) as file:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
            os.replace(partial, path)  # noqa: PTH105
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)  # noqa: PTH108
        raise


def make_durable(path: Path) -> None:
    """Have a file's content, or which names a folder holds, survive a loss of power.

    Raises:
        OSError: the disk does not take it.
    """
    with naming(path):
        flush(path)


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text file that is written bit by bit, and takes the place of `path` when it is whole.

    Its hidden name is always the same, so that another try writes in the place of what a kill left: one writer a file.

    Args:
        path: the file.

    Raises:
        OSError: the disk is full or the folder is not writable; no half file is left.
    """
    partial = path.with_name(f".{path.name}{PARTIAL}")
    try:
        with naming(path):
            remove(partial)
            with partial.open("x", encoding="utf-8", newline="") as file:
                yield file
            partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Have an error of the system name the file `path`: that of a full disk names none, others name a hidden one.

    Raises:
        OSError: as it was raised, but for that.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or not (error.filename is None or str(error.filename).endswith(PARTIAL)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def open_to_append(path: Path) -> BinaryIO:
    """Open a file of `own_folder` to read and to append to, in place; it is made where it is not there.

    A link is replaced by an empty file, and a file that has a second name elsewhere by a copy.
    """
    with naming(path):
        with suppress(FileNotFoundError):
            about = path.lstat()
            if not stat.S_ISREG(about.st_mode):
                remove(path)
            elif about.st_nlink > 1:
                write_atomically(path, path.read_bytes())
        return open(path, "a+b", opener=_through_no_link)


def own_folder(root: Path, *parts: str) -> Path:
    """Make a folder below one that the user named, and make sure that it lies there.

    Args:
        root: what the user named; made where it is not there.
        parts: the way from there.

    Raises:
        HilumError: a part of the way is a link.
        OSError: it cannot be made.
    """
    refuse_links(root, "/".join(parts))
    folder = root.joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def refuse_links(root: Path, *ways: str) -> None:
    """Make sure that ways into a folder that the user named lead through no link, whether or not they are there yet.

    Args:
        root: what the user named.
        ways: relative to it.

    Raises:
        HilumError: one does.
    """
    for way in ways:
        place = root
        for part in Path(way).parts:
            place = place / part
            if place.is_symlink():
                raise _led_out(place, root)


def refuse_any_link(folder: Path) -> None:
    """Make sure that nothing below a folder is a link: for what others write into by ways of their own.

    Raises:
        HilumError: something is.
    """
    for place, folders, files in os.walk(folder):
        for name in sorted((*folders, *files)):
            if Path(place, name).is_symlink():
                raise _led_out(Path(place, name), folder)


def _led_out(link: Path, folder: Path) -> HilumError:
    return HilumError(f"{link}: is a link; nothing outside {folder} is written or removed: remove the link")


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it; of a link the link alone. Nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _through_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


@contextmanager
def locked(folder: Path, *, busy: str | None) -> Iterator[None]:
    """Keep other commands that lock it too out of a folder, which is there.

    Args:
        folder: the folder.
        busy: what is said where another command holds it; None waits for its end instead.

    Raises:
        HilumError: `busy`.
    """
    with ExitStack() as held:
        try:
            held.enter_context(holding(folder, wait=busy is None))
        except BlockingIOError as error:
            raise HilumError(f"{folder}: {busy}") from error
        yield


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV, lines ending in a single newline on every system."""
    return "".join(map(csv_line, (header, *rows)))


def csv_line(cells: Sequence[object]) -> str:
    """A row of a table as CSV, with its newline."""
    line = io.StringIO()
    # The name of a file may hold a carriage return, which Python before 3.13 leaves bare; it begins a new line.
    bare = any("\r" in str(cell) for cell in cells)
    csv.writer(line, lineterminator="\n", quoting=csv.QUOTE_ALL if bare else csv.QUOTE_MINIMAL).writerow(cells)
    return line.getvalue()
