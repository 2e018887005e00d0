"""COCO's detection format: one JSON a split, images without boxes listed too."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.datasets.annotations import Coco, CocoImage

CATEGORIES = [{"id": 1, "name": "opacity", "supercategory": "finding"}]


def boxes_to_coco(
    coco_ids: Sequence[int],
    file_names: Sequence[str],
    sizes_wh: Sequence[tuple[int, int]],
    boxes_xywh: Sequence[NDArray[np.floating]],
) -> Coco:
    """Build a COCO data set; all arguments run in parallel, one entry an image.

    Args:
        coco_ids: integer ids, unique.
        file_names: relative to `images/`, the folder that stock loaders take beside the JSON.
        sizes_wh: pixels.
        boxes_xywh: (boxes, 4) left, top, width, height in pixels.
    """
    images: list[CocoImage] = [
        {"id": number, "file_name": name, "width": width, "height": height}
        for number, name, (width, height) in zip(coco_ids, file_names, sizes_wh, strict=True)
    ]
    boxes = [
        (number, box)
        for number, found in zip(coco_ids, boxes_xywh, strict=True)
        for box in np.asarray(found, np.float64).reshape(-1, 4).tolist()
    ]
    annotations: list[Any] = [
        {"id": n, "image_id": number, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for n, (number, box) in enumerate(boxes, start=1)
    ]
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


def coco_json(data: Mapping[str, Any]) -> str:
    """One image or box a line, so that two versions can be compared by eye."""
    parts = [
        f'"{key}": [\n' + ",\n".join(json.dumps(entry) for entry in entries) + "\n]" for key, entries in data.items()
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"
