"""Several classes: what is looked for, found, stored and chosen of each is what it would be were it the only one."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from supervision import Detections

from hilum.class_names import said_of_classes
from hilum.datasets.boxes import xyxy_to_xywh
from hilum.datasets.coco import categories
from hilum.datasets.folder import SPLITS, Dataset, Split
from hilum.errors import HilumError
from hilum.eval.competition import choose_confidence
from hilum.eval.prediction_journal import PredictionJournal
from hilum.eval.predictions import read_answers
from hilum.eval.predictions_folder import write_predictions
from hilum.result import IMAGE_PROBABILITY, Result, at_or_above, class_probabilities, of_class
from hilum.training.validation import best_operating_point

NAMES = ("Consolidation", "Nodule/Mass", "ILD")


@pytest.fixture(scope="module")
def data(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The generated set with three classes: its boxes take turns; nobody has the last."""
    folder = tmp_path_factory.mktemp("classes") / "data"
    shutil.copytree(dataset, folder)
    for name in SPLITS:
        path = folder / "annotations" / f"{name}.json"
        coco = json.loads(path.read_text())
        for box in coco["annotations"]:
            box["category_id"] = 1 + box["id"] % 2
        path.write_text(json.dumps({**coco, "categories": categories(NAMES)}))
    record = json.loads((folder / "conversion.json").read_text())
    (folder / "conversion.json").write_text(json.dumps({**record, **said_of_classes(NAMES)}))
    return Dataset.open(folder)


@pytest.fixture(scope="module")
def train(data: Dataset) -> Split:
    return data.split("train")


def found_near(split: Split, seed: int = 0) -> list[Detections]:
    """Boxes near the true ones, some of another class, and an image probability of each class."""
    rng = np.random.default_rng(seed)
    found = []
    for boxes, ids in zip(split.boxes_xyxy, split.class_ids, strict=True):
        strangers = rng.integers(0, 3, len(ids))
        every = np.where(rng.random(len(ids)) < 0.7, ids, strangers)
        xyxy = boxes + rng.uniform(-20, 20, boxes.shape)
        said = {IMAGE_PROBABILITY: rng.random(3)}
        found.append(Detections(xyxy=xyxy, confidence=rng.random(len(ids)), class_id=every, metadata=said))
    return found


def results_of(split: Split, found: list[Detections]) -> list[Result]:
    return [
        Result(name, each, 0.5, class_names=NAMES, class_probabilities=tuple(class_probabilities(each, 3).tolist()))
        for name, each in zip(split.image_ids, found, strict=True)
    ]


def test_a_split_is_the_sum_of_its_classes(train: Split) -> None:
    parts = train.by_class()
    assert tuple(parts) == NAMES
    assert [sum(map(len, part.boxes_xyxy)) for part in parts.values()][2] == 0
    assert sum(len(b) for part in parts.values() for b in part.boxes_xyxy) == sum(map(len, train.boxes_xyxy)) > 0
    for class_id, (name, part) in enumerate(parts.items()):
        assert (part.class_names, part.image_ids) == ((name,), train.image_ids)
        for boxes, ids, its in zip(train.boxes_xyxy, train.class_ids, part.boxes_xyxy, strict=True):
            np.testing.assert_array_equal(boxes[ids == class_id], its)
    assert train.of_class(0).of_class(0).class_names == NAMES[:1]


@pytest.mark.parametrize("category", [0, 4])
def test_a_box_of_a_class_that_there_is_not_is_refused(data: Dataset, tmp_path: Path, category: int) -> None:
    shutil.copytree(data.path, tmp_path / "data")
    path = tmp_path / "data" / "annotations" / "train.json"
    coco = json.loads(path.read_text())
    coco["annotations"][1]["category_id"] = category
    path.write_text(json.dumps(coco))
    with pytest.raises(HilumError, match=rf"annotations\.1\.category_id: {category}; the classes are 1 to 3"):
        Dataset.open(tmp_path / "data").split("train")


def test_two_classes_of_one_name_in_a_record_are_refused(data: Dataset, tmp_path: Path) -> None:
    shutil.copytree(data.path, tmp_path / "data")
    path = tmp_path / "data" / "conversion.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "class_names": ["Mass", "mass"]}))
    with pytest.raises(HilumError, match=r"class_names.*two classes have one name"):
        Dataset.open(tmp_path / "data")


def test_the_operating_point_of_each_class_is_that_of_it_alone(train: Split) -> None:
    found = found_near(train)
    confidence, score = best_operating_point(train, found)
    alone = []
    for class_id, part in enumerate(train.by_class().values()):
        its = [of_class(each, class_id) for each in found]
        boxes = [xyxy_to_xywh(each.xyxy) for each in its]
        alone.append(choose_confidence(part.boxes_xywh, boxes, [each.confidence for each in its]))
    assert confidence == tuple(each[0] for each in alone)
    assert score == pytest.approx((alone[0][1] + alone[1][1]) / 2)  # nobody has the third
    kept = [at_or_above(each, confidence) for each in found]
    for each, its in zip(found, kept, strict=True):
        expected = each.confidence >= np.array(confidence)[each.class_id]
        np.testing.assert_array_equal(its.confidence, each.confidence[expected])


def test_what_is_written_of_each_class_is_read_again(train: Split, tmp_path: Path) -> None:
    found = found_near(train)
    about = {**said_of_classes(NAMES), "confidence": [0.3, 0.4, 0.5], "floor": [0.0, 0.0, 0.0]}
    write_predictions(tmp_path, results_of(train, found), train.coco_ids, about)
    answers, problems = read_answers(tmp_path, train)
    assert problems == []
    assert tuple(answers) == NAMES
    for class_id, answer in enumerate(answers.values()):
        assert answer.least == about["confidence"][class_id]
        np.testing.assert_array_equal(answer.probability, [class_probabilities(each, 3)[class_id] for each in found])
        for each, boxes, values in zip(found, answer.boxes_xywh, answer.confidence, strict=True):
            np.testing.assert_allclose(boxes, xyxy_to_xywh(each.xyxy[each.class_id == class_id]))
            np.testing.assert_array_equal(values, each.confidence[each.class_id == class_id])


