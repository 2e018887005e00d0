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

if TYPE_CHECKING:  # `hilum --help` is to be quick
    from hilum.datasets.pictures import PackedPicture

_MAX_LIST_BYTES = 1 << 28  # some million paths


def picture_paths(source: Path) -> list[Path]:
    """The files behind a picture, a folder of pictures, or a list of them: a text file, or standard input (`-`).

    Raises:
        HilumError: there is no such file or folder, the folder is none of pictures (`pictures_below`), or the list is
            not text or names what can be no file.
    """
    from hilum.datasets.picture_folder import pictures_below
    from hilum.documents import read_text

    if source == STANDARD_INPUT:
        content = sys.stdin.buffer.read(_MAX_LIST_BYTES + 1)
        if len(content) > _MAX_LIST_BYTES:
            raise HilumError(f"{source}: more than {_MAX_LIST_BYTES >> 20} MiB; a path a line is expected")
        return _all_listed(Path(), os.fsdecode(content.removeprefix(codecs.BOM_UTF8)), str(source))
    if source.is_dir():
        try:
            return pictures_below(source)
        except HilumError as error:
            raise error.within(source) from error
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
    from hilum.datasets.picture_folder import counted, kind_of_file
    from hilum.datasets.pictures import SUFFIXES, is_dicom

    files, left_out = list_files(source, out)
    pictures: list[PackedPicture] = []
    left = Counter({"that cannot be taken": len(left_out)} if left_out else {})
    for file in files:
        path = Path(file.name)
        if path.suffix.lower() in SUFFIXES or (path.name.upper() != "DICOMDIR" and is_dicom(file.start(132))):
            pictures.append(file)
        else:
            left[kind_of_file(path)] += 1
    passed_over = f"passed over: {counted(left)}" if left else ""
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
