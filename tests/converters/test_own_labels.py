"""Labels of one's own that went wrong: one line, a row of left_out.csv, or a refusal before a byte is written."""

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from hilum.class_names import ONE_CLASS
from hilum.commands.convert import convert as command
from hilum.converters.convert import convert
from hilum.converters.record import Choices
from hilum.converters.rows import box_of, tags_told
from hilum.datasets.folder import SPLITS, Dataset
from hilum.errors import HilumError

WIDE, HIGH = 100, 80
PICTURES = 12
Boxes = list[list[Any]]


@pytest.fixture
def source(tmp_path, make_picture, make_dicom) -> Path:
    """Twelve pictures of 100 x 80 px, a0 to a11: DICOM, PNG and JPEG by turns, in a folder of somebody's name."""
    folder = tmp_path / "source" / "Quixotic Zebulon"
    folder.mkdir(parents=True)
    for number in range(PICTURES):
        pixels = make_picture(number, WIDE, HIGH)
        ending = ("dcm", "png", "jpg")[number % 3]
        content = make_dicom(pixels, PatientID=f"p{number // 2}") if ending == "dcm" else None
        (folder / f"a{number}.{ending}").write_bytes(content or cv2.imencode(f".{ending}", pixels)[1].tobytes())
    return folder.parent


HEADER = ["image_id", "class", "x", "y", "width", "height", "reader"]
ROWS: Boxes = [
    *([f"a{number}", ("Mass", "Opacity")[number % 2], 10 + number, 20, 30, 15, ""] for number in range(9)),
    *([f"a{number}", "", "", "", "", "", ""] for number in range(9, 12)),
]


def table(source: Path, rows: Boxes = ROWS, header: list[str] = HEADER, name: str = "labels.csv") -> None:
    with (source / name).open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def left_out(data: Path) -> list[tuple[str, str, str, str]]:
    with (data / "left_out.csv").open(newline="") as file:
        return [(r["what"], r["image_id"], r["row"], r["reason"]) for r in csv.DictReader(file)]


def changed(number: int, **cells: Any) -> Boxes:
    """The rows, with other cells in one of them."""
    rows = [list(row) for row in ROWS]
    for name, value in cells.items():
        rows[number][HEADER.index(name)] = value
    return rows


def refused(source: Path, match: str, **options: Any) -> None:
    out = source.parent / "refused"
    with pytest.raises(HilumError, match=match) as caught:
        convert(source, out, **options)
    assert len(caught.value.lines) == 1
    assert not out.exists()


def test_files_of_three_kinds_in_one_set(source, tmp_path):
    table(source)
    convert(source, tmp_path / "data")
    data = Dataset.open(tmp_path / "data")
    assert data.class_names == ("Mass", "Opacity")
    assert (data.conversion["images"], data.conversion["boxes"]) == (PICTURES, 9)
    assert (data.path / "labels" / "a1.txt").read_text() == "1 0.26000000 0.34375000 0.30000000 0.18750000\n"
    assert (data.path / "labels" / "a9.txt").read_text() == ""
    assert json.loads((data.path / "annotations" / "train.json").read_text())["categories"] == [
        {"id": 1, "name": "Mass", "supercategory": "finding"},
        {"id": 2, "name": "Opacity", "supercategory": "finding"},
    ]
    assert "names:\n  0: Mass\n  1: Opacity\n" in data.yaml_path.read_text()


def test_who_is_shown_stands_in_dicom_and_is_hashed_where_no_table_tells(source, tmp_path):
    table(source)
    convert(source, tmp_path / "data")
    data = Dataset.open(tmp_path / "data")
    assert data.patients_known
    assert data.conversion["images_without_patient"] == 8
    text = b"".join(path.read_bytes() for path in data.path.rglob("*") if path.suffix in {".csv", ".json", ".txt"})
    for name in ("p0", "p3", "Zebulon"):
        assert f",{name},".encode() not in text
    assert b"Zebulon" not in text
    table(source, [[*row, f"Z{row[0]}"] for row in ROWS], [*HEADER, "patient"])
    convert(source, tmp_path / "told")
    assert Dataset.open(tmp_path / "told").metadata["patient"]["a3"] == "Za3"
    assert not (tmp_path / "told" / "sources.key").exists()


