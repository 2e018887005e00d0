"""A benchmark and an evaluation of several classes are those of each class alone, and their mean."""

import json
import shutil
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from hilum.comparison import cost
from hilum.comparison.against import compare_benchmarks
from hilum.comparison.benchmark import Benchmark, benchmark, class_folder
from hilum.comparison.evaluate import evaluate
from hilum.comparison.measured import predict_answers
from hilum.comparison.peak_memory import PeakMemory
from hilum.comparison.results import Results
from hilum.config import check_config
from hilum.datasets.folder import Dataset
from hilum.datasets.resplit import Shares, resplit
from hilum.documents import read_json
from hilum.errors import HilumError
from hilum.eval.answer import image_thresholds
from hilum.eval.bootstrap import Interval
from hilum.eval.measures import measure
from hilum.pages.report import write_report
from hilum.predict import load
from hilum.train_run import train

NAMES = ("left", "right", "low")
CONFIG = {
    "backend": "resnet",
    "model": {"channels": 4, "blocks": 1, "depth": 2, "head": "plain"},
    "image_size": 32,
    "train": {"epochs": 3, "batch_size": 4, "learning_rate": 0.01},
    "boxes": {"threshold": 0.1},
}


@pytest.fixture(scope="module")
def found(three_classes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Benchmark, Path]:
    """A tiny benchmark of three classes, measured away on its own holdout too, and its folder."""
    out = tmp_path_factory.mktemp("several") / "bench"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "peak_memory", lambda run, files: PeakMemory(1, float("nan")))
        patch.setattr(cost, "_AT_LEAST", 1)
        patch.setattr(cost, "_WARM_UP", 0)
        patch.setattr(cost, "BATCH_SIZE", 4)
        tiny = {"tiny": check_config(CONFIG, "a.yaml")}
        data = Dataset.open(three_classes)
        made = benchmark(data, tiny, out, tell=[].append, cost_seconds=0.0, external={"same": three_classes})
    write_report(out / "report.html", made)
    return made, out


def same(one: Interval, other: Interval) -> bool:
    """Also where they are not defined: nobody has the class, and none was found."""
    return bool(np.array_equal(astuple(one), astuple(other), equal_nan=True))


def test_each_class_is_measured_as_if_it_were_the_only_one(three_classes: Path, found: tuple[Benchmark, Path]) -> None:
    made, out = found
    data, predictor = Dataset.open(three_classes), load(out / "runs" / "tiny")
    val, holdout = data.split("val"), data.split("holdout")
    assert tuple(made.results.classes) == tuple(made.classes) == NAMES == predictor.class_names
    on_val, on_holdout = predict_answers(predictor, val), predict_answers(predictor, holdout)
    for class_id, results in enumerate(made.results.classes.values()):
        thresholds = image_thresholds(val.of_class(class_id), on_val[class_id])
        figures = measure(holdout.of_class(class_id), on_holdout[class_id], thresholds).figures
        told = results.entries[-1]
        assert all(same(getattr(told, name), getattr(figures, name)) for name in ("score", "auroc", "ap_competition"))
        assert told.mistakes == figures.mistakes
        np.testing.assert_equal(told.ap_coco, figures.ap_coco)
        assert results.positive_images == int(holdout.of_class(class_id).positive.sum())


def test_the_mean_is_over_the_classes_that_the_truth_has(found: tuple[Benchmark, Path]) -> None:
    made, _ = found
    for at, entry in enumerate(made.results.entries):
        shown = [each.entries[at] for each in made.results.classes.values() if each.positive_images]
        assert entry.score.estimate == pytest.approx(np.mean([each.score.estimate for each in shown]))
        assert entry.ap_coco == pytest.approx(np.mean([each.ap_coco for each in shown]))
        assert entry.auroc.estimate == pytest.approx(np.mean([each.auroc.estimate for each in shown]))
        assert entry.score.low <= entry.score.estimate <= entry.score.high
    holdout = made.holdout
    assert made.results.positive_images == int(holdout.positive.sum())


