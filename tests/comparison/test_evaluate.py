"""Where thresholds come from, whatever is evaluated."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from supervision import Detections

from hilum.comparison.evaluate import evaluate
from hilum.datasets.boxes import xywh_to_xyxy
from hilum.datasets.folder import Dataset
from hilum.errors import HilumError
from hilum.eval import measures
from hilum.eval.answer import Answer, with_chosen_confidence
from hilum.eval.competition import best_confidence, competition_score, threshold_curve
from hilum.eval.measures import measure
from hilum.eval.predictions_folder import write_predictions
from hilum.eval.submission import write_submission
from hilum.result import Result


@pytest.fixture(scope="module")
def data(dataset: Path) -> Dataset:
    return Dataset.open(dataset)


def noisy(split, seed=0):
    """The truth, a little off, with boxes that are not there: boxes and confidences, one an image."""
    rng = np.random.default_rng(seed)
    found = []
    for boxes in split.boxes_xywh:
        shifted = boxes + rng.normal(0, 15, boxes.shape)
        false = np.column_stack([rng.uniform(0, 600, (2, 2)), rng.uniform(80, 300, (2, 2))])
        sure = np.concatenate([rng.uniform(0.4, 1, len(boxes)), rng.uniform(0, 0.7, 2)])
        found.append((np.vstack([shifted.reshape(-1, 4), false]), sure))
    return found


def coco(path: Path, *splits) -> Path:
    entries = [
        {"image_id": number, "category_id": 1, "bbox": box.tolist(), "score": float(sure)}
        for split in splits
        for number, (boxes, confidence) in zip(split.coco_ids, noisy(split), strict=True)
        for box, sure in zip(boxes, confidence, strict=True)
    ]
    path.write_text(json.dumps(entries))
    return path


def entry(results):
    return results.entries[-1]


def test_where_val_was_predicted_too_the_operating_point_is_chosen_there(data, tmp_path):
    val, holdout = data.split("val"), data.split("holdout")
    results, problems = evaluate(coco(tmp_path / "both.json", val, holdout), data, "holdout")
    assert not [line for line in problems if "looked at" in line or "passed over" in line]
    assert "operating point was chosen on val; thresholds on images were chosen on val" in results.chosen
    boxes, confidence = zip(*noisy(val), strict=True)
    least = best_confidence(threshold_curve(val.boxes_xywh, boxes, confidence))[0]
    assert entry(results).least_confidence == least
    boxes, confidence = zip(*noisy(holdout), strict=True)
    kept = [(b[c >= least], c[c >= least]) for b, c in zip(boxes, confidence, strict=True)]
    expected = competition_score(holdout.boxes_xywh, *zip(*kept, strict=True))
    assert entry(results).score.estimate == pytest.approx(expected)


def test_with_one_split_alone_it_cross_fits_and_says_so(data, tmp_path):
    train = data.split("train")
    results, _ = evaluate(coco(tmp_path / "one.json", train), data, "train")
    assert results.chosen.count("cross-fitted over patients on this very split") == 2
    boxes, confidence = zip(*noisy(train), strict=True)
    fitted = with_chosen_confidence(Answer(boxes, confidence), train, None)
    assert len(np.unique(fitted.least)) > 1
    assert entry(results).score.estimate == pytest.approx(competition_score(train.boxes_xywh, *fitted.kept()))
    best = best_confidence(threshold_curve(train.boxes_xywh, boxes, confidence))[1]
    assert entry(results).score.estimate <= best + 1e-12  # what choosing on it would have claimed
    assert np.isnan(entry(results).least_confidence)


def test_a_stray_box_on_val_chooses_nothing(data, tmp_path):
    val, holdout = data.split("val"), data.split("holdout")
    path = coco(tmp_path / "stray.json", holdout)
    alone, _ = evaluate(path, data, "holdout")
    box = {"image_id": val.coco_ids[0], "category_id": 1, "bbox": [1, 1, 9, 9], "score": 0.987}
    path.write_text(json.dumps([*json.loads(path.read_text()), box]))
    results, problems = evaluate(path, data, "holdout")
    assert results.chosen.count("cross-fitted over patients on this very split") == 2
    assert entry(results).score == entry(alone).score
    assert f"{path}: holds 1 of {len(val)} images of the val split, too few to choose on" in problems


def test_what_is_not_right_of_val_is_said_once(data, tmp_path):
    val, holdout = data.split("val"), data.split("holdout")
    path = coco(tmp_path / "both.json", val, holdout)
    entries = [e for e in json.loads(path.read_text()) if e["image_id"] != val.coco_ids[0]]
    path.write_text(json.dumps([*entries, {"image_id": "stranger"}]))
    results, problems = evaluate(path, data, "holdout")
    assert "chosen on val" in results.chosen
    assert sum(f"1 of {len(val)} images of the val split are not in it" in line for line in problems) == 1
    assert sum("expected image_id" in line for line in problems) == 1


@pytest.mark.parametrize("name", ["train", "val"])
def test_figures_of_other_splits_are_said_to_flatter_whatever_the_source(data, tmp_path, name):
    path = coco(tmp_path / "one.json", data.split(name), data.split("holdout"))
    assert any(f"figures of {name} flatter" in line for line in evaluate(path, data, name)[1])
    assert not any("flatter" in line for line in evaluate(path, data, "holdout")[1])


def test_where_the_operating_point_comes_from(data, tmp_path):
    """A file of a predictions folder is read as the folder; another file beside them is not."""
    holdout = data.split("holdout")
    folder = tmp_path / "pred"
    results = [
        Result(
            image_id,
            Detections(xyxy=xywh_to_xyxy(boxes), confidence=confidence, class_id=np.zeros(len(boxes), int)),
            0.5,
        )
        for image_id, (boxes, confidence) in zip(holdout.image_ids, noisy(holdout), strict=True)
    ]
    write_predictions(folder, results, holdout.coco_ids, {"confidence": 0.6})
    for path in (folder, folder / "predictions.csv", folder / "predictions.json"):
        measured, _ = evaluate(path, data, "holdout")
        assert "operating point is that of the predictions folder" in measured.chosen
        assert entry(measured).least_confidence == 0.6
    measured, _ = evaluate(coco(folder / "theirs.json", holdout), data, "holdout")
    assert measured.chosen.startswith("the operating point was cross-fitted")
    write_predictions(folder, results, holdout.coco_ids, {"run": "a"})
    for path in (folder, folder / "predictions.csv"):
        assert evaluate(path, data, "holdout")[0].chosen.startswith("the operating point was cross-fitted")


def test_a_submission_is_an_answer_as_it_is(data, tmp_path):
    holdout = data.split("holdout")
    boxes, confidence = zip(*noisy(holdout), strict=True)
    write_submission(tmp_path / "s.csv", holdout.image_ids, boxes, confidence)
    results, problems = evaluate(tmp_path / "s.csv", data, "holdout")
    assert "all its boxes are the answer" in results.chosen
    expected = competition_score(holdout.boxes_xywh, boxes, confidence)
    assert entry(results).score.estimate == pytest.approx(expected, abs=1e-3)  # a submission rounds
    given, _ = evaluate(tmp_path / "s.csv", data, "holdout", 0.5)
    assert "the operating point was given" in given.chosen
    assert entry(given).least_confidence == 0.5
    assert all("out of" in line or "beyond" in line or "picture" in line for line in problems)


def test_no_figure_is_chosen_on_what_it_reports(data, tmp_path):
    """Every threshold on an image's probability comes from val: another holdout does not move it."""
    val, holdout = data.split("val"), data.split("holdout")
    both = json.loads(coco(tmp_path / "both.json", val, holdout).read_text())
    less = [e for e in both if e["image_id"] in val.coco_ids or e["image_id"] in holdout.coco_ids[:2]]
    (tmp_path / "less.json").write_text(json.dumps(less))
    one, other = (evaluate(tmp_path / name, data, "holdout")[0] for name in ("both.json", "less.json"))
    points, others = entry(one).image_points, entry(other).image_points
    assert {name: point.threshold for name, point in points.items()} == {
        name: point.threshold for name, point in others.items()
    }


