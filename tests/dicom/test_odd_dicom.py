"""Files that break a rule, or use one that few do, and are radiographs all the same; and those that are none."""

import gzip
import time
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.uid import UID, ExplicitVRBigEndian

from hilum.converters.picture import Job, convert_picture
from hilum.converters.rendering import AS_IS, Rendering
from hilum.converters.source import SourceFile
from hilum.datasets.pictures import read_radiograph
from hilum.datasets.yolo import yolo_to_boxes
from hilum.dicom.plain import read_plain
from hilum.dicom.reading import dicom_to_gray8, plain_jpeg, read_dicom, render_dicom
from hilum.dicom.rendering import BLACK_BONES, has_black_bones
from hilum.errors import HilumError
from hilum.predict import Predictor
from hilum.result import no_detections

STORAGE = "1.2.840.10008.5.1.4.1.1."
DELIMITER = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
PASSED_OVER = "a look-up table without data was passed over: "


@pytest.fixture
def converted(tmp_path):
    """Convert one file's content; gives its record and the pixels as written, or None."""

    def one(content, rendering=AS_IS, boxes=()):
        (tmp_path / "x.dcm").write_bytes(content)
        job = Job(SourceFile("x.dcm", str(tmp_path / "x.dcm")), "x", str(tmp_path), str(tmp_path), boxes)
        picture = convert_picture(job, rendering)
        return picture, cv2.imread(str(tmp_path / picture.file_name), cv2.IMREAD_UNCHANGED)

    return one


def changed(content, change, **how):
    """The file with `change` made to its data set."""
    dataset = pydicom.dcmread(DicomBytesIO(content))
    change(dataset)
    buffer = DicomBytesIO()
    pydicom.dcmwrite(buffer, dataset, **how)
    return buffer.getvalue()


def with_frame(content, syntax, frame):
    def change(dataset):
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].is_undefined_length = True

    return changed(content, change)


def reason_of(content):
    with pytest.raises(HilumError) as caught:
        render_dicom(read_dicom(content))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize("lacking", ["items", "both", "data", "descriptor"])
def test_tables_without_data_count_as_absent(make_dicom, make_picture, keyword, lacking):
    def change(dataset):
        item = pydicom.Dataset()
        item.add_new(0x00283002, "US", None if lacking in {"both", "descriptor"} else [4, 0, 16])
        item.add_new(0x00283006, "OW", b"\0\1" * 4 if lacking == "descriptor" else b"")
        setattr(dataset, keyword, [] if lacking == "items" else [item])

    plain = make_dicom(make_picture(1), WindowCenter="100", WindowWidth="100")
    shown = render_dicom(read_dicom(changed(plain, change)))
    assert np.array_equal(shown.pixels, dicom_to_gray8(read_dicom(plain)))
    assert shown.note == PASSED_OVER + ("(0028,3010)" if keyword.startswith("VOI") else "(0028,3000)")


def test_a_whole_table_beside_an_empty_one_is_followed(make_dicom, make_picture):
    def change(dataset):
        whole = pydicom.Dataset()
        whole.add_new(0x00283002, "US", [256, 0, 8])
        whole.add_new(0x00283006, "OW", np.arange(256, dtype=np.uint16)[::-1].tobytes())
        dataset.VOILUTSequence = [pydicom.Dataset(), whole]

    pixels = make_picture(1)
    shown = render_dicom(read_dicom(changed(make_dicom(pixels), change)))
    assert np.array_equal(shown.pixels, 255 - pixels)
    assert shown.note == PASSED_OVER + "(0028,3010)"


@pytest.mark.parametrize("compressed", [True, False])
def test_what_stands_behind_the_pixels_is_not_looked_at(make_dicom, make_picture, make_jpeg, compressed):
    pixels = make_picture(1)
    content = make_dicom(pixels, jpeg=make_jpeg(pixels) if compressed else None)
    shown = dicom_to_gray8(read_dicom(content))
    other = make_dicom(255 - pixels)
    second = other[other.index(b"\xe0\x7f\x10\x00") :]
    padding = b"\xfc\xff\xfc\xffOB\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00"
    for behind in (bytes(2_000_000), b"\xff" * 2_000_000, second, padding, b"\x09\x00\x01\x00SQ" * 300_000):
        began = time.process_time()
        assert np.array_equal(dicom_to_gray8(read_dicom(content + behind)), shown)
        assert time.process_time() - began < 1


