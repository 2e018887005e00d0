import csv
import json
import shutil
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames

from hilum.converters.challenge_tables import read_labels
from hilum.converters.convert import convert
from hilum.datasets.folder import SPLITS, Dataset
from hilum.datasets.yolo import yolo_to_boxes
from hilum.errors import HilumError


@pytest.fixture
def source(make_small_source, tmp_path):
    return make_small_source(tmp_path / "source")


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_generated_set_comes_through_whole(sample_source, tmp_path):
    record = convert(sample_source, tmp_path / "data", patients=sample_source / "patient_map.csv")
    truth = read_labels((sample_source / "stage_2_train_labels.csv").read_bytes(), "labels.csv").boxes
    assert record["left_out"] == {}
    assert (record["images"], record["unlabelled_images"], record["untouched_jpeg"]) == (16, 2, 18)
    data = Dataset.open(tmp_path / "data")
    assert data.conversion == record
    seen = []
    for name in SPLITS:
        split = data.split(name)
        for image_id, path, boxes in zip(split.image_ids, split.paths, split.boxes_xywh, strict=True):
            assert boxes.tolist() == [list(box[:4]) for box in truth[image_id]]
            dicom = pydicom.dcmread(sample_source / "stage_2_train_images" / f"{image_id}.dcm")
            # An encapsulated frame is padded to an even length.
            assert next(generate_frames(dicom.PixelData, number_of_frames=1)).rstrip(b"\0") == path.read_bytes()
            label = (tmp_path / "data" / "labels" / f"{image_id}.txt").read_text()
            assert np.allclose(yolo_to_boxes(label, (1024, 1024)), boxes, rtol=0, atol=0.01)
        lines = (tmp_path / "data" / f"{name}.txt").read_text().splitlines()
        assert lines == [f"./images/{path.name}" for path in split.paths]
        assert record["splits"][name]["images"] == len(split)
        seen += split.image_ids
    assert sorted(seen) == sorted(truth)
    assert len(data.unlabelled()) == 2


@pytest.fixture
def damaged(source, make_dicom, make_picture, write_table):
    """The small source with one of each thing that goes wrong."""
    images = source / "stage_2_train_images"
    (images / "img01.dcm").write_bytes(b"patientId,x\n" * 40)
    (images / "img02.dcm").write_bytes((images / "img02.dcm").read_bytes()[:-300])
    (images / "img04.dcm").write_bytes(make_dicom(None))
    (images / "img05.dcm").unlink()
    (images / "extra.dcm").write_bytes((images / "img07.dcm").read_bytes())
    (images / "notes.txt").write_text("x")
    rows = (source / "stage_2_train_labels.csv").read_text().splitlines()
    rows = [row for row in rows if not row.startswith(("img03", "img06", "img09"))]
    rows += ["img03,4,5,20,30,1", "img03,100,100,20,20,1"]  # one inside, one outside
    rows += ["img06,-4,40,20,30,1"]  # partly outside
    rows += ["img09,64,0,5,5,1"]  # all outside: touches the edge
    (source / "stage_2_train_labels.csv").write_text("\n".join(rows) + "\n")
    return source


def test_what_is_left_out_is_listed_with_its_reason(damaged, tmp_path, planted_name):
    record = convert(damaged, tmp_path / "data")
    found = {(entry["what"], entry["image_id"]): entry["reason"] for entry in table(tmp_path / "data" / "left_out.csv")}
    expected = {
        ("image", "img01"): "not a DICOM file",
        ("image", "img02"): "cut short",
        ("image", "img04"): "no pixel data",
        ("label", "img05"): "no file img05.dcm",
        ("image", "extra"): "no row in stage_2_train_labels.csv",
        ("file", ""): "not a .dcm file",
        ("box", "img03"): "outside the picture of 64 x 48 px",
        ("part of a box", "img06"): "reaches beyond",
        ("box", "img09"): "outside",
        ("image", "img09"): "all its boxes lie outside",
    }
    assert found.keys() == expected.keys()
    for key, reason in expected.items():
        assert reason in found[key], key
    assert record["left_out"] == {"box": 2, "file": 1, "image": 5, "label": 1, "part of a box": 1}
    assert (record["images"], record["boxes"], record["positive_images"]) == (7, 4, 3)
    kept = {"img00", "img03", "img06", "img07", "img08", "img10", "img11"}
    assert {path.stem for path in (tmp_path / "data" / "images").iterdir()} == kept
    assert {path.stem for path in (tmp_path / "data" / "labels").iterdir()} == kept
    boxes = {}
    for name in SPLITS:
        split = Dataset.open(tmp_path / "data").split(name)
        boxes |= {image_id: b.tolist() for image_id, b in zip(split.image_ids, split.boxes_xywh, strict=True)}
    assert boxes["img03"] == [[4, 5, 20, 30]]
    assert boxes["img06"] == [[0, 40, 16, 8]]


