"""Nothing but ids and the challenge's own words reaches what a dataset folder and its page show, whose files it may be.

Names are planted wherever a hospital that lays its files out as the challenge does may have them.
"""

import json

import pytest

from hilum.converters.challenge_layout import public_name
from hilum.converters.convert import convert
from hilum.converters.tree import KEY, SOURCES
from hilum.errors import HilumError
from hilum.pages.explore import explore

PLANTED = "Sesame"
LABELS, CLASSES = "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
OTHERS = ("sources.csv", "sources.key")


@pytest.fixture
def source(make_small_source, tmp_path):
    return make_small_source(tmp_path / "source" / "Sesame Clinic")


def everything_said(data):
    """All that may be shown: every file of text, and every name of a file."""
    text = []
    for path in sorted(data.rglob("*")):
        text.append(path.name)
        if path.is_file() and path.name not in OTHERS and path.suffix not in (".jpg", ".png"):
            text.append(path.read_text(encoding="utf-8"))
    return "\n".join(text)


def test_no_name_leaves_a_source_that_is_laid_out_as_the_challenge(source, make_dicom, make_picture, tmp_path):
    images = source / "stage_2_train_images"
    content = make_dicom(make_picture(0))
    for name in (
        "Sesame, Jane.dcm",
        "Sesame^John.dcm",
        "Sesame.txt",
        "Sesame's.zip",
        "sub Sesame/img77.dcm",
        "Sesame\n.dcm",
    ):
        (images / name).parent.mkdir(exist_ok=True)
        (images / name).write_bytes(content)
    (source / "Sesame copies").mkdir()
    (source / "Sesame copies" / "img00.dcm").write_bytes(content)
    (source / "Sesame copies" / "loop").symlink_to(source)
    (source / "Sesame copies" / "gone").symlink_to(source / "nothing")
    (source / ".Sesame").write_text("hidden")
    labels = (source / LABELS).read_text().splitlines()
    labels[0] += ",Sesame's birthday,name"
    labels += [
        "Sesame Jane,,,,,0",
        "img50,Sesame,1,2,3,1",
        "img51,,,,,Sesame",
        'img52,"Sesame, J",2,3,4,1',
        "img53,1,2,3,19500131,1",
    ]
    labels += [
        "img54,1,2,Sesame^J,4,1,Sesame,Sesame,Sesame,Sesame",
        "img55,-19500131,1,-5,1,1",
        "img56,,,,,19500131",
    ]
    (source / LABELS).write_text("\n".join(labels) + "\n")
    with (source / CLASSES).open("a") as file:
        file.write("img01,Sesame\nSesame J,Normal\nimg02,Lung Opacity (Sesame)\n")
    (tmp_path / "Sesame map.csv").write_text("patientId,patient\n" + "".join(f"IMG{n:02d},p{n}\n" for n in range(12)))
    convert(tmp_path / "source", tmp_path / "data", patients=tmp_path / "Sesame map.csv")
    explore(tmp_path / "data")
    said = everything_said(tmp_path / "data")
    assert PLANTED not in said
    assert "19500131" not in said
    for told in (
        "stage_2_train_images/(name)",
        "it is number",
        "text of 6 characters",
        "2 columns more than are used",
    ):
        assert told in said


