"""Sizes, formats and depths of the pictures that are written, and boxes that follow."""

import csv
import json

import cv2
import numpy as np
import pytest

from hilum.converters.convert import convert
from hilum.converters.picture import Job, convert_picture
from hilum.converters.rendering import Rendering
from hilum.converters.source import SourceFile
from hilum.datasets.yolo import yolo_to_boxes
from hilum.errors import HilumError
from hilum.pseudonyms import pseudonym


@pytest.fixture
def converted(tmp_path):
    """Convert one file's content; gives its record and the pixels as written."""

    def one(content, rendering, boxes=()):
        (tmp_path / "x.dcm").write_bytes(content)
        job = Job(SourceFile("x.dcm", str(tmp_path / "x.dcm")), "x", str(tmp_path), str(tmp_path), boxes)
        picture = convert_picture(job, rendering)
        assert picture.reason is None
        return picture, cv2.imread(str(tmp_path / picture.file_name), cv2.IMREAD_UNCHANGED)

    return one


SIZES = [(1024, 1024), (1000, 800), (801, 1203), (640, 480), (2140, 1760)]


@pytest.mark.parametrize("size_wh", SIZES)
@pytest.mark.parametrize("longer", [64, 200, 256, 333, 512])
def test_boxes_are_true_to_a_hundredth_of_a_pixel_there_and_back(
    make_dicom, make_jpeg, converted, tmp_path, size_wh, longer
):
    width, height = size_wh
    pixels = np.full((height, width), 60, np.uint8)
    boxes = ((10.0, 20.0, 101.5, 250.25), (width - 33.0, height - 77.0, 33.0, 77.0))
    picture, written = converted(make_dicom(pixels, jpeg=make_jpeg(pixels)), Rendering(longer_side_px=longer), boxes)
    assert max(written.shape) == longer
    assert (written.shape[1], written.shape[0]) == picture.size_wh
    assert picture.source_size_wh == size_wh
    found = yolo_to_boxes((tmp_path / "x.txt").read_text(), picture.size_wh)
    back = found / np.array([*picture.scale_xy, *picture.scale_xy])
    assert np.allclose(back, boxes, rtol=0, atol=0.01)


@pytest.mark.parametrize("size_wh", SIZES)
def test_a_reduced_picture_is_where_its_boxes_are(make_dicom, make_jpeg, converted, size_wh):
    """A bright block: its centre of mass in the written picture is the centre of its box."""
    width, height = size_wh
    pixels = np.zeros((height, width), np.uint8)
    pixels[200:400, 120:300] = 250
    picture, written = converted(
        make_dicom(pixels, jpeg=make_jpeg(pixels)), Rendering(longer_side_px=250, format="png")
    )
    rows, columns = np.mgrid[: written.shape[0], : written.shape[1]] + 0.5
    weight = written.astype(float) / written.sum()
    centre = np.array([(columns * weight).sum(), (rows * weight).sum()])
    assert np.abs(centre / picture.scale_xy - [210, 300]).max() < 0.2


def test_a_smaller_decode_gives_the_picture_that_the_whole_decode_gives(sample_source, converted):
    content = next(sample_source.glob("*_train_images/*.dcm")).read_bytes()
    _, whole = converted(content, Rendering(format="png"))
    for longer in (128, 256, 320, 512, 600):
        _, reduced = converted(content, Rendering(longer_side_px=longer, format="png"))
        expected = cv2.resize(whole, (longer, longer), interpolation=cv2.INTER_AREA)
        assert np.abs(reduced.astype(float) - expected).mean() < 1


def test_smaller_pictures_are_left_as_they_are(make_dicom, make_jpeg, make_picture, converted):
    pixels = make_picture(1)
    picture, written = converted(make_dicom(pixels), Rendering(longer_side_px=500))
    assert picture.size_wh == picture.source_size_wh == (64, 48)
    assert (written == pixels).all()


