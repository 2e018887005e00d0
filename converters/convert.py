"""Convert DICOM files, once, into a dataset folder that stock tools read: the challenge with its tables, or any tree.

The marker `conversion.json` is written first with `complete: false` and last with `complete: true`, so a folder whose
conversion was interrupted is never taken for a dataset; every file in between is written atomically, and the same
command again ends with the same bytes as if nothing had happened.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hilum import __version__
from hilum.class_names import ONE_CLASS, said_of_classes
from hilum.converters import target
from hilum.converters.find_source import find_source
from hilum.converters.journal import JOURNAL, Journal
from hilum.converters.picture import Box, Job, Picture, convert_pictures, in_pixels, inside, scaled
from hilum.converters.record import AS_THEY_ARE, Choices, Record, Request, Source
from hilum.converters.rendering import AS_IS, Rendering
from hilum.converters.source import UNPACKED, list_files
from hilum.converters.target import IMAGES, LABELS, UNLABELLED
from hilum.converters.tree import KEY, SOURCES
from hilum.datasets.coco import boxes_to_coco
from hilum.datasets.folder import SPLITS, SplitName, people
from hilum.datasets.left_out import LeftOut, write_left_out
from hilum.datasets.record import CONVERSION as MARKER
from hilum.datasets.splits import rarest_class, split_by_group
from hilum.datasets.tables import SAFE_ID
from hilum.datasets.writing import METADATA, write_metadata, write_splits
from hilum.datasets.yolo import data_yaml
from hilum.dicom.header import NO_TAGS
from hilum.errors import HilumError
from hilum.files import refuse_links, write_atomically
from hilum.progress import Progress, no_progress

_CHUNK = 32  # files a task: few enough to lose little, many enough to be worth the way to a worker


def convert(
    source: Path,
    out: Path,
    *,
    rendering: Rendering = AS_IS,
    seed: int = 0,
    patients: Path | None = None,
    key: Path | None = None,
    kind: str | None = None,
    choices: Choices = AS_THEY_ARE,
    overwrite: bool = False,
    executor: Executor | None = None,
    progress: Progress = no_progress,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Convert a source into the dataset folder `out`.

    Where a source is laid out as one of those that are known, its pictures get labels and splits. Any other tree of
    DICOM files becomes unlabelled pictures that are named by keyed hashes, as their patients are; `sources.csv` alone
    leads back.

    Args:
        source: a folder, or a zip that is read in place.
        out: made if it is not there; must be empty, an interrupted conversion, or (with `overwrite`) a dataset.
        rendering: how pictures are written.
        seed: of the splits.
        patients: a CSV that says whose each image is; without it images count as persons.
        key: file with the key of the hashes; made where it is missing. `out`/sources.key where None.
        kind: of the source, a key of `find_source.FINDERS`; told by what lies there where None.
        choices: how labels are read.
        overwrite: convert again into a folder that already holds a dataset.
        executor: where files are converted; in this process where None. Any `concurrent.futures` executor will do.
        progress: called with the files done and their total.
        tell: called with a line on what is doubtful, before anything is written.

    Returns:
        The conversion record, as stored in `conversion.json`.

    Raises:
        HilumError: nothing useful can be done; one line a problem.
    """
    if rendering.bits > 8 and rendering.format == "jpg":
        raise HilumError("16 bits do not go into a JPEG: leave the format out, or say png")
    # Workers, on other machines perhaps, run in folders of their own; the journal knows pictures by their folder.
    work = _Work(out.absolute(), rendering, executor, progress)
    with _told(out):
        refuse_links(out, *target.FOLDERS, UNPACKED)
        with target.lock(out):  # until the last file: whoever gets the lock finds a dataset, or what nobody writes to
            begun = target.check(out, overwrite=overwrite)
            if begun and source.exists() and out.samefile(source):
                raise HilumError(f"{out}: is the source itself; give DATA a folder of its own")
            earlier = (out / UNPACKED).exists()
            try:
                files, not_listed = list_files(source.absolute(), work.out)
                request = Request(source, work.out, files, not_listed, patients, key, tell, choices)
                found = find_source(request, kind)
                target.mark(out, begun=begun)
                record = _convert_source(found, work, seed)
            except HilumError:
                if not earlier:  # what an interrupted run unpacked waits for the right command
                    shutil.rmtree(out / UNPACKED, ignore_errors=True)
                raise
            named = {} if found.private else {"source": source.absolute().name}
            record = {
                "hilum": __version__,
                "complete": True,
                **named,
                **found.about,
                **said_of_classes(found.class_names),
                **record,
                "rendering": asdict(rendering),
            }
            shutil.rmtree(out / UNPACKED, ignore_errors=True)
            (out / JOURNAL).unlink(missing_ok=True)
            write_atomically(out / MARKER, json.dumps(record, indent=1) + "\n")
            if (card := out / "README.md").exists():  # which may hold what its owner wrote
                tell(f"{card}: is of the data before; `hilum card {out} --overwrite` writes it and croissant.json anew")
    return record


