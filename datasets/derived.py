"""Where what is made of a dataset folder goes: into it, or, where it cannot be written, into the run that needs it."""

import os
from pathlib import Path

from hilum.datasets.folder import Dataset
from hilum.errors import HilumError
from hilum.files import own_folder, refuse_links
from hilum.talk import log

CACHE, SPLITS = "cache", "splits"


def place_for(data: Dataset, name: str) -> Path:
    """The folder `name` of the dataset folder; of `data.scratch` where nothing can be written there, which is said.

    A dataset folder that a split elsewhere names is not written to: its path may have come from anybody.

    Raises:
        HilumError: neither can be written to.
    """
    place = data.root / name
    if reason := _cannot_be_written(data, place):
        if data.scratch is None:
            raise HilumError(f"{place}: cannot be written: {reason}")
        place = data.scratch / name
        if not place.exists():
            log.info(f"{data.root}: cannot be written ({reason}); {place} takes the place of its {name}/")
        return own_folder(data.scratch, name)
    return own_folder(data.root, name)


def _cannot_be_written(data: Dataset, place: Path) -> str | None:
    if data.names_its_root:
        return "it belongs to a split that lies elsewhere"
    try:
        refuse_links(data.root, place.name)
    except HilumError:
        return f"{place.name}/ is a link"
    there = place if place.is_dir() else data.root
    return None if os.access(there, os.W_OK | os.X_OK) else "read-only"
