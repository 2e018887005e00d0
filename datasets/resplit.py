"""Split a dataset folder anew, into `DATA/splits/NAME`: no picture is moved, copied or converted again.

A further split is a dataset folder but for its pictures and labels, which stay two folders up; or in the folder that
it names, where it lies elsewhere. It is built beside its place and renamed into it, so that nobody ever meets half of
one.
"""

import json
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from hilum import __version__
from hilum.class_names import said_of_classes
from hilum.datasets.annotations import Coco, class_ids_of
from hilum.datasets.coco import categories
from hilum.datasets.folder import SPLITS, Dataset, people
from hilum.datasets.id_lists import one_of_each, read_id_list, read_named_ids, refuse, refuse_unknown
from hilum.datasets.leaks import leak_check
from hilum.datasets.left_out import LeftOut, write_left_out
from hilum.datasets.patients import read_patient_map, with_patients
from hilum.datasets.record import CONVERSION, PARENT, PARENT_PATH, read_conversion
from hilum.datasets.splits import (
    DEFAULT_SHARES,
    LEAVES,
    VAL_SHARE,
    coarsen,
    deal_around,
    deal_at_random,
    deal_folds,
    rarest_class,
    split_by_group,
)
from hilum.datasets.writing import write_splits
from hilum.documents import shown
from hilum.errors import HilumError
from hilum.files import NOT_WRITABLE, locked, own_folder, write_atomically

By = Literal["patient", "image"]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_BEING_WRITTEN = re.compile(r"\.([^/]+)\.[0-9a-f]{8}\.part(?=/)")


@dataclass(frozen=True)
class Shares:
    """Train, val and holdout with these shares, stratified."""

    shares: tuple[float, float, float] = (DEFAULT_SHARES["train"], DEFAULT_SHARES["val"], DEFAULT_SHARES["holdout"])
    by: By = "patient"


@dataclass(frozen=True)
class Folds:
    """So many splits, stratified; each image is in holdout once."""

    folds: int
    by: By = "patient"


@dataclass(frozen=True)
class Stage1:
    """The challenge's `stage1-test`: held out are the images that the stage 1 label table lacks."""

    table: Path
    val_share: float = VAL_SHARE
    keep_shared: bool = False


@dataclass(frozen=True)
class Report:
    """The report's own: so many held out at random by image; val is dealt likewise."""

    holdout: int
    val_share: float = VAL_SHARE


@dataclass(frozen=True)
class Lists:
    """Held out is what a file lists; val too, or dealt by patient."""

    holdout: Path
    val: Path | None = None
    val_share: float = VAL_SHARE
    keep_shared: bool = False


Kind = Shares | Folds | Stage1 | Report | Lists


