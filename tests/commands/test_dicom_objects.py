"""`hilum predict --dicom`, from a folder, a zip and standard input, and the lines that it writes for programs."""

import io
import json
import re
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

import hilum.predict as predict_module
from hilum.__main__ import main
from hilum.commands.pictures import STANDARD_INPUT
from hilum.commands.predict import IN_PART, predict
from hilum.detections import Detections
from hilum.errors import HilumError
from hilum.files import locked
from hilum.predict import Predictor
from hilum.result import Result, no_detections

BOX = [8.5, 4.0, 24.0, 40.0]
TIMES = re.compile(rb'"time": "[0-9T:+-]{25}"')


class OneBox:
    """A backend without a network: one box in bright pictures. It can be interrupted after so many images."""

    seen = 0
    interrupted_after: int | None = None

    def predict_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        if self.interrupted_after is not None and self.seen >= self.interrupted_after:
            raise KeyboardInterrupt
        self.seen += len(images)
        one = Detections(xyxy=np.array([BOX]), confidence=np.array([0.75]), class_id=np.zeros(1, int))
        return [one if image[0, 0] > 10 else no_detections() for image in images]


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> OneBox:
    backend = OneBox()
    monkeypatch.setattr(predict_module, "load", lambda _: Predictor(backend, 0.5))
    return backend


@pytest.fixture
def source(tmp_path: Path, make_dicom, make_picture) -> Path:
    """Three radiographs of two studies, the second dark, one that is broken, and a text."""
    folder = tmp_path / "source"
    (folder / "a").mkdir(parents=True)
    for number, name in enumerate(["a/x.dcm", "a/y.dcm", "x.dcm"]):
        pixels = make_picture(number) // 2 + 60 if number != 1 else np.eye(48, 64, dtype=np.uint8)
        tags = {"StudyInstanceUID": f"2.25.{7 + number // 2}", "SeriesInstanceUID": "2.25.8"}
        (folder / name).write_bytes(make_dicom(pixels, SOPInstanceUID=f"2.25.{100 + number}", **tags))
    (folder / "z.dcm").write_bytes(b"broken")
    (folder / "notes.txt").write_text("no picture")
    return folder


def objects(out: Path) -> dict[str, pydicom.Dataset]:
    return {path.name: pydicom.dcmread(path) for path in sorted((out / "dicom").iterdir())}


def uids(out: Path) -> dict[str, str]:
    return {name: each.SOPInstanceUID for name, each in objects(out).items()}


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def written(out: Path) -> dict[str, bytes]:
    """All files but those with times in many places, and without the time at which results were written."""
    paths = [path for path in out.rglob("*") if path.is_file() and path.suffix != ".dcm"]
    return {path.relative_to(out).as_posix(): TIMES.sub(b"", path.read_bytes()) for path in paths}


def _without_digest(files: dict[str, bytes]) -> dict[str, bytes]:
    digest = json.loads(files["about.json"])["of_images"]
    return {name.replace(digest, ""): content.replace(digest.encode(), b"") for name, content in files.items()}


def zipped(folder: Path, path: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


@pytest.mark.usefixtures("backend")
def test_objects_of_all_studies_are_written_and_say_what_the_tables_say(
    run: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], planted_name: str
) -> None:
    pytest.importorskip("highdicom", reason="highdicom is not installed: pip install 'hilum[dicom]'")
    out = tmp_path / "out"
    assert predict(run, source, out, dicom="sr, PR,sc") == IN_PART  # one is broken
    made = objects(out)
    assert [name.partition("-")[0] + name.partition(".")[2] for name in made] == [
        *("00001pr.dcm", "00001sc.dcm", "00001sr.dcm", "00002pr.dcm", "00002sc.dcm"),
        *("00003pr.dcm", "00003sc.dcm", "00003sr.dcm"),
    ]
    assert {str(each.StudyInstanceUID) for each in made.values()} == {"2.25.7", "2.25.8"}
    (report, alone) = (each for name, each in made.items() if name.endswith("sr.dcm"))
    assert report.ManufacturerModelName == "run"
    assert report.DeviceSerialNumber == json.loads((out / "about.json").read_text())["of_run"]
    left, top, right, bottom = BOX
    for each in (report, alone):  # one of the two pictures of the first study is dark
        drawn = [list(element.value) for element in each.iterall() if element.keyword == "GraphicData"]
        (box,) = [line for line in drawn if line[4:6] != [64, 48]]  # the others are whole pictures
        assert box == [left, top, right, top, right, bottom, left, bottom, left, top]
    told = capsys.readouterr()
    assert "dicom: of the pictures' own attributes: PatientAge mended in 3" in told.err
    assert planted_name not in told.err + told.out


