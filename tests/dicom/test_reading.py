import re
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_files
from pydicom.pixels.processing import apply_modality_lut, apply_voi
from pydicom.uid import ImplicitVRLittleEndian

import hilum.dicom.reading
from hilum.dicom import pixel_data
from hilum.dicom.header import Tags, tags_of
from hilum.dicom.pixel_data import pixel_format, stored_values
from hilum.dicom.reading import dicom_to_gray8, dicom_to_gray16, header_of, plain_jpeg, read_dicom, render_dicom
from hilum.dicom.rendering import BLACK_BONES, has_black_bones
from hilum.errors import HilumError

RAMP8 = np.arange(256, dtype=np.uint8).reshape(16, 16)
STORED_WRONGLY = ["037e120a-24fa-4f9c-8813-111136e3c288", "095ce5a1-3928-4120-9f15-24162c7f27c7"]  # by the challenge
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
        ({"BitsAllocated": 7}, "8 or 16 bits a sample are expected"),
        ({"BitsAllocated": 32}, "8 or 16 bits a sample are expected"),
        ({"BitsStored": 9}, "more bits, are stored"),
        ({"Rows": 0}, "16 x 0 px"),
        ({"Rows": 60000, "Columns": 60000}, "at most"),
        ({"PhotometricInterpretation": "QUIXOTIC^ZEBULON"}, "are bones white"),
        ({"SamplesPerPixel": 4}, "4 samples a pixel"),
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
    assert tags_of(header_of(read_dicom(make_dicom(RAMP8, PatientAge=age)))).age_years == years


def test_only_code_words_leave_a_file(make_dicom, planted_name):
    assert tags_of(header_of(read_dicom(make_dicom(RAMP8)))) == Tags("F", 51, "PA", 0.143)
    odd = make_dicom(RAMP8, PatientSex=planted_name, ViewPosition=planted_name, PixelSpacing=["0", "0"])
    assert tags_of(header_of(read_dicom(odd))) == Tags(None, 51, None, None)


def test_real_radiographs_unlike_the_challenges_are_shown_with_white_bones(shared):
    pytest.importorskip("imagecodecs")
    files = sorted((shared / "dicom_edge_cases").glob("*.dcm"))
    assert len(files) == 10
    notes = []
    for path in files:
        dataset = read_dicom(path)
        rendered = render_dicom(dataset)
        picture = rendered.pixels
        assert picture.shape == (dataset.Rows, dataset.Columns)
        assert picture.std() > 25, path.name
        assert ((picture == 0) | (picture == 255)).mean() < 0.6, path.name
        deep = dicom_to_gray16(dataset)
        assert np.abs(deep / 257 - picture).max() < 0.51, path.name
        notes += [path.name] if rendered.note else []
        if path.name.startswith("chest"):
            assert has_black_bones(255 - picture), path.name
    # Tagged MONOCHROME1, stored with white bones: see `has_black_bones`.
    assert notes == ["chest_cr_monochrome1_8bit_jpeg_baseline.dcm"]


def test_no_radiograph_of_the_challenge_is_taken_for_turned_round(shared):
    """Were they MONOCHROME1 and stored accordingly, none that is right would be turned back."""
    files = sorted((shared / "rsna_sample").rglob("*.dcm"))
    assert len(files) == 764
    found = {path.stem for path in files[::8] if has_black_bones(dicom_to_gray8(read_dicom(path)))}
    assert found <= set(STORED_WRONGLY)


@pytest.mark.slow
def test_two_radiographs_of_the_challenge_are_stored_the_wrong_way_round(shared):
    files = sorted((shared / "rsna_sample").rglob("*.dcm"))
    assert [path.stem for path in files if has_black_bones(dicom_to_gray8(read_dicom(path)))] == STORED_WRONGLY


