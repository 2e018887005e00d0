import json

import numpy as np
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hilum.datasets.coco import boxes_to_coco, coco_json
from hilum.datasets.yolo import boxes_to_yolo, data_yaml, yolo_to_boxes


@st.composite
def pictures(draw):
    """A picture's size and boxes inside it."""
    width, height = draw(st.integers(16, 6000)), draw(st.integers(16, 6000))
    boxes = []
    for _ in range(draw(st.integers(0, 5))):
        left, top = draw(st.floats(0, width - 2)), draw(st.floats(0, height - 2))
        boxes.append([left, top, draw(st.floats(1, width - left)), draw(st.floats(1, height - top))])
    return (width, height), np.array(boxes, np.float64).reshape(-1, 4)


@given(pictures())
def test_yolo_and_back_is_exact_to_a_hundredth_of_a_pixel(picture):
    size, boxes = picture
    text = boxes_to_yolo(boxes, size)
    assert len(text.splitlines()) == len(boxes)
    shares = np.array([line.split() for line in text.splitlines()], np.float64).reshape(-1, 5)
    assert ((shares >= 0) & (shares <= 1)).all()
    assert np.allclose(yolo_to_boxes(text, size), boxes, rtol=0, atol=0.01)


def test_a_yolo_line_by_hand():
    assert boxes_to_yolo(np.array([[100.0, 50, 200, 100]]), (1000, 500)) == (
        "0 0.20000000 0.20000000 0.20000000 0.20000000\n"
    )
    assert boxes_to_yolo(np.zeros((0, 4)), (10, 10)) == ""
    assert yolo_to_boxes("", (10, 10)).shape == (0, 4)


@given(st.lists(pictures(), max_size=4))
def test_coco_and_back_is_exact(found):
    sizes, boxes = [size for size, _ in found], [b for _, b in found]
    ids = [7 * n + 1 for n in range(len(found))]
    data = json.loads(coco_json(boxes_to_coco(ids, [f"{n}.jpg" for n in ids], sizes, boxes)))
    assert [(i["id"], (i["width"], i["height"])) for i in data["images"]] == list(zip(ids, sizes, strict=True))
    numbers = [a["id"] for a in data["annotations"]]
    assert len(set(numbers)) == len(numbers)
    for number, expected in zip(ids, boxes, strict=True):
        here = [a["bbox"] for a in data["annotations"] if a["image_id"] == number]
        assert np.array_equal(np.array(here).reshape(-1, 4), expected)


def test_a_coco_file_by_hand():
    data = boxes_to_coco(
        [4, 9], ["a.jpg", "b.png"], [(100, 50), (10, 20)], [np.array([[1.0, 2, 3, 4]]), np.zeros((0, 4))]
    )
    assert json.loads(coco_json(data)) == {
        "images": [
            {"id": 4, "file_name": "a.jpg", "width": 100, "height": 50},
            {"id": 9, "file_name": "b.png", "width": 10, "height": 20},
        ],
        "annotations": [
            {"id": 1, "image_id": 4, "category_id": 1, "bbox": [1.0, 2.0, 3.0, 4.0], "area": 12.0, "iscrowd": 0}
        ],
        "categories": [{"id": 1, "name": "opacity", "supercategory": "finding"}],
    }


def test_data_yaml_has_no_path_key():
    assert yaml.safe_load(data_yaml()) == {
        "train": "train.txt",
        "val": "val.txt",
        "test": "holdout.txt",
        "channels": 1,
        "names": {0: "opacity"},
    }
