"""The challenge as a dataset source: pictures in Kaggle's layout, with labels, classes and patients from its tables."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from hilum.converters.challenge_layout import PATIENT_MAP, Layout, kaggle_layout, public_name
from hilum.converters.challenge_tables import OPACITY, read_classes, read_labels
from hilum.converters.label_check import check_ids, check_units
from hilum.converters.record import Record, Request, Source
from hilum.converters.source import SourceFile
from hilum.datasets.id_lists import match_case
from hilum.datasets.left_out import LeftOut
from hilum.datasets.patients import read_patient_map
from hilum.datasets.tables import SAFE_ID
from hilum.errors import HilumError

_OTHER_CASE = "taken for this id, from which it differs in case"


def find(request: Request) -> Source | None:
    """The challenge, where the files are laid out as Kaggle's download; its tables are read.

    Raises:
        HilumError: its tables or pictures are missing, damaged, or not of each other.
    """
    layout = kaggle_layout(request.files)
    if layout is None:
        return None
    return _Challenge(layout, request)


class _Challenge(Source):
    all_outside = "Target is 1, yet all its boxes lie outside the picture"

    def __init__(self, layout: Layout, request: Request) -> None:
        super().__init__()
        self._layout = layout
        self.table = layout.labels.name
        self._labels = read_labels(_content(layout.labels), self.table)
        self.label_rows = self._labels.rows
        self.left_out += self._labels.left_out
        self._classes: dict[str, str] = {}
        if layout.classes:
            classes, problems = read_classes(_content(layout.classes), layout.classes.name)
            self.left_out += problems
            respelt = match_case(classes, self._labels.boxes)
            self._note_case(layout.classes.name, respelt.values())
            self._classes = {respelt.get(image_id, image_id): kind for image_id, kind in classes.items()}
        self._patients: dict[str, str] = {}
        if request.patients:
            self._patients, spelt = read_patient_map(request.patients, self._labels.boxes.keys(), self.table)
            self._note_case(PATIENT_MAP, spelt)
        self.patients_known = bool(self._patients)
        self._passed_over = [*request.not_listed, *layout.left_out]
        self._train = _files_by_id(layout.train_images, self._labels.boxes, self._passed_over)
        boxes = {image_id: [box[:4] for box in found] for image_id, found in self._labels.boxes.items()}
        check_ids(boxes, self.table, self._train)
        check_units(boxes, self.table, self._train, request.tell)

    def _note_case(self, table: str, image_ids: Collection[str]) -> None:
        self.left_out += [LeftOut("note", image_id, table, None, _OTHER_CASE) for image_id in image_ids]

    def records(self) -> Iterator[Record]:
        self.left_out += self._passed_over
        boxes, test = self._labels.boxes, _files_by_id(self._layout.test_images, (), self.left_out)
        for image_id, file in self._train.items():
            if image_id in boxes:
                kind = self._classes.get(image_id, "")
                yield Record(
                    file,
                    image_id,
                    labelled=True,
                    boxes_xywh=tuple(box[:4] for box in boxes[image_id]),
                    rows=tuple(box[4] for box in boxes[image_id]),
                    kind=kind if (kind == OPACITY) == bool(boxes[image_id]) else "",
                    patient=self._patients.get(image_id, ""),
                )
        yield from (Record(file, image_id) for image_id, file in test.items())

    def public(self, entry: LeftOut) -> LeftOut:
        """A hospital's files may be laid out as the challenge's are."""
        return replace(entry, file=public_name(entry.file))

    def compare(self, boxes: Mapping[str, int]) -> list[LeftOut]:
        """Pictures without a row in the label table, rows without a picture, and classes that fit neither."""
        labels, known = self._labels.boxes, {e.image_id for e in self._labels.left_out if e.what == "image"}
        without_label = [
            LeftOut("image", image_id, file.name, None, f"no row in {self._layout.labels.parts[-1]}")
            for image_id, file in self._train.items()
            if image_id not in labels and image_id not in known
        ]
        without_image = [
            LeftOut("label", image_id, self.table, None, f"no file {image_id}.dcm among the pictures")
            for image_id in sorted(labels.keys() - self._train.keys())
        ]
        return [*without_label, *without_image, *self._class_contradictions(boxes, known)]

    def _class_contradictions(self, boxes: Mapping[str, int], known: Collection[str]) -> Iterator[LeftOut]:
        """Where the class table, if there is one, says otherwise than the boxes, or nothing, or speaks of strangers."""
        if self._layout.classes is None:
            return
        name, labels = self._layout.classes.name, self._labels.boxes
        for image_id in sorted(self._classes.keys() - labels.keys() - set(known)):
            yield LeftOut("class", image_id, name, None, "its image is not in the label table")
        for image_id, count in boxes.items():
            kind = self._classes.get(image_id)
            if kind is None:
                yield LeftOut("class", image_id, name, None, "no row; the class stays empty")
            elif (kind == OPACITY) != bool(count) and kind:
                reason = f"says {kind[:40]!r}, yet the image has {count} boxes; the boxes are kept, the class is not"
                yield LeftOut("class", image_id, name, None, reason)


def _content(table: SourceFile) -> bytes:
    try:
        return table.read()
    except HilumError as error:
        raise HilumError(f"{table.name}: {error}") from error


def _files_by_id(
    files: Sequence[SourceFile], wanted: Collection[str], left_out: list[LeftOut]
) -> dict[str, SourceFile]:
    """Files by image id; ids that differ from the table's in case alone take the table's."""
    place = {file.name: number for number, file in enumerate(files, start=1)}
    # Of two that differ in case the table's comes first.
    files = sorted(files, key=lambda file: file.stem not in wanted)
    respelt = match_case((file.stem for file in files), wanted)
    found: dict[str, SourceFile] = {}
    seen: dict[str, SourceFile] = {}
    for file in files:
        stem, fold = file.stem, file.stem.casefold()
        if not file.name.lower().endswith(".dcm"):
            left_out.append(LeftOut("file", "", file.name, None, "not a .dcm file"))
        elif not SAFE_ID.fullmatch(stem):
            which = f"it is number {place[file.name]:,} of {len(files):,} by name"
            reason = f"the file name holds characters other than letters, digits, '.', '_' and '-'; {which}"
            left_out.append(LeftOut("file", "", file.name, None, reason))
        elif fold in seen:
            reason = f"the same id as {seen[fold].parts[-1]}, but for its case perhaps"
            left_out.append(LeftOut("file", stem, file.name, None, reason))
        else:
            image_id = respelt.get(stem, stem)
            if image_id != stem:
                left_out.append(LeftOut("note", image_id, file.name, None, _OTHER_CASE))
            found[image_id] = seen[fold] = file
    return found
