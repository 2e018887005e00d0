import csv
import gzip
import random
from collections import Counter, defaultdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.datasets.splits import (
    DEFAULT_SHARES,
    coarsen,
    deal_around,
    deal_at_random,
    deal_folds,
    rarest_class,
    split_by_group,
)


def cohort(people=900, seed=0):
    """Groups and strata as in the challenge: most people once, a few dozens of times."""
    draw = random.Random(seed)
    groups, strata = [], []
    for person in range(people):
        for _ in range(1 if draw.random() < 0.6 else draw.randint(2, 8)):
            groups.append(f"person {person}")
            strata.append(
                draw.choices(["Normal|PA", "Normal|AP", "Lung Opacity|AP", "Lung Opacity|PA"], [5, 3, 2, 1])[0]
            )
    return groups, strata


def test_the_same_seed_gives_the_same_splits_and_another_seed_others():
    groups, strata = cohort(200)
    assert split_by_group(groups, strata, seed=1) == split_by_group(groups, strata, seed=1)
    assert split_by_group(groups, strata, seed=1) != split_by_group(groups, strata, seed=2)


def test_the_order_of_the_images_does_not_matter():
    groups, strata = cohort(200)
    home = dict(zip(groups, split_by_group(groups, strata, seed=5), strict=True))
    pairs = list(zip(groups, strata, strict=True))
    random.Random(9).shuffle(pairs)
    shuffled = [group for group, _ in pairs]
    again = split_by_group(shuffled, [kind for _, kind in pairs], seed=5)
    assert dict(zip(shuffled, again, strict=True)) == home


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xyz")), max_size=60), st.integers(0, 99))
def test_a_group_never_falls_apart_and_every_image_gets_a_split(images, seed):
    groups, strata = [g for g, _ in images], [k for _, k in images]
    splits = split_by_group(groups, strata, seed=seed)
    assert len(splits) == len(images)
    assert set(splits) <= set(DEFAULT_SHARES)
    homes = defaultdict(set)
    for group, split in zip(groups, splits, strict=True):
        homes[group].add(split)
    assert all(len(found) == 1 for found in homes.values())


@pytest.mark.parametrize("seed", range(4))
def test_shares_and_strata_are_kept(seed):
    groups, strata = cohort(seed=seed)
    splits = split_by_group(groups, strata, seed=seed)
    sizes = Counter(splits)
    overall = Counter(strata)
    for name, share in DEFAULT_SHARES.items():
        assert sizes[name] / len(splits) == pytest.approx(share, abs=0.01)
        here = Counter(kind for kind, split in zip(strata, splits, strict=True) if split == name)
        for kind, count in overall.items():
            assert here[kind] / sizes[name] == pytest.approx(count / len(strata), abs=0.02)


def test_other_shares_are_taken():
    splits = split_by_group([str(n) for n in range(100)], ["x"] * 100, seed=0, shares={"a": 0.5, "b": 0.3, "c": 0.2})
    assert Counter(splits) == {"a": 50, "b": 30, "c": 20}


def test_each_split_of_a_dozen_images_gets_some():
    assert set(split_by_group([str(n) for n in range(12)], ["x"] * 12, seed=0)) == set(DEFAULT_SHARES)


def test_no_image_gives_no_split():
    assert split_by_group([], [], seed=0) == []


def traits_of(strata, seed=0):
    """The strata with sex and decade of life drawn to them: some combinations are rare."""
    draw = random.Random(seed)
    decades = draw.choices(range(10), [1, 5, 12, 18, 24, 20, 12, 6, 2, 0.3], k=len(strata))
    return [(*kind.split("|"), draw.choice("FM"), str(decade)) for kind, decade in zip(strata, decades, strict=True)]


def test_rare_combinations_join_others_of_the_same_class():
    common, rare, rarer = ("Normal", "PA", "F", "4"), ("Normal", "PA", "F", "9"), ("Normal", "AP", "M", "0")
    lonely = ("Lung Opacity", "AP", "M", "3")
    traits = [common] * 7 + [rare] * 4 + [("Normal", "PA", "F", "1")] * 3 + [rarer] * 2 + [lonely]
    strata = coarsen(traits, 0.15)  # 7 images give each split one
    assert strata == ["Normal|PA|F|4"] * 7 + ["Normal|PA|F"] * 7 + ["Normal"] * 2 + ["Lung Opacity"]
    assert coarsen(traits, 0.5)[:11] == ["Normal|PA|F|4"] * 7 + ["Normal|PA|F|9"] * 4
    assert coarsen([], 0.15) == []


