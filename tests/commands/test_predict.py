"""`hilum predict` over many images: in constant memory, and on from where it was interrupted."""

import json
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from supervision import Detections

import hilum.predict as predict_module
from hilum.__main__ import main
from hilum.cli import GOES_ON, app
from hilum.commands.predict import predict
from hilum.errors import HilumError
from hilum.eval.prediction_journal import JOURNAL
from hilum.files import locked
from hilum.predict import Predictor

FILES = ["about.json", "images.csv", "predictions.csv", "predictions.json"]
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


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What a run folder's identity is read from."""
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.yaml", "operating_point.json", "weights.safetensors"):
        (run / name).write_text("as it was")
    return run


def pictures(folder: Path, number: int) -> Path:
    """Small pictures in two folders, under the same names in both."""
    for side in ("a", "b"):
        (folder / side).mkdir(parents=True)
        for at in range(number // 2):
            pixels = np.full((8, 8), at % 250 + (side == "b"), np.uint8)
            cv2.imwrite(str(folder / side / f"{at:04d}.png"), pixels)
    return folder


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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
    assert [path.name for path in out.iterdir()] == [JOURNAL]
    with (out / JOURNAL).open("ab") as file:
        file.write(b'["b/0001", [[0.')  # where a kill cut it
    interrupt(backend, 8, run, source, out)
    predict(run, source, out, confidence=0, batch_size=4, pictures=3)
    assert backend.seen == 39  # one is broken; none is predicted twice
    assert written(out) == written(tmp_path / "whole")
    assert sorted(path.name for path in out.iterdir()) == [*FILES[:2], "pictures", *FILES[2:]]
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


@pytest.mark.parametrize("command", [*app, None])
def test_only_commands_that_go_on_promise_it(
    command: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hilum.cli.app", interrupted)
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
