"""COCO's detection format: one JSON a split, images without boxes listed too."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.class_names import ONE_CLASS
from hilum.datasets.annotations import Coco, CocoImage


def categories(class_names: Sequence[str] = ONE_CLASS) -> list[dict[str, Any]]:
    """COCO's categories: ids from 1 on, in the order of the classes, whose own ids start at 0."""
    return [{"id": n, "name": name, "supercategory": "finding"} for n, name in enumerate(class_names, start=1)]


def boxes_to_coco(
    coco_ids: Sequence[int],
    file_names: Sequence[str],
    sizes_wh: Sequence[tuple[int, int]],
    boxes_xywh: Sequence[NDArray[np.floating]],
    class_ids: Sequence[Sequence[int]] | None = None,
    class_names: Sequence[str] = ONE_CLASS,
) -> Coco:
    """Build a COCO data set; all arguments but the last run in parallel, one entry an image.

    Args:
        coco_ids: integer ids, unique.
        file_names: relative to `images/`, the folder that stock loaders take beside the JSON.
        sizes_wh: pixels.
        boxes_xywh: (boxes, 4) left, top, width, height in pixels.
        class_ids: (boxes,) from 0 on; all 0 where None.
        class_names: by their ids.
    """
    images: list[CocoImage] = [
        {"id": number, "file_name": name, "width": width, "height": height}
        for number, name, (width, height) in zip(coco_ids, file_names, sizes_wh, strict=True)
    ]
    of_images = [np.asarray(found, np.float64).reshape(-1, 4).tolist() for found in boxes_xywh]
    ids = [[0] * len(found) for found in of_images] if class_ids is None else class_ids
    boxes = [
        (number, box, int(class_id))
        for number, found, its in zip(coco_ids, of_images, ids, strict=True)
        for box, class_id in zip(found, its, strict=True)
    ]
    annotations: list[Any] = [
        {"id": n, "image_id": number, "category_id": class_id + 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for n, (number, box, class_id) in enumerate(boxes, start=1)
    ]
    return {"images": images, "annotations": annotations, "categories": categories(class_names)}


def coco_json(data: Mapping[str, Any]) -> str:
    """One image or box a line, so that two versions can be compared by eye."""
    parts = [
        f'"{key}": [\n' + ",\n".join(json.dumps(entry) for entry in entries) + "\n]" for key, entries in data.items()
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"
