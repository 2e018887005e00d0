"""Findings as DICOM objects: of whom they are, what refers to what, and that they are the same each time."""

import builtins
import io
import logging
import random
import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pydicom
import pytest
from pydicom.uid import ComputedRadiographyImageStorage, SecondaryCaptureImageStorage

from hilum.errors import HilumError
from hilum.findings.finding import Algorithm
from hilum.findings.objects import PREAMBLE, to_dicom
from hilum.findings.source import read_source

pytest.importorskip("highdicom", reason="highdicom is not installed: pip install 'hilum[dicom]'")
ALGORITHM = Algorithm("sample-unet", "0.1.0", "0123456789abcdef", 0.35)
BOX, OTHER = (8.25, 4, 24, 40.5, 0.873), (30, 10, 60, 30, 0.51)
UID_TAGS = ("SOPInstanceUID", "SeriesInstanceUID", "TrackingUID", "UID")


def bytes_of(dataset: pydicom.Dataset) -> bytes:
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def items(dataset: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    yield dataset
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from items(item)


def flat(made: dict[str, list[pydicom.Dataset]]) -> list[pydicom.Dataset]:
    return [each for datasets in made.values() for each in datasets]


def uids(dataset: pydicom.Dataset) -> set[str]:
    return {str(item[tag].value) for item in items(dataset) for tag in UID_TAGS if tag in item}


def test_made_again_they_are_the_same_to_the_byte(make_chest, make_result, objects_of) -> None:
    sources, results = [make_chest()], [make_result(BOX, OTHER)]
    first, again = (list(map(bytes_of, flat(objects_of(sources, results)))) for _ in range(2))
    assert first == again
    assert all(each.startswith(PREAMBLE) for each in first)


def test_uids_tell_pictures_runs_operating_points_and_kinds_apart(make_chest, make_result, objects_of) -> None:
    result = make_result(BOX, OTHER)
    chest, later = make_chest(), make_chest(SOPInstanceUID="2.25.10")
    others = replace(ALGORITHM, digest="f" * 16), replace(ALGORITHM, confidence=0.36)
    made = [
        *flat(objects_of([chest], [result])),
        *flat(objects_of([later], [result])),
        *(each for algorithm in others for each in flat(objects_of([chest], [result], algorithm))),
    ]
    instances = [str(each.SOPInstanceUID) for each in made]
    assert len(set(instances)) == 12
    assert all(pydicom.uid.UID(uid).is_valid and uid.startswith("2.25.") for uid in instances)
    assert len({str(each.SeriesInstanceUID) for each in made}) == 9  # two pictures of a study share three series
    assert all(each.file_meta.MediaStorageSOPInstanceUID == each.SOPInstanceUID for each in made)


def test_only_the_times_differ_from_those_of_another_day(make_chest, make_result, objects_of) -> None:
    sources, results = [make_chest()], [make_result(BOX)]
    later = flat(objects_of(sources, results, at=datetime(2027, 1, 2, tzinfo=UTC)))
    for one, other in zip(flat(objects_of(sources, results)), later, strict=True):
        differ = {
            element.keyword
            for before, after in zip(items(one), items(other), strict=True)
            for element in before
            if element.VR != "SQ" and element != after[element.tag]
        }
        assert "ContentDate" in differ or "PresentationCreationDate" in differ
        assert all(keyword.endswith(("Date", "Time")) or "OfSecondaryCapture" in keyword for keyword in differ)


def test_a_box_is_the_same_finding_in_the_report_and_over_the_picture(make_chest, make_result, objects_of) -> None:
    made = objects_of([make_chest()], [make_result(BOX, OTHER)])
    drawn = {str(item.TrackingUID) for item in items(made["pr"][0]) if "TrackingUID" in item}
    assert len(drawn) == 2
    assert drawn < {str(item.UID) for item in items(made["sr"][0]) if "UID" in item}


def test_patient_and_study_are_those_of_the_source_and_nothing_else_of_it_comes_along(
    make_chest, make_result, objects_of
) -> None:
    said = {
        "PatientID": "ID 7",
        "PatientBirthDate": "19600102",
        "AccessionNumber": "ACC1",
        "StudyID": "S1",
        "StudyDate": "20260101",
        "StudyTime": "101500",
        "StudyDescription": "Chest",
        "ReferringPhysicianName": "Doe^Jo",
    }
    secret = {"InstitutionName": "Nowhere General", "PatientAddress": "12 Nowhere Lane", "OperatorsName": "Op^Erator"}
    for made in flat(objects_of([make_chest(**said, **secret)], [make_result(BOX)])):
        assert {keyword: str(made[keyword].value) for keyword in said} == said
        assert (made.PatientName, made.PatientSex, made.PatientAge) == ("Quixotic^Zebulon", "F", "051Y")
        assert made.StudyInstanceUID == "2.25.7"
        assert not any(value.encode() in bytes_of(made) for value in secret.values())
        assert made.Manufacturer == "hilum"
        assert "hilum" in made.SeriesDescription
        assert "not for diagnosis" in made.SeriesDescription
    assert read_source(make_chest(**said)).notes == ("PatientAge mended",)


BAD = {
    "PatientName": "\x1b[2J" + "Q" * 200,
    "PatientID": "1" * 80,
    "PatientBirthDate": "sometime",
    "PatientSex": "?",
    "PatientAge": "old",
    "PatientWeight": "1" * 20,
    "AccessionNumber": "A\\B",
    "StudyID": "1" * 17,
    "StudyDate": "20261332",
    "StudyTime": "noon",
    "StudyDescription": "x" * 65,
    "ReferringPhysicianName": "^" * 9,
    "StudyInstanceUID": "1.2.x",
    "SeriesInstanceUID": "none",
    "PatientOrientation": ["A", "B", "C"],
}


@pytest.mark.parametrize("without", [False, True])
def test_what_dicom_does_not_allow_is_mended_or_left_out_and_said(
    make_chest, make_result, objects_of, *, without: bool
) -> None:
    source = make_chest(**dict.fromkeys(BAD) if without else BAD)
    notes = read_source(source).notes
    assert {note.split()[0] for note in notes} >= {"StudyInstanceUID", "SeriesInstanceUID"}
    assert without or {note.split()[0] for note in notes} == set(BAD) - {"PatientOrientation"}
    assert not any(value in note for note in notes for value in BAD.values() if isinstance(value, str))
    for made in flat(objects_of([source], [make_result(BOX)])):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            again = pydicom.dcmread(io.BytesIO(bytes_of(made)))
            for item in items(again):
                for element in item:
                    pydicom.dataelem.DataElement(element.tag, element.VR, element.value, pydicom.config.RAISE)
        assert again.PatientID == ""
        assert pydicom.uid.UID(again.StudyInstanceUID).is_valid


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_uids_with_leading_zeros_stay_so_that_results_lie_in_the_study(make_chest, make_result, objects_of) -> None:
    uids = {f"{of}InstanceUID": f"1.2.392.{place}.012345.1" for place, of in enumerate(("Study", "Series", "SOP"))}
    source = make_chest(**uids)
    assert not [note for note in read_source(source).notes if "UID" in note]
    for made in flat(objects_of([source], [make_result(BOX)])):
        again = pydicom.dcmread(io.BytesIO(bytes_of(made)))
        assert again.StudyInstanceUID == uids["StudyInstanceUID"]
        referred = {str(item.ReferencedSOPInstanceUID) for item in items(again) if "ReferencedSOPInstanceUID" in item}
        assert referred <= {uids["SOPInstanceUID"]}
    (report,) = objects_of([source], [make_result(BOX)])["sr"]
    assert uids["SOPInstanceUID"] in str(report)


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize("vr", ["UN", "US", "SQ", "OB"])
def test_a_value_of_another_kind_than_its_tag_has_does_no_harm(make_chest, make_result, objects_of, vr: str) -> None:
    dataset = pydicom.dcmread(io.BytesIO(make_chest()))
    value = {"UN": b"\0\1\2\3", "US": 7, "SQ": [pydicom.Dataset()], "OB": b"\0\0"}[vr]
    for tag in (0x00100010, 0x00100020, 0x00080050, 0x00081030, 0x00101010):
        dataset[tag] = pydicom.DataElement(tag, vr, value)
    for made in flat(objects_of([bytes_of(dataset)], [make_result(BOX)])):
        assert not made.AccessionNumber or made.AccessionNumber.isascii()


def test_names_in_other_scripts_stay_as_they_are(make_chest, make_result, objects_of) -> None:
    source = make_chest(SpecificCharacterSet="ISO_IR 100", PatientName="M\u00fcller^Eva", PatientID="\u00e4")
    for made in flat(objects_of([source], [make_result(BOX)])):
        again = pydicom.dcmread(io.BytesIO(bytes_of(made)))
        assert (again.PatientName, again.PatientID) == ("M\u00fcller^Eva", "\u00e4")
        assert again.SpecificCharacterSet == "ISO_IR 192"


@pytest.mark.parametrize("uid", [b"\0" * 6, b"1..2.3", b"nobody"])
def test_a_picture_that_no_object_could_refer_to_is_refused(make_chest, uid: bytes) -> None:
    source = make_chest()
    before, between, after = source.split(b"2.25.9")
    assert read_source(before + b"2.25.9" + between + uid + after).sop_instance_uid == "2.25.9"  # of the file's own
    with pytest.raises(HilumError, match=r"\(0008,0018\) is missing or invalid"):
        read_source(source.replace(b"2.25.9", uid))


@pytest.mark.parametrize("source", [b"", b"nothing", b"\x89PNG\r\n\x1a\n" + bytes(200)])
def test_what_is_no_radiograph_is_refused(source: bytes) -> None:
    with pytest.raises(HilumError):
        read_source(source)


@pytest.mark.parametrize("sop_class", ["1.2.3.4.5", SecondaryCaptureImageStorage, ComputedRadiographyImageStorage])
def test_references_have_the_class_of_the_picture_also_a_private_one(
    make_chest, make_result, objects_of, sop_class: str
) -> None:
    for made in flat(objects_of([make_chest(SOPClassUID=sop_class)], [make_result(BOX)])):
        referred = [item for item in items(made) if "ReferencedSOPInstanceUID" in item]
        assert referred
        assert {item.ReferencedSOPInstanceUID for item in referred} == {"2.25.9"}
        assert {item.ReferencedSOPClassUID for item in referred} == {sop_class}


def test_a_study_has_one_report_and_a_picture_one_overlay_and_one_capture(make_chest, make_result, objects_of) -> None:
    sources = [
        make_chest(SOPInstanceUID="2.25.30"),
        make_chest(SOPInstanceUID="2.25.20", StudyInstanceUID="2.25.70"),
        make_chest(SOPInstanceUID="2.25.10"),
        make_chest(SOPInstanceUID="2.25.10"),  # a copy
        make_chest(SOPInstanceUID="2.25.40"),
    ]
    results = [make_result(BOX), make_result(), make_result(BOX, OTHER), make_result(), make_result(error="cut short")]
    made = list(to_dicom([read_source(each) for each in sources], results, ALGORITHM))
    assert [(each.kind, each.positions) for each in made] == [
        ("sr", (2, 0)),
        ("pr", (2,)),
        ("pr", (0,)),
        ("sc", (2,)),
        ("sc", (0,)),
        ("sr", (1,)),
        ("pr", (1,)),
        ("sc", (1,)),
    ]
    evidence = made[0].dataset.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert [each.ReferencedSOPInstanceUID for each in evidence.ReferencedSOPSequence] == ["2.25.10", "2.25.30"]
    del sources[3], results[3]
    backwards = list(to_dicom([read_source(each) for each in sources[::-1]], results[::-1], ALGORITHM, ["sr"]))
    assert {uid for each in backwards for uid in uids(each.dataset)} == {
        uid for each in made if each.kind == "sr" for uid in uids(each.dataset)
    }


@pytest.mark.parametrize(
    ("tags", "kept"),
    [
        ({"PatientID": ["a", "b"]}, True),
        ({"PatientID": ["x" * 66, "y" * 66]}, False),  # longer than any may be, so both are left out
        ({"PatientID": ["", ""], "PatientName": ["Alpha^A", "Beta^B"]}, True),
        ({"PatientID": ["", ""], "IssuerOfPatientID": ["here", "there"]}, True),
        ({"PatientID": ["", ""], "PatientName": ["A" * 64 + "x", "A" * 64 + "y"]}, False),
    ],
)
def test_nobodys_findings_go_into_the_report_of_another(
    make_chest, make_result, objects_of, tags: dict[str, list[str]], *, kept: bool
) -> None:
    one, other = ({keyword: values[at] for keyword, values in tags.items()} for at in (0, 1))
    sources = [make_chest(**one), make_chest(**other, SOPInstanceUID="2.25.10")]
    sources += [make_chest(**one, SOPInstanceUID="2.25.11")]
    reports = objects_of(sources, [make_result(BOX), make_result(), make_result()], kinds=("sr",))["sr"]
    told = [
        {item.ReferencedSOPInstanceUID for item in items(each) if "ReferencedSOPInstanceUID" in item}
        for each in reports
    ]
    assert told == [{"2.25.9", "2.25.11"}, {"2.25.10"}]
    for keyword, values in tags.items():
        assert not kept or [report.get(keyword) for report in reports] == values
    assert len({report.SeriesInstanceUID for report in reports}) == 2


def test_patients_of_one_id_have_a_report_each(make_chest, make_result, objects_of) -> None:
    sources = [make_chest(PatientID="a"), make_chest(PatientID="a", PatientName="Beta^B", SOPInstanceUID="2.25.10")]
    reports = objects_of(sources, [make_result(), make_result()], kinds=("sr",))["sr"]
    assert [report.PatientName for report in reports] == ["Quixotic^Zebulon", "Beta^B"]


def test_there_is_no_object_of_a_picture_that_could_not_be_read(make_chest, make_result) -> None:
    failed = make_result(probability=np.nan, error="its pixel data cannot be decoded")
    assert list(to_dicom([read_source(make_chest())], [failed], ALGORITHM)) == []
    assert failed.to_dicom(make_chest(), ALGORITHM) == []


def test_a_result_gives_its_own_objects(make_chest, make_result) -> None:
    made = make_result(BOX).to_dicom(make_chest(), ALGORITHM, ("pr", "sr"))
    assert [each.Modality for each in made] == ["SR", "PR"]
    parsed = pydicom.dcmread(io.BytesIO(make_chest()))
    assert [each.Modality for each in make_result().to_dicom(parsed, ALGORITHM)] == ["SR", "PR", "OT"]


def test_nothing_that_identifies_is_logged_or_warned_of(
    make_chest, make_result, objects_of, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger("highdicom").setLevel(logging.DEBUG)
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as told:
        objects_of([make_chest(PatientName="Zebulon", ReferringPhysicianName="Quixote")], [make_result(BOX)])
    said = caplog.text + "".join(str(each.message) for each in told) + "".join(capfd.readouterr())
    assert not [word for word in ("Zebulon", "Quixote", "2.25.9") if word in said]


def test_where_highdicom_is_missing_one_line_says_so(make_chest, make_result, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name.startswith("hilum.findings.structured_report"):
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(HilumError, match=r"pip install 'hilum\[dicom\]'"):
        make_result().to_dicom(make_chest(), ALGORITHM)


@pytest.mark.parametrize("cases", [60, pytest.param(600, marks=pytest.mark.slow)])
def test_of_hostile_files_come_valid_objects_or_one_line(make_chest, make_result, objects_of, cases: int) -> None:
    draw = random.Random(7)
    whole = make_chest(
        PatientID="ID 7",
        PatientBirthDate="19600102",
        AccessionNumber="ACC1",
        StudyDate="20260101",
        WindowCenter="100",
        WindowWidth="150",
        PatientOrientation=["L", "F"],
        SpecificCharacterSet="ISO_IR 100",
    )
    header = whole.index(b"\xe0\x7f\x10\x00")
    made, refused = 0, []
    for _ in range(cases):
        content = bytearray(whole)
        for _ in range(draw.choice([1, 1, 2, 8])):
            content[draw.randrange(140, header)] = draw.choice([0, 0x1B, 0x5C, 0x80, 0xFF, draw.randrange(256)])
        try:
            objects = flat(objects_of([bytes(content)], [make_result(BOX)]))
        except HilumError as error:
            refused.append(error)
            continue
        made += 1
        for each in objects:
            for item in items(pydicom.dcmread(io.BytesIO(bytes_of(each)))):
                for element in item:
                    pydicom.dataelem.DataElement(element.tag, element.VR, element.value, pydicom.config.RAISE)
    assert min(made, len(refused)) > cases // 20
    assert all(len(error.lines) == 1 and "Quixotic" not in str(error) for error in refused)
