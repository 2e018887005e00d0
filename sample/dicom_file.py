"""DICOM files of drawn radiographs: as the challenge's are, and as they come from a hospital."""

import io
import uuid

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.sample.findings import SIZE_PX
from hilum.sample.planned import PlannedImage

JPEG_QUALITY = 82


def as_dicom(image: PlannedImage, pixels: NDArray[np.uint8]) -> bytes:
    """A file as the challenge's: JPEG Baseline of 8 bits, MONOCHROME2, the bare number in PatientAge."""
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


def as_deep_dicom(image: PlannedImage, pixels: NDArray[np.uint8], uids: tuple[str, str, str]) -> bytes:
    """A file as they come from a hospital: 12 to 16 bits, MONOCHROME1 or 2, with a window, by the image's number.

    Args:
        image: who and what is shown.
        pixels: (height, width), white bones.
        uids: of study, series and picture.
    """
    import pydicom
    from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

    number = image.seed[1]
    bits, inverted = (12, 14, 16)[number % 3], number % 2 == 1
    most = (1 << bits) - 1
    shown = pixels.astype(np.uint32) * most // 255
    stored = (most - shown if inverted else shown).astype("<u2")
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = UID(uids[2])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID("2.25.1")
    dataset = pydicom.Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, uids[2]
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uids[:2]
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "DX", "CHEST", image.view
    dataset.PatientName, dataset.PatientID = "", f"P{image.patient}"
    dataset.PatientSex, dataset.PatientAge = image.anatomy.sex, f"{image.anatomy.age:03d}Y"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME1" if inverted else "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth = str((most + 1) // 2), str(most + 1)
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = meta
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