@pytest.mark.parametrize(
    ("header", "box"),
    [
        (["x_min", "y_min", "x_max", "y_max"], [10, 20, 40, 35]),
        (["x_share", "y_share", "width_share", "height_share"], [0.1, 0.25, 0.3, 0.1875]),
        (["x_min_share", "y_min_share", "x_max_share", "y_max_share"], [0.1, 0.25, 0.4, 0.4375]),
        (["x", "y", "width", "height"], [10, 20, 30, 15]),
    ],
)
def test_what_numbers_are_is_said_by_their_columns(source, tmp_path, header, box):
    table(source, [[f"a{n}.png", *box] for n in range(PICTURES)], ["file", *header])
    convert(source, tmp_path / "data")
    data = Dataset.open(tmp_path / "data")
    assert data.class_names == ONE_CLASS
    assert "class_names" not in data.conversion
    for boxes in (found for split in SPLITS for found in data.split(split).boxes_xyxy):
        np.testing.assert_allclose(boxes, [[10, 20, 40, 35]], atol=1e-9)


def test_units_that_are_not_those_of_the_columns_are_refused(source):
    shares = [[row[0], row[1], *([0.1, 0.2, 0.3, 0.4] if row[1] else [""] * 4), ""] for row in ROWS]
    table(source, shares)
    refused(source, "9 of 9 boxes cannot be used; the first is in row 2: .*lies within one pixel; are these shares")
    table(source, ROWS, [*HEADER[:2], "x_share", "y_share", "width_share", "height_share", "reader"])
    refused(source, r"9 of 9 boxes cannot be used; the first is in row 2: .* expected are shares of the picture")
    corners = [[*row[:2], *([40, 35, 10, 20] if row[1] else [""] * 4), ""] for row in ROWS]
    table(source, corners, ["image_id", "class", "x_min", "y_min", "x_max", "y_max", "reader"])
    refused(source, r"9 of 9 boxes cannot be used; .* are its corners swapped\?")


def test_one_box_that_cannot_be_used_is_a_row_and_its_image_no_negative(source, tmp_path):
    table(source, changed(0, width=-3))
    convert(source, tmp_path / "data")
    assert ("box", "a0", "2", "box is 10, 20, -3, 15; expected are a width and a height above 0") in left_out(
        tmp_path / "data"
    )
    assert ("image", "a0", "2", "none of its rows can be used") in left_out(tmp_path / "data")
    assert "a0" not in Dataset.open(tmp_path / "data").metadata.index


def test_boxes_of_a_reduced_copy(source, tmp_path):
    sizes = [[*row, 50, 40] for row in ROWS]
    table(source, sizes, [*HEADER, "image_width", "image_height"])
    refused(source, "is 100 x 80 px, its boxes were drawn in 50 x 40 px; give the pictures that they were drawn in")
    sizes = [[*row, *((50, 40) if row[0] == "a10" else (WIDE, HIGH))] for row in ROWS]
    table(source, sizes, [*HEADER, "image_width", "image_height"])
    convert(source, tmp_path / "data")
    reason = "its boxes were drawn in a picture of 50 x 40 px, not in the picture of 100 x 80 px"
    assert ("image", "a10", "", reason) in left_out(tmp_path / "data")


def test_labels_without_a_picture_and_the_reverse(source, tmp_path):
    table(source, [*ROWS[:-1], ["b7", "Mass", 1, 2, 30, 4, ""], ["../b8.png", "Mass", 1, 2, 30, 4, ""]])
    (source / "a1.dcm").write_bytes((source / "Quixotic Zebulon" / "a0.dcm").read_bytes())
    (source / "A B.png").write_bytes((source / "Quixotic Zebulon" / "a1.png").read_bytes())
    convert(source, tmp_path / "data")
    told = left_out(tmp_path / "data")
    assert ("label", "b7", "13", "no picture of this id") in told
    assert ("label", "b8", "14", "no picture of this id") in told
    assert ("image", "a11", "", "no row in labels.csv") in told
    assert ("file", "", "", "its name is no image id") in told
    assert not [row for row in told if "Zebulon" in str(row)]
    table(source, [["b7", "Mass", 1, 2, 30, 4, ""]])
    refused(source, "none of its 1 images is among the 12 pictures: expected 'a0', found 'b7'")
    for path in sorted((source / "Quixotic Zebulon").iterdir()):
        path.rename(path.with_stem(f"00{path.stem[1:]}"))
    table(source, [[row[0][1:], *row[1:]] for row in ROWS])
    refused(source, r"found '0': save the ids as text, with their leading zeros|lost zeros")


