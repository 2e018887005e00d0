"""What an interrupted conversion had done: one JSON line a decoded picture, so that it need not be decoded again.

Pictures whose JPEG stream is kept are not in it: making one again costs no more than checking it. The journal lies in
the dataset folder while a conversion is under way, and is gone from a finished one.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Self

from hilum import __version__
from hilum.converters.header import Tags
from hilum.converters.picture import Picture, Rendering
from hilum.files import naming, open_to_append, write_atomically

JOURNAL = ".conversion.jsonl"


class Journal:
    """An open journal.

    Attributes:
        known: what it held when it was opened, by folder and id; empty where it was begun with other settings.
    """

    def __init__(self, out: Path, rendering: Rendering) -> None:
        """Open the journal of a dataset folder, or begin it.

        Raises:
            OSError: the folder is not writable.
        """
        self._path = out / JOURNAL
        begun = json.dumps({"hilum": __version__, **asdict(rendering)}) + "\n"
        lines = (
            self._path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
            if self._path.is_file()
            else []
        )
        lines = [line for line in lines if line.endswith("\n")]  # the last may be cut where the run was killed
        self.known = _known(lines[1:]) if lines[:1] == [begun] else {}
        if not self.known:
            lines = [begun]
        write_atomically(self._path, "".join(lines))
        self._file = open_to_append(self._path)

    def add(self, pictures: Iterable[tuple[str, Picture]]) -> None:
        """Note what was written; each with its folder."""
        lines = [
            json.dumps([folder, asdict(picture)]) + "\n"
            for folder, picture in pictures
            if picture.source_sha256 and (folder, picture.image_id) not in self.known
        ]
        if lines:
            with naming(self._path):
                self._file.write("".join(lines).encode())
                self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with naming(self._path):
            self._file.close()


def _known(lines: list[str]) -> dict[tuple[str, str], Picture]:
    known = {}
    try:
        for line in lines:
            folder, values = json.loads(line)
            picture = Picture(
                **values
                | {name: tuple(values[name]) for name in ("size_wh", "source_size_wh")}
                | {"tags": Tags(**values["tags"])}
            )
            known[folder, picture.image_id] = picture
    except (ValueError, TypeError, KeyError):  # the disk lost a part of it: what it tells no more is done again
        return {}
    return known
