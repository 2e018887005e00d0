"""Deal images into splits: seeded, each split with its share of every stratum, a person's images together."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

DEFAULT_SHARES = {"train": 0.70, "val": 0.15, "holdout": 0.15}


def split_by_group(
    groups: Sequence[str], strata: Sequence[str], *, seed: int, shares: Mapping[str, float] = DEFAULT_SHARES
) -> list[str]:
    """Name a split for each image.

    Groups are dealt from the largest to the smallest, in seeded order among equals, each to the split that is
    furthest behind its share, in images and in each of the group's strata (the greedy rule of stratified group
    k-fold). The result depends on the seed and on the names of the groups, not on the order of the images.

    Args:
        groups: whose image it is, one an image; a group never falls apart.
        strata: what should be equally frequent in all splits, one an image.
        seed: the same seed gives the same splits.
        shares: name of the split -> its share; they add up to 1.

    Returns:
        The name of the split, one an image.
    """
    names = list(shares)
    share = np.array([shares[name] for name in names])
    kinds = {kind: column for column, kind in enumerate(sorted(set(strata)))}
    counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(kinds), np.int64))
    for group, kind in zip(groups, strata, strict=True):
        counts[group][kinds[kind]] += 1
    wanted = np.outer(share, np.sum(list(counts.values()), axis=0)) if counts else np.zeros((len(names), 0))
    dealt = np.zeros_like(wanted)
    order = sorted(counts)
    np.random.default_rng(seed).shuffle(order)
    order.sort(key=lambda group: -int(counts[group].sum()))
    home: dict[str, str] = {}
    for group in order:
        count = counts[group]
        touched = count > 0
        # How full each split would be, by stratum and over all: the emptiest takes the group.
        strata_fill = ((dealt[:, touched] + count[touched] / 2) / np.maximum(wanted[:, touched], 1e-9)) @ count[touched]
        total_fill = (dealt.sum(axis=1) + count.sum() / 2) / np.maximum(wanted.sum(axis=1), 1e-9) * count.sum()
        chosen = int(np.argmin(strata_fill + total_fill))
        dealt[chosen] += count
        home[group] = names[chosen]
    return [home[group] for group in groups]
