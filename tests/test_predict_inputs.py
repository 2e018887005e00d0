"""What a predictor takes: each kind of input gives what the file gives, a bad one an error of its own."""

import io
import os
import tempfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from hilum.datasets.pictures import read_radiograph
from hilum.detections import Detections
from hilum.dicom.header import HEADER_TAGS
from hilum.dicom.reading import needed_of
from hilum.errors import HilumError
from hilum.predict import Predictor


class Whole:
    """A backend without a network: one box over the picture, as sure as the picture is bright."""

    def predict_batch(self, images):
        return [
            Detections(
                xyxy=np.array([[0.0, 0, image.shape[1], image.shape[0]]]),
                confidence=np.array([image.mean() / 255]),
                class_id=np.zeros(1, int),
            )
            for image in images
        ]


PREDICTOR = Predictor(Whole(), 0.0)
LUT = "a look-up table"


def with_lut(content: bytes) -> bytes:
    dataset, item = pydicom.dcmread(io.BytesIO(content)), pydicom.Dataset()
    item.add_new(0x00283002, "US", [256, 0, 16])
    item.add_new(0x00283006, "OW", (np.arange(256, dtype="<u2")[::-1] * 257).tobytes())
    dataset.VOILUTSequence = [item]
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


@pytest.fixture(params=["native", "jpeg", "implicit", "big endian", "16 bit", LUT, "not square"])
def content(request, make_dicom, make_picture, make_jpeg) -> bytes:
    eight = make_picture(1)
    made = {
        "native": lambda: make_dicom(eight),
        "jpeg": lambda: make_dicom(eight, jpeg=make_jpeg(eight)),
        "implicit": lambda: make_dicom(eight, syntax=ImplicitVRLittleEndian),
        "big endian": lambda: make_dicom((eight.astype(">u2") * 16), syntax=ExplicitVRBigEndian),
        "16 bit": lambda: make_dicom(eight.astype("<u2") * 99, WindowCenter="9000", WindowWidth="12000"),
        LUT: lambda: with_lut(make_dicom(eight)),
        "not square": lambda: make_dicom(eight, PixelSpacing=["0.1", "0.2"], Modality="MG"),
    }
    return made[request.param]()


def said(result) -> dict:
    return {key: value for key, value in result.to_dict().items() if key != "image_id"}


def test_every_kind_of_input_gives_what_the_file_gives(content, tmp_path):
    path = tmp_path / "scan.dcm"
    path.write_bytes(content)
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as packed:
        packed.write(path, "scan.dcm")
    touched = pydicom.dcmread(path)
    for element in touched:  # each is converted by that
        assert element.tag
    (wanted,) = PREDICTOR.predict(path)
    assert wanted.error is None
    with (
        path.open("rb") as file,
        path.open("rb", buffering=0) as raw,
        tempfile.SpooledTemporaryFile() as spooled,
        zipfile.ZipFile(tmp_path / "packed.zip") as packed,
        packed.open("scan.dcm") as member,
    ):
        spooled.write(content)
        spooled.seek(0)
        inputs = [
            *(str(path), tmp_path, content, bytearray(content), memoryview(content), io.BytesIO(content)),
            *(file, raw, spooled, member, pydicom.dcmread(path), touched, pydicom.dcmread(path, defer_size=16)),
        ]
        results = list(PREDICTOR.predict(inputs))
    assert [said(result) for result in results] == [said(wanted)] * len(inputs)
    assert [result.image_id for result in results] == ["scan", "scan", *map(str, range(2, len(inputs)))]
    (alone,) = PREDICTOR.predict(pydicom.dcmread(path))
    assert (said(alone), alone.image_id) == (said(wanted), "0")


def everything_in(dataset: pydicom.Dataset) -> list:
    """Each element as the data set holds it, those of items too."""
    held = [element for _, element in sorted(dataset._dict.items())]
    items = [item for e in held if isinstance(e, pydicom.DataElement) and e.VR == "SQ" for item in e.value]
    return (
        held
        + [(item._parent_seq if hasattr(item, "_parent_seq") else None) for item in items]
        + [inner for item in items for inner in everything_in(item)]
    )


def test_a_data_set_stays_as_it_is(content):
    for touch in (False, True):
        dataset = pydicom.dcmread(io.BytesIO(content))
        if touch:
            assert str(dataset)
        before = [*everything_in(dataset), *everything_in(dataset.file_meta)]
        (result,) = PREDICTOR.predict(dataset)
        assert result.error is None
        after = [*everything_in(dataset), *everything_in(dataset.file_meta)]
        assert len(before) == len(after)
        assert all(one is other for one, other in zip(before, after, strict=True))


def test_nothing_is_kept_of_a_data_set_but_what_may_leave_it(content, planted_name):
    dataset = pydicom.dcmread(io.BytesIO(content))
    dataset.PatientComments = planted_name
    assert planted_name in str(dataset)
    kept = needed_of(dataset)
    assert {element.tag for element in kept} <= {*HEADER_TAGS, 0x7FE00010}
    assert planted_name not in str([element for element in kept if element.tag != 0x00100020])  # for a keyed hash
    assert planted_name not in repr(read_radiograph(dataset))
    (result,) = PREDICTOR.predict(dataset)
    assert planted_name not in repr(result)