@pytest.mark.parametrize(("form", "start"), [("jpg", b"\xff\xd8"), ("png", b"\x89PNG")])
def test_a_format_is_kept_to(make_dicom, make_jpeg, make_picture, tmp_path, converted, form, start):
    pixels = make_picture(1)
    for content in (make_dicom(pixels), make_dicom(pixels, jpeg=make_jpeg(pixels))):
        picture, written = converted(content, Rendering(format=form))
        assert (tmp_path / picture.file_name).read_bytes().startswith(start)
        assert np.abs(written.astype(int) - pixels).mean() < 4
    assert picture.untouched == (form == "jpg")


def test_16_bits_are_kept_where_there_are_more_than_8(make_dicom, make_picture, converted):
    deep = np.random.default_rng(0).permutation(64 * 48).astype(np.uint16).reshape(48, 64)
    picture, written = converted(make_dicom(deep, BitsStored=12, HighBit=11), Rendering(bits=16))
    assert written.dtype == np.uint16
    assert picture.file_name.endswith(".png")
    assert len(np.unique(written)) > 3000  # of 3,072
    assert (np.diff(written.ravel()[np.argsort(deep.ravel(), kind="stable")].astype(int)) >= 0).all()
    _, flat = converted(make_dicom(make_picture(1)), Rendering(bits=16))
    assert flat.dtype == np.uint8


def test_16_bits_do_not_go_into_a_jpeg(sample_source, tmp_path):
    with pytest.raises(HilumError, match="16 bits"):
        convert(sample_source, tmp_path / "data", rendering=Rendering(bits=16, format="jpg"))


def test_a_reduced_dataset_agrees_with_itself(sample_source, tmp_path):
    """YOLO labels, COCO boxes and metadata say the same, and what the whole one says, scaled."""
    convert(sample_source, tmp_path / "whole")
    convert(sample_source, tmp_path / "small", rendering=Rendering(longer_side_px=256))
    for name in ("train", "val", "holdout"):
        whole, small = (
            json.loads((tmp_path / folder / "annotations" / f"{name}.json").read_text())
            for folder in ("whole", "small")
        )
        assert [image["id"] for image in whole["images"]] == [image["id"] for image in small["images"]]
        for one, other in zip(whole["annotations"], small["annotations"], strict=True):
            assert np.allclose(np.array(one["bbox"]) / 4, other["bbox"], rtol=0, atol=1e-9)
    with (tmp_path / "small" / "metadata.csv").open() as file:
        rows = {row["image_id"]: row for row in csv.DictReader(file)}
    with (tmp_path / "whole" / "metadata.csv").open() as file:
        for row in csv.DictReader(file):
            assert float(rows[row["image_id"]]["spacing_mm"]) == pytest.approx(float(row["spacing_mm"]) * 4)
            assert (rows[row["image_id"]]["width"], row["width"]) == ("256", "1024")


def test_pseudonyms_depend_on_key_kind_and_name():
    names = {pseudonym(key, kind, name) for key in (b"1" * 32, b"2" * 32) for kind in "ab" for name in ("x", "y")}
    assert len(names) == 8
    assert pseudonym(b"1" * 32, "a", "x") == pseudonym(b"1" * 32, "a", "x")


TWO_WINDOWS = {"WindowCenter": ["127.5", "40"], "WindowWidth": ["256", "80"]}


