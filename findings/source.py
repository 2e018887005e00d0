"""The picture that findings are of: what of its file goes on to the objects that tell them, as DICOM allows it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pydicom
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.tag import Tag
from pydicom.uid import SecondaryCaptureImageStorage
from pydicom.valuerep import PersonName

from hilum.dicom.display import display_of
from hilum.dicom.header import (
    MODALITY,
    SOP_CLASS,
    SOP_INSTANCE,
    STUDY_INSTANCE,
    Header,
    numbers,
    width_over_height,
)
from hilum.dicom.pixel_data import PixelFormat, pixel_format
from hilum.dicom.reading import chosen_window, header_of, quiet_pydicom, read_dicom
from hilum.dicom.rendering import Display, LookUpTable, Rescale, Window
from hilum.errors import NO_MEMORY, HilumError, PassingError
from hilum.findings import mending
from hilum.findings.mending import Rule
from hilum.findings.uids import derived_uid

_CHARACTER_SET, _SERIES_INSTANCE, _ORIENTATION, _IMAGER_SPACING = 0x00080005, 0x0020000E, 0x00200020, 0x00181164
_LOSSY = 0x00282110  # Lossy Image Compression
UNICODE: Final = "ISO_IR 192"
# The allow-list: what of the patient and the study goes into an object that is stored beside the source. Those of the
# first table are there also where the source has none of them (type 2 of PS3.3).
_ALWAYS: Final[dict[int, Rule]] = {
    0x00100010: mending.person_name,  # Patient's Name
    0x00100020: mending.short(64),  # Patient ID
    0x00100030: mending.day,  # Patient's Birth Date
    0x00100040: mending.sex,
    0x00080020: mending.day,  # Study Date
    0x00080030: mending.moment,  # Study Time
    0x00080050: mending.short(16),  # Accession Number
    0x00080090: mending.person_name,  # Referring Physician's Name
    0x00200010: mending.short(16),  # Study ID
}
_IF_SAID: Final[dict[int, Rule]] = {
    0x00100021: mending.short(64),  # Issuer of Patient ID
    0x00101010: mending.age,
    0x00101020: mending.decimal,  # Patient's Size
    0x00101030: mending.decimal,  # Patient's Weight
    0x00081030: mending.short(64),  # Study Description
}
PATIENT_AND_STUDY: Final = (*_ALWAYS, *_IF_SAID)
"""Tags of what an object shares with its source."""

_UIDS: Final = (SOP_CLASS, SOP_INSTANCE, STUDY_INSTANCE, _SERIES_INSTANCE)
_ALLOWED: Final = frozenset({*_ALWAYS, *_IF_SAID, *_UIDS, _CHARACTER_SET, _ORIENTATION, _LOSSY})
_NAMES: Final = frozenset({0x00100010, 0x00080090})
_PROJECTIONS: Final = frozenset({"CR", "DX", "IO", "MG", "PX", "RF", "RG", "XA"})  # told of by TID 1603


@dataclass(frozen=True)
class SourceImage:
    """A radiograph as the objects made of it refer to it.

    Attributes:
        dataset: without pixels: patient, study, series and instance, each valid.
        notes: a line on each value that was mended or left out; it has the name of the attribute, never the value.
        pixels: what the file says of them.
        display: how the file says they are shown.
        width_over_height: of a pixel.
        read: gives the parsed file again, with its pixels.
    """

    dataset: pydicom.Dataset
    notes: tuple[str, ...]
    pixels: PixelFormat
    display: Display
    width_over_height: float
    read: Callable[[], pydicom.Dataset] = field(repr=False)

    def view(self) -> Window | LookUpTable | None:
        """The view that the file offers, else the window that hilum shows it with; None where it is shown as stored.

        Raises:
            HilumError: it cannot be decoded, or read any more.
        """
        if self.display.voi is None and self.pixels.bits_stored <= 8 and self.display.modality == Rescale():
            return None
        return self.display.voi or chosen_window(self.read())

    @property
    def sop_instance_uid(self) -> str:
        """Of the file."""
        return str(self.dataset.SOPInstanceUID)

    @property
    def is_grey(self) -> bool:
        """Whether its grey is stored as such, and not in colours."""
        return self.pixels.samples == 1

    @property
    def size_wh(self) -> tuple[int, int]:
        """Columns and rows, as stored."""
        return self.pixels.columns, self.pixels.rows


def read_source(source: Path | str | bytes | Callable[[], bytes] | pydicom.Dataset) -> SourceImage:
    """Read what findings of a radiograph are returned with.

    Args:
        source: a DICOM file, its content, what gives its content whenever it is asked, or what was parsed of it, which
            must have its file meta information.

    Raises:
        HilumError: it is no DICOM file with a radiograph, or names no object that another could refer to; the reason
            alone.
    """

    def read() -> pydicom.Dataset:
        if isinstance(source, pydicom.Dataset):
            return source
        if callable(source):
            return read_dicom(source(), _ALLOWED)
        return read_dicom(Path(source) if isinstance(source, str) else source, _ALLOWED)

    quiet_pydicom()
    dataset = read()
    header = header_of(dataset)
    try:
        pixels = pixel_format(header)
        display = display_of(dataset, header, pixels, 1)
        about, notes = _about(dataset, header, pixels)
    except HilumError:
        raise
    except MemoryError as error:
        raise PassingError(NO_MEMORY) from error
    except Exception as error:  # damaged in whatever way pydicom meets it
        raise HilumError("a damaged DICOM file") from error
    return SourceImage(about, tuple(notes), pixels, display, width_over_height(header), read)


def _about(source: pydicom.Dataset, header: Header, pixels: PixelFormat) -> tuple[pydicom.Dataset, list[str]]:
    """The source's patient, study, series and instance as DICOM allows them, and what had to be mended."""
    sets = [part.strip() for part in _text(source, _CHARACTER_SET, []).split("\\")]
    about, notes = pydicom.Dataset(), []
    for tag, rule in {**_ALWAYS, **_IF_SAID}.items():
        said = _text(source, tag, sets)
        kept = rule(said)
        if kept != said:
            notes.append(f"{keyword_for_tag(Tag(tag))} {'mended' if kept else 'left out'}")
        if kept or tag in _ALWAYS:
            setattr(about, keyword_for_tag(Tag(tag)), kept)
    uids = {tag: _uid(source, tag) for tag in _UIDS}
    if not uids[SOP_INSTANCE]:
        raise HilumError("its SOP Instance UID (0008,0018) is missing or invalid: no other object could refer to it")
    for tag in (STUDY_INSTANCE, _SERIES_INSTANCE):
        if not uids[tag]:
            uids[tag] = derived_uid(uids[SOP_INSTANCE], keyword_for_tag(Tag(tag)))
            notes.append(f"{keyword_for_tag(Tag(tag))} made anew")
    about.SOPClassUID = uids[SOP_CLASS] or SecondaryCaptureImageStorage
    if not uids[SOP_CLASS]:
        notes.append("SOPClassUID taken for that of a secondary capture")
    about.SOPInstanceUID, about.StudyInstanceUID = uids[SOP_INSTANCE], uids[STUDY_INSTANCE]
    about.SeriesInstanceUID = uids[_SERIES_INSTANCE]
    if pixels.samples > 1:
        notes.append("SamplesPerPixel of colours, so without presentation state,")
    about.Rows, about.Columns, about.SamplesPerPixel = pixels.rows, pixels.columns, pixels.samples
    directions = mending.orientation(_text(source, _ORIENTATION, sets))
    about.PatientOrientation = directions.split("\\") if directions else ""
    spacing_mm = numbers(header, _IMAGER_SPACING)
    modality = header.get(MODALITY, "").upper()
    told = modality in _PROJECTIONS and directions and len(spacing_mm) == 2 and min(spacing_mm) > 0
    about.Modality = modality if told else "OT"
    if told:
        about.ImagerPixelSpacing = [pydicom.valuerep.DS(value, auto_format=True) for value in spacing_mm]
    if any(not str(element.value).isascii() for element in about):
        about.SpecificCharacterSet = UNICODE
    return about, notes


def _uid(source: pydicom.Dataset, tag: int) -> str:
    """A UID of the data set, else that of the file meta information."""
    meta = getattr(source, "file_meta", None) or pydicom.Dataset()
    of_file = {SOP_CLASS: 0x00020002, SOP_INSTANCE: 0x00020003}.get(tag, tag)
    return mending.uid(_text(source, tag, [])) or mending.uid(_text(meta, of_file, []))


def _text(source: pydicom.Dataset, tag: int, sets: list[str]) -> str:
    """A value as text, several joined by backslashes; nothing where it is no text."""
    element = source.get_item(tag)
    value = element.value if element is not None else None
    if isinstance(element, DataElement) and element.VR == "SQ":
        return ""
    if isinstance(value, bytes):
        return mending.decoded(value, sets, name=tag in _NAMES).strip(" \0")
    if isinstance(value, pydicom.multival.MultiValue | list | tuple):
        return "\\".join(map(str, value))
    return str(value).strip(" \0") if isinstance(value, str | PersonName | int | float) else ""
