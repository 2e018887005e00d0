import cv2
import numpy as np
import pydicom
import pytest

from hilum.converters.dicom import Tags, dicom_to_gray8, plain_jpeg, read_dicom, read_tags
from hilum.errors import HilumError

RAMP8 = np.arange(256, dtype=np.uint8).reshape(16, 16)
RAMP16 = np.linspace(0, 4095, 4096).astype(np.uint16).reshape(64, 64)


def test_eight_bits_come_as_stored(make_dicom):
    assert np.array_equal(dicom_to_gray8(read_dicom(make_dicom(RAMP8))), RAMP8)


def test_monochrome1_is_turned_round(make_dicom):
    dataset = read_dicom(make_dicom(RAMP8, PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(dicom_to_gray8(dataset), 255 - RAMP8)


def test_a_window_of_the_standard_is_applied(make_dicom):
    # PS3.3 C.11.2.1.2: y = ((x - (c - 0.5)) / (w - 1) + 0.5) * 255
    content = make_dicom(RAMP16, BitsStored=12, HighBit=11, WindowCenter="2048", WindowWidth="1024")
    expected = np.clip(((RAMP16 - 2047.5) / 1023 + 0.5) * 255, 0, 255)
    assert np.abs(dicom_to_gray8(read_dicom(content)) - expected).max() <= 0.5


def test_the_first_of_several_windows_counts(make_dicom):
    one = make_dicom(RAMP16, WindowCenter="1000", WindowWidth="1000")
    several = make_dicom(RAMP16, WindowCenter=["1000", "3000"], WindowWidth=["1000", "500"])
    assert np.array_equal(dicom_to_gray8(read_dicom(several)), dicom_to_gray8(read_dicom(one)))


def test_rescale_comes_before_the_window(make_dicom):
    plain = make_dicom(RAMP16, WindowCenter="2048", WindowWidth="1024")
    scaled = make_dicom(RAMP16, RescaleSlope="2", RescaleIntercept="-1000", WindowCenter="3096", WindowWidth="2047")
    difference = dicom_to_gray8(read_dicom(scaled)).astype(int) - dicom_to_gray8(read_dicom(plain))
    assert np.abs(difference).max() <= 1


def test_more_bits_without_a_window_are_scaled_by_percentiles(make_dicom):
    values = RAMP16 + 20000
    values[0, 0], values[0, 1] = 0, 65535  # a dead pixel and a hot one must not eat the range
    picture = dicom_to_gray8(read_dicom(make_dicom(values.astype(np.uint16))))
    assert (picture[1, 0], picture[-1, -1]) == (pytest.approx(4, abs=1), 255)
    assert picture.std() > 70


def test_signed_values_keep_their_order(make_dicom):
    values = np.linspace(-1000, 1000, 1024).astype(np.int16).reshape(32, 32)
    picture = dicom_to_gray8(read_dicom(make_dicom(values))).ravel().astype(int)
    assert (np.diff(picture) >= 0).all()
    assert (picture[0], picture[-1]) == (0, 255)


def test_a_plain_jpeg_is_kept_and_one_that_is_shown_otherwise_is_not(make_dicom, make_jpeg, make_picture):
    pixels = make_picture(1)
    stream = make_jpeg(pixels)
    kept = read_dicom(make_dicom(pixels, jpeg=stream))
    assert plain_jpeg(kept).data == stream
    decoded = cv2.imdecode(np.frombuffer(stream, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(dicom_to_gray8(kept), decoded)
    for tags in (
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"WindowCenter": "100", "WindowWidth": "50"},
        {"RescaleSlope": "2", "RescaleIntercept": "0"},
        {"PresentationLUTShape": "INVERSE"},
    ):
        assert plain_jpeg(read_dicom(make_dicom(pixels, jpeg=stream, **tags))) is None
    turned = read_dicom(make_dicom(pixels, jpeg=stream, PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(dicom_to_gray8(turned), 255 - decoded)


def test_a_file_without_preamble_and_header_is_read_in_either_encoding(make_dicom):
    for implicit in (True, False):
        dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(make_dicom(RAMP8)))
        del dataset.file_meta
        buffer = pydicom.filebase.DicomBytesIO()
        pydicom.dcmwrite(buffer, dataset, implicit_vr=implicit, little_endian=True)
        assert np.array_equal(dicom_to_gray8(read_dicom(buffer.getvalue())), RAMP8)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"NumberOfFrames": "2", "Rows": 8}, "frames"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "Columns": 5}, "colour"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour"),
        ({"Rows": 4000}, "cannot be decoded"),
        ({"BitsAllocated": 7}, "cannot be decoded"),
    ],
)
def test_what_is_no_single_grey_picture_is_refused_in_one_line(make_dicom, planted_name, change, reason):
    pixels = RAMP8 if "Columns" not in change else RAMP8.T[:, :15]
    with pytest.raises(HilumError, match=reason) as caught:
        dicom_to_gray8(read_dicom(make_dicom(np.ascontiguousarray(pixels), **change)))
    assert "\n" not in str(caught.value)
    assert planted_name not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"patientId,x\n" * 40, "not a DICOM"), (b"\x00" * 128 + b"DICM", "pixel data|damaged")],
)
def test_what_is_no_dicom_is_refused(content, reason):
    with pytest.raises(HilumError, match=reason):
        read_dicom(content)


def test_a_file_without_pixel_data_is_refused(make_dicom, planted_name):
    with pytest.raises(HilumError, match="no pixel data") as caught:
        read_dicom(make_dicom(None))
    assert planted_name not in str(caught.value)


@pytest.mark.parametrize("compressed", [True, False])
def test_a_file_cut_anywhere_is_refused_in_one_line_and_without_its_values(
    make_dicom, make_jpeg, make_picture, planted_name, compressed
):
    pixels = make_picture(1)
    content = make_dicom(pixels, jpeg=make_jpeg(pixels) if compressed else None)
    # An encapsulated frame is whole once its end-of-image marker is there: the closing delimiter is not needed.
    for length in range(140, len(content) - (16 if compressed else 1), 37):
        with pytest.raises(HilumError) as caught:
            dicom_to_gray8(read_dicom(content[:length]))
        assert "\n" not in str(caught.value)
        assert planted_name not in str(caught.value)


@pytest.mark.parametrize(
    ("age", "years"),
    [("51", 51), ("051Y", 51), ("018M", 1), ("104W", 2), ("155", 155), ("", None), ("old", None), ("-3", None)],
)
def test_age_is_read_as_the_standard_writes_it_and_as_the_challenge_does(make_dicom, age, years):
    assert read_tags(read_dicom(make_dicom(RAMP8, PatientAge=age))).age_years == years


def test_only_code_words_leave_a_file(make_dicom, planted_name):
    assert read_tags(read_dicom(make_dicom(RAMP8))) == Tags("F", 51, "PA", 0.143)
    odd = make_dicom(RAMP8, PatientSex=planted_name, ViewPosition=planted_name, PixelSpacing=["0", "0"])
    assert read_tags(read_dicom(odd)) == Tags(None, 51, None, None)


def test_real_radiographs_unlike_the_challenges_are_decoded(shared):
    pytest.importorskip("imagecodecs")
    files = sorted((shared / "dicom_edge_cases").glob("*.dcm"))
    assert len(files) == 10
    for path in files:
        dataset = read_dicom(path)
        picture = dicom_to_gray8(dataset)
        assert picture.shape == (dataset.Rows, dataset.Columns)
        assert picture.std() > 25, path.name
        assert ((picture == 0) | (picture == 255)).mean() < 0.6, path.name
