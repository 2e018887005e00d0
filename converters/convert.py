"""Convert DICOM files, once, into a dataset folder that stock tools read: the challenge with its tables, or any tree.

The marker `conversion.json` is written first with `complete: false` and last with `complete: true`, so a folder whose
conversion was interrupted is never taken for a dataset; every file in between is written atomically, and the same
command again ends with the same bytes as if nothing had happened.
"""

import json
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from hilum import __version__
from hilum.converters import rsna
from hilum.converters.dataset import Labelled, labelled, write_dataset, write_left_out, write_unlabelled
from hilum.converters.journal import JOURNAL, Journal
from hilum.converters.label_check import check_labels
from hilum.converters.layout import Layout, kaggle_layout
from hilum.converters.matching import OTHER_CASE, boxes_inside, class_contradictions, files_by_id, unmatched
from hilum.converters.picture import AS_IS, Job, Picture, Rendering, convert_pictures, pseudonym
from hilum.converters.public_names import PATIENT_MAP, public_name
from hilum.converters.rsna import LeftOut
from hilum.converters.source import UNPACKED, SourceFile, list_files
from hilum.datasets.id_lists import one_of_each
from hilum.datasets.record import CONVERSION as MARKER
from hilum.datasets.record import PARENT, read_conversion
from hilum.errors import HilumError
from hilum.files import (
    PARTIAL,
    csv_text,
    locked,
    own_folder,
    read_regular,
    refuse_links,
    remove,
    write_atomically,
)
from hilum.progress import Progress, no_progress

_MAX_KEY_BYTES = 4096
SOURCES, KEY = "sources.csv", "sources.key"
_IMAGES, _UNLABELLED = "images", "unlabelled/images"
_FOLDERS = (_IMAGES, "labels", "annotations", _UNLABELLED)
_CHUNK = 32  # files a task: few enough to lose little, many enough to be worth the way to a worker
_DO_NOT_SHARE = "# Do not share this file: it leads from the names in the dataset back to the files of patients.\n"


