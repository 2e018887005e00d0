"""Read the COCO file of a split, which may come from anybody."""

from collections.abc import Container, Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import AfterValidator, Field, with_config
from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on

from hilum.class_names import ONE_CLASS
from hilum.dicom.header import MAX_PIXELS
from hilum.documents import RECORD, read_json, shown
from hilum.errors import HilumError

_MAX_SIDE_PX = 65_535  # of a DICOM file and of a JPEG
_OUT_OF_IT = frozenset("/\\\0")
_SLACK_PX = 1.0  # by which a box may pass the edge


def _in_the_folder(name: str) -> str:
    if name in {"", ".", ".."} or not _OUT_OF_IT.isdisjoint(name):
        raise ValueError("expected the name of a picture in the folder images, without a path")
    return name


_Id = Annotated[int, Field(ge=0, lt=1 << 53)]  # what any reader of JSON takes as it is
_Side = Annotated[int, Field(ge=1, le=_MAX_SIDE_PX)]
_Box = Annotated[list[float], Field(min_length=4, max_length=4)]


@with_config(RECORD)
class CocoImage(TypedDict):
    """A picture of the split; its sides in pixels.

    Attributes:
        id: Its number, which boxes name.
        file_name: In `images/`.
        width: In pixels.
        height: In pixels.
    """

    id: _Id
    file_name: Annotated[str, AfterValidator(_in_the_folder)]
    width: _Side
    height: _Side


@with_config(RECORD)
class CocoBox(TypedDict):
    """An opacity; `bbox` is left, top, width, height in pixels. Keys in the order in which they are written.

    Attributes:
        id: Its number.
        image_id: That of its picture.
        category_id: That of its class, from 1 on.
        bbox: Left, top, width, height in pixels of the picture; (0, 0) is the outer corner of the first pixel.
    """

    id: NotRequired[int]
    image_id: _Id
    category_id: NotRequired[int]
    bbox: _Box


@with_config(RECORD)
class Coco(TypedDict):
    """A split."""

    images: list[CocoImage]
    annotations: list[CocoBox]
    categories: NotRequired[Any]


def class_ids_of(coco: Coco) -> list[list[int]]:
    """The ids, from 0 on, of the classes of each image's boxes."""
    found: dict[int, list[int]] = {image["id"]: [] for image in coco["images"]}
    for box in coco["annotations"]:
        found[box["image_id"]].append(box.get("category_id", 1) - 1)
    return list(found.values())


def read_annotations(
    path: Path, known: Container[str], class_names: Sequence[str] = ONE_CLASS, *, remedy: str
) -> tuple[Coco, list[str]]:
    """Read the COCO file of a split.

    Args:
        path: the file.
        known: ids of the images that there are.
        class_names: of the dataset folder, whose categories are numbered from 1 on.
        remedy: what to do where it is wrong.

    Returns:
        What the file holds, and the ids of its images, which are the names of their files without the ending.

    Raises:
        HilumError: not readable; an image is unknown or there twice; a box has no image, no size or no such class, or
            lies outside.
    """
    coco = read_json(path, Coco, remedy=remedy)

    def refuse(key: str, why: str) -> HilumError:
        return HilumError(f"{path}: {key}: {why}; {remedy}")

    images: dict[int, CocoImage] = {}
    names: dict[str, None] = {}
    for number, image in enumerate(coco["images"]):
        name = Path(image["file_name"]).stem
        if image["id"] in images:
            raise refuse(f"images.{number}.id", f"{image['id']} is that of an image before")
        if name in names:
            raise refuse(f"images.{number}.file_name", f"{shown(name)} is the name of an image before")
        if name not in known:
            raise refuse(f"images.{number}.file_name", f"metadata.csv has no row of {shown(name)}")
        if image["width"] * image["height"] > MAX_PIXELS:
            size = f"{image['width']} x {image['height']}"
            raise refuse(f"images.{number}", f"{size} px; at most {MAX_PIXELS} pixels are read")
        images[image["id"]] = image
        names[name] = None
    for number, annotation in enumerate(coco["annotations"]):
        its = images.get(annotation["image_id"])
        if its is None:
            raise refuse(f"annotations.{number}.image_id", f"no image of this file has the id {annotation['image_id']}")
        category = annotation.get("category_id", 1)
        if len(class_names) > 1 and not 1 <= category <= len(class_names):  # the number of an only one says nothing
            raise refuse(f"annotations.{number}.category_id", f"{category}; the classes are 1 to {len(class_names)}")
        x, y, width, height = annotation["bbox"]
        if min(width, height) <= 0:
            raise refuse(f"annotations.{number}.bbox", f"width {width:g} and height {height:g} are not both above 0")
        beyond = max(-x, -y, x + width - its["width"], y + height - its["height"])
        if beyond > _SLACK_PX:
            size = f"{its['width']} x {its['height']}"
            raise refuse(f"annotations.{number}.bbox", f"reaches {beyond:g} px beyond its image of {size} px")
    return coco, list(names)