def test_an_empty_split_is_said(data, tmp_path, monkeypatch):
    path = coco(tmp_path / "one.json", data.split("train"))
    with pytest.raises(HilumError, match="none of the"):
        evaluate(path, data, "holdout")


def with_boxes_of(split, *image_ids):
    """A split where only these images show opacity."""
    kept = set(image_ids)
    boxes = [
        each if name in kept else np.zeros((0, 4)) for name, each in zip(split.image_ids, split.boxes_xyxy, strict=True)
    ]
    return replace(split, boxes_xyxy=tuple(boxes))


def images_of_patients_with_opacity(split):
    """One image with opacity of each patient who has one."""
    of = {}
    for name, patient, boxes in zip(split.image_ids, split.patients, split.boxes_xyxy, strict=True):
        if len(boxes):
            of.setdefault(patient, name)
    return list(of.values())


@pytest.mark.parametrize(("positive", "lone"), [(1, True), (1, False), (2, True)])
def test_a_perfect_answer_is_perfect_however_few_patients_have_opacity(data, tmp_path, monkeypatch, positive, lone):
    train = data.split("train")
    split = with_boxes_of(train, *images_of_patients_with_opacity(train)[:positive])
    of = {"train": split, "val": with_boxes_of(data.split("val")), "holdout": data.split("holdout")}
    monkeypatch.setattr(Dataset, "split", lambda _, name: of[name])
    entries = [
        {"image_id": number, "category_id": 1, "bbox": box.tolist(), "score": 0.9}
        for number, boxes in zip(split.coco_ids, split.boxes_xywh, strict=True)
        for box in boxes
    ]
    if not lone:  # val is predicted too, but it shows no opacity to choose on
        entries += [
            {"image_id": number, "category_id": 1, "bbox": [60, 60, 400, 500], "score": 0.95}
            for number in of["val"].coco_ids
        ]
    (tmp_path / "perfect.json").write_text(json.dumps(entries))
    results, problems = evaluate(tmp_path / "perfect.json", data, "train")
    assert entry(results).score.estimate == 1
    assert sum("only one patient of the train split has opacity" in line for line in problems) == (positive == 1)
    assert sum("so nothing can be chosen there" in line for line in problems) == (not lone)


