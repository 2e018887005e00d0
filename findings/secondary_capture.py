"""Findings as a Secondary Capture: the picture with boxes and words burnt in, for viewers that draw nothing else."""

from typing import Any

import cv2
import numpy as np
import pydicom
from highdicom.sc import SCImage
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless
from pydicom.valuerep import DS

from hilum.dicom.reading import render_dicom
from hilum.dicom.rendering import Rendered
from hilum.findings.finding import RESEARCH, Algorithm, Finding, for_highdicom, summary

_COLOUR = (230, 159, 0)  # RGB: Okabe and Ito's orange
_LOSSY = {JPEGBaseline8Bit: "ISO_10918_1", JPEGExtended12Bit: "ISO_10918_1", JPEGLSNearLossless: "ISO_14495_1"}
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def secondary_capture(findings: list[Finding], algorithm: Algorithm, place: dict[str, Any]) -> pydicom.Dataset:
    """A capture of one picture as hilum saw it: 8 bits, white bones, square pixels, and a strip of words below it.

    Args:
        findings: one.
        algorithm: what made it.
        place: arguments that all of highdicom's objects share.

    Raises:
        HilumError: the picture cannot be read any more.
    """
    (finding,) = findings
    image, read = for_highdicom(finding.image), finding.image.read()
    directions = image.PatientOrientation
    capture = SCImage.from_ref_dataset(
        image,
        drawn(render_dicom(read), finding, algorithm),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=tuple(directions) if directions else ("L", "F"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **place,
    )
    if not directions:  # highdicom asks for one; it may be empty where nobody knows it (PS3.3 C.7.6.1.1.1)
        capture.PatientOrientation = []
    capture.ConversionType = "WSD"  # made by a workstation
    capture.BurnedInAnnotation = "YES"
    capture.DerivationDescription = f"hilum: boxes and words are burnt in; {RESEARCH}"
    _say_lossy(capture, read)
    source = pydicom.Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    purpose = CodedConcept.from_code(codes.DCM.SourceImageForImageProcessingOperation)
    source.PurposeOfReferenceCodeSequence = [purpose]
    capture.SourceImageSequence = [source]
    return capture


def _say_lossy(capture: pydicom.Dataset, source: pydicom.Dataset) -> None:
    """What once lost something in compression says so for ever (PS3.3 C.7.6.1.1.5)."""
    syntax = source.file_meta.TransferSyntaxUID
    if syntax not in _LOSSY and str(source.get("LossyImageCompression", "")) != "01":
        return
    capture.LossyImageCompression = "01"
    if syntax.is_encapsulated:
        stored = source.Rows * source.Columns * source.BitsAllocated // 8
        capture.LossyImageCompressionRatio = DS(max(stored / len(source.PixelData), 1), auto_format=True)
        capture.LossyImageCompressionMethod = _LOSSY.get(syntax, "ISO_15444_1")


def drawn(shown: Rendered, finding: Finding, algorithm: Algorithm) -> NDArray[np.uint8]:
    """(H, W, 3) RGB: the picture, boxes on it, and words on black below, where they hide nothing."""
    grey = np.asarray(shown.pixels, np.uint8)
    width = grey.shape[1]
    line = max(1, round(max(grey.shape) / 400))
    canvas = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    scale = np.array(shown.scale_xy * 2)
    for found in finding.boxes:
        left, top, right, bottom = np.rint(np.array(found.xyxy) * scale).astype(int).tolist()
        cv2.rectangle(canvas, (left, top), (right, bottom), _COLOUR, line)
        place = left + 2 * line, top - 4 * line if top > 16 * line else top + 14 * line
        cv2.putText(canvas, found.words, place, _FONT, line / 2.4, _COLOUR, line, cv2.LINE_AA)
    words = summary(finding, algorithm)
    (wide, high), below = cv2.getTextSize(words, _FONT, line / 2.4, line)
    fits = min(1.0, (width - 4 * line) / wide)
    strip = np.zeros((2 * (high + below), width, 3), np.uint8)
    cv2.putText(strip, words, (2 * line, high + below), _FONT, fits * line / 2.4, _COLOUR, line, cv2.LINE_AA)
    return np.concatenate([canvas, strip])
