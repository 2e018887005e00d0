"""Deal images into splits: seeded, each split with its share of every stratum, a person's images together.

All sequences run in parallel, one entry an image. Only the seed and the names of images and groups decide: in which
order the images come does not matter.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

DEFAULT_SHARES = {"train": 0.70, "val": 0.15, "holdout": 0.15}
VAL_SHARE = 0.15  # of what a holdout from outside leaves over
LEAVES = ""  # in the place of a split's name: the image is in none


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
    of_stratum = Counter(strata)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for group, kind in zip(groups, strata, strict=True):
        counts[group][kind] += 1
    # Plain numbers: a hundred thousand arrays of three would take most of the time of a conversion.
    names = list(shares)
    wanted = {name: {kind: max(shares[name] * n, 1e-9) for kind, n in of_stratum.items()} for name in names}
    wanted_in_all = {name: max(shares[name] * len(strata), 1e-9) for name in names}
    dealt = {name: dict.fromkeys(of_stratum, 0) for name in names}
    dealt_in_all = dict.fromkeys(names, 0)
    order = sorted(counts)
    np.random.default_rng(seed).shuffle(order)
    order.sort(key=lambda group: -counts[group].total())
    home: dict[str, str] = {}
    for group in order:
        count, size = sorted(counts[group].items()), counts[group].total()
        emptiest, chosen = math.inf, names[0]
        for name in names:
            # How full the split would be, by stratum and over all: the emptiest takes the group.
            its, want = dealt[name], wanted[name]
            fill = sum((its[kind] + n / 2) / want[kind] * n for kind, n in count)
            fill += (dealt_in_all[name] + size / 2) / wanted_in_all[name] * size
            if fill < emptiest:
                emptiest, chosen = fill, name
        for kind, n in count:
            dealt[chosen][kind] += n
        dealt_in_all[chosen] += size
        home[group] = chosen
    return [home[group] for group in groups]


def coarsen(traits: Sequence[tuple[str, ...]], smallest_share: float) -> list[str]:
    """Strata of which every split can have some.

    A combination of traits that is too rare to give the smallest split one image loses its last trait and joins the
    others that lost theirs there. The first trait always stays.

    Args:
        traits: what should be equally frequent in all splits, the most important first.
        smallest_share: of the smallest split.
    """
    enough = math.ceil(1 / smallest_share)
    strata = list(traits)
    for length in range(max(map(len, traits), default=0), 1, -1):
        frequency = Counter(strata)
        strata = [kind[: length - 1] if len(kind) == length and frequency[kind] < enough else kind for kind in strata]
    return ["|".join(kind) for kind in strata]


def rarest_class(class_ids: Sequence[Sequence[int]], class_names: Sequence[str]) -> list[str]:
    """The rarest class that each image shows, by which all classes are dealt evenly; "" where it shows none.

    Rare is what few images show. Of one class alone it is "" everywhere: then kinds of images tell more.

    Args:
        class_ids: of the boxes of each image.
        class_names: by their ids.
    """
    if len(class_names) == 1:
        return [""] * len(class_ids)
    frequency = Counter(class_id for ids in class_ids for class_id in set(ids))
    return [class_names[min(ids, key=lambda k: (frequency[k], k))] if len(ids) else "" for ids in class_ids]


def deal_folds(groups: Sequence[str], traits: Sequence[tuple[str, ...]], *, seed: int, folds: int) -> list[list[str]]:
    """Name a split for each image, once a fold: part i is the holdout of fold i, the next one its val.

    Each image is in holdout once and in val once.

    Args:
        groups: whose image it is; a group never falls apart.
        traits: as `coarsen` takes them.
        seed: the same seed gives the same folds.
        folds: 3 or more.
    """
    shares = {str(part): 1 / folds for part in range(folds)}
    parts = split_by_group(groups, coarsen(traits, 1 / folds), seed=seed, shares=shares)
    names = [{str(fold): "holdout", str((fold + 1) % folds): "val"} for fold in range(folds)]
    return [[name.get(part, "train") for part in parts] for name in names]


def deal_around(
    given: Sequence[str],
    groups: Sequence[str],
    traits: Sequence[tuple[str, ...]],
    *,
    seed: int,
    val_share: float = VAL_SHARE,
    keep_shared: bool = False,
) -> list[str]:
    """Name a split for each image where some images have theirs already.

    Images of a group that is in holdout leave train and val, those of a group that is in val leave train.

    Args:
        given: "holdout", "val" or, where it is to be dealt, "". If any is "val", all others become train.
        groups: whose image it is.
        traits: as `coarsen` takes them.
        seed: the same seed gives the same val.
        val_share: of the images that neither are in holdout nor leave.
        keep_shared: let no image leave.

    Returns:
        "train", "val", "holdout", or `LEAVES`.
    """
    splits = list(given)
    if "val" not in given:
        held_out = {group for group, name in zip(groups, given, strict=True) if name == "holdout" and not keep_shared}
        rest = [at for at, name in enumerate(given) if not name and groups[at] not in held_out]
        shares = {"train": 1 - val_share, "val": val_share}
        strata = coarsen([traits[at] for at in rest], min(shares.values()))
        dealt = split_by_group([groups[at] for at in rest], strata, seed=seed, shares=shares)
        for at, name in zip(rest, dealt, strict=True):
            splits[at] = name
    splits = [name or "train" for name in splits]
    if keep_shared:
        return splits
    taken: set[str] = set()
    for name in ("holdout", "val", "train"):
        here = [at for at, split in enumerate(splits) if split == name]
        for at in here:
            if groups[at] in taken:
                splits[at] = LEAVES
        taken |= {groups[at] for at in here}
    return splits


def deal_at_random(image_ids: Sequence[str], *, seed: int, holdout: int, val_share: float = VAL_SHARE) -> list[str]:
    """Name a split for each image as the report did: shuffled by image, the first `holdout` of them held out.

    Nothing keeps a person's images together. The report had no third part; val comes out of what it trained on.

    Args:
        image_ids: unique.
        seed: the same seed gives the same splits.
        holdout: images to hold out.
        val_share: of the others.
    """
    order = sorted(image_ids)
    np.random.default_rng(seed).shuffle(order)
    val = round(val_share * (len(order) - holdout))
    home = dict.fromkeys(order, "train")
    home |= dict.fromkeys(order[:holdout], "holdout")
    home |= dict.fromkeys(order[holdout : holdout + val], "val")
    return [home[image_id] for image_id in image_ids]
