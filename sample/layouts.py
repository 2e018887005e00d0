"""Write generated data sets in the layouts of other sources: their folders, their tables, files as theirs are.

Each layout is where a picture lies, what its file is, and the text of the tables; headers and rows are shaped after the
real ones, numbers are made up. What `sample.challenge` plans is drawn for all of them.
"""

import json
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from hilum.files import csv_text, own_folder, write_atomically
from hilum.progress import Progress, no_progress
from hilum.sample.challenge import TEST_FOLDER, plan_sample
from hilum.sample.dicom_file import as_deep_dicom
from hilum.sample.findings import SIZE_PX, Located
from hilum.sample.phantom import OPACITY, draw_phantom
from hilum.sample.planned import PlannedImage, draw_all

_SIZES_WH = ((880, 1040), (1024, 1024), (1200, 980), (760, 940))


@dataclass(frozen=True)
class Drawn:
    """An image that was written: its size in pixels, and what it shows, in these pixels."""

    image: PlannedImage
    size_wh: tuple[int, int]
    findings: tuple[Located, ...]

    @property
    def is_test(self) -> bool:
        """Whether it is of the test set, which some layouts have no labels of."""
        return self.image.folder == TEST_FOLDER


@dataclass(frozen=True)
class Layout:
    """A layout.

    Attributes:
        path: of a picture's file.
        tables: name and text of each table.
        has_tests: whether there are pictures of a test set.
        resized: whether files have sizes of their own, and not all 1024 x 1024 px.
    """

    path: Callable[[PlannedImage], str]
    tables: Callable[[Sequence[Drawn]], dict[str, str]]
    has_tests: bool = False
    resized: bool = True


def write_layout(
    out: Path,
    name: str,
    images: int,
    seed: int,
    *,
    opacity_share: float | None = None,
    executor: Executor | None = None,
    progress: Progress = no_progress,
) -> None:
    """Write a set below `out`, its tables last.

    Args:
        out: made if it is not there.
        name: of the layout.
        images: labelled ones.
        seed: the same seed gives the same files, whatever the executor.
        opacity_share: as in `plan_sample`.
        executor: where pictures are drawn; in this process where None.
        progress: called with the files done and their total.
    """
    layout = LAYOUTS[name]
    planned = [p for p in plan_sample(images, seed, opacity_share) if layout.has_tests or p.folder != TEST_FOLDER]
    for folder in sorted({str(Path(layout.path(image)).parent) for image in planned}):
        own_folder(out, *Path(folder).parts)
    write = partial(_write_image, out, name)
    drawn = draw_all(write, planned, executor, progress)
    for table, text in layout.tables(drawn).items():
        own_folder(out, *Path(table).parts[:-1])
        write_atomically(out / table, text)