def test_data_of_its_own_source_differ_from_home_by_nothing(found: tuple[Benchmark, Path]) -> None:
    made, _ = found
    for results in made.results.classes.values():
        (away,) = results.external
        assert same(away.entries[-1].score, results.entries[-1].score)
        assert away.entries[-1].travel is not None
        assert away.entries[-1].travel.moved("auroc").difference.estimate == 0 or results.positive_images == 0


def test_files_and_pages_of_each_class_lie_in_a_folder_and_pages_lead_to_each_other(
    found: tuple[Benchmark, Path],
) -> None:
    made, out = found
    assert read_json(out / "results.json", Results).classes.keys() == made.results.classes.keys()
    page = (out / "report.html").read_text()
    for name in NAMES:
        folder = class_folder(out, name)
        assert {"report.html", "table.csv", "table.md", "comparison.png"} <= {path.name for path in folder.iterdir()}
        assert f'href="classes/{folder.name}/report.html"' in page
        its = (folder / "report.html").read_text()
        assert 'href="../../report.html"' in its
        assert f'<a aria-current="page">{name}</a>' in its
        assert f"Here an opacity is: {name}." in its
        assert its.count('href="../') == 3  # two classes and the mean
        for link in (f"../{class_folder(out, other).name}/report.html" for other in NAMES if other != name):
            assert (folder / link).resolve().is_file()


def test_an_evaluation_says_the_same_as_the_benchmark(three_classes: Path, found: tuple[Benchmark, Path]) -> None:
    made, out = found
    results, _ = evaluate(out / "runs" / "tiny", Dataset.open(three_classes), "holdout")
    assert same(results.entries[-1].score, made.results.entries[-1].score)
    for name, each in results.classes.items():
        assert same(each.entries[-1].score, made.results.classes[name].entries[-1].score)
    assert {"SIIM mAP, IoU > 0.5", "VinBigData mAP, IoU > 0.4"} <= results.entries[-1].metrics.keys()
    of_file, problems = evaluate(out / "predictions" / "tiny" / "holdout", Dataset.open(three_classes), "holdout")
    assert same(of_file.entries[-1].score, results.entries[-1].score)
    assert not [line for line in problems if "not in it" in line]


def test_two_benchmarks_are_compared_class_by_class(three_classes: Path, found: tuple[Benchmark, Path]) -> None:
    _, out = found
    changes = compare_benchmarks(out, out, Dataset.open(three_classes))
    assert [change.name for change in changes] == [f"tiny, {name}" for name in NAMES]
    assert all(change.difference.estimate == 0 or np.isnan(change.new.estimate) for change in changes)


def test_data_of_other_classes_are_refused_before_anything_is_trained(
    three_classes: Path, dataset: Path, found: tuple[Benchmark, Path], tmp_path: Path
) -> None:
    data = Dataset.open(three_classes)
    with pytest.raises(HilumError, match=r"external 'one'.*looks for left, right, low; the data are of opacity"):
        benchmark(
            data, {"a": check_config(CONFIG, "a.yaml")}, tmp_path / "b", tell=[].append, external={"one": dataset}
        )
    assert not (tmp_path / "b" / "runs").exists()
    with pytest.raises(HilumError, match=r"looks for left, right, low; the data are of opacity"):
        evaluate(found[1] / "runs" / "tiny", Dataset.open(dataset), "holdout")


def test_a_config_that_names_other_classes_than_the_data_is_refused(three_classes: Path, tmp_path: Path) -> None:
    named = check_config({**CONFIG, "class_names": ["opacity", "mass"]}, "a.yaml")
    with pytest.raises(HilumError, match=r"class_names: opacity, mass are not those of the data, left, right, low"):
        benchmark(Dataset.open(three_classes), {"a": named}, tmp_path / "b", tell=[].append)


