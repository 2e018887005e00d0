"""Rows of anybody's label tables, whatever their form: a box, or that an image was looked at; and the box as pixels."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from hilum.converters.challenge_tables import MAX_SIDE_PX, described, number
from hilum.converters.picture import Box
from hilum.dicom.header import NO_TAGS, Tags, capped

Form = Literal["xywh", "xyxy", "xywh shares", "xyxy shares", "centre shares"]
"""What the four numbers of a box are: left, top (of "centre" the middle), then width and height, or right and bottom;
in pixels, or as shares of the picture's width and height."""

NOTHING: Final = frozenset({"", "no finding", "none", "normal", "negative"})
"""What a class is called, whatever its case, in a row that says that somebody looked and there is none; or nothing."""
_VIEW = re.compile(r"[A-Za-z]{1,16}")
_OLDEST = 200  # years
_FARTHEST = 1.5  # shares; boxes that were drawn by hand may reach out of their picture


@dataclass(frozen=True, slots=True)
class Row:
    """What one row of a table says of one image.

    Attributes:
        table: its name.
        number: of the row, as an editor or the table itself counts.
        image: its id or file name, folders perhaps before it.
        name: the class of the box, or without a box of what is somewhere in the image.
        box: four numbers, or cells that should hold them; None where the row has none.
        reader: who drew it or looked; empty where that is not said.
        kind, patient, tags: of the image, where the table knows them.
        size_wh: of the picture that the box was drawn in, pixels.
        problem: why the row cannot be used.
    """

    table: str
    number: int
    image: str
    name: str = ""
    box: Sequence[object] | None = None
    reader: str = ""
    kind: str = ""
    patient: str = ""
    tags: Tags = NO_TAGS
    size_wh: tuple[int, int] | None = None
    problem: str = ""


def box_of(values: Sequence[object], form: Form) -> Box | str:
    """Left, top, width and height, in pixels or shares as the form is; or why the numbers are no box.

    Examples:
        >>> box_of(["10", "20", "110.5", "60"], "xyxy")
        (10.0, 20.0, 100.5, 40.0)
        >>> box_of([0.5, 0.5, 0.2, 0.4], "centre shares")
        (0.4, 0.3, 0.2, 0.4)
        >>> box_of([110, 20, 10, 60], "xyxy")
        'box is 110, 20, 10, 60: right is not beyond left, or bottom not below top; are its corners swapped?'
    """
    numbers = [_finite(value) for value in values]

    def wrong(expected: str) -> str:
        return f"box is {', '.join(described(str(value)) for value in values)}{expected}"

    if len(numbers) != 4 or None in numbers:
        return wrong("; expected are four finite numbers")
    first, second, third, fourth = (value or 0.0 for value in numbers)
    shares = form.endswith("shares")
    if shares and max(map(abs, (first, second, third, fourth))) > _FARTHEST:
        return wrong("; expected are shares of the picture, 0 to 1")
    if form.startswith("xyxy"):
        if third <= first or fourth <= second:
            return wrong(": right is not beyond left, or bottom not below top; are its corners swapped?")
        third, fourth = third - first, fourth - second
    elif third <= 0 or fourth <= 0:
        return wrong("; expected are a width and a height above 0")
    if form == "centre shares":
        first, second = first - third / 2, second - fourth / 2
    if not shares and max(abs(first), abs(second), third, fourth) <= 1:
        return wrong(": lies within one pixel; are these shares of the picture?")
    if max(abs(first), abs(second), third, fourth) > MAX_SIDE_PX:
        return f"box reaches beyond {MAX_SIDE_PX:,} px, farther than a picture can"
    return first, second, third, fourth


def tags_told(sex: str, age: str, view: str) -> Tags:
    """Sex, age and view as a table's cells tell them, as far as they are understood."""
    return capped(
        Tags(
            sex.upper() if sex.upper() in {"F", "M", "O"} else None,
            whole(age.upper().removesuffix("Y"), _OLDEST),
            view.upper() if _VIEW.fullmatch(view) else None,
            None,
        )
    )


def whole(cell: str, most: int) -> int | None:
    """A number from 0 to so many, without what is behind its point; None where a cell holds none."""
    found = number(cell)
    return int(found) if found is not None and 0 <= found <= most else None


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    found = number(value) if isinstance(value, str) else float(value)
    return found if found is not None and math.isfinite(found) else None
