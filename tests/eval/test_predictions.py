"""Predictions on disk, whoever wrote them."""

import csv
import json
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from supervision import Detections

from hilum.datasets.boxes import xywh_to_xyxy
from hilum.datasets.folder import Dataset, Split
from hilum.errors import HilumError
from hilum.eval.competition import competition_score
from hilum.eval.predictions import read_answer
from hilum.eval.predictions_folder import read_about, write_predictions
from hilum.eval.submission import write_submission
from hilum.result import Result, no_detections

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


def test_results_are_written_as_they_come_and_let_go(tmp_path: Path) -> None:
    alive: list[weakref.ref[Result]] = []

    def results() -> Iterator[Result]:
        for number in range(100):
            assert sum(each() is not None for each in alive) <= 2
            one = result(str(number), [1, 2, 31, 44])
            alive.append(weakref.ref(one))
            yield one

    write_predictions(tmp_path, results())
    assert len((tmp_path / "images.csv").read_text().splitlines()) == 101


def test_results_that_break_off_leave_what_was_there(split: Split, tmp_path: Path) -> None:
    write_predictions(tmp_path, [result(split.image_ids[0], [1, 2, 31, 44])], None, ABOUT)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def results() -> Iterator[Result]:
        yield result(split.image_ids[1])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_predictions(tmp_path, results())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_failed_and_missing_images_are_named(split: Split, tmp_path: Path) -> None:
    failed = Result(split.image_ids[0], no_detections(), float("nan"), "not a DICOM file")
    write_predictions(tmp_path, [failed, result(split.image_ids[1]), result("stranger")])
    _, problems = read_answer(tmp_path, split)
    told = "\n".join(problems)
    assert f"images.csv, row 2 ({split.image_ids[0]}): not predicted: not a DICOM file" in told
    missing = [split.image_ids[0], *split.image_ids[2:]]
    assert f"{len(missing)} of {len(split)} images of the train split are not in it" in told
    assert all(name in told for name in missing[:20])
    assert f"and {len(missing) - 20} more" in told
    assert "1 images are not in the train split" in told


