"""Convert a DICOM set and its tables, once, into a dataset folder that stock tools read.

The marker `conversion.json` is written first with `complete: false` and last with `complete: true`, so a folder whose
conversion was interrupted is never taken for a dataset; every file in between is written atomically.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum import __version__
from hilum.converters import rsna
from hilum.converters.coco import boxes_to_coco, coco_json
from hilum.converters.dicom import NO_TAGS, Tags, dicom_to_gray8, plain_jpeg, read_dicom, read_tags
from hilum.converters.files import csv_text, write_atomically
from hilum.converters.progress import Progress, no_progress
from hilum.converters.rsna import LeftOut
from hilum.converters.splits import DEFAULT_SHARES, split_by_group
from hilum.converters.yolo import boxes_to_yolo, data_yaml
from hilum.errors import HilumError

MARKER = "conversion.json"
_FOLDERS = ("images", "labels", "annotations", "unlabelled/images")
_METADATA = ("image_id", "split", "class", "patient", "sex", "age_years", "view", "spacing_mm", "width", "height")


@dataclass(frozen=True)
class Picture:
    """A converted picture, or why there is none.

    Attributes:
        image_id: file name without its ending; in the challenge that is `patientId`.
        file_name: in `images/`.
        untouched: whether the JPEG stream of the DICOM file was kept.
        sha256: of the picture file.
        reason: why it was left out.
    """

    image_id: str
    file_name: str = ""
    size_wh: tuple[int, int] = (0, 0)
    untouched: bool = False
    sha256: str = ""
    tags: Tags = NO_TAGS
    reason: str | None = None


def convert(
    source: Path,
    out: Path,
    *,
    seed: int = 0,
    patients: Path | None = None,
    overwrite: bool = False,
    executor: Executor | None = None,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Convert Kaggle's layout below `source` into the dataset folder `out`.

    Args:
        source: folder with the CSV files and picture folders.
        out: made if it is not there; must be empty, an interrupted conversion, or (with `overwrite`) a dataset.
        overwrite: convert again into a folder that already holds a dataset.
        seed: of the splits.
        patients: a CSV that says whose each image is; without it images count as persons.
        executor: where files are converted; in this process where None. Any `concurrent.futures` executor will do.
        progress: called with the files done and their total.

    Returns:
        The conversion record, as stored in `conversion.json`.

    Raises:
        HilumError: nothing useful can be done; one line a problem.
    """
    found = rsna.find_source(source)
    labels = rsna.read_labels(found.labels)
    classes, class_problems = rsna.read_classes(found.classes) if found.classes else ({}, [])
    owner = rsna.read_patients(patients) if patients else {}
    left_out = [*labels.left_out, *class_problems]
    try:
        _claim(out, overwrite=overwrite)
        labelled = _dicom_files(found.train_images, left_out)
        unlabelled = _dicom_files(found.test_images, left_out) if found.test_images else []
        jobs = [(path, out / "images") for path in labelled if path.stem in labels.boxes]
        jobs += [(path, out / "unlabelled" / "images") for path in unlabelled]
        pictures: dict[str, list[Picture]] = {"images": [], "unlabelled": []}
        for done, (picture, (path, folder)) in enumerate(
            zip(_map(executor, jobs), jobs, strict=True),
            start=1,
        ):
            progress(done, len(jobs))
            if picture.reason is not None:
                where = path.relative_to(source).as_posix()
                left_out.append(LeftOut("image", picture.image_id, where, None, picture.reason))
            else:
                pictures["images" if folder.parent == out else "unlabelled"].append(picture)
        left_out += _unmatched(labelled, labels, found)
        kept = sorted(pictures["images"], key=lambda picture: picture.image_id)
        if owner and not any(picture.image_id in owner for picture in kept) and kept:
            raise HilumError(f"{patients}: none of the {len(kept)} images is in this patient map; give the right one")
        if not kept:
            _write_left_out(out, left_out)
            raise HilumError(f"{source}: no labelled picture could be converted; {out / 'left_out.csv'} says why")
        kept, boxes = _boxes_inside(kept, labels, found.labels.name, left_out)
        left_out += _class_contradictions(kept, boxes, classes, found.classes)
        record = _write_dataset(out, kept, boxes, classes, owner, seed)
        _remove_strays(out, kept, pictures["unlabelled"])
        _write_left_out(out, left_out)
        record = {
            "hilum": __version__,
            "complete": True,
            "source": source.name,
            "patients_known": bool(owner),
            "images_without_patient": sum(picture.image_id not in owner for picture in kept) if owner else len(kept),
            "label_rows": labels.rows,
            **record,
            "unlabelled_images": len(pictures["unlabelled"]),
            "untouched_jpeg": sum(picture.untouched for picture in [*kept, *pictures["unlabelled"]]),
            "left_out": dict(sorted(Counter(entry.what for entry in left_out).items())),
        }
        write_atomically(out / MARKER, json.dumps(record, indent=1) + "\n")
    except OSError as error:
        raise HilumError(
            f"{error.filename or out}: {error.strerror or error}; the same command again goes on"
        ) from error
    except BrokenProcessPool as error:
        raise HilumError(f"{out}: a worker process died, out of memory perhaps; try --workers 1") from error
    return record


