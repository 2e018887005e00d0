"""Names of classes: what is refused, and that a folder of one class says nothing of it."""

import pytest
import yaml

from hilum.class_names import (
    ONE_CLASS,
    check_class_names,
    class_names_of,
    class_slug,
    confidence_words,
    said_of_classes,
)
from hilum.datasets.coco import boxes_to_coco
from hilum.datasets.yolo import boxes_to_yolo, data_yaml
from hilum.errors import HilumError


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "0 classes"),
        (["x"] * 65, "65 classes"),
        (["Mass", ""], "''"),
        (["Mass "], "'Mass '"),
        (["a\nb"], r"'a\\nb'"),
        (["a\\b"], "no backslash"),
        (["x" * 65], "printable characters"),
        (["Mass", "mass"], "two classes have one name: 'Mass' and 'mass'"),
        (["Mass", "Mass"], "two classes have one name"),
    ],
)
def test_names_that_do_not_tell_classes_apart_are_refused(names: list[str], said: str) -> None:
    with pytest.raises(HilumError, match=said):
        check_class_names(names)


def test_a_record_says_nothing_of_the_challenges_one_class() -> None:
    assert said_of_classes(ONE_CLASS) == {}
    assert class_names_of({}) == ONE_CLASS
    assert class_names_of(said_of_classes(("Nodule/Mass", "ILD"))) == ("Nodule/Mass", "ILD")


def test_files_of_other_tools_number_classes_in_the_order_of_their_names() -> None:
    names = ("Nodule/Mass", "no", "ILD: 1", "Lung Opacity")
    assert yaml.safe_load(data_yaml(names))["names"] == dict(enumerate(names))
    boxes = [[10.0, 20, 30, 40], [0, 0, 5, 5]]
    assert [line.split()[0] for line in boxes_to_yolo(boxes, (100, 100), [2, 0]).splitlines()] == ["2", "0"]
    coco = boxes_to_coco([7], ["a.jpg"], [(100, 100)], [boxes], [[2, 0]], names)
    assert [box["category_id"] for box in coco["annotations"]] == [3, 1]
    assert [(each["id"], each["name"]) for each in coco["categories"]] == list(enumerate(names, start=1))


def test_confidences_are_told_in_words() -> None:
    assert confidence_words(0.345) == "0.34"
    assert confidence_words((0.5, 0.2, 0.3)) == "0.20 to 0.50, by class"


def test_no_two_classes_have_one_folder() -> None:
    names = [
        "Mass!",
        "mass-64e5",
        "mass",
        "Nodule/Mass",
        "nodule-mass",
        class_slug("Mass!"),
        "\u80ba\u708e",
        "\u6c14\u80f8",
    ]
    slugs = [class_slug(name) for name in names]
    assert len(set(slugs)) == len(names)
    assert all(slug and slug.isascii() and slug.replace("-", "").isalnum() for slug in slugs)
