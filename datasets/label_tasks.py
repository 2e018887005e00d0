"""Pictures to be labelled, as CVAT and Label Studio take them, and the labels that these tools give back.

Both take predictions as boxes to start from: CVAT as annotations in COCO (boxes, so with an empty `segmentation`),
Label Studio as `predictions` in its own JSON, whose coordinates are percent of the picture. CVAT exports "COCO 1.0", a
zip with `annotations/instances_default.json`; Label Studio its own JSON, or COCO in a zip with `result.json`.

Sources: https://docs.cvat.ai/docs/manual/advanced/formats/format-coco/, https://labelstud.io/guide/predictions,
https://labelstud.io/guide/task_format
"""

import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from hilum.datasets.coco import boxes_to_coco, coco_json
from hilum.datasets.left_out import LeftOut
from hilum.documents import MAX_JSON_BYTES, check, parse_json, shown
from hilum.errors import HilumError
from hilum.files import read_regular, write_atomically

CVAT, LABEL_STUDIO, INTERFACE = "instances_default.json", "label_studio.json", "label_config.xml"
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the name of an uploaded file
_LEAST_PX = 0.01


class Labels(NamedTuple):
    """The boxes of a picture, (N, 4) left, top, width, height in pixels, and the ids of their classes, (N,)."""

    boxes_xywh: NDArray[np.float64]
    class_ids: NDArray[np.int64]


def write_tasks(
    folder: Path,
    file_names: Sequence[str],
    sizes_wh: Sequence[tuple[int, int]],
    found: Sequence[tuple[Labels, Sequence[float]]],
    class_names: Sequence[str],
    made_by: str,
) -> None:
    """Write what both tools import beside a folder `images`; all but the last two run in parallel.

    Args:
        folder: it is there.
        file_names: of the pictures.
        sizes_wh: pixels.
        found: the boxes to start from, and their confidences.
        class_names: by their ids.
        made_by: what found them.
    """
    boxes = [labels.boxes_xywh for labels, _ in found]
    ids = [labels.class_ids.tolist() for labels, _ in found]
    coco: dict[str, Any] = {**boxes_to_coco(range(1, len(boxes) + 1), file_names, sizes_wh, boxes, ids, class_names)}
    coco["annotations"] = [{**box, "segmentation": []} for box in coco["annotations"]]
    write_atomically(folder / CVAT, coco_json(coco))
    tasks = [
        {
            "data": {"image": f"/data/local-files/?d=images/{quote(name)}"},
            "predictions": [{"model_version": made_by, "result": list(_results(labels, sure, size, class_names))}],
        }
        for name, size, (labels, sure) in zip(file_names, sizes_wh, found, strict=True)
    ]
    write_atomically(folder / LABEL_STUDIO, json.dumps(tasks, indent=1) + "\n")
    labels_xml = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in class_names)
    image = '  <Image name="image" value="$image" zoom="true"/>\n'
    boxes_xml = f'  <RectangleLabels name="label" toName="image">\n{labels_xml}  </RectangleLabels>\n'
    write_atomically(folder / INTERFACE, f"<View>\n{image}{boxes_xml}</View>\n")


def _results(
    labels: Labels, confidence: Sequence[float], size_wh: tuple[int, int], class_names: Sequence[str]
) -> Iterator[dict[str, Any]]:
    percent = labels.boxes_xywh / np.array([*size_wh, *size_wh]) * 100
    for number, (box, class_id, sure) in enumerate(
        zip(percent.tolist(), labels.class_ids.tolist(), confidence, strict=True)
    ):
        value = dict(zip(("x", "y", "width", "height"), box, strict=True))
        yield {
            "id": f"box{number}",
            "type": "rectanglelabels",
            "from_name": "label",
            "to_name": "image",
            "original_width": size_wh[0],
            "original_height": size_wh[1],
            "score": sure,
            "value": {**value, "rotation": 0, "rectanglelabels": [class_names[class_id]]},
        }


_ROTATED = "a rectangle is rotated, or has not one class"


class _Image(BaseModel):
    id: int
    file_name: str
    width: int = 0
    height: int = 0


class _Box(BaseModel):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    attributes: dict[str, Any] = {}


class _Category(BaseModel):
    id: int
    name: str


class _Coco(BaseModel):
    images: list[_Image]
    annotations: list[_Box]
    categories: list[_Category]


class _Value(BaseModel):
    x: float
    y: float
    width: float
    height: float
    rotation: float = 0
    rectanglelabels: list[str] = []


class _Result(BaseModel):
    type: str = ""
    value: Any = None


class _Annotation(BaseModel):
    result: list[_Result]
    was_cancelled: bool = False


class _Task(BaseModel):
    data: dict[str, Any]
    annotations: list[_Annotation] = []


@dataclass(frozen=True)
class _Drawn:
    """What a file says of a picture; a box is left, top, width, height, in percent where `size_wh` is None."""

    name: str
    boxes: Sequence[tuple[str, Sequence[float]]]
    size_wh: tuple[int, int] | None
    problem: str = ""


