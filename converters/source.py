"""The files of a source: a folder of any depth or a zip that is read in place, and Kaggle's layout among them.

A zip inside a folder or inside a zip counts as a folder of its name: Kaggle has shipped the challenge flat, nested, and
as one zip of zips. What a zip says of itself is not believed: no member's name is ever used as a path, sizes are
bounded, and members that share bytes are refused.
"""

import hashlib
import shutil
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from struct import Struct
from typing import BinaryIO

from hilum.converters.file_part import FilePart
from hilum.datasets.left_out import LeftOut
from hilum.dicom.header import MAX_FILE_BYTES
from hilum.errors import HilumError
from hilum.files import PARTIAL, naming, own_folder, read_regular, remove
from hilum.walk import HIDDEN, files_below, is_its_own, spelt_out

UNPACKED = ".unpacked"
HIDDEN_FILES = ".*"
_LOCAL_HEADER = Struct("<4s22xHH")  # signature, length of the name, length of the extra field (APPNOTE 4.3.7)
_ENCRYPTED = 0x1
_PIECE = 1 << 22
_MAX_DEPTH = 2  # a zip in a zip
_MAX_UNPACKED = 64 << 30  # of all inner zips together; Kaggle's has 4 GB
_SLACK = 1 << 16  # bytes, and an eighth, by which packing may make a member larger: pictures do not shrink
_CUT_SHORT = (
    "the zip is cut short: its list of contents, which stands at its end, is missing; download or copy it again"
)
_MAX_RATIO = 20  # of an inner zip that is itself packed: pictures hardly shrink, bombs do


