import pytest

from hilum.dicom.header import BODY_PART, MODALITY, SOP_INSTANCE, STUDY_INSTANCE, VIEW, Description, describe
from hilum.dicom.plain import read_plain
from hilum.dicom.reading import header_of, read_dicom

SAID = {
    MODALITY: "DX",
    BODY_PART: "chest",
    VIEW: "PA",
    SOP_INSTANCE: "1.2.826.0.1.3680043.8.498.1",
    STUDY_INSTANCE: "2.25.0",
}


def test_a_file_is_described_by_its_tags():
    assert describe(SAID) == Description("DX", "CHEST", "PA", "1.2.826.0.1.3680043.8.498.1", "2.25.0")
    assert describe({}) == Description()


@pytest.mark.parametrize("text", ["Quixotic^Zebulon", "1.2.a", "1..2", "1.02", "1." * 40 + "1", "\uff11.2", "1.2\n"])
def test_no_other_text_comes_out(text):
    assert describe(dict.fromkeys(SAID, text)) == Description()


def test_both_ways_of_reading_describe_a_file_alike(make_dicom, make_picture, make_jpeg):
    pixels = make_picture(1)
    tags = {"Modality": "CR", "BodyPartExamined": "CHEST", "StudyInstanceUID": "2.25.7"}
    content = make_dicom(pixels, jpeg=make_jpeg(pixels), **tags)
    expected = Description("CR", "CHEST", "PA", "2.25.1", "2.25.7")
    plain = read_plain(content)
    assert plain is not None
    assert describe(plain.header) == describe(header_of(read_dicom(content))) == expected
