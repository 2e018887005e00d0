"""A table of boxes of one's own beside DICOM, JPEG or PNG files.

Columns, in any order and whatever their case: `image_id` or `file`, a file's name; four for the box, whose names say
what they are (see `_BOXES`); and where they are wanted `class`, `patient`, `reader`, `kind`, `sex`, `age_years`,
`view`, and `image_width` and `image_height` of the picture that the box was drawn in. A row a box; a row whose box is
empty says that somebody looked at the image and nothing is there.
"""

import csv
from collections.abc import Iterator

from hilum.class_names import ONE_CLASS
from hilum.converters.annotated import Annotated, LabelTables, cells_of, content_of
from hilum.converters.challenge_tables import MAX_SIDE_PX
from hilum.converters.record import Request, Source
from hilum.converters.rows import Form, Row, tags_told, whole
from hilum.converters.source import SourceFile
from hilum.datasets.tables import MISSING, Table, plain
from hilum.errors import HilumError

_BOXES: dict[tuple[str, ...], Form] = {
    ("x", "y", "width", "height"): "xywh",
    ("x_min", "y_min", "x_max", "y_max"): "xyxy",
    ("x_share", "y_share", "width_share", "height_share"): "xywh shares",
    ("x_min_share", "y_min_share", "x_max_share", "y_max_share"): "xyxy shares",
}
_IDS = ("image_id", "file")
_OTHERS = ("class", "patient", "reader", "kind", "sex", "age_years", "view", "image_width", "image_height")
_HINTS = {*map(plain, ("image", "image_id", "file", "filename", "class", "label", *sum(_BOXES, ())))}
_LOOKED_AT = 64  # tables
_START = 4096  # bytes: a header


def find(request: Request) -> Source | None:
    """One's own pictures, where a table has an id column and four columns of a box."""
    tables = [file for file in request.files if file.name.lower().endswith(".csv")]
    tables = sorted(tables, key=lambda file: len(file.parts))[:_LOOKED_AT]
    fitting = [file for file in tables if all(_columns(_header(file)))]
    if not fitting:
        for file in tables[:1]:
            if len(_HINTS & {*map(plain, _header(file))}) < 2:
                continue  # a table of something else
            request.tell(
                f"{file.name}: is not read as labels: no columns {' or '.join(_IDS)}, and of a box, such as "
                f"{', '.join([*_BOXES][1])}; docs/sources.md tells which"
            )
        return None
    if len(fitting) > 1 and len(fitting[0].parts) == len(fitting[1].parts):
        raise HilumError(f"{fitting[0].name} and {fitting[1].name}: one table of boxes is expected; make them one")
    file = fitting[0]
    request.tell(
        f"{file.name}: is read as the labels of the pictures, whose ids are shown; --source tree leaves it out"
    )
    table = Table(file.name, content_of(file))
    ids, box = _columns(table.header)
    if len(ids) + len(box) > 5:
        raise HilumError(f"{file.name}: columns for two forms of a box, or two of ids; keep one")
    has_class = "class" in map(plain, table.header)
    return Annotated(
        request,
        LabelTables(
            source="csv",
            files=[file],
            rows=list(_rows(table, ids[0], box)),
            form=_BOXES[tuple(box)],
            class_names=None if has_class else ONE_CLASS,
            left_out=table.problems(),
            patients_known="patient" in map(plain, table.header),
            patients_in_files=True,
            several_readers="reader" in map(plain, table.header),
        ),
    )


def _header(file: SourceFile) -> list[str]:
    line = file.start(_START).decode("utf-8-sig", "replace").split("\n")[0]
    return next(csv.reader([line.rstrip("\r")], delimiter=max(",;\t", key=line.count)), [])


def _columns(header: list[str]) -> tuple[list[str], list[str]]:
    """The columns of ids, and those of boxes, that a header has."""
    found = set(map(plain, header))
    ids = [name for name in _IDS if plain(name) in found]
    return ids, [name for names in _BOXES if {*map(plain, names)} <= found for name in names]


def _rows(table: Table, image: str, box: list[str]) -> Iterator[Row]:
    header = set(map(plain, table.header))
    others = [name for name in _OTHERS if plain(name) in header]
    for row, values in cells_of(table, (image, *box, *others)):
        told = {name: "" if values[name].lower() in MISSING else values[name] for name in others}
        corners = [values[name] for name in box]
        empty = all(cell.lower() in MISSING for cell in corners)
        sides = [whole(told.get(name, ""), MAX_SIDE_PX) for name in ("image_width", "image_height")]
        yield Row(
            table.name,
            row,
            values["named"],
            name=told.get("class", "") if "class" in told else "" if empty else ONE_CLASS[0],
            box=None if empty else corners,
            reader=told.get("reader", ""),
            kind=told.get("kind", ""),
            patient=told.get("patient", ""),
            tags=tags_told(told.get("sex", ""), told.get("age_years", ""), told.get("view", "")),
            size_wh=(sides[0], sides[1]) if sides[0] and sides[1] else None,
            problem=values["problem"] or ("" if empty or told.get("class", "x") else "the row of a box names no class"),
        )
