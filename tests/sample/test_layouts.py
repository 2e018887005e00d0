"""Generated sets in the layouts of other sources: the same for the same seed, tables as those of the real sets."""

from concurrent.futures import ThreadPoolExecutor

import pydicom
import pytest

from hilum.sample.layouts import LAYOUTS, write_layout

HEADERS = {
    "train_image_level.csv": "id,boxes,label,StudyInstanceUID",
    "train_study_level.csv": "id,Negative for Pneumonia,Typical Appearance,Indeterminate Appearance,"
    "Atypical Appearance",
    "train.csv": "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max",
    "annotations_train.csv": "image_id,rad_id,class_name,x_min,y_min,x_max,y_max",
    "annotations_test.csv": "image_id,class_name,x_min,y_min,x_max,y_max",
    "BBox_List_2017.csv": "Image Index,Finding Label,Bbox [x,y,w,h],,,",
    "labels.csv": "image_id,class,x_min,y_min,x_max,y_max,patient,sex,age_years,view",
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_same_seed_gives_the_same_bytes_with_an_executor_or_without(name, tmp_path, tree_bytes):
    write_layout(tmp_path / "one", name, 3, 5)
    with ThreadPoolExecutor(2) as executor:
        write_layout(tmp_path / "two", name, 3, 5, executor=executor)
    files = tree_bytes(tmp_path / "one")
    assert tree_bytes(tmp_path / "two") == files
    for path in (tmp_path / "one").rglob("*.csv"):
        if path.name in HEADERS:
            assert path.read_text().splitlines()[0] == HEADERS[path.name]


def test_dicom_as_it_comes_from_a_hospital(tmp_path):
    write_layout(tmp_path, "vindr", 6, 2)
    files = [pydicom.dcmread(path) for path in tmp_path.rglob("*.dicom")]
    assert {file.BitsStored for file in files} == {12, 14, 16}
    assert {file.PhotometricInterpretation for file in files} == {"MONOCHROME1", "MONOCHROME2"}
    assert len({(file.Columns, file.Rows) for file in files}) == 4
    assert all(file.pixel_array.max() <= 2**file.BitsStored - 1 for file in files)
