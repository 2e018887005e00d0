"""Read predictions on a split, whoever wrote them: a predictions folder, COCO results or a submission."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, TypeAdapter

from hilum.class_names import Confidence, check_same_classes, class_names_of
from hilum.datasets.boxes import LARGEST_PX
from hilum.datasets.folder import Split
from hilum.documents import advising, check, read_csv, read_json, shown
from hilum.errors import HilumError
from hilum.eval.answer import Answer
from hilum.eval.image_names import ImageNames, image_names
from hilum.eval.predictions_folder import ABOUT, CATEGORY, IMAGES, RESULTS, TABLE, probability_column, read_about
from hilum.eval.problems import MOST_LINES, Problems, question_units
from hilum.eval.submission import read_by_class
from hilum.eval.submission_row import reaches_out

Probability = Annotated[float, Field(allow_inf_nan=False)]
_OfImage = tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]
"""What was found in an image: boxes (x, y, width, height) and confidences for each class."""
_AGAIN = "predict again"


class _Predicted(BaseModel):
    """A row of `images.csv`."""

    status: Literal["predicted"]
    coco_id: int = Field(ge=0, lt=1 << 53)
    image_id: str
    probability: Probability


class _Failed(BaseModel):
    """A row of an image that could not be read."""

    status: Literal["failed"]
    error: str


_PROBABILITIES: Final = TypeAdapter(list[Probability])
_ANYTHING: Final = TypeAdapter[Any](Any)
_ROW: Final = TypeAdapter[_Predicted | _Failed](Annotated[_Predicted | _Failed, Field(discriminator="status")])


def read_answer(
    source: Path, split: Split, least: float | None = None, *, beside: Split | None = None
) -> tuple[Answer, list[str]]:
    """Read predictions of one class on a split of one class; see `read_answers`."""
    (answer,), lines = _read_answers(source, split, least, beside)
    return answer, lines


def read_answers(
    source: Path, split: Split, least: Confidence | None = None, *, beside: Split | None = None
) -> tuple[dict[str, Answer], list[str]]:
    """Read predictions on a split, whoever wrote them.

    In COCO results `image_id` may be the image's number in the split's COCO file or its name; as a name it may have the
    ending of a picture file. Where every box has one category that is not 1, that is taken for opacity, and named;
    where there are several, 1 is meant. Where several classes are looked for, categories are their numbers from 1 on.

    Args:
        source: a predictions folder, COCO results (.json), or a submission (.csv).
        split: the images; those that the source lacks count as predicted without a box, and are named.
        least: the operating point of the answer; where None, that of the predictions folder; elsewhere every box
            counts.
        beside: images that the source may hold too, and that are passed over in silence.

    Returns:
        The answer to each class by its name, in the split's order, and lines on what was not right: up to 20 a kind,
        and how many more.

    Raises:
        HilumError: not readable as any of the three, nothing in it is of the split, its boxes are not in pixels, or it
            does not say of which of several classes they are.
    """
    answers, lines = _read_answers(source, split, least, beside)
    return dict(zip(split.class_names, answers, strict=True)), lines


def _read_answers(
    source: Path, split: Split, least: Confidence | None, beside: Split | None
) -> tuple[list[Answer], list[str]]:
    if not source.exists():
        raise HilumError(f"{source}: no such file or folder")
    splits = [split] if beside is None else [split, beside]
    sizes = {
        name: (int(w), int(h))
        for each in splits
        for name, (w, h) in zip(each.image_ids, each.sizes_wh.tolist(), strict=True)
    }
    numbers = {n: name for each in splits for n, name in zip(each.coco_ids, each.image_ids, strict=True)}
    known, probability, about, lines = _read(source, split.class_names, sizes, numbers)
    missing = [image_id for image_id in split.image_ids if image_id not in known]
    if missing and len(missing) == len(split):
        raise HilumError(
            _of_none(source, split, [name for name in known if name not in sizes], about.get("split"), lines)
        )
    of_images = {name: np.vstack([boxes for boxes, _ in its]) for name, its in known.items() if name in sizes}
    lines += question_units(str(source), list(of_images.values()), [sizes[name] for name in of_images])
    if missing:
        more = f" and {len(missing) - MOST_LINES} more" if len(missing) > MOST_LINES else ""
        lines.append(
            f"{source}: {len(missing)} of {len(split)} images of the {split.name} split are not in it; they count as "
            f"predicted without a box: {', '.join(missing[:MOST_LINES])}{more}"
        )
    if strangers := len(known.keys() - sizes.keys()):
        lines.append(f"{source}: {strangers} images are not in the {split.name} split and were passed over")
    found = [known.get(image_id) for image_id in split.image_ids]
    given = least is None and about.get("confidence") is not None
    answers = []
    for class_id in range(len(split.class_names)):
        pairs = [_NONE if its is None else its[class_id] for its in found]
        limit = _of_class(about.get("confidence") if least is None else least, class_id)
        if limit is None:
            # Confidences below 0 are named, and yet part of the answer.
            limit = min((float(values.min(initial=0.0)) for _, values in pairs), default=0.0)
        if (line := _said_of_floor(str(source), limit, _of_class(about.get("floor"), class_id) or 0.0)) not in lines:
            lines += [line] if line else []
        probabilities = None
        if probability is not None:
            of_class = [its[class_id] if (its := probability.get(name)) else math.nan for name in split.image_ids]
            probabilities = np.array(of_class, np.float64)
        boxes, confidence = [boxes for boxes, _ in pairs], [values for _, values in pairs]
        answers.append(Answer(boxes, confidence, limit, probabilities, len(missing), given))
    return answers, lines


def _of_class(confidence: Any, class_id: int) -> float | None:
    """A confidence that is one for all classes, or one a class, or was not said."""
    if isinstance(confidence, list | tuple):
        return float(confidence[class_id])
    return float(confidence) if confidence else None


def _said_of_floor(source: str, least: float, floor: float) -> str | None:
    """What is to be said of the confidence below which no box was written."""
    if least < floor:
        return f"{source}: boxes below a confidence of {floor:g} were not written: {least:g} keeps no more"
    if 0 < floor == least:
        return (
            f"{source}: holds no box below a confidence of {floor:g}, so AP, FROC and the curve end there; "
            "evaluate the run for the whole"
        )
    return None


def _read(
    source: Path, class_names: Sequence[str], sizes_wh: Mapping[str, tuple[int, int]], numbers: Mapping[int, str]
) -> tuple[dict[str, _OfImage], dict[str, list[float]] | None, dict[str, Any], list[str]]:
    """What a source holds: boxes and probabilities by image, what a folder says of itself, and what was not right.

    Args:
        source: as `read_answers` takes it.
        class_names: of what is looked for.
        sizes_wh: the images that are looked at, and their sizes.
        numbers: their names by their number in a COCO file.
    """
    problems = Problems(str(source))
    parts = {RESULTS, TABLE, IMAGES, ABOUT}  # a folder's numbers are its own, so its files are read together
    if source.is_dir() or (source.name in parts and (source.parent / IMAGES).is_file()):
        folder = source if source.is_dir() else source.parent
        if not (folder / IMAGES).is_file():
            raise HilumError(f"{folder}: neither a run nor a predictions folder: {IMAGES} is missing")
        about = read_about(folder)
        check_same_classes(class_names_of(about), class_names, str(folder))
        for key in ("confidence", "floor"):
            if isinstance(each := about.get(key), list) and len(each) != len(class_names):
                said = f"{key}: has {len(each)} values, for {len(class_names)} classes"
                raise HilumError(f"{folder / ABOUT}: {said}; {_AGAIN}")
        names, probability = _read_images(folder / IMAGES, class_names, problems)
        boxes = _read_coco(folder / RESULTS, len(class_names), image_names(names, ()), sizes_wh, problems)
        nothing = (_NONE,) * len(class_names)
        return {name: boxes.get(name, nothing) for name in names.values()}, probability, about, problems.lines()
    if source.suffix.lower() == ".json":
        boxes = _read_coco(source, len(class_names), image_names(numbers, sizes_wh), sizes_wh, problems)
        return boxes, None, {}, problems.lines()
    if source.suffix.lower() == ".csv":
        found, shows, lines = read_by_class(source, class_names, sizes_wh)
        return found, shows, {}, lines
    raise HilumError(f"{source}: expected a run, a predictions folder, COCO results (.json) or a submission (.csv)")


def _of_none(source: Path, split: Split, strangers: Iterable[str], made_on: Any, lines: Sequence[str]) -> str:
    """What to say of a source that has no image of the split."""
    hint = f"; they are of its {made_on} split" if made_on not in {None, split.name} else ""
    other = next((line for line in lines if "not among" in line), lines[0] if lines else "")
    stranger = next(iter(strangers), None)
    first = f" (it holds {shown(stranger, quote=False)}, which is not)" if stranger else f" ({other})" if other else ""
    return (
        f"{source}: none of the {len(split)} images of the {split.name} split, such as {split.image_ids[0]}, "
        f"number {split.coco_ids[0]}, is in it{hint}{first}"
    )


def _read_images(
    path: Path, class_names: Sequence[str], problems: Problems
) -> tuple[dict[int, str], dict[str, list[float]]]:
    """Returns the names of the images that were predicted, by number, and the probabilities of classes, by name."""
    names: dict[int, str] = {}
    probability: dict[str, list[float]] = {}
    columns = [probability_column(name) for name in class_names] if len(class_names) > 1 else ["probability"]
    for row_number, values in enumerate(read_csv(path, ("image_id", "status"), remedy=_AGAIN), start=2):
        name = values["image_id"]
        row = f"{path}, row {row_number} ({shown(name, quote=False)})"
        with advising(_AGAIN):
            each = check(values, _ROW, row)
        if isinstance(each, _Failed):
            problems.add(
                "images that were not predicted", f"{row}: not predicted: {shown(each.error, 200, quote=False)}"
            )
        elif name in probability:
            problems.add("images that were there already", f"{row}: is there twice; the first one counts")
        elif each.coco_id in names:
            raise HilumError(f"{row}: coco_id {each.coco_id} is that of {names[each.coco_id]} too; {_AGAIN}")
        else:
            names[each.coco_id] = name
            probability[name] = check([values.get(column) for column in columns], _PROBABILITIES, row)
    return names, probability


def _read_coco(
    path: Path, classes: int, find: ImageNames, sizes_wh: Mapping[str, tuple[int, int]], problems: Problems
) -> dict[str, _OfImage]:
    entries = read_json(path, _ANYTHING, finite=False)  # each entry is judged by itself
    if isinstance(entries, dict) and "annotations" in entries:
        raise HilumError(f"{path}: is a COCO data set, which holds the truth; give COCO results, a list of objects")
    if not isinstance(entries, list):
        raise HilumError(f"{path}: expected COCO results, a list of objects")

    class_of: dict[Any, int] = {CATEGORY + class_id: class_id for class_id in range(classes)}
    categories = {_category(entry, None) for entry in entries} - {None}
    if classes == len(categories) == 1 and CATEGORY not in categories:
        class_of, only = dict.fromkeys(categories, 0), next(iter(categories))
        problems.add("categories", f"{path}: every box has category_id {only}; taken for opacity, which is 1")
    found: dict[str, list[tuple[list[float], float, int]]] = {}
    for number, entry in enumerate(entries, start=1):
        if read := _read_entry(entry, f"{path}, entry {number}", class_of, find, sizes_wh, problems):
            name, box, score, class_id = read
            found.setdefault(name, []).append((box, score, class_id))
    return {
        name: tuple(_arrays([each for each in boxes if each[2] == class_id]) for class_id in range(classes))
        for name, boxes in found.items()
    }


def _read_entry(
    entry: Any,
    where: str,
    class_of: Mapping[Any, int],
    find: ImageNames,
    sizes_wh: Mapping[str, tuple[int, int]],
    problems: Problems,
) -> tuple[str, list[float], float, int] | None:
    """The image's name, the box (x, y, width, height), score and class; None where it is left out, which is said."""
    if (values := _values(entry)) is None:
        problems.add(
            "entries that are not COCO results",
            f"{where}: expected image_id, bbox [x, y, width, height] in pixels and score, finite numbers; left out",
        )
        return None
    box, score, image = values
    try:
        name = find(image)
    except HilumError as error:
        raise HilumError(f"{where}: {error}") from error
    if name is None:
        problems.add(
            "boxes of images that are not among those looked at",
            f"{where}: image_id {shown(image, quote=False)} is not among those looked at; left out",
        )
        return None
    where = f"{where} ({name})"
    known = list(class_of)
    if (category := _category(entry, known[0] if len(known) == 1 else None)) not in class_of:
        are = f"{known[0]} is opacity" if len(known) == 1 else f"the classes are {known[0]} to {known[-1]}"
        problems.add("boxes of other categories", f"{where}: category_id {category}, where {are}; left out")
        return None
    if min(box[2:]) <= 0:
        problems.add(
            "boxes without a size",
            f"{where}: width {box[2]:g} and height {box[3]:g} are not both above 0; left out",
        )
        return None
    if not 0 <= score <= 1:
        problems.add("scores outside 0..1", f"{where}: score {score:g} is outside 0..1; kept as it is")
    if name in sizes_wh and reaches_out(box, sizes_wh[name]):
        width, height = sizes_wh[name]
        written = shown(entry["bbox"], quote=False)
        problems.add(
            "boxes that reach out of their image",
            f"{where}: bbox {written} reaches out of the {width} x {height} image; kept as it is",
        )
    return name, box, score, class_of[category]


def _values(entry: Any) -> tuple[list[float], float, int | float | str] | None:
    """The box, its score and the image of an entry; None where they are not what COCO results hold."""
    try:
        box, score, image = [float(value) for value in entry["bbox"]], float(entry["score"]), entry["image_id"]
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    fine = (
        len(box) == 4
        and all(map(math.isfinite, [*box, score]))
        and -LARGEST_PX <= min(box) <= max(box) <= LARGEST_PX
        and isinstance(image, int | float | str)
        and not isinstance(image, bool)
    )
    return (box, score, image) if fine else None


def _category(entry: Any, default: Any) -> Any:
    """The category of a box, something hashable, or the default where it has none."""
    value = entry.get("category_id", default) if isinstance(entry, dict) else default
    return value if value is None or isinstance(value, int | float) else str(value)[:80]


def _arrays(boxes: list[tuple[list[float], float, int]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    corners = np.array([box for box, _, _ in boxes], np.float64).reshape(-1, 4)
    return corners, np.array([score for _, score, _ in boxes], np.float64)


_NONE: Final = _arrays([])