def test_the_same_input_gives_the_same_bytes_whatever_the_workers(damaged, tmp_path, tree_bytes, capfd):
    convert(damaged, tmp_path / "one")
    first = tree_bytes(tmp_path / "one")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        convert(damaged, tmp_path / "two", executor=executor)
    assert tree_bytes(tmp_path / "two") == first
    assert capfd.readouterr().err == ""  # pydicom's warnings quote values
    convert(damaged, tmp_path / "one", overwrite=True)
    assert tree_bytes(tmp_path / "one") == first
    convert(damaged, tmp_path / "three", seed=1)
    assert tree_bytes(tmp_path / "three") != first


def test_no_name_gets_out(source, tmp_path, tree_bytes, planted_name):
    secret = planted_name.encode()
    assert all(secret in path.read_bytes() for path in source.glob("*_images/*.dcm"))
    record = convert(source, tmp_path / "data")
    assert record["untouched_jpeg"] == 12
    outputs = tree_bytes(tmp_path / "data")
    assert len(outputs) > 26
    for name, content in outputs.items():
        assert secret not in content, name


def test_metadata_holds_what_may_leave_the_files(source, tmp_path):
    convert(source, tmp_path / "data")
    row = next(row for row in table(tmp_path / "data" / "metadata.csv") if row["image_id"] == "img03")
    assert len(row.pop("sha256")) == 64
    assert row.pop("split") in SPLITS
    assert row == {
        "image_id": "img03",
        "class": "Lung Opacity",
        "patient": "",
        "sex": "F",
        "age_years": "51",
        "view": "PA",
        "spacing_mm": "0.143",
        "width": "64",
        "height": "48",
        "source_width": "64",
        "source_height": "48",
    }


