"""All files below a folder, however deep it is, linked into itself or closed in part."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

_OWN = {errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL}

HIDDEN = "hidden: its name begins with a dot"


def files_below(top: Path, *, passed_over: Path | None = None) -> Iterator[tuple[str, str, str | None]]:
    """All files below a folder; links to folders are followed, into each folder once.

    Args:
        top: the folder.
        passed_over: a folder that is no part of it, wherever it lies.

    Yields:
        The name below `top`, printable and with slashes; the path to open; and None, or why it cannot be read: it is a
        pipe or a device, which would be waited on for ever, a broken link, or a folder that is closed or read already;
        `HIDDEN` of files and folders that belong to systems and programs, which are not looked into.

    Raises:
        OSError: not one file's own fault: a disk is gone, or too many files are open.
    """
    skipped = _identity(str(passed_over)) if passed_over is not None and passed_over.exists() else None
    seen = {skipped}
    waiting = [(str(top), "")]
    while waiting:  # not `os.walk`, which calls itself for each level
        folder, prefix = waiting.pop()
        try:
            identity = _identity(folder)
            if identity in seen:
                if identity != skipped:
                    yield prefix.rstrip("/"), folder, "a link to a folder that is read already"
                continue
            seen.add(identity)
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            if not is_its_own(error):
                raise
            yield prefix.rstrip("/"), folder, f"the folder cannot be read: {error.strerror}"
            continue
        for entry in entries:
            name = prefix + spelt_out(entry.name)
            if entry.name.startswith("."):
                yield name, entry.path, HIDDEN
                continue
            try:
                below, regular = entry.is_dir(), entry.is_file()
            except OSError as error:
                if not is_its_own(error):
                    raise
                yield name, entry.path, f"cannot be read: {error.strerror}"
                continue
            if below:
                waiting.append((entry.path, f"{name}/"))
            else:
                yield name, entry.path, None if regular else "not a regular file, or a broken link"


def is_its_own(error: OSError) -> bool:
    """Whether one file is to blame, which is left out then; else the same would be said of all that come after it."""
    return error.errno in _OWN


def spelt_out(name: str) -> str:
    """A file name as it may stand in a table: control characters and undecodable bytes are escaped, none alike."""
    if name.isprintable() and "\\" not in name:
        return name
    return "".join(c if c.isprintable() and c != "\\" else c.encode("unicode_escape").decode("ascii") for c in name)


def _identity(folder: str) -> tuple[int, int]:
    """What a folder is, however it is reached."""
    status = os.stat(folder)  # noqa: PTH116
    return status.st_dev, status.st_ino
