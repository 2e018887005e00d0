"""K folds of a train split, as dataset folders that any backend trains on."""

import tempfile
from dataclasses import replace
from pathlib import Path

from hilum.datasets.derived import SPLITS, place_for
from hilum.datasets.folder import Dataset, Split
from hilum.datasets.record import PARENT
from hilum.datasets.resplit import Lists, resplit
from hilum.datasets.splits import coarsen, rarest_class, split_by_group
from hilum.errors import HilumError


def fold_datasets(data: Dataset, folds: int, *, seed: int) -> list[Dataset]:
    """Deal the train split into parts by patient, stratified; fold i has part i as its val and the others as its train.

    Val and holdout of `data` are holdout in all of them: no fold sees them, so that an ensemble of the folds may be
    tuned on the one and reported on the other. They are further splits of the folder that holds the pictures,
    `splits/fold-...`, and are used again where they are there. Where it cannot be written, they lie in `data.scratch`.

    Args:
        data: a dataset folder, or a further split.
        folds: 2 or more.
        seed: the same seed gives the same folds.

    Raises:
        HilumError: as of `deal_train`, or the folders cannot be written.
    """
    train, parts = data.split("train"), deal_train(data, folds, seed=seed)
    root = Dataset.open(data.root)
    held_out = sorted(set(root.metadata.index) - set(train.image_ids))
    datasets = []
    for fold in range(folds):
        name = f"fold-{fold + 1}-of-{folds}-{data.fingerprint}-seed{seed}"
        folder = root.path / SPLITS / name
        if not _is_whole(folder, root):
            folder = place_for(data, SPLITS) / name
        if not _is_whole(folder, root):
            val = [image_id for image_id, part in zip(train.image_ids, parts, strict=True) if part == str(fold)]
            try:
                _write(root.path, folder, val, held_out, seed)
            except HilumError:
                if not _is_whole(folder, root):  # else another process has made the same one meanwhile
                    raise
        datasets.append(replace(Dataset.open(folder), scratch=data.scratch))
    return datasets


def deal_train(data: Dataset, folds: int, *, seed: int) -> list[str]:
    """The part of each image of the train split, "0" and on.

    Raises:
        HilumError: there are fewer patients than folds, or a part has all opacities, and its fold none to learn from.
    """
    train = data.split("train")
    patients = len(set(train.patients))
    if patients < folds:
        raise HilumError(f"{data.path}: {folds} folds of {patients} patients cannot be made; take fewer folds")
    shares = {str(fold): 1 / folds for fold in range(folds)}
    parts = split_by_group(train.patients, coarsen(_traits(train), 1 / folds), seed=seed, shares=shares)
    if len({part for part, boxes in zip(parts, train.boxes_xyxy, strict=True) if len(boxes)}) == 1:
        raise HilumError(
            f"{data.path}: one of {folds} folds would be trained without any opacity, as so few patients have one; "
            "convert more images, or take other folds"
        )
    return parts


def _traits(split: Split) -> list[tuple[str, ...]]:
    """The rarest class, or the kind, view, sex, as `hilum split` stratifies by; else whether there is a box."""
    rarest = rarest_class([ids.tolist() for ids in split.class_ids], split.class_names)
    named = zip(rarest, split.kinds, split.boxes_xyxy, strict=True)
    kinds = [name or kind or str(len(boxes) > 0) for name, kind, boxes in named]
    return list(zip(kinds, split.views, split.sexes, strict=True))


def _is_whole(folder: Path, root: Dataset) -> bool:
    try:
        return Dataset.open(folder).conversion.get(PARENT) == root.fingerprint
    except HilumError:
        return False


def _write(root: Path, split: Path, val: list[str], holdout: list[str], seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lists = {"val": Path(folder) / "val.txt", "holdout": Path(folder) / "holdout.txt"}
        for path, ids in zip(lists.values(), (val, holdout), strict=True):
            path.write_text("".join(f"{image_id}\n" for image_id in ids), encoding="utf-8")
        # Who shares a patient with whom was settled when `data` was split; here every image has its place.
        kind = Lists(lists["holdout"], lists["val"], keep_shared=True)
        resplit(root, split.name, kind, seed=seed, out=split.parent, overwrite=split.exists())
