"""Runs away from home: which images, which thresholds, what is refused, what is kept, and what is told."""

import csv
import html
import json
import re
import shutil

import cv2
import numpy as np
import pytest
from commandline import complaint, hilum

from hilum.commands import benchmark as command
from hilum.comparison import benchmark as benchmark_module
from hilum.comparison import kept
from hilum.comparison.benchmark import benchmark
from hilum.comparison.cost import measure_cost
from hilum.comparison.evaluate import evaluate
from hilum.comparison.external import away_split, open_places
from hilum.comparison.measured import AVERAGE, NOTHING, predict_answers
from hilum.comparison.results import Results
from hilum.converters.convert import convert
from hilum.datasets.folder import Dataset
from hilum.datasets.resplit import Shares, resplit
from hilum.documents import read_json
from hilum.errors import HilumError
from hilum.eval.answer import image_thresholds
from hilum.eval.measures import measure
from hilum.eval.travel import CALIBRATION, travel
from hilum.pages.report import write_report
from hilum.predict import load
from hilum.run import json_text
from hilum.sample.challenge import write_sample


@pytest.fixture(scope="module")
def home(dataset):
    return Dataset.open(dataset)


@pytest.fixture(scope="module")
def away(home, tmp_path_factory):
    """A twin of another seed whose pictures are darker and smaller; one of them is a picture of home's train."""
    source = tmp_path_factory.mktemp("away")
    write_sample(source / "kaggle", 30, 7, opacity_share=0.4)
    folder = source / "data"
    convert(source / "kaggle", folder, patients=source / "kaggle" / "patient_map.csv")
    half = 0.5
    for path in (folder / "images").iterdir():
        pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(path), cv2.resize((255 * (pixels / 255) ** 1.7).astype(np.uint8), None, fx=half, fy=half))
    for path in (folder / "annotations").glob("*.json"):
        coco = json.loads(path.read_text())
        for image in coco["images"]:
            image |= {"width": 512, "height": 512}
        for box in coco["annotations"]:
            box |= {"bbox": [half * value for value in box["bbox"]], "area": half * half * box["area"]}
        path.write_text(json.dumps(coco))
    stolen = cv2.imread(str(home.split("train").paths[0]), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(Dataset.open(folder).split("train").paths[0]), cv2.resize(stolen, (512, 512)))
    return Dataset.open(folder)


@pytest.fixture(scope="module")
def quick():
    from hilum.comparison import cost
    from hilum.comparison.peak_memory import PeakMemory

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "peak_memory", lambda run, files: PeakMemory(1, float("nan")))
        patch.setattr(cost, "_AT_LEAST", 1)
        patch.setattr(cost, "_WARM_UP", 0)
        yield patch


def run(home, runs, out, places, told=None):
    tell = (told if told is not None else []).append
    return benchmark(home, runs, out, tell=tell, cost_seconds=0.0, external=places)


@pytest.fixture(scope="module")
def done(home, away, tiny_run, quick, tmp_path_factory):
    out, told = tmp_path_factory.mktemp("benchmark"), []
    found = run(home, {"tiny": tiny_run}, out, {"siim": away.path, "itself": home.path}, told)
    write_report(out / "report.html", found)
    return out, found, told


def test_the_figures_are_those_of_home_thresholds_on_all_images_away(done, home, away, tiny_run):
    external = done[1].results.external[0]
    split = away.labelled()
    assert (external.name, external.split, external.images) == ("siim", "all", len(split))
    assert [entry.name for entry in external.entries] == [NOTHING, AVERAGE, "tiny"]
    predictor, val, holdout = load(tiny_run), home.split("val"), home.split("holdout")
    thresholds = image_thresholds(val, predict_answers(predictor, val)[0])
    answers = [(of, predict_answers(predictor, of)[0]) for of in (holdout, split)]
    sides = [(of, answer, measure(of, answer, thresholds)) for of, answer in answers]
    entry = external.entries[-1]
    assert entry.least_confidence == predictor.confidence
    assert entry.score.estimate == pytest.approx(sides[1][2].figures.score.estimate)
    for name, point in entry.image_points.items():
        assert point.threshold == pytest.approx(sides[0][2].figures.image_points[name].threshold, nan_ok=True)
    expected = travel(*sides)
    for name, moved in entry.travel.figures.items():
        for part in ("home", "away", "difference"):
            ours, its = getattr(moved, part), getattr(expected.moved(name), part)
            assert [ours.estimate, ours.low, ours.high] == pytest.approx([its.estimate, its.low, its.high], nan_ok=True)
    assert CALIBRATION in entry.travel.figures
    assert external.entries[0].travel is None  # a baseline


