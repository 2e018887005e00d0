"""Any table of boxes beside pictures as a dataset source; a module a kind says how its tables are read, and no more."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hilum.class_names import ONE_CLASS, check_class_names
from hilum.converters.class_map import ClassMap, apply, as_they_are, check_members, read_class_map
from hilum.converters.label_check import check_ids, check_units
from hilum.converters.labels import ImageLabels, gather, id_in
from hilum.converters.readers import merge_readers
from hilum.converters.record import Record, Request, Source
from hilum.converters.rows import NOTHING, Form, Row
from hilum.converters.source import HIDDEN_FILES, SourceFile
from hilum.converters.tree import KEY
from hilum.datasets.left_out import LeftOut
from hilum.datasets.patients import excluded_patients, read_patient_map
from hilum.datasets.tables import PICTURE_ENDING, Table
from hilum.errors import HilumError
from hilum.pseudonyms import read_or_make_key

_LOOKED_AT = 64  # files of JSON
_START = 1 << 16  # bytes
_TWO_FILES = "two files may be its picture, so neither is taken"


@dataclass(frozen=True)
class LabelTables:
    """What a kind of source reads from its tables.

    Attributes:
        source: the name of the kind, as `--source` takes it.
        files: the tables.
        rows: of all of them.
        form: of their boxes.
        class_names: in the order of their ids; None where the rows tell them, then sorted by name.
        left_out: what could not be read.
        patients_known: whether the tables tell whose the images are.
        patients_in_files: whether the pictures' own headers may tell that, and nobody else.
        several_readers: whether an image has boxes of several readers.
        is_unlabelled: whether a picture that no table names is one without labels, as of a test set.
    """

    source: str
    files: Sequence[SourceFile]
    rows: Iterable[Row]
    form: Form
    class_names: Sequence[str] | None = None
    left_out: Sequence[LeftOut] = ()
    patients_known: bool = False
    patients_in_files: bool = False
    several_readers: bool = False
    is_unlabelled: Callable[[SourceFile], bool] = lambda _: False

    @property
    def name(self) -> str:
        """Of the first table, for messages."""
        return self.files[0].name


class Annotated(Source):
    """Pictures whose boxes stand in tables: what is wrong with the tables is known before anything is written."""

    picture_files = True

    def __init__(self, request: Request, tables: LabelTables) -> None:
        """Read the labels and find their pictures.

        Raises:
            HilumError: the labels cannot be of the pictures, or nothing would be left of them.
        """
        super().__init__()
        self._request, self._tables, self.table = request, tables, tables.name
        self.takes = ["--classes", "--exclude-patients", *(["--readers", "--votes"] * tables.several_readers)]
        images, self.label_rows = gather(tables.rows, tables.form, self.left_out)
        self.left_out += tables.left_out
        self.patients_known = tables.patients_known
        if request.patients:
            patients, _ = read_patient_map(request.patients, images, self.table)
            images = {key: replace(image, patient=patients.get(key, image.patient)) for key, image in images.items()}
            self.patients_known = True
        self.takes_key = tables.patients_in_files and not self.patients_known
        self._files, self._others = _matched(request.files, tables.files, images)
        check_ids(images, self.table, {i: file for file in self._others if (i := id_in(file.name))} | self._files)
        ambiguous = [image for image in images.values() if image.reason == _TWO_FILES]
        self.left_out += [LeftOut("image", i.image_id, i.table, i.row, i.reason) for i in ambiguous]
        if not tables.form.endswith("shares"):
            boxes = {key: [mark.box_xywh for mark in image.marks] for key, image in images.items()}
            sizes = {key: image.size_wh for key, image in images.items() if image.size_wh}
            check_units(boxes, self.table, self._files, request.tell, sizes)
        self._images = images
        class_map = read_class_map(request.choices.classes) if request.choices.classes else None
        self.class_names = self._classes(class_map)
        self._settle()
        used = {} if class_map is None else {"class_map": {"name": class_map.name, "becomes": class_map.members}}
        readers = {key: value for key, value in (("readers", self._readers), ("votes", self._votes)) if value}
        self.about = {"read_as": tables.source, **used, **(readers if tables.several_readers else {})}

    def _usable(self) -> list[ImageLabels]:
        return [image for image in self._images.values() if not image.reason]

    def _classes(self, class_map: ClassMap | None) -> tuple[str, ...]:
        """The classes of the dataset, after boxes got those of the map."""
        tell, named = self._request.tell, self._tables.class_names
        try:
            there = sorted({mark.name for image in self._usable() for mark in image.marks})
            becomes = class_map or as_they_are(check_class_names(named or there or ONE_CLASS))
        except HilumError as error:
            raise HilumError(f"{self.table}: {error}") from error
        if class_map:
            check_members(class_map, there, tell)
        for image in self._usable():
            apply(becomes, image, self.left_out)
        names = becomes.class_names
        counts = Counter(mark.name for image in self._usable() for mark in image.marks if image.image_id in self._files)
        for name in names:
            if counts and not counts[name]:
                tell(f"{self.table}: no picture shows {name!r}, which stays a class without boxes")
        return names

    def _settle(self) -> None:
        """Make the boxes of readers one set, and leave out the patients of other data."""
        choices = self._request.choices
        self._readers, self._votes = choices.readers or "union", choices.votes or 0
        if self._votes and self._readers != "fused":
            raise HilumError("--votes: are counted where readers are fused; say --readers fused")
        for image in self._usable():
            merge_readers(image, self._readers, self._votes or 1, self.left_out)
            if image.marks and image.kind.casefold() in NOTHING:
                image.kind = ""
        if choices.exclude_patients:
            if not self.patients_known:
                raise HilumError(
                    f"--exclude-patients: {self.table} does not tell whose its images are; --patients does"
                )
            out = excluded_patients(choices.exclude_patients)
            shared = [image for image in self._usable() if image.patient and image.patient.lstrip("0") in out]
            self._request.tell(
                f"{choices.exclude_patients}: {len(shared):,} of {len(self._images):,} images are of its patients"
            )
            for image in shared:
                image.reason = "its patient is one of those to leave out"
                self.left_out.append(LeftOut("image", image.image_id, image.table, image.row, image.reason))

    def records(self) -> Iterator[Record]:
        """As `Source.records`."""
        self.left_out += self._request.not_listed
        if self.takes_key:
            self.key = read_or_make_key(self._request.key or self._request.out / KEY)
        for image_id, image in self._images.items():
            if image_id in self._files and not image.reason:
                yield Record(
                    self._files[image_id],
                    image_id,
                    labelled=True,
                    boxes_xywh=tuple(mark.box_xywh for mark in image.marks),
                    rows=tuple(mark.row for mark in image.marks),
                    class_ids=tuple(self.class_names.index(mark.name) for mark in image.marks),
                    in_shares=self._tables.form.endswith("shares"),
                    size_wh=image.size_wh,
                    tags=image.tags,
                    kind=image.kind,
                    patient=image.patient,
                )
        seen: set[str] = set()
        for file in self._others:
            if not (image_id := id_in(file.name)):
                self.left_out.append(LeftOut("file", "", file.name, None, "its name is no image id"))
            elif not self._tables.is_unlabelled(file):
                self.left_out.append(LeftOut("image", image_id, file.name, None, f"no row in {self.table}"))
            elif image_id.casefold() in seen:
                self.left_out.append(LeftOut("file", image_id, file.name, None, "another file has this id"))
            else:
                seen.add(image_id.casefold())
                yield Record(file, image_id)

    def compare(self, boxes: Mapping[str, int]) -> list[LeftOut]:
        """Labels without a picture."""
        del boxes
        missing = [i for key, i in self._images.items() if key not in self._files and i.reason != _TWO_FILES]
        return [LeftOut("label", i.image_id, i.table, i.row, "no picture of this id") for i in missing]

    def public(self, entry: LeftOut) -> LeftOut:
        """Ids are public, as they name the pictures; names of folders may be those of people."""
        if entry.file in {"", HIDDEN_FILES, *(file.name for file in self._tables.files)}:
            return replace(entry, file=entry.file.split("/")[-1])
        *folders, last = entry.file.split("/")
        last = last if PICTURE_ENDING.search(last) and id_in(last) else "(name)"
        return replace(entry, file="/".join(["(name)"] * bool(folders) + [last]))


def _matched(
    files: Iterable[SourceFile], tables: Collection[SourceFile], images: Mapping[str, ImageLabels]
) -> tuple[dict[str, SourceFile], list[SourceFile]]:
    """The picture of each image, and the pictures that are of none.

    Of several files of an id the one counts whose name is the table's, then what lies higher, then what is in no zip.
    """
    named = {table.name for table in tables}
    pictures = [file for file in files if file.name not in named and _may_be_picture(file)]
    by_id: dict[str, list[SourceFile]] = defaultdict(list)
    for file in pictures:
        by_id[id_in(file.name).casefold()].append(file)
    found: dict[str, SourceFile] = {}
    used: set[str] = set()
    for image_id, image in images.items():
        candidates = by_id.get(image_id.casefold(), [])
        wanted = f"/{image.reference}".casefold()
        exact = [file for file in candidates if f"/{file.name}".casefold().endswith(wanted)]
        ranked = sorted(exact or candidates, key=_rank)
        used.update(file.name for file in candidates)
        if len(ranked) > 1 and _rank(ranked[0]) == _rank(ranked[1]):
            image.reason = image.reason or _TWO_FILES
        elif ranked:
            found[image_id] = ranked[0]
    return found, [file for file in pictures if file.name not in used]


def _rank(file: SourceFile) -> tuple[int, bool]:
    return len(file.parts), file.offset >= 0


def _may_be_picture(file: SourceFile) -> bool:
    return bool(PICTURE_ENDING.search(file.name)) or file.start(132)[128:] == b"DICM"


def one_file(request: Request, names: Collection[str]) -> SourceFile | None:
    """The file of one of some names, whatever their case: of several the one that lies highest.

    Raises:
        HilumError: two lie equally high.
    """
    there = sorted((f for f in request.files if f.parts[-1].lower() in names), key=lambda file: len(file.parts))
    if len(there) > 1 and len(there[0].parts) == len(there[1].parts):
        raise HilumError(f"{there[0].name} and {there[1].name}: one is expected; keep one of them in the source")
    return there[0] if there else None


def json_with(files: Iterable[SourceFile], *keys: str) -> list[SourceFile]:
    """The files of JSON in whose beginning one of some keys stands, those that lie highest first."""
    named = sorted((f for f in files if f.name.lower().endswith(".json")), key=lambda f: (len(f.parts), f.name))
    return [f for f in named[:_LOOKED_AT] if any(f'"{key}"'.encode() in f.start(_START) for key in keys)]


def content_of(file: SourceFile) -> bytes:
    """The bytes of a table.

    Raises:
        HilumError: it cannot be read.
    """
    try:
        return file.read()
    except HilumError as error:
        raise HilumError(f"{file.name}: {error}") from error


def cells_of(table: Table, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number and the cells of each row, as `Table.read` gives them."""
    rows = table.read(columns)
    cells: list[dict[Any, Any]] = rows.to_dict("records")
    return zip(map(int, rows.index), cells, strict=True)


def path_has(folder: str) -> Callable[[SourceFile], bool]:
    """Whether a file lies in a folder of a name."""
    return lambda file: folder in file.parts[:-1]
