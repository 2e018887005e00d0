"""`hilum predict` writes worklist.html: nothing on it identifies unasked, and it keeps to its folder."""

import base64
import csv
import hashlib
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from supervision import Detections

import hilum.predict as predict_module
from hilum.commands.predict import IN_PART, predict
from hilum.errors import HilumError
from hilum.pages.worklist import Made, Pictures, write_worklist
from hilum.predict import Predictor
from hilum.result import Result
from hilum.run import run_digest

LINK = re.compile(r'data-src="([^"]+)"')
CARD = re.compile(r'<figure class="shot" data-n="(\d+)".*?</figure>', re.DOTALL)


class Bright:
    """A backend without a network: as likely as the picture is bright, with a box where that is 0.5 and more."""

    stop = False

    def predict_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        if self.stop:
            raise KeyboardInterrupt
        likely = [float(image.mean()) / 255 for image in images]
        return [
            Detections(xyxy=np.array([[1.0, 2, 5, 6]]), confidence=np.array([each]), class_id=np.zeros(1, int))
            for each in likely
        ]


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Bright:
    backend = Bright()
    monkeypatch.setattr(predict_module, "load", lambda _: Predictor(backend, 0.5))
    return backend


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return pictures(tmp_path / "source", {"DOE^JANE": 40, "dark": 10, "<b>&bright": 240, "middle": 150})


def pictures(folder: Path, shades: dict[str, int]) -> Path:
    folder.mkdir()
    for name, shade in shades.items():
        cv2.imwrite(str(folder / f"{name}.png"), np.full((32, 24), shade, np.uint8))
    return folder


def page(out: Path) -> str:
    return (out / "worklist.html").read_text()


def shown(out: Path) -> list[str]:
    """Names of the images, in the order of the page."""
    with (out / "images.csv").open(newline="") as file:
        names = {row["coco_id"]: row["image_id"] for row in csv.DictReader(file)}
    return [names[number] for number in CARD.findall(page(out))]


def large(out: Path) -> list[Path]:
    return sorted(path.relative_to(out) for path in (out / "worklist").rglob("*") if path.is_file())


@pytest.mark.usefixtures("backend")
def test_the_likeliest_come_first_and_nobody_is_named(run: Path, source: Path, tmp_path: Path) -> None:
    (source / "zz.png").write_bytes(b"broken")
    out = tmp_path / "out"
    assert predict(run, source, out) == IN_PART
    assert shown(out) == ["<b>&bright", "middle", "DOE^JANE", "dark", "zz"]
    text = page(out)
    assert not any(name in text for name in ("DOE", "JANE", 'bright"', "&bright", str(tmp_path)))
    assert "not for diagnosis" in text
    assert sorted(map(Path, LINK.findall(text))) == large(out)
    assert len(large(out)) == 4
    assert not any("DOE" in str(path) for path in large(out))
    assert text.count('<path class="edge"') == 2


@pytest.mark.usefixtures("backend")
def test_asked_for_names_are_there_as_text(run: Path, source: Path, tmp_path: Path) -> None:
    predict(run, source, tmp_path / "out", show_names=True)
    text = page(tmp_path / "out")
    assert "DOE^JANE" in text
    assert "&lt;b&gt;&amp;bright" in text
    assert "<b>" not in text
    assert "may be those of people" in text


