"""The pictures that a word on the command line stands for."""

from pathlib import Path

from hilum.errors import HilumError


def picture_paths(source: Path) -> list[Path]:
    """The files behind a picture, a folder of pictures, or a text file that lists them.

    Raises:
        HilumError: there is no such file or folder, the folder has no picture, or the list is not text.
    """
    from hilum.datasets.pictures import SUFFIXES

    if source.is_dir():
        paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise HilumError(f"{source}: no {', '.join(sorted(SUFFIXES))} file in this folder")
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
