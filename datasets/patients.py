"""Read a patient map: a table that says whose each image is."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hilum.datasets.id_lists import match_case, one_of_each
from hilum.datasets.tables import MAX_BYTES, MISSING, Table, listed, plain
from hilum.documents import content_of
from hilum.errors import HilumError

if TYPE_CHECKING:
    import pandas as pd

_PERSON = ("patient", "nih_patient")


def read_patient_map(path: Path, known: Iterable[str], where: str) -> tuple[dict[str, str], list[str]]:
    """Read a patient map for the images that there are.

    Args:
        path: the file.
        known: ids of the images.
        where: whose images they are, for a message.

    Returns:
        Image id -> person, ids spelt as in `known`; and the ids that the map spells in another case.

    Raises:
        HilumError: not readable as a map, or it knows none of the images.
    """
    known = set(known)
    patients = read_patients(content_of(path, MAX_BYTES), str(path))
    respelt = match_case(patients, known)
    patients = {respelt.get(image_id, image_id): patient for image_id, patient in patients.items()}
    if known and not known & patients.keys():
        each = one_of_each(patients, known)
        raise HilumError(f"{path}: has none of the {len(known):,} images of {where}: {each}")
    return patients, list(respelt.values())


def excluded_patients(path: Path) -> set[str]:
    """The patients that a table names, in a column `patient` or `nih_patient`, without leading zeros.

    Args:
        path: the table, or a dataset folder.

    Raises:
        HilumError: not readable, or it names no patient.
    """
    path = path / "metadata.csv" if path.is_dir() else path
    table = Table(str(path), content_of(path, MAX_BYTES))
    rows = table.read((_person_column(table, str(path)),))
    found = {cell.lstrip("0") for cell in rows.iloc[:, 0] if cell.lower() not in MISSING}
    if not found:
        raise HilumError(f"{path}: names no patient")
    return found


def with_patients(images: "pd.DataFrame", patients: Mapping[str, str]) -> "pd.DataFrame":
    """Rows of `metadata.csv` with the patients of a map, which counts before what they say."""
    known = zip(images["image_id"], images["patient"], strict=True)
    return images.assign(patient=[patients.get(image_id, patient) for image_id, patient in known])


def read_patients(content: bytes, name: str) -> dict[str, str]:
    """Read a patient map: columns `patientId` (the image) and `patient` or `nih_patient` (the person).

    Other columns are free, and images whose person is empty are left away. Nothing else is: an image that lost its
    person counts as somebody else and may put one person into two splits, so a damaged map has to be mended.

    Args:
        content: of the file.
        name: of the file, as messages show it.

    Raises:
        HilumError: not readable as a table, a column is missing, a row cannot be used, or an image has two patients.
    """
    table = Table(name, content)
    person = _person_column(table, name)
    rows = table.read(("patientId", person))
    rows["patient"] = rows[person].mask(rows[person].str.lower().isin(MISSING), "")
    again = rows[rows["image_id"].duplicated(keep=False)]
    differs = again["patient"] != again.groupby("image_id")["patient"].transform("first")
    wrong = rows[(rows["problem"] != "") | rows.index.isin(again.index[differs])]
    if len(wrong):
        first = wrong.iloc[0]
        problem = first["problem"] or f"image {first['image_id']} has two patients"
        raise HilumError(f"{name}: row {wrong.index[0]}: {problem}; mend the map")
    known = rows[rows["patient"] != ""]
    return dict(zip(known["image_id"], known["patient"], strict=True))


def _person_column(table: Table, name: str) -> str:
    columns = {plain(column) for column in table.header}
    person = next((column for column in _PERSON if plain(column) in columns), None)
    if person is None:
        raise HilumError(f"{name}: expected a column 'patient' or 'nih_patient', found {listed(table.header)}")
    return person