@pytest.mark.parametrize("vr", ["OW", "OB"])
@pytest.mark.parametrize("shape", [(48, 64), (7, 9)])
def test_bytes_of_a_big_endian_file_are_turned_round_in_words_alone(make_dicom, make_picture, vr, shape):
    pixels = make_picture(1)[: shape[0], : shape[1]]

    def change(dataset):
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        data = np.frombuffer(pixels.tobytes() + b"\0" * (pixels.size % 2), "<u2")
        dataset.PixelData = (data.byteswap() if vr == "OW" else data).tobytes()
        dataset["PixelData"].VR = vr

    content = changed(make_dicom(np.ascontiguousarray(pixels)), change, implicit_vr=False, little_endian=False)
    assert np.array_equal(dicom_to_gray8(read_dicom(content)), pixels)


def test_whole_items_without_a_delimiter_are_read(make_dicom, make_picture, make_jpeg):
    pixels = make_picture(1)
    content = make_dicom(pixels, jpeg=make_jpeg(pixels))
    assert content.endswith(DELIMITER)
    for behind in (b"", bytes(1000), b"\xff" * 3):
        open_ended = content[: -len(DELIMITER)] + behind
        assert read_plain(open_ended) is None
        assert plain_jpeg(read_dicom(open_ended)) == plain_jpeg(read_dicom(content))
    assert "cut short" in reason_of(content[:-40])


def test_empty_pixel_data_are_told_as_that(make_dicom, make_picture):
    def empty(dataset):
        dataset.PixelData = b""

    assert reason_of(changed(make_dicom(make_picture(1)), empty)) == "its pixel data (7FE0,0010) is empty"


@pytest.mark.parametrize(
    ("tags", "scale_xy"),
    [
        ({"PixelSpacing": ["0.2", "0.4"]}, (2, 1)),
        ({"PixelSpacing": ["0.3", "0.2"]}, (1, 1.5)),
        ({"PixelSpacing": None, "ImagerPixelSpacing": ["0.1", "0.125"]}, (1.25, 1)),
        ({"PixelSpacing": None, "PixelAspectRatio": ["1", "2"]}, (2, 1)),
        ({"PixelSpacing": ["0.2", "0.2"], "ImagerPixelSpacing": ["0.1", "0.2"], "PixelAspectRatio": ["1", "2"]}, None),
        ({"PixelSpacing": ["0.143", "0.1431"]}, None),
        ({"PixelSpacing": ["0", "0"]}, None),
    ],
)
def test_pixels_that_are_not_square_become_square_and_boxes_follow(
    make_dicom, make_jpeg, converted, tmp_path, tags, scale_xy
):
    pixels = np.zeros((120, 80), np.uint8)
    pixels[40:80, 20:60] = 250
    box = (20.0, 40.0, 40.0, 40.0)
    wide, high = scale_xy or (1, 1)
    size_wh = (round(80 * wide), round(120 * high))
    for jpeg, rendering in [
        (None, Rendering()),
        (None, Rendering(longer_side_px=64)),
        (make_jpeg(pixels), Rendering()),
        (make_jpeg(pixels), Rendering(longer_side_px=60)),
    ]:
        picture, written = converted(make_dicom(pixels, jpeg=jpeg, **tags), rendering, (box,))
        assert picture.reason is None
        assert picture.source_size_wh == (80, 120)
        assert picture.size_wh == written.shape[::-1]
        reduced = min(1, (rendering.longer_side_px or 1000) / max(size_wh))
        assert np.allclose(picture.size_wh, np.multiply(size_wh, reduced), atol=0.5)
        assert picture.untouched == (jpeg is not None and scale_xy is None and reduced == 1)
        assert (picture.note is None) == (scale_xy is None)
        ((x, y, width, height),) = yolo_to_boxes((tmp_path / "x.txt").read_text(), picture.size_wh)
        rows, columns = np.mgrid[: written.shape[0], : written.shape[1]] + 0.5
        middle = [float((axis * written).sum() / written.sum()) for axis in (columns, rows)]
        assert np.allclose(middle, [x + width / 2, y + height / 2], atol=0.6)
    spacing = tags.get("PixelSpacing")
    if scale_xy and spacing:  # of the written picture, for the dataset's table: rows and columns alike
        assert float(spacing[0]) / high == pytest.approx(float(spacing[1]) / wide)


def test_a_ratio_that_cannot_be_is_not_followed(make_dicom, make_picture):
    pixels = make_picture(1)
    shown = render_dicom(read_dicom(make_dicom(pixels, PixelSpacing=["0.143", "14.3"])))
    assert np.array_equal(shown.pixels, pixels)
    assert shown.note == "its pixels are 100 times as wide as high, it says: that was not followed"


