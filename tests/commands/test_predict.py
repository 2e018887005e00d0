"""`hilum predict` over many images: in constant memory, and on from where it was interrupted."""

import csv
import errno
import json
import os
import re
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from supervision import Detections

import hilum.predict as predict_module
from hilum.__main__ import main
from hilum.cli import GOES_ON, app
from hilum.commands.predict import IN_PART, predict
from hilum.commands.submit import submit
from hilum.errors import HilumError
from hilum.eval.prediction_journal import JOURNAL
from hilum.files import locked
from hilum.predict import Predictor

FILES = ["about.json", "images.csv", "predictions.csv", "predictions.json", "results.jsonl", "worklist.html"]
BOXES = 60  # an image


class ManyBoxes:
    """A backend without a network, whose boxes depend on the picture. It can be interrupted after so many images."""

    def __init__(self) -> None:
        self.seen = 0
        self.interrupted_after: int | None = None

    def predict_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        if self.interrupted_after is not None and self.seen >= self.interrupted_after:
            raise KeyboardInterrupt
        self.seen += len(images)
        return [self._boxes(image) for image in images]

    def _boxes(self, image: NDArray[np.uint8]) -> Detections:
        draw = np.random.default_rng(list(image.tobytes()))
        corners = draw.random((BOXES, 2)) * 7
        return Detections(
            xyxy=np.hstack([corners, corners + 1]),
            confidence=np.sort(draw.random(BOXES, np.float32))[::-1],
            class_id=np.zeros(BOXES, int),
        )


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> ManyBoxes:
    backend = ManyBoxes()
    monkeypatch.setattr(predict_module, "load", lambda _: Predictor(backend, 0.5))
    return backend


