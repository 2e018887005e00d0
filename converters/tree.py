"""Any tree of DICOM files as a dataset source: pictures without labels; keyed hashes name them and their patients."""

import os
from collections.abc import Iterator
from dataclasses import replace

from hilum.converters.record import Record, Request, Source
from hilum.datasets.left_out import LeftOut
from hilum.files import csv_text
from hilum.pseudonyms import pseudonym, read_or_make_key

SOURCES, KEY = "sources.csv", "sources.key"
_DO_NOT_SHARE = "# Do not share this file: it leads from the names in the dataset back to the files of patients.\n"


def find(request: Request) -> Source:
    """Every folder and zip is a tree."""
    return _Tree(request)


class _Tree(Source):
    private, labelled, part = True, False, "file"

    def __init__(self, request: Request) -> None:
        super().__init__()
        given = request.key
        self._key_path = given or request.out / KEY
        self._files = [
            file for file in request.files if given is None or os.path.realpath(file.path) != os.path.realpath(given)
        ]
        self._not_listed = request.not_listed

    def records(self) -> Iterator[Record]:
        key = self.key = read_or_make_key(self._key_path)
        files = {pseudonym(key, "file", file.name): file for file in self._files}
        indexes = sorted(image_id for image_id, file in files.items() if file.parts[-1].upper() == "DICOMDIR")
        self.left_out += [LeftOut("file", name, "", None, "a DICOMDIR, an index of other files") for name in indexes]
        self.left_out += self._not_listed
        return (Record(files[image_id], image_id) for image_id in sorted(files.keys() - set(indexes)))

    def public(self, entry: LeftOut) -> LeftOut:
        """Folders and names can be those of patients."""
        return replace(entry, image_id=entry.image_id or self._hidden(entry.file), file="")

    def private_files(self) -> dict[str, str]:
        """What leads from the names in the dataset back to the files."""
        names = [*(file.name for file in self._files), *(entry.file for entry in self._not_listed)]
        rows = sorted((self._hidden(name), name) for name in names)
        return {SOURCES: _DO_NOT_SHARE + csv_text(["image_id", "file"], rows)}

    def _hidden(self, name: str) -> str:
        return pseudonym(self.key or b"", "file", name)
