"""Predictions on disk, whoever wrote them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from supervision import Detections

from hilum.datasets.folder import Dataset, Split
from hilum.errors import HilumError
from hilum.eval.predictions import read_answer, write_predictions
from hilum.eval.submission import write_submission
from hilum.predict import Result, no_detections

BOX = [10.0, 20.0, 30.0, 40.5]  # x, y, width, height


@pytest.fixture
def split(dataset: Path) -> Split:
    return Dataset.open(dataset).split("train")


def result(image_id: str, *boxes_xyxy: list[float]) -> Result:
    boxes = np.array(boxes_xyxy, np.float64).reshape(-1, 4)
    confidence = np.linspace(0.9, 0.5, len(boxes))
    return Result(image_id, Detections(xyxy=boxes, confidence=confidence, class_id=np.zeros(len(boxes), int)), 0.9)


def coco(path: Path, entries: Any) -> Path:
    path.write_text(json.dumps(entries))
    return path


@pytest.mark.parametrize("with_ids", [True, False])
def test_what_is_written_is_read_again(split: Split, tmp_path: Path, with_ids: bool) -> None:
    first, second, *others = split.image_ids
    results = [result(first, [1.25, 2, 31, 44], [5, 5, 9, 9]), result(second), *(result(name) for name in others)]
    write_predictions(tmp_path / "out", results, split.coco_ids if with_ids else None)
    answer, problems = read_answer(tmp_path / "out", split, 0.25)
    assert problems == []
    assert answer.least == 0.25
    np.testing.assert_array_equal(answer.boxes_xywh[0], [[1.25, 2, 29.75, 42], [5, 5, 4, 4]])
    np.testing.assert_array_equal(answer.confidence[0], [0.9, 0.5])
    assert all(boxes.shape == (0, 4) for boxes in answer.boxes_xywh[1:])


def test_failed_and_missing_images_are_named(split: Split, tmp_path: Path) -> None:
    failed = Result(split.image_ids[0], no_detections(), float("nan"), "not a DICOM file")
    write_predictions(tmp_path, [failed, result(split.image_ids[1]), result("stranger")])
    _, problems = read_answer(tmp_path, split)
    told = "\n".join(problems)
    assert f"{split.image_ids[0]}: not predicted: not a DICOM file" in told
    assert f"{len(split) - 1} of {len(split)} images of the train split are not in it" in told
    assert "1 images are not in the train split" in told


def test_coco_results_from_elsewhere(split: Split, tmp_path: Path) -> None:
    entries = [
        {"image_id": image, "category_id": 7, "bbox": BOX, "score": 0.5, "area": 1, "segmentation": []}
        for image in split.coco_ids
    ]
    answer, problems = read_answer(coco(tmp_path / "r.json", entries), split)
    assert problems == []
    assert all((boxes == BOX).all() for boxes in answer.boxes_xywh)


@pytest.mark.parametrize(
    "bad",
    [
        "text",
        {"image_id": 1, "score": 0.5},
        {"image_id": 1, "bbox": BOX[:3], "score": 0.5},
        {"image_id": 1, "bbox": [0, 0, 0, 5], "score": 0.5},
        {"image_id": 1, "bbox": [0, 0, "wide", 5], "score": 0.5},
        {"image_id": 1, "bbox": BOX, "score": float("nan")},
        {"image_id": 1, "bbox": BOX, "score": 10**400},
        {"image_id": [1], "bbox": BOX, "score": 0.5},
    ],
)
def test_a_bad_entry_is_named_and_left_out(split: Split, tmp_path: Path, bad: Any) -> None:
    good = [{"image_id": image, "bbox": BOX, "score": 0.5} for image in split.coco_ids]
    answer, problems = read_answer(coco(tmp_path / "r.json", [*good, bad]), split)
    assert len(problems) == 1
    assert f"entry {len(good) + 1}" in problems[0]
    assert sum(map(len, answer.boxes_xywh)) == len(good)


def test_a_submission(split: Split, tmp_path: Path) -> None:
    ids = split.image_ids[:-1]
    write_submission(tmp_path / "s.csv", ids, [np.array([BOX])] * len(ids), [np.array([0.5])] * len(ids))
    answer, problems = read_answer(tmp_path / "s.csv", split)
    np.testing.assert_array_equal(answer.boxes_xywh[0], [BOX])
    assert len(answer.boxes_xywh[-1]) == 0
    assert len(problems) == 1
    assert split.image_ids[-1] in problems[0]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "cannot be read as JSON"),
        ("a.json", "{}", "a list of objects"),
        ("a.json", "[]", "none of the"),
        ("a.csv", "a,b\n", "patientId"),
        ("a.txt", "", "expected a run"),
    ],
)
def test_what_is_not_predictions_is_refused(split: Split, tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(HilumError, match=message) as error:
        read_answer(tmp_path / name, split)
    assert name in str(error.value)


def test_a_folder_that_is_not_one_of_predictions_is_refused(split: Split, tmp_path: Path) -> None:
    with pytest.raises(HilumError, match=r"images\.csv"):
        read_answer(tmp_path, split)
