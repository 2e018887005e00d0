"""The description of a dataset folder, read by Croissant's own reader: records equal the labels, no host is asked."""

import json
import shutil
import socket

import pytest

from hilum.datasets.croissant import croissant
from hilum.datasets.folder import SPLITS, Dataset
from hilum.run import json_text

mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed, so croissant.json is not read")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(params=["dataset", "three_classes"])
def described(request, tmp_path, monkeypatch):
    folder = tmp_path / "data"
    leave = shutil.ignore_patterns("cache", "splits", "explore")
    shutil.copytree(request.getfixturevalue(request.param), folder, ignore=leave)
    (folder / "croissant.json").write_text(json_text(croissant(Dataset.open(folder), "cc-by-4.0")))

    def refuse(*_):
        pytest.fail("a host was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return folder


def test_it_is_valid_and_what_it_cannot_know_alone_is_missing(described):
    issues = mlcroissant.Dataset(described / "croissant.json").metadata.issues
    assert not issues.errors
    assert sorted(warning.split('"')[1].rsplit("/", 1)[1] for warning in issues.warnings) == ["citeAs", "datePublished"]


def test_its_records_are_the_labels(described):
    data, read = Dataset.open(described), mlcroissant.Dataset(described / "croissant.json")
    labels = {name: json.loads(data.annotations_path(name).read_text()) for name in SPLITS}
    images = [
        (name.encode(), image["id"], image["file_name"].encode(), image["width"], image["height"])
        for name in SPLITS
        for image in labels[name]["images"]
    ]
    boxes = [
        (name.encode(), box["id"], box["image_id"], box["category_id"], box["bbox"])
        for name in SPLITS
        for box in labels[name]["annotations"]
    ]

    def records(of, *keys):
        return sorted(tuple(record[f"{of}/{key}"] for key in keys) for record in read.records(of))

    assert images
    assert boxes
    assert records("images", "split", "id", "file_name", "width", "height") == sorted(images)
    assert records("boxes", "split", "id", "image_id", "category_id", "bbox") == sorted(boxes)
    assert records("classes", "id", "name") == list(enumerate(data.class_names, start=1))


def test_a_table_that_has_changed_is_told_by_its_digest(described):
    path = described / "metadata.csv"
    listed = json.loads((described / "croissant.json").read_text())["distribution"]
    files = [each for each in listed if each["@type"] == "cr:FileObject"]
    assert {each["contentUrl"] for each in files} == {"metadata.csv", *(f"annotations/{name}.json" for name in SPLITS)}
    path.write_text(path.read_text() + "\n")
    assert croissant(Dataset.open(described), "x")["distribution"] != listed
