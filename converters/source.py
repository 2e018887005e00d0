"""The files of a source: a folder of any depth or a zip that is read in place, and Kaggle's layout among them.

A zip inside a folder or inside a zip counts as a folder of its name: Kaggle has shipped the challenge flat, nested, and
as one zip of zips. What a zip says of itself is not believed: no member's name is ever used as a path, sizes are
bounded, and members that share bytes are refused.
"""

import io
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from struct import Struct
from typing import TYPE_CHECKING

from hilum.converters.rsna import LeftOut
from hilum.errors import HilumError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

UNPACKED = ".unpacked"
MAX_FILE_BYTES = 256 << 20  # the largest radiographs, 16 bit and uncompressed, have some 60 MB
_LOCAL_HEADER = Struct("<4s22xHH")  # signature, length of the name, length of the extra field (APPNOTE 4.3.7)
_ENCRYPTED = 0x1
_MAX_DEPTH = 2  # a zip in a zip
_MAX_RATIO = 20  # of an inner zip that is itself packed: pictures hardly shrink, bombs do


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file on disk, or a member of a zip on disk; plain values, so that any worker on any machine can read it.

    Attributes:
        name: below the source, with slashes; for messages and for what kind of file it is, never to write to.
        path: the file, or the zip that holds it.
        offset: where the member begins in the zip; -1 for a file of its own.
        packed: bytes in the zip.
        size: bytes when unpacked.
        crc: CRC-32 of the content.
        method: 0 stored, 8 deflated.
    """

    name: str
    path: str
    offset: int = -1
    packed: int = 0
    size: int = 0
    crc: int = 0
    method: int = 0

    @property
    def parts(self) -> tuple[str, ...]:
        """Folders and the file's own name; an inner zip is a folder."""
        return tuple(self.name.split("/"))

    @property
    def stem(self) -> str:
        """The file's name without its ending."""
        return self.name.rpartition("/")[2].rpartition(".")[0] or self.name.rpartition("/")[2]

    def read(self) -> bytes:
        """The whole content.

        Raises:
            HilumError: not readable, too large, or not what the zip says; the reason alone.
        """
        try:
            with open(self.path, "rb") as file:  # noqa: PTH123 - this is the inner loop
                if self.offset < 0:
                    if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
                        raise HilumError(f"larger than {MAX_FILE_BYTES >> 20} MiB; a radiograph is expected")
                    return file.read()
                file.seek(self.offset)
                header = file.read(_LOCAL_HEADER.size)
                signature, name_length, extra_length = _LOCAL_HEADER.unpack(header.ljust(_LOCAL_HEADER.size, b"\0"))
                if signature != b"PK\3\4":
                    raise HilumError("its place in the zip is damaged")
                file.seek(name_length + extra_length, os.SEEK_CUR)
                content = file.read(self.packed)
            if self.method == zipfile.ZIP_DEFLATED:
                content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, self.size + 1)
        except OSError as error:
            raise HilumError(f"cannot be read: {error.strerror}") from error
        except (zlib.error, MemoryError) as error:
            raise HilumError("damaged inside the zip") from error
        if len(content) != self.size or zlib.crc32(content) != self.crc:
            raise HilumError("damaged inside the zip: size or checksum differ")
        return content


def list_files(source: Path, out: Path) -> tuple[list[SourceFile], list[LeftOut]]:
    """All files below a folder or in a zip, sorted by name, and what could not be listed.

    Args:
        source: a folder or a zip.
        out: the dataset folder, which may lie in the source and is no part of it. Inner zips that are packed
            themselves have to be unpacked once to be read: into its folder `UNPACKED`.

    Raises:
        HilumError: no such folder or zip, or nothing in it.
    """
    left_out: list[LeftOut] = []
    if source.is_dir():
        files = list(_walk(source, out, left_out))
    elif not source.is_file():
        raise HilumError(f"{source}: no such folder or zip; give the folder with the DICOM files, or Kaggle's zip")
    elif zipfile.is_zipfile(source):
        files = list(_members(str(source), "", None, out, left_out, depth=1))
    else:
        raise HilumError(f"{source}: is neither a folder nor a zip; give the folder with the DICOM files")
    if not files:
        raise HilumError(f"{source}: the {'folder' if source.is_dir() else 'zip'} is empty; expected DICOM files")
    files.sort(key=lambda file: file.name)
    return files, left_out


def _walk(folder: Path, out: Path, left_out: list[LeftOut]) -> Iterator[SourceFile]:
    def unreadable(error: OSError) -> None:
        name = os.path.relpath(error.filename, folder)
        left_out.append(LeftOut("folder", "", _printable(name), None, f"cannot be read: {error.strerror}"))

    top, ours = str(folder), str(out)
    if out.resolve().is_relative_to(folder.resolve()):
        ours = os.path.join(top, out.resolve().relative_to(folder.resolve()))  # noqa: PTH118
    for here, folders, names in os.walk(top, onerror=unreadable):
        folders[:] = sorted(name for name in folders if os.path.join(here, name) != ours)  # noqa: PTH118
        prefix = "" if here == top else _printable(Path(os.path.relpath(here, top)).as_posix()) + "/"
        for raw in sorted(names):
            path, name = f"{here}{os.sep}{raw}", _printable(raw)
            if name.lower().endswith(".zip") and zipfile.is_zipfile(path):
                yield from _members(path, f"{prefix}{name}/", None, out, left_out, depth=1)
            elif os.path.isfile(path):  # noqa: PTH113 - not a pipe or a device, which would be waited on for ever
                yield SourceFile(prefix + name, path)
            else:
                reason = "not a regular file, or a broken link"
                left_out.append(LeftOut("file", "", prefix + name, None, reason))