EVIL = "\"'><script>alert(1)</script><!-- cards --><img src=x onerror=alert(1)>&amp;"


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_hostile_names_are_text_and_no_script_runs_but_its_own(tmp_path: Path) -> None:
    pages = []
    for name in (EVIL, "harmless"):
        out = tmp_path / str(len(pages))
        found = Detections(xyxy=np.array([[1.0, 2, 5, 6]]), confidence=np.array([0.5]), class_id=np.zeros(1, int))
        result = Result(name, found, 0.5, None, name, size_wh=(24, 32))
        pictures = Pictures(out, "0" * 16)
        pictures.write(1, np.zeros((32, 24), np.uint8))
        failed = Result(name, Detections.empty(), float("nan"), name)
        write_worklist(pictures, [(1, result), (2, failed)], Made(2, name, name, 0.5, named=True))
        pages.append(page(out))
    evil, harmless = (Tags(text).tags for text in pages)
    assert [(tag, attributes.keys()) for tag, attributes in evil] == [
        (tag, attributes.keys()) for tag, attributes in harmless
    ]
    assert not [name for _, attributes in evil for name in attributes if name.startswith("on")]
    assert [tag for tag, attributes in evil if "src" in attributes] == ["img"]
    (script,) = re.findall(r"<script>(.*?)</script>", pages[0], re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(each["content"] for _, each in evil if each.get("http-equiv") == "Content-Security-Policy")
    assert policy == (
        f"default-src 'none'; img-src data: 'self' file:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )


def test_interrupted_and_again_it_ends_with_the_same_page(
    backend: Bright, run: Path, source: Path, tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    predict(run, source, whole, batch_size=1)
    backend.stop = True
    with pytest.raises(KeyboardInterrupt):
        predict(run, source, out, batch_size=1)
    backend.stop = False
    assert not (out / "worklist.html").exists()
    predict(run, source, out, batch_size=1)
    assert page(out) == page(whole)
    (out / large(out)[0]).unlink()
    before = page(out)
    predict(run, source, out)
    assert page(out) == before
    assert large(out) == large(whole)


@pytest.mark.usefixtures("backend")
def test_pictures_of_an_earlier_prediction_go_and_files_of_others_stay(run: Path, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(run, source, out)
    before, first = page(out), large(out)
    (out / first[0].parent / "mine.txt").write_text("mine")
    (out / "worklist" / "mine").mkdir()
    other = pictures(tmp_path / "other", {"one": 200})
    predict(run, other, out, overwrite=True)
    assert page(out) != before
    assert sorted(path.name for path in large(out)) == ["00001.jpg", "mine.txt"]
    assert not any((out / path).exists() for path in first)
    predict(run, other, out, worklist=False)
    assert not (out / "worklist.html").exists()
    assert [path.name for path in large(out)] == ["mine.txt"]
    assert (out / "worklist" / "mine").is_dir()
    (out / "worklist.html").write_text("mine")
    predict(run, other, out, worklist=False)
    assert page(out) == "mine"


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("place", ["worklist", "worklist.html"])
def test_through_a_link_nothing_is_written_or_removed(
    place: str, run: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, theirs = tmp_path / "out", tmp_path / "theirs"
    (theirs / ("0" * 16)).mkdir(parents=True)
    (theirs / ("0" * 16) / "00001.jpg").write_text("theirs")
    (theirs / "page").write_text("theirs")
    out.mkdir()
    (out / ".predictions.jsonl").touch()
    (out / place).symlink_to(theirs if place == "worklist" else theirs / "page")
    done = predict(run, source, out)
    assert sorted(path.name for path in theirs.rglob("*")) == ["0" * 16, "00001.jpg", "page"]
    assert (theirs / "page").read_text() == "theirs"
    if place == "worklist":
        assert done == IN_PART
        assert "is a link" in capsys.readouterr().err
        assert len((out / "images.csv").read_text().splitlines()) == 5
    else:
        assert done == 0
        assert not (out / place).is_symlink()


@pytest.mark.usefixtures("backend")
def test_results_are_there_where_the_page_cannot_be(
    run: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (out / "worklist.html").mkdir(parents=True)
    (out / "worklist.html" / "mine").write_text("mine")
    (out / ".predictions.jsonl").touch()
    assert predict(run, source, out) == IN_PART
    assert "worklist.html: is not written" in capsys.readouterr().err
    assert (out / "images.csv").is_file()
    assert not list(out.glob(".*"))


def figures(run: Path, **changed: object) -> dict[str, object]:
    bins = [
        {"low": at / 10, "high": (at + 1) / 10, "images": 0, "probability": None, "observed": None} for at in range(10)
    ]
    bins[9] |= {"images": 40, "probability": 0.94, "observed": 0.775}
    bins[5] |= {"images": 19, "probability": 0.55, "observed": 1.0}
    return {"of_run": run_digest(run), "entries": [{}, {"reliability": bins}], **changed}


@pytest.mark.usefixtures("backend")
def test_a_calibrated_probability_is_told_in_words(run: Path, source: Path, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    file.write_text(json.dumps(figures(run)))
    predict(run, source, tmp_path / "out", calibration=file)
    text = page(tmp_path / "out")
    assert text.count("opacity in 31 of 40 measured") == 1
    assert "of 19 " not in text  # too few
    assert "59 images were measured" in text


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"of_run": "0" * 16}, "is of another run"),
        ({"of_run": None}, "is not of a run"),
        ({"entries": []}, "tells nothing of probabilities"),
        ({"entries": [{}]}, "tells nothing of probabilities"),
        ({"entries": 3}, "entries: "),
    ],
)
def test_a_calibration_of_something_else_is_refused(
    changed: dict[str, object], said: str, run: Path, source: Path, tmp_path: Path
) -> None:
    file = tmp_path / "figures.json"
    file.write_text(json.dumps(figures(run, **changed)))
    with pytest.raises(HilumError, match=said):
        predict(run, source, tmp_path / "out", calibration=file)
    assert not (tmp_path / "out").exists()