@dataclass(frozen=True)
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
            OSError: not the file's own fault: it is gone, or its disk is, or too many files are open.
        """
        try:
            if self.offset < 0:
                return read_regular(self.path, MAX_FILE_BYTES)
            with open(self.path, "rb") as file:  # noqa: PTH123 - this is the inner loop
                begin = _content_offset(file, self.offset)
                if begin is None:
                    raise HilumError("its place in the zip is damaged")
                file.seek(begin)
                content = file.read(self.packed)
            if self.method == zipfile.ZIP_DEFLATED:
                content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, self.size + 1)
        except OSError as error:
            if is_its_own(error):
                raise HilumError(f"cannot be read: {error.strerror}") from error
            raise OSError(error.errno, error.strerror, self.path) from error  # a read that fails names no file
        except (zlib.error, OverflowError, ValueError) as error:
            raise HilumError("damaged inside the zip") from error
        if len(content) != self.size or zlib.crc32(content) != self.crc:
            raise HilumError("damaged inside the zip: size or checksum differ")
        return content

    def start(self, count: int) -> bytes:
        """The first bytes, by which its kind is told; none where they cannot be read."""
        try:
            with open(self.path, "rb") as file:  # noqa: PTH123 - as in `read`
                begin = 0 if self.offset < 0 else _content_offset(file, self.offset)
                if begin is None:
                    return b""
                file.seek(begin)
                content = file.read(count + _SLACK if self.method == zipfile.ZIP_DEFLATED else count)
            if self.method == zipfile.ZIP_DEFLATED:
                content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, count)
        except (OSError, zlib.error, OverflowError, ValueError):
            return b""
        return content

    def content_offset(self) -> int | None:
        """Where the content of a member begins in the zip; None where there is none."""
        try:
            with open(self.path, "rb") as file:  # noqa: PTH123
                return _content_offset(file, self.offset)
        except (OverflowError, ValueError):
            return None


def _content_offset(file: BinaryIO, offset: int) -> int | None:
    file.seek(offset)
    header = file.read(_LOCAL_HEADER.size)
    if header[:4] != b"PK\3\4" or len(header) < _LOCAL_HEADER.size:
        return None
    _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    return offset + _LOCAL_HEADER.size + int(name_length) + int(extra_length)


def list_files(source: Path, out: Path) -> tuple[list[SourceFile], list[LeftOut]]:
    """All files below a folder or in a zip, sorted by name, and what could not be listed.

    Args:
        source: a folder or a zip.
        out: the dataset folder, which may lie in the source and is no part of it. Inner zips that are packed
            themselves have to be unpacked once to be read: into its folder `UNPACKED`.

    Raises:
        HilumError: no such folder or zip, or nothing in it.
        OSError: a disk is gone or full.
    """
    if source.is_dir():
        listing = _Listing(out, _MAX_UNPACKED)
        listing.walk(source)
    elif not source.is_file():
        raise HilumError(f"{source}: no such folder or zip; give the folder with the DICOM files, or Kaggle's zip")
    elif zipfile.is_zipfile(source) or _is_cut_short(source):
        listing = _Listing(out, _MAX_UNPACKED)
        if not listing.members(str(source), "", None, depth=1):
            raise HilumError(f"{source}: {listing.left_out[-1].reason}")
    else:
        raise HilumError(f"{source}: is neither a folder nor a zip; give the folder with the DICOM files")
    listing.tell_hidden()
    if not listing.files:
        why = f": {listing.left_out[0].reason}" if listing.left_out else ""
        what = "folder" if source.is_dir() else "zip"
        raise HilumError(f"{source}: the {what} is empty, or holds nothing that can be read{why}")
    return sorted(listing.files, key=lambda file: file.name), listing.left_out


class _Listing:
    """What has been found so far.

    Attributes:
        files: in the order they were met.
        left_out: what cannot be read.
    """

    def __init__(self, out: Path, may_unpack: int) -> None:
        self.files: list[SourceFile] = []
        self.left_out: list[LeftOut] = []
        self._out, self._may_unpack = out, may_unpack
        self._hidden = 0

    def walk(self, top: Path) -> None:
        """All files below a folder, and the members of the zips among them."""
        for name, path, reason in files_below(top, passed_over=self._out):
            if reason == HIDDEN:
                self._hidden += 1
            elif reason is not None:
                self._leave_out(name, reason)
            elif name.lower().endswith(".zip") and (zipfile.is_zipfile(path) or _is_cut_short(path)):
                self.members(path, f"{name}/", None, depth=1)
            else:
                self.files.append(SourceFile(name, path))

    def members(self, path: str, prefix: str, window: tuple[int, int] | None, *, depth: int) -> bool:
        """Members of a zip: the whole file at `path`, or the `window` (start, size) of it. False if it is damaged."""
        start = window[0] if window else 0
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - as in SourceFile.read
                archive = zipfile.ZipFile(FilePart(file, *window) if window else file)
                infos = sorted((i for i in archive.infolist() if i.filename[-1:] != "/"), key=lambda i: i.header_offset)
        except Exception as error:  # damaged in whatever way zipfile meets it; its messages quote names
            if isinstance(error, MemoryError) or (isinstance(error, OSError) and not is_its_own(error)):
                raise
            self._leave_out(prefix.rstrip("/"), _CUT_SHORT if _is_cut_short(path, window) else "a damaged zip")
            return False
        forks, end = 0, 0
        names: set[str] = set()
        for info in infos:
            member = SourceFile(
                prefix + spelt_out(info.filename),
                path,
                start + info.header_offset,
                info.compress_size,
                info.file_size,
                info.CRC,
                info.compress_type,
            )
            reason = _refused(info, end)
            end = max(end, info.header_offset + _LOCAL_HEADER.size + info.compress_size)
            if "__MACOSX" in member.parts:
                forks += 1
            elif reason is not None:
                self._leave_out(member.name, reason)
            elif any(part.startswith(".") for part in member.parts):
                self._hidden += 1
            elif member.name in names:
                self._leave_out(member.name, "another member of the same name came before it")
            elif member.name.lower().endswith(".zip") and depth < _MAX_DEPTH:
                self._inner(member, depth=depth + 1)
            elif info.file_size > MAX_FILE_BYTES:
                self._leave_out(member.name, f"larger than {MAX_FILE_BYTES >> 20} MiB when unpacked")
            else:
                self.files.append(member)
            names.add(member.name)
        if forks:
            self._leave_out(f"{prefix}__MACOSX", f"{forks} resource forks of macOS")
        return True

    def _inner(self, member: SourceFile, *, depth: int) -> None:
        """A zip in a zip: read in place where it is stored, unpacked once where it is packed."""
        if member.method == zipfile.ZIP_STORED:
            begin = member.content_offset()
            if begin is None:
                self._leave_out(member.name, "a damaged zip")
            else:
                self.members(member.path, member.name + "/", (begin, member.size), depth=depth)
            return
        scratch = own_folder(self._out, UNPACKED)
        if member.size > min(_MAX_RATIO * member.packed + MAX_FILE_BYTES, self._may_unpack):
            self._leave_out(member.name, f"unpacks to {member.size >> 20} MiB, as zip bombs do; unpack it yourself")
            return
        self._may_unpack -= member.size
        if member.size > shutil.disk_usage(scratch).free:
            raise HilumError(f"{scratch}: {member.size >> 20} MiB are needed here to unpack a zip in the zip")
        copy = scratch / (
            hashlib.sha256(
                f"{member.path}\0{member.offset}\0{member.crc}".encode(errors="surrogateescape")
            ).hexdigest()[:16]
            + ".zip"
        )
        if not copy.is_file():
            part = copy.with_suffix(PARTIAL)
            try:
                with naming(copy):
                    remove(part)
                    _unpack(member, part)
                    part.replace(copy)
            except HilumError as error:
                self._leave_out(member.name, str(error))
                return
            finally:
                part.unlink(missing_ok=True)
        self.members(str(copy), member.name + "/", None, depth=depth)

    def tell_hidden(self) -> None:
        """Files and folders whose names begin with a dot belong to systems and programs: one line for all."""
        if self._hidden:
            what = "a hidden file or folder" if self._hidden == 1 else f"{self._hidden:,} hidden files or folders"
            self._leave_out(HIDDEN_FILES, f"{what}, whose names begin with a dot")

    def _leave_out(self, name: str, reason: str) -> None:
        self.left_out.append(LeftOut("file", "", name, None, reason))


def _is_cut_short(path: Path | str, window: tuple[int, int] | None = None) -> bool:
    """Whether a file begins as a zip does and lacks what a zip ends with: its list of contents."""
    with open(path, "rb") as file:  # noqa: PTH123 - as in SourceFile.read
        whole = FilePart(file, *window) if window else file
        return whole.read(4) == b"PK\3\4" and not zipfile.is_zipfile(whole)


def _unpack(member: SourceFile, target: Path) -> None:
    """Write a packed member to a file, piece by piece.

    Raises:
        HilumError: it is not what the zip says.
        OSError: the disk is full.
    """
    begin = member.content_offset()
    if begin is None:
        raise HilumError("a damaged zip")
    unpacker, left, crc, size = zlib.decompressobj(-zlib.MAX_WBITS), member.packed, 0, 0
    with open(member.path, "rb") as source, target.open("xb") as file:  # noqa: PTH123
        source.seek(begin)
        while left and size <= member.size and (piece := source.read(min(left, _PIECE))):
            left -= len(piece)
            more = True
            while more and size <= member.size:
                try:
                    content = unpacker.decompress(piece, _PIECE)
                except zlib.error as error:
                    raise HilumError("a damaged zip") from error
                piece = unpacker.unconsumed_tail
                more = bool(piece) or len(content) == _PIECE
                size, crc = size + len(content), zlib.crc32(content, crc)
                file.write(content)
    if (size, crc) != (member.size, member.crc):
        raise HilumError("damaged inside the zip: size or checksum differ")


def _refused(info: zipfile.ZipInfo, end: int) -> str | None:
    name = PurePosixPath(info.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or not name.parts or ":" in name.parts[0]:
        return "its name leads out of the zip"
    if info.flag_bits & _ENCRYPTED:
        return "encrypted; unpack the zip with its password and give the folder"
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        return f"packed with method {info.compress_type}; unpack the zip and give the folder"
    if info.compress_size > info.file_size + (info.file_size >> 3) + _SLACK:  # so much would be read at once
        return "says to be far larger packed than unpacked"
    if info.header_offset < end:
        return "shares bytes with another member, as zip bombs do"
    return None
