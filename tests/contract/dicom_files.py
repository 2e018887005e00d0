"""Small DICOM files, small source folders in Kaggle's layout, and one generated set."""

import csv
import io
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, SecondaryCaptureImageStorage

from hilum.sample.challenge import write_sample

NAME = "Quixotic^Zebulon"  # nobody's name; no output may hold it


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def _jpeg(pixels: np.ndarray, quality: int = 90) -> bytes:
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _dicom(pixels=None, *, jpeg=None, syntax=None, **tags) -> bytes:
    """Bytes of a DICOM file around `pixels`, stored as they are, or around a JPEG stream of the same size."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "2.25.1"
    meta.ImplementationClassUID = "2.25.1"
    meta.TransferSyntaxUID = syntax or (JPEGBaseline8Bit if jpeg else ExplicitVRLittleEndian)
    with pydicom.config.disable_value_validation():
        dataset = pydicom.Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, "2.25.1"
        dataset.PatientName, dataset.PatientID, dataset.InstitutionName = NAME, NAME, NAME
        dataset.PatientSex, dataset.PatientAge, dataset.ViewPosition = "F", "51", "PA"
        dataset.PixelSpacing = ["0.143", "0.143"]
        if pixels is not None:
            bits = pixels.dtype.itemsize * 8
            dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
            dataset.Rows, dataset.Columns = pixels.shape[:2]
            dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
            dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
            dataset.PixelData = encapsulate([jpeg]) if jpeg else pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
            dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
            dataset["PixelData"].is_undefined_length = bool(jpeg)
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)
        dataset.file_meta = meta
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _picture(seed: int, width: int = 64, height: int = 48) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(128, 60, (height, width))
    return np.clip(cv2.GaussianBlur(noise, (0, 0), 2) * 3 - 256, 0, 255).astype(np.uint8)


def _table(path: Path, rows: list) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _small_source(folder: Path, images: int = 12) -> Path:
    """`images` labelled pictures of 64 x 48 px, every third with two boxes, and two test pictures."""
    (folder / "stage_2_train_images").mkdir(parents=True)
    (folder / "stage_2_test_images").mkdir()
    labels = [["patientId", "x", "y", "width", "height", "Target"]]
    classes = [["patientId", "class"]]
    for number in range(images):
        image_id = f"img{number:02d}"
        boxes = [[4 + number % 20, 5, 20, 30], [40, 6.5, 12, 11]] if number % 3 == 0 else []
        labels += [[image_id, *box, 1] for box in boxes] or [[image_id, "", "", "", "", 0]]
        classes += [[image_id, "Lung Opacity" if boxes else "Normal"]] * max(1, len(boxes))
        pixels = _picture(number)
        stream = _jpeg(pixels)
        stream = stream[:2] + _segment(0xFE, NAME.encode()) + stream[2:]
        (folder / "stage_2_train_images" / f"{image_id}.dcm").write_bytes(_dicom(pixels, jpeg=stream))
    for number in range(2):
        (folder / "stage_2_test_images" / f"test{number}.dcm").write_bytes(_dicom(_picture(100 + number)))
    _table(folder / "stage_2_train_labels.csv", labels)
    _table(folder / "stage_2_detailed_class_info.csv", classes)
    return folder


@pytest.fixture(scope="session")
def planted_name() -> str:
    return NAME


@pytest.fixture(scope="session")
def make_segment():
    return _segment


@pytest.fixture(scope="session")
def make_jpeg():
    return _jpeg


@pytest.fixture(scope="session")
def make_dicom():
    return _dicom


@pytest.fixture(scope="session")
def make_picture():
    return _picture


@pytest.fixture(scope="session")
def write_table():
    return _table


@pytest.fixture(scope="session")
def make_small_source():
    return _small_source


@pytest.fixture(scope="session")
def sample_source(tmp_path_factory) -> Path:
    """16 labelled images and 2 test images of the generated set, seed 3; not to be changed."""
    out = tmp_path_factory.mktemp("sample")
    write_sample(out, 16, 3)
    return out


@pytest.fixture(scope="session")
def tree_bytes():
    def read(folder: Path) -> dict[str, bytes]:
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    return read
