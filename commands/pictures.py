"""The pictures that a word on the command line stands for."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hilum.errors import HilumError


def picture_paths(source: Path) -> list[Path]:
    """The files behind a picture, a folder of pictures, or a text file that lists them.

    In a folder, pictures are known by their endings, and DICOM files without one, as archives name them, by their first
    bytes.

    Raises:
        HilumError: there is no such file or folder, the folder has no picture, or the list is not text.
    """
    from hilum.datasets.pictures import SUFFIXES

    if source.is_dir():
        paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES or _is_dicom(path))
        if not paths:
            raise HilumError(f"{source}: no {', '.join(sorted(SUFFIXES))} file in this folder, and no other DICOM file")
        return paths
    if not source.is_file():
        raise HilumError(f"{source}: no such file or folder")
    if source.suffix.lower() != ".txt":
        return [source]
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise HilumError(f"{source}: not a text file in UTF-8") from error
    return [source.parent / line.strip() for line in lines if line.strip()]


def _is_dicom(path: Path) -> bool:
    """Whether it is a DICOM file by its preamble (PS3.10 7.1), and no index of others."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM" and path.name.upper() != "DICOMDIR"
    except OSError:
        return False


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
    root = Path(os.path.abspath(source if source.is_dir() else source.parent))  # noqa: PTH100
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
    return [os.fsencode(name).decode(errors="backslashreplace") for name in names]
