"""Home against away: laws, and cases worked out by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hilum.class_names import ONE_CLASS
from hilum.datasets.folder import Dataset, Split
from hilum.eval.answer import Answer, image_thresholds
from hilum.eval.bootstrap import bootstrap_ratios
from hilum.eval.competition import best_confidence, threshold_curve
from hilum.eval.measures import measure
from hilum.eval.strata import SENSITIVITY
from hilum.eval.strata_labels import picture_size_group
from hilum.eval.travel import CALIBRATION, PICTURE, travel

TRUTH = np.array([[100.0, 100, 300, 400]])
NONE = np.zeros((0, 4))


def made(n, positive, view="PA", size=1024, patients="p"):
    """A split of n images, the first of them with an opacity."""
    boxes = tuple(TRUTH if number < positive else NONE for number in range(n))
    return Split(
        name="holdout",
        coco_ids=tuple(range(1, n + 1)),
        image_ids=tuple(f"{patients}-{number}" for number in range(n)),
        paths=tuple(Path(f"{number}.png") for number in range(n)),
        sizes_wh=np.full((n, 2), size),
        boxes_xyxy=boxes,
        class_ids=tuple(np.zeros(len(each), np.int64) for each in boxes),
        class_names=ONE_CLASS,
        kinds=("",) * n,
        patients=tuple(f"patient {patients}{number}" for number in range(n)),
        views=(view,) * n,
        sexes=("",) * n,
        ages_years=("",) * n,
    )


def found(split, every, least=0.5, probability=None):
    """Finds each true box but every so manyth, and calls these too rarely."""
    hit = [len(boxes) > 0 and number % every != 0 for number, boxes in enumerate(split.boxes_xyxy)]
    boxes = [split.boxes_xywh[number] if each else NONE for number, each in enumerate(hit)]
    return Answer(boxes, [np.full(len(each), 0.9) for each in boxes], least, probability)


def measured(split, answer):
    return split, answer, measure(split, answer, image_thresholds(split, answer))


@pytest.fixture(scope="module")
def data(dataset):
    return Dataset.open(dataset)


def noisy(split, seed=0):
    rng = np.random.default_rng(seed)
    boxes = [np.vstack([each + rng.normal(0, 25, each.shape), [[50, 60, 200, 300]]]) for each in split.boxes_xywh]
    return Answer(boxes, [rng.uniform(0, 1, len(each)) for each in boxes], 0.4)


def test_home_against_itself_is_0_with_an_interval_around_it(data):
    split = data.labelled()
    side = measured(split, noisy(split))
    its = travel(side, side)
    for name, moved in its.figures.items():
        assert moved.home == moved.away, name
        if np.isfinite(moved.home.estimate):
            assert moved.difference.estimate == 0, name
            assert moved.difference.low <= 0 <= moved.difference.high, name
    assert its.moved("score").difference.low < 0 < its.moved("score").difference.high  # not paired: no certain 0
    assert its.strata.gaps
    assert all(gap.gap.estimate == 0 for gap in its.strata.gaps if np.isfinite(gap.gap.estimate))
    assert not any(gap.separated for gap in its.strata.gaps)


def test_a_difference_of_other_images_is_as_wide_as_both_together():
    rng = np.random.default_rng(0)
    first, second = (
        bootstrap_ratios({"a": (rng.normal(0, 1, n), np.ones(n))}, np.arange(n), resamples=4000)["a"]
        for n in (400, 100)
    )
    assert first.beyond(second).values.std() == pytest.approx(np.hypot(1 / 20, 1 / 10), rel=0.12)
    same = first.beyond(first)
    assert same.estimate == 0
    assert same.values.std() == pytest.approx(np.sqrt(2) / 20, rel=0.12)
    with pytest.raises(ValueError, match="same draws"):
        first - second


def test_what_falls_by_hand():
    home, away = made(60, 30), made(40, 20, patients="q")
    its = travel(measured(home, found(home, 10**9)), measured(away, found(away, 2)))
    # Image 0 is the only one whose number every high number divides.
    assert its.moved("sensitivity").home.estimate == pytest.approx(29 / 30)
    assert its.moved("sensitivity").away.estimate == 0.5
    assert its.moved("sensitivity").difference.estimate == pytest.approx(29 / 30 - 0.5)
    assert its.moved("sensitivity").difference.low > 0
    assert its.moved("false_positives_per_image").difference.estimate == 0
    assert np.isnan(its.moved("a figure that nobody has").home.estimate)


def test_calibration_is_the_mean_probability_less_the_share_that_shows_opacity():
    home, away = made(40, 20), made(40, 10, patients="q")
    its = travel(
        measured(home, found(home, 2, probability=np.full(40, 0.5))),
        measured(away, found(away, 2, probability=np.full(40, 0.5))),
    )
    off = its.moved(CALIBRATION)
    assert off.home.estimate == pytest.approx(0)
    assert off.away.estimate == pytest.approx(0.25)
    assert off.away.low > 0


def test_in_whom_it_falls():
    """Away AP images are missed, PA ones are found; each group is compared with its own at home."""
    home = replace(made(160, 80), views=tuple("AP" if number % 2 else "PA" for number in range(160)))
    away = replace(made(160, 80, patients="q"), views=home.views)
    its = travel(measured(home, found(home, 10**9)), measured(away, found(away, 10**9)))
    assert not any(gap.separated for gap in its.strata.gaps)
    answer = found(away, 10**9)
    missed = replace(
        answer,
        boxes_xywh=[NONE if view == "AP" else boxes for view, boxes in zip(away.views, answer.boxes_xywh, strict=True)],
        confidence=[
            np.zeros(0) if view == "AP" else values for view, values in zip(away.views, answer.confidence, strict=True)
        ],
    )
    its = travel(measured(home, found(home, 10**9)), measured(away, missed))
    gap = {(gap.stratum, gap.measure): gap for gap in its.strata.gaps}
    assert {gap.stratum for gap in its.strata.gaps if gap.separated} == {"AP"}
    assert gap["AP", SENSITIVITY].inside.estimate == 1
    assert gap["AP", SENSITIVITY].outside.estimate == 0
    assert gap["PA", SENSITIVITY].gap.estimate == pytest.approx(0)
    assert its.strata.comparisons == len([gap for gap in its.strata.gaps if np.isfinite(gap.gap.estimate)])


def test_groups_that_only_one_side_has_are_not_compared_and_pictures_are_with_all_of_home():
    home, away = made(40, 20, view="PA"), made(60, 30, view="AP", patients="q")
    sizes = np.where(np.arange(60)[:, None] % 2, 3000, 512) * np.ones((1, 2), int)
    its = travel(measured(home, found(home, 3)), measured(replace(away, sizes_wh=sizes), found(away, 3)))
    assert {(gap.factor, gap.stratum) for gap in its.strata.gaps} == {
        (PICTURE, "over 2048 px"),
        (PICTURE, "up to 1024 px"),
    }
    both = [gap for gap in its.strata.gaps if gap.measure == SENSITIVITY]
    assert len({gap.inside.estimate for gap in both}) == 1
    assert {picture_size_group(size) for size in sizes} == {gap.stratum for gap in both}


def test_the_best_threshold_away_flatters_and_the_cross_fitted_one_does_not(data):
    split = data.labelled()
    answer = replace(noisy(split), least=0.97)  # far too strict
    its = travel(measured(split, answer), measured(split, answer))
    best, score = best_confidence(threshold_curve(split.boxes_xywh, answer.boxes_xywh, answer.confidence))
    assert (its.best_confidence, its.best_score) == (best, score)
    assert its.moved("score").away.estimate < its.best_score
    assert its.cross_fitted_score <= its.best_score


def test_without_an_opacity_away_what_depends_on_one_is_unknown():
    home, away = made(20, 10), made(20, 0, patients="q")
    its = travel(measured(home, found(home, 3)), measured(away, found(away, 3)))
    assert np.isnan(its.moved("sensitivity").difference.estimate)
    assert its.moved("false_positives_per_image").difference.estimate == 0
    assert not any(gap.separated for gap in its.strata.gaps)


def test_all_labelled_images_are_those_of_the_splits(data):
    split, parts = data.labelled(), [data.split(name) for name in ("train", "val", "holdout")]
    assert split.name == "all"
    assert len(split) == sum(map(len, parts))
    assert split.image_ids == parts[0].image_ids + parts[1].image_ids + parts[2].image_ids
    assert (split.sizes_wh == np.concatenate([part.sizes_wh for part in parts])).all()
    assert split.positive.sum() == sum(part.positive.sum() for part in parts)
    assert split.views[-1] == parts[2].views[-1]
