"""What label tables say, row by row, gathered by image: its boxes, who looked at it, and what cannot be used."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from hilum.converters.picture import Box
from hilum.converters.rows import NOTHING, Form, Row, box_of
from hilum.datasets.left_out import LeftOut
from hilum.datasets.tables import BAD_ID, PICTURE_ENDING, SAFE_ID, quoted
from hilum.dicom.header import NO_TAGS, Tags
from hilum.errors import HilumError

MOST_BOXES = 500
"""Of an image: the challenge's have up to 4, those of 22 classes and 17 readers some dozens."""
_LONGEST = 128  # characters, that a cell of a dataset folder's own table may have
_FOLDERS = re.compile(r"[/\\]+")


@dataclass(frozen=True, slots=True)
class Mark:
    """A box of a table: the name of its class, left, top, width, height, where it stands, and who drew it."""

    name: str
    box_xywh: Box
    table: str
    row: int
    reader: str = ""

    def named(self, name: str) -> "Mark":
        """The same box, of another class."""
        return replace(self, name=name)


@dataclass
class ImageLabels:
    """What tables say of one image.

    Attributes:
        image_id: the name of its file, without folders and ending.
        reference: as a table names it, with slashes.
        table, row: where it is named first.
        marks: its boxes.
        unlocated: classes that it shows, as a row says that has no box.
        clear_for: readers that say of it that nothing is there.
        kind, patient, tags, size_wh: as in `Row`.
        unclear: whether a row of it cannot be used.
        reason: why it is left out; empty where it is not.
    """

    image_id: str
    reference: str
    table: str
    row: int
    marks: list[Mark] = field(default_factory=list)
    unlocated: set[str] = field(default_factory=set)
    clear_for: dict[str, int] = field(default_factory=dict)
    kind: str = ""
    patient: str = ""
    tags: Tags = NO_TAGS
    size_wh: tuple[int, int] | None = None
    unclear: bool = False
    reason: str = ""

    @property
    def readers(self) -> list[str]:
        """All who looked, sorted."""
        return sorted({*self.clear_for, *(mark.reader for mark in self.marks)})


def id_in(name: str) -> str:
    """The id in the name of a picture file, which may have folders before it; empty where there is none.

    Examples:
        >>> id_in("images_001/00000001_000.png"), id_in("1.2.840.1"), id_in("Doe, Jane.dcm")
        ('00000001_000', '1.2.840.1', '')
    """
    last = PICTURE_ENDING.sub("", _FOLDERS.split(name)[-1])
    return last if SAFE_ID.fullmatch(last) else ""


def gather(rows: Iterable[Row], form: Form, left_out: list[LeftOut]) -> tuple[dict[str, ImageLabels], int]:
    """Labels by image id, and the number of rows; what cannot be used is told, image by image.

    Raises:
        HilumError: more than half of the boxes cannot be used: they are of another form.
    """
    images: dict[str, ImageLabels] = {}
    wrong: list[LeftOut] = []
    count = boxes = 0
    for told in rows:
        count, row = count + 1, told
        image = _image_of(row, images, left_out)
        if image is None:
            continue
        what, problem = "row", row.problem
        if max(len(row.kind), len(row.patient)) > _LONGEST:
            problem, row = f"kind or patient of more than {_LONGEST} characters", replace(row, kind="", patient="")
        _merge(image, row, left_out)
        if not problem and row.box is None:
            if row.name.casefold() not in NOTHING:
                image.unlocated.add(row.name)
            else:
                image.clear_for.setdefault(row.reader, row.number)
        elif not problem and row.box is not None:
            boxes += 1
            found = box_of(row.box, form)
            if isinstance(found, str):
                what, problem = "box", found
                wrong.append(LeftOut(what, image.image_id, row.table, row.number, found))
            else:
                image.marks.append(Mark(row.name, found, row.table, row.number, row.reader))
        if problem:
            image.unclear = True
            left_out.append(LeftOut(what, image.image_id, row.table, row.number, problem))
    if len(wrong) > 1 and 2 * len(wrong) > boxes:
        first = wrong[0]
        counted = f"{len(wrong):,} of {boxes:,} boxes cannot be used; the first is in row {first.row}"
        raise HilumError(f"{first.file}: {counted}: {first.reason}")
    for image in images.values():
        image.reason = image.reason or _contradiction(image)
        if image.reason:
            left_out.append(LeftOut("image", image.image_id, image.table, image.row, image.reason))
    return {image.image_id: image for image in images.values()}, count


def _image_of(row: Row, images: dict[str, ImageLabels], left_out: list[LeftOut]) -> ImageLabels | None:
    """The image that a row is of; where it names none, or one that differs in case alone, that is told."""
    image_id = id_in(row.image)
    if not image_id:
        left_out.append(LeftOut("row", "", row.table, row.number, f"the image's name {BAD_ID}"))
        return None
    reference = "/".join(part for part in _FOLDERS.split(row.image) if part not in {"", "."})
    image = images.setdefault(image_id.casefold(), ImageLabels(image_id, reference, row.table, row.number))
    if image.image_id != image_id:
        reason = f"the id differs only in case from {image.image_id!r} of row {image.row}"
        left_out.append(LeftOut("row", image_id, row.table, row.number, reason))
        return None
    if image.reference.casefold() != reference.casefold():
        image.reason = f"rows {image.row} and {row.number} name two files of this id"
    return image


def _merge(image: ImageLabels, row: Row, left_out: list[LeftOut]) -> None:
    """Add what a row says of the image itself. Of two patients or sizes one is wrong: then the image is left out."""
    for what, two in (("patient", "two patients"), ("size_wh", "two sizes")):
        told, known = getattr(row, what), getattr(image, what)
        if told and known and told != known:
            image.reason = image.reason or f"its rows tell of {two}"
        elif told:
            setattr(image, what, told)
    if row.kind and image.kind and row.kind != image.kind:
        reason = f"a second kind, {quoted(row.kind)}; the first, {quoted(image.kind)}, is kept"
        left_out.append(LeftOut("class", image.image_id, row.table, row.number, reason))
    image.kind = image.kind or row.kind
    image.tags = row.tags if row.tags != NO_TAGS else image.tags


def _contradiction(image: ImageLabels) -> str:
    """Why the labels of an image cannot be used; empty where they can."""
    if len(image.marks) > MOST_BOXES:
        return f"{len(image.marks):,} boxes, more than the {MOST_BOXES} that one picture can have"
    both = [mark for mark in image.marks if mark.reader in image.clear_for]
    if both:
        who = f"reader {quoted(both[0].reader)} says" if both[0].reader else "its rows say"
        return f"{who} that nothing is there, and draws a box in row {both[0].row}"
    if image.unclear and not image.marks and not image.unlocated:
        return (
            "one of its rows says that nothing is there, another cannot be used"
            if image.clear_for
            else "none of its rows can be used"
        )
    return ""
