"""Split a dataset folder anew, into `DATA/splits/NAME`: no picture is moved, copied or converted again.

A further split is a dataset folder but for its pictures and labels, which stay two folders up; or in the folder that
it names, where it lies elsewhere. It is built beside its place and renamed into it, so that nobody ever meets half of
one.
"""

import json
import math
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from hilum import __version__
from hilum.converters import rsna
from hilum.datasets.annotations import CocoBox, CocoImage
from hilum.datasets.coco import CATEGORIES, coco_json
from hilum.datasets.folder import SPLITS, Dataset
from hilum.datasets.id_lists import one_of_each, read_id_list, read_named_ids, refuse, refuse_unknown
from hilum.datasets.leaks import Facts, facts_of, leak_check
from hilum.datasets.record import CONVERSION, PARENT, PARENT_PATH, read_conversion
from hilum.datasets.splits import (
    DEFAULT_SHARES,
    LEAVES,
    VAL_SHARE,
    coarsen,
    deal_around,
    deal_at_random,
    deal_folds,
    split_by_group,
)
from hilum.documents import shown
from hilum.errors import HilumError
from hilum.files import NOT_WRITABLE, csv_text, locked, own_folder, read_regular, write_atomically

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


@dataclass(frozen=True)
class _Image:
    """An image of the dataset folder as it stands there: its rows and entries are passed on, not made anew."""

    row: dict[str, str]
    coco: CocoImage
    boxes: list[CocoBox]

    @property
    def image_id(self) -> str:
        return self.row["image_id"]

    @property
    def person(self) -> str:
        """A patient and an image of an unknown one must not meet under one name."""
        return f"patient {self.row['patient']}" if self.row["patient"] else f"image {self.image_id}"

    @property
    def traits(self) -> tuple[str, ...]:
        """Class, view, sex, decade of life: the rarer a combination, the more of them are dropped from the end."""
        try:
            age_years = float(self.row.get("age_years") or math.nan)
        except ValueError:
            age_years = math.nan
        decade = f"{age_years // 10:.0f}"
        kind = self.row.get("class") or ("opacity" if self.boxes else "no opacity")
        return kind, self.row.get("view") or "", self.row.get("sex") or "", decade

    @property
    def facts(self) -> Facts:
        return facts_of(self.row, opacity=bool(self.boxes))


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
    images = _read_images(data, read_patients(patients, data) if patients else {})
    if not images:
        raise HilumError(f"{path}: has no labelled image to split")
    dealt = _deal(images, kind, seed, path)
    for splits, folder in zip(dealt, folders, strict=True):
        if empty := [split for split in SPLITS if split not in splits]:
            left = f"of {len(images):,} images none would be left for {' and '.join(empty)}"
            raise HilumError(f"{folder}: {left}; nothing was written")
    root = path.resolve()
    elsewhere = folders[0].resolve().parents[1] != root
    about: dict[str, Any] = {
        PARENT: data.fingerprint,
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
            _write(built[folder], images, splits, about, yaml, pictures)
        for folder, part in built.items():
            _put(part, folder)
    finally:
        for part in built.values():
            shutil.rmtree(part, ignore_errors=True)


def read_patients(path: Path, data: Dataset) -> dict[str, str]:
    """The part of a patient map that is about a dataset folder: image id -> person.

    Raises:
        HilumError: not readable as a map, or it knows none of the images.
    """
    try:
        content = read_regular(path, rsna.MAX_BYTES)
    except OSError as error:
        raise HilumError(f"{path}: cannot be read: {error.strerror}") from error
    except HilumError as error:
        raise HilumError(f"{path}: {error}") from error
    owner = rsna.read_patients(content, str(path))
    respelt = rsna.match_case(owner, data.metadata)
    named = {respelt.get(image_id, image_id): patient for image_id, patient in owner.items()}
    patients = {image_id: patient for image_id, patient in named.items() if image_id in data.metadata}
    if not patients:
        each = one_of_each(owner, data.metadata)
        raise HilumError(f"{path}: has none of the {len(data.metadata):,} images of {data.path}: {each}")
    return patients


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


def _read_images(data: Dataset, patients: Mapping[str, str]) -> list[_Image]:
    """All images of the folder, in the order of their COCO ids."""
    images = []
    for name in SPLITS:
        coco, image_ids = data.coco(name)
        boxes: dict[int, list[CocoBox]] = {image["id"]: [] for image in coco["images"]}
        for annotation in coco["annotations"]:
            boxes[annotation["image_id"]].append(annotation)
        for image_id, image in zip(image_ids, coco["images"], strict=True):
            row = data.metadata[image_id]
            row = {**row, "patient": patients.get(image_id, row["patient"])}
            images.append(_Image(row, image, boxes[image["id"]]))
    twice = [image_id for image_id, count in Counter(image.image_id for image in images).items() if count > 1]
    if twice:
        raise HilumError(f"{data.path}: {shown(twice[0])} is in two of its splits; convert again")
    return sorted(images, key=lambda image: image.coco["id"])


def _deal(images: Sequence[_Image], kind: Kind, seed: int, path: Path) -> list[list[str]]:
    """The name of a split, or `LEAVES`, for each image; once a split that is to be written."""
    ids = {image.image_id: None for image in images}
    people, traits = [image.person for image in images], [image.traits for image in images]
    match kind:
        case Shares(shares, by):
            groups = people if by == "patient" else list(ids)
            strata = coarsen(traits, min(shares))
            return [split_by_group(groups, strata, seed=seed, shares=dict(zip(SPLITS, shares, strict=True)))]
        case Folds(folds, by):
            groups = people if by == "patient" else list(ids)
            if folds > len(set(groups)):
                raise HilumError(f"{path}: {folds} folds of {len(set(groups))} {by}s cannot be made; take fewer folds")
            return deal_folds(groups, traits, seed=seed, folds=folds)
        case Report(holdout, val_share):
            if holdout >= len(images):
                raise HilumError(f"{path}: has {len(images):,} images; {holdout:,} cannot be held out of them")
            return [deal_at_random(list(ids), seed=seed, holdout=holdout, val_share=val_share)]
        case Stage1(table):
            stage1 = read_named_ids(table)
            absent = ids.keys() - stage1
            if len(absent) in (0, len(ids)):
                has = f"none of the {len(ids):,} images of {path} ({one_of_each(stage1, ids)})"
                has = has if absent else f"all of the {len(ids):,} images of {path}"
                raise HilumError(
                    f"{table}: has {has}; expected stage 1's label table (stage_1_train_labels.csv), which lacks those "
                    "of its test set"
                )
            given = ["holdout" if image_id in absent else "" for image_id in ids]
        case Lists(holdout, val):
            named = {"holdout": read_id_list(holdout)} | ({"val": read_id_list(val)} if val else {})
            for source, lines in zip((holdout, val), named.values(), strict=False):
                if source:
                    refuse_unknown(source, lines, ids, path)
            if val:
                twice = [
                    f"line {line}: {image_id} is in {holdout} too, on line {named['holdout'][image_id]}"
                    for image_id, line in named["val"].items()
                    if image_id in named["holdout"]
                ]
                refuse(val, twice)
            given = [next((side for side, lines in named.items() if image_id in lines), "") for image_id in ids]
    return [deal_around(given, people, traits, seed=seed, val_share=kind.val_share, keep_shared=kind.keep_shared)]


def _write(
    out: Path, images: Sequence[_Image], splits: Sequence[str], about: Mapping[str, Any], yaml: bytes, pictures: str
) -> None:
    """Write a split into a new folder; `pictures` stands before the names of pictures in the lists for ultralytics."""
    (out / "annotations").mkdir(parents=True)
    sides = {name: [i for i, split in zip(images, splits, strict=True) if split == name] for name in SPLITS}
    for name, side in sides.items():
        boxes = [box for image in side for box in image.boxes]
        coco = {
            "images": [image.coco for image in side],
            "annotations": [{**box, "id": number} for number, box in enumerate(boxes, start=1)],
            "categories": CATEGORIES,
        }
        write_atomically(out / "annotations" / f"{name}.json", coco_json(coco))
        lines = "".join(f"{pictures}{image.coco['file_name']}\n" for image in side)
        write_atomically(out / f"{name}.txt", lines)
    write_atomically(out / "data.yaml", yaml)
    stays = [{**i.row, "split": split} for i, split in zip(images, splits, strict=True) if split != LEAVES]
    write_atomically(out / "metadata.csv", csv_text(list(stays[0]), [list(row.values()) for row in stays]))
    held_out = {image.person for image in sides["holdout"]}
    left = [
        ["image", image.image_id, "", "", f"shares a patient with {'holdout' if image.person in held_out else 'val'}"]
        for image, split in zip(images, splits, strict=True)
        if split == LEAVES
    ]
    write_atomically(out / "left_out.csv", csv_text(["what", "image_id", "file", "row", "reason"], left))
    leaks = leak_check({name: [image.facts for image in side] for name, side in sides.items()})
    record = {
        "hilum": __version__,
        "complete": True,
        **about,
        "patients_known": leaks["patients_known"],
        "images_without_patient": sum(not row["patient"] for row in stays),
        "patients_on_both_sides": {"-".join(pair["between"]): pair["patients"] for pair in leaks["pairs"]},
        "images": len(stays),
        "boxes": sum(len(image.boxes) for side in sides.values() for image in side),
        "positive_images": sum(bool(image.boxes) for side in sides.values() for image in side),
        "classes": dict(sorted(Counter(row.get("class") or "unknown" for row in stays).items())),
        "splits": {
            name: {"images": len(side), "positive_images": sum(bool(image.boxes) for image in side)}
            for name, side in sides.items()
        },
        "left_out": dict(sorted(Counter(entry[-1] for entry in left).items())),
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
