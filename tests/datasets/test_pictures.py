import io

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, SecondaryCaptureImageStorage

from hilum.datasets.pictures import is_dicom, picture_name, read_picture, read_radiograph
from hilum.errors import HilumError

GREY = np.clip(cv2.GaussianBlur(np.random.default_rng(0).normal(128, 80, (40, 60)), (0, 0), 2), 0, 255).astype(np.uint8)


def encode(ending, pixels):
    return cv2.imencode(ending, pixels)[1].tobytes()


def dicom(pixels, jpeg=None, **tags):
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit if jpeg else ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, "2.25.1"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = encapsulate([jpeg]) if jpeg else pixels.tobytes()
    dataset["PixelData"].VR = "OB"
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("a/x.dcm", "x"),
        ("x.DICOM", "x"),
        ("x.Jpg", "x"),
        ("x.jpeg", "x"),
        ("x.png", "x"),
        ("1.2.826.0.1.0", "1.2.826.0.1.0"),
        ("1.2.826.0.1.1", "1.2.826.0.1.1"),
        ("1.2.826.0.1.1.dcm", "1.2.826.0.1.1"),
        ("x.dcm.png", "x.dcm"),
        (".dcm", ".dcm"),
        ("x.", "x."),
    ],
)
def test_a_name_loses_the_ending_of_a_picture_and_nothing_else(file, name):
    assert picture_name(file) == name


@pytest.mark.parametrize("name", ["a.png", "a.dcm", "without_an_ending", "wrong.jpg"])
@pytest.mark.parametrize("kind", ["png", "dicom"])
def test_files_are_told_apart_by_content_and_read_without_loss(tmp_path, name, kind):
    path = tmp_path / name
    path.write_bytes(encode(".png", GREY) if kind == "png" else dicom(GREY))
    for source in (path, str(path)):
        assert np.array_equal(read_picture(source), GREY)


def test_a_jpeg_is_read_as_opencv_decodes_it(tmp_path):
    content = encode(".jpg", GREY)
    (tmp_path / "a.png").write_bytes(content)
    expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(read_picture(tmp_path / "a.png"), expected)


def test_a_jpeg_is_not_turned_by_its_orientation_tag(tmp_path):
    content = encode(".jpg", GREY)
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    app1 = b"Exif\0\0" + tiff
    turned = content[:2] + b"\xff\xe1" + (len(app1) + 2).to_bytes(2, "big") + app1 + content[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_GRAYSCALE).shape == (60, 40)
    (tmp_path / "a.jpg").write_bytes(turned)
    assert read_picture(tmp_path / "a.jpg").shape == (40, 60)


@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 1), (40, 60, 3)])
def test_arrays_of_bytes_come_back_as_they_are(shape):
    array = GREY if len(shape) == 2 else np.repeat(GREY[:, :, None], shape[2], axis=2)
    result = read_picture(array)
    assert np.array_equal(result, GREY)
    assert result.dtype == np.uint8


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.float32, np.float64])
def test_more_bits_are_scaled_and_keep_their_order(tmp_path, dtype):
    values = np.linspace(100, 30000, 10000).reshape(100, 100).astype(dtype)
    result = read_picture(values).ravel().astype(int)
    assert (result[0], result[-1]) == (0, 255)
    assert (np.diff(result) >= 0).all()
    assert result[5000] == pytest.approx(127.5, abs=1)


def test_a_png_of_16_bits_is_read_as_the_array_is(tmp_path):
    values = np.linspace(100, 30000, 10000).reshape(100, 100).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(encode(".png", values))
    assert np.array_equal(read_picture(tmp_path / "a.png"), read_picture(values))


