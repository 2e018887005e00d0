"""The dataset folder that a conversion writes to: whose it is, marked first, swept last."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from hilum import __version__
from hilum.converters.source import UNPACKED
from hilum.datasets.record import CONVERSION, PARENT, read_conversion
from hilum.errors import HilumError
from hilum.files import PARTIAL, locked, own_folder, remove, write_atomically

IMAGES, LABELS, UNLABELLED = "images", "labels", "unlabelled/images"
FOLDERS = (IMAGES, LABELS, "annotations", UNLABELLED)


def check(out: Path, *, overwrite: bool) -> bool:
    """Whether the folder is an interrupted conversion or a dataset; one that holds anything else is refused."""
    there = {path.name for path in out.iterdir()}
    if all(name == UNPACKED or (name.startswith(f".{CONVERSION}.") and name.endswith(PARTIAL)) for name in there):
        return bool(there)  # empty, or killed before it had written its first file
    try:
        record = read_conversion(out)
    except HilumError as error:
        raise HilumError(f"{out}: exists and is not a dataset folder of hilum's; give an empty or a new one") from error
    if PARENT in record:
        raise HilumError(f"{out}: is a further split of a dataset; give a new folder")
    if record["complete"] and not overwrite:
        raise HilumError(f"{out}: already holds a converted dataset; --overwrite converts again")
    return True


@contextmanager
def lock(out: Path) -> Iterator[None]:
    """Keep other conversions, and splits, out of `out`, which is made for it and goes again if it stays empty.

    Raises:
        HilumError: another command is writing there.
    """
    if out.exists() and not out.is_dir():
        raise HilumError(f"{out}: is a file; give a folder")
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    out.mkdir(parents=True, exist_ok=True)
    with locked(out, busy="another command is writing there; wait for its end"):
        try:
            yield
        finally:
            with suppress(OSError):
                for empty in made:
                    empty.rmdir()


def mark(out: Path, *, begun: bool) -> None:
    """Mark `out` as ours and unfinished, before all else, and clear away what a killed run was writing."""
    write_atomically(out / CONVERSION, json.dumps({"hilum": __version__, "complete": False}) + "\n")
    for name in FOLDERS:
        own_folder(out, name)
    if begun:
        for place in (out, out / "unlabelled", *(out / name for name in FOLDERS)):
            for path in place.glob(f".*{PARTIAL}"):
                path.unlink(missing_ok=True)


def remove_strays(out: Path, wanted: Mapping[str, set[str]]) -> None:
    """Drop what an earlier, other conversion left: stock loaders take every file of a folder.

    Args:
        out: the dataset folder.
        wanted: folder in it -> names of the files that stay.
    """
    for folder, names in wanted.items():
        for path in (out / folder).iterdir():
            if path.name not in names and (path.is_file() or path.is_symlink()):
                path.unlink()
    for made in ("labels.cache", "cache", "croissant.json"):
        remove(out / made)
