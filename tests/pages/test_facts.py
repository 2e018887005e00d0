from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hilum.pages.facts import (
    auc_of_groups,
    box_coverage,
    impossible_ages,
    leaked_share,
    rows_of_join,
    wilson_interval,
)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_rows_of_join_are_what_pandas_makes_of_the_two_tables(counts):
    table = pd.DataFrame({"image": np.repeat(np.arange(len(counts)), np.maximum(counts, 1))})
    joined = table.merge(table, on="image").groupby("image").size()
    assert rows_of_join(np.array(counts)).tolist() == joined.tolist()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=30))
def test_auc_is_the_share_of_pairs_in_the_right_order(images):
    groups, positive = [group for group, _ in images], np.array([hit for _, hit in images])
    score = {name: np.mean([hit for group, hit in images if group == name]) for name in groups}
    pairs = [
        (score[a] > score[b]) + (score[a] == score[b]) / 2
        for a, hit in images
        if hit
        for b, other in images
        if not other
    ]
    expected = np.mean(pairs) if pairs else np.nan
    assert auc_of_groups(groups, positive) == pytest.approx(expected, nan_ok=True)


@settings(deadline=None)  # all ways to deal are many
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_leaked_share_is_the_mean_over_all_ways_to_deal(images_of_patient, data):
    owners = np.repeat(np.arange(len(images_of_patient)), images_of_patient)
    train = data.draw(st.integers(0, len(owners) - 1))
    leaked = [
        np.isin(np.delete(owners, chosen), owners[list(chosen)]).mean()
        for chosen in combinations(range(len(owners)), train)
    ]
    assert leaked_share(np.array(images_of_patient), train) == pytest.approx(np.mean(leaked))


def test_leaked_share_where_everything_is_in_training():
    assert leaked_share(np.array([3, 1]), 4) == pytest.approx(3 / 4)


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"), [(0, 10, 0.0, 0.27753), (5, 10, 0.23659, 0.76341), (10, 10, 0.72247, 1.0)]
)
def test_wilson_interval_of_tables_of_statistics(hits, total, low, high):
    assert wilson_interval(hits, total) == pytest.approx((low, high), abs=1e-5)


@given(arrays(np.float64, (3, 4), elements=st.integers(0, 320).map(lambda eighths: eighths / 8)))
def test_box_coverage_is_what_holds_the_centres(corners):
    low, high = np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])
    boxes = [np.hstack([low[:2], high[:2]]), np.hstack([low[2:], high[2:]])]
    sizes = np.array([[40, 40], [80, 50]])
    centres = (np.arange(8) + 0.5) / 8
    expected = np.zeros((8, 8))
    for found, (width, height) in zip(boxes, sizes, strict=True):
        x, y = centres * width, centres[:, None] * height
        expected += np.any([(x >= a) & (x < c) & (y >= b) & (y < d) for a, b, c, d in found], axis=0)
    assert box_coverage(boxes, sizes, cells=8) == pytest.approx(expected / 2)


def test_box_coverage_of_no_image():
    assert not box_coverage([], np.zeros((0, 2), np.int64)).any()


def test_an_unknown_age_is_not_impossible():
    assert impossible_ages(np.array([np.nan, -1, 0, 99, 122, 123, 155])).tolist() == [0, 1, 0, 0, 0, 1, 1]
