"""Findings as a Comprehensive SR of template 1500 (PS3.16): what software and the viewers that read reports take.

Not Comprehensive 3D: its one addition is coordinates in space, which a radiograph does not have, and more viewers read
the plain one. The finding is (112001, DCM, "Opacity") at the lung: no code of SNOMED CT for a lung opacity is among
those that DICOM lists.
"""

import hashlib
from typing import Any

import pydicom
from highdicom import sr
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from hilum.findings.finding import MANUFACTURER, RESEARCH, Algorithm, Finding, for_highdicom, outline

_XR = Code("43468-8", "LN", "XR unspecified body region")  # of CID 100


def structured_report(findings: list[Finding], algorithm: Algorithm, place: dict[str, Any]) -> pydicom.Dataset:
    """A report of a study: for each picture how likely it shows an opacity, and a planar region a box.

    Args:
        findings: of the study's pictures, at least one.
        algorithm: what made them.
        place: arguments that all of highdicom's objects share.
    """
    known = [for_highdicom(finding.image) for finding in findings]
    groups = [
        group
        for number, (finding, image) in enumerate(zip(findings, known, strict=True), start=1)
        for group in (_whole(finding, image, algorithm, number), *_regions(finding, image, algorithm, number))
    ]
    observer = sr.DeviceObserverIdentifyingAttributes(
        uid=algorithm.uid("device"),
        name=algorithm.name,
        manufacturer_name=MANUFACTURER,
        model_name=algorithm.name,
        serial_number=algorithm.digest,
    )
    context = sr.ObservationContext(observer_device_context=sr.ObserverContext(codes.DCM.Device, observer))
    report = sr.MeasurementReport(
        observation_context=context, procedure_reported=_XR, imaging_measurements=groups, referenced_images=known
    )
    return sr.ComprehensiveSR(
        evidence=known, content=report[0], is_complete=True, is_final=False, is_verified=False, **place
    )


def _whole(finding: Finding, image: pydicom.Dataset, algorithm: Algorithm, number: int) -> Any:
    """The group (TID 1501) of a picture as a whole, which is there also where nothing was found.

    Its probability is inferred from the picture's whole area: OHIF gives up a report with a group without coordinates.
    """
    area = sr.CoordinatesForMeasurement(
        graphic_type=sr.GraphicTypeValues.POLYLINE,
        graphic_data=outline(0, 0, *finding.image.size_wh),
        source_image=sr.SourceImageForRegion.from_source_image(image),
    )
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            algorithm.uid("picture", finding.image.sop_instance_uid), f"Picture {number}"
        ),
        source_images=[sr.SourceImageForMeasurementGroup.from_source_image(image)],
        **_common(finding.percent, algorithm, area),
    )
    said = [f"For {RESEARCH}.", f"{finding.count.capitalize()} at or above the operating point."]
    said += [f"Warning: {finding.warning}."] if finding.warning else []
    group[0].ContentSequence.append(
        sr.TextContentItem(codes.DCM.Comment, " ".join(said), sr.RelationshipTypeValues.CONTAINS)
    )
    return group


def _regions(finding: Finding, image: pydicom.Dataset, algorithm: Algorithm, number: int) -> list[Any]:
    """A group (TID 1410) a box, each with a tracking UID of its own."""
    groups = []
    for at, found in enumerate(finding.boxes, start=1):
        region = sr.ImageRegion(
            graphic_type=sr.GraphicTypeValues.POLYLINE,
            graphic_data=outline(*found.xyxy),
            source_image=sr.SourceImageForRegion.from_source_image(image),
        )
        tracking_uid = algorithm.uid("box", finding.image.sop_instance_uid, str(at))
        group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(
                tracking_uid, f"Picture {number}, {found.kind or 'opacity'} {at}"
            ),
            referenced_region=region,
            geometric_purpose=codes.cid219.BoundedBy,
            **_common(found.percent, algorithm, kind=found.kind),
        )
        groups.append(group)
    return groups


def _common(
    percent: float, algorithm: Algorithm, *areas: sr.CoordinatesForMeasurement, kind: str = ""
) -> dict[str, Any]:
    identification = sr.AlgorithmIdentification(
        name=algorithm.name,
        version=f"hilum {algorithm.version}",
        parameters=[
            f"run: {algorithm.digest}, by which its configs, operating points and weights are known",
            f"operating point: {algorithm.confidence}",
            f"use: {RESEARCH}",
        ],
        manufacturer=MANUFACTURER,
    )
    probability = sr.Measurement(
        name=codes.DCM.Probability, value=percent, unit=codes.UCUM.Percent, referenced_coordinates=areas or None
    )
    return {
        "finding_type": _local_code(kind) if kind else codes.DCM.Opacity,
        "finding_sites": [sr.FindingSite(codes.SCT.Lung)],
        "algorithm_id": identification,
        "measurements": [probability],
    }


def _local_code(kind: str) -> Code:
    """A class of a data set by its own name, for which no public scheme need have a code; 99 marks a local one."""
    return Code(hashlib.sha256(kind.encode()).hexdigest()[:16], "99HILUM", kind)
