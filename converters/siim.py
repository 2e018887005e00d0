"""SIIM-FISABIO-RSNA COVID-19 Detection (Kaggle, 2021): boxes of opacities, and a class a study.

Tables: `train_image_level.csv` with `id` (the picture's, and "_image"), `boxes` (as Python writes a list of x, y,
width, height in pixels of the DICOM file), `label` (the same as corners, or "none 1 0 0 1 1") and `StudyInstanceUID`;
`train_study_level.csv` with `id` (the study's, and "_study") and a column a class of study. Pictures lie in
`train/STUDY/SERIES/IMAGE.dcm`. The tables know studies and no patients: images of a study stay together.
Source: https://www.kaggle.com/competitions/siim-covid19-detection/data.
"""

import re
from collections.abc import Iterator

from hilum.class_names import ONE_CLASS
from hilum.converters.annotated import Annotated, LabelTables, cells_of, content_of, one_file, path_has
from hilum.converters.record import Request, Source
from hilum.converters.rows import Row
from hilum.datasets.tables import Table

_IMAGES, _STUDIES = "train_image_level.csv", "train_study_level.csv"
_KINDS = (
    "Negative for Pneumonia",
    "Typical Appearance",
    "Indeterminate Appearance",
    "Atypical Appearance",
)
_NUMBER = r"-?[0-9.]+(?:e[-+]?[0-9]+)?"
_BOX = re.compile(rf"\{{'x': ({_NUMBER}), 'y': ({_NUMBER}), 'width': ({_NUMBER}), 'height': ({_NUMBER})\}}")
_BETWEEN = re.compile(r"[\[\], ]*")


def find(request: Request) -> Source | None:
    """The challenge, where its table of images is there."""
    images = one_file(request, {_IMAGES})
    if images is None:
        return None
    studies = one_file(request, {_STUDIES})
    kinds: dict[str, str] = {}
    tables = [Table(images.name, content_of(images))]
    if studies:
        tables.append(Table(studies.name, content_of(studies)))
        for _, cells in cells_of(tables[1], ("id", *_KINDS)):
            kinds[cells["id"].removesuffix("_study")] = next((kind for kind in _KINDS if cells[kind] == "1"), "")
    rows = list(_rows(tables[0], kinds))
    return Annotated(
        request,
        LabelTables(
            source="siim",
            files=[images, *([studies] if studies else [])],
            rows=rows,
            form="xywh",
            class_names=ONE_CLASS,
            left_out=[problem for table in tables for problem in table.problems()],
            patients_known=True,
            is_unlabelled=path_has("test"),
        ),
    )


def _rows(table: Table, kinds: dict[str, str]) -> Iterator[Row]:
    for number, cells in cells_of(table, ("id", "boxes", "label", "StudyInstanceUID")):
        image, study = cells["id"].removesuffix("_image"), cells["StudyInstanceUID"]
        boxes = _BOX.findall(cells["boxes"])
        problem = cells["problem"]
        if _BETWEEN.fullmatch(_BOX.sub("", cells["boxes"])) is None:
            problem = problem or "boxes is not a list of x, y, width and height, as Python writes it"
        elif len(boxes) != cells["label"].split().count("opacity"):
            problem = problem or f"boxes has {len(boxes)} boxes, label another number of opacities"
        for box in boxes or [None]:
            yield Row(
                table.name,
                number,
                image,
                name=ONE_CLASS[0] if box else "",
                box=box,
                kind=kinds.get(study, ""),
                patient=study,
                problem=problem,
            )
