"""NIH ChestX-ray14: 984 boxes on 880 of 112,120 pictures, whose patients are known. RSNA's challenge is a part of it.

Tables: `BBox_List_2017.csv` with `Image Index, Finding Label, Bbox [x, y, w, h]`, whose brackets hold commas, in pixels
of the PNG file; and `Data_Entry_2017.csv` (or `_v2020`) with labels, patient, age, sex and view of each picture. A
picture without findings is a negative. One that shows a class and has no box of it is left out: it is somewhere in it.
Source: Wang X et al.: ChestX-ray8. CVPR 2017; https://nihcc.app.box.com/v/ChestXray-NIHCC.
"""

from collections.abc import Iterator
from typing import Any

from hilum.converters.annotated import Annotated, LabelTables, cells_of, content_of, one_file
from hilum.converters.labels import id_in
from hilum.converters.record import Request, Source
from hilum.converters.rows import Row, tags_told
from hilum.datasets.tables import Table

_BOXES, _ENTRIES = "bbox_list_2017.csv", {"data_entry_2017.csv", "data_entry_2017_v2020.csv"}
_BOX_COLUMNS = ("Image Index", "Finding Label", "Bbox [x", "y", "w", "h]")
_ENTRY_COLUMNS = ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "Patient Gender", "View Position")
_NOTHING = "No Finding"
_BOXED_AS = {"Infiltration": "Infiltrate"}  # the table of boxes has a name of its own for it
_PART = (
    "RSNA's challenge is made of pictures of it, so it is no other hospital; --exclude-patients leaves out its patients"
)


def find(request: Request) -> Source | None:
    """The data set, where its table of boxes is there."""
    boxes, entries = one_file(request, {_BOXES}), one_file(request, _ENTRIES)
    if boxes is None:
        return None
    if request.choices.exclude_patients is None:
        request.tell(f"{boxes.name}: NIH ChestX-ray14: {_PART}")
    tables = [Table(boxes.name, content_of(boxes))]
    known: dict[str, dict[str, Any]] = {}
    if entries:
        tables.append(Table(entries.name, content_of(entries)))
        for row, cells in cells_of(tables[1], _ENTRY_COLUMNS):
            known[id_in(cells["Image Index"])] = {"row": row, **cells}
    rows = [*_boxed(tables[0], known), *(_found(tables[1], known) if entries else ())]
    return Annotated(
        request,
        LabelTables(
            source="nih",
            files=[boxes, *([entries] if entries else [])],
            rows=rows,
            form="xywh",
            left_out=[problem for table in tables for problem in table.problems()],
            patients_known=True,
        ),
    )


def _boxed(table: Table, known: dict[str, dict[str, Any]]) -> Iterator[Row]:
    for number, cells in cells_of(table, _BOX_COLUMNS):
        box = tuple(cells[column] for column in _BOX_COLUMNS[2:])
        more = {"name": cells["Finding Label"], "box": box}
        yield _row(table.name, number, cells["Image Index"], known, cells["problem"], **more)


def _found(table: Table, known: dict[str, dict[str, Any]]) -> Iterator[Row]:
    """What pictures show, boxed or not."""
    for cells in known.values():
        for finding in cells["Finding Labels"].split("|"):
            kind = _NOTHING if finding == _NOTHING else ""
            more = {"name": _BOXED_AS.get(finding, finding), "kind": kind}
            yield _row(table.name, cells["row"], cells["Image Index"], known, cells["problem"], **more)


def _row(table: str, number: int, image: str, known: dict[str, dict[str, Any]], problem: str, **more: Any) -> Row:
    """A row with what is known of its picture; the patient stands in the picture's name, too."""
    image_id = id_in(image)
    cells = known.get(image_id, dict.fromkeys(_ENTRY_COLUMNS, ""))
    tags = tags_told(cells["Patient Gender"], cells["Patient Age"], cells["View Position"])
    patient = image_id.split("_", maxsplit=1)[0].lstrip("0") if image_id[:8].isdecimal() else ""
    return Row(table, number, image, patient=patient, tags=tags, problem=problem, **more)