@given(st.lists(st.tuples(*[st.sampled_from("abcd")] * 3), max_size=80), st.sampled_from([0.1, 0.2, 0.5]))
def test_a_stratum_is_common_enough_or_a_whole_class(traits, share):
    strata = coarsen(traits, share)
    for stratum, count in Counter(strata).items():
        assert count >= 1 / share or "|" not in stratum
    for stratum, kind in zip(strata, traits, strict=True):
        assert "|".join(kind).startswith(stratum)


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xyz")), min_size=1, max_size=60),
    st.integers(3, 6),
    st.integers(0, 99),
)
def test_folds_are_three_way_and_hold_each_image_out_once(images, folds, seed):
    groups, traits = [g for g, _ in images], [(k,) for _, k in images]
    dealt = deal_folds(groups, traits, seed=seed, folds=folds)
    assert len(dealt) == folds
    for of_image in zip(*dealt, strict=True):
        assert Counter(of_image) == {"holdout": 1, "val": 1, "train": folds - 2}
    for fold, after in pairwise(dealt):  # val of a fold is the holdout of the next
        assert [name == "val" for name in fold] == [name == "holdout" for name in after]
    for fold in dealt:
        for name in DEFAULT_SHARES:
            here = {group for group, split in zip(groups, fold, strict=True) if split == name}
            there = {group for group, split in zip(groups, fold, strict=True) if split != name}
            assert not here & there


def test_folds_are_of_a_size_and_alike():
    groups, strata = cohort()
    traits = traits_of(strata)
    for fold in deal_folds(groups, traits, seed=3, folds=5):
        held_out = [kind for kind, name in zip(traits, fold, strict=True) if name == "holdout"]
        assert len(held_out) / len(groups) == pytest.approx(0.2, abs=0.01)
        for column in range(4):
            overall = Counter(kind[column] for kind in traits)
            here = Counter(kind[column] for kind in held_out)
            for value, count in overall.items():
                assert here[value] / len(held_out) == pytest.approx(count / len(traits), abs=0.02), value


AROUND = st.lists(
    st.tuples(st.sampled_from("abcdefghijkl"), st.sampled_from("xyz"), st.sampled_from(["holdout", "val", "", "", ""])),
    max_size=60,
)


@given(AROUND, st.integers(0, 99))
def test_around_a_holdout_nobody_is_on_two_sides_and_only_who_must_leaves(images, seed):
    groups, traits, given = [g for g, _, _ in images], [(k,) for _, k, _ in images], [s for _, _, s in images]
    splits = deal_around(given, groups, traits, seed=seed)
    sides = {name: {g for g, split in zip(groups, splits, strict=True) if split == name} for name in DEFAULT_SHARES}
    assert not sides["holdout"] & sides["val"]
    assert not (sides["holdout"] | sides["val"]) & sides["train"]
    for group, wanted, split in zip(groups, given, splits, strict=True):
        if wanted == "holdout":
            assert split == "holdout"
        elif not split:
            assert group in sides["holdout"] | (set() if wanted == "val" else sides["val"])
        elif wanted == "val" or "val" in given:
            assert split == (wanted or "train")
    kept = deal_around(given, groups, traits, seed=seed, keep_shared=True)
    assert "" not in kept
    assert all(split == wanted for split, wanted in zip(kept, given, strict=True) if wanted)


def test_val_is_dealt_out_of_what_a_holdout_leaves():
    groups, strata = cohort()
    traits = traits_of(strata)
    given = ["holdout" if draw < 0.1 else "" for draw in (random.Random(n).random() for n in range(len(groups)))]
    splits = deal_around(given, groups, traits, seed=0, val_share=0.3)
    rest = [at for at, split in enumerate(splits) if split in ("train", "val")]
    val = [at for at in rest if splits[at] == "val"]
    assert len(val) / len(rest) == pytest.approx(0.3, abs=0.01)
    for kind, count in Counter(strata[at] for at in rest).items():
        assert Counter(strata[at] for at in val)[kind] / len(val) == pytest.approx(count / len(rest), abs=0.02)


