"""What was found in radiographs as DICOM objects that lie beside them in an archive: reports, overlays, captures.

highdicom writes them; it is imported where it is used, for few installations of hilum need it.
"""

import logging
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from itertools import repeat
from typing import Any, Final, Literal, Protocol, get_args

import pydicom

from hilum.detections import Detections
from hilum.errors import HilumError
from hilum.findings.finding import MANUFACTURER, RESEARCH, Algorithm, Finding, FoundBox, character_set, long_string
from hilum.findings.source import PATIENT_AND_STUDY, SourceImage

Kind = Literal["sr", "pr", "sc"]
"""A structured report, a presentation state, a secondary capture."""

Maker = Callable[[list[Finding], Algorithm, dict[str, Any]], pydicom.Dataset]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_SERIES_NUMBERS: Final[dict[Kind, int]] = {"sr": 9901, "pr": 9902, "sc": 9903}
_SERIES_NAMES: Final[dict[Kind, str]] = {"sr": "report", "pr": "boxes", "sc": "picture with boxes"}
_TIMES: Final = (
    *("InstanceCreationDate", "InstanceCreationTime", "ContentDate", "ContentTime", "ContributionDateTime"),
    *("PresentationCreationDate", "PresentationCreationTime", "DateOfSecondaryCapture", "TimeOfSecondaryCapture"),
)
_AS_TEXT: Final = {"DA": "%Y%m%d", "TM": "%H%M%S", "DT": "%Y%m%d%H%M%S"}
_OF_WHOM: Final = ("PatientID", "IssuerOfPatientID", "PatientName")
_MARK: Final = f"hilum: {RESEARCH}".encode()
PREAMBLE: Final = _MARK.ljust(128, b"\0")
"""The first bytes of each file that is written, which DICOM leaves to the writer (PS3.10 7.1)."""


class Found(Protocol):
    """What was found in one picture: `hilum.result.Result`."""

    @property
    def detections(self) -> Detections: ...
    @property
    def image_probability(self) -> float: ...
    @property
    def error(self) -> str | None: ...
    @property
    def warning(self) -> str | None: ...
    def box_classes(self) -> list[str]: ...


@dataclass(frozen=True)
class DicomResult:
    """An object to store beside the source.

    Attributes:
        kind: of it.
        dataset: with its file meta information and preamble.
        positions: of the pictures that it is of, in what was asked for, from 0.
    """

    kind: Kind
    dataset: pydicom.Dataset
    positions: tuple[int, ...]

    def content(self) -> bytes:
        """The file, as DICOM lays it down (PS3.10)."""
        file = BytesIO()
        self.dataset.save_as(file, enforce_file_format=True)
        return file.getvalue()


def to_dicom(
    images: Sequence[SourceImage],
    found: Sequence[Found],
    algorithm: Algorithm,
    kinds: Collection[Kind] = KINDS,
    at: datetime | None = None,
) -> Iterator[DicomResult]:
    """Write findings as DICOM objects: a report for each study, an overlay and a capture for each picture.

    All UIDs are derived from those of the pictures, the run and its operating point: asked again, the same objects come
    with the same UIDs, and the same bytes but for the time at which they were made.

    Args:
        images: the pictures, of any studies; of one object given several times, the first counts.
        found: what was found in each; of a picture with an error nothing is written.
        algorithm: what found it.
        kinds: which objects; a picture whose grey is stored in colours has no presentation state.
        at: when it was found, in local time; now where None.

    Yields:
        One object at a time, study by study in the order of their first pictures.

    Raises:
        HilumError: highdicom is not installed, or a picture cannot be read any more.
    """
    at = datetime.now().astimezone() if at is None else at
    studies: dict[tuple[str, ...], dict[str, Finding]] = {}
    for position, (image, result) in enumerate(zip(images, found, strict=True)):
        if result.error is None:
            # Two patients in one study are two studies: nobody's findings go into another's report.
            study = studies.setdefault((str(image.dataset.StudyInstanceUID), *_patient(image)), {})
            study.setdefault(image.sop_instance_uid, _finding(image, result, position))
    makers = check_kinds(kinds)
    for study in studies.values():
        findings = [study[uid] for uid in sorted(study)]
        for kind, make in makers:
            for number, group in enumerate([findings] if kind == "sr" else [[each] for each in findings], start=1):
                if kind == "pr" and not group[0].image.is_grey:
                    continue
                try:
                    made = make(group, algorithm, _place(kind, group, algorithm, number))
                except HilumError:
                    raise
                except Exception as error:  # a source that is damaged in a way that nothing here expects
                    raise HilumError(f"its {_SERIES_NAMES[kind]} cannot be made into a DICOM object") from error
                positions = tuple(finding.position for finding in group)
                yield DicomResult(kind, _finished(made, group, at), positions)


