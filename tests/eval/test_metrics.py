"""What an epoch may be chosen by: ours, a plug-in's, and the mean over classes."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hilum.classifiers.gate_config import AUROC, OF_BOXES
from hilum.datasets.folder import Dataset
from hilum.detections import Detections
from hilum.errors import HilumError
from hilum.eval.answer import Answer, as_detections
from hilum.eval.coco import coco_ap
from hilum.eval.competition import IOU_THRESHOLDS, best_confidence, threshold_curve
from hilum.eval.froc import froc_statistic, rank_boxes
from hilum.eval.image_level import auroc
from hilum.eval.metrics import OURS, metric_named, metric_title, metric_value
from hilum.result import IMAGE_PROBABILITY
from hilum.training.validation import best_operating_point, epoch_score

DOCS = Path(__file__).parents[2] / "docs/evaluation.md"


@pytest.fixture(scope="module")
def val(dataset):
    return Dataset.open(dataset).split("val")


def answer_of(split, seed=0):
    """The truth, a little off, and a box that is not there."""
    rng = np.random.default_rng(seed)
    boxes = [
        np.vstack([true + rng.normal(0, 9, true.shape), [*rng.uniform(0, 500, 2), *rng.uniform(99, 300, 2)]])
        for true in split.boxes_xywh
    ]
    return Answer(boxes, [rng.uniform(0, 1, len(each)) for each in boxes], probability=rng.uniform(0, 1, len(split)))


@pytest.fixture(scope="module")
def answer(val):
    return answer_of(val)


def declare(folder: Path, module: str, text: str, **points: str) -> None:
    """A package with entry points `hilum.metrics`, as pip installs one."""
    (folder / f"{module}.py").write_text(text)
    about = folder / f"{module}-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 0.1\n")
    lines = "".join(f"{name} = {module}:{function}\n" for name, function in points.items())
    (about / "entry_points.txt").write_text(f"[hilum.metrics]\n{lines}")


@pytest.fixture
def plug_in(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    return lambda module, text, **points: declare(tmp_path, module, text, **points)


def test_ours_are_the_figures_of_those_names(val, answer):
    found, given = as_detections([answer]), (val.boxes_xywh, answer.boxes_xywh, answer.confidence)
    expected = {
        "competition": best_confidence(threshold_curve(*given))[1],
        "ap": coco_ap(*given, iou_thresholds=IOU_THRESHOLDS),
        "froc": froc_statistic(rank_boxes(*given))(np.ones(len(val)))["froc mean"],
        "auroc": auroc(val.positive, answer.probability),
    }
    for name, value in expected.items():
        assert 0 < value < 1
        assert metric_value(name, val, found) == pytest.approx(value, abs=1e-12), name
    assert epoch_score("competition", val, found) == best_operating_point(val, found)[1]
    assert set(OURS) == OF_BOXES | {AUROC}


def test_a_challenge_counts_images_without_a_box_as_a_class(val):
    """The truth itself, and what is surest where there is none: every class is in order."""
    positive = val.positive
    truth = Answer(val.boxes_xywh, [np.ones(len(b)) for b in val.boxes_xywh], probability=positive.astype(float))
    for name in ("siim", "vinbigdata"):
        assert metric_value(name, val, as_detections([truth])) == 1
        # Nothing found, and all images alike: `none` has the precision of its share, of equal ones the first first.
        nothing = Answer([np.zeros((0, 4))] * len(val), [np.zeros(0)] * len(val))
        ranks = np.flatnonzero(~positive)
        precision = np.arange(1, len(ranks) + 1) / (ranks + 1)
        best = [precision[i:].max() for i in range(len(ranks))]
        assert metric_value(name, val, as_detections([nothing])) == pytest.approx((0 + np.mean(best)) / 2)


def several(split, answers):
    """Two classes: the split's, and one that is in its first positive image alone; `third` is in none."""
    first = int(np.flatnonzero(split.positive)[0])
    boxes = [np.vstack([b, [[5, 5, 99, 99]]]) if n == first else b for n, b in enumerate(split.boxes_xyxy)]
    ids = [np.array([0] * (len(b) - (n == first)) + [1] * (n == first), np.int64) for n, b in enumerate(boxes)]
    names = ("opacity", "effusion", "third")
    both = replace(split, boxes_xyxy=tuple(boxes), class_ids=tuple(ids), class_names=names)
    return both, as_detections([*answers, answers[0], answers[0]])


