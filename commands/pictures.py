"""The pictures that a word on the command line stands for."""

import codecs
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hilum.commands.terminal import complain
from hilum.errors import HilumError
from hilum.printable import as_text
from hilum.system import STANDARD_INPUT
from hilum.walk import HIDDEN, files_below

if TYPE_CHECKING:  # `hilum --help` is to be quick
    from hilum.datasets.pictures import PackedPicture

_MAX_LIST_BYTES = 1 << 28  # some million paths
_MOST_KINDS = 8  # of files that are passed over, by name


def picture_paths(source: Path) -> list[Path]:
    """The files behind a picture, a folder of pictures, or a list of them: a text file, or standard input (`-`).

    In a folder, pictures are known by their endings, and DICOM files without one, as archives name them, by their first
    bytes. What else lies there is counted, by kind, in one line on standard error.

    Raises:
        HilumError: there is no such file or folder, it is a run or holds predictions, the folder has no picture, or
            the list is not text or names what can be no file.
    """
    from hilum.documents import read_text
    from hilum.run import CONFIG, ENVIRONMENT

    if source == STANDARD_INPUT:
        content = sys.stdin.buffer.read(_MAX_LIST_BYTES + 1)
        if len(content) > _MAX_LIST_BYTES:
            raise HilumError(f"{source}: more than {_MAX_LIST_BYTES >> 20} MiB; a path a line is expected")
        return _all_listed(Path(), os.fsdecode(content.removeprefix(codecs.BOM_UTF8)), str(source))
    if source.is_dir():
        if (source / CONFIG).is_file() and (source / ENVIRONMENT).is_file():
            raise HilumError(f"{source}: is a run folder, whose pictures are figures; give a folder of radiographs")
        if (source / "images.csv").is_file() and (source / "predictions.json").is_file():
            raise HilumError(f"{source}: holds predictions, whose pictures are drawn; give a folder of radiographs")
        if source.name == "images" and (source.parent / "conversion.json").is_file():
            complain(f"{source}: has all pictures of a dataset folder; give {source.parent} for those of one split")
        return _pictures_below(source)
    if not source.exists():
        raise HilumError(f"{source}: no such file or folder")
    if source.suffix.lower() != ".txt":
        return [source]
    return _all_listed(source.parent, read_text(source, _MAX_LIST_BYTES), str(source))


def packed_pictures(source: Path, out: Path) -> "list[PackedPicture]":
    """The pictures in a zip, which is read in place; told by their names and first bytes, as in a folder.

    Args:
        source: the zip.
        out: a folder of the command's own, which is there: zips in the zip are unpacked to `.unpacked` in it.

    Raises:
        HilumError: no such zip, a damaged one, or one without a picture.
    """
    from hilum.converters.source import list_files
    from hilum.datasets.pictures import SUFFIXES, is_dicom

    files, left_out = list_files(source, out)
    pictures: list[PackedPicture] = []
    left = Counter({"that cannot be taken": len(left_out)} if left_out else {})
    for file in files:
        path = Path(file.name)
        if path.suffix.lower() in SUFFIXES or (path.name.upper() != "DICOMDIR" and is_dicom(file.start(132))):
            pictures.append(file)
        else:
            left[_kind(path)] += 1
    passed_over = f"passed over: {_counted(left)}" if left else ""
    if left_out:
        passed_over += f"; the first: {left_out[0].file}: {left_out[0].reason}"
    if not pictures:
        raise HilumError(f"{source}: no {', '.join(SUFFIXES)} file in this zip, and no other DICOM file; {passed_over}")
    if passed_over:
        complain(f"{source}: {passed_over}")
    return pictures


def _all_listed(folder: Path, text: str, where: str) -> list[Path]:
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    paths = [(number, _listed(folder, line)) for number, line in enumerate(lines, 1) if line.strip()]
    if nameless := next((number for number, path in paths if not path.name), None):
        raise HilumError(f"{where}: line {nameless}: names no file but the root of all; list a picture a line")
    return [path for _, path in paths]


def _listed(folder: Path, line: str) -> Path:
    """The file that a line names; blanks around it count where a file is called so."""
    exact = folder / line
    return exact if line == line.strip() or os.path.lexists(exact) else folder / line.strip()


