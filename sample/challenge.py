"""Write a generated data set in the shape of Kaggle's download: DICOM files, both tables, a sample submission.

The DICOM files carry the same tags as the challenge's (JPEG Baseline, 8 bit, MONOCHROME2, 1024 x 1024, the bare
number in PatientAge), so that everything that reads those reads these.
"""

import io
import uuid
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.files import csv_text, own_folder, write_atomically
from hilum.progress import Progress, no_progress
from hilum.sample.phantom import NORMAL, NOT_NORMAL, OPACITY, SIZE_PX, Anatomy, draw_phantom

TRAIN_FOLDER = "stage_2_train_images"
TEST_FOLDER = "stage_2_test_images"
PATIENT_MAP = "patient_map.csv"
JPEG_QUALITY = 82
# Shares of the challenge's 26,684 images: AP 12,173; opacity on 38% of AP and 9% of PA images; of the images without
# opacity 8,851 normal and 11,821 not.
_AP = 12173 / 26684
_OPACITY = {"AP": 0.38, "PA": 0.09}
_OPACITY_OVERALL = _AP * _OPACITY["AP"] + (1 - _AP) * _OPACITY["PA"]
_NORMAL_AMONG_CLEAR = 8851 / (8851 + 11821)
_SPACINGS_MM = (0.143, 0.168, 0.139, 0.171, 0.194311)


@dataclass(frozen=True)
class PlannedImage:
    """What is known of an image before it is drawn."""

    image_id: str
    patient: str
    anatomy: Anatomy
    view: str
    kind: str
    spacing_mm: float
    folder: str
    seed: tuple[int, int]


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
    boxes: dict[str, NDArray[np.int64]] = {}
    write = partial(_write_image, out)
    drawn = map(write, planned) if executor is None else executor.map(write, planned, chunksize=8)
    for image, found in zip(planned, drawn, strict=True):
        boxes[image.image_id] = found
        progress(len(boxes), len(planned))
    _write_tables(out, planned, boxes)


def _write_image(out: Path, image: PlannedImage) -> NDArray[np.int64]:
    cv2.setNumThreads(1)  # one picture a process is faster than one picture on all cores
    phantom = draw_phantom(image.anatomy, image.view, image.kind, np.random.default_rng(image.seed))
    write_atomically(out / image.folder / f"{image.image_id}.dcm", _dicom(image, phantom.pixels))
    return phantom.boxes_xywh


def _dicom(image: PlannedImage, pixels: NDArray[np.uint8]) -> bytes:
    import pydicom
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, JPEGBaseline8Bit, SecondaryCaptureImageStorage

    _, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = UID(f"2.25.{uuid.UUID(image.image_id).int}")
    meta.TransferSyntaxUID = JPEGBaseline8Bit
    # UIDs below 2.25 are made from UUIDs (PS3.5 B.2), so none is anybody's.
    meta.ImplementationClassUID = UID("2.25.1")
    patient_uid = uuid.uuid5(uuid.NAMESPACE_OID, f"{image.seed[0]}-{image.patient}").int
    with pydicom.config.disable_value_validation():  # PatientAge is a bare number, as in the challenge
        dataset = pydicom.Dataset()
        dataset.SpecificCharacterSet = "ISO_IR 100"
        dataset.SOPClassUID = meta.MediaStorageSOPClassUID
        dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        dataset.StudyDate = "19010101"
        dataset.StudyTime = "000000.00"
        dataset.AccessionNumber = ""
        dataset.Modality = "CR"
        dataset.ConversionType = "WSD"
        dataset.ReferringPhysicianName = ""
        dataset.SeriesDescription = f"view: {image.view}"
        dataset.PatientName = image.image_id
        dataset.PatientID = image.image_id
        dataset.PatientBirthDate = ""
        dataset.PatientSex = image.anatomy.sex
        dataset.PatientAge = str(image.anatomy.age)
        dataset.BodyPartExamined = "CHEST"
        dataset.ViewPosition = image.view
        dataset.StudyInstanceUID = f"2.25.{patient_uid}"
        dataset.SeriesInstanceUID = f"2.25.{patient_uid}"
        dataset.StudyID = ""
        dataset.SeriesNumber = "1"
        dataset.InstanceNumber = "1"
        dataset.PatientOrientation = ""
        dataset.SamplesPerPixel = 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.Rows, dataset.Columns = SIZE_PX, SIZE_PX
        dataset.PixelSpacing = [str(image.spacing_mm)] * 2
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.PixelRepresentation = 0
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionMethod = "ISO_10918_1"
        dataset.PixelData = encapsulate([jpeg.tobytes()])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta = meta
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


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