def test_a_folder_says_which_images_are_likely_to_show_an_opacity(split: Split, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random(len(split)) * 1e-7
    results = [
        Result(name, no_detections(), probability, "unreadable" if not number else None)
        for number, (name, probability) in enumerate(zip(split.image_ids, probabilities.tolist(), strict=True))
    ]
    write_predictions(tmp_path, results[::-1], split.coco_ids[::-1])
    answer, _ = read_answer(tmp_path, split)
    assert answer.probability is not None
    assert np.isnan(answer.probability[0])
    np.testing.assert_array_equal(answer.probability[1:], probabilities[1:])
    of_results, _ = read_answer(coco(tmp_path / "r.json", [{"image_id": 1, "bbox": BOX, "score": 1}]), split)
    assert of_results.probability is None


ABOUT = {"run": "sample/unet", "confidence": 0.6, "floor": 0.01, "hilum": "0.1.0", "data_fingerprint": "ab"}


def test_a_folder_knows_its_operating_point(split: Split, tmp_path: Path) -> None:
    results = [result(name, [1, 2, 31, 44], [5, 5, 9, 9]) for name in split.image_ids]  # 0.9 and 0.5
    write_predictions(tmp_path, results, split.coco_ids, {**ABOUT, "split": "train"})
    assert read_about(tmp_path) == {**ABOUT, "split": "train"}
    answer, problems = read_answer(tmp_path, split)
    assert (answer.least, problems) == (0.6, [])
    assert [len(boxes) for boxes in answer.kept()[0]] == [1] * len(split)
    # What is asked for comes first, also where it is 0.
    assert read_answer(tmp_path, split, 0.05)[0].least == 0.05
    answer, problems = read_answer(tmp_path, split, 0.0)
    assert answer.least == 0
    assert problems == [f"{tmp_path}: boxes below a confidence of 0.01 were not written: 0 keeps no more"]
    # Written anew without it, the folder does not keep what is no longer true.
    write_predictions(tmp_path, results, split.coco_ids)
    assert read_about(tmp_path) == {}
    assert read_answer(tmp_path, split)[0].least == 0


@pytest.mark.parametrize("about", ["[]", "{", '{"confidence": "high"}', '{"floor": 2}', '{"confidence": true}'])
def test_a_damaged_record_is_refused(split: Split, tmp_path: Path, about: str) -> None:
    write_predictions(tmp_path, [result(name) for name in split.image_ids], split.coco_ids)
    (tmp_path / "about.json").write_text(about)
    with pytest.raises(HilumError, match=r"about\.json: "):
        read_answer(tmp_path, split)


def test_predictions_of_another_split_say_so(split: Split, dataset: Path, tmp_path: Path) -> None:
    val = Dataset.open(dataset).split("val")
    write_predictions(tmp_path, [result(name) for name in val.image_ids], val.coco_ids, {"split": "val"})
    with pytest.raises(HilumError, match=r"none of the .* they are of its val split"):
        read_answer(tmp_path, split)


def test_that_nothing_below_the_operating_point_was_kept_is_told(split: Split, tmp_path: Path) -> None:
    found = [result(image, [1, 2, 31, 44]) for image in split.image_ids]
    write_predictions(tmp_path, found, None, {**ABOUT, "confidence": 0.3, "floor": 0.3})
    (problem,) = read_answer(tmp_path, split)[1]
    assert "holds no box below a confidence of 0.3" in problem


def test_a_folder_without_its_table_of_images_is_named(split: Split, tmp_path: Path) -> None:
    with pytest.raises(HilumError, match="neither a run nor a predictions folder"):
        read_answer(tmp_path, split)


def test_images_of_another_data_set_are_named_and_not_a_broken_file(split: Split, tmp_path: Path) -> None:
    write_predictions(tmp_path, [result("stranger", [1, 2, 31, 44])], None, ABOUT)
    with pytest.raises(HilumError, match="it holds stranger, which is not"):
        read_answer(tmp_path, split)


@pytest.mark.parametrize("name", ["predictions.json", "predictions.csv", "images.csv"])
def test_a_file_of_a_folder_stands_for_the_folder(split: Split, tmp_path: Path, name: str) -> None:
    write_predictions(tmp_path, [result(image, [1, 2, 31, 44]) for image in split.image_ids], None, ABOUT)
    answer, problems = read_answer(tmp_path / name, split)
    assert problems == []
    assert answer.least == 0.6
    assert all((boxes == [1, 2, 30, 42]).all() for boxes in answer.boxes_xywh)


def test_another_file_beside_a_folders_is_read_itself(split: Split, tmp_path: Path) -> None:
    write_predictions(tmp_path, [result(image) for image in split.image_ids], split.coco_ids)
    theirs = [{"image_id": image, "category_id": 1, "bbox": BOX, "score": 0.5} for image in split.coco_ids]
    answer, _ = read_answer(coco(tmp_path / "theirs.json", theirs), split)
    assert all((boxes == BOX).all() for boxes in answer.boxes_xywh)


def test_two_pictures_of_one_name_are_not_put_together(split: Split, tmp_path: Path) -> None:
    name = split.image_ids[0]
    write_predictions(tmp_path, [result(name, [1, 2, 31, 44]), result(name, [5, 5, 9, 9])])
    answer, problems = read_answer(tmp_path, split)
    np.testing.assert_array_equal(answer.boxes_xywh[0], [[1, 2, 30, 42]])
    assert f"images.csv, row 3 ({name}): is there twice; the first one counts" in problems[0]


def test_one_number_for_two_images_is_refused(split: Split, tmp_path: Path) -> None:
    write_predictions(tmp_path, [result(name) for name in split.image_ids[:2]], [4, 4])
    with pytest.raises(HilumError, match=rf"row 3 .*coco_id 4 is that of {split.image_ids[0]} too"):
        read_answer(tmp_path, split)


def entries_of(images: Any, **more: Any) -> list[dict[str, Any]]:
    return [{"image_id": image, "category_id": 1, "bbox": BOX, "score": 0.5, **more} for image in images]


@pytest.mark.parametrize("form", ["number", "digits", "float", "name", "file", "path"])
def test_images_by_number_or_by_name(split: Split, tmp_path: Path, form: str) -> None:
    number, name = list(split.coco_ids), list(split.image_ids)
    images = {
        "number": number,
        "digits": [str(image) for image in number],
        "float": [float(image) for image in number],
        "name": name,
        "file": [f"{image}.jpg" for image in name],
        "path": [f"images\\{image}.DCM" for image in name],
    }[form]
    answer, problems = read_answer(coco(tmp_path / "r.json", entries_of(images, area=1, segmentation=[])), split)
    assert problems == []
    assert all((boxes == BOX).all() for boxes in answer.boxes_xywh)


def named(split: Split, *names: str) -> Split:
    return replace(split, image_ids=(*names, *split.image_ids[len(names) :]))


def test_names_of_digits(split: Split, tmp_path: Path) -> None:
    first, second = split.coco_ids[:2]
    # Some tools write the image 0900 as the number 900.
    by_name = named(split, "0900")
    for image in ("0900", 900, first):
        answer, _ = read_answer(coco(tmp_path / "r.json", entries_of([image])), by_name)
        np.testing.assert_array_equal(answer.boxes_xywh[0], [BOX])
    # One image has the other's number for a name: as text it is a name, as a number it may be both.
    both = named(split, str(second))
    answer, _ = read_answer(coco(tmp_path / "r.json", entries_of([str(second)])), both)
    assert [len(boxes) for boxes in answer.boxes_xywh[:2]] == [1, 0]
    with pytest.raises(HilumError, match=rf"entry 1: image_id {second} may be the number of one image and the name"):
        read_answer(coco(tmp_path / "r.json", entries_of([second])), both)
    same = named(split, str(first))
    assert len(read_answer(coco(tmp_path / "r.json", entries_of([first])), same)[0].boxes_xywh[0]) == 1


def test_categories(split: Split, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    answer, problems = read_answer(coco(path, ["text", *entries_of(split.coco_ids, category_id=0)]), split)
    assert all((boxes == BOX).all() for boxes in answer.boxes_xywh)
    assert problems[0] == f"{path}: every box has category_id 0; taken for opacity, which is 1"
    first = split.coco_ids[0]
    mixed = [*entries_of(split.coco_ids), *entries_of([first, first], category_id=7)]
    answer, problems = read_answer(coco(path, mixed), split)
    assert all((boxes == BOX).all() for boxes in answer.boxes_xywh)
    where = f"{path}, entry {len(split) + 1} ({split.image_ids[0]})"
    assert problems[0] == f"{where}: category_id 7, where 1 is opacity; left out"
    assert len(problems) == 2
    without = entries_of(split.coco_ids)
    for entry in without:
        del entry["category_id"]
    assert read_answer(coco(path, without), split)[1] == []


def test_what_is_doubtful_is_kept_and_named(split: Split, tmp_path: Path) -> None:
    path, (first, second) = tmp_path / "r.json", split.coco_ids[:2]
    size, _ = split.sizes_wh[0].tolist()
    wide = entries_of([first], bbox=[0, 0, size + 1, 5])
    answer, problems = read_answer(coco(path, [*wide, *entries_of([second], score=-3), *entries_of([second])]), split)
    assert len(answer.boxes_xywh[0]) == 1
    # A confidence below 0 is part of the answer too.
    np.testing.assert_array_equal(answer.kept()[1][1], [-3, 0.5])
    assert f"entry 1 ({split.image_ids[0]}): bbox [0, 0, {size + 1}, 5] reaches out of the" in problems[0]
    assert f"entry 2 ({split.image_ids[1]}): score -3 is outside 0..1; kept as it is" in problems[1]


def test_a_flood_of_bad_entries_is_cut(split: Split, tmp_path: Path) -> None:
    bad = entries_of([10**6 + number for number in range(1000)])
    _, problems = read_answer(coco(tmp_path / "r.json", [*entries_of(split.coco_ids), *bad]), split)
    assert len(problems) == 21
    assert problems[-1].endswith("r.json: and 980 more boxes of images that are not among those looked at")


@pytest.mark.parametrize(
    "bad",
    [
        "text",
        {"image_id": 1, "score": 0.5},
        {"image_id": 1, "bbox": BOX[:3], "score": 0.5},
        {"image_id": 1, "bbox": [0, 0, "wide", 5], "score": 0.5},
        {"image_id": 1, "bbox": BOX, "score": float("nan")},
        {"image_id": 1, "bbox": BOX, "score": 10**400},
        {"image_id": [1], "bbox": BOX, "score": 0.5},
        {"image_id": True, "bbox": BOX, "score": 0.5},
        {"image_id": "9" * 5000, "bbox": BOX, "score": 0.5},
        {"image_id": float("inf"), "bbox": BOX, "score": 0.5},
        {"image_id": 1, "category_id": [1], "bbox": BOX, "score": 0.5},
        {"image_id": 1, "bbox": [0, 0, 0, 5], "score": 0.5},
    ],
)
def test_a_bad_entry_is_named_and_left_out(split: Split, tmp_path: Path, bad: Any) -> None:
    good = entries_of(split.coco_ids)
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
        ("a.json", "{", "not read as JSON: EOF"),
        ("a.json", "[" * 100_000, "not read as JSON: nested more than 64 deep"),
        ("a.json", "{}", "a list of objects"),
        ("a.json", '{"images": [], "annotations": []}', "is a COCO data set, which holds the truth; give COCO results"),
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


def test_a_file_that_is_not_there(split: Split, tmp_path: Path) -> None:
    for name in ("a.json", "a.csv", "folder"):
        with pytest.raises(HilumError, match=f"{name}: no such file or folder"):
            read_answer(tmp_path / name, split)


@pytest.mark.parametrize("name", ["stage1_a.csv", "stage1_b.csv", "stage1_c.csv"])
def test_real_submissions_through_a_split(shared: Path, split: Split, name: str) -> None:
    folder = shared / "metric_cases/submissions"
    expected = json.loads((folder / "expected.json").read_text())[name]
    truth: dict[str, list[list[float]]] = {}
    with (shared / "rsna_tables/stage_2_train_labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            boxes = truth.setdefault(row["patientId"], [])
            if row["Target"] == "1":
                boxes.append([float(row[side]) for side in ("x", "y", "width", "height")])
    ids = [line.partition(",")[0].strip() for line in (folder / name).read_text().splitlines()[1:]]
    whole = of_size_1024(split, tuple(ids), [np.array(truth[image]).reshape(-1, 4) for image in ids])
    answer, problems = read_answer(folder / name, whole)
    # Nothing is wrong with them but boxes that somebody drew over the edge.
    assert all("reaches out of the 1024 x 1024 image; kept as it is" in line for line in problems if "more" not in line)
    assert competition_score(whole.boxes_xywh, *answer.kept()) == pytest.approx(expected["score"], abs=1e-12)


def of_size_1024(split: Split, ids: tuple[str, ...], boxes_xywh: list[Any]) -> Split:
    return replace(
        split,
        coco_ids=tuple(range(1, len(ids) + 1)),
        image_ids=ids,
        sizes_wh=np.full((len(ids), 2), 1024),
        boxes_xyxy=tuple(xywh_to_xyxy(boxes) for boxes in boxes_xywh),
    )


def corners(boxes_xywh: Any, width: float, height: float) -> Any:
    del width, height
    return np.hstack([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]])


def relative(boxes_xywh: Any, width: float, height: float) -> Any:
    return boxes_xywh / [width, height, width, height]


WRITERS: dict[str, Any] = {
    "coco": lambda path, split, boxes: coco(
        path.with_suffix(".json"),
        [
            {"image_id": number, "category_id": 1, "bbox": box.tolist(), "score": 0.9}
            for number, of_image in zip(split.coco_ids, boxes, strict=True)
            for box in of_image
        ],
    ),
    "submission": lambda path, split, boxes: (
        write_submission(path.with_suffix(".csv"), split.image_ids, boxes, [np.full(len(each), 0.9) for each in boxes]),
        path.with_suffix(".csv"),
    )[1],
    "folder": lambda path, split, boxes: (
        write_predictions(
            path,
            [result(name, *xywh_to_xyxy(each)) for name, each in zip(split.image_ids, boxes, strict=True)],
            split.coco_ids,
        ),
        path,
    )[1],
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    ("how", "told"),
    [(relative, "boxes lie within 1 px, as relative ones"), (corners, "read as left, top, right, bottom")],
)
def test_boxes_that_are_not_in_pixels_are_refused(split: Split, tmp_path: Path, kind: str, how: Any, told: str) -> None:
    boxes = [how(each, *size) for each, size in zip(split.boxes_xywh, split.sizes_wh.tolist(), strict=True)]
    path = WRITERS[kind](tmp_path / "given", split, boxes)
    with pytest.raises(HilumError, match=rf"^{path}: .*{told}.*expected are left, top, width, height in pixels"):
        read_answer(path, split)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    ("scale", "told"), [(1, None), (0.5, "pixels of a reduced picture"), (2, "pixels of a larger picture")]
)
def test_boxes_of_another_scale_are_asked_about(
    split: Split, tmp_path: Path, kind: str, scale: float, told: str | None
) -> None:
    path = WRITERS[kind](tmp_path / "given", split, [boxes * scale for boxes in split.boxes_xywh])
    lines = [line for line in read_answer(path, split)[1] if "are they in pixels" in line]
    assert len(lines) == (told is not None)
    assert not lines or (told in lines[0] and lines[0].startswith(f"{path}: "))


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_that_is_joined_with_itself_is_asked_about(split: Split, tmp_path: Path, kind: str) -> None:
    for times in (1, 2):
        path = WRITERS[kind](tmp_path / str(times), split, [np.tile(boxes, (times, 1)) for boxes in split.boxes_xywh])
        lines = [line for line in read_answer(path, split)[1] if "repeat others of their image" in line]
        assert len(lines) == times - 1


def test_relative_boxes_of_the_challenge_are_refused(shared: Path, split: Split, tmp_path: Path) -> None:
    entries = json.loads((shared / "faults" / "predictions" / "relative_0_1.json").read_text())
    for entry, number in zip(entries, split.coco_ids, strict=False):
        entry["image_id"] = number
    with pytest.raises(HilumError, match="as relative ones"):
        read_answer(coco(tmp_path / "relative.json", entries), split)


def test_ids_that_match_nothing_show_one_of_each_side(split: Split, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("patientId;PredictionString\n345;0.9 1 1 9 9\n", encoding="utf-8")
    strangers = coco(tmp_path / "a.json", [{"image_id": 987654, "category_id": 1, "bbox": BOX, "score": 0.5}])
    for path, theirs in ((tmp_path / "a.csv", "345"), (strangers, "987654")):
        with pytest.raises(HilumError, match=f"such as {split.image_ids[0]}, number {split.coco_ids[0]},.*{theirs}"):
            read_answer(path, split)
