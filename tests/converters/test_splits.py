import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.converters.splits import DEFAULT_SHARES, split_by_group


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