def test_boxes_are_found_in_the_pixels_of_the_file(make_dicom, tmp_path):
    class Bright:
        """A backend without a network: a box around what is bright."""

        def predict_batch(self, images):
            found = no_detections()
            rows, columns = np.nonzero(images[0] > 128)
            found.xyxy = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], float)
            found.confidence, found.class_id = np.ones(1), np.zeros(1, int)
            return [found]

    pixels = np.zeros((120, 80), np.uint8)
    pixels[40:80, 20:60] = 250
    for spacing, scale_xy in ((["0.2", "0.4"], (2, 1)), (["0.2", "0.2"], (1, 1)), (["0.4", "0.2"], (1, 2))):
        path = tmp_path / "x.dcm"
        path.write_bytes(make_dicom(pixels, PixelSpacing=spacing))
        (result,) = Predictor(Bright(), 0.5).predict(path)
        assert result.detections.xyxy[0] == pytest.approx([20, 40, 60, 80], abs=0.5)
        radiograph = read_radiograph(path)
        assert radiograph.scale_xy == scale_xy
        assert radiograph.pixels.shape == (120 * scale_xy[1], 80 * scale_xy[0])


def test_black_bones_that_no_tag_tells_of_are_noted_and_left(make_dicom, make_jpeg, sample_source, converted):
    paths = sorted((sample_source / "stage_2_train_images").iterdir())
    chests = [dicom_to_gray8(read_dicom(path)) for path in paths[:6]]
    chest = next(chest for chest in chests if has_black_bones(255 - chest))
    for content, rendering in [
        (make_dicom(255 - chest), Rendering()),
        (make_dicom(255 - chest, jpeg=make_jpeg(255 - chest)), Rendering(format="png")),
        (make_dicom(255 - chest, jpeg=make_jpeg(255 - chest)), Rendering(longer_side_px=chest.shape[0] // 4)),
    ]:
        picture, written = converted(content, rendering)
        assert picture.note == BLACK_BONES
        assert has_black_bones(written)
    assert converted(make_dicom(chest))[0].note is None


def test_high_throughput_jpeg_2000_is_decoded(make_dicom, make_picture):
    imagecodecs = pytest.importorskip("imagecodecs")
    pixels = (make_picture(1).astype(np.uint16) << 4) + 3
    plain = make_dicom(pixels, BitsStored=12, HighBit=11)
    for number in (201, 202, 203):
        frame = imagecodecs.htj2k_encode(pixels, reversible=True)
        content = with_frame(plain, f"1.2.840.10008.1.2.4.{number}", frame)
        assert np.array_equal(dicom_to_gray8(read_dicom(content)), dicom_to_gray8(read_dicom(plain)))
        assert "the tags say" in reason_of(with_frame(make_dicom(pixels[:40]), f"1.2.840.10008.1.2.4.{number}", frame))


@pytest.mark.parametrize(
    ("syntax", "named"),
    [
        ("1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.100, MPEG2 Main Profile / Main Level"),
        ("1.2.826.0.1.3680043.9", "1.2.826.0.1.3680043.9"),
        ("QUIXOTIC^ZEBULON", "it is no UID"),
    ],
)
def test_a_transfer_syntax_that_is_refused_is_named(make_dicom, make_picture, syntax, named):
    content = with_frame(make_dicom(make_picture(1)), "1.2.840.10008.1.2.4.90", b"abcd")
    with pydicom.config.disable_value_validation():
        dataset = read_dicom(content)
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
        with pytest.raises(HilumError) as caught:
            render_dicom(dataset)
    assert str(caught.value) == f"its transfer syntax (0002,0010) is not supported: {named}"


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_jpeg_ls_that_is_cut_short_is_seen_at_once(make_dicom, make_picture, keep):
    imagecodecs = pytest.importorskip("imagecodecs")
    pixels = np.tile(make_picture(1), (20, 20))
    frame = imagecodecs.jpegls_encode(pixels)
    syntax = "1.2.840.10008.1.2.4.80"
    whole = with_frame(make_dicom(pixels), syntax, frame + bytes(6))  # padding behind the end does not matter
    assert np.array_equal(dicom_to_gray8(read_dicom(whole)), pixels)
    began = time.process_time()
    for end in (b"", b"\xff\xd9"):
        content = with_frame(make_dicom(pixels), syntax, frame[: int(len(frame) * keep)] + end)
        assert "cut short" in reason_of(content) or "cannot be decoded" in reason_of(content)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        ("2", "CT Image"),
        ("4", "MR Image"),
        ("128", "Positron Emission Tomography Image"),
        ("20", "Nuclear Medicine Image"),
        ("6.1", "Ultrasound Image"),
        ("66.4", "Segmentation"),
        ("481.2", "RT Dose"),
        ("481.1", "RT Image"),
        ("88.11", "Basic Text SR"),
        ("11.1", "Grayscale Softcopy Presentation State"),
        ("104.1", "Encapsulated PDF"),
        ("77.1.4", "VL Photographic Image"),
        ("999.9", "another"),
    ],
)
def test_what_is_no_radiograph_by_its_class_is_left_out(make_dicom, make_picture, make_jpeg, number, kind):
    pixels, sop_class = make_picture(1), STORAGE + number
    with_picture = make_dicom(pixels, jpeg=make_jpeg(pixels), SOPClassUID=sop_class, Modality="DX")
    for content in (with_picture, make_dicom(None, SOPClassUID=sop_class)):
        assert read_plain(content) is None
        assert reason_of(content) == f"no radiograph: its SOP class (0008,0016) is {kind}"


