"""COCO files of one's own beside DICOM, JPEG or PNG files: what CVAT, Label Studio and most tools write.

Source: https://cocodataset.org/#format-data. Of an annotation the `bbox` counts, left, top, width, height in pixels;
masks do not. An image that is listed and has no annotation shows nothing. The key `patient` of an image, which COCO
does not know, tells whose it is.
"""

from collections.abc import Iterator, Sequence

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on

from hilum.converters.annotated import Annotated, LabelTables, content_of, json_with
from hilum.converters.record import Request, Source
from hilum.converters.rows import Row
from hilum.documents import check, parse_json
from hilum.errors import HilumError

_READ = ConfigDict(extra="ignore")


@with_config(_READ)
class _Image(TypedDict, total=False):
    id: int | str
    file_name: str
    path: str
    width: int
    height: int
    patient: str | int


@with_config(_READ)
class _Annotation(TypedDict, total=False):
    image_id: int | str
    category_id: int
    bbox: list[float] | None
    iscrowd: int


@with_config(_READ)
class _Category(TypedDict):
    id: int
    name: str


@with_config(_READ)
class _Coco(TypedDict):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def find(request: Request) -> Source | None:
    """One's own pictures, where files of JSON have COCO's keys; several, as of train and val, are read as one."""
    files = json_with(request.files, "images", "annotations", "categories")
    if not files:
        return None
    named = f"{files[0].name}{f' and {len(files) - 1} more' if len(files) > 1 else ''}"
    request.tell(f"{named}: read as the labels of the pictures, whose ids are shown; --source tree leaves them out")
    read = [(file.name, check(parse_json(content_of(file), file.name), _Coco, file.name)) for file in files]
    names = [c["name"] for _, coco in read for c in sorted(coco["categories"], key=lambda category: category["id"])]
    rows = [row for name, coco in read for row in _rows(name, coco)]
    tables = LabelTables(
        source="coco",
        files=files,
        rows=rows,
        form="xywh",
        class_names=list(dict.fromkeys(names)),
        patients_known=any(row.patient for row in rows),
        patients_in_files=True,
    )
    return Annotated(request, tables)


def _rows(name: str, coco: _Coco) -> Iterator[Row]:
    """A row an annotation, counted from 1, and one an image without any."""
    categories = {category["id"]: category["name"] for category in coco["categories"]}
    if len(categories) < len(coco["categories"]):
        raise HilumError(f"{name}: categories: two have one id")
    if len(set(categories.values())) < len(categories):
        raise HilumError(f"{name}: categories: two have one name")
    images = {image["id"]: image for image in coco["images"] if "id" in image}
    if len(images) < len(coco["images"]):
        raise HilumError(f"{name}: images: {len(coco['images']) - len(images):,} have no id, or that of another one")
    there = set[int | str]()
    for number, annotation in enumerate(coco["annotations"], start=1):
        image, category = images.get(annotation.get("image_id", "")), categories.get(annotation.get("category_id", -1))
        problem = ""
        if image is None:
            problem = f"no image has the id {str(annotation.get('image_id'))[:40]!r}"
        elif category is None:
            problem = f"no category has the id {str(annotation.get('category_id'))[:40]!r}"
        elif annotation.get("iscrowd"):
            problem = "iscrowd: the outline of many findings, not the box of one"
        there.add(annotation.get("image_id", ""))
        box: Sequence[object] = annotation.get("bbox") or ()
        yield _row(name, number, image or {}, category or "", box, problem)
    for number, image in enumerate(coco["images"], start=1):
        if image["id"] not in there:
            yield _row(name, number, image, "", None, "")


def _row(name: str, number: int, image: _Image, category: str, box: Sequence[object] | None, problem: str) -> Row:
    size_wh = image.get("width", 0), image.get("height", 0)
    return Row(
        name,
        number,
        image.get("file_name") or image.get("path", ""),
        name=category,
        box=box,
        patient=str(image.get("patient", "")),
        size_wh=size_wh if min(size_wh) > 0 else None,
        problem=problem,
    )