@pytest.mark.parametrize("name", ["competition", "ap", "froc", "auroc"])
def test_with_several_classes_it_is_the_mean_over_those_with_a_true_box(val, answer, name):
    both, found = several(val, [answer])
    alone = [metric_value(name, both.of_class(k), as_detections([answer])) for k in (0, 1)]
    assert metric_value(name, both, found) == pytest.approx(np.mean(alone), abs=1e-12)


def test_the_challenges_see_all_classes_at_once(val, answer):
    both, found = several(val, [answer])
    assert not math.isnan(metric_value("vinbigdata", both, found))
    assert getattr(metric_named("vinbigdata"), "sees_all_classes", False)


def test_where_it_is_not_defined_an_epoch_has_nothing(val):
    none = replace(
        val, boxes_xyxy=tuple(np.zeros((0, 4)) for _ in val.boxes_xyxy), class_ids=((np.zeros(0, int),) * len(val))
    )
    found = as_detections([answer_of(val)])
    assert math.isnan(metric_value("ap", none, found))
    assert [epoch_score(name, none, found) for name in ("competition", "ap", "froc", "auroc")] == [0] * 4


def test_detections_of_an_answer_say_what_the_answer_says(val, answer):
    (first, *_) = as_detections([answer])
    assert isinstance(first, Detections)
    assert first.metadata[IMAGE_PROBABILITY] == answer.probability[0]
    two = as_detections([answer, replace(answer, probability=None)])[0]
    assert two.class_id.tolist() == [0] * len(first) + [1] * len(first)
    assert two.metadata[IMAGE_PROBABILITY].tolist() == [answer.probability[0], answer.confidence[0].max()]
    assert IMAGE_PROBABILITY not in as_detections([replace(answer, probability=None)])[0].metadata


def test_the_plug_in_of_the_docs(val, plug_in):
    text = DOCS.read_text()
    code = re.search(r"```python\n(# hilum_small\.py\n.*?)```", text, re.DOTALL)[1]
    assert 'small = "hilum_small:small_found"' in text
    assert len([line for line in code.splitlines() if line.strip() and not line.startswith("#")]) <= 10
    plug_in("hilum_small", code, small="small_found")
    areas = [(b[:, 2:].prod(axis=1), w * h * 0.03) for b, (w, h) in zip(val.boxes_xywh, val.sizes_wh, strict=True)]
    assert any((of < limit).any() for of, limit in areas)
    truth = as_detections([Answer(val.boxes_xywh, [np.ones(len(b)) for b in val.boxes_xywh])])
    assert metric_value("small", val, truth) == 1
    assert (
        metric_value("small", val, as_detections([Answer([np.zeros((0, 4))] * len(val), [np.zeros(0)] * len(val))]))
        == 0
    )
    assert metric_title("small") == "small"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("1 / 0", "metric 'mine': failed on val: division by zero"),
        ("'high'", "metric 'mine': failed on val: could not convert string to float: 'high'"),
        ("None", "metric 'mine': failed on val: float"),
        ("float('inf')", "metric 'mine': gave inf on val; expected a finite number, or NaN"),
    ],
)
def test_a_plug_in_that_fails_is_named(val, answer, plug_in, body, message):
    plug_in("odd_metric", f"mine = lambda split, found: {body}\n", mine="mine")
    try:
        with pytest.raises(HilumError) as caught:
            epoch_score("mine", val, as_detections([answer]))
    finally:
        import sys

        sys.modules.pop("odd_metric", None)
    assert str(caught.value).startswith(message)


def test_a_metric_that_is_not_there_or_is_none(plug_in):
    with pytest.raises(HilumError, match=r"^metric: no metric is called 'frocc'; did you mean 'froc'\?$"):
        metric_named("frocc")
    plug_in("broken_metric", "import a_library_that_is_not_there\n", broken="f", mine="f")
    with pytest.raises(HilumError, match=r"^metric: no metric is called 'q'; installed are ap, auroc, broken, comp"):
        metric_named("q")
    with pytest.raises(HilumError, match=r"^metric 'broken' cannot be used: No module named 'a_library"):
        metric_named("broken")
    plug_in("no_function", "number = 3\n", number="number")
    with pytest.raises(HilumError, match=r"^metric 'number': expected a function .* got int$"):
        metric_named("number")


def test_nobody_takes_the_place_of_ours(plug_in, val, answer):
    plug_in("usurper", "def ap(split, found):\n    return 7\n", ap="ap")
    assert metric_value("ap", val, as_detections([answer])) < 1
