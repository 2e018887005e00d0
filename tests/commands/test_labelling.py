"""`hilum pick` and `hilum relabel`: out to CVAT and Label Studio, and back."""

import csv
import hashlib
import json
import shutil
import zipfile

import numpy as np
import pytest
from commandline import complaint, hilum

from hilum.comparison.picking import Candidates, look_at, pick
from hilum.config import check_config
from hilum.datasets.folder import SPLITS, Dataset
from hilum.ensemble.composed import Composed, MemberView
from hilum.ensemble.composition import Parameters
from hilum.ensemble.views import View
from hilum.errors import HilumError
from hilum.predict import Predictor, load
from hilum.testing import grey


@pytest.fixture(scope="module")
def task(tiny_run, dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("task") / "task"
    hilum("pick", tiny_run, dataset, out, "--images", 3)
    return out


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


# Which


def candidates(**given):
    rng = np.random.default_rng(0)
    looks = np.eye(6)
    values = {"uncertainty": rng.random(6), "disagreement": None, "looks": looks} | given
    return Candidates(found=[None] * 6, **values)


def test_the_least_sure_come_first():
    unsure = np.array([0.1, 0.9, 0.5, 0.9, 0.0, 0.7])
    assert pick(candidates(uncertainty=unsure), 3, "uncertainty", known=np.zeros((0, 6))) == [1, 3, 5]
    apart = np.array([0.3, 0, 0, 0.1, 0.2, 0])
    both = candidates(uncertainty=unsure, disagreement=apart)
    assert pick(both, 2, "disagreement", known=np.zeros((0, 6))) == [0, 4]
    assert pick(both, 2, "uncertainty", known=np.zeros((0, 6))) == [1, 3]
    with pytest.raises(HilumError, match="--by disagreement: the run has one member"):
        pick(candidates(), 2, "disagreement", known=np.zeros((0, 6)))


def test_diversity_passes_over_what_is_like_labelled_and_picked_ones():
    looks = np.array([[1, 0], [1, 0], [0, 1], [0.6, 0.8], [-1, 0], [0.8, 0.6]], float)
    known = np.array([[0, 1.0]])
    # The furthest from the labelled one is turned away from it; then the other end; 0 and 1 are alike.
    assert pick(candidates(looks=looks), 3, "diversity", known=known)[:2] == [0, 4]
    # Among the three times one that are least sure, numbers 1, 2 and 3, the first is the furthest.
    unsure = np.array([0, 1, 1, 1, 0, 0.0])
    assert pick(candidates(looks=looks, uncertainty=unsure), 1, "mixed", known=known) == [1]


def test_random_is_seeded_and_no_more_are_picked_than_there_are():
    once = pick(candidates(), 4, "random", known=np.zeros((0, 6)), seed=1)
    assert once == pick(candidates(), 4, "random", known=np.zeros((0, 6)), seed=1)
    for by in ("random", "mixed", "diversity", "uncertainty"):
        assert sorted(pick(candidates(), 99, by, known=np.zeros((0, 6)))) == list(range(6))


def test_uncertainty_is_highest_at_the_operating_point(tiny_run, dataset):
    predictor = load(tiny_run)
    seen = look_at(predictor, Dataset.open(dataset).unlabelled())
    for found, unsure in zip(seen.found, seen.uncertainty, strict=True):
        p, least = found.confidence.max(initial=0), predictor.confidence
        assert unsure == pytest.approx(min(p / least, (1 - p) / (1 - least)))
    assert np.allclose(np.linalg.norm(seen.looks, axis=1), 1)


def test_members_of_a_composed_run_disagree_by_what_each_says(tiny_run, dataset):
    """Twice the same network, once seeing the picture mirrored: what differs is the standard deviation of two."""
    predictor = load(tiny_run)
    views = [MemberView("a", predictor.backend, View()), MemberView("b", predictor.backend, View(mirrored=True))]
    config = check_config(
        {"backend": "compose", "members": {name: {"run": str(tiny_run)} for name in ("a", "b")}}, "test"
    )
    composed = Composed(views, config, Parameters(weights={"a": 1.0, "b": 1.0}))
    paths = Dataset.open(dataset).unlabelled()
    seen = look_at(Predictor(composed, 0.5), paths)
    said = [[probability for _, probability in view.predict_batch([grey(path) for path in paths])] for view in views]
    np.testing.assert_allclose(seen.disagreement, np.std(said, axis=0), atol=1e-4)
    assert max(seen.disagreement) > 0
    assert look_at(predictor, paths).disagreement is None


# Out


def test_a_task_is_what_both_tools_import(task, tiny_run, dataset):
    picked = [row["image_id"] for row in rows_of(task / "picked.csv")]
    assert len(picked) == 3
    assert {path.stem for path in (task / "images").iterdir()} == set(picked)
    coco = json.loads((task / "instances_default.json").read_text())
    assert [image["file_name"].split(".")[0] for image in coco["images"]] == picked
    assert coco["categories"] == [{"id": 1, "name": "opacity", "supercategory": "finding"}]
    predictor = load(tiny_run)
    paths = sorted((task / "images").iterdir(), key=lambda path: picked.index(path.stem))
    results = list(predictor.predict(paths))
    assert len(coco["annotations"]) == sum(len(result.detections) for result in results)
    for box in coco["annotations"]:
        assert box["segmentation"] == []  # for CVAT a rectangle
    tasks = json.loads((task / "label_studio.json").read_text())
    for each, result in zip(tasks, results, strict=True):
        assert each["data"]["image"].startswith(f"/data/local-files/?d=images/{result.image_id}.")
        (prediction,) = each["predictions"]
        for box, value in zip(result.detections.xyxy, prediction["result"], strict=True):
            size = np.array([value["original_width"], value["original_height"]])
            assert tuple(size) == result.size_wh
            share = np.array([value["value"]["x"], value["value"]["y"]]) / 100
            np.testing.assert_allclose(share * size, box[:2])
            assert (value["type"], value["value"]["rectanglelabels"]) == ("rectanglelabels", ["opacity"])
    interface = (task / "label_config.xml").read_text()
    assert 'RectangleLabels name="label" toName="image"' in interface
    assert '<Label value="opacity"/>' in interface


# Back


def cvat(task, boxes):
    """As CVAT exports COCO 1.0: ids anew, a box a frame as given, `attributes` and license beside it."""
    names = [image["file_name"] for image in json.loads((task / "instances_default.json").read_text())["images"]]
    sizes = {i["file_name"]: i for i in json.loads((task / "instances_default.json").read_text())["images"]}
    return {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "date_created": "", "description": "", "url": "", "version": "", "year": ""},
        "categories": [{"id": 1, "name": "opacity", "supercategory": ""}],
        "images": [
            {"id": n, "width": sizes[name]["width"], "height": sizes[name]["height"], "file_name": name, "license": 0}
            | {"flickr_url": "", "coco_url": "", "date_captured": 0}
            for n, name in enumerate(names, 1)
        ],
        "annotations": [
            {"id": k, "image_id": n, "category_id": 1, "segmentation": [], "area": b[2] * b[3], "bbox": b, "iscrowd": 0}
            | {"attributes": {"occluded": False, "rotation": 0.0}}
            for k, (n, b) in enumerate(((n, b) for n, of in enumerate(boxes, 1) for b in of), 1)
        ],
    }