def test_one_class_says_nothing_of_classes(dataset: Path, tiny_run: Path) -> None:
    results, _ = evaluate(tiny_run, Dataset.open(dataset), "holdout")
    assert "classes" not in json.dumps(results.dump())


def test_a_class_that_nobody_has_in_val_is_not_said_to_be_chosen_there(three_classes: Path, tmp_path: Path) -> None:
    """As of one class, thresholds are cross-fitted, and a line says so."""
    shutil.copytree(three_classes, tmp_path / "data")
    path = tmp_path / "data" / "annotations" / "val.json"
    coco = json.loads(path.read_text())
    coco["annotations"] = [box for box in coco["annotations"] if box["category_id"] != 1]
    assert coco["annotations"]
    path.write_text(json.dumps(coco))
    data = Dataset.open(tmp_path / "data")
    found = [
        {"image_id": image_id, "category_id": 1 + int(class_id), "bbox": box.tolist(), "score": 0.5}
        for name in ("val", "holdout")
        for split in [data.split(name)]
        for image_id, boxes, ids in zip(split.image_ids, split.boxes_xywh, split.class_ids, strict=True)
        for box, class_id in zip(boxes, ids, strict=True)
    ]
    found += [{**found[0], "image_id": image_id, "score": 0.1} for image_id in data.split("val").image_ids]
    (tmp_path / "r.json").write_text(json.dumps(found))
    results, problems = evaluate(tmp_path / "r.json", data, "holdout")
    assert any("no image of the val split shows left: nothing is chosen there" in line for line in problems)
    assert "the operating point was cross-fitted" in results.classes["left"].chosen
    assert "thresholds on images were cross-fitted" in results.classes["left"].chosen
    assert "the operating point was chosen on val" in results.classes["right"].chosen


def test_runs_of_a_split_elsewhere_know_the_folder_that_it_is_of(dataset: Path, tmp_path: Path) -> None:
    (elsewhere,) = resplit(dataset, "again", Shares((0.5, 0.25, 0.25)), out=tmp_path / "splits")
    tiny = check_config({**CONFIG, "train": {"epochs": 1, "batch_size": 8}}, "a.yaml")
    train(tiny, Dataset.open(elsewhere), tmp_path / "run")
    results, _ = evaluate(tmp_path / "run", Dataset.open(dataset))
    assert results.split == "holdout"


def test_false_alarms_of_a_class_that_nobody_has_are_in_the_mean(three_classes: Path, tmp_path: Path) -> None:
    shutil.copytree(three_classes, tmp_path / "data")
    path = tmp_path / "data" / "annotations" / "holdout.json"
    coco = json.loads(path.read_text())
    coco["annotations"] = [box for box in coco["annotations"] if box["category_id"] != 3]
    path.write_text(json.dumps(coco))
    data = Dataset.open(tmp_path / "data")
    holdout = data.split("holdout")
    box = {"category_id": 3, "bbox": [1, 1, 30, 30], "score": 0.9}
    (tmp_path / "r.json").write_text(json.dumps([{**box, "image_id": image_id} for image_id in holdout.image_ids]))
    results, _ = evaluate(tmp_path / "r.json", data, "holdout", confidence=0.5)
    mean = results.entries[-1]
    assert mean.false_positives_per_image.estimate == pytest.approx(1 / 3)
    assert mean.point("operating point").specificity.estimate == pytest.approx(2 / 3)
    assert results.mean_of == ", mean of the 2 of 3 classes that the images show"


def test_one_class_of_another_name_is_another_class(dataset: Path, tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "data")
    path = tmp_path / "data" / "conversion.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "class_names": ["Nodule"]}))
    with pytest.raises(HilumError, match=r"looks for opacity; the data are of Nodule; .*--classes"):
        evaluate(tiny_run, Dataset.open(tmp_path / "data"), "holdout")
