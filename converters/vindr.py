"""VinBigData (Kaggle, 2021) and VinDr-CXR (PhysioNet): the same pictures, with boxes of three readers each.

VinBigData: `train.csv` with `image_id, class_name, class_id, rad_id, x_min, y_min, x_max, y_max`; 14 classes, and the
id 14 for "No finding"; pictures in `train/`, unlabelled ones in `test/`. VinDr-CXR: `annotations_train.csv` with
`image_id, rad_id, class_name, x_min, y_min, x_max, y_max`, and `annotations_test.csv`, whose boxes five readers agreed
on, without `rad_id`; 22 classes. Boxes are corners in pixels of the DICOM file. Neither tells whose a picture is.
Sources: https://www.kaggle.com/competitions/vinbigdata-chest-xray-abnormalities-detection/data;
Nguyen HQ et al.: VinDr-CXR. Scientific Data 2022;9:429, https://physionet.org/content/vindr-cxr/.
"""

from collections.abc import Iterator

from hilum.converters.annotated import Annotated, LabelTables, cells_of, content_of, one_file, path_has
from hilum.converters.record import Request, Source
from hilum.converters.rows import NOTHING, Row
from hilum.converters.source import SourceFile
from hilum.datasets.tables import MISSING, Table, plain
from hilum.errors import HilumError

_CORNERS = ("x_min", "y_min", "x_max", "y_max")
_CONSENSUS = "consensus"


def find_vinbigdata(request: Request) -> Source | None:
    """Kaggle's challenge, where `train.csv` has its columns."""
    file = one_file(request, {"train.csv"})
    if file is None or not {b"class_id", b"rad_id"} <= set(
        file.start(200).replace(b"\r", b"\n").replace(b"\n", b",").split(b",")
    ):
        return None
    return _annotated(request, "vinbigdata", [file])


def find_vindr(request: Request) -> Source | None:
    """PhysioNet's release, where one of its tables of boxes is there."""
    files = [one_file(request, {name}) for name in ("annotations_train.csv", "annotations_test.csv")]
    there = [file for file in files if file]
    return _annotated(request, "vindr", there) if there else None


def _annotated(request: Request, source: str, files: list[SourceFile]) -> Source:
    tables = [Table(file.name, content_of(file)) for file in files]
    numbers: dict[str, str] = {}
    rows = [row for table in tables for row in _rows(table, numbers)]
    names = sorted(numbers, key=lambda name: int(numbers[name])) if numbers else None
    return Annotated(
        request,
        LabelTables(
            source=source,
            files=files,
            rows=rows,
            form="xyxy",
            class_names=names,
            left_out=[problem for table in tables for problem in table.problems()],
            several_readers=True,
            is_unlabelled=path_has("test"),
        ),
    )


def _rows(table: Table, numbers: dict[str, str]) -> Iterator[Row]:
    """Rows; into `numbers` goes the number of each class, where the table has them."""
    header = set(map(plain, table.header))
    others = [name for name in ("rad_id", "class_id") if plain(name) in header]
    for number, cells in cells_of(table, ("image_id", "class_name", *_CORNERS, *others)):
        name, problem = cells["class_name"], cells["problem"]
        empty = all(cells[column].lower() in MISSING for column in _CORNERS)
        if "class_id" in others and not problem and not empty:
            known = numbers.setdefault(name, cells["class_id"])
            if known != cells["class_id"] or not known.isdecimal():
                raise HilumError(
                    f"{table.name}: row {number}: class {name!r} has the ids {known!r} and {cells['class_id']!r}"
                )
        yield Row(
            table.name,
            number,
            cells["image_id"],
            name=name,
            box=None if empty else tuple(cells[column] for column in _CORNERS),
            reader=cells["rad_id"] if "rad_id" in others else _CONSENSUS,
            kind=name if empty and name.casefold() in NOTHING else "",
            problem=problem,
        )