@given(st.integers(2, 60), st.integers(0, 60), st.integers(0, 99))
def test_at_random_holds_out_as_many_as_asked_whatever_the_order(images, holdout, seed):
    ids = [f"image {n}" for n in range(images)]
    holdout = min(holdout, images)
    splits = deal_at_random(ids, seed=seed, holdout=holdout, val_share=0.25)
    count = Counter(splits)
    assert (count["holdout"], count["val"]) == (holdout, round(0.25 * (images - holdout)))
    home = dict(zip(ids, splits, strict=True))
    assert deal_at_random(ids[::-1], seed=seed, holdout=holdout, val_share=0.25) == [home[i] for i in reversed(ids)]


def test_at_random_depends_on_the_seed():
    ids = [str(n) for n in range(100)]
    assert deal_at_random(ids, seed=0, holdout=30) != deal_at_random(ids, seed=1, holdout=30)


@pytest.fixture(scope="module")
def challenge(shared):
    """The challenge's 26,684 images: image id -> patient and traits; and which of them stage 1 trained on."""
    tables = shared / "rsna_tables"

    def read(name, opener=open):
        with opener(tables / name, "rt", newline="") as file:
            yield from csv.DictReader(file)

    patients = {row["patientId"]: row["nih_patient"] for row in read("patient_map.csv")}
    classes = {row["patientId"]: row["class"] for row in read("stage_2_detailed_class_info.csv")}
    traits = {
        row["PatientID"]: (
            classes[row["PatientID"]],
            row["ViewPosition"],
            row["PatientSex"],
            str(int(row["PatientAge"]) // 10),
        )
        for row in read("stage_2_train_dicom_headers.csv.gz", gzip.open)
    }
    stage1 = {row["patientId"] for row in read("stage_1_train_labels.csv")}
    return sorted(traits), patients, traits, stage1


def test_stage1_test_of_the_challenge(challenge):
    ids, patients, traits, stage1 = challenge
    groups = [patients[image_id] for image_id in ids]
    given = ["" if image_id in stage1 else "holdout" for image_id in ids]
    splits = deal_around(given, groups, [traits[image_id] for image_id in ids], seed=0)
    holdout = [image_id for image_id, split in zip(ids, splits, strict=True) if split == "holdout"]
    left = {patients[image_id] for image_id, split in zip(ids, splits, strict=True) if not split}
    assert len(holdout) == 1000
    assert sum(traits[image_id][0] == "Lung Opacity" for image_id in holdout) == 353
    assert splits.count("") == 4403
    assert sum(patients[image_id] in left for image_id in holdout) == 714


def test_folds_of_the_challenge_are_alike(challenge):
    ids, patients, traits, _ = challenge
    kinds = [traits[image_id] for image_id in ids]
    for fold in deal_folds([patients[image_id] for image_id in ids], kinds, seed=0, folds=5):
        held_out = [kind for kind, name in zip(kinds, fold, strict=True) if name == "holdout"]
        assert len(held_out) == pytest.approx(len(ids) / 5, rel=0.002)
        for column in range(3):
            overall = Counter(kind[column] for kind in kinds)
            here = Counter(kind[column] for kind in held_out)
            for value, count in overall.items():
                assert here[value] / len(held_out) == pytest.approx(count / len(kinds), abs=0.005), value


def test_the_rarest_class_of_an_image_is_what_it_is_dealt_by():
    names = ("common", "rare", "middle")
    shown = [[0], [0, 0], [0, 2], [2, 0], [1, 0, 2], [], [0]]
    assert rarest_class(shown, names) == ["common", "common", "middle", "middle", "rare", "", "common"]
    assert rarest_class([[0], []], ("opacity",)) == ["", ""]
    of_each = 40
    shown = [[0]] * 10 * of_each + [[0, 1]] * of_each + [[]] * 10 * of_each
    strata = [name or "none" for name in rarest_class(shown, names[:2])]
    splits = split_by_group([str(number) for number in range(len(shown))], strata, seed=3)
    dealt = Counter(split for split, name in zip(splits, strata, strict=True) if name == "rare")
    assert dealt == {"train": 28, "val": 6, "holdout": 6}
