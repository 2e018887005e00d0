"""What is said of scores follows from their intervals, whatever they are."""

import re
from itertools import combinations, permutations

import numpy as np
import pytest

from hilum.comparison.measured import AVERAGE
from hilum.comparison.results import Difference, Entry, Results
from hilum.eval.bootstrap import Interval
from hilum.pages.report_answer import against_average, comparisons, headline
from hilum.pages.series import Series

NAMES = ("ada", "bob", "cleo", "dan", "eve", "fay")


def config(name, number, score):
    return Series(name, number, [], [Entry(name=name)], Interval(score, score - 0.1, score + 0.1), float("nan"))


def gap(higher, lower, low, high, at_once=None, seeds=float("nan"), size=0.1):
    """A difference whose interval is that of the pair alone, and of all pairs at once."""
    wide = None if at_once is None else Interval(size, *at_once)
    score = Interval(size, low, high)
    return Difference(higher=higher, lower=lower, score=score, simultaneous=wide, over_seeds=seeds)


def results(*gaps):
    return Results(data_fingerprint="", entries=(), differences=gaps, images=60, positive_images=22)


def random_benchmark(seed):
    rng = np.random.default_rng(seed)
    scores = dict(zip(NAMES[: rng.integers(1, 7)], np.sort(rng.uniform(0.1, 0.5, 6))[::-1].tolist(), strict=False))
    gaps = []
    for higher, lower in combinations(scores, 2):
        size = scores[higher] - scores[lower]
        half = rng.uniform(0.2, 3) * size
        low = size - half * rng.uniform(0.5, 1)
        at_once = (size - half * 1.3, size + half * 1.3) if len(scores) > 2 else None
        seeds = rng.uniform(0, 0.2) if seed % 4 == 0 else float("nan")
        gaps.append(gap(higher, lower, low, size + half, at_once, seeds, size))
    for name, score in scores.items():
        size = score - rng.uniform(0.1, 0.5)
        higher, lower = (name, AVERAGE) if size >= 0 else (AVERAGE, name)
        half = rng.uniform(0.2, 3) * abs(size)
        gaps.append(gap(higher, lower, abs(size) - half, abs(size) + half, size=abs(size)))
    configs = [config(name, number, score) for number, (name, score) in enumerate(scores.items())]
    rng.shuffle(configs)
    return configs, results(*gaps)


def sign(found, one, other):
    """1, -1 or 0: one is higher for sure, lower for sure, or neither; and whether seeds leave it so."""
    for each in found.differences:
        if {each.higher, each.lower} == {one, other}:
            interval = each.simultaneous or each.score
            side = 1 if interval.low > 0 else -1 if interval.high < 0 else 0
            sure = np.isnan(each.over_seeds) or abs(interval.estimate) > each.over_seeds
            return (side if each.higher == one else -side), sure
    return 0, True


def names_in(text):
    return [name for name in re.findall(r"\w+", text) if name in NAMES]


@pytest.mark.parametrize("seed", range(150))
def test_the_headline_follows_from_the_intervals(seed):
    configs, found = random_benchmark(seed)
    names = [each.name for each in configs]
    above = {pair for pair in permutations(names, 2) if sign(found, *pair) == (1, True)}
    best = {name for name in names if not any((other, name) in above for other in names)}
    said, *more = headline(configs, found).split("; ")
    if len(names) == 1:
        side, _ = sign(found, names[0], AVERAGE)
        assert {1: "beats the", 0: "not shown to beat", -1: "worse than"}[side] in said
        return
    if told := re.fullmatch(r"Whether (.+) is best cannot be told", said):
        assert told[1] == f"any of {len(best)} configs" or set(names_in(told[1])) == best
        assert len(best) > 1
    elif told := re.fullmatch(r"(\w+) leads, but (.+) may be as good", said):
        assert told[2] == f"{len(best) - 1} others" or {told[1], *names_in(told[2])} == best
        assert any(pair[0] == told[1] for pair in above)
    else:
        (first,) = best
        beaten = {name for name in names if (first, name) in above}
        (told,) = re.findall(rf"{first} is better than (.+)", said)
        assert set(names_in(told)) == beaten or told.endswith(f"{len(beaten)} others")
    for each in more:
        if "average boxes" in each:
            assert set(names_in(each)) == {name for name in best if sign(found, name, AVERAGE)[0] == -1}
        elif "others are worse" not in each:
            worse, better = names_in(each)
            assert (better, worse) in above
            assert worse not in best