def test_uncompressed_pictures_become_png_without_a_change(source, tmp_path, make_picture):
    convert(source, tmp_path / "data")
    written = cv2.imread(str(tmp_path / "data" / "unlabelled" / "images" / "test1.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(written, make_picture(101))


def test_a_folder_that_is_not_ours_is_left_alone(source, tmp_path, tree_bytes):
    for name, content in [("thesis.txt", "mine"), ("conversion.json", "{}"), ("conversion.json", "[1]")]:
        out = tmp_path / "data"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        (out / name).write_text(content)
        with pytest.raises(HilumError, match="not a dataset folder of hilum's"):
            convert(source, out, overwrite=True)
        assert tree_bytes(out) == {name: content.encode()}
        assert [path.name for path in out.iterdir()] == [name]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(HilumError, match="is a file"):
        convert(source, tmp_path / "file", overwrite=True)
    with pytest.raises(HilumError, match="not a dataset folder of hilum's"):
        convert(source, source, overwrite=True)


def test_a_whole_dataset_is_only_overwritten_when_asked(source, tmp_path, tree_bytes):
    convert(source, tmp_path / "data")
    before = tree_bytes(tmp_path / "data")
    with pytest.raises(HilumError, match="--overwrite"):
        convert(source, tmp_path / "data", seed=7)
    assert tree_bytes(tmp_path / "data") == before


def test_overwriting_leaves_nothing_of_the_earlier_conversion(source, tmp_path, tree_bytes):
    data = tmp_path / "data"
    convert(source, data)
    (data / "labels.cache").write_text("of ultralytics")
    labels = source / "stage_2_train_labels.csv"
    labels.write_text("".join(row for row in labels.read_text().splitlines(True) if not row.startswith("img0")))
    (source / "stage_2_train_images" / "img01.dcm").rename(source / "stage_2_test_images" / "img01.dcm")
    convert(source, data, overwrite=True)
    convert(source, tmp_path / "fresh")
    assert tree_bytes(data) == tree_bytes(tmp_path / "fresh")


def test_a_bad_source_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("missing", "empty"):
        with pytest.raises(HilumError, match=name):
            convert(tmp_path / name, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_source_without_one_good_picture_makes_no_dataset(source, tmp_path):
    for path in source.glob("*_train_images/*.dcm"):
        path.write_bytes(b"no")
    with pytest.raises(HilumError, match="no labelled picture"):
        convert(source, tmp_path / "data")
    assert len(table(tmp_path / "data" / "left_out.csv")) == 12
    with pytest.raises(HilumError, match="interrupted"):
        Dataset.open(tmp_path / "data")


def test_an_interrupted_conversion_is_no_dataset_and_is_taken_up_again(source, tmp_path, tree_bytes):
    def interrupt(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "data", progress=interrupt)
    assert json.loads((tmp_path / "data" / "conversion.json").read_text())["complete"] is False
    with pytest.raises(HilumError, match="interrupted"):
        Dataset.open(tmp_path / "data")
    convert(source, tmp_path / "data")
    convert(source, tmp_path / "clean")
    assert tree_bytes(tmp_path / "data") == tree_bytes(tmp_path / "clean")


def test_ids_that_differ_in_case_alone_are_taken_as_the_same(source, write_table, tmp_path):
    images = source / "stage_2_train_images"
    (images / "img01.dcm").rename(images / "IMG01.dcm")
    shutil.copy(images / "img02.dcm", images / "IMG02.dcm")
    write_table(tmp_path / "map.csv", [["patientId", "patient"], *([f"IMG{n:02d}", f"p{n}"] for n in range(12))])
    record = convert(source, tmp_path / "data", patients=tmp_path / "map.csv")
    assert (record["images"], record["images_without_patient"]) == (12, 0)
    found = [(row["what"], row["image_id"], row["file"]) for row in table(tmp_path / "data" / "left_out.csv")]
    assert ("note", "img01", "stage_2_train_images/IMG01.dcm") in found
    assert ("file", "IMG02", "stage_2_train_images/IMG02.dcm") in found
    assert ("note", "img05", "the patient map") in found


def test_a_class_without_an_image_in_the_label_table_is_said(source, tmp_path):
    with (source / "stage_2_detailed_class_info.csv").open("a") as file:
        file.write("stranger,Normal\n")
    convert(source, tmp_path / "data")
    assert [(row["what"], row["image_id"]) for row in table(tmp_path / "data" / "left_out.csv")] == [
        ("class", "stranger")
    ]


def test_a_patient_map_keeps_patients_together(make_small_source, write_table, tmp_path):
    source = make_small_source(tmp_path / "source", 40)
    owners = [[f"img{n:02d}", f"person{n % 11}"] for n in range(38)]  # two images are not in the map
    write_table(tmp_path / "map.csv", [["patientId", "patient"], *owners])
    record = convert(source, tmp_path / "data", patients=tmp_path / "map.csv")
    assert (record["patients_known"], record["images_without_patient"]) == (True, 2)
    homes = defaultdict(set)
    for row in table(tmp_path / "data" / "metadata.csv"):
        homes[row["patient"] or row["image_id"]].add(row["split"])
    assert len(homes) == 13
    assert all(len(splits) == 1 for splits in homes.values())
    assert convert(source, tmp_path / "without")["patients_known"] is False


def test_a_class_that_contradicts_the_boxes_is_said_and_not_kept(source, tmp_path):
    classes = source / "stage_2_detailed_class_info.csv"
    text = classes.read_text().replace("img01,Normal", "img01,Lung Opacity").replace("img02,Normal\n", "")
    classes.write_text(text)
    record = convert(source, tmp_path / "data")
    rows = {row["image_id"]: row["class"] for row in table(tmp_path / "data" / "metadata.csv")}
    assert (rows["img01"], rows["img02"], rows["img04"]) == ("", "", "Normal")
    assert record["classes"] == {"Lung Opacity": 4, "Normal": 6, "unknown": 2}
    assert record["left_out"] == {"class": 2}


def test_progress_counts_every_file(source, tmp_path):
    seen = []
    convert(source, tmp_path / "data", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 14) for n in range(1, 15)]


def test_stock_tools_read_the_folder(source, tmp_path):
    import supervision
    from pycocotools.coco import COCO
    from torchvision.datasets import CocoDetection

    data = tmp_path / "data"
    convert(source, data)
    truth = {
        image_id: sorted([list(box[:4]) for box in boxes])
        for image_id, boxes in read_labels(
            (source / "stage_2_train_labels.csv").read_bytes(), "labels.csv"
        ).boxes.items()
    }
    seen = []
    for name in SPLITS:
        annotations = data / "annotations" / f"{name}.json"
        coco = COCO(annotations)
        for image in coco.imgs.values():
            image_id = image["file_name"].removesuffix(".jpg")
            found = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
            assert sorted(annotation["bbox"] for annotation in found) == truth[image_id]
            seen.append(image_id)
        pairs = CocoDetection(str(data / "images"), str(annotations))
        assert len(pairs) == len(coco.imgs)
        for picture, annotated in pairs:
            assert picture.size == (64, 48)
            assert all(annotation["category_id"] == 1 for annotation in annotated)
        loaded = supervision.DetectionDataset.from_coco(str(data / "images"), str(annotations))
        for path, _, detections in loaded:
            boxes = np.hstack([detections.xyxy[:, :2], detections.xyxy[:, 2:] - detections.xyxy[:, :2]])
            image_id = path.rsplit("/", 1)[-1].removesuffix(".jpg")
            assert np.allclose(sorted(boxes.tolist()), truth[image_id], atol=0.01)
    assert sorted(seen) == sorted(truth)
    whole = supervision.DetectionDataset.from_yolo(str(data / "images"), str(data / "labels"), str(data / "data.yaml"))
    assert len(whole) == len(truth)
    assert whole.classes == ["opacity"]
    for path, _, detections in whole:
        image_id = path.rsplit("/", 1)[-1].removesuffix(".jpg")
        boxes = np.hstack([detections.xyxy[:, :2], detections.xyxy[:, 2:] - detections.xyxy[:, :2]])
        assert np.allclose(sorted(boxes.tolist()), truth[image_id], atol=0.51)  # supervision rounds to whole pixels


def test_real_files_come_through_whole(shared, tmp_path):
    source = shared / "rsna_sample"
    record = convert(source, tmp_path / "data", patients=shared / "rsna_tables" / "patient_map.csv")
    assert record["left_out"] == {}
    assert (record["images"], record["unlabelled_images"], record["untouched_jpeg"]) == (704, 60, 764)
    assert (record["boxes"], record["positive_images"]) == (381, 233)
    assert (record["patients_known"], record["images_without_patient"]) == (True, 0)
    ages = [row["age_years"] for row in table(tmp_path / "data" / "metadata.csv")]
    assert len(ages) == 704
    assert all(ages)
    shutil.rmtree(tmp_path / "data")  # real radiographs are not left lying about


def test_any_name_of_a_patient_comes_back_as_it_was(source, tmp_path):
    """Some characters end a line for Python, though not for CSV."""
    odd = ["a\u2028b", "a\x85b", "a\x0bb", "a\x1cb", 'with "quotes"', "with, comma"]
    with (tmp_path / "map.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["patientId", "patient"], *([f"img{n:02d}", odd[n % 6]] for n in range(12))])
    convert(source, tmp_path / "data", patients=tmp_path / "map.csv")
    data = Dataset.open(tmp_path / "data")
    assert len(data.metadata) == 12
    found = {patient for name in SPLITS for patient in data.split(name).patients}
    assert len(found) == 6