def convert_picture(path: Path, folder: Path) -> Picture:
    """Convert one DICOM file into a picture in `folder`: the JPEG stream as it is where that is right, else a PNG.

    A plain stream is not decoded here: whether its entropy-coded data are sound shows only in its markers.
    """
    image_id = path.stem
    if not rsna.SAFE_ID.fullmatch(image_id):
        return Picture("", reason="the file name holds characters other than letters, digits, '.', '_' and '-'")
    try:
        dataset = read_dicom(path)
        stream = plain_jpeg(dataset)
        if stream is not None:
            content, ending, size_wh = stream.data, "jpg", stream.size_wh
        else:
            pixels = dicom_to_gray8(dataset)
            size_wh, ending = (pixels.shape[1], pixels.shape[0]), "png"
            content = cv2.imencode(".png", pixels)[1].tobytes()
        tags = read_tags(dataset)
    except HilumError as error:
        return Picture(image_id, reason=str(error))
    name = f"{image_id}.{ending}"
    write_atomically(folder / name, content)
    return Picture(image_id, name, size_wh, stream is not None, hashlib.sha256(content).hexdigest(), tags)


def _convert_job(job: tuple[Path, Path]) -> Picture:
    return convert_picture(*job)


def _map(executor: Executor | None, jobs: Sequence[tuple[Path, Path]]) -> Iterable[Picture]:
    if executor is None:
        return map(_convert_job, jobs)
    return executor.map(_convert_job, jobs, chunksize=16)