def label_studio(task, boxes):
    """As Label Studio exports JSON, of pictures that were uploaded: a name with a prefix, percent, ids and times."""
    tasks = []
    for n, (image, its) in enumerate(
        zip(json.loads((task / "instances_default.json").read_text())["images"], boxes, strict=True), 1
    ):
        w, h = image["width"], image["height"]
        result = [
            {"original_width": w, "original_height": h, "image_rotation": 0, "id": f"r{k}", "origin": "manual"}
            | {"from_name": "label", "to_name": "image", "type": "rectanglelabels"}
            | {
                "value": {"x": box[0] / w * 100, "y": box[1] / h * 100, "width": box[2] / w * 100}
                | {"height": box[3] / h * 100, "rotation": 0, "rectanglelabels": ["opacity"]}
            }
            for k, box in enumerate(its)
        ]
        done = {"id": n, "completed_by": 1, "result": result, "was_cancelled": False, "ground_truth": False}
        cancelled = {"id": n + 100, "result": [], "was_cancelled": True}
        url = f"/data/upload/7/0a1b2c3d-{image['file_name']}"
        tasks.append(
            {"id": n, "data": {"image": url}, "annotations": [done, cancelled], "predictions": [], "project": 7}
        )
    return tasks


BOXES = [[[10.0, 20.0, 200.0, 300.0], [400.5, 100.25, 50.0, 60.0]], [], [[1.0, 2.0, 30.0, 40.0]]]


def exported(task, tmp_path, form):
    if form == "label-studio.json":
        path = tmp_path / "project-7.json"
        path.write_text(json.dumps(label_studio(task, BOXES)))
    elif form == "coco.json":
        path = tmp_path / "instances_default.json"
        path.write_text(json.dumps(cvat(task, BOXES)))
    else:
        path = tmp_path / "task.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("annotations/instances_default.json", json.dumps(cvat(task, BOXES)))
    return path


