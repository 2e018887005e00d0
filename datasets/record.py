"""The record of a dataset folder, `conversion.json`: how it came about, and whether it is whole."""

from pathlib import Path
from typing import Annotated, Any, Final, Required

from pydantic import AfterValidator, Field, with_config
from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on

from hilum.class_names import check_class_names
from hilum.documents import MAX_RECORD_BYTES, RECORD, Count, read_json
from hilum.errors import HilumError

CONVERSION: Final = "conversion.json"
PARENT: Final = "parent_fingerprint"  # in the record of a further split: the data that it was made from
PARENT_PATH: Final = "parent_path"  # likewise, of a split that does not lie in them: where they lie


def _checked(names: list[str]) -> list[str]:
    try:
        return list(check_class_names(names))
    except HilumError as error:
        raise ValueError(str(error)) from error


@with_config(RECORD)
class Conversion(TypedDict, total=False):
    """What `hilum convert` and `hilum split` write; all but `complete` is missing from a record of neither.

    Attributes:
        complete: whether all has been written.
        hilum: the version that wrote it.
        source: name of what was converted.
        class_names: of what is looked for, in the order of their ids; those of the challenge where missing.
        rendering: how pictures were written, such as `bits`.
        images, positive_images, unlabelled_images: labelled ones, those of them with boxes, and those without labels.
        boxes, label_rows: in the labelled images, and in the label table.
        untouched_jpeg: pictures whose JPEG stream was kept as it is.
        classes: images of each class of the source, or kind.
        splits: how many `images` and `positive_images` each has.
        patients_known: whether it was said whose the images are.
        images_without_patient: how many of them are of nobody known.
        parent_fingerprint: of the data that a further split was made from.
        parent_path: where these data lie, of a further split that does not lie in them; absolute.
        relabelled_from: fingerprint of the data whose pictures were labelled anew.
        kind, seed, options: how a further split was made.
        patients_on_both_sides: of a further split, by pair of splits: "train-val"; None where no patient is known.
        left_out: how many were left out, by what or why.
    """

    complete: Required[bool]
    hilum: str
    source: str
    class_names: Annotated[list[str], AfterValidator(_checked)]
    rendering: dict[str, Any]
    images: Count
    positive_images: Count
    unlabelled_images: Count
    boxes: Count
    label_rows: Count
    untouched_jpeg: Count
    classes: dict[str, Count]
    splits: dict[str, dict[str, Count]]
    patients_known: bool
    images_without_patient: Count
    parent_fingerprint: str
    parent_path: Annotated[str, Field(pattern="^/")]
    relabelled_from: str
    kind: str
    seed: int
    options: dict[str, Any]
    patients_on_both_sides: dict[str, Count | None]
    left_out: dict[str, Count]


def read_conversion(folder: Path) -> Conversion:
    """Read the record of a dataset folder.

    Raises:
        HilumError: it is missing or damaged; one line a problem.
    """
    return read_json(folder / CONVERSION, Conversion, at_most=MAX_RECORD_BYTES, remedy="convert again")
