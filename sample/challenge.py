"""Write a generated data set in the shape of Kaggle's download: DICOM files, both tables, a sample submission.

The DICOM files carry the same tags as the challenge's (JPEG Baseline, 8 bit, MONOCHROME2, 1024 x 1024, the bare
number in PatientAge), so that everything that reads those reads these.
"""

import uuid
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.files import csv_text, own_folder, write_atomically
from hilum.progress import Progress, no_progress
from hilum.sample.dicom_file import as_dicom
from hilum.sample.findings import Anatomy
from hilum.sample.phantom import NORMAL, NOT_NORMAL, OPACITY, draw_phantom
from hilum.sample.planned import PlannedImage, draw_all

TRAIN_FOLDER = "stage_2_train_images"
TEST_FOLDER = "stage_2_test_images"
PATIENT_MAP = "patient_map.csv"
# Shares of the challenge's 26,684 images: AP 12,173; opacity on 38% of AP and 9% of PA images; of the images without
# opacity 8,851 normal and 11,821 not.
_AP = 12173 / 26684
_OPACITY = {"AP": 0.38, "PA": 0.09}
_OPACITY_OVERALL = _AP * _OPACITY["AP"] + (1 - _AP) * _OPACITY["PA"]
_NORMAL_AMONG_CLEAR = 8851 / (8851 + 11821)
_SPACINGS_MM = (0.143, 0.168, 0.139, 0.171, 0.194311)


def plan_sample(images: int, seed: int, opacity_share: float | None = None) -> list[PlannedImage]:
    """Decide who is imaged how often, and what each image shows.

    Args:
        images: labelled images; a ninth as many unlabelled test images come on top, as in the challenge.
        seed: the same seed gives the same files.
        opacity_share: share of labelled images with opacity; the challenge's 22.5% where None.
    """
    rng = np.random.default_rng(seed)
    factor = 1.0 if opacity_share is None else opacity_share / _OPACITY_OVERALL
    tests = max(1, round(images * 3000 / 26684))
    planned: list[PlannedImage] = []
    patient = 0
    while len(planned) < images + tests:
        patient += 1
        anatomy = Anatomy.draw(rng)
        # 11,439 patients have 26,684 images: 2.33 each, most of them one, a few dozens.
        visits = 1 if rng.random() < 0.58 else 1 + min(int(rng.geometric(0.30)), 40)
        spacing_mm = float(rng.choice(_SPACINGS_MM))
        for _ in range(visits):
            number = len(planned)
            if number == images + tests:
                break
            is_test = number >= images
            view = "AP" if rng.random() < _AP else "PA"
            if rng.random() < min(0.95, _OPACITY[view] * factor):
                kind = OPACITY
            else:
                kind = NORMAL if rng.random() < _NORMAL_AMONG_CLEAR else NOT_NORMAL
            planned.append(
                PlannedImage(
                    image_id=str(uuid.UUID(bytes=rng.bytes(16), version=4)),
                    patient=f"{patient:05d}",
                    anatomy=anatomy,
                    view=view,
                    kind=kind,
                    spacing_mm=spacing_mm,
                    folder=TEST_FOLDER if is_test else TRAIN_FOLDER,
                    seed=(seed, number),
                )
            )
    return planned


def write_sample(
    out: Path,
    images: int,
    seed: int,
    *,
    opacity_share: float | None = None,
    executor: Executor | None = None,
    progress: Progress = no_progress,
) -> None:
    """Write the set below `out`. Tables are written last: a folder that has them is whole.

    Args:
        out: made if it is not there.
        images: labelled images.
        seed: the same seed gives the same files, whatever the executor.
        opacity_share: see `plan_sample`.
        executor: where pictures are drawn; in this process where None.
        progress: called with the files done and their total.
    """
    planned = plan_sample(images, seed, opacity_share)
    for folder in (TRAIN_FOLDER, TEST_FOLDER):
        own_folder(out, folder)
    drawn = draw_all(partial(_write_image, out), planned, executor, progress)
    _write_tables(out, planned, dict(zip((image.image_id for image in planned), drawn, strict=True)))


def _write_image(out: Path, image: PlannedImage) -> NDArray[np.int64]:
    cv2.setNumThreads(1)  # one picture a process is faster than one picture on all cores
    phantom = draw_phantom(image.anatomy, image.view, image.kind, np.random.default_rng(image.seed))
    write_atomically(out / image.folder / f"{image.image_id}.dcm", as_dicom(image, phantom.pixels))
    return phantom.boxes_xywh


def _write_tables(out: Path, planned: list[PlannedImage], boxes: dict[str, NDArray[np.int64]]) -> None:
    labels: list[list[str]] = []
    classes: list[list[str]] = []
    labelled = [image for image in planned if image.folder == TRAIN_FOLDER]
    for image in labelled:
        rows = boxes[image.image_id].tolist()
        # Both tables have one row a box; that is what tempts people into the many-to-many join.
        labels += [[image.image_id, *(f"{value:.1f}" for value in row), "1"] for row in rows]
        labels += [] if rows else [[image.image_id, "", "", "", "", "0"]]
        classes += [[image.image_id, image.kind]] * max(1, len(rows))
    write_atomically(
        out / "stage_2_train_labels.csv", csv_text(["patientId", "x", "y", "width", "height", "Target"], labels)
    )
    write_atomically(out / "stage_2_detailed_class_info.csv", csv_text(["patientId", "class"], classes))
    tests = [[image.image_id, "0.5 0 0 100 100"] for image in planned if image.folder == TEST_FOLDER]
    write_atomically(out / "stage_2_sample_submission.csv", csv_text(["patientId", "PredictionString"], tests))
    # Kaggle's download has none; the file is what `hilum convert --patients` takes.
    write_atomically(
        out / PATIENT_MAP, csv_text(["patientId", "patient"], [[image.image_id, image.patient] for image in planned])
    )