def digest(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "cache" not in path.parts
    }


@pytest.mark.parametrize("form", ["coco.zip", "coco.json", "label-studio.json"])
def test_labels_come_back_under_the_same_ids_and_splits(task, dataset, tmp_path, form):
    before = digest(dataset)
    out = tmp_path / "new"
    said = hilum("relabel", dataset, exported(task, tmp_path, form), out).stdout
    assert "3 pictures newly labelled, 0 changed; 3 boxes came, 0 went" in " ".join(said.split())
    assert digest(dataset) == before
    picked = [row["image_id"] for row in rows_of(task / "picked.csv")]
    old, new = Dataset.open(dataset), Dataset.open(out)
    for name in ("val", "holdout"):
        assert (out / f"annotations/{name}.json").read_bytes() == (dataset / f"annotations/{name}.json").read_bytes()
        assert new.split(name).patients == old.split(name).patients
    train, was = new.split("train"), old.split("train")
    assert train.image_ids[: len(was)] == was.image_ids
    assert train.coco_ids[: len(was)] == was.coco_ids
    assert sorted(train.image_ids[len(was) :]) == sorted(picked)
    assert min(train.coco_ids[len(was) :]) > max(max(old.split(name).coco_ids) for name in SPLITS)
    for image_id, boxes in zip(picked, BOXES, strict=True):
        at = train.image_ids.index(image_id)
        np.testing.assert_allclose(train.boxes_xywh[at], np.array(boxes).reshape(-1, 4), atol=1e-9)
        assert train.paths[at].read_bytes() == next((task / "images").glob(f"{image_id}.*")).read_bytes()
    assert {path.stem for path in new.unlabelled()} == {path.stem for path in old.unlabelled()} - set(picked)
    assert [row["image_id"] for row in rows_of(out / "changed.csv")] == sorted(picked)
    assert {row["what"] for row in rows_of(out / "changed.csv")} == {"labelled"}
    # What is there is a dataset folder like any: it can be split, and labelled again.
    hilum("split", out, "again")
    again = complaint("relabel", out, exported(task, tmp_path, form), tmp_path / "once more")
    assert again.endswith("the labels are those that it has; nothing was written")


def test_what_changed_is_listed_box_by_box(dataset, tmp_path):
    """Labels of labelled pictures, drawn over: a box moved, one gone, one that a tool rounded."""
    data = Dataset.open(dataset)
    val = data.split("val")
    coco = json.loads((dataset / "annotations/val.json").read_text())
    positive = [n for n, boxes in enumerate(val.boxes_xywh) if len(boxes)]
    first, second = (val.coco_ids[n] for n in positive[:2])
    kept = []
    for box in coco["annotations"]:
        if box["image_id"] == first:
            box["bbox"][0] += 5
        if box["image_id"] != second:
            box["bbox"] = [value + 0.004 for value in box["bbox"]]
            kept.append(box)
    (tmp_path / "l.json").write_text(json.dumps(coco | {"annotations": kept}))
    said = hilum("relabel", dataset, tmp_path / "l.json", tmp_path / "new").stdout
    assert "0 pictures newly labelled, 2 changed" in " ".join(said.split())
    rows = {row["image_id"]: row for row in rows_of(tmp_path / "new/changed.csv")}
    names = [val.image_ids[n] for n in positive[:2]]
    assert sorted(rows) == sorted(names)
    counts = [[int(rows[name][key]) for key in ("boxes_before", "boxes_after", "came", "went")] for name in names]
    had = [len(val.boxes_xywh[n]) for n in positive[:2]]
    assert counts == [[had[0], had[0], had[0], had[0]], [had[1], 0, 0, had[1]]]
    new = Dataset.open(tmp_path / "new").split("val")
    assert new.image_ids == val.image_ids
    for n in positive[2:]:
        np.testing.assert_array_equal(new.boxes_xywh[n], val.boxes_xywh[n])  # as before, and not as rounded
    assert new.kinds[positive[1]] == ""
    assert (tmp_path / "new/labels" / f"{names[1]}.txt").read_text() == ""