def convert(
    source: Path,
    out: Path,
    *,
    rendering: Rendering = AS_IS,
    seed: int = 0,
    patients: Path | None = None,
    key: Path | None = None,
    overwrite: bool = False,
    executor: Executor | None = None,
    progress: Progress = no_progress,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Convert a source into the dataset folder `out`.

    Where the source is laid out as Kaggle's download, its pictures get labels and splits. Any other tree of DICOM
    files becomes unlabelled pictures that are named by keyed hashes, as their patients are; `sources.csv` alone leads
    back.

    Args:
        source: a folder, or a zip that is read in place.
        out: made if it is not there; must be empty, an interrupted conversion, or (with `overwrite`) a dataset.
        rendering: how pictures are written.
        seed: of the splits.
        patients: a CSV that says whose each image is; without it images count as persons.
        key: file with the key of the hashes; made where it is missing. `out`/sources.key where None.
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
    work = _Work(out.absolute(), rendering, executor, progress, tell)
    try:
        refuse_links(out, *_FOLDERS, UNPACKED)
        with _locked(out):  # until the last file: whoever gets the lock finds a dataset, or what nobody writes to
            begun = _check_out(out, overwrite=overwrite)
            if begun and source.exists() and out.samefile(source):
                raise HilumError(f"{out}: is the source itself; give DATA a folder of its own")
            earlier = (out / UNPACKED).exists()
            try:
                record = _convert_source(source, work, seed, patients, key, begun=begun)
            except HilumError:
                if not earlier:  # what an interrupted run unpacked waits for the right command
                    shutil.rmtree(out / UNPACKED, ignore_errors=True)
                raise
            record = {"hilum": __version__, "complete": True, **record, "rendering": asdict(rendering)}
            shutil.rmtree(out / UNPACKED, ignore_errors=True)
            (out / JOURNAL).unlink(missing_ok=True)
            write_atomically(out / MARKER, json.dumps(record, indent=1) + "\n")
    except OSError as error:
        raise HilumError(
            f"{error.filename or out}: {error.strerror or error}; the same command again goes on"
        ) from error
    except MemoryError as error:
        raise HilumError(f"{out}: out of memory; try --workers 1, and the same command again goes on") from error
    except BrokenProcessPool as error:
        raise HilumError(f"{out}: a worker process died, out of memory perhaps; try --workers 1") from error
    return record


@dataclass(frozen=True)
class _Work:
    """Where pictures go, how they are written, and who does it."""

    out: Path
    rendering: Rendering
    executor: Executor | None
    progress: Progress
    tell: Callable[[str], None]

    def pictures(self, jobs: Sequence[Job], *, key: bytes | None) -> Iterator[tuple[Job, Picture]]:
        """Convert the files of all jobs, in order; what an interrupted run has decoded is not decoded again."""
        convert_some = partial(convert_pictures, rendering=self.rendering, key=key)
        with Journal(self.out, self.rendering) as journal:
            if journal.known:
                jobs = [replace(job, known=journal.known.get((job.pictures, job.image_id))) for job in jobs]
            size = _CHUNK if self.executor else 1
            chunks = [jobs[start : start + size] for start in range(0, len(jobs), size)]
            results = (self.executor.map if self.executor else map)(convert_some, chunks)
            done = 0
            for chunk, pictures in zip(chunks, results, strict=True):
                journal.add((job.pictures, picture) for job, picture in zip(chunk, pictures, strict=True))
                done += len(chunk)
                self.progress(done, len(jobs))
                yield from zip(chunk, pictures, strict=True)


def _convert_source(
    source: Path, work: _Work, seed: int, patients: Path | None, key: Path | None, *, begun: bool
) -> dict[str, Any]:
    """What `convert` does while nobody else writes to the folder; nothing is marked before the tables are read."""
    out = work.out
    files, left_out = list_files(source.absolute(), out)
    broken = [f"{entry.file}: {entry.reason}" for entry in left_out if entry.file.lower().endswith(".zip")]
    try:
        layout = kaggle_layout(files)
    except HilumError as error:
        raise HilumError("; ".join([str(error), *broken])) from error
    for line in broken:
        work.tell(f"{source}: {line}")
    if layout is None:
        _refuse(patients, f"a patient map is for Kaggle's layout, which {source} has not")
        files = [file for file in files if key is None or os.path.realpath(file.path) != os.path.realpath(key)]
        _mark(out, begun=begun)
        return _convert_tree(files, left_out, work, key)
    _refuse(key, "a key is for trees without Kaggle's layout; the challenge's ids are public")
    _refuse(out / SOURCES if (out / SOURCES).exists() else None, "is of a tree of patients; give a new folder")
    tables = _Tables(layout, patients)
    named = files_by_id(layout.train_images, tables.labels.boxes, [])
    check_labels(tables.labels, layout.labels.name, named, work.tell)
    _mark(out, begun=begun)
    (out / KEY).unlink(missing_ok=True)  # of a tree whose conversion failed or was given up: it has named nothing
    return {"source": source.absolute().name} | _convert_challenge(tables, layout, left_out, work, seed)


class _Tables:
    """The challenge's tables, read before anything is written."""

    def __init__(self, layout: Layout, patients: Path | None) -> None:
        self.labels = rsna.read_labels(_content(layout.labels), layout.labels.name)
        self.classes: dict[str, str] = {}
        self.left_out = list(self.labels.left_out)
        self.classes_name = layout.classes.name if layout.classes else None
        if layout.classes:
            self.classes, problems = rsna.read_classes(_content(layout.classes), layout.classes.name)
            self.left_out += problems
            self.classes = self._respelt(self.classes, self.classes_name or "")
        self.patients: dict[str, str] = {}
        if patients:
            try:
                content = read_regular(patients, rsna.MAX_BYTES)
            except OSError as error:
                raise HilumError(f"{patients}: cannot be read: {error.strerror}") from error
            except HilumError as error:
                raise HilumError(f"{patients}: {error}") from error
            self.patients = rsna.read_patients(content, str(patients))
            self.patients = self._respelt(self.patients, PATIENT_MAP)
            if self.labels.boxes and not self.labels.boxes.keys() & self.patients.keys():
                each = one_of_each(self.patients, self.labels.boxes)
                count = len(self.labels.boxes)
                raise HilumError(f"{patients}: none of the {count} images is in this patient map: {each}")

    def _respelt(self, table: dict[str, str], name: str) -> dict[str, str]:
        """The table with ids as the label table spells them, where they differ in case."""
        respelt = rsna.match_case(table, self.labels.boxes)
        self.left_out += [LeftOut("note", image_id, name, None, OTHER_CASE) for image_id in respelt.values()]
        return {respelt.get(image_id, image_id): value for image_id, value in table.items()}


def _content(table: SourceFile) -> bytes:
    try:
        return table.read()
    except HilumError as error:
        raise HilumError(f"{table.name}: {error}") from error


def _convert_challenge(
    tables: _Tables, layout: Layout, left_out: list[LeftOut], work: _Work, seed: int
) -> dict[str, Any]:
    labels, owner, out = tables.labels, tables.patients, work.out
    left_out = [*tables.left_out, *left_out, *layout.left_out]
    train = files_by_id(layout.train_images, labels.boxes, left_out)
    test = files_by_id(layout.test_images, (), left_out)
    pictures, label_files, unlabelled_pictures = (str(out / name) for name in (_IMAGES, "labels", _UNLABELLED))
    jobs = [
        Job(file, image_id, pictures, label_files, tuple(box[:4] for box in labels.boxes[image_id]))
        for image_id, file in train.items()
        if image_id in labels.boxes
    ]
    jobs += [Job(file, image_id, unlabelled_pictures, None) for image_id, file in test.items()]
    images: list[Labelled] = []
    unlabelled: list[Picture] = []
    for job, picture in work.pictures(jobs, key=None):
        if picture.note is not None:
            left_out.append(LeftOut("note", job.image_id, job.file.name, None, picture.note))
        if picture.reason is not None:
            left_out.append(LeftOut("image", job.image_id, job.file.name, None, picture.reason))
        elif job.labels is None:
            unlabelled.append(picture)
        elif (boxes := boxes_inside(picture, labels, layout.labels.name, left_out)) is not None:
            kind = tables.classes.get(job.image_id, "")
            images.append(labelled(picture, boxes, kind, owner.get(job.image_id, "")))
    left_out += unmatched(train, labels, layout)
    if not images:
        write_left_out(out, _public(left_out))
        raise HilumError(f"{layout.labels.name}: no labelled picture could be converted; left_out.csv says why")
    left_out += class_contradictions(images, tables.classes, tables.classes_name, labels)
    images.sort(key=lambda image: image.picture.image_id)
    unlabelled.sort(key=lambda picture: picture.image_id)
    counts = write_dataset(out, images, seed)
    write_unlabelled(out, unlabelled)
    _remove_strays(out, [image.picture for image in images], unlabelled)
    write_left_out(out, _public(left_out))
    return {
        "patients_known": bool(owner),
        "images_without_patient": sum(not image.patient for image in images),
        "label_rows": labels.rows,
        **counts,
        "unlabelled_images": len(unlabelled),
        "untouched_jpeg": sum(picture.untouched for picture in [*(i.picture for i in images), *unlabelled]),
        "left_out": _counted(left_out),
    }


def _convert_tree(
    files: Sequence[SourceFile], not_listed: Sequence[LeftOut], work: _Work, key_file: Path | None
) -> dict[str, Any]:
    out = work.out
    key = _read_or_make_key(key_file or out / KEY)
    names = {pseudonym(key, "file", file.name): file for file in files}
    indexes = sorted(image_id for image_id, file in names.items() if file.parts[-1].upper() == "DICOMDIR")
    left_out = [LeftOut("file", image_id, "", None, "a DICOMDIR, an index of other files") for image_id in indexes]
    jobs = [
        Job(file, image_id, str(out / _UNLABELLED), None)
        for image_id, file in sorted(names.items())
        if image_id not in indexes
    ]
    pictures: list[Picture] = []
    sources = [(image_id, file.name) for image_id, file in names.items()]
    for entry in not_listed:  # folders and names can be those of patients
        hidden = pseudonym(key, "file", entry.file)
        left_out.append(replace(entry, image_id=hidden, file=""))
        sources.append((hidden, entry.file))
    for job, picture in work.pictures(jobs, key=key):
        if picture.note is not None:
            left_out.append(LeftOut("note", job.image_id, "", None, picture.note))
        if picture.reason is None:
            pictures.append(picture)
        else:
            left_out.append(LeftOut("file", job.image_id, "", None, picture.reason))
    if not pictures:
        write_left_out(out, left_out)
        if not (out / SOURCES).exists():
            (out / KEY).unlink(missing_ok=True)  # else no other source could be converted to this folder
        reasons = Counter(entry.reason for entry in left_out).most_common(3)
        said = "; ".join(f"{count} x {reason}" for reason, count in reasons)
        raise HilumError(f"no picture among the {len(jobs)} files could be converted: {said}")
    write_atomically(out / SOURCES, _DO_NOT_SHARE + csv_text(["image_id", "file"], sorted(sources)), private=True)
    counts = write_dataset(out, [], 0)
    write_unlabelled(out, pictures)
    _remove_strays(out, [], pictures)
    write_left_out(out, left_out)
    return {
        "patients_known": False,
        "images_without_patient": 0,
        "label_rows": 0,
        **counts,
        "unlabelled_images": len(pictures),
        "untouched_jpeg": sum(picture.untouched for picture in pictures),
        "left_out": _counted(left_out),
    }


def _refuse(path: Path | None, why: str) -> None:
    if path is not None:
        raise HilumError(f"{path}: {why}")


def _check_out(out: Path, *, overwrite: bool) -> bool:
    """Whether the folder is an interrupted conversion or a dataset; one that holds anything else is refused."""
    there = {path.name for path in out.iterdir()}
    if all(name == UNPACKED or (name.startswith(f".{MARKER}.") and name.endswith(PARTIAL)) for name in there):
        return bool(there)  # empty, or killed before it had written its first file
    try:
        record = read_conversion(out)
    except HilumError as error:
        raise HilumError(f"{out}: exists and is not a dataset folder of hilum's; give an empty or a new one") from error
    if PARENT in record:
        raise HilumError(f"{out}: is a further split of a dataset; give a new folder")
    if record["complete"] and not overwrite:
        raise HilumError(f"{out}: already holds a converted dataset; --overwrite converts again")
    return True


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Keep other conversions, and splits, out of `out`, which is made for it and goes again if it stays empty.

    Raises:
        HilumError: another command is writing there.
    """
    if out.exists() and not out.is_dir():
        raise HilumError(f"{out}: is a file; give a folder")
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    out.mkdir(parents=True, exist_ok=True)
    with locked(out, busy="another command is writing there; wait for its end"):
        try:
            yield
        finally:
            with suppress(OSError):
                for empty in made:
                    empty.rmdir()


def _mark(out: Path, *, begun: bool) -> None:
    """Mark `out` as ours and unfinished, before all else, and clear away what a killed run was writing."""
    write_atomically(out / MARKER, json.dumps({"hilum": __version__, "complete": False}) + "\n")
    for name in _FOLDERS:
        own_folder(out, name)
    if begun:
        for place in (out, out / "unlabelled", *(out / name for name in _FOLDERS)):
            for path in place.glob(f".*{PARTIAL}"):
                path.unlink(missing_ok=True)


def _read_or_make_key(path: Path) -> bytes:
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, secrets.token_hex(32) + "\n", private=True)
        key = bytes.fromhex(read_regular(path, _MAX_KEY_BYTES).decode("ascii").strip())
    except HilumError as error:
        raise HilumError(f"{path}: the key cannot be read: {error}") from error
    except OSError as error:
        raise HilumError(f"{path}: the key cannot be read or made: {error.strerror}") from error
    except ValueError:
        key = b""
    if len(key) < 16:
        raise HilumError(f"{path}: expected a key of at least 32 hexadecimal digits; a new path makes one")
    return key


def _public(left_out: Iterable[LeftOut]) -> list[LeftOut]:
    return [replace(entry, file=public_name(entry.file)) for entry in left_out]


def _counted(left_out: Iterable[LeftOut]) -> dict[str, int]:
    return dict(sorted(Counter(entry.what for entry in left_out).items()))


def _remove_strays(out: Path, images: Sequence[Picture], unlabelled: Sequence[Picture]) -> None:
    """Drop what an earlier, other conversion left: stock loaders take every file of a folder."""
    wanted = {
        out / _IMAGES: {picture.file_name for picture in images},
        out / "labels": {f"{picture.image_id}.txt" for picture in images},
        out / _UNLABELLED: {picture.file_name for picture in unlabelled},
    }
    for folder, names in wanted.items():
        for path in folder.iterdir():
            if path.name not in names and (path.is_file() or path.is_symlink()):
                path.unlink()
    for cache in ("labels.cache", "cache"):
        remove(out / cache)
