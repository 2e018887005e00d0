"""What a dataset source gives to a conversion: records, one a picture, and what is to be said of the rest."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from hilum.class_names import ONE_CLASS
from hilum.converters.picture import Box
from hilum.converters.source import SourceFile
from hilum.datasets.left_out import LeftOut
from hilum.dicom.header import NO_TAGS, Tags


@dataclass(frozen=True)
class Record:
    """A picture of a source, and what the source says of it.

    Attributes:
        file: of DICOM, or a picture file where its source has such.
        image_id: safe to be a file's name, and of one picture alone; a conversion refuses others.
        labelled: whether it is known where its opacities are; else it is converted without labels.
        boxes_xywh: what was found, in source pixels or in shares of the picture, out of which they may reach.
        rows: of the label table, one a box.
        class_ids: one a box; all of the first class where it is left empty.
        in_shares: whether boxes are shares of the picture's width and height.
        size_wh: of the picture that the boxes were drawn in, where that is told: one of another size is left out.
        tags: what the source tells of sex, age and view; counts before what is in the file.
        kind: its class, as `metadata.csv` shows it; empty where it is unknown, or contradicts the boxes.
        patient: whose it is; empty where unknown.
    """

    file: SourceFile
    image_id: str
    labelled: bool = False
    boxes_xywh: tuple[Box, ...] = ()
    rows: tuple[int, ...] = ()
    class_ids: tuple[int, ...] = ()
    in_shares: bool = False
    size_wh: tuple[int, int] | None = None
    tags: Tags = NO_TAGS
    kind: str = ""
    patient: str = ""

    def __post_init__(self) -> None:
        if not self.class_ids:
            object.__setattr__(self, "class_ids", (0,) * len(self.boxes_xywh))
        if len(self.class_ids) != len(self.boxes_xywh):
            raise ValueError(f"{self.image_id}: class_ids: expected one a box, {len(self.boxes_xywh)}")
        if len(self.rows) != len(self.boxes_xywh):
            raise ValueError(f"{self.image_id}: rows: expected one a box, {len(self.boxes_xywh)}, got {len(self.rows)}")


@dataclass(frozen=True)
class Choices:
    """How labels are read, as far as a source leaves that open.

    Attributes:
        classes: a class map: a YAML file, or the name of a shipped one.
        readers: whether boxes of several readers are all taken, or fused where they agree; "union" where None.
        votes: so many readers must agree, where they are fused; 1 where None.
        exclude_patients: a table or a dataset folder whose patients are left out.
    """

    classes: str | None = None
    readers: Literal["union", "fused"] | None = None
    votes: int | None = None
    exclude_patients: Path | None = None

    @property
    def options(self) -> dict[str, object]:
        """Those that were given, as the command line calls them."""
        named = {f"--{each.name.replace('_', '-')}": getattr(self, each.name) for each in fields(self)}
        return {option: value for option, value in named.items() if value is not None}


AS_THEY_ARE: Final = Choices()


@dataclass(frozen=True)
class Request:
    """What was asked to be converted.

    Attributes:
        source: the folder or zip.
        out: the dataset folder.
        files: of the source.
        not_listed: what of the source cannot be read.
        patients: a patient map.
        key: file with the key of keyed hashes.
        tell: called with a line on what is doubtful.
        choices: how labels are read where a source leaves that open.
    """

    source: Path
    out: Path
    files: Sequence[SourceFile]
    not_listed: Sequence[LeftOut]
    patients: Path | None
    key: Path | None
    tell: Callable[[str], None]
    choices: Choices


class Source(ABC):
    """A kind of source; its module's `find(request)` makes one, or answers None where the files are not of its kind.

    Attributes:
        left_out: what did not come along, whoever found that out.
        private: whether names of files and patients may be those of people: then `private_files` alone lead back, and
            the source takes a key.
        takes: options of `Choices` that it heeds.
        takes_key: whether the patients of its files become keyed hashes, though its ids are public.
        about: what `conversion.json` tells of how its labels were read.
        class_names: of what its boxes show, in the order of their ids.
        picture_files: whether its files may be pictures, such as JPEG and PNG; else all are DICOM.
        labelled: whether some of its pictures are to have labels; it fails where none of them can be converted.
        part: what one of its files is called in `left_out.csv`.
        table: name of the label table, for messages.
        label_rows: in that table.
        patients_known: whether it was said whose the images are; a source that leaves it takes no patient map.
        key: of the keyed hashes that patients' ids become; None where they are not read from the files.
        all_outside: said of an image whose boxes all lie outside its picture.
    """

    private = False
    takes: Collection[str] = ()
    takes_key = False
    about: Mapping[str, object] = MappingProxyType({})
    class_names: tuple[str, ...] = ONE_CLASS
    picture_files = False
    labelled = True
    part = "image"
    table = ""
    label_rows = 0
    patients_known = False
    key: bytes | None = None
    all_outside = "all its boxes lie outside the picture"

    def __init__(self) -> None:
        self.left_out: list[LeftOut] = []

    @abstractmethod
    def records(self) -> Iterator[Record]:
        """The pictures, those with labels first; asked once, when the dataset folder is marked as begun."""

    def compare(self, boxes: Mapping[str, int]) -> list[LeftOut]:  # noqa: ARG002 - for those that have tables
        """Tell where tables contradict what was converted: the number of boxes of each labelled image."""
        return []

    def public(self, entry: LeftOut) -> LeftOut:
        """An entry as a table that may be shared can show it."""
        return entry

    def private_files(self) -> dict[str, str]:
        """Name and text of what is written into the dataset folder for its owner alone."""
        return {}
