"""The needed tags of a DICOM file as plain text: which of them may leave it, and what they say of the picture.

Only the standard library is imported: whoever reads plain files needs no more.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

Header = Mapping[int, str]
"""The needed tags of a file as text: tag number -> value stripped of padding, several values joined by a backslash,
US and SS as decimal numbers; "SQ" for a sequence that is there. Absent tags are absent, empty ones are empty."""

# The allow-list: what may be written beside a picture. Everything else in a file stays there.
SEX, AGE, VIEW = 0x00100040, 0x00101010, 0x00185101
MODALITY, BODY_PART = 0x00080060, 0x00180015
SOP_CLASS, SOP_INSTANCE, STUDY_INSTANCE = 0x00080016, 0x00080018, 0x0020000D  # UIDs
SPACINGS = (0x00280030, 0x00181164)  # Pixel Spacing, else Imager Pixel Spacing
ASPECT_RATIO = 0x00280034  # of a pixel: its height and its width, without a unit
PATIENT_ID = 0x00100020  # read for a keyed hash alone
BURNED_IN = 0x00280301  # Burned In Annotation: YES where the picture itself names somebody
SAMPLES, PHOTOMETRIC, FRAMES, ROWS, COLUMNS = 0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280011
BITS_STORED, PIXEL_REPRESENTATION = 0x00280101, 0x00280103
WINDOW_CENTRE, WINDOW_WIDTH, VOI_FUNCTION = 0x00281050, 0x00281051, 0x00281056
RESCALE_INTERCEPT, RESCALE_SLOPE = 0x00281052, 0x00281053
MODALITY_LUT, VOI_LUT, PRESENTATION_SHAPE = 0x00283000, 0x00283010, 0x20500020
HEADER_TAGS = frozenset(
    {
        SOP_CLASS,
        SOP_INSTANCE,
        STUDY_INSTANCE,
        MODALITY,
        BODY_PART,
        PATIENT_ID,
        BURNED_IN,
        SEX,
        AGE,
        VIEW,
        *SPACINGS,
        ASPECT_RATIO,
        SAMPLES,
        PHOTOMETRIC,
        0x00280006,  # Planar Configuration
        FRAMES,
        ROWS,
        COLUMNS,
        0x00280100,  # Bits Allocated
        BITS_STORED,
        0x00280102,  # High Bit
        PIXEL_REPRESENTATION,
        0x00280120,  # Pixel Padding Value
        0x00280121,  # Pixel Padding Range Limit
        WINDOW_CENTRE,
        WINDOW_WIDTH,
        RESCALE_INTERCEPT,
        RESCALE_SLOPE,
        VOI_FUNCTION,
        MODALITY_LUT,
        VOI_LUT,
        PRESENTATION_SHAPE,
    }
)
MAX_FILE_BYTES = 256 << 20  # the largest radiographs, 16 bit and uncompressed, have some 60 MB
MAX_PIXELS = 1 << 26  # 67 megapixels; the largest detectors have some 30
# PS3.3 C.8.7.1.1.2, C.8.1.2.1.1 and what is usual beside it. Any other text could be a name.
_VIEWS = frozenset(
    ["AP", "PA", "LL", "RL", "RLD", "LLD", "RLO", "LLO", "LAO", "RAO", "LPO", "RPO", "LAT", "LATERAL", "ML", "LM"]
)
_OLDEST_TOLD = 89  # years
OLDEST_YEARS = 122  # nobody is known to have lived longer


def _terms(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Defined terms of Modality (0008,0060), PS3.3 C.7.3.1.1.1, current and retired
_MODALITIES = _terms(
    "ANN AR ASMT AU BDUS BI BMD CD CF CFM CR CT CTPROTOCOL CS DD DF DG DM DMS DOC DS DX EC ECG EEG EM EMG EOG EPS ES FA"
    " FID FS GM HC HD IO IOL IVOCT IVUS KER KO LEN LP LS M3D MA MG MR MS NM OAM OCT OP OPM OPR OPT OPTBSV OPTENF OPV"
    " OSS OT PA PLAN POS PR PT PX RD REG RESP RF RG RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT"
    " RWV SEG SM SMR SR SRF ST STAIN TEXTUREMAP TG US VA VF XA XAPROTOCOL XC"
)
# Defined terms of Body Part Examined (0018,0015), PS3.16 Annex L, for what is radiographed, and usual spellings
_BODY_PARTS = _terms(
    "ABDOMEN ABDOMENPELVIS ANKLE ARM BREAST CALCANEUS CERVICALSPINE CHEST CHESTABDOMEN CHESTABDPELVIS CLAVICLE COCCYX"
    " CSPINE CTSPINE ELBOW EXTREMITY FACE FEMUR FINGER FIBULA FOOT FOREARM HAND HEAD HEADNECK HEART HIP HUMERUS JAW"
    " KNEE LEG LOWERLEG LSPINE LSSPINE LUMBARSPINE LUNG MANDIBLE MAXILLA NECK NECKCHEST ORBIT PATELLA PELVIS RADIUS RIB"
    " RIBS SACRUM SCAPULA SHOULDER SINUS SKULL SPINE SSPINE STERNUM THIGH THORAX THORACICSPINE THUMB TIBIA TLSPINE TMJ"
    " TOE TRACHEA TSPINE ULNA UPPERARM WHOLEBODY WHOLESPINE WRIST ZYGOMA"
)
# SOP classes of projection radiography (PS3.4 B.5): CR, DX, mammography, intra-oral, XA, RF, hardcopies of them
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_RADIOGRAPHY = frozenset(
    _STORAGE + number for number in _terms("1 1.1 1.1.1 1.2 1.2.1 1.3 1.3.1 12.1 12.1.1 12.2 12.2.1 12.3 13.1.4 13.1.5")
)
_CAPTURES = frozenset(_STORAGE + number for number in _terms("7 7.1 7.2 7.3 7.4"))  # of anything: the modality tells
_STANDARD_UID = "1.2.840.10008."
_OTHER_MODALITIES = _MODALITIES - _terms("CR DX RG RF XA DF MG IO PX HC OT")
_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+")  # PS3.5 9.1: digits and dots
_LONGEST_UID = 64
_ROUNDING = 0.01  # of a pixel's sides, as they are printed


@dataclass(frozen=True)
class Tags:
    """What may leave a DICOM file; None where absent or not understood.

    Attributes:
        sex: "F", "M" or "O" (0010,0040).
        age_years: (0010,1010), also where it is a bare number, as in the challenge.
        view: View Position (0018,5101), such as "PA" or "AP".
        spacing_mm: row spacing (0028,0030), else at the detector (0018,1164).
    """

    sex: str | None
    age_years: int | None
    view: str | None
    spacing_mm: float | None


NO_TAGS = Tags(None, None, None, None)


@dataclass(frozen=True)
class Description:
    """What a file says it shows, and which object it is; each empty where absent or not understood.

    Attributes:
        modality: a defined term of (0008,0060), such as "DX".
        body_part: a defined term of (0018,0015), such as "CHEST".
        view: View Position (0018,5101), as in `Tags`.
        sop_instance_uid: (0008,0018).
        study_instance_uid: (0020,000D).
    """

    modality: str = ""
    body_part: str = ""
    view: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""


NOTHING_SAID = Description()


def describe(header: Header) -> Description:
    """What a file says it shows. Only terms of closed sets and well-formed UIDs come out, for other text can be a name.

    The two UIDs lead back to a person for whoever has the archive.
    """
    modality, body_part, view = (header.get(tag, "").upper() for tag in (MODALITY, BODY_PART, VIEW))
    return Description(
        modality=modality if modality in _MODALITIES else "",
        body_part=body_part if body_part in _BODY_PARTS else "",
        view=view if view in _VIEWS else "",
        sop_instance_uid=_uid(header, SOP_INSTANCE),
        study_instance_uid=_uid(header, STUDY_INSTANCE),
    )


def tag_against_radiograph(header: Header) -> int | None:
    """The tag by which a file holds something else than a projection radiograph: SOP Class UID or Modality; else None.

    Secondary captures, private classes and files without a class are what their modality says: a capture of a CT is
    no radiograph, one of an unknown or other (OT) modality may be one.
    """
    sop_class = header.get(SOP_CLASS, "")
    if sop_class in _RADIOGRAPHY:
        return None
    if sop_class.startswith(_STANDARD_UID) and sop_class not in _CAPTURES:
        return SOP_CLASS
    return MODALITY if header.get(MODALITY, "").upper() in _OTHER_MODALITIES else None


def _uid(header: Header, tag: int) -> str:
    text = header.get(tag, "")
    return text if len(text) <= _LONGEST_UID and _UID.fullmatch(text) else ""


def tags_of(header: Header) -> Tags:
    """The tags that may leave the file."""
    sex, age, view = (header.get(tag, "").upper() for tag in (SEX, AGE, VIEW))
    return Tags(
        sex=sex if sex in {"F", "M", "O"} else None,
        age_years=_age_years(age),
        view=view if view in _VIEWS else None,
        spacing_mm=next((value for tag in SPACINGS for value in numbers(header, tag)[:1] if value > 0), None),
    )


def capped(tags: Tags) -> Tags:
    """Ages above 89 as 90, for they are rare enough to point at a person (45 CFR 164.514(b)(2)(i)(C)).

    Those that nobody has lived to are not known: as 90 they would pass for true.
    """
    if tags.age_years is None or tags.age_years <= _OLDEST_TOLD:
        return tags
    return replace(tags, age_years=_OLDEST_TOLD + 1 if tags.age_years <= OLDEST_YEARS else None)


def width_over_height(header: Header) -> float:
    """Of a pixel, by the first of Pixel Spacing, Imager Pixel Spacing and Pixel Aspect Ratio; 1 where none says so."""
    for tag in (*SPACINGS, ASPECT_RATIO):
        sides = numbers(header, tag)
        if len(sides) == 2 and min(sides) > 0:
            ratio = sides[1] / sides[0]
            return ratio if abs(ratio - 1) > _ROUNDING else 1.0
    return 1.0


def kept_as_stored(header: Header) -> bool:
    """Whether an 8-bit grey picture with this header is shown as it is stored.

    One frame, white bones, square pixels, no table, and a first window, if any, that changes nothing.
    """
    return (
        header.get(PHOTOMETRIC) == "MONOCHROME2"
        and header.get(SAMPLES, "1") in {"", "1"}
        and header.get(FRAMES, "1") in {"", "0", "1"}
        and header.get(BITS_STORED, "8") in {"", "8"}
        and header.get(PIXEL_REPRESENTATION, "0") in {"", "0"}
        and _changes_nothing(window_of(header), header.get(VOI_FUNCTION) or "LINEAR")
        and VOI_LUT not in header
        and MODALITY_LUT not in header
        and (numbers(header, RESCALE_SLOPE) or [1.0])[0] == 1
        and (numbers(header, RESCALE_INTERCEPT) or [0.0])[0] == 0
        and header.get(PRESENTATION_SHAPE) != "INVERSE"
        and width_over_height(header) == 1
    )


def _changes_nothing(window: tuple[float, float] | None, function: str) -> bool:
    """Whether a window shows 0 as black and 255 as white, to two of the 256 greys (PS3.3 C.11.2.1.2)."""
    if window is None:
        return True
    centre, width = window
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    elif function != "LINEAR_EXACT":
        return False
    return abs(centre - width / 2) <= 2 and abs(centre + width / 2 - 255) <= 2


def window_of(header: Header, number: int = 1) -> tuple[float, float] | None:
    """Centre and width of the window of this number, from 1; None where there is none that can be used."""
    centres, widths = numbers(header, WINDOW_CENTRE), numbers(header, WINDOW_WIDTH)
    if min(len(centres), len(widths)) < number or widths[number - 1] < 1:
        return None
    return centres[number - 1], widths[number - 1]


def numbers(header: Header, tag: int) -> list[float]:
    """The values of a tag as numbers; none where one of them is none."""
    if not header.get(tag):
        return []
    try:
        values = [float(part) for part in header[tag].split("\\")]
    except ValueError:
        return []
    return values if all(map(math.isfinite, values)) else []


def has_more_than_8_bits(header: Header) -> bool:
    """Whether a file says so of its stored values."""
    return max(numbers(header, BITS_STORED), default=0) > 8


def _age_years(text: str) -> int | None:
    match = re.fullmatch(r"(\d{1,3})([DWMY]?)", text)
    if not match:
        return None
    in_a_year = {"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}
    return int(match[1]) // in_a_year[match[2]]
