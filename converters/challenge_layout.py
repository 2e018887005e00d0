"""Find Kaggle's layout among the files of a source: tables and picture folders of one stage, however packed."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from hilum.converters.source import HIDDEN_FILES, SourceFile
from hilum.datasets.left_out import LeftOut
from hilum.datasets.tables import SAFE_ID
from hilum.errors import HilumError

PATIENT_MAP = "the patient map"
_LABELS, _CLASSES = "_train_labels.csv", "_detailed_class_info.csv"
_TRAIN, _TEST = "_train_images", "_test_images"
# Whole names: whatever is not the challenge is a tree of patients, whose names do not leave it.
_TABLE = re.compile(r"stage_\d+_train_labels\.csv")
# Names that may stand in a dataset's tables: any other name among a hospital's files may be that of a person.
_KNOWN = re.compile(
    r"rsna-pneumonia-detection-challenge(\.zip)?"
    r"|stage_\d+_(train|test)_images(\.zip)?"
    r"|stage_\d+_(train_labels|detailed_class_info|sample_submission)\.csv(\.zip)?"
    r"|__MACOSX",
    re.IGNORECASE,
)
_FOLDER = re.compile(r"stage_\d+_(train|test)_images(\.zip)?")


@dataclass(frozen=True)
class Layout:
    """The challenge's files.

    Attributes:
        labels: one row a box, and one an image without.
        classes: one row a box or image; None where missing.
        train_images: whatever lies in the folder of labelled pictures.
        test_images: whatever lies in the folder of the others.
        left_out: pictures and tables that are none of these, by folder.
    """

    labels: SourceFile
    classes: SourceFile | None
    train_images: list[SourceFile]
    test_images: list[SourceFile]
    left_out: list[LeftOut]


def kaggle_layout(files: Sequence[SourceFile]) -> Layout | None:
    """Find the challenge among the files; None where there is neither a label table nor a folder of its name.

    A source may hold more than one copy (a zip beside what came out of it) and both stages: stage 2 counts before
    stage 1, and what lies higher before what lies deeper.

    Raises:
        HilumError: the label table or the pictures are missing, or two of them are equally good.
    """
    tables = [file for file in files if _TABLE.fullmatch(file.parts[-1].lower())]
    folders: dict[tuple[str, ...], list[SourceFile]] = defaultdict(list)
    for file in files:
        for depth, part in enumerate(file.parts[:-1], start=1):
            if _FOLDER.fullmatch(part.lower()):
                folders[file.parts[:depth]].append(file)
                break
    if not tables and not any(_stem(folder).endswith(_TRAIN) for folder in folders):
        return None
    if not tables:
        found = ", ".join(sorted("/".join(folder) + "/" for folder in folders)[:4])
        raise HilumError(f"*{_LABELS} not found beside {found}; add it, or give the folder of pictures alone")
    labels = _best(tables)
    stage = labels.parts[-1].lower().removesuffix(_LABELS)
    train = _highest([folder for folder in folders if _stem(folder) == stage + _TRAIN])
    test = _highest([folder for folder in folders if _stem(folder) == stage + _TEST])
    if train is None:  # the pictures may lie beside the table
        beside = [f for f in files if f.parts[:-1] == labels.parts[:-1] and f.name.lower().endswith(".dcm")]
        train = (*labels.parts[:-1], "")
        folders[train] = beside
    if not folders[train]:
        raise HilumError(f"{stage}{_TRAIN}/ not found, though {labels.name} is there; expected Kaggle's layout")
    classes = [file for file in files if file.parts[-1].lower() == stage + _CLASSES]
    used = {labels.name, *(file.name for folder in (train, test) if folder for file in folders[folder])}
    chosen = _best(classes) if classes else None
    if chosen:
        used.add(chosen.name)
    strays = Counter(
        file.parts[0]
        for file in files
        if file.name not in used and file.name.lower().endswith((".dcm", _LABELS, _CLASSES))
    )
    return Layout(
        labels,
        chosen,
        folders[train],
        folders[test] if test else [],
        [
            LeftOut("file", "", name, None, f"{count} files that are not of {stage}, or a second copy of it")
            for name, count in sorted(strays.items())
        ],
    )


def _stem(folder: tuple[str, ...]) -> str:
    return folder[-1].lower().removesuffix(".zip")


def _rank(folder: tuple[str, ...]) -> tuple[int, bool]:
    """What lies higher comes first; of a folder and its zip the folder."""
    return len(folder), folder[-1].lower().endswith(".zip")


def _best(tables: list[SourceFile]) -> SourceFile:
    """Of the latest stage, then the highest in the tree."""
    tables = sorted(tables, key=lambda file: file.parts[-1].lower())
    last = tables[-1].parts[-1].lower()
    same = sorted((file for file in tables if file.parts[-1].lower() == last), key=lambda file: len(file.parts))
    if len(same) > 1 and len(same[0].parts) == len(same[1].parts):
        raise HilumError(f"{same[0].name} and {same[1].name}: one is expected; keep one of them in the source")
    return same[0]


def _highest(folders: list[tuple[str, ...]]) -> tuple[str, ...] | None:
    ordered = sorted(folders, key=_rank)
    if len(ordered) > 1 and _rank(ordered[0]) == _rank(ordered[1]):
        two = " and ".join("/".join(folder) for folder in ordered[:2])
        raise HilumError(f"{two}: one is expected; keep one of them in the source")
    return ordered[0] if ordered else None


def public_name(name: str) -> str:
    """The name of a file below a source, with "(name)" for each part that is neither the challenge's nor an id.

    Examples:
        >>> public_name("stage_2_train_images/0004cfab-14fd.dcm"), public_name("Doe/stage_2_train_images/Doe, Jane.dcm")
        ('stage_2_train_images/0004cfab-14fd.dcm', '(name)/stage_2_train_images/(name)')
    """
    if name in ("", PATIENT_MAP, HIDDEN_FILES):
        return name
    *folders, last = name.split("/")
    last = last if _KNOWN.fullmatch(last) or _is_id(last) else "(name)"
    return "/".join([*(part if _KNOWN.fullmatch(part) else "(name)" for part in folders), last])


def _is_id(name: str) -> bool:
    return name[-4:].lower() == ".dcm" and SAFE_ID.fullmatch(name[:-4]) is not None