def resplit(
    path: Path,
    name: str,
    kind: Kind,
    *,
    seed: int = 0,
    patients: Path | None = None,
    out: Path | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write a further split of a dataset folder, or one a fold.

    Args:
        path: the dataset folder.
        name: of the split below `path/splits`, or below `out`; folds are `name-0`, `name-1`, ...
        kind: which images go where.
        seed: the same seed gives the same bytes.
        patients: a patient map; counts before what the folder says.
        out: another folder for the splits, where the dataset folder is not to be written; made if it is not there.
        overwrite: replace splits of these names.

    Returns:
        The folders that were written; `datasets/leaks.py` says what leaks in them.

    Raises:
        HilumError: nothing is written then; one line a problem.
    """
    data = Dataset.open(path)
    if data.is_further_split:
        raise HilumError(f"{path}: is a split itself; split the dataset folder, {data.root}")
    if not _NAME.fullmatch(name):
        raise HilumError(f"{name!r}: no name for a split; use letters, digits, '.', '_' and '-'")
    if out is not None and (out / CONVERSION).exists():
        raise HilumError(f"{out}: is a dataset folder or a split; give the splits a folder of their own")
    names = [f"{name}-{fold}" for fold in range(kind.folds)] if isinstance(kind, Folds) else [name]
    splits = path / "splits" if out is None else out
    folders = [splits / name for name in names]
    made = not splits.exists()
    try:
        # Another command's split, while it is being written, looks like what a kill left: wait for its end.
        with locked(path, busy=None), locked(own_folder(path, "splits") if out is None else own_folder(out), busy=None):
            _mend(splits)
            _replace(data, name, folders, kind, seed, patients, overwrite=overwrite)
    except OSError as error:
        hint = "; --out FOLDER writes splits elsewhere" if out is None and error.errno in NOT_WRITABLE else ""
        where = _BEING_WRITTEN.sub(r"\1", str(error.filename or path))
        raise HilumError(f"{where}: {error.strerror}{hint}") from error
    finally:
        if made:
            with suppress(OSError):
                splits.rmdir()  # where nothing was written
    return folders


def _replace(
    data: Dataset, name: str, folders: Sequence[Path], kind: Kind, seed: int, patients: Path | None, *, overwrite: bool
) -> None:
    """Write the splits, all or none, while nobody else writes one."""
    path = data.path
    _refuse_taken(folders, overwrite=overwrite)
    if isinstance(kind, Folds) and (stray := folders[0].with_name(f"{name}-{kind.folds}")).exists():
        raise HilumError(f"{stray}: is of a set of more folds; remove that, or give another name than {name!r}")
    known = read_patient_map(patients, data.metadata.index, str(path))[0] if patients else {}
    images, coco = _read_images(data, known)
    if images.empty:
        raise HilumError(f"{path}: has no labelled image to split")
    dealt = _deal(images, kind, seed, path)
    for splits, folder in zip(dealt, folders, strict=True):
        if empty := [split for split in SPLITS if split not in splits]:
            left = f"of {len(images):,} images none would be left for {' and '.join(empty)}"
            raise HilumError(f"{folder}: {left}; nothing was written")
    elsewhere = folders[0].resolve().parents[1] != (root := path.resolve())
    about: dict[str, Any] = {
        PARENT: data.fingerprint,
        **said_of_classes(data.class_names),
        **({PARENT_PATH: str(root)} if elsewhere else {}),
        "kind": type(kind).__name__.lower(),
        "seed": seed,
        "options": {key: value.name if isinstance(value, Path) else value for key, value in asdict(kind).items()},
        "patients_from": patients.name if patients else "metadata.csv",
    }
    built: dict[Path, Path] = {}
    try:
        yaml = data.yaml_path.read_bytes()
        for splits, folder in zip(dealt, folders, strict=True):
            built[folder] = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
            pictures = f"{root}/images/" if elsewhere else "./../../images/"
            _write(built[folder], images.assign(split=splits), coco, about, yaml, pictures)
        for folder, part in built.items():
            _put(part, folder)
    finally:
        for part in built.values():
            shutil.rmtree(part, ignore_errors=True)


def _refuse_taken(folders: Sequence[Path], *, overwrite: bool) -> None:
    """What is no split of hilum's is never replaced, and a split only when asked."""
    problems = []
    for folder in folders:
        if not folder.exists() and not folder.is_symlink():
            continue
        try:
            ours = PARENT in read_conversion(folder)
        except HilumError:
            ours = False
        if not ours or folder.is_symlink():
            problems.append(f"{folder}: exists and is no split of hilum's; give another name")
        elif not overwrite:
            problems.append(f"{folder}: exists; --overwrite replaces it")
    if problems:
        raise HilumError(*problems)


def _read_images(data: Dataset, patients: Mapping[str, str]) -> tuple[pd.DataFrame, Coco]:
    """All labelled images in the order of their COCO ids, and their entries in COCO files, which are passed on.

    Columns are those of `metadata.csv`, `opacity`: whether the image has a box, and `rarest_class` of its boxes.
    """
    coco: Coco = {"images": [], "annotations": [], "categories": categories(data.class_names)}
    for part, _ in map(data.coco, SPLITS):
        coco["images"] += part["images"]
        coco["annotations"] += part["annotations"]
    for names in ([Path(image["file_name"]).stem for image in coco["images"]], [i["id"] for i in coco["images"]]):
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise HilumError(f"{data.path}: {shown(twice[0])} is in two of its splits; convert again")
    coco["images"].sort(key=lambda image: image["id"])
    coco["annotations"].sort(key=lambda box: box["image_id"])
    rarest = rarest_class(class_ids := class_ids_of(coco), data.class_names)
    rows = with_patients(data.metadata.loc[[Path(image["file_name"]).stem for image in coco["images"]]], patients)
    return rows.assign(opacity=list(map(bool, class_ids)), rarest_class=rarest), coco


def _traits(images: pd.DataFrame) -> list[tuple[str, ...]]:
    """Class or kind, view, sex, decade of life: the rarer a combination, the more are dropped from the end."""
    texts = images.reindex(columns=["class", "view", "sex", "age_years"], fill_value="")
    boxed = np.where(images["opacity"], "opacity", "no opacity")
    kinds = [next(filter(None, names)) for names in zip(images["rarest_class"], texts["class"], boxed, strict=True)]
    decades = pd.to_numeric(texts["age_years"], errors="coerce").floordiv(10).map("{:.0f}".format)
    return list(zip(kinds, texts["view"], texts["sex"], decades, strict=True))


def _deal(images: pd.DataFrame, kind: Kind, seed: int, path: Path) -> list[list[str]]:
    """The name of a split, or `LEAVES`, for each image; once a split that is to be written."""
    ids, persons, traits = list(images.index), people(images), _traits(images)
    match kind:
        case Shares(shares, by):
            groups = persons if by == "patient" else ids
            strata = coarsen(traits, min(shares))
            return [split_by_group(groups, strata, seed=seed, shares=dict(zip(SPLITS, shares, strict=True)))]
        case Folds(folds, by):
            groups = persons if by == "patient" else ids
            if folds > len(set(groups)):
                raise HilumError(f"{path}: {folds} folds of {len(set(groups))} {by}s cannot be made; take fewer folds")
            return deal_folds(groups, traits, seed=seed, folds=folds)
        case Report(holdout, val_share):
            if holdout >= len(images):
                raise HilumError(f"{path}: has {len(images):,} images; {holdout:,} cannot be held out of them")
            return [deal_at_random(ids, seed=seed, holdout=holdout, val_share=val_share)]
        case Stage1(table):
            given = _outside_of(table, ids, path)
        case Lists(holdout, val):
            given = _listed(holdout, val, ids, path)
    return [deal_around(given, persons, traits, seed=seed, val_share=kind.val_share, keep_shared=kind.keep_shared)]


def _outside_of(table: Path, ids: Sequence[str], path: Path) -> list[str]:
    """`holdout` for each image that stage 1's label table lacks, and "" for the others."""
    stage1 = read_named_ids(table)
    absent = set(ids) - stage1
    if len(absent) in (0, len(ids)):
        has = f"none of the {len(ids):,} images of {path} ({one_of_each(stage1, ids)})"
        has = has if absent else f"all of the {len(ids):,} images of {path}"
        raise HilumError(
            f"{table}: has {has}; expected stage 1's label table (stage_1_train_labels.csv), which lacks those of its "
            "test set"
        )
    return ["holdout" if image_id in absent else "" for image_id in ids]


def _listed(holdout: Path, val: Path | None, ids: Sequence[str], path: Path) -> list[str]:
    """`holdout` or `val` for each image that a list names, and "" for the others."""
    lists = {name: (source, read_id_list(source)) for name, source in (("holdout", holdout), ("val", val)) if source}
    for source, lines in lists.values():
        refuse_unknown(source, lines, dict.fromkeys(ids), path)
    if val:
        held_out = lists["holdout"][1]
        twice = [
            f"line {line}: {image_id} is in {holdout} too, on line {held_out[image_id]}"
            for image_id, line in lists["val"][1].items()
            if image_id in held_out
        ]
        refuse(val, twice)
    return [next((name for name, (_, lines) in lists.items() if image_id in lines), "") for image_id in ids]


def _write(out: Path, images: pd.DataFrame, coco: Coco, about: Mapping[str, Any], yaml: bytes, pictures: str) -> None:
    """Write a split into a new folder; `pictures` stands before the names of pictures in the lists for ultralytics."""
    (out / "annotations").mkdir(parents=True)
    write_atomically(out / "data.yaml", yaml)
    counts = write_splits(out, images.drop(columns=["opacity", "rarest_class"]), coco, pictures)
    persons, leave = pd.Series(people(images), images.index), images["split"] == LEAVES
    held_out = set(persons[images["split"] == "holdout"])
    left = [
        LeftOut("image", image_id, "", None, f"shares a patient with {'holdout' if person in held_out else 'val'}")
        for image_id, person in zip(images["image_id"][leave], persons[leave], strict=True)
    ]
    write_left_out(out, left)
    leaks = leak_check({name: images[images["split"] == name] for name in SPLITS})
    record = {
        "hilum": __version__,
        "complete": True,
        **about,
        "patients_known": leaks["patients_known"],
        "images_without_patient": int((images["patient"][~leave] == "").sum()),
        "patients_on_both_sides": {"-".join(pair["between"]): pair["patients"] for pair in leaks["pairs"]},
        **counts,
        "left_out": dict(sorted(Counter(entry.reason for entry in left).items())),
    }
    write_atomically(out / CONVERSION, json.dumps(record, indent=1) + "\n")


def _mend(splits: Path) -> None:
    """Undo what a kill left: an earlier split that was moved aside comes back, what was being written goes."""
    for earlier in splits.glob(".*.old"):
        folder = splits / earlier.name[1:].rsplit(".", 2)[0]
        if earlier.is_symlink():
            earlier.unlink()
        elif folder.exists():
            shutil.rmtree(earlier)
        else:
            earlier.rename(folder)
    for part in splits.glob(".*.part"):
        if part.is_symlink():
            part.unlink()
        else:
            shutil.rmtree(part)


def _put(part: Path, folder: Path) -> None:
    """Rename `part` to `folder`, over an earlier split; that comes back if it fails."""
    if not folder.exists():
        part.rename(folder)
        return
    earlier = part.with_suffix(".old")
    folder.rename(earlier)
    try:
        part.rename(folder)
    except BaseException:
        earlier.rename(folder)
        raise
    shutil.rmtree(earlier)
