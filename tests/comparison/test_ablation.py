"""The ablation over several folds; that of one run is in tests/compose/test_ensemble.py."""

import shutil

import pytest
from small_configs import RESNET

import hilum
from hilum.comparison.ablation import ablation
from hilum.comparison.measured import predict_answers
from hilum.config import check_config
from hilum.datasets.folder import Dataset
from hilum.datasets.resplit import Folds, resplit
from hilum.errors import HilumError
from hilum.eval.bootstrap import Interval
from hilum.eval.coco import coco_ap
from hilum.eval.competition import IOU_THRESHOLDS, competition_score, match_counts
from hilum.train_run import train

LONGER = {**RESNET, "train": {**RESNET["train"], "epochs": 14}}


@pytest.fixture(scope="module")
def folds(dataset, tmp_path_factory):
    """Three splits of one folder, whose holdouts share no image, and on each a composed run."""
    folder = tmp_path_factory.mktemp("folds")
    shutil.copytree(dataset, folder / "data")
    made = []
    for at, split in enumerate(resplit(folder / "data", "three", Folds(3, "patient"), seed=0)):
        data, run = Dataset.open(split), folder / f"run-{at}"
        train(check_config(composed(), "test"), data, run)
        made.append((run, data))
    return made


@pytest.fixture(scope="module")
def table(folds):
    return ablation(folds, before={"alone": [run / "members" / "resnet" for run, _ in folds]})


def composed(**values):
    part = {"members": {"resnet": {"config": LONGER}}, "views": {"flip": True}, "shrink": "val"}
    return {"backend": "compose", **part, **values}


def test_pooled_folds_are_scored_as_one_set_of_images(folds, table):
    assert [row.name for row in table] == ["alone", "resnet", "+ views", "+ shrink"]
    truth, boxes, confidence, every = [], [], [], ([], [])
    for run, data in folds:
        holdout = data.split("holdout")
        answer = predict_answers(hilum.load(run), holdout)[0]
        truth += holdout.boxes_xywh
        kept = answer.kept()
        boxes += kept[0]
        confidence += kept[1]
        every[0].extend(answer.boxes_xywh)
        every[1].extend(answer.confidence)
    last = table[-1]
    assert last.score.estimate == pytest.approx(competition_score(truth, boxes, confidence))
    counts = match_counts(truth, boxes, confidence)
    hits, missed = counts.true_positive[:, 0].sum(), counts.false_negative[:, 0].sum()
    assert hits > 0
    assert last.sensitivity.estimate == pytest.approx(hits / (hits + missed))
    assert last.false_positives_per_image.estimate == pytest.approx(counts.false_positive[:, 0].sum() / 48)
    assert last.ap_competition == pytest.approx(coco_ap(truth, *every, iou_thresholds=IOU_THRESHOLDS))
    assert [fold.confidence for fold in last.folds] == [hilum.load(run).confidence for run, _ in folds]


def test_a_run_before_is_compared_as_the_same_run_in_the_composition(table):
    """The composition's first row is its first member alone: the same answers, so nothing is added."""
    alone, first, *_ = table
    assert first.added == Interval(0, 0, 0)
    assert first.score == alone.score


def test_the_order_of_folds_makes_no_difference(folds, table):
    for one, other in zip(table[1:], ablation(folds[::-1]), strict=True):
        assert one.score.estimate == pytest.approx(other.score.estimate)
        assert one.folds == other.folds[::-1]


def test_what_cannot_be_pooled_is_refused(folds, tmp_path):
    (run, data), other, _ = folds
    with pytest.raises(HilumError, match=r"are in that of .* too"):
        ablation([(run, data), (run, data)])
    with pytest.raises(HilumError, match="on other data or another split"):
        ablation([(run, data), (run, other[1])])
    with pytest.raises(HilumError, match="alone: 1 runs for 2 composed ones"):
        ablation([(run, data), other], before={"alone": [run]})
    part = {"members": {"resnet": {"run": str(other[0] / "members" / "resnet")}}, "views": {}}
    train(check_config(composed(**part), "test"), other[1], tmp_path / "other")
    with pytest.raises(HilumError, match="composed of other parts"):
        ablation([(run, data), (tmp_path / "other", other[1])])


def test_intervals_are_of_patients_over_all_folds(table):
    for row in table[1:]:
        assert row.score.low <= row.score.estimate <= row.score.high
        assert row.added.low <= row.added.estimate <= row.added.high
    assert table[-1].score.low < table[-1].score.high