def _claim(out: Path, *, overwrite: bool) -> None:
    """Make `out` ours, or refuse: a folder that holds anything else is never written to."""
    marker = out / MARKER
    if out.exists() and not out.is_dir():
        raise HilumError(f"{out}: is a file; give a folder")
    if out.is_dir() and any(out.iterdir()):
        try:
            complete = json.loads(marker.read_text(encoding="utf-8"))["complete"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HilumError(
                f"{out}: exists and is not a dataset folder of hilum's; give an empty or a new one"
            ) from error
        if complete and not overwrite:
            raise HilumError(f"{out}: already holds a converted dataset; --overwrite converts again")
    for name in _FOLDERS:
        (out / name).mkdir(parents=True, exist_ok=True)
    write_atomically(marker, json.dumps({"hilum": __version__, "complete": False}) + "\n")


def _dicom_files(folder: Path, left_out: list[LeftOut]) -> list[Path]:
    files: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() == ".dcm" and path.is_file():
            if files and path.stem == files[-1].stem:
                reason = f"the same id as {files[-1].name}"
                left_out.append(LeftOut("file", path.stem, f"{folder.name}/{path.name}", None, reason))
                continue
            files.append(path)
        else:
            left_out.append(LeftOut("file", "", f"{folder.name}/{path.name}", None, "not a .dcm file"))
    return files


def _unmatched(labelled: list[Path], labels: rsna.Labels, found: rsna.Source) -> list[LeftOut]:
    seen = {path.stem for path in labelled}
    known = {entry.image_id for entry in labels.left_out if entry.what == "image"}
    without_label = [
        LeftOut("image", path.stem, f"{found.train_images.name}/{path.name}", None, f"no row in {found.labels.name}")
        for path in labelled
        if path.stem not in labels.boxes and path.stem not in known
    ]
    without_image = [
        LeftOut("label", image_id, found.labels.name, None, f"no file {image_id}.dcm in {found.train_images.name}")
        for image_id in sorted(labels.boxes.keys() - seen)
    ]
    return without_label + without_image


def _boxes_inside(
    pictures: list[Picture], labels: rsna.Labels, table: str, left_out: list[LeftOut]
) -> tuple[list[Picture], list[NDArray[np.float64]]]:
    """Cut boxes at the picture's edge; an image all of whose boxes lie outside is left out."""
    kept: list[Picture] = []
    inside: list[NDArray[np.float64]] = []
    for picture in pictures:
        boxes = []
        for x, y, width, height, row in labels.boxes[picture.image_id]:
            left, top = max(x, 0.0), max(y, 0.0)
            right, bottom = min(x + width, picture.size_wh[0]), min(y + height, picture.size_wh[1])
            extent = f"the picture of {picture.size_wh[0]} x {picture.size_wh[1]} px"
            if right <= left or bottom <= top:
                left_out.append(LeftOut("box", picture.image_id, table, row, f"lies outside {extent}"))
                continue
            if (left, top, right, bottom) != (x, y, x + width, y + height):
                reason = f"reaches beyond {extent}; the part inside is kept"
                left_out.append(LeftOut("part of a box", picture.image_id, table, row, reason))
            boxes.append([left, top, right - left, bottom - top])
        if labels.boxes[picture.image_id] and not boxes:
            reason = "Target is 1, yet all its boxes lie outside the picture"
            left_out.append(LeftOut("image", picture.image_id, table, None, reason))
            continue
        kept.append(picture)
        inside.append(np.array(boxes, np.float64).reshape(-1, 4))
    return kept, inside


def _class_contradictions(
    pictures: list[Picture], boxes: list[NDArray[np.float64]], classes: Mapping[str, str], table: Path | None
) -> list[LeftOut]:
    if table is None:
        return []
    problems = []
    for picture, found in zip(pictures, boxes, strict=True):
        said = classes.get(picture.image_id)
        if said is None:
            problems.append(LeftOut("class", picture.image_id, table.name, None, "no row; the class stays empty"))
        elif (said == rsna.OPACITY) != (len(found) > 0):
            reason = f"says {said[:40]!r}, yet the image has {len(found)} boxes; the boxes are kept, the class is not"
            problems.append(LeftOut("class", picture.image_id, table.name, None, reason))
    return problems


def _write_dataset(
    out: Path,
    pictures: list[Picture],
    boxes: list[NDArray[np.float64]],
    classes: Mapping[str, str],
    owner: Mapping[str, str],
    seed: int,
) -> dict[str, Any]:
    kinds = []
    for picture, found in zip(pictures, boxes, strict=True):
        kind = classes.get(picture.image_id, "")
        kinds.append(kind if (kind == rsna.OPACITY) == (len(found) > 0) else "")
    strata = [
        f"{kind or len(found) > 0}|{picture.tags.view}"
        for kind, found, picture in zip(kinds, boxes, pictures, strict=True)
    ]
    # A person of the map and an image without one must not meet under one name.
    groups = [f"patient {owner[p.image_id]}" if p.image_id in owner else f"image {p.image_id}" for p in pictures]
    splits = split_by_group(groups, strata, seed=seed)
    for picture, found in zip(pictures, boxes, strict=True):
        write_atomically(out / "labels" / f"{picture.image_id}.txt", boxes_to_yolo(found, picture.size_wh))
    for name in DEFAULT_SHARES:
        at = [number for number, split in enumerate(splits) if split == name]
        files = [pictures[number].file_name for number in at]
        coco = boxes_to_coco(
            [number + 1 for number in at], files, [pictures[n].size_wh for n in at], [boxes[n] for n in at]
        )
        write_atomically(out / "annotations" / f"{name}.json", coco_json(coco))
        write_atomically(out / f"{name}.txt", "".join(f"./images/{file}\n" for file in files))
    write_atomically(out / "data.yaml", data_yaml())
    _write_metadata(out, pictures, splits, kinds, owner)
    positive = [len(found) > 0 for found in boxes]
    return {
        "images": len(pictures),
        "boxes": sum(len(found) for found in boxes),
        "positive_images": sum(positive),
        "classes": dict(sorted(Counter(kind or "unknown" for kind in kinds).items())),
        "seed": seed,
        "splits": {
            name: {
                "images": splits.count(name),
                "positive_images": sum(p for p, split in zip(positive, splits, strict=True) if split == name),
            }
            for name in DEFAULT_SHARES
        },
    }


def _write_metadata(
    out: Path, pictures: list[Picture], splits: list[str], kinds: list[str], owner: Mapping[str, str]
) -> None:
    rows = []
    for picture, split, kind in zip(pictures, splits, kinds, strict=True):
        tags = asdict(picture.tags)
        row: dict[str, Any] = {
            "image_id": picture.image_id,
            "split": split,
            "class": kind,
            "patient": owner.get(picture.image_id, ""),
        }
        row |= {key: "" if value is None else value for key, value in tags.items()}
        row |= {"width": picture.size_wh[0], "height": picture.size_wh[1]}
        rows.append([*(row[name] for name in _METADATA), picture.sha256])
    write_atomically(out / "metadata.csv", csv_text([*_METADATA, "sha256"], rows))


def _write_left_out(out: Path, left_out: list[LeftOut]) -> None:
    header = ["what", "image_id", "file", "row", "reason"]
    rows = [[e.what, e.image_id, e.file, "" if e.row is None else e.row, e.reason] for e in left_out]
    write_atomically(out / "left_out.csv", csv_text(header, rows))


def _remove_strays(out: Path, labelled: list[Picture], unlabelled: list[Picture]) -> None:
    """Drop what an earlier, other conversion left: stock loaders take every file of a folder."""
    wanted = {
        out / "images": {picture.file_name for picture in labelled},
        out / "labels": {f"{picture.image_id}.txt" for picture in labelled},
        out / "unlabelled" / "images": {picture.file_name for picture in unlabelled},
    }
    for folder, names in wanted.items():
        for path in folder.iterdir():
            if path.name not in names and path.is_file():
                path.unlink()
    for cache in ("labels.cache", "cache"):
        stale = out / cache
        if stale.is_dir():
            shutil.rmtree(stale)
        else:
            stale.unlink(missing_ok=True)
