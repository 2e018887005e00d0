"""Croissant 1.0: what a dataset folder holds, for programs that do not know hilum.

Source: docs.mlcommons.org/croissant/docs/croissant-spec-1.0.html.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from hilum.datasets.folder import SPLITS, Dataset
from hilum.documents import MAX_CSV_BYTES, MAX_JSON_BYTES, content_of

_TERMS: Final = """citeAs column equivalentProperty extract field fileProperty fileObject fileSet format includes
    isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate separator
    source subField transform""".split()  # noqa: SIM905 - a term a word
_CONTEXT: Final[dict[str, Any]] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    **{term: f"cr:{term}" for term in _TERMS},
}
_MEDIA: Final = {".jpg": "image/jpeg", ".png": "image/png"}
_CSV, _JSON, _WHOLE, _TEXT = "text/csv", "application/json", "sc:Integer", "sc:Text"
_IMAGES: Final = {"id": _WHOLE, "file_name": _TEXT, "width": _WHOLE, "height": _WHOLE}
_BOXES: Final = {"id": _WHOLE, "image_id": _WHOLE, "category_id": _WHOLE, "bbox": "cr:BoundingBox"}


def croissant(data: Dataset, licence: str) -> dict[str, Any]:
    """A folder's description: its tables with SHA-256, its pictures, and records of images, boxes and classes.

    Records are read out of the COCO files, where ids stay text; `bbox` is left, top, width, height in pixels. A program
    reads a set of files in one way, so the COCO files are two sets.

    Raises:
        HilumError: a file of the folder is missing.
    """
    tables = [data.annotations_path(split) for split in SPLITS] + [data.path / "metadata.csv"]
    sets = {"coco-images": ("annotations/*.json", _JSON), "coco-boxes": ("annotations/*.json", _JSON)}
    for ending in sorted({path.suffix for path in data.labelled().paths} & _MEDIA.keys()):
        sets[f"pictures{ending}"] = (f"images/*{ending}", _MEDIA[ending])
    classes = [{"classes/id": number, "classes/name": name} for number, name in enumerate(data.class_names, start=1)]
    fields = [_named("cr:Field", "classes/id", dataType=_WHOLE), _named("cr:Field", "classes/name", dataType=_TEXT)]
    return {
        "@context": _CONTEXT,
        **_named("sc:Dataset", f"hilum-{data.fingerprint}"),
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "description": "Chest radiographs with boxes, converted by hilum. README.md tells more.",
        "license": licence,
        "version": f"1.0.0+{data.fingerprint}",
        "distribution": [
            *(_file(path, path.relative_to(data.path).as_posix()) for path in tables),
            *(_named("cr:FileSet", name, includes=of, encodingFormat=kind) for name, (of, kind) in sets.items()),
        ],
        "recordSet": [
            _named("cr:RecordSet", "images", field=_fields("images", "coco-images", "images", _IMAGES)),
            _named("cr:RecordSet", "boxes", field=_fields("boxes", "coco-boxes", "annotations", _BOXES)),
            _named("cr:RecordSet", "classes", field=fields, key={"@id": "classes/id"}, data=classes),
        ],
    }


def _file(path: Path, name: str) -> dict[str, Any]:
    content = content_of(path, max(MAX_CSV_BYTES, MAX_JSON_BYTES))
    of = {"contentUrl": name, "contentSize": f"{len(content)} B", "sha256": hashlib.sha256(content).hexdigest()}
    return _named("cr:FileObject", name, **of, encodingFormat=_CSV if path.suffix == ".csv" else _JSON)


def _fields(of: str, files: str, key: str, columns: Mapping[str, str]) -> list[dict[str, Any]]:
    """What a record has of each entry of a list in the COCO files, and the split, which a file's name tells."""
    sources: dict[str, dict[str, Any]] = {each: {"extract": {"jsonPath": f"$.{key}[*].{each}"}} for each in columns}
    sources["split"] = {"extract": {"fileProperty": "filename"}, "transform": {"regex": r"(.+)\.json"}}
    return [
        _named("cr:Field", f"{of}/{each}", dataType=columns.get(each, _TEXT), source={"fileSet": {"@id": files}} | its)
        for each, its in sources.items()
    ]


def _named(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"@type": kind, "@id": name, "name": name, **more}