@pytest.mark.usefixtures("backend")
def test_each_image_is_a_line_for_programs(run: Path, source: Path, tmp_path: Path) -> None:
    predict(run, source, tmp_path / "out")
    found = lines(tmp_path / "out")
    assert [line["path"] for line in found] == ["a/x.dcm", "a/y.dcm", "x.dcm", "z.dcm"]
    assert [line["image_id"] for line in found] == ["a/x", "y", "x", "z"]
    first, dark, _, broken = found
    assert first["boxes"] == [{"xyxy": BOX, "confidence": 0.75}]
    assert (first["width"], first["height"], first["probability"], first["problem"]) == (64, 48, 0.75, None)
    assert (first["sop_instance_uid"], first["study_instance_uid"]) == ("2.25.100", "2.25.7")
    assert (first["run"], first["operating_point"]) == ("run", 0.5)
    assert first["run_digest"] == json.loads((tmp_path / "out" / "about.json").read_text())["of_run"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", first["time"])
    assert (dark["boxes"], dark["probability"]) == ([], 0)
    assert (broken["boxes"], broken["probability"], broken["width"]) == ([], None, None)
    assert broken["problem"] == "not a DICOM file"
    predict(run, source, tmp_path / "shared", identifiers=False)
    for line in lines(tmp_path / "shared"):
        assert [line[key] for key in ("path", "sop_instance_uid", "study_instance_uid")] == [None] * 3


def test_a_result_is_told_in_json_values() -> None:
    result = Result("x", no_detections(), float("nan"), error="cut short")
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False)) == {
        **dict.fromkeys(["sop_instance_uid", "study_instance_uid", "modality", "body_part", "view"]),
        **dict.fromkeys(["width", "height", "probability", "warning"]),
        "image_id": "x",
        "boxes": [],
        "problem": "cut short",
    }


def test_interrupted_it_ends_with_the_same_objects(backend: OneBox, run: Path, source: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="highdicom is not installed: pip install 'hilum[dicom]'")
    whole, out = tmp_path / "whole", tmp_path / "out"
    predict(run, source, whole, batch_size=1, dicom="sr,pr")
    backend.interrupted_after = backend.seen + 2
    with pytest.raises(KeyboardInterrupt):
        predict(run, source, out, batch_size=1, dicom="sr,pr")
    backend.interrupted_after = None
    predict(run, source, out, batch_size=1, dicom="sr,pr")
    assert backend.seen == 6
    assert uids(out) == uids(whole)
    assert written(out) == written(whole)


@pytest.mark.usefixtures("backend")
def test_objects_of_an_earlier_prediction_go_and_files_of_others_stay(run: Path, source: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="highdicom is not installed: pip install 'hilum[dicom]'")
    out = tmp_path / "out"
    predict(run, source, out, dicom="sr")
    theirs = out / "dicom" / "00001-mine.sr.dcm"
    theirs.write_bytes(b"mine")
    predict(run, source, out)
    assert list((out / "dicom").iterdir()) == [theirs]