@pytest.mark.parametrize("seed", range(150))
def test_each_sentence_follows_from_its_interval(seed):
    configs, found = random_benchmark(seed)
    for sentence in comparisons(configs, found, most=9):
        one, other = names_in(sentence)
        side, sure = sign(found, one, other)
        assert ("it is better" in sentence) == (side == 1 and sure)
        assert ("includes zero" in sentence) == (side == 0)
        assert ("cannot be told" in sentence) == (side == 0 or not sure)
        assert ("of all pairs at once" in sentence) == (len(configs) > 2)
    told = against_average(configs, found)
    for sentence in re.split(r"(?<=\.) ", told):
        kinds = {"beat the same": 1, "beats the same": 1, "worse than": -1, "not shown to beat": 0}
        (side,) = {value for words, value in kinds.items() if words in sentence}
        if "others" not in sentence:
            assert set(names_in(sentence)) == {
                each.name for each in configs if sign(found, each.name, AVERAGE)[0] == side
            }


def test_a_config_below_another_is_not_among_the_best_though_the_first_is_not_above_it():
    configs = [config("unet", 0, 0.30), config("yolo", 1, 0.29), config("resnet", 2, 0.2)]
    gaps = gap("unet", "yolo", -0.1, 0.2, (-0.2, 0.3)), gap("unet", "resnet", -0.01, 0.2, (-0.1, 0.3))
    found = results(*gaps, gap("yolo", "resnet", 0.03, 0.2, (0.01, 0.3)))
    assert headline(configs, found) == "Whether unet or yolo is best cannot be told; resnet is worse than yolo"
    first, second, third = comparisons(configs, found)
    assert "cannot be told" in first
    assert "cannot be told" in second
    assert third.startswith(
        "yolo scores 0.29, 0.10 higher than resnet (0.20); the 95% interval of the difference (of all"
    )
    assert third.endswith("[+0.01, +0.30], is above zero: it is better.")
    found = results(*gaps, gap("yolo", "resnet", 0.03, 0.2, (-0.01, 0.3)))  # one pair at a time, it would be
    assert headline(configs, found) == "Whether unet, yolo or resnet is best cannot be told"


def test_below_the_average_boxes_is_worse_and_not_unshown():
    lone, low = [config("resnet", 0, 0.1)], gap(AVERAGE, "resnet", 0.02, 0.2)
    assert headline(lone, results(low)) == "resnet is worse than two average boxes on every image"
    told = against_average(lone, results(low))
    assert told.replace("\N{MINUS SIGN}", "-") == (
        "resnet (-0.10 [-0.20, -0.02]) is worse than two average boxes on every image."
    )
    two = [*lone, config("unet", 1, 0.05)]
    found = results(low, gap(AVERAGE, "unet", 0.02, 0.2), gap("resnet", "unet", 0.01, 0.1))
    assert headline(two, found) == "resnet is better than unet; resnet is worse than two average boxes"
    assert against_average(lone, results()) == "Whether resnet beats two average boxes cannot be said."


def test_scores_that_contradict_their_intervals_are_told_as_the_intervals_are():
    configs = [config("unet", 0, 0.30), config("yolo", 1, 0.29), config("resnet", 2, 0.2)]
    found = results(gap("unet", "yolo", -0.2, -0.1))
    assert headline(configs[:2], found) == "yolo is better than unet"
    assert "is below zero: it is worse" in comparisons(configs[:2], found)[0]
    round_ = results(gap("unet", "yolo", 0.1, 0.2), gap("yolo", "resnet", 0.1, 0.2), gap("resnet", "unet", 0.1, 0.2))
    assert headline(configs, round_) == "No config is the best: each is worse than another"