def test_of_two_files_of_an_id_that_counts_which_the_table_names(source, tmp_path):
    folder = source / "Quixotic Zebulon"
    (folder / "a0.png").write_bytes((folder / "a1.png").read_bytes())
    table(source)
    convert(source, tmp_path / "data")
    assert ("image", "a0", "2", "two files may be its picture, so neither is taken") in left_out(tmp_path / "data")
    table(source, changed(0, image_id="a0.png"))
    convert(source, tmp_path / "told")
    assert Dataset.open(tmp_path / "told").conversion["images"] == PICTURES


def test_two_classes_of_one_name(source):
    table(source, changed(0, **{"class": "opacity"}))
    refused(source, "labels.csv: two classes have one name: 'Opacity' and 'opacity'")
    table(source, changed(0, **{"class": "Opacity."}))
    refused(source, "one name, but for blanks and punctuation: 'Opacity' and 'Opacity.'")


def test_a_class_nobody_has_and_one_that_is_in_holdout_alone(source, tmp_path, capsys):
    (source / "labels.csv").unlink(missing_ok=True)
    images = [{"id": n, "file_name": f"a{n}.x", "width": WIDE, "height": HIGH} for n in range(PICTURES)]
    for image in images:
        image["file_name"] = next((source / "Quixotic Zebulon").glob(f"a{image['id']}.*")).name
    names = ("Opacity", "Mass", "Rare")
    coco = {
        "images": images,
        "annotations": [
            {"id": n, "image_id": n, "category_id": 7 if n == 3 else 2, "bbox": [10, 20, 30, 15]} for n in range(8)
        ],
        "categories": [{"id": n, "name": name} for n, name in zip((2, 5, 7), names, strict=True)],
    }
    (source / "instances.json").write_text(json.dumps(coco))
    said: list[str] = []
    record = convert(source, tmp_path / "data", tell=said.append)
    assert any("no picture shows 'Mass', which stays a class without boxes" in line for line in said)
    assert record["class_names"] == list(names)
    assert sum(record["class_boxes"]["Rare"].values()) == 1
    assert sum(record["class_boxes"]["Opacity"].values()) == 7
    command(source, tmp_path / "again", workers=1)
    told = " ".join(capsys.readouterr().err.split())
    assert "class 'Mass' has no box in train and val and holdout" in told
    assert "class 'Rare' has no box in" in told


def test_boxes_of_classes_that_a_map_drops(source, tmp_path):
    table(source, [*ROWS, ["a0", "Opacity", 50, 20, 30, 15, ""], ["a11", "Device", "", "", "", "", ""]])
    path = tmp_path / "map.yaml"
    path.write_text("opacity: [Opacity, Opacty]\n")
    said: list[str] = []
    convert(source, tmp_path / "data", choices=Choices(classes=str(path)), tell=said.append)
    assert any("no box has the class 'opacty'; did you mean 'Opacity'?" in line for line in said)
    data = Dataset.open(tmp_path / "data")
    assert data.class_names == ONE_CLASS
    assert ("box", "a0", "2", "class 'Mass' is an other finding by the class map") in left_out(data.path)
    kinds = data.metadata["class"]
    assert (kinds["a0"], kinds["a2"], kinds["a9"], kinds["a11"]) == ("", "other finding", "", "other finding")
    path.write_text("opacity: [Opacity]\nleft out: '*'\n")
    convert(source, tmp_path / "unclear", choices=Choices(classes=str(path)))
    unclear = Dataset.open(tmp_path / "unclear")
    assert not {"a2", "a11"} & set(unclear.metadata.index)
    assert "a0" in unclear.metadata.index


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("opacity: [Nothing]\n", "takes none of the classes that there are: 'Mass', 'Opacity'"),
        ("opacity: [Mass]\nother finding: [mass]\n", "'mass' is named twice, for 'opacity' and 'other finding'"),
        ("opacity: [Mass]\nOpacity: [Opacity]\n", "two classes have one name: 'opacity' and 'Opacity'"),
        ("left out: [Mass]\n", "0 classes; expected 1 to 64"),
        ("opacity: 3\n", "opacity"),
        ("- a\n", "expected a YAML mapping"),
    ],
)
def test_maps_that_cannot_be_used(source, tmp_path, text, match):
    table(source)
    (tmp_path / "map.yaml").write_text(text)
    with pytest.raises(HilumError, match=match):
        convert(source, tmp_path / "out", choices=Choices(classes=str(tmp_path / "map.yaml")))
    assert not (tmp_path / "out").exists()


