"""Marks of a worklist as labels: `hilum evaluate PREDICTIONS marks.csv`."""

import json
from pathlib import Path

import numpy as np
import pytest

from hilum.commands.evaluate import evaluate, show_evaluation
from hilum.detections import Detections
from hilum.errors import HilumError
from hilum.eval.image_level import auroc
from hilum.eval.predictions_folder import write_predictions
from hilum.result import Result

IMAGES = "0123456789abcdef"
HEADER = "images,number,mark,opacity,probability,boxes\n"
PROBABILITIES = [0.9, 0.8, 0.7, 0.6, 0.3, 0.2, 0.1]


@pytest.fixture
def found(tmp_path: Path) -> Path:
    """Predictions of eight images, with a box from 0.5 on; the last could not be read."""
    results = [
        Result(
            f"image-{number}",
            Detections(
                xyxy=np.array([[1.0, 1, 9, 9]] * (value >= 0.5)).reshape(-1, 4),
                confidence=np.array([value] * (value >= 0.5)),
                class_id=np.zeros(int(value >= 0.5), int),
            ),
            value,
        )
        for number, value in enumerate(PROBABILITIES, start=1)
    ]
    results.append(Result("broken", results[-1].detections, float("nan"), "no picture"))
    write_predictions(tmp_path / "found", results, about={"of_images": IMAGES, "of_run": "f" * 16, "confidence": 0.5})
    return tmp_path / "found"


def marks(folder: Path, says: dict[int, str], images: str = IMAGES) -> Path:
    rows = [f"{images},{number},agree,{value},0.5,1\n" for number, value in says.items()]
    (folder / "marks.csv").write_text(HEADER + "".join(rows))
    return folder / "marks.csv"


def test_figures_of_images_are_those_of_what_the_reader_says(
    found: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    says = {1: "1", 2: "1", 3: "0", 4: "", 5: "1", 6: "0", 8: "1"}
    marked = evaluate(found, marks(tmp_path, says), json=tmp_path / "figures.json")
    show_evaluation(marked, found, tmp_path / "marks.csv")
    told = capsys.readouterr().out
    assert "5 images that a reader marked, 3 with opacity; left out: 1 unsure, 1 not predicted" in told
    figures = json.loads((tmp_path / "figures.json").read_text())
    (entry,) = figures["entries"]
    assert entry["auroc"]["estimate"] == auroc([1, 1, 0, 1, 0], [0.9, 0.8, 0.7, 0.3, 0.2])
    point = entry["image_points"]["operating point"]
    assert point["sensitivity"]["estimate"] == pytest.approx(2 / 3)  # the third has no box
    assert point["specificity"]["estimate"] == pytest.approx(1 / 2)
    assert figures["of_run"] == "f" * 16
    assert sum(each["images"] for each in entry["reliability"]) == 5
    assert f"{entry['auroc']['estimate']:.3f} [" in told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEADER + f"{IMAGES[::-1]},1,agree,1,0.5,1\n", "row 2: is of other images"),
        (HEADER + f"{IMAGES},1,agree,1,0.5,1\n{IMAGES},1,no,0,0.5,1\n", "row 3: image 1 has two marks that differ"),
        (HEADER + f"{IMAGES},1,agree,yes,0.5,1\n", "row 2: opacity"),
        (HEADER + f"{IMAGES},one,agree,1,0.5,1\n", "row 2: number"),
        (HEADER + f"{IMAGES},1,unsure,,0.5,1\n", "no image has a mark that says yes or no"),
        (HEADER, "no image has a mark"),
        ("image,label\n1,1\n", "images: this column is missing|images"),
    ],
)
def test_what_is_no_label_of_these_images_is_refused(text: str, said: str, found: Path, tmp_path: Path) -> None:
    (tmp_path / "marks.csv").write_text(text)
    with pytest.raises(HilumError, match=said):
        evaluate(found, tmp_path / "marks.csv")


def test_marks_are_of_predictions_as_they_are(found: Path, tmp_path: Path) -> None:
    file = marks(tmp_path, {1: "1", 6: "0"})
    with pytest.raises(HilumError, match="predict with another --confidence"):
        evaluate(found, file, confidence=0.1)
    with pytest.raises(HilumError, match=r"nowhere\.csv: "):
        evaluate(found, tmp_path / "nowhere.csv")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("")
    with pytest.raises(HilumError, match=r"not a predictions folder, images\.csv is missing"):
        evaluate(tmp_path / "run", file)
