"""What an interrupted conversion had done: one JSON line a decoded picture, so that it need not be decoded again.

Pictures whose JPEG stream is kept are not in it: making one again costs no more than checking it. The journal lies in
the dataset folder while a conversion is under way, and is gone from a finished one.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter

from hilum import __version__
from hilum.converters.picture import Picture
from hilum.converters.rendering import Rendering
from hilum.documents import check, parse_json
from hilum.errors import HilumError
from hilum.sealed_lines import SealedLines

JOURNAL = ".conversion.jsonl"
_LINE = TypeAdapter(tuple[str, Picture])


class Journal:
    """An open journal.

    Attributes:
        known: what it held when it was opened, by folder and id; empty where it was begun with other settings.
    """

    def __init__(self, out: Path, rendering: Rendering) -> None:
        """Open the journal of a dataset folder, or begin it.

        Raises:
            HilumError: a link, a pipe or a device is in the place of the journal.
            OSError: the folder is not writable.
        """
        self.known: dict[tuple[str, str], Picture] = {}
        begun = json.dumps({"hilum": __version__, **asdict(rendering)})
        self._lines = SealedLines(out / JOURNAL, begun, self._take)

    def add(self, pictures: Iterable[tuple[str, Picture]]) -> None:
        """Note what was written; each with its folder."""
        for folder, picture in pictures:
            if picture.source_sha256 and (folder, picture.image_id) not in self.known:
                self._lines.add(json.dumps([folder, asdict(picture)]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def _take(self, line: str) -> bool:
        try:
            folder, picture = check(parse_json(line, JOURNAL), _LINE, JOURNAL)
        except HilumError:
            return False
        named = picture.file_name in {f"{picture.image_id}.{ending}" for ending in ("jpg", "png")}
        if not named or min(*picture.size_wh, *picture.source_size_wh) < 1:
            return False
        self.known[folder, picture.image_id] = picture
        return True