@contextmanager
def _told(out: Path) -> Iterator[None]:
    """Say in one line what the machine, and no file of the source, put an end to."""
    try:
        yield
    except OSError as error:
        raise HilumError(
            f"{error.filename or out}: {error.strerror or error}; the same command again goes on"
        ) from error
    except MemoryError as error:
        raise HilumError(f"{out}: out of memory; try --workers 1, and the same command again goes on") from error
    except BrokenProcessPool as error:
        raise HilumError(f"{out}: a worker process died, out of memory perhaps; try --workers 1") from error


@dataclass(frozen=True)
class _Work:
    """Where pictures go, how they are written, and who does it."""

    out: Path
    rendering: Rendering
    executor: Executor | None
    progress: Progress

    def pictures(
        self, records: Sequence[Record], *, key: bytes | None, picture_files: bool
    ) -> Iterator[tuple[Record, Picture]]:
        """Convert the files of all records, in order; what an interrupted run has decoded is not decoded again."""
        convert_some = partial(convert_pictures, rendering=self.rendering, key=key, picture_files=picture_files)
        with Journal(self.out, self.rendering) as journal:
            jobs = [self._job(record, journal) for record in records]
            size = _CHUNK if self.executor else 1
            chunks = [slice(start, start + size) for start in range(0, len(jobs), size)]
            results = (self.executor.map if self.executor else map)(convert_some, [jobs[chunk] for chunk in chunks])
            done = 0
            for chunk, pictures in zip(chunks, results, strict=True):
                journal.add((job.pictures, picture) for job, picture in zip(jobs[chunk], pictures, strict=True))
                done += len(pictures)
                self.progress(done, len(jobs))
                yield from zip(records[chunk], pictures, strict=True)

    def _job(self, record: Record, journal: Journal) -> Job:
        pictures = str(self.out / (IMAGES if record.labelled else UNLABELLED))
        labels = str(self.out / LABELS) if record.labelled else None
        known = journal.known.get((pictures, record.image_id))
        boxes = record.boxes_xywh, record.class_ids, record.in_shares
        return Job(record.file, record.image_id, pictures, labels, *boxes, known)


@dataclass(frozen=True)
class _Labelled:
    """A converted picture with labels; its boxes in its own pixels, so after any reduction."""

    picture: Picture
    record: Record
    boxes_xywh: tuple[Box, ...]
    class_ids: tuple[int, ...]


def _convert_source(source: Source, work: _Work, seed: int) -> dict[str, Any]:
    """What `convert` does while nobody else writes to the folder."""
    out = work.out
    if not source.private and not source.takes_key:
        (out / KEY).unlink(missing_ok=True)  # of a tree whose conversion failed or was given up: it has named nothing
    records = list(source.records())
    _check_ids(records)
    images, unlabelled = _convert_pictures(source, records, work)
    source.left_out += source.compare({image.picture.image_id: len(image.boxes_xywh) for image in images})
    left_out = [source.public(entry) for entry in source.left_out]
    if not (images if source.labelled else unlabelled):
        write_left_out(out, left_out)
        if not (out / SOURCES).exists():
            (out / KEY).unlink(missing_ok=True)  # else no other source could be converted to this folder
        reasons = Counter(entry.reason for entry in left_out).most_common(3)
        said = "; ".join(f"{count} x {reason}" for reason, count in reasons) or "the source gives labels to none"
        what = "labelled picture" if source.labelled else "picture"
        raise HilumError(f"no {what} among the {len(records)} files could be converted: {said}")
    for name, text in source.private_files().items():
        write_atomically(out / name, text, private=True)
    images.sort(key=lambda image: image.picture.image_id)
    unlabelled.sort(key=lambda picture: picture.image_id)
    counts = _write_dataset(out, images, source.class_names, seed if source.labelled else 0)
    write_metadata(out / "unlabelled", _table(unlabelled))
    pictures = [*(image.picture for image in images), *unlabelled]
    stay = {
        IMAGES: {image.picture.file_name for image in images},
        LABELS: {f"{image.picture.image_id}.txt" for image in images},
        UNLABELLED: {picture.file_name for picture in unlabelled},
    }
    target.remove_strays(out, stay)
    write_left_out(out, left_out)
    return {
        "patients_known": source.patients_known or any(image.picture.patient for image in images),
        "images_without_patient": sum(not (image.record.patient or image.picture.patient) for image in images),
        "label_rows": source.label_rows,
        **counts,
        "unlabelled_images": len(unlabelled),
        "untouched_jpeg": sum(picture.untouched for picture in pictures),
        "left_out": dict(sorted(Counter(entry.what for entry in left_out).items())),
    }


def _check_ids(records: Sequence[Record]) -> None:
    """Refuse ids that lead out of the folder, or to another picture's file on systems that know no case."""
    seen = set[tuple[bool, str]]()
    for record in records:
        if not SAFE_ID.fullmatch(record.image_id):
            raise HilumError(f"{record.image_id!r}: no image id: letters, digits, '.', '_' and '-' are expected")
        place = record.labelled, record.image_id.casefold()
        if place in seen:
            raise HilumError(f"{record.image_id!r}: two pictures of this id; give each one of its own")
        seen.add(place)


