import csv
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pydicom
import pytest
from pydicom.encaps import generate_frames

from hilum.converters.challenge_tables import read_classes, read_labels
from hilum.datasets.patients import read_patients
from hilum.dicom.jpeg import parse_jpeg
from hilum.sample.challenge import plan_sample, write_sample


def test_the_same_seed_gives_the_same_bytes_with_an_executor_or_without(sample_source, tree_bytes, tmp_path):
    with ThreadPoolExecutor(2) as executor:
        write_sample(tmp_path / "again", 16, 3, executor=executor)
    first = tree_bytes(sample_source)
    assert tree_bytes(tmp_path / "again") == first
    write_sample(tmp_path / "other", 1, 4)
    assert not set(tree_bytes(tmp_path / "other")) & {name for name in first if name.endswith(".dcm")}


def test_layout_is_kaggles(sample_source):
    assert sorted(path.name for path in sample_source.iterdir()) == [
        "patient_map.csv",
        "stage_2_detailed_class_info.csv",
        "stage_2_sample_submission.csv",
        "stage_2_test_images",
        "stage_2_train_images",
        "stage_2_train_labels.csv",
    ]
    with (sample_source / "stage_2_train_labels.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["patientId", "x", "y", "width", "height", "Target"]
    train = {path.stem for path in (sample_source / "stage_2_train_images").iterdir()}
    assert {row[0] for row in rows[1:]} == train
    assert len(train) == 16
    with (sample_source / "stage_2_sample_submission.csv").open(newline="") as file:
        submission = list(csv.reader(file))
    assert submission[0] == ["patientId", "PredictionString"]
    tests = sorted(path.stem for path in (sample_source / "stage_2_test_images").iterdir())
    assert sorted(row[0] for row in submission[1:]) == tests
    assert len(tests) == 2


def test_files_carry_the_challenges_tags(sample_source):
    for path in [*sample_source.glob("*_train_images/*.dcm"), *sample_source.glob("*_test_images/*.dcm")]:
        dataset = pydicom.dcmread(path)
        assert dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.50"
        assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
        assert (dataset.Rows, dataset.Columns) == (1024, 1024)
        assert (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit) == (8, 8, 7)
        assert dataset.SamplesPerPixel == 1
        assert dataset.PhotometricInterpretation == "MONOCHROME2"
        assert dataset.PatientID == path.stem
        assert dataset.ViewPosition in {"AP", "PA"}
        age = dataset.get_item("PatientAge").value.decode()
        assert age.strip().isdecimal()
        stream = parse_jpeg(next(generate_frames(dataset.PixelData, number_of_frames=1)))
        assert (stream.process, stream.bits, stream.components, stream.size_wh) == (0, 8, 1, (1024, 1024))


def test_pictures_are_neither_flat_nor_clipped(sample_source):
    for path in sorted(sample_source.glob("*_train_images/*.dcm"))[:6]:
        pixels = pydicom.dcmread(path).pixel_array
        assert pixels.std() > 20
        assert ((pixels == 0) | (pixels == 255)).mean() < 0.3


def test_tables_agree_with_each_other_and_boxes_lie_inside(sample_source):
    labels = read_labels((sample_source / "stage_2_train_labels.csv").read_bytes(), "labels.csv")
    classes, problems = read_classes((sample_source / "stage_2_detailed_class_info.csv").read_bytes(), "classes.csv")
    assert labels.left_out == problems == []
    assert classes.keys() == labels.boxes.keys()
    assert any(labels.boxes.values())
    for image_id, boxes in labels.boxes.items():
        assert (classes[image_id] == "Lung Opacity") == bool(boxes)
        for x, y, width, height, _ in boxes:
            assert all(float(value).is_integer() for value in (x, y, width, height))
            assert min(x, y) >= 0
            assert min(width, height) > 0
            assert max(x + width, y + height) <= 1024
    with (sample_source / "stage_2_detailed_class_info.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) - 1 == labels.rows


@pytest.mark.parametrize(("share", "expected"), [(None, 0.225), (0.5, 0.5), (0.0, 0.0)])
def test_the_share_with_opacity_is_the_asked_one(share, expected):
    planned = [image for image in plan_sample(3000, 1, share) if "train" in image.folder]
    kinds = Counter(image.kind for image in planned)
    assert len(planned) == 3000
    assert kinds["Lung Opacity"] / 3000 == pytest.approx(expected, abs=0.03)
    assert kinds["Normal"] > 0
    assert kinds["No Lung Opacity / Not Normal"] > 0


def test_patients_have_several_images_and_ids_are_unique():
    planned = plan_sample(3000, 1)
    visits = Counter(image.patient for image in planned)
    assert len(planned) / len(visits) == pytest.approx(26684 / 11439, abs=0.35)
    assert max(visits.values()) > 5
    assert len({image.image_id for image in planned}) == len(planned)


def test_the_patient_map_is_what_convert_takes(sample_source):
    owner = read_patients((sample_source / "patient_map.csv").read_bytes(), "patient_map.csv")
    assert owner.keys() == {path.stem for path in sample_source.glob("*_images/*.dcm")}
    assert len(set(owner.values())) < len(owner)