def test_a_split_without_opacity_keeps_all_boxes_and_says_so(data, tmp_path, monkeypatch):
    split = with_boxes_of(data.split("train"))
    monkeypatch.setattr(Dataset, "split", lambda _, name: replace(split, name=name))
    results, problems = evaluate(coco(tmp_path / "false.json", data.split("train")), data, "val")
    assert any(
        "no image of the val split shows opacity: no point to choose, all boxes kept" in line for line in problems
    )
    assert entry(results).mistakes.boxes
    assert sum(map(len, (boxes for boxes, _ in noisy(split)))) == sum(entry(results).mistakes.boxes.values())


def test_a_run_whose_backend_finds_relative_boxes_is_refused(data, tmp_path, monkeypatch):
    def relative(predictor, split):
        del predictor
        shares = [boxes / np.tile(wh, 2) for boxes, wh in zip(split.boxes_xywh, split.sizes_wh, strict=True)]
        return [Answer(shares, [np.full(len(boxes), 0.9) for boxes in shares])]

    monkeypatch.setattr("hilum.comparison.evaluate.load", lambda run: run)
    monkeypatch.setattr("hilum.comparison.evaluate.predict_answers", relative)
    for name in ("config.yaml", "weights.safetensors", "environment.json", "operating_point.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(HilumError, match=f"^{tmp_path}: all .* boxes lie within 1 px, as relative ones"):
        evaluate(tmp_path, data, "train")


@pytest.mark.usefixtures("all_resamples")
def test_intervals_are_of_as_many_resamples_as_pages_and_tables_say(data, monkeypatch):
    holdout, draws = data.split("holdout"), {}

    def watched(function):
        def draw(*args, **options):
            drawn = function(*args, **options)
            draws.update({name: figure.draws.split(" ")[0] for name, figure in drawn.items()})
            return drawn

        return draw

    for name in ("bootstrap", "bootstrap_ratios"):
        monkeypatch.setattr(measures, name, watched(getattr(measures, name)))
    measure(holdout, Answer(*zip(*noisy(holdout), strict=True)), {})
    assert len(draws) > 8
    assert {name: many for name, many in draws.items() if many != "2000"} == {"ap_competition": "500"}