@pytest.mark.parametrize("said", [{"Columns": 60}, {"Rows": 30}, {"Rows": 16, "Columns": 32}])
def test_pixels_of_another_size_than_the_tags_say_are_no_picture(make_dicom, tmp_path, said):
    """Else it would be a sheared picture, or the first of several."""
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    path = tmp_path / "a.dcm"
    path.write_bytes(make_dicom(pixels, **said))
    with pytest.raises(HilumError, match="several pictures, or one of another size"):
        dicom_to_gray8(read_dicom(path))


def test_run_lengths_may_say_nothing_now_and_then():
    whole = b"\x80" * 4096 + b"\x03abcd"
    assert pixel_data._unpack_bits(whole, 4).tobytes() == b"abcd"
    with pytest.raises(HilumError, match="cut short or damaged"):
        pixel_data._unpack_bits(b"\x80" + whole, 4)


def test_padding_of_a_row_is_none_of_the_picture(make_dicom, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    path = tmp_path / "a.dcm"
    path.write_bytes(make_dicom(pixels, Rows=63))
    assert dicom_to_gray8(read_dicom(path)).shape == (63, 64)


# What pydicom's own files may be refused for. A new reason is looked at before it comes in here.
REASONS = [
    r"\d+ frames; one picture a file is expected",
    "a colour picture; a grey radiograph is expected",
    r"8 or 16 bits a sample are expected to be allocated \(0028,0100\), it says another number",
    r"no pixel data \(7FE0,0010\): cut short, or not a picture",
    "not a DICOM file",
    r"its pixel data cannot be decoded: cut short or damaged, 8130 bytes of 8192",
    r"the photometric interpretation \(0028,0004\) is missing or not known: are bones white\?",
    r"\(0028,0008\) is missing or no number",
    "the JPEG 2000 inside is 3722445056 x 1024 px, the tags say 256 x 1024",
]
PYDICOM_FILES = sorted({Path(path) for path in get_testdata_files() if Path(path).is_file()})


@pytest.mark.parametrize("path", PYDICOM_FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_each_test_file_of_pydicom_gives_a_picture_or_a_known_reason(path, monkeypatch):
    pytest.importorskip("imagecodecs")
    try:
        read_dicom(path)
    except HilumError as error:
        if str(error).startswith("no radiograph"):  # most of them: they show the decoders all the same
            monkeypatch.setattr(hilum.dicom.reading, "_check_kind", lambda header: None)
    reason = None
    try:
        dataset = read_dicom(path)
        shown = render_dicom(dataset)
    except HilumError as error:
        reason = str(error)
    if reason is not None:
        assert any(re.fullmatch(known, reason) for known in REASONS), reason
        return
    stretched = dataset.Columns * shown.scale_xy[0], dataset.Rows * shown.scale_xy[1]
    assert shown.pixels.shape[::-1] == pytest.approx(stretched)
    in_words = dataset["PixelData"].VR == "OW"
    pixels = pixel_format(header_of(dataset))
    ours = stored_values(dataset.PixelData, dataset.file_meta.TransferSyntaxUID, pixels, in_words=in_words)
    try:
        theirs = pydicom.dcmread(path, force=True).pixel_array
    except (RuntimeError, NotImplementedError, AttributeError):
        return  # pydicom has no decoder for it
    assert np.array_equal(ours.values()[ours.patterns], theirs)


def test_pydicom_ships_files_that_are_shown():
    assert len(PYDICOM_FILES) > 100


@pytest.mark.parametrize("high_bit", [11, 15])
def test_bits_outside_those_stored_are_no_part_of_the_value(make_dicom, high_bit):
    """Older files keep overlays there."""
    noise = np.random.default_rng(0).integers(0, 1 << 16, RAMP16.shape, dtype=np.uint16)
    outside = noise & 0xF000 if high_bit == 11 else noise & 0x000F
    values = (RAMP16 << (high_bit - 11) | outside).astype(np.uint16)
    shown = dicom_to_gray8(read_dicom(make_dicom(values, BitsStored=12, HighBit=high_bit)))
    assert np.array_equal(shown, dicom_to_gray8(read_dicom(make_dicom(RAMP16, BitsStored=12, HighBit=11))))


def test_signed_values_of_fewer_bits_keep_their_sign(make_dicom):
    values = np.linspace(-2048, 2047, 4096).astype(np.int16).reshape(64, 64)
    without_sign_extension = (values.view(np.uint16) & 0x0FFF).view(np.int16)
    picture = dicom_to_gray8(read_dicom(make_dicom(without_sign_extension, BitsStored=12, HighBit=11)))
    assert (np.diff(picture.ravel().astype(int)) >= 0).all()
    small = np.arange(-8, 8, dtype=np.int8).reshape(4, 4)
    picture = dicom_to_gray8(read_dicom(make_dicom(small, BitsStored=4, HighBit=3)))
    assert np.array_equal(picture.ravel(), np.arange(16) * 17)


@pytest.mark.parametrize(("kind", "dtype"), [("modality", np.uint16), ("voi", np.uint16), ("voi", np.int16)])
@pytest.mark.parametrize("explicit", [True, False])
def test_look_up_tables_agree_with_pydicom(make_dicom, kind, dtype, explicit):
    first, bits = (-300 if dtype == np.int16 else 100), (16 if kind == "modality" else 10)  # pydicom takes 8 or 16
    rng = np.random.default_rng(3)
    values = rng.integers(first - 50, first + 1100, (64, 64)).astype(dtype)
    content = with_table(make_dicom(values), kind, first, rng.permutation(1024).astype(np.uint16), bits, explicit)
    whole = pydicom.dcmread(pydicom.filebase.DicomBytesIO(content))
    if kind == "modality":
        theirs = apply_modality_lut(whole.pixel_array, whole).astype(float)
        low, high = np.percentile(theirs, [0.1, 99.9])
    else:
        theirs, low, high = apply_voi(whole.pixel_array, whole).astype(float), 0, 1023
    expected = np.clip((theirs - low) / (high - low), 0, 1) * 255
    assert np.abs(dicom_to_gray8(read_dicom(content)) - expected).max() <= 0.501


def with_table(content, kind, first, entries, bits, explicit=True):
    """The same file with a look-up table in it."""
    dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(content))
    item = pydicom.Dataset()
    signed = dataset.PixelRepresentation == 1
    item.add_new(0x00283002, "SS" if signed else "US", [len(entries) % 65536, first, bits])
    item.add_new(0x00283006, "OW", entries.tobytes())
    if kind == "modality":
        item.ModalityLUTType = "US"
        dataset.ModalityLUTSequence = [item]
    else:
        dataset.VOILUTSequence = [item]
    if not explicit:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    buffer = pydicom.filebase.DicomBytesIO()
    pydicom.dcmwrite(buffer, dataset)
    return buffer.getvalue()


def test_a_table_of_zero_entries_has_65536(make_dicom):
    entries = np.arange(65536, dtype=np.uint16)[::-1]
    values = np.linspace(0, 65535, 4096).astype(np.uint16).reshape(64, 64)
    shown = dicom_to_gray16(read_dicom(with_table(make_dicom(values), "voi", 0, entries, 16)))
    assert np.abs(shown.astype(int) - (65535 - values.astype(int))).max() == 0


def test_views_are_counted_tables_first(make_dicom):
    window = {"WindowCenter": ["1000", "3000"], "WindowWidth": ["1000", "500"]}
    plain = make_dicom(RAMP16, **window)
    second = make_dicom(RAMP16, WindowCenter="3000", WindowWidth="500")
    assert np.array_equal(dicom_to_gray8(read_dicom(plain), window=2), dicom_to_gray8(read_dicom(second)))
    tabled = with_table(plain, "voi", 0, np.arange(4096, dtype=np.uint16), 12)
    assert np.array_equal(dicom_to_gray8(read_dicom(tabled), window=3), dicom_to_gray8(read_dicom(second)))
    for content, number, offered in [(plain, 3, 2), (tabled, 4, 3), (plain, 0, 2)]:
        with pytest.raises(HilumError, match=f"window {number} was asked for, the file has {offered}"):
            dicom_to_gray8(read_dicom(content), window=number)
    none = read_dicom(make_dicom(RAMP16))  # a file that offers no view is shown as it is
    assert np.array_equal(dicom_to_gray8(none, window=2), dicom_to_gray8(none, window=1))


def test_padding_and_a_border_of_one_value_do_not_count(make_dicom):
    plain = make_dicom(RAMP16 + 20000)
    framed = np.pad(RAMP16 + 20000, ((9, 4), (0, 17)))
    inside = dicom_to_gray8(read_dicom(make_dicom(framed)))[9:-4, :-17]
    assert np.array_equal(inside, dicom_to_gray8(read_dicom(plain)))
    holes = (RAMP16 + 20000).astype(np.uint16)
    holes[10:20, 10:20] = 7
    shown = dicom_to_gray8(read_dicom(make_dicom(holes, PixelPaddingValue=7)))
    assert abs(int(shown[30, 30]) - int(dicom_to_gray8(read_dicom(plain))[30, 30])) <= 2


def test_a_window_made_for_other_values_gives_way_to_percentiles(make_dicom):
    for centre, width in [("40000", "60000"), ("-500", "100"), ("60000", "100")]:
        content = make_dicom(RAMP16 // 16, WindowCenter=centre, WindowWidth=width)
        assert np.array_equal(dicom_to_gray8(read_dicom(content)), dicom_to_gray8(read_dicom(make_dicom(RAMP16 // 16))))


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("shape", ["planar", "interleaved", "ybr"])
def test_colour_channels_of_a_grey_picture_are_made_grey(make_dicom, shape, turned):
    channels = np.dstack([RAMP8] * 3)
    if shape == "ybr":
        channels[:, :, 1:] = 128
    pixels = np.moveaxis(channels, 2, 0).copy().reshape(16, 16, 3) if shape == "planar" else channels
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL" if shape == "ybr" else "RGB"}
    content = make_dicom(pixels, PlanarConfiguration=int(shape == "planar"), **tags)
    assert np.array_equal(dicom_to_gray8(read_dicom(content)), RAMP8)
    if turned:
        pixels[3, 3] = [250, 10, 10]
        with pytest.raises(HilumError, match="colour"):
            dicom_to_gray8(read_dicom(make_dicom(pixels, PlanarConfiguration=0, **tags)))


def test_the_tag_is_followed_but_for_a_chest_that_would_have_black_bones(make_dicom, sample_source):
    """Phantoms of a chest: stored as the tag says, against it, and against two tags that agree."""
    for path in sorted((sample_source / "stage_2_train_images").iterdir())[:4]:
        chest = dicom_to_gray8(read_dicom(path))
        low_is_white = {"PhotometricInterpretation": "MONOCHROME1"}
        right = render_dicom(read_dicom(make_dicom(255 - chest, **low_is_white)))
        assert (right.note, right.pixels.tolist()) == (None, chest.tolist())
        wrong = render_dicom(read_dicom(make_dicom(chest, **low_is_white)))
        assert wrong.pixels.tolist() in (chest.tolist(), (255 - chest).tolist())
        assert (wrong.note is not None) == has_black_bones(255 - chest) == (wrong.pixels.tolist() == chest.tolist())
        sure = render_dicom(read_dicom(make_dicom(chest, PresentationLUTShape="INVERSE", **low_is_white)))
        noted = BLACK_BONES if has_black_bones(255 - chest) else None
        assert (sure.note, sure.pixels.tolist()) == (noted, (255 - chest).tolist())
        untagged = render_dicom(read_dicom(make_dicom(255 - chest)))
        assert (untagged.note, untagged.pixels.tolist()) == (noted, (255 - chest).tolist())