@pytest.mark.parametrize("sop_class", [STORAGE + "7", STORAGE + "7.2", "1.2.826.0.1.3680043.9", ""])
def test_captures_and_private_objects_are_what_their_modality_says(make_dicom, make_picture, make_jpeg, sop_class):
    pixels = make_picture(1)
    for modality in ("CT", "MR", "PT", "NM", "US", "SEG", "RTDOSE", "SR", "PR", "DOC", "XC"):
        content = make_dicom(pixels, jpeg=make_jpeg(pixels), SOPClassUID=sop_class, Modality=modality)
        assert read_plain(content) is None
        assert reason_of(content) == f"no radiograph: its modality (0008,0060) is {modality}"
    for modality in ("CR", "DX", "RG", "OT", "RF", "XA", "", "DR", "Quixotic^Zebulon"):
        content = make_dicom(pixels, jpeg=make_jpeg(pixels), SOPClassUID=sop_class, Modality=modality)
        assert read_plain(content) is not None
        assert plain_jpeg(read_dicom(content)) is not None


@pytest.mark.parametrize("number", ["1", "1.1", "1.1.1", "1.2", "1.3", "12.1", "12.2", "7", "7.2", "7.3"])
def test_projection_radiographs_and_captures_stay(make_dicom, make_picture, number):
    pixels = make_picture(1)
    assert np.array_equal(dicom_to_gray8(read_dicom(make_dicom(pixels, SOPClassUID=STORAGE + number))), pixels)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("CT_small.dcm", "SOP class (0008,0016) is CT Image"),
        ("MR_small.dcm", "SOP class (0008,0016) is MR Image"),
        ("rtdose.dcm", "SOP class (0008,0016) is RT Dose"),
        ("rtplan.dcm", "SOP class (0008,0016) is RT Plan"),
        ("test-SR.dcm", "SOP class (0008,0016) is Comprehensive SR"),
        ("JPEG2000.dcm", "modality (0008,0060) is NM"),  # a secondary capture
    ],
)
def test_files_of_pydicom_that_are_no_radiographs_are_left_out(name, kind):
    assert reason_of(Path(get_testdata_file(name)).read_bytes()) == f"no radiograph: its {kind}"


def test_no_reason_bears_a_name_of_pythons(make_dicom, make_picture, converted, monkeypatch):
    def fails(*args, **kwargs):
        raise KeyError("Quixotic^Zebulon")

    content = make_dicom(make_picture(1))
    monkeypatch.setattr("hilum.dicom.reading.render", fails)
    assert reason_of(content) == "its pixel data cannot be decoded"
    monkeypatch.setattr("hilum.dicom.reading.render_dicom", fails)
    picture, _ = converted(content)
    assert picture.reason == "it cannot be converted: damaged, or of a kind that is not known"


def test_files_that_were_read_wrongly_or_not_at_all(shared):
    """What each of the collected files now gives: a note, or the reason against it; pixels where there is another."""
    pytest.importorskip("imagecodecs")
    folder = shared / "faults" / "dicom"
    shown, reasons = {}, {}
    for path in sorted(folder.iterdir()):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        number = path.name.split("_")[0]
        try:
            shown[number] = render_dicom(read_dicom(content))
        except HilumError as error:
            reasons[number] = str(error)
    assert reasons == {"19": "its pixel data (7FE0,0010) is empty"}
    right = shown["27"].pixels  # the same chest in all of them
    assert right.shape == (200, 208)
    for number, rendered in shown.items():
        assert rendered.pixels.shape == right.shape
        expected = 255 - right if number == "25" else right
        assert np.corrcoef(rendered.pixels.ravel(), expected.ravel())[0, 1] > 0.99, number
    assert {number: rendered.note for number, rendered in shown.items() if rendered.note} == {
        "01": PASSED_OVER + "(0028,3010)",
        "03": PASSED_OVER + "(0028,3010)",
        "20": "its pixels are 2 times as wide as high: they were made square",
        "25": BLACK_BONES,
    }
