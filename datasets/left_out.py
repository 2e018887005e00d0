"""`left_out.csv` of a dataset folder: what of its source did not come along, and why."""

import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

from hilum.documents import read_csv
from hilum.files import csv_text, write_atomically

_FILE = "left_out.csv"
_QUOTED = re.compile(r"(['\"]).*\1")


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something of the source that did not come along: an image, a box or a row, and why.

    A `note` did come along: how something was read whose form is unusual, said once, with the first row it is in.
    """

    what: str
    image_id: str
    file: str
    row: int | None
    reason: str


def write_left_out(folder: Path, left_out: Iterable[LeftOut]) -> None:
    """Write the table."""
    header = ["what", "image_id", "file", "row", "reason"]
    write_atomically(folder / _FILE, csv_text(header, map(astuple, left_out)))


def read_left_out(folder: Path) -> list[tuple[str, str]]:
    """What was left out and why, a row each, without the names of images and files, which may be names of people."""
    found = []
    for row in read_csv(folder / _FILE, remedy="convert again") if (folder / _FILE).is_file() else ():
        reason = row.get("reason") or ""
        for name in (row.get("image_id"), row.get("file")):
            reason = reason.replace(name, "(name)") if name else reason
        reason = _QUOTED.sub("(text)", reason)  # of a cell, in a folder that an earlier version converted
        words = ["(name)" if "(name)" in word or word.lower().endswith(".dcm") else word for word in reason.split()]
        found.append((row.get("what") or "?", " ".join(words)))
    return found