def _members(
    path: str, prefix: str, window: tuple[int, int] | None, out: Path, left_out: list[LeftOut], *, depth: int
) -> Iterator[SourceFile]:
    """Members of a zip: the whole file at `path`, or the `window` (start, size) of it."""
    start = window[0] if window else 0
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as in SourceFile.read
            archive = zipfile.ZipFile(_Window(file, *window) if window else file)
            infos = sorted((info for info in archive.infolist() if not info.is_dir()), key=lambda i: i.header_offset)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        left_out.append(LeftOut("file", "", prefix.rstrip("/") or Path(path).name, None, "a damaged zip"))
        if not prefix:
            raise HilumError(f"{path}: a damaged zip ({type(error).__name__})") from error
        return
    forks, end = 0, 0
    for info in infos:
        member = SourceFile(
            prefix + _printable(info.filename),
            path,
            start + info.header_offset,
            info.compress_size,
            info.file_size,
            info.CRC,
            info.compress_type,
        )
        reason = _refused(info, end)
        end = max(end, info.header_offset + _LOCAL_HEADER.size + info.compress_size)
        inner = member.name.lower().endswith(".zip") and depth < _MAX_DEPTH
        if "__MACOSX" in member.parts:
            forks += 1
            continue
        if reason is None and inner:
            yield from _inner(member, out, left_out, depth=depth + 1)
            continue
        if reason is None and info.file_size > MAX_FILE_BYTES:
            reason = f"larger than {MAX_FILE_BYTES >> 20} MiB when unpacked"
        if reason is None:
            yield member
        else:
            left_out.append(LeftOut("file", "", member.name, None, reason))
    if forks:
        left_out.append(LeftOut("file", "", f"{prefix}__MACOSX", None, f"{forks} resource forks of macOS"))


def _refused(info: zipfile.ZipInfo, end: int) -> str | None:
    name = PurePosixPath(info.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or not name.parts or ":" in name.parts[0]:
        return "its name leads out of the zip"
    if info.flag_bits & _ENCRYPTED:
        return "encrypted; unpack the zip with its password and give the folder"
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        return f"packed with method {info.compress_type}; unpack the zip and give the folder"
    if info.header_offset < end:
        return "shares bytes with another member, as zip bombs do"
    return None


def _inner(member: SourceFile, out: Path, left_out: list[LeftOut], *, depth: int) -> Iterator[SourceFile]:
    """Members of a zip in a zip: read in place where it is stored, unpacked once where it is packed."""
    if member.method == zipfile.ZIP_STORED:
        with open(member.path, "rb") as file:  # noqa: PTH123 - as in SourceFile.read
            file.seek(member.offset)
            _, name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        begin = member.offset + _LOCAL_HEADER.size + name_length + extra_length
        yield from _members(member.path, member.name + "/", (begin, member.size), out, left_out, depth=depth)
        return
    scratch = out / UNPACKED
    scratch.mkdir(parents=True, exist_ok=True)
    too_large = member.size > _MAX_RATIO * member.packed + MAX_FILE_BYTES
    if too_large or member.size > shutil.disk_usage(scratch).free:
        reason = f"unpacks to {member.size >> 20} MiB, " + ("a zip bomb" if too_large else "more than the disk has")
        left_out.append(LeftOut("file", "", member.name, None, reason))
        return
    copy = scratch / f"{member.offset}-{member.crc:08x}.zip"
    if not copy.is_file() or copy.stat().st_size != member.size:
        with zipfile.ZipFile(member.path) as archive, copy.with_suffix(".part").open("wb") as target:
            by_offset = {info.header_offset: info for info in archive.infolist()}
            with archive.open(by_offset[member.offset]) as packed:
                shutil.copyfileobj(packed, target, 1 << 20)
        copy.with_suffix(".part").replace(copy)
    yield from _members(str(copy), member.name + "/", None, out, left_out, depth=depth)


class _Window(io.RawIOBase):
    """A part of an open file as a file of its own, for `zipfile`."""

    def __init__(self, file: io.BufferedReader, start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: "WriteableBuffer") -> int:
        wanted = memoryview(buffer)[: max(0, self._size - self._at)]
        self._file.seek(self._start + self._at)
        count = self._file.readinto(wanted)
        self._at += count
        return count


def _printable(name: str) -> str:
    """A file name as it may stand in a table: control characters and undecodable bytes are escaped."""
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)
