"""The beginning of a DICOM file of any kind is read, and nothing behind it."""

import random
from contextlib import suppress

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from hilum.dicom.header import MODALITY, PATIENT_ID, SOP_CLASS, STUDY_INSTANCE
from hilum.dicom.reading import read_start
from hilum.errors import HilumError

TAGS = (SOP_CLASS, MODALITY, STUDY_INSTANCE)


@pytest.fixture(scope="module")
def whole(make_dicom, make_picture):
    return make_dicom(make_picture(0), StudyInstanceUID="1.2.3", Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2")


def start(tmp_path, content, tags=TAGS):
    path = tmp_path / "a.dcm"
    path.write_bytes(content)
    return read_start(path, tags)


def test_what_is_asked_for_is_read_of_any_kind_of_object(tmp_path, whole):
    expected = {SOP_CLASS: "1.2.840.10008.5.1.4.1.1.2", MODALITY: "CT", STUDY_INSTANCE: "1.2.3"}
    assert start(tmp_path, whole) == expected
    assert start(tmp_path, whole[:-2000]) == expected  # what is behind may be cut off
    assert start(tmp_path, whole + bytes(1 << 23)) == expected


def test_what_is_not_there_is_left_out(tmp_path, make_dicom):
    assert MODALITY not in start(tmp_path, make_dicom())


def test_nothing_else_is_read(tmp_path, whole):
    assert PATIENT_ID not in start(tmp_path, whole)


@pytest.mark.parametrize("content", [b"", b"text", bytes(200), bytes(128) + b"DICM", bytes(128) + b"DICM" + bytes(99)])
def test_what_is_no_dicom_file_or_holds_nothing_is_told_or_empty(tmp_path, content):
    with suppress(HilumError):
        assert start(tmp_path, content) == {}


def test_a_deflated_file_is_unpacked_within_bounds(tmp_path, make_dicom):
    content = make_dicom(syntax=DeflatedExplicitVRLittleEndian, StudyInstanceUID="1.2.3")
    assert start(tmp_path, content, (STUDY_INSTANCE,)) == {STUDY_INSTANCE: "1.2.3"}


def test_whatever_is_damaged_ends_in_a_line(tmp_path, whole):
    rng = random.Random(0)
    for _ in range(500):
        damaged = bytearray(whole[: rng.randrange(132, len(whole))])
        for _ in range(rng.randrange(1, 20)):
            damaged[rng.randrange(132, min(len(damaged), 1200))] = rng.randrange(256)
        with suppress(HilumError):
            start(tmp_path, bytes(damaged))
