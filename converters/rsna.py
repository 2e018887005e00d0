"""Read the challenge's tables as Kaggle lays them out: one row a box, one row an image, never their product.

`stage_2_train_labels.csv` has a row for each box and one for each image without; `stage_2_detailed_class_info.csv`
repeats an image's class once a box. Joining the two on `patientId` multiplies them (37,629 rows instead of 30,227);
here each is read into a mapping by image instead.
"""

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hilum.errors import HilumError

OPACITY = "Lung Opacity"
LABEL_COLUMNS = ("patientid", "x", "y", "width", "height", "target")
CLASS_COLUMNS = ("patientid", "class")
PATIENT_COLUMNS = ("patient", "nih_patient")
SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class LeftOut:
    """Something of the source that did not come along: an image, a box or a row, and why."""

    what: str
    image_id: str
    file: str
    row: int | None
    reason: str


@dataclass(frozen=True)
class Source:
    """A folder laid out as Kaggle's download."""

    train_images: Path
    test_images: Path | None
    labels: Path
    classes: Path | None


@dataclass
class Labels:
    """The label table by image.

    Attributes:
        rows: data rows in the file.
        boxes: image id -> its boxes [x, y, width, height, row in the file]; empty for an image without opacity.
        left_out: what could not be used.
    """

    rows: int = 0
    boxes: dict[str, list[tuple[float, float, float, float, int]]] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)


def find_source(folder: Path) -> Source:
    """Find the tables and picture folders of Kaggle's layout, of stage 1 or stage 2.

    Raises:
        HilumError: no such folder, an empty one, or one without labels or pictures.
    """
    if not folder.is_dir():
        raise HilumError(f"{folder}: no such folder; give the folder with Kaggle's CSV files and picture folders")
    entries = sorted(folder.iterdir())
    if not entries:
        raise HilumError(f"{folder}: the folder is empty; expected Kaggle's CSV files and picture folders")
    labels = _only(entries, "_train_labels.csv", folder)
    images = _only(entries, "_train_images", folder)
    missing = [name for name, path in [("*_train_labels.csv", labels), ("*_train_images/", images)] if path is None]
    if labels is None or images is None:
        seen = ", ".join(path.name + "/" * path.is_dir() for path in entries[:6])
        raise HilumError(f"{folder}: {' and '.join(missing)} not found; expected Kaggle's layout, found {seen}")
    return Source(images, _only(entries, "_test_images", folder), labels, _only(entries, "_class_info.csv", folder))


def read_labels(path: Path) -> Labels:
    """Read the label table; what is wrong with a row is said, and the rest is used.

    An image whose rows contradict each other, or none of whose boxes can be used, is left out: as a negative it would
    teach the opposite.

    Raises:
        HilumError: not readable as a table, or a column is missing.
    """
    labels = Labels()
    targets: dict[str, set[str]] = {}
    for row, values in _rows(path, LABEL_COLUMNS):
        labels.rows += 1
        image_id, target = values["patientid"], values["target"]
        numbers = [values[name] for name in ("x", "y", "width", "height")]

        def leave_out(reason: str, what: str = "row", image_id: str = image_id, row: int = row) -> None:
            labels.left_out.append(LeftOut(what, image_id, path.name, row, reason))

        if not SAFE_ID.fullmatch(image_id):
            leave_out("patientId is empty or holds characters other than letters, digits, '.', '_' and '-'")
            continue
        if target not in {"0", "1", "0.0", "1.0"}:
            leave_out(f"Target is {target[:20]!r}, expected 0 or 1")
            continue
        targets.setdefault(image_id, set()).add(target[0])
        boxes = labels.boxes.setdefault(image_id, [])
        if target[0] == "0":
            if any(number and number.lower() != "nan" for number in numbers):  # pandas may have written "NaN"
                targets[image_id].add("box")
                leave_out("Target is 0, yet the row has a box")
            continue
        problem, box = _read_box(numbers)
        if box is None:
            leave_out(problem, "box")
        elif any(box == known[:4] for known in boxes):
            leave_out("the same box a second time", "box")
        else:
            boxes.append((*box, row))
    for image_id, seen in targets.items():
        reason = None
        if len(seen) > 1:
            reason = "its rows contradict each other: Target 0 and a box"
        elif seen == {"1"} and not labels.boxes[image_id]:
            reason = "Target is 1, yet none of its boxes can be used"
        if reason:
            del labels.boxes[image_id]
            labels.left_out.append(LeftOut("image", image_id, path.name, None, reason))
    return labels


def read_classes(path: Path) -> tuple[dict[str, str], list[LeftOut]]:
    """Read the class table: image id -> class, each image once; a second, different class is reported.

    Raises:
        HilumError: not readable as a table, or a column is missing.
    """
    classes: dict[str, str] = {}
    left_out: list[LeftOut] = []
    for row, values in _rows(path, CLASS_COLUMNS):
        known = classes.setdefault(values["patientid"], values["class"])
        if known != values["class"]:
            reason = f"a second class, {values['class'][:40]!r}; the first, {known[:40]!r}, is kept"
            left_out.append(LeftOut("row", values["patientid"], path.name, row, reason))
    return classes, left_out


def read_patients(path: Path) -> dict[str, str]:
    """Read a patient map: columns `patientId` (the image) and `patient` or `nih_patient` (the person).

    Raises:
        HilumError: not readable as a table, a column is missing, or an image has two patients.
    """
    header = _header(path)
    column = next((name for name in PATIENT_COLUMNS if name in header), None)
    if column is None:
        raise HilumError(f"{path}: expected a column 'patient' or 'nih_patient', found {', '.join(header)}")
    patients: dict[str, str] = {}
    for row, values in _rows(path, ("patientid", column)):
        known = patients.setdefault(values["patientid"], values[column])
        if known != values[column]:
            raise HilumError(f"{path}: row {row}: image {values['patientid']} has two patients; mend the map")
    return {image_id: patient for image_id, patient in patients.items() if patient}


def _read_box(numbers: list[str]) -> tuple[str, tuple[float, float, float, float] | None]:
    if not any(numbers):
        return "Target is 1, yet the row has no box", None
    try:
        x, y, width, height = (float(number) for number in numbers)
    except ValueError:
        return f"box is {' '.join(numbers)[:60]!r}, expected four numbers", None
    if not all(math.isfinite(value) for value in (x, y, width, height)):
        return f"box is {' '.join(numbers)[:60]!r}, expected finite numbers", None
    if width <= 0 or height <= 0:
        return f"box is {width:g} x {height:g} px, expected a width and a height above 0", None
    return "", (x, y, width, height)


def _only(entries: list[Path], ending: str, folder: Path) -> Path | None:
    found = [path for path in entries if path.name.lower().endswith(ending)]
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise HilumError(f"{folder}: {names}: one expected; keep those of one stage in the folder")
    return found[0] if found else None


def _header(path: Path) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return [name.strip().lower() for name in next(csv.reader(file), [])]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HilumError(f"{path}: cannot be read as CSV ({type(error).__name__})") from error


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Data rows, numbered as an editor shows them (the header is row 1), values stripped."""
    header = _header(path)
    missing = [name for name in columns if name not in header]
    if missing:
        raise HilumError(f"{path}: column {', '.join(missing)} is missing; found {', '.join(header) or 'nothing'}")
    places = [(name, header.index(name)) for name in columns]
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            next(reader)
            for row in reader:
                if any(row):
                    yield reader.line_num, {name: row[at].strip() if at < len(row) else "" for name, at in places}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HilumError(f"{path}: cannot be read as CSV ({type(error).__name__})") from error
