from collections import Counter

import pytest

from hilum.converters.rsna import find_source, read_classes, read_labels, read_patients
from hilum.errors import HilumError

HEADER = "patientId,x,y,width,height,Target\n"


@pytest.fixture
def table(tmp_path):
    def write(text, name="stage_2_train_labels.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def boxes_of(labels):
    return {image_id: [box[:4] for box in boxes] for image_id, boxes in labels.boxes.items()}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a,nan,2,3,4,1", "finite"),
        ("a,1,inf,3,4,1", "finite"),
        ("a,1,2,0,4,1", "above 0"),
        ("a,1,2,3,-4,1", "above 0"),
        ("a,one,2,3,4,1", "four numbers"),
        ("a,1,2,,4,1", "four numbers"),
        ("a,,,,,1", "no box"),
        ("a,1,2", "Target"),
    ],
)
def test_a_box_that_cannot_be_used_takes_its_image_along_if_it_is_the_only_one(table, row, reason):
    labels = read_labels(table(f"{HEADER}{row}\nb,,,,,0\n"))
    assert boxes_of(labels) == {"b": []}
    assert labels.rows == 2
    assert labels.left_out[0].row == 2
    assert reason in labels.left_out[0].reason


def test_a_bad_box_beside_a_good_one_costs_only_itself(table):
    labels = read_labels(table(f"{HEADER}a,1,2,3,4,1\na,1,2,0,4,1\na,1.0,2,3,4.0,1\n"))
    assert boxes_of(labels) == {"a": [(1, 2, 3, 4)]}
    assert [(entry.what, entry.row) for entry in labels.left_out] == [("box", 3), ("box", 4)]
    assert "second time" in labels.left_out[1].reason


@pytest.mark.parametrize("rows", ["a,1,2,3,4,0\n", "a,,,,,0\na,1,2,3,4,1\n", "a,1,2,3,4,1\na,,,,,0\n"])
def test_an_image_whose_rows_contradict_each_other_is_left_out(table, rows):
    labels = read_labels(table(HEADER + rows))
    assert labels.boxes == {}
    assert "contradict" in labels.left_out[-1].reason
    assert labels.left_out[-1].what == "image"


@pytest.mark.parametrize("target", ["2", "yes", "", "-1"])
def test_targets_other_than_0_and_1_are_named(table, target):
    labels = read_labels(table(f"{HEADER}a,,,,,{target}\n"))
    assert labels.boxes == {}
    assert repr(target) in labels.left_out[0].reason


@pytest.mark.parametrize("image_id", ["../a", "a b", "", ".hidden", "a/b", "x" * 129])
def test_ids_that_are_no_file_names_are_left_out(table, image_id):
    labels = read_labels(table(f"{HEADER}{image_id},,,,,0\n"))
    assert labels.boxes == {}
    assert "patientId" in labels.left_out[0].reason


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfpatientId,x,y,width,height,Target\na,1,2,3,4,1\nb,,,,,0\n",
        b"patientId,x,y,width,height,Target\r\na,1,2,3,4,1\r\nb,,,,,0\r\n",
        b" PATIENTID , X,y,Width,HEIGHT,target\na , 1,2,3, 4 ,1\nb,,,,,0\n",
        b"Target,height,width,y,x,patientId,more\n1,4,3,2,1,a,z\n0,,,,,b,z\n",
        b"patientId,x,y,width,height,Target\n\na,1,2,3,4,1.0\n,,,,,\nb,,,,,0.0\n\n",
    ],
    ids=["bom", "crlf", "case and blanks", "order", "empty lines"],
)
def test_the_ways_spreadsheets_write_a_table_are_read(table, content):
    labels = read_labels(table(content))
    assert boxes_of(labels) == {"a": [(1, 2, 3, 4)], "b": []}
    assert (labels.rows, labels.left_out) == (2, [])


@pytest.mark.parametrize("content", [b"", b"patientId,x,y,width,height\na,,,,\n", b"\xff\xfe\x00", b"\x00,\x00"])
def test_what_is_no_such_table_is_refused_with_its_name(table, content):
    with pytest.raises(HilumError, match=r"stage_2_train_labels\.csv: ") as caught:
        read_labels(table(content))
    assert "\n" not in str(caught.value)


def test_classes_are_one_an_image_and_a_second_one_is_said(table):
    classes, problems = read_classes(table("patientId,class\na,Normal\na,Normal\nb,Normal\nb,Lung Opacity\n", "c.csv"))
    assert classes == {"a": "Normal", "b": "Normal"}
    assert [(entry.image_id, entry.row) for entry in problems] == [("b", 5)]


def test_a_patient_map_gives_one_patient_an_image(table):
    assert read_patients(table("patientId,patient\na,p\nb,p\nc,\n", "p.csv")) == {"a": "p", "b": "p"}
    assert read_patients(table("patientId,nih,nih_patient\na,f,7\n", "p.csv")) == {"a": "7"}
    with pytest.raises(HilumError, match="row 3: image a has two patients"):
        read_patients(table("patientId,patient\na,p\na,q\n", "p.csv"))
    with pytest.raises(HilumError, match="'patient' or 'nih_patient'"):
        read_patients(table("patientId,person\na,p\n", "p.csv"))


def test_a_source_that_is_none_is_refused(tmp_path):
    with pytest.raises(HilumError, match="no such folder"):
        find_source(tmp_path / "missing")
    with pytest.raises(HilumError, match="empty"):
        find_source(tmp_path)
    (tmp_path / "stage_2_train_images").mkdir()
    with pytest.raises(HilumError, match=r"_train_labels.csv not found.*stage_2_train_images/"):
        find_source(tmp_path)
    for stage in (1, 2):
        (tmp_path / f"stage_{stage}_train_labels.csv").write_text(HEADER)
    with pytest.raises(HilumError, match="one expected"):
        find_source(tmp_path)


def test_the_real_tables_are_read_whole_and_not_multiplied(shared):
    tables = shared / "rsna_tables"
    labels = read_labels(tables / "stage_2_train_labels.csv")
    assert (labels.rows, len(labels.boxes), labels.left_out) == (30227, 26684, [])
    counts = Counter(len(boxes) for boxes in labels.boxes.values())
    assert counts == {0: 26684 - 6012, 1: 2614, 2: 3266, 3: 119, 4: 13}
    assert sum(number * images for number, images in counts.items()) == 9555
    classes, problems = read_classes(tables / "stage_2_detailed_class_info.csv")
    assert problems == []
    assert Counter(classes.values()) == {
        "No Lung Opacity / Not Normal": 11821,
        "Normal": 8851,
        "Lung Opacity": 6012,
    }
    assert all((classes[image_id] == "Lung Opacity") == bool(boxes) for image_id, boxes in labels.boxes.items())
    owner = read_patients(tables / "patient_map.csv")
    assert owner.keys() == labels.boxes.keys()
    assert len(set(owner.values())) == 11439