def test_of_the_data_at_home_the_holdout_is_measured_and_nothing_differs(done):
    results = done[1].results
    itself = results.external[1]
    assert (itself.split, itself.images) == ("holdout", results.images)
    entry = itself.entries[-1]
    assert entry.score == results.entries[-1].score
    assert entry.travel.moved("score").difference.estimate == 0
    assert entry.travel.moved("false_positives_per_image").difference.low <= 0


def test_a_further_split_of_the_data_at_home_is_no_other_hospital(home, away, dataset, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(dataset, copy)
    (other,) = resplit(copy, "other", Shares(), seed=3)
    assert away_split(Dataset.open(other), home.family()).name == "holdout"
    assert away_split(Dataset.open(copy), Dataset.open(other).family()).name == "holdout"
    assert away_split(away, home.family()).name == "all"


def test_what_is_shared_is_told_and_kept(done, home):
    out, found, told = done
    external = found.results.external[0]
    train = external.meetings[0]
    assert train.between == ("train", "siim")
    assert (train.same_pixels, train.look_alike, train.same_ids) == (0, 1, 0)
    assert train.alike_example[0] == home.split("train").image_ids[0]
    assert train.patients > 0  # each twin numbers its patients from 1
    line = next(line for line in told if "look alike" in line)
    assert line.startswith("siim: LEAK: pictures in both train and siim, once decoded: 0 the same, 1 that look alike")
    assert line.removeprefix("siim: ") in (out / "table.md").read_text()
    assert any("each set may number its own patients" in line for line in told)


def test_the_files_have_it_and_results_are_read_as_they_were_written(done):
    out, found, _ = done
    results = read_json(out / "results.json", Results)
    assert json_text(results.dump()) == json_text(found.results.dump()) == (out / "results.json").read_text()
    rows = list(csv.DictReader((out / "table.csv").read_text().splitlines()))
    assert [(row["name"], row["data"]) for row in rows if row["data"]] == [
        (name, where) for where in ("siim", "itself") for name in (NOTHING, AVERAGE, "tiny")
    ]
    moved = next(row for row in rows if (row["name"], row["data"]) == ("tiny", "siim"))
    difference = found.results.external[0].entries[-1].travel.moved("brier").difference
    assert moved["Brier score, home minus away [95%]"].startswith(f"{difference.estimate:+.3f} [")
    assert "## Does it travel? siim: 30 images" in (out / "table.md").read_text()


def test_again_nothing_is_predicted_and_another_data_set_is_added(done, home, away, tiny_run, quick, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(done[0], out)
    told = []
    run(home, {"tiny": tiny_run}, out, {"siim": away.path, "itself": home.path}, told)
    assert not any("predicts" in line for line in told)
    assert (out / "results.json").read_text() == (done[0] / "results.json").read_text()
    told.clear()
    run(home, {"tiny": tiny_run}, out, {"siim": away.path, "more": away.path}, told)
    assert [line for line in told if "predicts" in line] == ["tiny at more: predicts 30 images of all"]
    told.clear()
    run(home, {"tiny": tiny_run}, out, {}, told)
    assert "external" not in json.loads((out / "results.json").read_text())
    assert "data" not in (out / "table.csv").read_text().splitlines()[0].split(",")


def test_the_page_says_it(done):
    page = re.sub(r"<(style|script)>.*?</\1>|<[^>]*>", " ", (done[0] / "report.html").read_text(), flags=re.DOTALL)
    text = re.sub(r"\s+", " ", html.unescape(page))
    assert "Does it travel?" in text
    moved = done[1].results.external[0].entries[-1].travel.moved("score")
    assert f"{moved.home.estimate:.2f} at home and {moved.away.estimate:.2f} at siim" in text
    assert "1 that look alike" in text


@pytest.mark.parametrize(
    ("places", "told"),
    [
        ({"a/b": "DATA"}, "external 'a/b': no name for a data set"),
        ({"a": "DATA", "A": "DATA"}, "external 'A': another one is called so"),
        ({"a": "NOWHERE"}, "no such folder"),
        ({"a": "EMPTY"}, "it has no labelled image"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(home, away, tmp_path, monkeypatch, places, told):
    empty = tmp_path / "EMPTY"
    shutil.copytree(away.path, empty)
    for path in (empty / "annotations").iterdir():
        path.write_text(json.dumps(json.loads(path.read_text()) | {"images": [], "annotations": []}))
    folders = {"DATA": away.path, "NOWHERE": tmp_path / "nowhere", "EMPTY": empty}
    monkeypatch.setattr(benchmark_module, "_trained", None)
    with pytest.raises(HilumError, match=told):
        run(home, {}, tmp_path / "out", {name: folders[what] for name, what in places.items()})
    assert not (tmp_path / "out" / "runs").exists()


def test_data_without_opacity_are_measured_and_it_is_said(home, away, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(away.path, bare)
    for path in (bare / "annotations").iterdir():
        coco = json.loads(path.read_text())
        path.write_text(json.dumps(coco | {"annotations": []}))
    told = []
    (place,) = open_places({"bare": bare}, home, tmp_path)
    place.look(home, told.append)
    assert "bare: no image shows opacity, so only false alarms can be told" in told
    assert place.split.positive.sum() == 0


def test_evaluate_takes_all_images_of_other_data_and_home_chooses_the_thresholds(done, home, away, tiny_run):
    alone, problems = evaluate(tiny_run, away)
    assert (alone.split, alone.images) == ("all", 30)
    assert [entry.name for entry in alone.entries] == [NOTHING, tiny_run.name]  # average boxes of these would flatter
    assert any("may have seen these very images; --home" in line for line in problems)
    assert "thresholds on images were cross-fitted" in alone.chosen
    found, problems = evaluate(tiny_run, away, home=home)
    assert [entry.name for entry in found.entries] == [NOTHING, AVERAGE, tiny_run.name]
    assert "thresholds on images were chosen on val at home" in found.chosen
    assert not any("may have seen" in line for line in problems)
    assert any("LEAK: pictures in both train and" in line for line in problems)
    benchmarked = done[1].results.external[0].entries[-1]
    assert found.entries[-1].score == benchmarked.score
    assert found.entries[-1].travel.moved("score") == benchmarked.travel.moved("score")
    assert found.home_fingerprint == home.fingerprint
    itself, _ = evaluate(tiny_run, home)
    assert itself.split == "holdout"
    assert "home_fingerprint" not in itself.dump()


def test_a_confidence_that_is_given_holds_at_home_and_away(home, away, tiny_run):
    found, _ = evaluate(tiny_run, away, confidence=0.999999, home=home)
    moved = found.entries[-1].travel.moved("false_positives_per_image")
    assert moved.home.estimate == moved.away.estimate == 0


def test_a_home_that_is_none_is_refused(home, away, tiny_run, tmp_path):
    with pytest.raises(HilumError, match=f"^home: {tiny_run} was trained, or tuned, on other data"):
        evaluate(tiny_run, home, home=away)
    (tmp_path / "boxes.json").write_text("[]")
    with pytest.raises(HilumError, match="is no run, so it was not trained on"):
        evaluate(tmp_path / "boxes.json", away, home=home)


def test_on_the_command_line(home, away, tiny_run, quick, tmp_path):
    """From two generated twins to the page."""
    out = tmp_path / "out"
    quick.setattr(kept, "measure_cost", lambda *args, **options: measure_cost(*args, **{**options, "seconds": 0.0}))
    told = hilum("benchmark", home.path, tiny_run, "--out", out, "--external", f"siim={away.path}")
    assert "siim beside" in told.stdout
    assert "home minus away" in told.stdout
    assert "with the confidence that is best away" in told.stdout.replace("\n", " ")
    assert "From home to siim" in (out / "report.html").read_text()
    assert f"--external siim={away.path}" in json.loads((out / "results.json").read_text())["command"]
    told = hilum("evaluate", tiny_run, away.path, "--home", home.path, "--json", tmp_path / "e.json")
    assert "box sensitivity" in told.stdout
    entry = json.loads((tmp_path / "e.json").read_text())["entries"][-1]
    assert entry["travel"]["figures"]["score"]["difference"].keys() == {"estimate", "low", "high"}
    assert "split" in complaint("evaluate", tiny_run, away.path, "--split", "every")


def test_data_of_another_source_need_a_config(home, away, tmp_path):
    words = ("benchmark", home.path, "--against", tmp_path, "--external", f"siim={away.path}")
    assert "--external: no config given to be measured there" in complaint(*words)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["siim"], "--external siim: expected NAME=FOLDER"),
        (["siim="], "--external siim=: expected NAME=FOLDER"),
        (["a=x", "a=y"], "--external a: is given twice"),
    ],
)
def test_what_the_option_takes(given, told):
    with pytest.raises(HilumError, match=told):
        command._external(given)