def _convert_pictures(source: Source, records: Sequence[Record], work: _Work) -> tuple[list[_Labelled], list[Picture]]:
    """The labelled pictures and the others; what is wrong with one goes to what the source left out."""
    images: list[_Labelled] = []
    unlabelled: list[Picture] = []
    for record, picture in work.pictures(records, key=source.key, picture_files=source.picture_files):
        if picture.note is not None:
            source.left_out.append(LeftOut("note", record.image_id, record.file.name, None, picture.note))
        if picture.reason is not None:
            source.left_out.append(LeftOut(source.part, record.image_id, record.file.name, None, picture.reason))
        elif not record.labelled:
            unlabelled.append(picture)
        elif (image := _with_boxes(source, record, picture)) is not None:
            images.append(image)
    return images, unlabelled


def _with_boxes(source: Source, record: Record, picture: Picture) -> _Labelled | None:
    """A picture and its boxes, cut at its edge; None where an image has boxes and all lie outside: it is left out."""

    def leave_out(what: str, row: int | None, reason: str) -> None:
        source.left_out.append(LeftOut(what, record.image_id, source.table, row, reason))

    boxes, class_ids = [], []
    width, height = picture.source_size_wh
    extent = f"the picture of {width} x {height} px"
    if record.size_wh not in {None, picture.source_size_wh}:
        drawn = "{} x {} px".format(*record.size_wh or (0, 0))
        leave_out("image", None, f"its boxes were drawn in a picture of {drawn}, not in {extent}")
        return None
    for told, row, class_id in zip(record.boxes_xywh, record.rows, record.class_ids, strict=True):
        box = in_pixels(told, picture.source_size_wh, in_shares=record.in_shares)
        part = inside(box, picture.source_size_wh)
        if part is None:
            leave_out("box", row, f"lies outside {extent}")
            continue
        if box[0] < 0 or box[1] < 0 or box[0] + box[2] > width or box[1] + box[3] > height:
            leave_out("part of a box", row, f"reaches beyond {extent}; the part inside is kept")
        boxes.append(scaled(part, picture.scale_xy))
        class_ids.append(class_id)
    if record.boxes_xywh and not boxes:
        leave_out("image", None, source.all_outside)
        return None
    if record.tags != NO_TAGS:
        picture = replace(picture, tags=record.tags)
    return _Labelled(picture, record, tuple(boxes), tuple(class_ids))


def _write_dataset(out: Path, images: Sequence[_Labelled], class_names: Sequence[str], seed: int) -> dict[str, Any]:
    """Deal the images, sorted by id, into splits and write everything but pictures and label files."""
    table = _table([image.picture for image in images])
    table["class"] = [image.record.kind for image in images]
    table["patient"] = [image.record.patient or image.picture.patient for image in images]
    rarest = rarest_class([image.class_ids for image in images], class_names)
    strata = [
        f"{name or image.record.kind or bool(image.boxes_xywh)}|{image.picture.tags.view}"
        for name, image in zip(rarest, images, strict=True)
    ]
    table["split"] = split_by_group(people(table), strata, seed=seed)
    coco = boxes_to_coco(
        range(1, len(images) + 1),
        [image.picture.file_name for image in images],
        [image.picture.size_wh for image in images],
        [np.array(image.boxes_xywh, np.float64) for image in images],
        [image.class_ids for image in images],
        class_names,
    )
    counts = write_splits(out, table, coco)
    write_atomically(out / "data.yaml", data_yaml(class_names))
    splits = counts.pop("splits")
    by_class = {} if tuple(class_names) == ONE_CLASS else {"class_boxes": _class_boxes(images, table, class_names)}
    return {**counts, **by_class, "seed": seed, "splits": splits}


def _class_boxes(
    images: Sequence[_Labelled], table: pd.DataFrame, class_names: Sequence[str]
) -> dict[str, dict[SplitName, int]]:
    """How many boxes of each class are in each split."""
    counts = {name: dict.fromkeys(SPLITS, 0) for name in class_names}
    for image, split in zip(images, table["split"], strict=True):
        for class_id in image.class_ids:
            counts[class_names[class_id]][split] += 1
    return counts


def _table(pictures: Sequence[Picture]) -> pd.DataFrame:
    """The rows of `metadata.csv` as far as pictures tell them."""
    rows = []
    for picture in pictures:
        spacing_mm = picture.tags.spacing_mm
        if spacing_mm is not None and picture.size_wh != picture.source_size_wh:
            spacing_mm = round(spacing_mm / picture.scale_xy[1], 6)
        tags = (picture.tags.sex, picture.tags.age_years, picture.tags.view, spacing_mm)
        sizes = (*picture.size_wh, *picture.source_size_wh)
        rows.append((picture.image_id, "", "", picture.patient, *tags, *sizes, picture.sha256))
    return pd.DataFrame(rows, columns=METADATA, dtype=object)