def _write_image(out: Path, name: str, image: PlannedImage) -> Drawn:
    cv2.setNumThreads(1)  # one picture a process is faster than one picture on all cores
    phantom = draw_phantom(image.anatomy, image.view, image.kind, np.random.default_rng(image.seed))
    size_wh = _SIZES_WH[image.seed[1] % len(_SIZES_WH)] if LAYOUTS[name].resized else (SIZE_PX, SIZE_PX)
    pixels = np.asarray(cv2.resize(phantom.pixels, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
    across, down = size_wh[0] / SIZE_PX, size_wh[1] / SIZE_PX
    boxes = [(OPACITY, box) for box in phantom.boxes_xywh.tolist()] + list(phantom.others)
    findings = tuple((what, (x * across, y * down, w * across, h * down)) for what, (x, y, w, h) in boxes)
    path = out / LAYOUTS[name].path(image)
    if path.suffix in {".png", ".jpg"}:
        quality = [cv2.IMWRITE_JPEG_QUALITY, 92] * (path.suffix == ".jpg")
        content = cv2.imencode(path.suffix, pixels, quality)[1].tobytes()
    else:
        content = as_deep_dicom(image, pixels, _uids(image))
    write_atomically(path, content)
    return Drawn(image, size_wh, findings)


def _uids(image: PlannedImage) -> tuple[str, str, str]:
    """Of study, series and picture; below 2.25 UIDs are made from UUIDs (PS3.5 B.2), so none is anybody's."""
    number = uuid.UUID(image.image_id).int
    return f"2.25.{number}", f"2.25.{number ^ 1}", f"2.25.{number ^ 2}"


def _hex(image: PlannedImage, digits: int = 32) -> str:
    return image.image_id.replace("-", "")[:digits]


def _corners(box: tuple[float, ...]) -> list[float]:
    x, y, width, height = box
    return [x, y, x + width, y + height]


# One's own: a table, COCO, YOLO.


def _own_path(image: PlannedImage) -> str:
    """Files of three kinds in one set."""
    return f"images/{image.image_id}.{('dcm', 'png', 'jpg')[image.seed[1] % 3]}"


def _own_csv(drawn: Sequence[Drawn]) -> dict[str, str]:
    header = ["image_id", "class", "x_min", "y_min", "x_max", "y_max", "patient", "sex", "age_years", "view"]
    rows: list[list[object]] = []
    for each in drawn:
        image = each.image
        person = [f"P{image.patient}", image.anatomy.sex, image.anatomy.age, image.view]
        boxed = [[name, *(f"{value:.1f}" for value in _corners(box))] for name, box in each.findings]
        rows += [[image.image_id, *cells, *person] for cells in boxed or [["", "", "", "", ""]]]
    return {"labels.csv": csv_text(header, rows)}


def _own_coco(drawn: Sequence[Drawn]) -> dict[str, str]:
    names = sorted({name for each in drawn for name, _ in each.findings})
    images, annotations = [], list[dict[str, Any]]()
    for number, each in enumerate(drawn, start=1):
        width, height = each.size_wh
        entry = {"id": number, "file_name": Path(_own_path(each.image)).name, "width": width, "height": height}
        images.append({**entry, "patient": f"P{each.image.patient}"})
        for name, box in each.findings:
            shape = {"bbox": [round(value, 2) for value in box], "area": round(box[2] * box[3], 2), "iscrowd": 0}
            about = {"id": len(annotations) + 1, "image_id": number, "category_id": names.index(name) + 1}
            annotations.append({**about, **shape})
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    return {"annotations/instances.json": json.dumps(coco, indent=1) + "\n"}


def _own_yolo(drawn: Sequence[Drawn]) -> dict[str, str]:
    names = sorted({name for each in drawn for name, _ in each.findings})
    files = {"data.yaml": "path: .\ntrain: images/train\nval: images/train\nnames:\n"}
    files["data.yaml"] += "".join(f"  {number}: {json.dumps(name)}\n" for number, name in enumerate(names))
    for each in drawn:
        width, height = each.size_wh
        lines = []
        for name, (x, y, w, h) in each.findings:
            shares = (x + w / 2) / width, (y + h / 2) / height, w / width, h / height
            lines.append(" ".join([str(names.index(name)), *(f"{share:.6f}" for share in shares)]) + "\n")
        files[f"labels/train/{each.image.image_id}.txt"] = "".join(lines)
    return files


# Challenges and releases.


def _siim_path(image: PlannedImage) -> str:
    study, folder = _hex(image, 12)[::-1], "test" if image.folder == TEST_FOLDER else "train"
    return f"{folder}/{study}/{_hex(image)[12:24]}/{_hex(image, 12)}.dcm"


def _siim(drawn: Sequence[Drawn]) -> dict[str, str]:
    images, studies = list[list[object]](), list[list[object]]()
    for each in drawn:
        if each.is_test:
            continue
        study = _siim_path(each.image).split("/")[1]
        boxes = [[round(value, 5) for value in box] for name, box in each.findings if name == OPACITY]
        written = [dict(zip(("x", "y", "width", "height"), box, strict=True)) for box in boxes]
        corners = [" ".join(f"{value:.5f}" for value in _corners(tuple(box))) for box in boxes]
        label = " ".join(f"opacity 1 {text}" for text in corners) or "none 1 0 0 1 1"
        images.append([f"{_hex(each.image, 12)}_image", str(written) if boxes else "", label, study])
        kind = each.image.seed[1] % 3 + 1 if boxes else 0
        studies.append([f"{study}_study", *(int(kind == number) for number in range(4))])
    kinds = ["Negative for Pneumonia", "Typical Appearance", "Indeterminate Appearance", "Atypical Appearance"]
    return {
        "train_image_level.csv": csv_text(["id", "boxes", "label", "StudyInstanceUID"], images),
        "train_study_level.csv": csv_text(["id", *kinds], studies),
    }


_VINDR_NAMES = ("Consolidation", "Infiltration", "Lung Opacity")
_VINBIGDATA_IDS = {
    "Cardiomegaly": 3,
    "Consolidation": 4,
    "Infiltration": 6,
    "Lung Opacity": 7,
    "Nodule/Mass": 8,
    "Pleural effusion": 10,
    "No finding": 14,
}


def _vindr_path(ending: str, image: PlannedImage) -> str:
    return f"{'test' if image.folder == TEST_FOLDER else 'train'}/{_hex(image)}{ending}"


def _read(each: Drawn, readers: int) -> list[tuple[str, str, list[str]]]:
    """What readers say of an image: reader, class, corners; now and then one misses a finding, never all of them."""
    rng = np.random.default_rng((*each.image.seed, 1))
    names = [f"R{number}" for number in sorted(rng.choice(np.arange(1, 18), readers, replace=False).tolist())]
    said = []
    for number, (finding, box) in enumerate(each.findings):
        name = _VINDR_NAMES[(each.image.seed[1] + number) % 3] if finding == OPACITY else finding
        drew = [reader for reader in names if rng.random() < 0.8] or names[:1]
        for reader in drew:
            moved = np.array(_corners(box)) + rng.normal(0, 0.03, 4) * [box[2], box[3], box[2], box[3]]
            moved = np.clip(moved, 0, [*each.size_wh, *each.size_wh])
            said.append((reader, name, [f"{value:.2f}" for value in moved]))
    silent = [reader for reader in names if reader not in {who for who, _, _ in said}]
    return said + [(reader, "No finding", ["", "", "", ""]) for reader in silent]


def _vinbigdata(drawn: Sequence[Drawn]) -> dict[str, str]:
    rows = [
        [_hex(each.image), name, _VINBIGDATA_IDS[name], reader, *(cell.split(".")[0] for cell in corners)]
        for each in drawn
        if not each.is_test
        for reader, name, corners in _read(each, 3)
    ]
    header = ["image_id", "class_name", "class_id", "rad_id", "x_min", "y_min", "x_max", "y_max"]
    return {"train.csv": csv_text(header, rows)}


def _vindr(drawn: Sequence[Drawn]) -> dict[str, str]:
    corners = ["x_min", "y_min", "x_max", "y_max"]
    train = [[_hex(d.image), who, name, *box] for d in drawn if not d.is_test for who, name, box in _read(d, 3)]
    test = [[_hex(d.image), name, *box] for d in drawn if d.is_test for _, name, box in _read(d, 1)]
    return {
        "annotations/annotations_train.csv": csv_text(["image_id", "rad_id", "class_name", *corners], train),
        "annotations/annotations_test.csv": csv_text(["image_id", "class_name", *corners], test),
    }


_NIH_NAMES = {"Nodule/Mass": "Nodule", "Pleural effusion": "Effusion"}


def _nih_path(image: PlannedImage) -> str:
    return f"images_001/images/{int(image.patient):08d}_{image.seed[1] % 1000:03d}.png"


def _nih(drawn: Sequence[Drawn]) -> dict[str, str]:
    boxes, entries = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n", list[str]()
    for each in drawn:
        image, name = each.image, Path(_nih_path(each.image)).name
        opacity = "Pneumonia" if image.seed[1] % 2 else "Infiltrate"
        found = [(opacity if what == OPACITY else _NIH_NAMES.get(what, what), box) for what, box in each.findings]
        boxes += "".join(f"{name},{what},{','.join(f'{value:.7f}' for value in box)},,,\n" for what, box in found)
        labels = "|".join(sorted({what.replace("Infiltrate", "Infiltration") for what, _ in found})) or "No Finding"
        anatomy = image.anatomy
        person = f"{image.seed[1] % 1000},{int(image.patient)},{anatomy.age},{anatomy.sex},{image.view}"
        entries.append(f"{name},{labels},{person},2500,2048,{image.spacing_mm},{image.spacing_mm},\n")
    header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    header += "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
    return {"BBox_List_2017.csv": boxes, "Data_Entry_2017.csv": header + "".join(entries)}


def _mdai_path(image: PlannedImage) -> str:
    study, series, picture = _uids(image)
    return f"images/{study}/{series}/{picture}.dcm"


def _mdai(drawn: Sequence[Drawn]) -> dict[str, str]:
    kinds = {"Lung Opacity": "L_op", "No Lung Opacity / Not Normal": "L_nn", "Normal": "L_no"}
    annotations: list[dict[str, Any]] = []
    mapping = []
    for each in drawn:
        study, series, picture = _uids(each.image)
        whole = {"StudyInstanceUID": study, "labelId": kinds[each.image.kind], "data": None}
        boxes = [box for name, box in each.findings if name == OPACITY]
        width, height = each.size_wh
        place = {"SeriesInstanceUID": series, "SOPInstanceUID": picture, "width": width, "height": height}
        for box in boxes:
            data = dict(zip(("x", "y", "width", "height"), (round(value, 1) for value in box), strict=True))
            annotations += [{**whole, **place, "data": data}, {**whole, **place, "labelId": "L_r1", "data": data}]
        annotations += [] if boxes else [whole]
        name = f"{int(each.image.patient):08d}_{each.image.seed[1] % 1000:03d}.png"
        uids = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": picture}
        mapping.append({"subset_img_id": each.image.image_id, "img_id": name, **uids})
    numbered = [{"id": f"A_{n}", "annotationNumber": n, "note": None, **a} for n, a in enumerate(annotations, start=1)]
    calculated = [{"id": label, "name": name, "type": "GLOBAL"} for name, label in kinds.items()]
    groups = [
        {"id": "G_1", "name": "Initial", "labels": [{"id": "L_r1", "name": "Lung Opacity (Prob)", "type": "LOCAL"}]},
        {"id": "G_2", "name": "Calculated", "labels": calculated},
    ]
    datasets = [{"id": "D_1", "annotations": numbered}]
    export = {"id": "P_1", "name": "generated", "labelGroups": groups, "datasets": datasets}
    return {
        "pneumonia-challenge-annotations-adjudicated-kaggle_2018.json": json.dumps(export) + "\n",
        "pneumonia-challenge-dataset-mappings_2018.json": json.dumps(mapping) + "\n",
    }


LayoutName = Literal["csv", "coco", "yolo", "siim", "vinbigdata", "vindr", "nih", "mdai"]
LAYOUTS: dict[str, Layout] = {
    "csv": Layout(_own_path, _own_csv),
    "coco": Layout(_own_path, _own_coco),
    "yolo": Layout(lambda image: f"images/train/{image.image_id}.jpg", _own_yolo),
    "siim": Layout(_siim_path, _siim, has_tests=True),
    "vinbigdata": Layout(partial(_vindr_path, ".dicom"), _vinbigdata, has_tests=True),
    "vindr": Layout(partial(_vindr_path, ".dicom"), _vindr, has_tests=True),
    "nih": Layout(_nih_path, _nih, resized=False),
    "mdai": Layout(_mdai_path, _mdai, resized=False),
}