def test_a_box_in_results_jsonl_and_in_the_table_names_its_class(train: Split, tmp_path: Path) -> None:
    found = found_near(train)
    write_predictions(tmp_path, results_of(train, found), train.coco_ids, said_of_classes(NAMES))
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    for line, each in zip(lines, found, strict=True):
        assert [box["class"] for box in line["boxes"]] == [NAMES[n] for n in each.class_id]
        assert line["probabilities"] == dict(zip(NAMES, class_probabilities(each, 3).tolist(), strict=True))
    head, *rows = (tmp_path / "predictions.csv").read_text().splitlines()
    assert head.endswith(",class")
    assert [row.rsplit(",", 1)[1] for row in rows] == [NAMES[n] for each in found for n in each.class_id]


def test_predictions_of_other_classes_and_submissions_that_name_none_are_refused(train: Split, tmp_path: Path) -> None:
    write_predictions(tmp_path / "one", [Result(name, found_near(train)[0][:0], 0.5) for name in train.image_ids])
    with pytest.raises(HilumError, match=r"looks for opacity; the data are of Consolidation, Nodule/Mass, ILD"):
        read_answers(tmp_path / "one", train)
    (tmp_path / "s.csv").write_text(f"patientId,PredictionString\n{train.image_ids[0]},0.5 1 1 20 20\n")
    with pytest.raises(HilumError, match="does not say of which class a box is, and there are 3"):
        read_answers(tmp_path / "s.csv", train)


def test_boxes_of_a_class_that_is_not_looked_for_are_left_out_and_named(train: Split, tmp_path: Path) -> None:
    box = {"image_id": train.image_ids[0], "bbox": [1, 1, 20, 20], "score": 0.5}
    (tmp_path / "r.json").write_text(json.dumps([{**box, "category_id": n} for n in (1, 3, 4)]))
    answers, problems = read_answers(tmp_path / "r.json", train)
    assert [len(answer.boxes_xywh[0]) for answer in answers.values()] == [1, 0, 1]
    assert any("category_id 4, where the classes are 1 to 3; left out" in line for line in problems)


def test_the_journal_of_an_interrupted_prediction_keeps_classes(train: Split, tmp_path: Path) -> None:
    results = results_of(train, found_near(train))
    names = [result.image_id for result in results]
    with PredictionJournal(tmp_path, {}, names, NAMES) as journal:
        for result in results:
            journal.add(result)
    with PredictionJournal(tmp_path, {}, names, NAMES) as journal:
        assert journal.done == len(results)
        for before, after in zip(results, journal.results(), strict=True):
            assert (after.class_names, after.class_probabilities) == (NAMES, before.class_probabilities)
            np.testing.assert_array_equal(after.detections.class_id, before.detections.class_id)
    with PredictionJournal(tmp_path, {}, names) as journal:  # of one class: the line of another one is no line of it
        assert journal.done < len(results)


def test_classes_of_a_backend_that_judges_no_image_are_as_likely_as_their_surest_box() -> None:
    found = Detections(
        xyxy=np.array([[0.0, 0, 9, 9]] * 3), confidence=np.array([0.9, 0.5, 0.2]), class_id=np.array([2, 0, 0])
    )
    assert class_probabilities(found, 3).tolist() == [0.5, 0.0, 0.9]
    assert len(of_class(found, 0)) == 2
    assert (of_class(found, 2).class_id == 0).all()


def test_a_box_without_a_category_is_of_none_of_several_classes(train: Split, tmp_path: Path) -> None:
    box = {"image_id": train.image_ids[0], "bbox": [1, 1, 20, 20], "score": 0.5}
    (tmp_path / "r.json").write_text(json.dumps([box, {**box, "category_id": 2}]))
    answers, problems = read_answers(tmp_path / "r.json", train)
    assert [len(answer.boxes_xywh[0]) for answer in answers.values()] == [0, 1, 0]
    assert any("category_id None, where the classes are 1 to 3; left out" in line for line in problems)


@pytest.mark.parametrize(("key", "values"), [("confidence", [0.5, 0.5]), ("floor", [])])
def test_an_operating_point_for_other_than_each_class_is_refused(
    train: Split, tmp_path: Path, key: str, values: list[float]
) -> None:
    write_predictions(tmp_path, results_of(train, found_near(train)), train.coco_ids, said_of_classes(NAMES))
    about = json.loads((tmp_path / "about.json").read_text())
    (tmp_path / "about.json").write_text(json.dumps({**about, key: values}))
    with pytest.raises(HilumError, match=rf"about\.json: {key}: has {len(values)} values, for 3 classes"):
        read_answers(tmp_path, train)


def test_the_number_of_an_only_category_says_nothing(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "data")
    path = tmp_path / "data" / "annotations" / "train.json"
    coco = json.loads(path.read_text())
    path.write_text(json.dumps({**coco, "annotations": [{**box, "category_id": 0} for box in coco["annotations"]]}))
    split = Dataset.open(tmp_path / "data").split("train")
    assert all((ids == 0).all() for ids in split.class_ids)
    assert split.shows_opacity


@pytest.mark.parametrize("least", [0.5, np.float32(0.5), np.array(0.5), 1])
def test_a_confidence_may_be_any_number(train: Split, least: float) -> None:
    for found in found_near(train):
        assert len(at_or_above(found, least)) == int((found.confidence >= float(least)).sum())
