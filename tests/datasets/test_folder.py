import json
import shutil

import cv2
import numpy as np
import pytest

from hilum.datasets.cache import square_pictures
from hilum.datasets.folder import SPLITS, Dataset
from hilum.errors import HilumError


@pytest.fixture
def data(tmp_path):
    """A dataset folder by hand: train has an image with two boxes and one without, val one without, holdout none."""
    (tmp_path / "annotations").mkdir()
    (tmp_path / "unlabelled" / "images").mkdir(parents=True)
    images = {
        "train": [{"id": 3, "file_name": "c.jpg", "width": 10, "height": 20}],
        "val": [{"id": 2, "file_name": "b.d.png", "width": 30, "height": 40}],
        "holdout": [],
    }
    images["train"].append({"id": 1, "file_name": "a.jpg", "width": 50, "height": 60})
    boxes = [[1.5, 2, 3, 4], [5, 6, 7, 8.25]]
    annotations = [{"id": n, "image_id": 1, "category_id": 1, "bbox": box} for n, box in enumerate(boxes)]
    for name, listed in images.items():
        coco = {"images": listed, "annotations": annotations if name == "train" else [], "categories": []}
        (tmp_path / "annotations" / f"{name}.json").write_text(json.dumps(coco))
    rows = ["image_id,split,class,patient", "a,train,Lung Opacity,p1", "b.d,val,,", 'c,train,Normal,"p, 2"']
    (tmp_path / "metadata.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "conversion.json").write_text('{"complete": true, "patients_known": true}')
    return tmp_path


def test_a_split_is_read_in_the_order_of_its_file(data):
    split = Dataset.open(data).split("train")
    assert (split.name, len(split)) == ("train", 2)
    assert split.coco_ids == (3, 1)
    assert split.image_ids == ("c", "a")
    assert split.paths == (data / "images" / "c.jpg", data / "images" / "a.jpg")
    assert split.sizes_wh.tolist() == [[10, 20], [50, 60]]
    assert [boxes.tolist() for boxes in split.boxes_xyxy] == [[], [[1.5, 2, 4.5, 6], [5, 6, 12, 14.25]]]
    assert [boxes.tolist() for boxes in split.boxes_xywh] == [[], [[1.5, 2, 3, 4], [5, 6, 7, 8.25]]]
    assert all(boxes.shape[1:] == (4,) and boxes.dtype == np.float64 for boxes in split.boxes_xyxy)
    assert split.kinds == ("Normal", "Lung Opacity")
    assert split.patients == ("patient p, 2", "patient p1")


def test_an_unknown_patient_is_the_image_itself_and_dots_in_names_stay(data):
    split = Dataset.open(data).split("val")
    assert (split.image_ids, split.patients, split.kinds) == (("b.d",), ("image b.d",), ("",))


def test_a_patient_and_an_image_of_an_unknown_one_never_meet_under_one_name(data):
    table = data / "metadata.csv"
    table.write_text(
        table.read_text().replace("a,train,Lung Opacity,p1", "a,train,Lung Opacity,c").replace('"p, 2"', "")
    )
    assert len(set(Dataset.open(data).split("train").patients)) == 2  # image a of patient c, and image c of nobody


def test_an_empty_split_is_empty_and_not_an_error(data):
    split = Dataset.open(data).split("holdout")
    assert len(split) == 0
    assert split.sizes_wh.shape == (0, 2)


def test_unlabelled_pictures_are_sorted(data):
    for name in ("z.png", "a.jpg", "m.jpg"):
        (data / "unlabelled" / "images" / name).touch()
    assert [path.name for path in Dataset.open(data).unlabelled()] == ["a.jpg", "m.jpg", "z.png"]


def test_the_fingerprint_follows_the_content_and_nothing_else(data, tmp_path):
    first = Dataset.open(data).fingerprint
    (data / "labels.cache").write_text("of ultralytics")
    (data / "conversion.json").write_text('{"complete": true, "patients_known": false}')
    assert Dataset.open(data).fingerprint == first
    for name in ["metadata.csv", *(f"annotations/{split}.json" for split in SPLITS)]:
        before = (data / name).read_text()
        (data / name).write_text(before + " ")
        assert Dataset.open(data).fingerprint != first, name
        (data / name).write_text(before)
    assert Dataset.open(data).fingerprint == first


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ('{"complete": false}', "interrupted"),
        ("{}", "conversion.json: complete: this key is missing; convert again"),
        ("[]", "conversion.json: input should be a valid dictionary; convert again"),
        ("{", "conversion.json: not read as JSON: .*; convert again"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(data, record, message):
    (data / "conversion.json").write_text(record)
    with pytest.raises(HilumError, match=message):
        Dataset.open(data)


def test_what_is_no_dataset_folder_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(HilumError, match=r"conversion\.json is missing; `hilum convert"):
        Dataset.open(tmp_path)
    with pytest.raises(HilumError, match="no such folder"):
        Dataset.open(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "not read as JSON: .*"),
        ("[]", "input should be a valid dictionary"),
        ('{"images": []}', "annotations: this key is missing"),
        ('{"images": [{"id": 1}], "annotations": []}', r"images\.0\.file_name: this key is missing"),
    ],
)
def test_a_damaged_annotation_file_is_named(data, content, problem):
    (data / "annotations" / "val.json").write_text(content)
    with pytest.raises(HilumError, match=rf"val\.json: {problem}; convert again"):
        Dataset.open(data).split("val")