def test_a_flat_array_is_no_division_by_zero():
    assert read_picture(np.full((4, 5), 700, np.uint16)).tolist() == [[0] * 5] * 4


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((0, 4), np.uint8), "shape"),
        (np.zeros(4, np.uint8), "shape"),
        (np.zeros((2, 3, 4), np.uint8), "shape"),
        (np.zeros((1, 2, 3, 3), np.uint8), "shape"),
        (np.arange(12, dtype=np.uint8).reshape(2, 2, 3), "colour"),
        (np.array([[1.0, np.nan]]), "finite"),
        (np.array([[1.0, np.inf]]), "finite"),
    ],
)
def test_arrays_that_are_no_grey_picture_are_refused(array, reason):
    with pytest.raises(HilumError, match=reason):
        read_picture(array)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (encode(".jpg", GREY)[:-20], "cut short"),
        (encode(".png", GREY)[:30], "cannot be decoded"),
        (b"", "empty"),
        (b"hello\n" * 50, "not a DICOM file"),
        (dicom(GREY)[:-200], "cannot be decoded"),
    ],
    ids=["jpeg", "png", "empty", "text", "dicom"],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, content, reason):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(HilumError, match=reason) as caught:
        read_picture(tmp_path / "a")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(HilumError, match="cannot be read: No such file"):
        read_picture(tmp_path / "nowhere.png")


def test_a_png_whose_end_is_missing_is_refused(tmp_path):
    content = encode(".png", np.random.default_rng(1).integers(0, 256, (400, 600), dtype=np.uint8))
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(HilumError):
        read_picture(tmp_path / "a.png")


def test_a_jpeg_in_dicom_that_ends_early_is_refused(tmp_path):
    content = encode(".jpg", GREY)
    (tmp_path / "whole").write_bytes(dicom(GREY, content))
    (tmp_path / "cut").write_bytes(dicom(GREY, content[:-200] + b"\xff\xd9"))
    assert read_picture(tmp_path / "whole").shape == GREY.shape
    with pytest.raises(HilumError, match="cut short"):
        read_picture(tmp_path / "cut")


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"Modality": "DX", "BodyPartExamined": "CHEST", "ViewPosition": "PA"}, None),
        ({"Modality": "OT", "BodyPartExamined": "", "ViewPosition": ""}, None),
        ({"BodyPartExamined": "QUIXOTIC ZEBULON"}, None),
        ({"Modality": "DX", "BodyPartExamined": "LEG"}, "body part LEG"),
        (
            {"Modality": "MG", "BodyPartExamined": "BREAST", "ViewPosition": "ML"},
            "modality MG, body part BREAST, view ML",
        ),
        ({"Modality": "CR", "ViewPosition": "LATERAL"}, "view LATERAL"),
    ],
)
def test_tags_that_contradict_a_frontal_chest_radiograph_are_told(tmp_path, tags, said):
    (tmp_path / "x").write_bytes(dicom(GREY, **tags))
    found = read_radiograph(tmp_path / "x")
    assert found.warning == (said and f"its tags say that it is no frontal chest radiograph: {said}")
    assert found.description.modality == tags.get("Modality", "")
    assert "QUIXOTIC" not in repr(found.description)


def phantom():
    """Lungs that are dark beside a bright spine, as a chest is seen from the front."""
    pixels = np.full((128, 128), 60, np.uint8)
    pixels[:, :8] = pixels[:, -8:] = pixels[:10] = 20
    pixels[25:85, 20:52] = pixels[25:85, 76:108] = 30
    pixels[10:, 56:72] = pixels[105:, 36:92] = 220
    return cv2.GaussianBlur(pixels, (0, 0), 3)


def test_a_picture_with_black_bones_is_told(tmp_path):
    for pixels, told in ((phantom(), False), (255 - phantom(), True)):
        (tmp_path / "x").write_bytes(encode(".png", pixels))
        warning = read_radiograph(tmp_path / "x").warning
        assert ("black bones" in warning) if told else warning is None


def test_dicom_is_known_without_its_preamble(tmp_path):
    whole = dicom(GREY)
    bare = whole[132:]
    (tmp_path / "x").write_bytes(bare)
    assert np.array_equal(read_picture(tmp_path / "x"), GREY)
    assert is_dicom(whole[:132])
    assert is_dicom(bare[:132])
    for other in (b"", b"hello", b"\x08\0", encode(".png", GREY)[:132], b"BM" + bytes(130), bytes(132)):
        assert not is_dicom(other)