def test_folders_stand_for_their_pictures_in_their_place(tmp_path, make_dicom, make_picture, capsys):
    for name in ("b/2.dcm", "b/1.dcm", "a/3", "a/notes.txt", "top.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(make_dicom(make_picture(1)))
    (tmp_path / "top.png").write_bytes(cv2.imencode(".png", make_picture(1))[1].tobytes())
    (tmp_path / "a" / "notes.txt").write_text("nothing")
    looked = []
    inputs = [tmp_path / "b", np.full((8, 8), 9, np.uint8), str(tmp_path)]
    results = list(PREDICTOR.predict(inputs, look=lambda number, _: looked.append(number)))
    assert [result.image_id for result in results] == ["1", "2", "2", "3", "1", "2", "top"]
    assert not any(result.error for result in results)
    assert sorted(looked) == list(range(7))
    assert "passed over: 1 .txt" in capsys.readouterr().err
    assert [result.image_id for result in PREDICTOR.predict(tmp_path)] == ["3", "1", "2", "top"]


def test_a_folder_that_cannot_be_taken_is_one_error(tmp_path, dataset, tiny_run):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("nothing")
    results = list(PREDICTOR.predict([tmp_path / "empty", tmp_path / "other", dataset, tiny_run]))
    assert [result.image_id for result in results] == ["empty", "other", dataset.name, tiny_run.name]
    told = [
        "no .dcm, ",
        "passed over: 1 .txt",
        "a dataset folder; `Dataset.open",
        "is a run folder, whose pictures",
    ]
    for result, part in zip(results, told, strict=True):
        assert part in result.error
        assert "\n" not in result.error
    (alone,) = PREDICTOR.predict(tmp_path / "empty")
    assert alone.error == results[0].error


class Endless(io.RawIOBase):
    """A file that says nothing of its length, and never ends."""

    given = 0

    def read(self, size=-1):
        assert 0 < size <= 1 << 20
        self.given += size
        return bytes(size)


class Failing(io.RawIOBase):
    def __init__(self, error):
        self.error = error

    def read(self, size=-1):
        raise self.error


def test_each_bad_input_is_one_error_that_names_its_place(make_dicom, make_picture, tmp_path, monkeypatch):
    monkeypatch.setattr("hilum.datasets.pictures.MAX_FILE_BYTES", 3 << 20)
    monkeypatch.setattr("hilum.dicom.reading.MAX_BYTES", 3 << 20)
    good, endless = make_dicom(make_picture(1)), Endless()
    closed = io.BytesIO(good)
    closed.close()
    without, empty, large, damaged, worded = (pydicom.dcmread(io.BytesIO(good)) for _ in range(5))
    del without.PixelData
    empty.PixelData = None
    large.PixelData = bytes(4 << 20)
    damaged.Rows = 4000
    worded["PixelData"]._value = "text"
    text = tmp_path / "text"
    text.write_text("text")
    bad = {
        "the file is empty": b"",
        "not a DICOM file": b"nothing that anybody reads",
        "closed by now": closed,
        "gives text": io.StringIO("text"),
        "not open for reading bytes": text.open("ab"),
        "more than 3 MiB": endless,
        "at most 3 MiB": None,
        "cannot be read: No space": Failing(OSError(28, "No space")),
        "nothing here expects": Failing(RuntimeError("a name")),
        "no pixel data": without,
        "is empty": empty,
        "of more than 3 MiB": large,
        "not of bytes": worded,
        "cannot be decoded": damaged,
        "cut short, or not a picture": pydicom.Dataset(),
        "(height, width) is expected": np.zeros(3),
        "its name is none": "a\0b",
    }
    bad["at most 3 MiB"] = sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        os.truncate(file.fileno(), 9 << 20)
    results = list(PREDICTOR.predict([each for value in bad.values() for each in (value, good)]))
    bad["not open for reading bytes"].close()
    assert endless.given <= 4 << 20
    assert [result.error for result in results[1::2]] == [None] * len(bad)
    for number, (part, given), result in zip(range(0, 99, 2), bad.items(), results[::2], strict=False):
        assert part in result.error, (part, result.error)
        assert result.error.startswith(f"input {number}: ") != isinstance(given, str | Path)
        assert "\n" not in result.error
        assert "a name" not in result.error
    (alone,) = PREDICTOR.predict(b"nothing that anybody reads")
    assert alone.error == "not a DICOM file"


@pytest.mark.parametrize("confidence", [float("nan"), 50, -0.1, "0.5", (0.1, 0.2), (0.1,) * 0])
def test_a_confidence_that_is_none_is_told_and_not_taken_for_one_that_nothing_reaches(confidence):
    with pytest.raises(HilumError, match="confidence: expected a number from 0 to 1, not"):
        list(PREDICTOR.predict(np.zeros((8, 8), np.uint8), confidence=confidence))
