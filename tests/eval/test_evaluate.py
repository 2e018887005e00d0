"""Where thresholds come from, whatever is evaluated."""

import json
from pathlib import Path

import numpy as np
import pytest

from hilum.datasets.folder import Dataset
from hilum.errors import HilumError
from hilum.eval.answer import Answer, with_chosen_confidence
from hilum.eval.competition import best_confidence, competition_score, threshold_curve
from hilum.eval.evaluate import evaluate
from hilum.eval.submission import write_submission


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
    return results["entries"][-1]


def test_where_val_was_predicted_too_the_operating_point_is_chosen_there(data, tmp_path):
    val, holdout = data.split("val"), data.split("holdout")
    results, problems = evaluate(coco(tmp_path / "both.json", val, holdout), data, "holdout")
    assert not [line for line in problems if "looked at" in line or "passed over" in line]
    assert "operating point was chosen on val; thresholds on images were chosen on val" in results["chosen"]
    boxes, confidence = zip(*noisy(val), strict=True)
    least = best_confidence(threshold_curve(val.boxes_xywh, boxes, confidence))[0]
    assert entry(results)["least_confidence"] == least
    boxes, confidence = zip(*noisy(holdout), strict=True)
    kept = [(b[c >= least], c[c >= least]) for b, c in zip(boxes, confidence, strict=True)]
    expected = competition_score(holdout.boxes_xywh, *zip(*kept, strict=True))
    assert entry(results)["score"]["estimate"] == pytest.approx(expected)


def test_with_one_split_alone_it_cross_fits_and_says_so(data, tmp_path):
    train = data.split("train")
    results, _ = evaluate(coco(tmp_path / "one.json", train), data, "train")
    assert results["chosen"].count("cross-fitted over patients on this very split") == 2
    boxes, confidence = zip(*noisy(train), strict=True)
    fitted = with_chosen_confidence(Answer(boxes, confidence), train, None)
    assert len(np.unique(fitted.least)) > 1
    assert entry(results)["score"]["estimate"] == pytest.approx(competition_score(train.boxes_xywh, *fitted.kept()))
    best = best_confidence(threshold_curve(train.boxes_xywh, boxes, confidence))[1]
    assert entry(results)["score"]["estimate"] <= best + 1e-12  # what choosing on it would have claimed
    assert np.isnan(entry(results)["least_confidence"])


def test_a_submission_is_an_answer_as_it_is(data, tmp_path):
    holdout = data.split("holdout")
    boxes, confidence = zip(*noisy(holdout), strict=True)
    write_submission(tmp_path / "s.csv", holdout.image_ids, boxes, confidence)
    results, problems = evaluate(tmp_path / "s.csv", data, "holdout")
    assert "all its boxes are the answer" in results["chosen"]
    expected = competition_score(holdout.boxes_xywh, boxes, confidence)
    assert entry(results)["score"]["estimate"] == pytest.approx(expected, abs=1e-3)  # a submission rounds
    given, _ = evaluate(tmp_path / "s.csv", data, "holdout", 0.5)
    assert "the operating point was given" in given["chosen"]
    assert entry(given)["least_confidence"] == 0.5
    assert all("out of" in line or "beyond" in line or "picture" in line for line in problems)


def test_no_figure_is_chosen_on_what_it_reports(data, tmp_path):
    """Every threshold on an image's probability comes from val: another holdout does not move it."""
    val, holdout = data.split("val"), data.split("holdout")
    both = json.loads(coco(tmp_path / "both.json", val, holdout).read_text())
    less = [e for e in both if e["image_id"] in val.coco_ids or e["image_id"] in holdout.coco_ids[:2]]
    (tmp_path / "less.json").write_text(json.dumps(less))
    one, other = (evaluate(tmp_path / name, data, "holdout")[0] for name in ("both.json", "less.json"))
    points, others = entry(one)["image_points"], entry(other)["image_points"]
    assert {name: point["threshold"] for name, point in points.items()} == {
        name: point["threshold"] for name, point in others.items()
    }


def test_an_empty_split_is_said(data, tmp_path, monkeypatch):
    path = coco(tmp_path / "one.json", data.split("train"))
    with pytest.raises(HilumError, match="none of the"):
        evaluate(path, data, "holdout")