def pictures(folder: Path, number: int) -> Path:
    """Small pictures in two folders, under the same names in both."""
    for side in ("a", "b"):
        (folder / side).mkdir(parents=True)
        for at in range(number // 2):
            pixels = np.full((8, 8), at % 250 + (side == "b"), np.uint8)
            cv2.imwrite(str(folder / side / f"{at:04d}.png"), pixels)
    return folder


TIME = re.compile(rb'"time": "[0-9T:+-]{25}"')


def written(folder: Path) -> dict[str, bytes]:
    """All files, without the time at which results were written."""
    return {path.name: TIME.sub(b"", path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def interrupt(backend: ManyBoxes, after: int, run: Path, source: Path, out: Path) -> None:
    """Press Ctrl-C when at least so many images have been predicted."""
    backend.interrupted_after = backend.seen + after
    with pytest.raises(KeyboardInterrupt):
        predict(run, source, out, confidence=0, batch_size=4, pictures=3)
    backend.interrupted_after = None


def test_interrupted_it_goes_on_and_ends_with_the_same_bytes(backend: ManyBoxes, run: Path, tmp_path: Path) -> None:
    source = pictures(tmp_path / "source", 40)
    (source / "a" / "0001.png").write_bytes(b"broken")
    predict(run, source, tmp_path / "whole", confidence=0, batch_size=4, pictures=3)
    out, backend.seen = tmp_path / "out", 0
    interrupt(backend, 20, run, source, out)
    assert sorted(path.name for path in out.iterdir()) == [JOURNAL, "worklist"]
    with (out / JOURNAL).open("ab") as file:
        file.write(b'["b/0001", [[0.')  # where a kill cut it
    interrupt(backend, 8, run, source, out)
    predict(run, source, out, confidence=0, batch_size=4, pictures=3)
    assert backend.seen == 39  # one is broken; none is predicted twice
    assert written(out) == written(tmp_path / "whole")
    assert sorted(path.name for path in out.iterdir()) == [*FILES[:2], "pictures", *FILES[2:5], "worklist", *FILES[5:]]
    assert len((out / "images.csv").read_text().splitlines()) == 41
    assert len(json.loads((out / "predictions.json").read_text())) == 39 * BOXES


def other_weights(run: Path, source: Path) -> None:
    (run / "weights.safetensors").write_text("trained again")


def other_operating_point(run: Path, source: Path) -> None:
    (run / "operating_point.json").write_text("chosen again")


def other_config(run: Path, source: Path) -> None:
    (run / "config.yaml").write_text("written again")


def another_picture(run: Path, source: Path) -> None:
    cv2.imwrite(str(source / "a" / "0100.png"), np.zeros((8, 8), np.uint8))


def a_changed_picture(run: Path, source: Path) -> None:
    cv2.imwrite(str(source / "a" / "0000.png"), np.eye(9, dtype=np.uint8))


@pytest.mark.parametrize(
    "change", [other_weights, other_operating_point, other_config, another_picture, a_changed_picture]
)
def test_it_goes_on_with_nothing_that_was_made_otherwise(
    change: Callable[[Path, Path], None], backend: ManyBoxes, run: Path, tmp_path: Path
) -> None:
    source, out = pictures(tmp_path / "source", 12), tmp_path / "out"
    interrupt(backend, 8, run, source, out)
    change(run, source)
    backend.seen = 0
    predict(run, source, out, confidence=0, batch_size=4, pictures=3)
    assert backend.seen == len(list(source.rglob("*.png")))
    predict(run, source, tmp_path / "whole", confidence=0, batch_size=4, pictures=3)
    assert written(out) == written(tmp_path / "whole")


def test_with_another_confidence_it_starts_over(backend: ManyBoxes, run: Path, tmp_path: Path) -> None:
    source, out = pictures(tmp_path / "source", 12), tmp_path / "out"
    interrupt(backend, 8, run, source, out)
    predict(run, source, out)
    assert backend.seen == 8 + 12
    assert json.loads((out / "about.json").read_text())["floor"] == 0.5


def damaged(lines: list[bytes]) -> Iterator[list[bytes]]:
    yield [*lines[:4], b"\0" * 50 + b"\n", *lines[5:]]  # what a disk lost
    yield [*lines[:4], b"{}\n", *lines[5:]]
    yield [*lines[:4], b"[1, 2]\n", *lines[5:]]
    yield [*lines[:4], *lines[5:]]  # an image is missing


def test_of_a_damaged_journal_what_stands_before_the_damage_counts(
    backend: ManyBoxes, run: Path, tmp_path: Path
) -> None:
    source, out = pictures(tmp_path / "source", 12), tmp_path / "out"
    predict(run, source, tmp_path / "whole", confidence=0, batch_size=4, pictures=3)
    interrupt(backend, 8, run, source, out)
    lines = (out / JOURNAL).read_bytes().splitlines(keepends=True)
    for number, wrong in enumerate(damaged(lines)):
        out = tmp_path / f"out{number}"
        out.mkdir()
        (out / JOURNAL).write_bytes(b"".join(wrong))
        backend.seen = 0
        predict(run, source, out, confidence=0, batch_size=4, pictures=3)
        assert backend.seen == 12 - 3
        assert written(out) == written(tmp_path / "whole")


def test_until_it_is_done_an_earlier_prediction_stays(backend: ManyBoxes, run: Path, tmp_path: Path) -> None:
    source, out = pictures(tmp_path / "source", 12), tmp_path / "out"
    predict(run, source, out)
    before = written(out)
    interrupt(backend, 4, run, source, out)
    assert {name: content for name, content in written(out).items() if name != JOURNAL} == before


def test_two_do_not_write_into_one_folder(backend: ManyBoxes, run: Path, tmp_path: Path) -> None:
    source, out = pictures(tmp_path / "source", 2), tmp_path / "out"
    out.mkdir()
    with locked(out, busy=None), pytest.raises(HilumError, match="another prediction is writing there"):
        predict(run, source, out)


def test_memory_does_not_grow_with_the_number_of_images(backend: ManyBoxes, run: Path, tmp_path: Path) -> None:
    """The results of 300 images with 60 boxes each are 1.3 MB, and more as rows."""
    few, many = pictures(tmp_path / "few", 60), pictures(tmp_path / "many", 360)
    predict(run, few, tmp_path / "first", confidence=0, pictures=2)  # imports, and what is kept for ever
    peaks_bytes = []
    for source in (few, many):
        tracemalloc.start()
        predict(run, source, tmp_path / "out", confidence=0, pictures=2, overwrite=True)
        peaks_bytes.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    entries = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert len(entries) == 360 * BOXES
    assert peaks_bytes[1] - peaks_bytes[0] < 300 * 2_000  # paths and names


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "images.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def png(path: Path, pixels: NDArray[np.uint8] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = cv2.imencode(".png", np.eye(8, dtype=np.uint8) if pixels is None else pixels)[1]
    path.write_bytes(content.tobytes())


def test_the_exit_code_says_whether_all_some_or_none_were_read(backend: ManyBoxes, run: Path, tmp_path: Path) -> None:
    source = pictures(tmp_path / "source", 4)
    assert predict(run, source, tmp_path / "all") == 0
    (source / "a" / "0000.png").write_bytes(b"broken")
    assert predict(run, source, tmp_path / "some") == IN_PART == 3
    assert [row["status"] for row in rows(tmp_path / "some")] == ["failed", *["predicted"] * 3]
    for path in source.rglob("*.png"):
        path.write_bytes(b"broken")
    with pytest.raises(HilumError, match="none of its 4 images"):
        predict(run, source, tmp_path / "none")
    assert "3" in _help("predict").partition("exit code")[2]


def test_predictions_of_another_run_or_of_other_images_are_not_replaced_unasked(
    backend: ManyBoxes, run: Path, tmp_path: Path
) -> None:
    source, other, out = pictures(tmp_path / "source", 4), pictures(tmp_path / "other", 6), tmp_path / "out"
    predict(run, source, out)
    before = written(out)
    predict(run, source, out)  # the same again
    assert written(out) == before
    with pytest.raises(HilumError, match=r"predictions of other images; .*--overwrite"):
        predict(run, other, out)
    other_weights(run, source)
    with pytest.raises(HilumError, match="predictions of another run; "):
        predict(run, source, out)
    (out / "about.json").unlink()
    with pytest.raises(HilumError, match="that it does not name"):
        predict(run, source, out)
    (out / "about.json").write_text("[")
    with pytest.raises(HilumError, match="that it does not name"):
        predict(run, source, out)
    assert written(out) == {**before, "about.json": b"["}
    assert predict(run, other, out, overwrite=True) == 0
    assert len(rows(out)) == 6


def test_results_are_there_before_anything_is_drawn(
    backend: ManyBoxes,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    source, out = pictures(tmp_path / "source", 4), tmp_path / "out"
    monkeypatch.setattr("hilum.comparison.pictures.draw_boxes", full)
    assert predict(run, source, out) == IN_PART
    assert sorted(path.name for path in out.iterdir() if path.is_file()) == FILES
    assert "pictures: boxes are not drawn: No space left" in capsys.readouterr().err
    (out / "pictures").rmdir()
    (out / "pictures").write_text("mine")
    assert predict(run, source, out, overwrite=True) == IN_PART
    assert len(rows(out)) == 4


def test_a_folder_that_holds_somebody_elses_files_is_not_written_into(
    backend: ManyBoxes, run: Path, tmp_path: Path
) -> None:
    source, other = pictures(tmp_path / "source", 2), pictures(tmp_path / "other", 1)
    for out in (source, other):
        before = sorted(out.iterdir())
        with pytest.raises(HilumError, match="holds something else than predictions of hilum; give OUT a folder"):
            predict(run, source, out)
        assert sorted(out.iterdir()) == before


def test_names_of_any_kind_are_predicted_and_drawn(backend: ManyBoxes, run: Path, tmp_path: Path) -> None:
    names = [
        "n" * 251 + ".png",
        " lead.png",
        "trail .png",
        "two\nlines.png",
        'comma, "quote".png',
        "\x1b[2J.png",
        os.fsdecode(b"fa\xe7ade.png"),
        "-dash.png",
        "\u80ba.png",
    ]
    for name in names:
        png(tmp_path / "source" / name)
    out = tmp_path / os.fsdecode(b"out\xff")
    assert predict(run, tmp_path / "source", out) == 0
    spelt = {os.fsencode(name).decode(errors="backslashreplace") for name in names}
    assert {row["path"] for row in rows(out)} == spelt
    assert {row["image_id"] for row in rows(out)} == {name.removesuffix(".png") for name in spelt}
    drawn = [path.name for path in (out / "pictures").iterdir()]
    assert len(drawn) == len(names)
    assert all(re.fullmatch(r"[0-9]{5}-[A-Za-z0-9._-]{1,60}\.jpg", name) for name in drawn)


def dicom(path: Path, **tags: str) -> None:
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.StudyInstanceUID = (
        SecondaryCaptureImageStorage,
        "2.25.1",
        "2.5",
    )
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns, dataset.BitsAllocated, dataset.PixelRepresentation = 8, 8, 8, 0
    dataset.BitsStored, dataset.HighBit, dataset.PixelData = 8, 7, bytes(range(64))
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)


def test_the_table_of_images_tells_what_is_shown_and_leads_back(
    backend: ManyBoxes, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    dicom(source / "a" / "chest.dcm", Modality="DX", BodyPartExamined="CHEST", ViewPosition="PA")
    dicom(source / "leg.dcm", Modality="CR", BodyPartExamined="LEG", PatientName="Quixotic^Zebulon")
    png(source / "x.png")
    assert predict(run, source, tmp_path / "out") == 0
    chest, leg, picture = rows(tmp_path / "out")
    told = ("modality", "body_part", "view", "path", "sop_instance_uid", "study_instance_uid", "warning")
    assert [chest[key] for key in told] == ["DX", "CHEST", "PA", "a/chest.dcm", "2.25.1", "2.5", ""]
    assert [leg[key] for key in told[:4]] == ["CR", "LEG", "", "leg.dcm"]
    assert "body part LEG" in leg["warning"]
    assert [picture[key] for key in told] == ["", "", "", "x.png", "", "", ""]
    assert "leg.dcm: its tags say that it is no frontal chest radiograph" in capsys.readouterr().err
    assert predict(run, source, tmp_path / "shared", identifiers=False) == 0
    for row in rows(tmp_path / "shared"):
        assert not row["path"] + row["sop_instance_uid"] + row["study_instance_uid"]
    assert [row["modality"] for row in rows(tmp_path / "shared")] == ["DX", "CR", ""]
    assert [row["image_id"] for row in rows(tmp_path / "shared")] == ["1", "2", "3"]
    assert b"Quixotic" not in b"".join(written(tmp_path / "out").values())


def test_without_identifiers_no_file_has_a_name_or_a_path(backend: ManyBoxes, run: Path, tmp_path: Path) -> None:
    for name in ("DOE JANE 1950/1.png", "ROE RICK 1960/1.png", "ROE RICK 1960/MULLER.png"):
        png(tmp_path / "source" / name)
    out = tmp_path / "out"
    predict(run, tmp_path / "source", out, identifiers=False, show_names=True)
    for name, content in {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}.items():
        assert not re.search("DOE|ROE|MULLER", name)
        assert not re.search(b"DOE|ROE|MULLER", content)
    assert sorted(path.name for path in (out / "pictures").iterdir()) == [
        "00001-1.jpg",
        "00002-2.jpg",
        "00003-3.jpg",
    ]


def test_from_inside_its_folder_a_run_has_its_name(
    backend: ManyBoxes, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    png(tmp_path / "x.png")
    monkeypatch.chdir(run)
    predict(Path(), tmp_path / "x.png", tmp_path / "out")
    for name in ("about.json", "results.jsonl"):
        assert json.loads((tmp_path / "out" / name).read_text())["run"] == "run"


def test_warnings_and_tags_outlive_an_interruption(backend: ManyBoxes, run: Path, tmp_path: Path) -> None:
    for number in range(6):
        dicom(tmp_path / "source" / f"{number}.dcm", Modality="CR", BodyPartExamined="LEG")
    backend.interrupted_after = 4
    with pytest.raises(KeyboardInterrupt):
        predict(run, tmp_path / "source", tmp_path / "out", batch_size=2)
    backend.interrupted_after = None
    predict(run, tmp_path / "source", tmp_path / "out", batch_size=2)
    assert backend.seen == 6
    assert {(row["body_part"], row["sop_instance_uid"]) for row in rows(tmp_path / "out")} == {("LEG", "2.25.1")}
    assert all("LEG" in row["warning"] for row in rows(tmp_path / "out"))


def test_bad_files_cost_a_line_each(backend: ManyBoxes, run: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    png(source / "good.png")
    os.mkfifo(source / "pipe.png")
    (source / "zeros.dcm").symlink_to("/dev/zero")
    (source / "gone.png").symlink_to("nowhere")
    with (source / "sparse.dcm").open("wb") as file:
        file.truncate(5 << 30)
    assert predict(run, source, tmp_path / "out") == IN_PART
    errors = {row["image_id"]: row["error"] for row in rows(tmp_path / "out")}
    assert errors["good"] == ""
    assert "a pipe" in errors["pipe"]
    assert "a device" in errors["zeros"]
    assert "No such file" in errors["gone"]
    assert "at most 256 MiB" in errors["sparse"]


def test_submit_tells_of_names_before_it_predicts_and_of_failures_by_its_exit_code(
    backend: ManyBoxes, run: Path, tmp_path: Path
) -> None:
    source = pictures(tmp_path / "source", 8) / "a"
    png(source / " lead.png")
    with pytest.raises(HilumError, match="begins or ends with a blank"):
        submit(run, source, tmp_path / "s.csv")
    (source / " lead.png").unlink()
    with pytest.raises(OSError, match="name too long"):
        submit(run, source, tmp_path / ("s" * 255))
    assert backend.seen == 0
    assert submit(run, source, tmp_path / "s.csv") == 0
    (source / "0000.png").write_bytes(b"broken")
    assert submit(run, source, tmp_path / "s.csv", overwrite=True) == IN_PART
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 5
    for path in source.iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(HilumError, match="none of its 4 images"):
        submit(run, source, tmp_path / "t.csv")
    assert not (tmp_path / "t.csv").exists()


def test_a_picture_too_long_for_a_drawing_keeps_its_results(backend: ManyBoxes, run: Path, tmp_path: Path) -> None:
    png(tmp_path / "long.png", np.zeros((1, 66_000), np.uint8))
    assert predict(run, tmp_path / "long.png", tmp_path / "out") == IN_PART
    assert rows(tmp_path / "out")[0]["status"] == "predicted"


@pytest.mark.parametrize("command", [*app, None])
def test_only_commands_that_go_on_promise_it(
    command: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hilum.cli.run", interrupted)
    monkeypatch.setattr(sys, "argv", ["hilum"] if command is None else ["hilum", command, "train"])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 130
    promise = "; the same command again goes on" if command in GOES_ON else ""
    assert capsys.readouterr().err == f"hilum: interrupted{promise}\n"


def test_the_commands_that_go_on_say_so_in_their_help_and_no_other_does() -> None:
    says = {name for name in app if "go on" in _help(name) or "goes on" in _help(name)}
    assert says == GOES_ON


def _help(name: str) -> str:
    command = app[name].default_command
    return (command.__doc__ or "") if command else ""