@pytest.mark.parametrize("longer", [None, 512, 600])
@pytest.mark.parametrize("form", [None, "png"])
def test_the_window_does_not_depend_on_size_or_format(make_dicom, make_jpeg, converted, longer, form):
    pixels = np.tile(np.arange(1024, dtype=np.uint8) // 4, (1024, 1))
    content = make_dicom(pixels, jpeg=make_jpeg(pixels), **TWO_WINDOWS)
    first, second = (converted(content, Rendering(n, longer_side_px=longer, format=form))[1] for n in (1, 2))
    expected = cv2.resize(pixels, (longer, longer), interpolation=cv2.INTER_AREA) if longer else pixels
    assert np.abs(first.astype(float) - expected).mean() < 2
    assert np.abs(second.astype(float) - np.clip(expected.astype(float) * 255 / 79, 0, 255)).mean() < 4


@pytest.mark.parametrize("view", [{"WindowWidth": "1500"}, {"WindowWidth": "256", "VOILUTFunction": "SIGMOID"}])
@pytest.mark.parametrize("longer", [None, 256, 300])
def test_a_window_that_changes_the_picture_is_applied_whatever_the_size(make_dicom, make_jpeg, converted, view, longer):
    pixels = np.tile(np.arange(512, dtype=np.uint8) // 2, (512, 1))
    pixels[:, 256:] = 255 - pixels[:, 256:]
    content = make_dicom(pixels, jpeg=make_jpeg(pixels), WindowCenter="128", **view)
    picture, written = converted(content, Rendering(longer_side_px=longer))
    assert not picture.untouched
    assert 10 < written.min() < written.max() < 245


def test_a_picture_that_is_small_enough_stays_as_it_is(make_dicom, make_jpeg, make_picture, converted):
    pixels = make_picture(1)
    picture, _ = converted(make_dicom(pixels, jpeg=make_jpeg(pixels)), Rendering(longer_side_px=64))
    assert picture.untouched


def test_what_one_file_says_cannot_end_the_work(make_dicom, make_jpeg, make_picture, tmp_path):
    pixels = make_picture(1)
    odd = {
        "bits": make_dicom(pixels.astype(np.uint16), BitsStored=[12, 12]),
        "words": make_dicom(pixels.astype(np.uint16), BitsStored=[20292, 24133]),
        "wide": make_dicom(np.zeros((1, 65535), np.uint8)),
    }
    for name, content in odd.items():
        (tmp_path / name).write_bytes(content)
        job = Job(SourceFile(name, str(tmp_path / name)), name, str(tmp_path), None)
        for rendering in (Rendering(bits=16), Rendering(format="jpg")):
            picture = convert_picture(job, rendering)
            assert picture.reason is None or ("20292" not in picture.reason and "\n" not in picture.reason)


UUID = "0004cfab-14fd-4e49-80ba-63a80b6bddd6"  # as the challenge names its patients


@pytest.mark.parametrize("key", [None, b"0" * 16])
@pytest.mark.parametrize("patient", ["12345", UUID])
@pytest.mark.parametrize("planted", [b"JOHN^DOE 1950-01-01", b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00JOHN^DOE"])
def test_text_behind_the_picture_of_a_kept_stream_goes(
    make_dicom, make_jpeg, make_picture, tmp_path, key, patient, planted
):
    pixels = make_picture(3)
    stream = make_jpeg(pixels)

    def written(content):
        (tmp_path / "x.dcm").write_bytes(content)
        job = Job(SourceFile("x.dcm", str(tmp_path / "x.dcm")), "x", str(tmp_path), None)
        picture = convert_picture(job, Rendering(), key)
        return picture, (tmp_path / picture.file_name).read_bytes()

    clean, data = written(make_dicom(pixels, jpeg=stream, PatientID=patient))
    assert clean.untouched
    assert data == stream
    picture, data = written(make_dicom(pixels, jpeg=stream[:-2] + planted + b"\xff\xd9", PatientID=patient))
    assert not picture.untouched
    assert b"DOE" not in data
    decoded = [cv2.imdecode(np.frombuffer(part, np.uint8), cv2.IMREAD_GRAYSCALE) for part in (data, stream)]
    assert np.array_equal(*decoded)


def test_planted_text_and_damaged_headers_of_real_files_are_found(shared, tmp_path):
    folder = shared / "faults" / "foreign"
    found = {}
    for path in sorted(folder.glob("*.dcm")):
        job = Job(SourceFile(path.name, str(path)), path.stem, str(tmp_path), None)
        found[path.stem] = convert_picture(job, Rendering(), b"0" * 16)
    assert len(found) == 3
    assert all(not picture.untouched for picture in found.values())
    assert found["dcm-unreadable-1017"].reason == "the JPEG inside cannot be decoded"
    for path in tmp_path.iterdir():
        assert cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) is not None
        assert not any(name in path.read_bytes() for name in (b"JOHN", b"SECRET"))
