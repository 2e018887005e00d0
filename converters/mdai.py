"""RSNA's own release of its pneumonia challenge, from MD.ai: every label, those of single readers too.

`pneumonia-challenge-annotations-adjudicated-kaggle_2018.json` has `labelGroups` (each with `name` and `labels` of `id`
and `name`) and `datasets`, each with `annotations`: `StudyInstanceUID`, `SOPInstanceUID` of what is in one picture,
`labelId`, and `data` with x, y, width, height in pixels; `data` is null where a label is of the whole study. The group
"Calculated" is what the challenge was made of; the others are raw readings. A study has one picture, which lies in
`STUDY/SERIES/IMAGE.dcm`. `pneumonia-challenge-dataset-mappings_2018.json` tells each picture's name in NIH
ChestX-ray14, which begins with the patient.
Source: Shih G et al.: Augmenting the National Institutes of Health chest radiograph dataset with expert annotations of
possible pneumonia. Radiology: Artificial Intelligence 2019;1:e180041; https://www.rsna.org/rsnai/ai-image-challenge.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on

from hilum.class_names import ONE_CLASS
from hilum.converters.annotated import Annotated, LabelTables, content_of, json_with
from hilum.converters.challenge_tables import CLASSES, OPACITY
from hilum.converters.record import Request, Source
from hilum.converters.rows import Row
from hilum.documents import check, parse_json
from hilum.errors import HilumError

_GROUP = "calculated"
_READ = ConfigDict(extra="ignore")


@with_config(_READ)
class _Label(TypedDict):
    id: str
    name: str


@with_config(_READ)
class _Group(TypedDict):
    name: str
    labels: list[_Label]


@with_config(_READ)
class _Annotation(TypedDict, total=False):
    StudyInstanceUID: str
    SOPInstanceUID: str | None
    labelId: str
    data: dict[str, Any] | None


@with_config(_READ)
class _Dataset(TypedDict):
    annotations: list[_Annotation]


@with_config(_READ)
class _Export(TypedDict):
    labelGroups: list[_Group]
    datasets: list[_Dataset]


@with_config(_READ)
class _Mapping(TypedDict, total=False):
    SOPInstanceUID: str
    img_id: str


def find(request: Request) -> Source | None:
    """The release, where a file of JSON has MD.ai's groups of labels."""
    files = json_with(request.files, "labelGroups")
    if not files:
        return None
    file, name = files[0], files[0].name
    export = check(parse_json(content_of(file), name), _Export, name)
    labels = {
        label["id"]: label["name"]
        for group in export["labelGroups"]
        if group["name"].casefold() == _GROUP
        for label in group["labels"]
    }
    if not labels:
        named = ", ".join(repr(group["name"][:40]) for group in export["labelGroups"][:8])
        raise HilumError(f"{name}: labelGroups: expected one that is called 'Calculated', found {named or 'none'}")
    pictures: dict[str, list[str]] = {}
    for picture in request.files:
        if len(picture.parts) > 2 and picture.name.lower().endswith(".dcm"):
            pictures.setdefault(picture.parts[-3], []).append(picture.stem)
    patients = _patients(request)
    return Annotated(
        request,
        LabelTables(
            source="mdai",
            files=files,
            rows=list(_rows(name, export, labels, pictures, patients)),
            form="xywh",
            class_names=ONE_CLASS,
            patients_known=bool(patients),
        ),
    )


def _patients(request: Request) -> dict[str, str]:
    """The patient of each picture, where RSNA's mapping is there."""
    found: dict[str, str] = {}
    for file in json_with(request.files, "subset_img_id"):
        for entry in check(parse_json(content_of(file), file.name), list[_Mapping], file.name):
            if (patient := entry.get("img_id", "").split("_")[0].lstrip("0")) and "SOPInstanceUID" in entry:
                found[entry["SOPInstanceUID"]] = patient
    return found


def _rows(
    table: str,
    export: _Export,
    labels: Mapping[str, str],
    pictures: Mapping[str, list[str]],
    patients: Mapping[str, str],
) -> Iterator[Row]:
    """A row an annotation of the group, counted from 1 over the whole file."""
    annotations = (annotation for dataset in export["datasets"] for annotation in dataset["annotations"])
    for number, annotation in enumerate(annotations, start=1):
        label = labels.get(annotation.get("labelId", ""))
        if label is None:
            continue
        study = annotation.get("StudyInstanceUID", "")
        its = pictures.get(study, [])
        image = annotation.get("SOPInstanceUID") or (its[0] if len(its) == 1 else study)
        data, problem = annotation.get("data"), ""
        if label not in CLASSES:
            problem = f"label {label[:40]!r}: the image is in no class"
        box = tuple(data.get(key) for key in ("x", "y", "width", "height")) if data and label == OPACITY else None
        name, kind = (ONE_CLASS[0] if label == OPACITY else ""), label if label in CLASSES else ""
        yield Row(table, number, image, name=name, box=box, kind=kind, patient=patients.get(image, ""), problem=problem)