@pytest.mark.usefixtures("backend")
def test_through_a_link_nothing_is_written_or_removed(run: Path, source: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="highdicom is not installed: pip install 'hilum[dicom]'")
    predict(run, source, tmp_path / "first", dicom="sr")
    before = sorted((tmp_path / "first" / "dicom").iterdir())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".predictions.jsonl").touch()
    (tmp_path / "out" / "dicom").symlink_to(tmp_path / "first" / "dicom")
    assert predict(run, source, tmp_path / "out", dicom="pr") == IN_PART
    assert sorted((tmp_path / "first" / "dicom").iterdir()) == before


@pytest.mark.usefixtures("backend")
def test_a_picture_that_nothing_can_refer_to_takes_no_object_from_others_of_its_study(
    run: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("highdicom", reason="highdicom is not installed: pip install 'hilum[dicom]'")
    (source / "z.dcm").unlink()
    for name in ("a/x.dcm", "x.dcm"):
        content = (source / name).read_bytes()
        (source / name).write_bytes(content.replace(b"2.25.10", b"2.25.x0"))
    assert predict(run, source, tmp_path / "out", dicom="sr,sc") == IN_PART
    made = objects(tmp_path / "out")
    assert [name.partition("-")[0] + name.partition(".")[2] for name in made] == ["00002sc.dcm", "00002sr.dcm"]
    (evidence,) = made["00002-y.sr.dcm"].CurrentRequestedProcedureEvidenceSequence
    assert evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.101"
    told = capsys.readouterr().err
    for name in ("a/x.dcm", "x.dcm"):
        assert f"{source / name}: DICOM objects of this picture are missing: its SOP Instance UID" in told
    assert len(lines(tmp_path / "out")) == 3


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ({"dicom": "sr,gsps"}, "'gsps' is no kind of object; expected sr, pr, sc"),
        ({"dicom": "sr", "identifiers": False}, "names the patient"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is(
    words: dict, wrong: str, backend: OneBox, run: Path, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(HilumError, match=re.escape(wrong)):
        predict(run, source, tmp_path / "out", **words)
    assert backend.seen == 0
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("backend")
def test_the_pictures_of_a_dataset_folder_are_nobodys(run: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "conversion.json").write_text("{}")
    with pytest.raises(HilumError, match="whose pictures are nobody's; give the DICOM files"):
        predict(run, tmp_path / "data", tmp_path / "out", dicom="sr")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("nested", [False, True])
def test_a_zip_is_read_in_place_as_its_folder_is(
    backend: OneBox, run: Path, source: Path, tmp_path: Path, *, method: int, nested: bool
) -> None:
    if nested:
        archive = zipped(source / "a", tmp_path / "a.zip", method)
        for path in (source / "a").iterdir():
            path.unlink()
        (source / "a").rmdir()
        with zipfile.ZipFile(tmp_path / "study.zip", "w", method) as outer:
            outer.write(archive, "a.zip")
            for name in ("x.dcm", "z.dcm", "notes.txt"):
                outer.write(source / name, name)
        expected = ["a.zip/x.dcm", "a.zip/y.dcm", "x.dcm", "z.dcm"]
    else:
        zipped(source, tmp_path / "study.zip", method)
        predict(run, source, tmp_path / "whole")
        expected = ["a/x.dcm", "a/y.dcm", "x.dcm", "z.dcm"]
    out = tmp_path / "out"
    assert predict(run, tmp_path / "study.zip", out) == IN_PART
    assert [line["path"] for line in lines(out)] == expected
    assert [line["boxes"] != [] for line in lines(out)] == [True, False, True, False]
    assert not (out / ".unpacked").exists()
    if not nested:
        # These bear a digest of the images, which come from another place.
        assert _without_digest(written(out)) == _without_digest(written(tmp_path / "whole"))


def test_of_a_zip_objects_come_too_and_it_goes_on(backend: OneBox, run: Path, source: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="highdicom is not installed: pip install 'hilum[dicom]'")
    archive, out = zipped(source, tmp_path / "study.zip"), tmp_path / "out"
    predict(run, source, tmp_path / "whole", dicom="sr,sc")
    backend.interrupted_after = backend.seen + 1
    with pytest.raises(KeyboardInterrupt):
        predict(run, archive, out, batch_size=1, dicom="sr,sc")
    backend.interrupted_after = None
    predict(run, archive, out, batch_size=1, dicom="sr,sc")
    assert backend.seen == 6
    assert uids(out) == uids(tmp_path / "whole")
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr("w.dcm", b"other")
    with pytest.raises(HilumError, match="predictions of other images"):
        predict(run, archive, out)


def test_a_zip_that_is_refused_leaves_nothing_in_the_folder(
    backend: OneBox, run: Path, source: Path, tmp_path: Path
) -> None:
    inner, out = zipped(source / "a", tmp_path / "a.zip"), tmp_path / "out"
    with zipfile.ZipFile(tmp_path / "study.zip", "w", zipfile.ZIP_DEFLATED) as outer:
        outer.write(inner, "a.zip")
    predict(run, source, out)
    with pytest.raises(HilumError, match="predictions of other images"):
        predict(run, tmp_path / "study.zip", out)
    assert not (out / ".unpacked").exists()
    with locked(out, busy=None), pytest.raises(HilumError, match="another prediction is writing there"):
        predict(run, tmp_path / "study.zip", out, overwrite=True)
    assert not (out / ".unpacked").exists()
    backend.interrupted_after = 0
    with pytest.raises(KeyboardInterrupt):
        predict(run, tmp_path / "study.zip", out, overwrite=True)
    (kept,) = (out / ".unpacked").iterdir()
    with pytest.raises(HilumError, match="predictions of other images"):
        predict(run, tmp_path / "study.zip", out)
    assert kept.is_file()
    backend.interrupted_after = None
    assert predict(run, tmp_path / "study.zip", out, overwrite=True) == 0
    assert not (out / ".unpacked").exists()


def test_a_zip_that_is_none_or_leads_out_is_told(
    backend: OneBox, run: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK\3\4" + bytes(40))
    with pytest.raises(HilumError, match=r"broken\.zip: .*cut short"):
        predict(run, broken, tmp_path / "out")
    empty = tmp_path / "empty.zip"
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("notes.txt", "no picture")
    with pytest.raises(HilumError, match=r"no .*file in this zip.*passed over: 1 \.txt"):
        predict(run, empty, tmp_path / "out")
    with zipfile.ZipFile(empty, "a") as archive:
        archive.writestr("../out.dcm", b"x")
        archive.write(source / "x.dcm", "picture")  # known by its first bytes
    assert predict(run, empty, tmp_path / "out", pictures=1) == 0
    assert (
        "1 that cannot be taken, 1 .txt; the first: ../out.dcm: its name leads out of the zip"
        in capsys.readouterr().err
    )
    assert [line["path"] for line in lines(tmp_path / "out")] == ["picture"]
    assert backend.seen == 1


class _Input:
    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


@pytest.mark.usefixtures("backend")
def test_a_list_comes_from_standard_input(
    run: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source)
    listed = b"\xef\xbb\xbfx.dcm\r\n\n a/y.dcm \n" + bytes(tmp_path / "source" / "a" / "x.dcm") + b"\n"
    monkeypatch.setattr(sys, "stdin", _Input(listed))
    monkeypatch.setattr(sys, "argv", ["hilum", "predict", str(run), "-", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert [line["path"] for line in lines(tmp_path / "out")] == ["x.dcm", "a/y.dcm", "a/x.dcm"]


@pytest.mark.usefixtures("backend")
def test_a_list_from_standard_input_is_bounded_and_not_empty(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", _Input(b"\n"))
    with pytest.raises(HilumError, match="/dev/stdin: lists no image"):
        predict(run, STANDARD_INPUT, tmp_path / "out")
    monkeypatch.setattr("hilum.commands.pictures._MAX_LIST_BYTES", 100)
    monkeypatch.setattr(sys, "stdin", _Input(b"x.dcm\n" * 20))
    with pytest.raises(HilumError, match="a path a line is expected"):
        predict(run, STANDARD_INPUT, tmp_path / "out")
    assert not (tmp_path / "out").exists()