def test_readers_that_contradict_each_other(source, tmp_path):
    drawn = [
        *(["a0", "Mass", 10, 20, 30, 20, reader] for reader in ("R1", "R2")),  # one misses it
        ["a0", "", "", "", "", "", "R3"],
        *(["a1", "Mass", *box, reader] for box, reader in (((10, 20, 30, 20), "R1"), ((60, 20, 30, 20), "R2"))),
        *(["a2", "Mass", 10, 20, 30, 20, reader] for reader in ("R1", "R1")),  # the same twice
        *(["a3", *("" for _ in range(5)), reader] for reader in ("R1", "R2")),
        ["a3", "Mass", 10, 20, 30, 20, "R3"],
        ["a4", "Mass", 10, 20, 30, 20, "R1"],
        ["a4", "", "", "", "", "", "R1"],
    ]
    table(source, drawn + ROWS[5:])
    convert(source, tmp_path / "union")
    told = left_out(tmp_path / "union")
    assert ("note", "a0", "2", "readers contradict each other: R1, R2 drew boxes, R3 saw nothing") in told
    assert ("box", "a2", "8", "the same box a second time, first in row 7") in told
    assert ("image", "a4", "12", "reader 'R1' says that nothing is there, and draws a box in row 12") in told
    convert(source, tmp_path / "fused", choices=Choices(readers="fused", votes=2))
    told = left_out(tmp_path / "fused")
    assert ("image", "a1", "5", "2 readers or more drew boxes, and agree on none") in told
    assert ("box", "a3", "11", "fewer than 2 of 3 readers drew 'Mass' there") in told
    assert ((tmp_path / "fused" / "labels" / "a0.txt").read_text().count("\n")) == 1
    assert (tmp_path / "fused" / "labels" / "a3.txt").read_text() == ""
    refused(source, "--votes: are counted where readers are fused", choices=Choices(votes=2))


def test_a_source_is_what_it_is_said_to_be_or_refused(source, tmp_path, make_small_source):
    table(source)
    refused(source, "is not laid out as a source of kind 'siim'", kind="siim")
    refused(source, "no kind of source is called 'cvs'; there are rsna, siim", kind="cvs")
    convert(source, tmp_path / "tree", kind="tree")
    assert Dataset.open(tmp_path / "tree").conversion["images"] == 0
    refused(make_small_source(tmp_path / "rsna"), "--classes: does not go with", choices=Choices(classes="opacity"))


def test_what_a_table_tells_twice_and_otherwise(source, tmp_path):
    header = ["image_id", "x", "y", "width", "height", "patient", "kind"]
    rows = [[row[0], *row[2:6], row[0], "k"] for row in ROWS]
    table(
        source,
        [*rows, ["a0", 1, 2, 30, 4, "other", "k"], ["a1", 1, 2, 30, 4, "a1", "second"], ["A2", *rows[2][1:]]],
        header,
    )
    convert(source, tmp_path / "data")
    told = left_out(tmp_path / "data")
    assert ("image", "a0", "2", "its rows tell of two patients") in told
    assert ("class", "a1", "15", "a second kind, 'second'; the first, 'k', is kept") in told
    assert ("row", "A2", "16", "the id differs only in case from 'a2' of row 4") in told


def test_more_boxes_than_a_picture_can_have(source, tmp_path):
    table(source, [*ROWS, *(["a0", "Mass", 1 + number / 10, 2, 30, 4, ""] for number in range(600))])
    convert(source, tmp_path / "data")
    assert ("image", "a0", "2", "601 boxes, more than the 500 that one picture can have") in left_out(tmp_path / "data")