def check_kinds(kinds: Collection[Kind]) -> list[tuple[Kind, Maker]]:
    """What makes objects of these kinds, in the order of `KINDS`.

    Raises:
        HilumError: highdicom is not installed.
    """
    return [(kind, _maker(kind)) for kind in KINDS if kind in kinds]


def _finding(image: SourceImage, result: Found, position: int) -> Finding:
    width, height = image.size_wh
    corners = result.detections.xyxy.clip(0, (width, height) * 2).tolist()
    sure = map(_percent, result.detections.confidence)
    found = zip(corners, sure, result.box_classes() or repeat(""), strict=False)
    boxes = tuple(FoundBox(tuple(box), share, kind) for box, share, kind in found)
    return Finding(image, boxes, _percent(result.image_probability), result.warning, position)


def _patient(image: SourceImage) -> tuple[str, ...]:
    """Of whom a picture is; what was mended or left out as its file has it, for two may be mended into one."""
    mended = {note.split()[0] for note in image.notes} & set(_OF_WHOM)
    source = image.read() if mended else image.dataset
    return tuple(
        repr(element.value)
        if keyword in mended and (element := source.get_item(keyword)) is not None
        else str(image.dataset.get(keyword, ""))
        for keyword in _OF_WHOM
    )


def _percent(share: float) -> float:
    return round(100 * min(max(float(share), 0.0), 1.0), 2)


def _maker(kind: Kind) -> Maker:
    # Its warnings and log lines quote names and UIDs.
    warnings.filterwarnings("ignore", module="highdicom")
    logging.getLogger("highdicom").setLevel(logging.CRITICAL)
    try:
        if kind == "sr":
            from hilum.findings.structured_report import structured_report

            return structured_report
        if kind == "pr":
            from hilum.findings.presentation_state import presentation_state

            return presentation_state
        from hilum.findings.secondary_capture import secondary_capture
    except ImportError as error:
        raise HilumError(
            "DICOM objects are written by highdicom, which is missing: pip install 'hilum[dicom]'"
        ) from error
    return secondary_capture


def _place(kind: Kind, group: list[Finding], algorithm: Algorithm, number: int) -> dict[str, Any]:
    """Where an object stands in its study, and what made it: arguments that all of highdicom's objects share."""
    first = group[0].image.dataset
    words = [algorithm.name, *(box.kind for finding in group for box in finding.boxes)]
    # Where no ID tells two patients of one study apart, all that their files say of them does.
    patient = (first.PatientID,) if first.PatientID else _patient(group[0].image)
    return {
        "series_instance_uid": algorithm.uid("series", kind, first.StudyInstanceUID, *patient),
        "series_number": _SERIES_NUMBERS[kind],
        "sop_instance_uid": algorithm.uid("instance", kind, *(finding.image.sop_instance_uid for finding in group)),
        "instance_number": number,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": long_string(algorithm.name),
        "software_versions": long_string(algorithm.version),
        "device_serial_number": algorithm.digest,
        "series_description": f"hilum {_SERIES_NAMES[kind]}: {RESEARCH}",
        "specific_character_set": character_set(first, words),
    }


def _finished(made: pydicom.Dataset, group: list[Finding], at: datetime) -> pydicom.Dataset:
    """The object with its times, patient and study, the classes of the pictures, and a mark by which it is known."""
    classes = {finding.image.sop_instance_uid: finding.image.dataset.SOPClassUID for finding in group}
    for item in (made, *_items(made)):
        if "ReferencedSOPInstanceUID" in item:
            item.ReferencedSOPClassUID = classes[item.ReferencedSOPInstanceUID]
        for keyword in _TIMES:
            if keyword in item:
                setattr(item, keyword, f"{at:{_AS_TEXT[item[keyword].VR]}}")
    if made.Modality != "SR":
        made.Laterality = ""  # of a series of pictures, where it is not told (PS3.3 C.7.3.1)
    about = group[0].image.dataset
    for tag in PATIENT_AND_STUDY:
        if tag in about:
            made[tag] = deepcopy(about[tag])
    made.preamble = PREAMBLE
    return made


def _items(dataset: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield item
                yield from _items(item)
