"""Strata: figures against those of the cut-out data, gaps that are there, and gaps that are not."""

import math
from dataclasses import astuple

import numpy as np
import pytest

from hilum.eval import strata
from hilum.eval.competition import competition_score, match_counts
from hilum.eval.image_level import auroc
from hilum.eval.strata import compare_strata
from hilum.eval.strata_labels import age_group, box_count_group, box_size_group

NONE = np.empty((0, 4))
FACTORS = {"view": ["AP", "PA", ""], "age": ["20-39", "40-59", "60-79"]}


def labels(n, seed, values):
    return np.random.default_rng(seed).choice(list(values), n).tolist()


def separated(result):
    return [gap for gap in result.gaps if gap.separated]


def described(random_data, n=300, seed=0):
    truth, boxes, confidence = random_data(n, seed)
    rng = np.random.default_rng([seed, 1])  # not the boxes' own numbers again
    return {
        "truth_xywh": truth,
        "boxes_xywh": boxes,
        "confidence": confidence,
        "groups": (np.arange(n) // 2).tolist(),
        "factors": {name: labels(n, [seed, len(name)], values) for name, values in FACTORS.items()},
        "classes": ["Lung Opacity" if len(image) else rng.choice(["Normal", "Not Normal"]) for image in truth],
        "sizes_wh": np.full((n, 2), 800),
        "probability": np.clip(rng.normal([0.5 + 0.2 * (len(image) > 0) for image in truth], 0.2), 0, 1),
    }


def test_figures_are_those_of_the_stratum_alone(random_data):
    data = described(random_data)
    got = {(gap.factor, gap.stratum, gap.measure): gap for gap in compare_strata(**data, resamples=20).gaps}
    positive = np.array([len(image) > 0 for image in data["truth_xywh"]])
    for factor, of_image in data["factors"].items():
        for stratum in sorted(set(of_image) - {""}):
            for side in ("inside", "outside"):
                rows = [i for i, label in enumerate(of_image) if label and (label == stratum) == (side == "inside")]
                cut = [[data[key][row] for row in rows] for key in ("truth_xywh", "boxes_xywh", "confidence")]
                tp, fp, fn = (counts[:, 0].sum() for counts in match_counts(*cut))
                expected = {
                    strata.SCORE: competition_score(*cut),
                    strata.SENSITIVITY: tp / (tp + fn),
                    strata.FALSE_POSITIVES: fp / len(rows),
                    strata.AUROC: auroc(positive[rows], data["probability"][rows]),
                }
                for measure, value in expected.items():
                    assert getattr(got[factor, stratum, measure], side).estimate == pytest.approx(value)
            assert got[factor, stratum, strata.FALSE_POSITIVES].items == of_image.count(stratum)
    assert {gap.stratum for gap in got.values() if gap.factor == "view"} == {"AP", "PA"}


def test_gaps_are_differences_and_mirror_each_other(random_data):
    result = compare_strata(**described(random_data), resamples=100)
    for gap in result.gaps:
        assert gap.gap.estimate == pytest.approx(gap.inside.estimate - gap.outside.estimate)
        assert gap.simultaneous.estimate == gap.gap.estimate
        assert gap.simultaneous.low <= gap.gap.low <= gap.gap.high <= gap.simultaneous.high or gap.patients < 30
    by_key = {(gap.factor, gap.stratum, gap.measure): gap for gap in result.gaps}
    for measure in (strata.SCORE, strata.SENSITIVITY, strata.FALSE_POSITIVES, strata.AUROC):
        a, b = by_key["view", "AP", measure], by_key["view", "PA", measure]
        assert a.inside == b.outside
        np.testing.assert_allclose(astuple(a.gap), [-b.gap.estimate, -b.gap.high, -b.gap.low], atol=1e-12)
    # view 1 x 4, age 3 x 4, class 1 x 2, number of boxes 3 x 2, box size 3 x 1
    assert result.comparisons == 4 + 12 + 2 + 6 + 3


def test_normal_against_not_normal_by_hand():
    box = np.array([[0.0, 0.0, 10.0, 10.0]])
    n = 40
    classes = ["Normal", "No Lung Opacity / Not Normal", "Lung Opacity", ""] * (n // 4)
    truth = [box if name == "Lung Opacity" else NONE for name in classes]
    boxes = [np.repeat(box, 2, axis=0) if name.endswith("Not Normal") and i % 8 == 1 else NONE
             for i, name in enumerate(classes)]  # fmt: skip
    gaps = compare_strata(
        truth, boxes, [np.ones(len(image)) for image in boxes], np.arange(n), factors={}, classes=classes
    ).gaps
    assert {gap.stratum for gap in gaps} == {"Normal", "No Lung Opacity / Not Normal"}
    figures = {(gap.stratum, gap.measure): gap.inside.estimate for gap in gaps}
    assert figures["Normal", strata.FALSE_POSITIVES] == figures["Normal", strata.FALSE_ALARMS] == 0
    assert figures["No Lung Opacity / Not Normal", strata.FALSE_POSITIVES] == 1
    assert figures["No Lung Opacity / Not Normal", strata.FALSE_ALARMS] == 0.5
    assert all(gap.items == 10 for gap in gaps)


def test_boxes_by_size_and_number():
    small, large = np.array([[0.0, 0.0, 10.0, 10.0]]), np.array([[30.0, 30.0, 60.0, 60.0]])
    truth = [np.vstack([small, large])] * 20 + [small] * 20 + [NONE]
    boxes = [large] * 20 + [small] * 5 + [NONE] * 16
    gaps = compare_strata(
        truth, boxes, [np.ones(len(image)) for image in boxes], np.arange(41), factors={},
        sizes_wh=np.full((41, 2), 100), resamples=200,
    ).gaps  # fmt: skip
    got = {(gap.factor, gap.stratum, gap.measure): gap for gap in gaps}
    assert set(got) == {
        ("number of boxes", "1", strata.SCORE),
        ("number of boxes", "2", strata.SCORE),
        ("number of boxes", "1", strata.SENSITIVITY),
        ("number of boxes", "2", strata.SENSITIVITY),
        ("box size", "small", strata.SENSITIVITY),
        ("box size", "large", strata.SENSITIVITY),
    }
    assert got["box size", "small", strata.SENSITIVITY].inside.estimate == 5 / 40
    assert got["box size", "large", strata.SENSITIVITY].inside.estimate == 1
    assert got["box size", "small", strata.SENSITIVITY].items == 40
    assert got["number of boxes", "2", strata.SENSITIVITY].inside.estimate == 0.5
    assert got["number of boxes", "1", strata.SCORE].inside.estimate == 0.25
    assert got["box size", "small", strata.SENSITIVITY].separated


def test_a_gap_that_is_there_is_pointed_out_and_no_other(random_data):
    data = described(random_data, n=1000, seed=4)
    view = data["factors"]["view"]
    data["boxes_xywh"] = [
        image[:0] if label == "PA" and i % 2 else image
        for i, (image, label) in enumerate(zip(data["boxes_xywh"], view, strict=True))
    ]
    data["confidence"] = [
        values[: len(image)] for values, image in zip(data["confidence"], data["boxes_xywh"], strict=True)
    ]
    found = separated(compare_strata(**data, resamples=400))
    told = {(gap.factor, gap.measure) for gap in found}
    assert ("view", strata.SENSITIVITY) in told
    assert {gap.stratum: gap.gap.estimate < 0 for gap in found if gap.measure == strata.SENSITIVITY}["PA"]
    assert not {factor for factor, _ in told} & {"age"}


def test_without_any_gap_hardly_anything_is_pointed_out(random_data):
    data = described(random_data, n=400, seed=1)
    wrong, looked_at = 0, 0
    for seed in range(25):
        factors = {name: labels(400, [seed, index], "abc") for index, name in enumerate(("x", "y", "z"))}
        result = compare_strata(
            *(data[key] for key in ("truth_xywh", "boxes_xywh", "confidence", "groups")),
            factors=factors, resamples=200,
        )  # fmt: skip
        wrong += bool({gap.factor for gap in separated(result)} & set(factors))
        looked_at += sum(gap.gap.excludes_zero for gap in result.gaps if gap.factor in factors)
    assert wrong <= 4  # 1.25 expected
    assert looked_at > 10  # each by itself, 25 x 27 x 5% are


def test_a_handful_of_patients_is_not_compared():
    box = np.array([[0.0, 0.0, 10.0, 10.0]])
    view = ["AP"] * 9 + ["PA"] * 51
    boxes = [NONE] * 9 + [box] * 51
    arguments = [box] * 60, boxes, [np.ones(len(image)) for image in boxes]
    result = compare_strata(*arguments, np.arange(60), factors={"view": view})
    for gap in result.gaps:
        if gap.measure != strata.FALSE_POSITIVES:
            assert gap.inside.estimate != gap.outside.estimate
        assert all(map(math.isnan, astuple(gap.gap)))
        assert not gap.separated
    assert result.comparisons == 0
    # Nor is one patient with many images; two more patients are enough where they are.
    assert not separated(
        compare_strata(*arguments, ["one"] * 9 + list(range(51)), factors={"view": view}, least_patients=2)
    )
    assert separated(compare_strata(*arguments, np.arange(60), factors={"view": view}, least_patients=9))


def test_the_auroc_needs_patients_of_both_kinds():
    n = 100
    truth = [np.array([[0.0, 0.0, 10.0, 10.0]]) if i % 2 or i < 4 else NONE for i in range(n)]
    truth[50:] = [image if 50 + i < 55 else NONE for i, image in enumerate(truth[50:])]
    view = ["AP"] * 50 + ["PA"] * 50
    silent = [NONE] * n, [np.ones(0)] * n
    gaps = compare_strata(truth, *silent, np.arange(n), factors={"view": view}, probability=np.arange(n) / n).gaps
    of_pa = next(gap for gap in gaps if gap.measure == strata.AUROC and gap.stratum == "PA")
    assert of_pa.patients == 2
    assert np.isfinite(of_pa.inside.estimate)
    assert math.isnan(of_pa.gap.estimate)


def test_one_stratum_or_none_is_no_comparison(random_data):
    truth, boxes, confidence = random_data(20, seed=0)
    result = compare_strata(truth, boxes, confidence, np.arange(20), factors={"view": ["AP"] * 20, "sex": [""] * 20})
    assert {gap.factor for gap in result.gaps} <= {"number of boxes"}
    empty = compare_strata([], [], [], [], factors={"view": []}, classes=[], sizes_wh=np.empty((0, 2)), probability=[])
    assert empty.gaps == ()
    assert empty.comparisons == 0


def test_the_order_of_images_does_not_matter(random_data):
    data = described(random_data)
    order = np.random.default_rng(0).permutation(300)
    shuffled = {
        key: {name: [of_image[i] for i in order] for name, of_image in value.items()}
        if isinstance(value, dict)
        else value[order]
        if isinstance(value, np.ndarray)
        else [value[i] for i in order]
        for key, value in data.items()
    }
    for one, other in zip(
        compare_strata(**data, resamples=50).gaps, compare_strata(**shuffled, resamples=50).gaps, strict=True
    ):
        assert (one.factor, one.stratum, one.measure, one.items) == (
            other.factor, other.stratum, other.measure, other.items,
        )  # fmt: skip
        np.testing.assert_allclose(astuple(one.simultaneous), astuple(other.simultaneous), atol=1e-9)


def test_groups_of_ages_and_boxes():
    assert [age_group(str(age)) for age in (0, 19, 20, 39, 40, 59, 60, 79, 80, 120)] == [
        "<20", "<20", "20-39", "20-39", "40-59", "40-59", "60-79", "60-79", "80+", "80+",
    ]  # fmt: skip
    assert [age_group(age) for age in ("", "121", "155", "-3", "nan", "unknown", "019Y")] == [""] * 7
    assert [box_count_group(n) for n in (0, 1, 2, 3, 9)] == ["", "1", "2", "3 or more", "3 or more"]
    assert box_size_group(NONE, (10, 10)) == []


def test_the_limits_of_size_are_terciles_of_the_challenge_s_boxes(shared):
    rows = (shared / "rsna_tables" / "stage_2_train_labels.csv").read_text().splitlines()[1:]
    boxes = np.array([[float(value) for value in row.split(",")[1:5]] for row in rows if row.endswith(",1")])
    sizes = box_size_group(boxes, (1024, 1024))
    assert len(sizes) == 9555
    for name in ("small", "medium", "large"):
        assert sizes.count(name) / 9555 == pytest.approx(1 / 3, abs=0.015)


def test_wrong_input_is_named(random_data):
    truth, boxes, confidence = random_data(4, seed=0)
    four = ["a", "a", "b", "b"]
    with pytest.raises(ValueError, match="view: expected one label an image, 4, got 3"):
        compare_strata(truth, boxes, confidence, four, factors={"view": four[:3]})
    with pytest.raises(ValueError, match="class of images without opacity: expected one label an image, 4, got 3"):
        compare_strata(truth, boxes, confidence, four, factors={}, classes=four[:3])
    with pytest.raises(ValueError, match="groups: expected one label an image, 4, got 3"):
        compare_strata(truth, boxes, confidence, four[:3], factors={})
    with pytest.raises(ValueError, match=r"sizes_wh: expected the shape \(4, 2\), got \(3, 2\)"):
        compare_strata(truth, boxes, confidence, four, factors={}, sizes_wh=np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"probability: expected the shape \(4,\), one an image, got \(3,\)"):
        compare_strata(truth, boxes, confidence, four, factors={}, probability=np.ones(3))