@pytest.mark.parametrize(
    ("coco", "match"),
    [
        ({"images": [], "annotations": []}, "categories: this key is missing"),
        ({"images": [{"file_name": "a0.dcm"}], "annotations": [], "categories": []}, "1 have no id"),
        ({"images": [{"id": 1}, {"id": 1}], "annotations": [], "categories": []}, "have no id, or that of another"),
        (
            {"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]},
            "categories: two have one name",
        ),
        ({"images": 3, "annotations": [], "categories": []}, "images: input should be a valid list"),
    ],
)
def test_coco_files_that_cannot_be_read(source, coco, match):
    (source / "coco.json").write_text(json.dumps(coco))
    refused(source, match)


def test_coco_rows_that_cannot_be_used(source, tmp_path):
    names = sorted(path.name for path in (source / "Quixotic Zebulon").iterdir())
    images = [{"id": n, "file_name": f"somewhere/{name}"} for n, name in enumerate(names)]
    good = {"image_id": 0, "category_id": 1, "bbox": [10, 20, 30, 15]}
    wrong = [
        {**good, "image_id": 99},
        {**good, "category_id": 9},
        {**good, "iscrowd": 1},
        {**good, "bbox": []},
        {**good, "bbox": [1e9, 0, 1, 1]},
    ]
    coco = {"images": images, "annotations": [*[good] * 6, *wrong], "categories": [{"id": 1, "name": "Mass"}]}
    (source / "coco.json").write_text(json.dumps(coco))
    convert(source, tmp_path / "data")
    reasons = [reason for _, _, _, reason in left_out(tmp_path / "data")]
    for told in (
        "the image's name is empty",
        "no category has the id '9'",
        "iscrowd",
        "expected are four finite numbers",
        "box reaches beyond",
        "the same box a second time, first in row 1",
    ):
        assert any(told in reason for reason in reasons), told


def test_yolo_folders(source, tmp_path):
    (source / "data.yaml").write_text("names: [Mass, Opacity]\n")
    labels = source / "labels"
    labels.mkdir()
    for number in range(PICTURES - 1):
        (labels / f"a{number}.txt").write_text("1 0.25 0.34375 0.3 0.1875\n" if number % 2 else "")
    (labels / "a1.txt").write_text("1 0.25 0.34375 0.3 0.1875\n2 0.5 0.5 0.1 0.1\n0 0.1 0.1 0.2 0.1 0.2 0.2\n")
    convert(source, tmp_path / "data")
    told = left_out(tmp_path / "data")
    assert ("row", "a1", "2", "class '2' is none of the 2 of data.yaml") in told
    assert ("row", "a1", "3", "7 numbers; expected are a class and four of a box (outlines are not read)") in told
    assert ("image", "a11", "", "no row in data.yaml") in told
    assert (tmp_path / "data" / "labels" / "a3.txt").read_text() == "1 0.25000000 0.34375000 0.30000000 0.18750000\n"
    for names in ("{0: Mass, 2: Opacity}", "{0: Mass, one: Opacity}", "3", "[]"):
        (source / "data.yaml").write_text(f"names: {names}\n")
        refused(source, "names: expected the classes' names, a list or numbered from 0")


@pytest.mark.parametrize("value", [True, None, [1], float("nan"), float("inf"), "1_0", "0x1", "9" * 50, "é"])
def test_what_is_no_number_is_no_box(value):
    assert isinstance(box_of([value, 1, 2, 3], "xywh"), str)


def test_the_recipe_of_the_docs_for_padchest(source, tmp_path, monkeypatch):
    docs = (Path(__file__).parents[2] / "docs" / "sources.md").read_text()
    (recipe,) = (block.split("```")[0] for block in docs.split("```python\n")[1:])
    box = [0.1, 0.25, 0.4, 0.4375]
    finding = {"abnormal": True, "labels": ["infiltrates"], "boxes": [box]}
    studies = [
        {"ImageID": "a0.dcm", "findings": [finding]},
        {"ImageID": "a1.png", "findings": [{**finding, "boxes": []}]},
        *({"ImageID": f"a{n}", "findings": [{**finding, "abnormal": False}]} for n in range(2, PICTURES)),
    ]
    (source / "grounded_reports_20240819.json").write_text(json.dumps(studies))
    monkeypatch.chdir(source)
    exec(compile(recipe, "docs/sources.md", "exec"), {})  # noqa: S102 - our own docs
    convert(source, tmp_path / "data")
    data = Dataset.open(tmp_path / "data")
    assert data.class_names == ("infiltrates",)
    assert ("image", "a1", "3", "shows 'infiltrates', and nobody drew where") in left_out(data.path)
    boxes = [found for split in SPLITS for found in data.split(split).boxes_xyxy if len(found)]
    np.testing.assert_allclose(boxes, [[[10, 20, 40, 35]]], atol=1e-9)


@pytest.mark.parametrize("age", ["1e999", "-3", "x", "9" * 41, "151", ""])
def test_an_age_that_nobody_has_is_none(age):
    assert tags_told("F", age, "PA").age_years is None
    assert tags_told("Doe", "058Y", "Jane Doe").sex is tags_told("Doe", "058Y", "Jane Doe").view is None