@pytest.mark.parametrize(
    ("age", "written"), [("089Y", "89"), ("090Y", "90"), ("95", "90"), ("122", "90"), ("123", ""), ("155", "")]
)
def test_great_ages_are_one_and_impossible_ones_none_in_the_challenge_s_layout_too(
    make_small_source, make_dicom, make_jpeg, make_picture, tmp_path, age, written
):
    source = make_small_source(tmp_path / "source", 1)
    pixels = make_picture(0)
    (source / "stage_2_train_images" / "img00.dcm").write_bytes(
        make_dicom(pixels, jpeg=make_jpeg(pixels), PatientAge=age)
    )
    convert(source, tmp_path / "data")
    header, row = (line.split(",") for line in (tmp_path / "data" / "metadata.csv").read_text().splitlines())
    assert row[header.index("age_years")] == written


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("", ""),
        ("a/stage_1_train_images.zip/x-1.DCM", "(name)/stage_1_train_images.zip/x-1.DCM"),
        ("rsna-pneumonia-detection-challenge.zip/stage_2_train_labels.csv.zip", None),
        ("__MACOSX", None),
        ("stage_2_test_images/._x.dcm", "stage_2_test_images/(name)"),
        ("stage_2_test_images_Sesame/x.png", "(name)/(name)"),
        ("stage_2_train_labels.csv\n", "(name)"),
        ("a b.dcm", "(name)"),
    ],
)
def test_public_names(name, public):
    assert public_name(name) == (name if public is None else public)


def test_what_an_earlier_version_wrote_is_not_shown_either(make_small_source, tmp_path):
    convert(make_small_source(tmp_path / "source"), tmp_path / "data")
    with (tmp_path / "data" / "left_out.csv").open("a") as file:
        file.write("row,img00,t.csv,3,\"Target is 'Sesame, Jane', expected 0 or 1\"\n")
        file.write('column,,t.csv,1,"not used: \'Sesame\', ""Sesame\'s"""\n')
    page = explore(tmp_path / "data", tmp_path / "page").read_text()
    assert PLANTED not in page
    assert "Target is (text), expected 0 or 1" in page


@pytest.fixture
def wrong(tmp_path):
    """A folder without any picture."""
    folder = tmp_path / "wrong"
    folder.mkdir()
    (folder / "letter.txt").write_text("no picture")
    return folder


def test_a_failed_tree_does_not_keep_the_right_source_out(wrong, source, tmp_path, tree_bytes):
    convert(source, tmp_path / "expected")
    with pytest.raises(HilumError, match="no picture among the 1 files"):
        convert(wrong, tmp_path / "data")
    assert not {SOURCES, KEY} & {path.name for path in (tmp_path / "data").iterdir()}
    convert(source, tmp_path / "data")
    assert tree_bytes(tmp_path / "data") == tree_bytes(tmp_path / "expected")


def test_nor_does_one_that_was_given_up(source, make_dicom, make_picture, tmp_path, tree_bytes):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.dcm").write_bytes(make_dicom(make_picture(1)))
    convert(source, tmp_path / "expected")

    def give_up(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(tree, tmp_path / "data", progress=give_up)
    assert (tmp_path / "data" / KEY).exists()
    convert(source, tmp_path / "data")
    assert tree_bytes(tmp_path / "data") == tree_bytes(tmp_path / "expected")


def test_the_key_of_a_tree_that_was_converted_is_kept(wrong, source, make_dicom, make_picture, tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.dcm").write_bytes(make_dicom(make_picture(1)))
    convert(tree, tmp_path / "data")
    key = (tmp_path / "data" / KEY).read_bytes()
    for other in (wrong, source):
        with pytest.raises(HilumError):
            convert(other, tmp_path / "data", overwrite=True)
        assert (tmp_path / "data" / KEY).read_bytes() == key
    convert(tree, tmp_path / "data", overwrite=True)
    assert json.loads((tmp_path / "data" / "conversion.json").read_text())["complete"]


def test_labels_without_a_picture_that_can_be_read_do_not_keep_the_right_source_out(
    make_small_source, source, tmp_path, tree_bytes
):
    convert(source, tmp_path / "expected")
    broken = make_small_source(tmp_path / "broken")
    for path in (broken / "stage_2_train_images").iterdir():
        path.write_bytes(b"no DICOM")
    with pytest.raises(HilumError, match="no labelled picture among the 14 files could be converted"):
        convert(broken, tmp_path / "data")
    convert(source, tmp_path / "data")
    assert tree_bytes(tmp_path / "data") == tree_bytes(tmp_path / "expected")