def read_labels(
    path: Path, sizes_wh: Mapping[str, tuple[int, int]], class_names: Sequence[str]
) -> tuple[dict[str, Labels], list[LeftOut]]:
    """Read labels that CVAT or Label Studio exported; a picture that is there without a box shows nothing.

    Args:
        path: COCO or Label Studio's JSON, or a zip that holds one.
        sizes_wh: of the pictures that there are, by id.
        class_names: by their ids.

    Returns:
        Labels by image id, and what could not be used: a picture is taken whole or not at all.

    Raises:
        HilumError: it is neither, or nothing in it can be used.
    """
    where, content = _json_of(path)
    left_out: list[LeftOut] = []
    found: dict[str, Labels] = {}
    ids = {name.casefold(): class_id for class_id, name in enumerate(class_names)}
    for drawn in _drawn(parse_json(content, where), where):
        image_id = Path(drawn.name).stem
        if image_id not in sizes_wh and (shorter := _UPLOADED.sub("", image_id)) in sizes_wh:
            image_id = shorter
        problem = drawn.problem or (f"was there already in {where}" if image_id in found else "")
        if image_id not in sizes_wh:
            problem = "no picture of the data has this name"
        elif drawn.size_wh not in {None, sizes_wh[image_id]}:
            problem = f"drawn in a picture of another size, {drawn.size_wh}, where it has {sizes_wh[image_id]}"
        elif strange := next((name for name, _ in drawn.boxes if name.casefold() not in ids), None):
            problem = problem or f"the data have no class {shown(strange)}"
        boxes = [] if problem else [_in_picture(box, drawn.size_wh, sizes_wh[image_id]) for _, box in drawn.boxes]
        if None in boxes:
            problem = "a box lies outside the picture, or has no size"
        if problem:
            left_out.append(LeftOut("image", image_id, path.name, None, problem))
            continue
        class_ids = np.array([ids[name.casefold()] for name, _ in drawn.boxes], np.int64)
        found[image_id] = Labels(np.array(boxes, np.float64).reshape(-1, 4), class_ids)
    if not found:
        first = f": {left_out[0].image_id}: {left_out[0].reason}" if left_out else ""
        raise HilumError(f"{path}: holds no picture with labels that can be used{first}")
    return found, left_out


def _json_of(path: Path) -> tuple[str, bytes]:
    """The JSON in a file or zip, and what to call it."""
    try:
        if path.suffix.lower() != ".zip":
            return str(path), read_regular(path, MAX_JSON_BYTES)
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.lower().endswith(".json")]
            if len(names) != 1:
                raise HilumError(f"{path}: expected one file of JSON in it, found {len(names)}")
            with archive.open(names[0]) as file:
                content = file.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise HilumError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError) as error:
        raise HilumError(f"{path}: cannot be read: {error}") from error
    if len(content) > MAX_JSON_BYTES:
        raise HilumError(f"{path}: {names[0]}: larger than {MAX_JSON_BYTES >> 20} MiB")
    return f"{path}: {names[0]}", content


def _drawn(values: Any, where: str) -> Iterator[_Drawn]:
    if isinstance(values, dict) and "images" in values:
        coco = check(values, _Coco, where)
        names = {category.id: category.name for category in coco.categories}
        boxes: dict[int, list[tuple[str, Sequence[float]]]] = {image.id: [] for image in coco.images}
        rotated: set[int] = set()
        for box in coco.annotations:
            if box.image_id not in boxes:
                raise HilumError(f"{where}: annotations: no image has the id {box.image_id}")
            rotated |= {box.image_id} if box.attributes.get("rotation") else set()  # as CVAT says it
            boxes[box.image_id].append((names.get(box.category_id, f"of category {box.category_id}"), box.bbox))
        for image in coco.images:
            problem = _ROTATED if image.id in rotated else ""
            yield _Drawn(image.file_name.replace("\\", "/"), boxes[image.id], (image.width, image.height), problem)
    elif isinstance(values, list):
        for number, each in enumerate(values):
            yield _of_task(check(each, _Task, f"{where}, task {number + 1}"), f"{where}, task {number + 1}")
    else:
        raise HilumError(f"{where}: expected COCO, or tasks of Label Studio")


def _of_task(task: _Task, where: str) -> _Drawn:
    """A task of Label Studio; the last annotation counts that was not cancelled."""
    name = re.split(r"[/=]", unquote(str(task.data.get("image", ""))))[-1]
    done = [annotation for annotation in task.annotations if not annotation.was_cancelled]
    if not done:
        return _Drawn(name, [], None, "nobody has labelled it")
    boxes: list[tuple[str, Sequence[float]]] = []
    for result in done[-1].result:
        if result.type != "rectanglelabels":
            return _Drawn(name, [], None, f"holds a {shown(result.type, quote=False)}, where rectangles are expected")
        value = check(result.value, _Value, where)
        if value.rotation or len(value.rectanglelabels) != 1:
            return _Drawn(name, [], None, _ROTATED)
        boxes.append((value.rectanglelabels[0], (value.x, value.y, value.width, value.height)))
    return _Drawn(name, boxes, None)


def _in_picture(
    box: Sequence[float], drawn_wh: tuple[int, int] | None, size_wh: tuple[int, int]
) -> tuple[float, float, float, float] | None:
    """The part of a box that lies in the picture, in its pixels; None where there is none."""
    scale = np.ones(4) if drawn_wh else np.array([*size_wh, *size_wh]) / 100
    left, top, width, height = (np.asarray(box, np.float64) * scale).tolist()
    right, bottom = min(left + width, size_wh[0]), min(top + height, size_wh[1])
    left, top = max(left, 0.0), max(top, 0.0)
    return (left, top, right - left, bottom - top) if min(right - left, bottom - top) > _LEAST_PX else None