def test_a_patient_of_val_or_holdout_is_kept_out_of_train(task, dataset, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(dataset, data)
    holdout = Dataset.open(data).split("holdout")
    picked = [row["image_id"] for row in rows_of(task / "picked.csv")]
    path = data / "unlabelled/metadata.csv"
    rows = rows_of(path)
    for row in rows:
        row["patient"] = (
            holdout.patients[0].removeprefix("patient ") if row["image_id"] == picked[0] else row["patient"]
        )
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    done = hilum("relabel", data, exported(task, tmp_path, "coco.json"), tmp_path / "new")
    assert f"{picked[0]}: its patient is in holdout; left out" in " ".join(done.stderr.split())
    new = Dataset.open(tmp_path / "new")
    assert picked[0] not in new.split("train").image_ids
    assert picked[0] in {path.stem for path in new.unlabelled()}
    assert [row["image_id"] for row in rows_of(tmp_path / "new/left_out.csv")] == [picked[0]]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda coco: coco["images"][0].update(width=64), "drawn in a picture of another size"),
        (lambda coco: coco["images"][0].update(file_name="stranger.png"), "no picture of the data has this name"),
        (lambda coco: coco["categories"][0].update(name="mass"), "the data have no class 'mass'"),
        (
            lambda coco: coco["annotations"][0].update(bbox=[-50, 0, 20, 20]),
            "a box lies outside the picture, or has no",
        ),
        (lambda coco: coco["annotations"][0].update(bbox=[1, 1, 0, 20]), "a box lies outside the picture, or has no"),
        (lambda coco: coco["images"][1].update(file_name=coco["images"][0]["file_name"]), "was there already"),
    ],
)
def test_labels_that_cannot_be_used_are_left_out_picture_by_picture(task, dataset, tmp_path, change, reason):
    coco = cvat(task, BOXES)
    change(coco)
    (tmp_path / "l.json").write_text(json.dumps(coco))
    done = hilum("relabel", dataset, tmp_path / "l.json", tmp_path / "new")
    assert reason in " ".join(done.stderr.split())
    assert reason in (tmp_path / "new/left_out.csv").read_text()
    assert 1 <= len(rows_of(tmp_path / "new/changed.csv")) <= 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tasks: tasks[0].update(annotations=[]), "nobody has labelled it"),
        (lambda tasks: tasks[0]["annotations"][0]["result"][0].update(type="brushlabels"), "holds a brushlabels"),
        (lambda tasks: tasks[0]["annotations"][0]["result"][0]["value"].update(rotation=9), "a rectangle is rotated"),
    ],
)
def test_tasks_that_cannot_be_used_are_left_out(task, dataset, tmp_path, change, reason):
    tasks = label_studio(task, BOXES)
    change(tasks)
    (tmp_path / "l.json").write_text(json.dumps(tasks))
    done = hilum("relabel", dataset, tmp_path / "l.json", tmp_path / "new")
    assert reason in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("l.json", "{}", "expected COCO, or tasks of Label Studio"),
        ("l.json", "[1]", "l.json, task 1"),
        ("l.json", "[]", "holds no picture with labels that can be used"),
        (
            "l.json",
            '{"images":[],"annotations":[{"image_id":3,"category_id":1,"bbox":[1,1,1,1]}],"categories":[]}',
            "annotations: no image has the id 3",
        ),
        ("l.json", '{"images": [{"id": 1}], "annotations": [], "categories": []}', "images.0.file_name"),
        (
            "l.json",
            '{"images": [{"id": 1, "file_name": "a", "width": 1e400}], "annotations": [], "categories": []}',
            "l.json",
        ),
        ("l.json", "not json", "l.json"),
        ("l.zip", "no zip", "cannot be read: File is not a zip file"),
    ],
)
def test_a_file_that_holds_no_labels_is_named_and_nothing_is_written(dataset, tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    assert said in complaint("relabel", dataset, tmp_path / name, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_zip_whose_content_is_damaged(task, dataset, tmp_path):
    path = exported(task, tmp_path, "coco.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("annotations/instances_default.json", json.dumps(cvat(task, BOXES)))
    content = bytearray(path.read_bytes())
    content[80:90] = b"\xff" * 10
    path.write_bytes(content)
    assert "cannot be read" in complaint("relabel", dataset, path, tmp_path / "new")


def test_a_zip_without_one_file_of_json(dataset, tmp_path):
    with zipfile.ZipFile(tmp_path / "l.zip", "w") as archive:
        archive.writestr("obj.names", "opacity")
    assert "expected one file of JSON in it, found 0" in complaint(
        "relabel", dataset, tmp_path / "l.zip", tmp_path / "n"
    )


def test_folders_that_are_there_stay(tiny_run, dataset, task, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    assert "full" in complaint("pick", tiny_run, dataset, tmp_path / "full")
    labels = exported(task, tmp_path, "coco.json")
    assert "full" in complaint("relabel", dataset, labels, tmp_path / "full")
    hilum("split", dataset, "further", "--out", tmp_path / "splits")
    assert "is a further split; give the dataset folder" in complaint(
        "relabel", tmp_path / "splits/further", labels, tmp_path / "new"
    )
