import pytest

from hilum.converters.challenge_layout import kaggle_layout
from hilum.converters.source import SourceFile
from hilum.errors import HilumError


def files(*names):
    return [SourceFile(name, f"/nowhere/{name}") for name in sorted(names)]


FLAT = (
    "stage_2_train_labels.csv",
    "stage_2_detailed_class_info.csv",
    "stage_2_sample_submission.csv",
    "stage_2_train_images/a.dcm",
    "stage_2_train_images/b.dcm",
    "stage_2_test_images/c.dcm",
)


def names(found):
    return [file.name for file in found]


@pytest.mark.parametrize("prefix", ["", "rsna-pneumonia-detection-challenge/", "x/y.zip/"])
def test_the_layout_is_found_at_any_depth(prefix):
    layout = kaggle_layout(files(*(prefix + name for name in FLAT)))
    assert layout.labels.name == prefix + FLAT[0]
    assert layout.classes.name == prefix + FLAT[1]
    assert names(layout.train_images) == [prefix + FLAT[3], prefix + FLAT[4]]
    assert names(layout.test_images) == [prefix + FLAT[5]]
    assert layout.left_out == []


def test_tables_and_pictures_in_zips_of_their_own():
    layout = kaggle_layout(
        files(
            "stage_1_train_labels.csv.zip/stage_1_train_labels.csv",
            "stage_1_train_images.zip/a.dcm",
            "stage_1_test_images.zip/stage_1_test_images/b.dcm",
        )
    )
    assert layout.labels.parts[-1] == "stage_1_train_labels.csv"
    assert layout.classes is None
    assert names(layout.train_images) == ["stage_1_train_images.zip/a.dcm"]
    assert names(layout.test_images) == ["stage_1_test_images.zip/stage_1_test_images/b.dcm"]


def test_a_zip_beside_what_came_out_of_it_is_a_second_copy():
    layout = kaggle_layout(files(*FLAT, *("kaggle.zip/" + name for name in FLAT)))
    assert names(layout.train_images) == [FLAT[3], FLAT[4]]
    assert [(entry.file, entry.reason) for entry in layout.left_out] == [
        ("kaggle.zip", "5 files that are not of stage_2, or a second copy of it")
    ]


def test_stage_2_counts_before_stage_1():
    layout = kaggle_layout(files(*FLAT, *(name.replace("stage_2", "stage_1") for name in FLAT)))
    assert layout.labels.name == FLAT[0]
    assert names(layout.train_images) == [FLAT[3], FLAT[4]]
    assert {entry.file for entry in layout.left_out} == {
        "stage_1_train_labels.csv",
        "stage_1_detailed_class_info.csv",
        "stage_1_train_images",
        "stage_1_test_images",
    }


def test_anything_else_is_a_tree():
    assert kaggle_layout(files("2019/SMITH/1.2.3", "2019/x.dcm", "DICOMDIR")) is None


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (FLAT[3:], r"\*_train_labels.csv not found beside stage_2_test_images/, stage_2_train_images/"),
        (FLAT[:3], "stage_2_train_images/ not found"),
        ([*FLAT, "a/stage_2_train_labels.csv", "b/stage_2_train_labels.csv"], None),
        ([f"{d}/{name}" for d in "ab" for name in FLAT], "a/stage_2_train_labels.csv and b/stage_2_train_labels.csv"),
        ([FLAT[0], "a/stage_2_train_images/x.dcm", "b/stage_2_train_images/x.dcm"], "one is expected"),
    ],
)
def test_what_is_missing_or_twofold_is_said(found, said):
    if said is None:
        assert kaggle_layout(files(*found)).labels.name == FLAT[0]
        return
    with pytest.raises(HilumError, match=said):
        kaggle_layout(files(*found))


def test_pictures_may_lie_beside_the_table_and_zips_beside_folders():
    flat = kaggle_layout(files("x/stage_2_train_labels.csv", "x/a.dcm", "x/b.dcm", "y/c.dcm"))
    assert names(flat.train_images) == ["x/a.dcm", "x/b.dcm"]
    both = kaggle_layout(files(*FLAT, "stage_2_train_images.zip/a.dcm"))
    assert names(both.train_images) == [FLAT[3], FLAT[4]]