def _pictures_below(source: Path) -> list[Path]:
    from hilum.datasets.pictures import SUFFIXES

    paths: list[Path] = []
    left: Counter[str] = Counter()
    for _, place, reason in files_below(source):
        path = Path(place)
        if reason == HIDDEN:
            left["hidden"] += 1
        elif path.suffix.lower() in SUFFIXES and (reason is None or not path.is_dir()):
            # Also a pipe or a broken link: who reads it says what is wrong.
            paths.append(path)
        elif reason is not None:
            left["that cannot be read"] += 1
        elif _is_dicom(path):
            paths.append(path)
        else:
            left[_kind(path)] += 1
    passed_over = f"passed over: {_counted(left)}" if left else ""
    if not paths:
        more = f"; {passed_over}" if left else ""
        raise HilumError(f"{source}: no {', '.join(SUFFIXES)} file in this folder, and no other DICOM file{more}")
    if left:
        complain(f"{source}: {passed_over}")
    return sorted(paths)


def _is_dicom(path: Path) -> bool:
    """Whether it is a DICOM file by its first bytes, and no index of others."""
    from hilum.datasets.pictures import is_dicom

    try:
        with path.open("rb") as file:
            return path.name.upper() != "DICOMDIR" and is_dicom(file.read(132))
    except OSError:
        return False


def _kind(path: Path) -> str:
    """A file's ending, where it is one: what follows a dot may be any part of a name."""
    ending = path.suffix.lower()
    if path.name.upper() == "DICOMDIR":
        return "DICOMDIR"
    return ending if ending[1:].isascii() and ending[1:].isalnum() and len(ending) <= 8 else "of no known ending"


def _counted(left: Counter[str]) -> str:
    kinds = left.most_common()
    words = [f"{count:,} {kind}" for kind, count in kinds[:_MOST_KINDS]]
    rest = sum(count for _, count in kinds[_MOST_KINDS:])
    return ", ".join(words) + (f", {rest:,} of other kinds" if rest else "")


def picture_names(paths: Sequence[Path], source: Path) -> list[str]:
    """A name for each of a source's pictures, no two the same.

    A picture is named by its file, without the ending of a picture. Pictures that would share a name are named by their
    path in the source instead (`a/x` and `b/x`), and where they still would (`a/x.dcm` beside `a/x.png`), with the
    ending. Where a list leads out of its folder, paths begin at the innermost folder that holds all its pictures.

    Args:
        paths: the pictures.
        source: what `picture_paths` found them by, or a dataset folder.

    Raises:
        HilumError: a picture is listed twice.
    """
    from hilum.datasets.pictures import picture_name

    whole = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 - `..` goes, and no link is followed
    named = Counter(whole)
    if twice := next((path for path, one in zip(paths, whole, strict=True) if named[one] > 1), None):
        raise HilumError(f"{twice}: {source} lists it twice; list each picture once")
    root = _root(source)
    if not all(path.is_relative_to(root) for path in whole):
        root = Path(os.path.commonpath([path.parent for path in whole]))
    names = [picture_name(path) for path in paths]
    longer = [0] * len(paths)
    while shared := {name for name, count in Counter(names).items() if count > 1}:
        for at, path in enumerate(whole):
            if names[at] in shared:
                inside = path.relative_to(root)
                names[at] = (inside if longer[at] else inside.with_name(picture_name(inside))).as_posix()
                longer[at] += 1
    return [as_text(name) for name in names]


def picture_places(paths: Sequence[Path], source: Path) -> list[str]:
    """Each picture's path from the folder or zip on that the source is, or from the folder of the list or file."""
    root = _root(source)
    return [as_text(Path(os.path.relpath(path, root)).as_posix()) for path in paths]


def is_zip(source: Path) -> bool:
    """Whether a file is taken for a zip, whose members are pictures."""
    return source.suffix.lower() == ".zip" and source.is_file()


def _root(source: Path) -> Path:
    if source == STANDARD_INPUT:
        return Path.cwd()
    holds = source.is_dir() or is_zip(source)
    return Path(os.path.abspath(source if holds else source.parent))  # noqa: PTH100 - no link is followed
