"""A reader's marks of a worklist, read as labels: whether an image shows an opacity, not where."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, Field, StringConstraints, TypeAdapter

from hilum.documents import Share, advising, check, read_csv
from hilum.errors import HilumError
from hilum.eval.predictions_folder import IMAGES, read_about

_SAVE = "save the marks on worklist.html again"
_Number = Annotated[int, Field(ge=0, lt=1 << 53)]


class _Mark(BaseModel):
    images: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
    number: _Number
    opacity: Literal["1", "0", ""]


class _Predicted(BaseModel):
    coco_id: _Number
    boxes: Annotated[int, Field(ge=0)]
    probability: Share


_MARK: Final = TypeAdapter(_Mark)
_PREDICTED: Final = TypeAdapter(_Predicted)


@dataclass(frozen=True)
class Marked:
    """What was predicted of the images that a reader was sure of; all sequences run in parallel.

    Attributes:
        opacity: whether the image shows one, as the reader says.
        probability: that it does, as predicted.
        with_box: whether a box was found at the operating point.
        unsure: how many more images the reader was unsure of.
        unread: how many more have a mark and no prediction.
        about: what the predictions folder says of itself.
    """

    opacity: list[bool]
    probability: list[float]
    with_box: list[bool]
    unsure: int
    unread: int
    about: dict[str, str | float | None]


def read_marked(predictions: Path, marks: Path) -> Marked:
    """Read a reader's marks, and what was predicted of the same images, by this or by another run.

    Args:
        predictions: a predictions folder.
        marks: the CSV that `worklist.html` saves.

    Raises:
        HilumError: either cannot be read, they are of other images, or no image has a mark that says yes or no.
    """
    if not (predictions / IMAGES).is_file():
        raise HilumError(f"{predictions}: not a predictions folder, {IMAGES} is missing; marks are of one")
    about = read_about(predictions)
    opacity: dict[int, str] = {}
    for row, values in enumerate(read_csv(marks, ("images", "number", "opacity"), remedy=_SAVE), start=2):
        where = f"{marks}, row {row}"
        with advising(_SAVE):
            mark = check(values, _MARK, where)
        if mark.images != about.get("of_images"):
            raise HilumError(f"{where}: is of other images than {predictions}; give the predictions of its worklist")
        if opacity.setdefault(mark.number, mark.opacity) != mark.opacity:
            raise HilumError(f"{where}: image {mark.number} has two marks that differ; leave one")
    found = Marked([], [], [], sum(not each for each in opacity.values()), 0, about)
    sure = {number: each == "1" for number, each in opacity.items() if each}
    for row, values in enumerate(read_csv(predictions / IMAGES, ("status",), remedy="predict again"), start=2):
        if values["status"] != "predicted":
            continue
        with advising("predict again"):
            image = check(values, _PREDICTED, f"{predictions / IMAGES}, row {row}")
        if (says := sure.pop(image.coco_id, None)) is not None:
            found.opacity.append(says)
            found.probability.append(image.probability)
            found.with_box.append(image.boxes > 0)
    if not found.opacity:
        raise HilumError(f"{marks}: no image has a mark that says yes or no; mark some on worklist.html")
    return Marked(found.opacity, found.probability, found.with_box, found.unsure, len(sure), about)
