"""The pictures in a folder of anybody's, however deep they lie."""

from collections import Counter
from pathlib import Path

from hilum.datasets.pictures import SUFFIXES, is_dicom
from hilum.datasets.record import CONVERSION
from hilum.errors import HilumError
from hilum.talk import log
from hilum.walk import HIDDEN, files_below

_MOST_KINDS = 8  # of files that are passed over, by name


def pictures_below(source: Path) -> list[Path]:
    """The pictures in a folder, sorted by their paths.

    Pictures are known by their endings, and DICOM files without one, as archives name them, by their first bytes. What
    else lies there is counted, by kind, in one line of the log.

    Raises:
        HilumError: it has none, is a run, or holds predictions; the reason alone.
        OSError: a disk is gone, or too many files are open.
    """
    if (source / "config.yaml").is_file() and (source / "environment.json").is_file():
        raise HilumError("is a run folder, whose pictures are figures; give a folder of radiographs")
    if (source / "images.csv").is_file() and (source / "predictions.json").is_file():
        raise HilumError("holds predictions, whose pictures are drawn; give a folder of radiographs")
    if source.name == "images" and (source.parent / CONVERSION).is_file():
        log.warning(f"{source}: has all pictures of a dataset folder; give {source.parent} for those of one split")
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
            left[kind_of_file(path)] += 1
    passed_over = f"passed over: {counted(left)}" if left else ""
    if not paths:
        more = f"; {passed_over}" if left else ""
        raise HilumError(f"no {', '.join(SUFFIXES)} file in this folder, and no other DICOM file{more}")
    if left:
        log.warning(f"{source}: {passed_over}")
    return sorted(paths)


def _is_dicom(path: Path) -> bool:
    """Whether it is a DICOM file by its first bytes, and no index of others."""
    try:
        with path.open("rb") as file:
            return path.name.upper() != "DICOMDIR" and is_dicom(file.read(132))
    except OSError:
        return False


def kind_of_file(path: Path) -> str:
    """A file's ending, where it is one: what follows a dot may be any part of a name."""
    ending = path.suffix.lower()
    if path.name.upper() == "DICOMDIR":
        return "DICOMDIR"
    return ending if ending[1:].isascii() and ending[1:].isalnum() and len(ending) <= 8 else "of no known ending"


def counted(left: Counter[str]) -> str:
    """How many files of each kind, in words, the most first."""
    kinds = left.most_common()
    words = [f"{count:,} {kind}" for kind, count in kinds[:_MOST_KINDS]]
    rest = sum(count for _, count in kinds[_MOST_KINDS:])
    return ", ".join(words) + (f", {rest:,} of other kinds" if rest else "")