@pytest.mark.parametrize("name", ["metadata.csv", "annotations/train.json"])
def test_a_missing_file_is_named(data, name):
    (data / name).unlink()
    with pytest.raises(HilumError, match=f"{name}: cannot be read"):
        Dataset.open(data).split("train")


@pytest.fixture
def further(data):
    """The folder by hand as a further split of itself, with all its images in train."""
    folder = data / "splits" / "mine"
    (folder / "annotations").mkdir(parents=True)
    parts = [json.loads((data / "annotations" / f"{name}.json").read_text()) for name in SPLITS]
    for name in SPLITS:
        listed = parts if name == "train" else []
        whole = {key: [entry for part in listed for entry in part[key]] for key in parts[0]}
        (folder / "annotations" / f"{name}.json").write_text(json.dumps(whole))
    shutil.copy(data / "metadata.csv", folder)
    record = {"complete": True, "parent_fingerprint": Dataset.open(data).fingerprint}
    (folder / "conversion.json").write_text(json.dumps(record))
    return folder


def test_a_further_split_takes_the_pictures_of_its_parent(data, further, tmp_path, monkeypatch):
    (data / "unlabelled" / "images" / "z.png").touch()
    split = Dataset.open(further)
    assert split.is_further_split
    assert not Dataset.open(data).is_further_split
    assert (split.path, split.root) == (further, data)
    assert split.split("train").paths == tuple(data / "images" / name for name in ("c.jpg", "a.jpg", "b.d.png"))
    assert split.unlabelled() == [data / "unlabelled" / "images" / "z.png"]
    assert split.fingerprint != Dataset.open(data).fingerprint
    assert len(split.split("val")) == 0


@pytest.mark.parametrize("way", ["from inside", "through a link", "after a move"])
def test_a_further_split_finds_its_parent(data, further, tmp_path_factory, monkeypatch, way):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    path = further
    if way == "from inside":
        monkeypatch.chdir(further)
        path = further.relative_to(further)
    elif way == "through a link":
        path = elsewhere / "link"
        path.symlink_to(further, target_is_directory=True)
    else:
        data = data.rename(elsewhere / "moved")
        path = data / "splits" / "mine"
    split = Dataset.open(path)
    assert split.root == data
    assert split.split("train").paths[0] == data / "images" / "c.jpg"


def test_pictures_of_a_further_split_are_cached_beside_its_parents(data, further):
    (data / "images").mkdir()
    for name in ("a.jpg", "b.d.png", "c.jpg"):
        cv2.imwrite(str(data / "images" / name), np.full((8, 8), 200, np.uint8))
    split = Dataset.open(further)
    assert square_pictures(split, "train", 4)[:].shape == (3, 4, 4)
    assert [path.name.split("-")[0] for path in (data / "cache").iterdir()] == ["4"]
    assert not (further / "cache").exists()


def test_a_further_split_of_data_that_changed_is_refused(data, further):
    table = data / "metadata.csv"
    before = table.read_text()
    table.write_text(before.replace("Normal", "Lung Opacity"))
    with pytest.raises(HilumError, match=rf"has been converted anew .* `hilum split {data} mine \.\.\. --overwrite`"):
        Dataset.open(further)
    table.write_text(before)
    Dataset.open(further)


def test_a_further_split_without_its_parent_is_refused(data, further, tmp_path_factory):
    copy = tmp_path_factory.mktemp("alone") / "splits" / "mine"
    shutil.copytree(further, copy)
    with pytest.raises(HilumError, match=r"a split of the dataset two folders up; .*conversion\.json is missing"):
        Dataset.open(copy)
    (data / "conversion.json").write_text('{"complete": false}')
    with pytest.raises(HilumError, match=r"a split of the dataset two folders up; .* was interrupted"):
        Dataset.open(further)


def test_a_further_split_that_is_not_there_is_told_with_those_that_are(data, further):
    with pytest.raises(HilumError, match=r"five: no such folder; there are mine; `hilum split"):
        Dataset.open(further.parent / "five")


def test_patients_on_both_sides_are_none_where_nobody_is_known(data):
    unknown = {"train-val": None, "train-holdout": None, "val-holdout": None}
    assert Dataset(data, {"patients_on_both_sides": unknown}).patients_shared("val") == 0
    assert Dataset(data, {"patients_on_both_sides": unknown | {"train-val": 3}}).patients_shared("val") == 3


def test_whether_a_split_shows_opacity(data):
    assert [Dataset.open(data).split(name).shows_opacity for name in SPLITS] == [True, False, False]
