"""Findings as a Grayscale Softcopy Presentation State: boxes and words over the source, on a layer to switch off."""

from dataclasses import replace
from math import gcd
from typing import Any

import numpy as np
import pydicom
from highdicom import VOILUT, ModalityLUT, ModalityLUTTransformation, PresentationLUTTransformation, pr
from highdicom.color import CIELabColor

from hilum.dicom.rendering import LookUpTable, Rescale, Window
from hilum.findings.finding import RESEARCH, Algorithm, Finding, for_highdicom, outline, summary
from hilum.findings.source import SourceImage

_COLOUR = CIELabColor.from_rgb(230, 159, 0)  # Okabe and Ito's orange, told from white by the colour-blind


def presentation_state(findings: list[Finding], algorithm: Algorithm, place: dict[str, Any]) -> pydicom.Dataset:
    """A presentation state of one picture.

    Coordinates are in pixels as stored, (0, 0) the outer corner of the first (PS3.3 C.10.5).

    Args:
        findings: one.
        algorithm: what made it.
        place: arguments that all of highdicom's objects share.
    """
    (finding,) = findings
    image = for_highdicom(finding.image)
    layer = pr.GraphicLayer("HILUM", 1, f"hilum: {RESEARCH}", _COLOUR)
    annotation = pr.GraphicAnnotation(
        referenced_images=[image],
        graphic_layer=layer,
        graphic_objects=_boxes(finding, algorithm),
        text_objects=_words(finding, algorithm),
    )
    state = pr.GrayscaleSoftcopyPresentationState(
        referenced_images=[image],
        content_label="HILUM",
        content_description=f"hilum {RESEARCH}",
        content_creator_name="hilum^",
        graphic_layers=[layer],
        graphic_annotations=[annotation],
        **_look_up(finding.image),
        **place,
    )
    # The whole picture, its pixels as wide and high as the source says
    wide, high = round(1000 * finding.image.width_over_height) or 1, 1000
    divisor = gcd(wide, high)
    state.DisplayedAreaSelectionSequence[0].PresentationPixelAspectRatio = [high // divisor, wide // divisor]
    return state


def _boxes(finding: Finding, algorithm: Algorithm) -> list[pr.GraphicObject]:
    """A closed line around each opacity, with the tracking UID that it has in the report."""
    return [
        pr.GraphicObject(
            graphic_type=pr.GraphicTypeValues.POLYLINE,
            graphic_data=outline(*found.xyxy),
            units=pr.AnnotationUnitsValues.PIXEL,
            tracking_id=f"{found.kind or 'opacity'} {at}",
            tracking_uid=algorithm.uid("box", finding.image.sop_instance_uid, str(at)),
        )
        for at, found in enumerate(finding.boxes, start=1)
    ]


def _words(finding: Finding, algorithm: Algorithm) -> list[pr.TextObject]:
    """How sure it is of each box, above it, or in it at the upper edge; and what all of this is, at the bottom."""
    width, height = finding.image.size_wh
    line_wh = min(width, max(1.0, width / 8)), min(height, max(1.0, height / 32))
    words = [
        _text(found.words, min(found.xyxy[0], width - line_wh[0]), max(found.xyxy[1] - line_wh[1], 0.0), line_wh)
        for found in finding.boxes
    ]
    return [*words, _text(summary(finding, algorithm), 0.0, height - line_wh[1], (width, line_wh[1]))]


def _text(words: str, left: float, top: float, size_wh: tuple[float, float]) -> pr.TextObject:
    return pr.TextObject(
        text_value=words,
        units=pr.AnnotationUnitsValues.PIXEL,
        bounding_box=(left, top, left + size_wh[0], top + size_wh[1]),
        text_justification=pr.TextJustificationValues.LEFT,
    )


def _look_up(image: SourceImage) -> dict[str, Any]:
    """How the source is shown: what a presentation state has none of is not applied (PS3.4 N.2)."""
    shape = "INVERSE" if image.display.inverse else "IDENTITY"
    transformations: dict[str, Any] = {
        "presentation_lut_transformation": PresentationLUTTransformation(presentation_lut_shape=shape)
    }
    modality, voi = image.display.modality, image.view()
    if isinstance(voi, LookUpTable) and isinstance(modality, Rescale) and voi.first < 0:
        # The same view with a table from 0 on, which all readers take; values of a modality table are never below.
        modality, voi = replace(modality, intercept=modality.intercept - voi.first), replace(voi, first=0)
    if isinstance(modality, LookUpTable):
        table = _table_of_values(modality)
        transformations["modality_lut_transformation"] = ModalityLUTTransformation(modality_lut=table)
    elif modality != Rescale():
        transformations["modality_lut_transformation"] = ModalityLUTTransformation(
            rescale_intercept=modality.intercept, rescale_slope=modality.slope, rescale_type="US"
        )
    if isinstance(voi, Window):
        function = voi.function if voi.function in {"LINEAR_EXACT", "SIGMOID"} else None
        window = pr.SoftcopyVOILUTTransformation(voi.centre, voi.width, voi_lut_function=function)
        transformations["voi_lut_transformations"] = [window]
    elif voi is not None:
        # As many bits as all can read.
        values = VOILUT(voi.first, np.rint(voi.shown().entries * 0xFFFF).astype(np.uint16))
        transformations["voi_lut_transformations"] = [pr.SoftcopyVOILUTTransformation(voi_luts=[values])]
    return transformations


def _table_of_values(modality: LookUpTable) -> ModalityLUT:
    table = ModalityLUT("US", max(modality.first, 0), modality.entries.astype(np.uint16))
    if modality.first < 0:  # of signed pixels; highdicom writes none of these
        count, _, bits = table.LUTDescriptor
        table.add_new(0x00283002, "SS", [count, modality.first, bits])
    return table
