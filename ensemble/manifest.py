"""Which members a composed run is made of, by digest: what its weights file holds."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from safetensors.numpy import save

from hilum.documents import advising, check, parse_json
from hilum.errors import HilumError
from hilum.files import write_atomically
from hilum.run import CONFIG, MEMBERS, OPERATING_POINT, WEIGHTS, check_run, network_files
from hilum.weights_file import read_metadata


def write_manifest(run: Path, folders: Sequence[Path]) -> None:
    """A composition has no tensors of its own: its weights file lists its members with digests."""
    digests = json.dumps({folder.name: _digest(folder) for folder in folders})  # one entry: their order is not kept
    write_atomically(run / WEIGHTS, save({}, metadata={MEMBERS: digests}))


def check_manifest(run: Path, folders: Sequence[Path]) -> None:
    """Make sure that the members are those that the composition was made of.

    Raises:
        HilumError: one has changed, or is not whole; or the list is damaged.
    """
    path = run / WEIGHTS
    listed = read_metadata(path).get(MEMBERS)
    if listed is None:
        raise HilumError(f"{path}: not the list of members of a composed run; train again")
    where = f"{path}: {MEMBERS}"
    with advising("train again"):
        known = check(parse_json(listed, where), dict[str, str], where)
    for folder in folders:
        check_run(folder)
        if known.get(folder.name) != _digest(folder):
            raise HilumError(
                f"{folder}: has changed since {run} was made of it and tuned; put it back, or train {run.name} again "
                "in a new folder"
            )


def _digest(run: Path) -> str:
    """Of all that decides what a run finds."""
    digest = hashlib.sha256()
    for path in (run / CONFIG, run / OPERATING_POINT, *network_files(run)):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
