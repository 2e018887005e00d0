"""What kinds of source there are, and of which kind a source is."""

from collections.abc import Callable

from hilum.converters import challenge, mdai, nih, own_coco, own_csv, own_yolo, siim, tree, vindr
from hilum.converters.record import Request, Source
from hilum.converters.tree import SOURCES
from hilum.errors import HilumError

FINDERS: dict[str, Callable[[Request], Source | None]] = {
    "rsna": challenge.find,
    "siim": siim.find,
    "vinbigdata": vindr.find_vinbigdata,
    "vindr": vindr.find_vindr,
    "nih": nih.find,
    "mdai": mdai.find,
    "yolo": own_yolo.find,
    "coco": own_coco.find,
    "csv": own_csv.find,
    "tree": tree.find,
}
"""What kinds of source there are; a source is of the first that finds itself in it, and every one is a tree."""


def find_source(request: Request, kind: str | None) -> Source:
    """Read what a source says of its pictures; nothing is written before that.

    Args:
        request: what is to be converted.
        kind: of the source, a key of `FINDERS`; the first that fits where None.

    Raises:
        HilumError: it is of no such kind, its labels cannot be used, or an option does not go with it.
    """
    source, key = request.source, request.key
    for entry in request.not_listed:
        if entry.file.lower().endswith(".zip"):
            request.tell(f"{source}: {entry.file}: {entry.reason}")
    if kind is not None and kind not in FINDERS:
        raise HilumError(f"--source: no kind of source is called {kind!r}; there are {', '.join(FINDERS)}")
    finders = FINDERS.values() if kind is None else [FINDERS[kind]]
    found = next(filter(None, (find(request) for find in finders)), None)
    if found is None:
        raise HilumError(
            f"{source}: is not laid out as a source of kind {kind!r}; docs/sources.md tells what is expected"
        )
    if wrong := request.choices.options.keys() - set(found.takes):
        raise HilumError(
            f"{', '.join(sorted(wrong))}: does not go with {source}, whose labels leave nothing to choose there"
        )
    if request.patients is not None and not found.patients_known:
        raise HilumError(
            f"{request.patients}: a patient map is for images that have labels, and {source} has none of them"
        )
    if key is not None and not (found.private or found.takes_key):
        raise HilumError(f"{key}: a key is for trees without labels; the ids of {source} are public")
    if not found.private and (request.out / SOURCES).exists():
        raise HilumError(f"{request.out / SOURCES}: is of a tree of patients; give a new folder")
    return found
