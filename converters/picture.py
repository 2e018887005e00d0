"""Convert one file into one picture, and its boxes into one label file: what a worker does.

A plain file's JPEG stream is kept, which costs little more than a copy; OpenCV and pydicom are imported only where
something has to be decoded.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hilum.converters.rendering import AS_IS, Rendering, encoded, reduced, rendered
from hilum.converters.source import SourceFile
from hilum.datasets.yolo import boxes_to_yolo
from hilum.dicom.header import (
    BURNED_IN,
    MAX_FILE_BYTES,
    NO_TAGS,
    PATIENT_ID,
    Header,
    Tags,
    capped,
    tags_of,
)
from hilum.dicom.jpeg import JpegStream
from hilum.dicom.plain import read_plain
from hilum.errors import HilumError
from hilum.files import read_regular, write_atomically
from hilum.pseudonyms import pseudonym

if TYPE_CHECKING:
    pass

Box = tuple[float, float, float, float]
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DICOM_NAME = re.compile(r"\.(dcm|dicom|ima)$|(^|/)[^./]*$|(^|/)[0-9.]*$", re.IGNORECASE)  # or a bare UID, or none
# Of one file in a thousand by chance. Flat borders end in the same byte many times: three in a row are none of a text.
_TEXT, _TAIL = re.compile(rb"(?:([A-Za-z0-9^ .,=_-])(?!\1\1)){8}"), 64


# Pictures and jobs go to workers and back: with slots, dataclasses are pickled field by field in Python, half as fast.
@dataclass(frozen=True)
class Picture:
    """A converted picture, or why there is none.

    Attributes:
        image_id: its name; in the challenge that is `patientId`.
        file_name: in its folder.
        size_wh: as written.
        source_size_wh: as in the source's file; boxes are given in its pixels.
        untouched: whether the JPEG stream of the DICOM file was kept.
        sha256: of the picture file.
        tags: what may leave the file.
        patient: whose it is, as a keyed hash; empty without a key, and where the file does not say.
        source_sha256: of the source's file; empty where the stream was kept, for that is made anew as fast as checked.
        note: what was decided on the way that somebody may want to look at.
        reason: why it was left out.
    """

    image_id: str
    file_name: str = ""
    size_wh: tuple[int, int] = (0, 0)
    source_size_wh: tuple[int, int] = (0, 0)
    untouched: bool = False
    sha256: str = ""
    tags: Tags = NO_TAGS
    patient: str = ""
    source_sha256: str = ""
    note: str | None = None
    reason: str | None = None

    @property
    def scale_xy(self) -> tuple[float, float]:
        """Written pixels a source pixel."""
        return self.size_wh[0] / self.source_size_wh[0], self.size_wh[1] / self.source_size_wh[1]


@dataclass(frozen=True)
class Job:
    """One file to convert.

    Attributes:
        file: of DICOM, or a picture file.
        image_id: safe to be a file's name.
        pictures: folder for the picture.
        labels: folder for the label file; None for an unlabelled picture.
        boxes_xywh: source pixels, or shares of the picture.
        class_ids: one a box; all 0 where empty.
        in_shares: whether boxes are shares of the picture's width and height.
        known: what an earlier, interrupted run made of this file.
    """

    file: SourceFile
    image_id: str
    pictures: str
    labels: str | None
    boxes_xywh: tuple[Box, ...] = ()
    class_ids: tuple[int, ...] = ()
    in_shares: bool = False
    known: Picture | None = None


def convert_pictures(
    jobs: Sequence[Job], rendering: Rendering, key: bytes | None, *, picture_files: bool = False
) -> list[Picture]:
    """Convert files one after the other; a worker's share of the work."""
    return [convert_picture(job, rendering, key, picture_files=picture_files) for job in jobs]


def convert_picture(
    job: Job, rendering: Rendering = AS_IS, key: bytes | None = None, *, picture_files: bool = False
) -> Picture:
    """Write the picture and the label file of one file.

    Args:
        job: which file, and where to.
        rendering: how.
        key: where given, the patient's id becomes a keyed hash.
        picture_files: whether it may be a picture file, such as JPEG or PNG; else it is DICOM.

    Raises:
        OSError: the dataset folder cannot be written, or the source's disk is gone.
        MemoryError: the machine has too little, for what a file may ask for is bounded.

    What is wrong with the file itself is the picture's `reason`.
    """
    try:
        content = job.file.read()
        is_picture = picture_files and is_picture_file(content, job.file.name)
        convert = _from_picture_file if is_picture else _from_dicom
        picture, data = convert(content, job, rendering, key)
    except HilumError as error:
        return Picture(job.image_id, reason=str(error))
    except MemoryError:
        raise
    except Exception as error:  # one file shall not end the work; without its text, for it may quote values
        if isinstance(error, OSError) and error.errno is not None:  # decoders' own errors have no number
            raise
        return Picture(job.image_id, reason="it cannot be converted: damaged, or of a kind that is not known")
    if data is not None:
        write_atomically(f"{job.pictures}/{picture.file_name}", data)
    if job.labels is not None:
        write_atomically(f"{job.labels}/{job.image_id}.txt", _label(job, picture))
    return picture


def is_picture_file(content: bytes, name: str) -> bool:
    """Whether a file is to be read as JPEG, PNG or the like, and not as DICOM: by what it holds, then by its name."""
    return content[128:132] != b"DICM" and not _DICOM_NAME.search(name)


def in_pixels(box_xywh: Box, size_wh: tuple[int, int], *, in_shares: bool) -> Box:
    """A box in pixels of a picture, in which it may be given already."""
    return scaled(box_xywh, size_wh) if in_shares else box_xywh


def inside(box_xywh: Box, size_wh: tuple[int, int]) -> Box | None:
    """The part of a box that lies in the picture; None where there is none."""
    x, y, width, height = box_xywh
    left, top = max(x, 0.0), max(y, 0.0)
    right, bottom = min(x + width, size_wh[0]), min(y + height, size_wh[1])
    return (left, top, right - left, bottom - top) if right > left and bottom > top else None


def scaled(box_xywh: Box, scale_xy: tuple[float, float]) -> Box:
    """A box of the source picture in the pixels of the written one."""
    x, y, width, height = box_xywh
    return x * scale_xy[0], y * scale_xy[1], width * scale_xy[0], height * scale_xy[1]


def _label(job: Job, picture: Picture) -> str:
    size_wh = picture.source_size_wh
    parts = [inside(in_pixels(box, size_wh, in_shares=job.in_shares), size_wh) for box in job.boxes_xywh]
    kept = [scaled(part, picture.scale_xy) for part in parts if part]
    if not kept:
        return ""
    class_ids = [class_id for class_id, part in zip(job.class_ids or (0,) * len(parts), parts, strict=True) if part]
    return boxes_to_yolo(kept, picture.size_wh, class_ids=class_ids)


def _from_dicom(content: bytes, job: Job, rendering: Rendering, key: bytes | None) -> tuple[Picture, bytes | None]:
    """The picture and its bytes; None instead of bytes where an earlier run has written them."""
    plain = read_plain(content)
    if plain is not None and _is_kept(plain.header, plain.stream, rendering, key):
        data, size_wh = plain.stream.data, plain.stream.size_wh
        tags, patient = _tags_and_patient(plain.header, key)
        name = f"{job.image_id}.jpg"
        return Picture(job.image_id, name, size_wh, size_wh, True, _sha256(data), tags, patient), data
    source_sha256 = _sha256(content)
    if known := _known(job, source_sha256):
        return known, None
    from hilum.dicom.reading import header_of, plain_jpeg, read_dicom

    dataset = read_dicom(content)
    header = header_of(dataset)
    tags, patient = _tags_and_patient(header, key)
    stream, note = plain_jpeg(dataset), None
    kept = stream is not None and _is_kept(header, stream, rendering, key)
    if stream is not None and kept:
        data, size_wh, source_size_wh, ending = stream.data, stream.size_wh, stream.size_wh, "jpg"
    else:
        pixels, source_size_wh, note = rendered(dataset, header, stream, rendering)
        size_wh, (data, ending) = (pixels.shape[1], pixels.shape[0]), encoded(pixels, rendering)
    picture = Picture(
        job.image_id,
        f"{job.image_id}.{ending}",
        size_wh,
        source_size_wh,
        kept,
        _sha256(data),
        tags,
        patient,
        source_sha256,
        note,
    )
    return picture, data


def _from_picture_file(
    content: bytes, job: Job, rendering: Rendering, key: bytes | None
) -> tuple[Picture, bytes | None]:
    """As `_from_dicom`; the pixels alone come along, for what else is in the file may name a person."""
    del key  # a picture file says of no patient
    source_sha256 = _sha256(content)
    if known := _known(job, source_sha256):
        return known, None
    from hilum.datasets.pictures import decode_grey, to_bits
    from hilum.dicom.rendering import BLACK_BONES, has_black_bones

    shown = decode_grey(content)
    as_8_bits = to_bits(shown)
    note = BLACK_BONES if has_black_bones(as_8_bits) else None
    pixels = shown if rendering.bits > 8 else as_8_bits
    source_size_wh = (pixels.shape[1], pixels.shape[0])
    pixels = reduced(pixels, rendering.longer_side_px)
    data, ending = encoded(pixels, rendering)
    name, size_wh = f"{job.image_id}.{ending}", (pixels.shape[1], pixels.shape[0])
    picture = Picture(
        job.image_id, name, size_wh, source_size_wh, sha256=_sha256(data), source_sha256=source_sha256, note=note
    )
    return picture, data


def _is_kept(header: Header, stream: JpegStream, rendering: Rendering, key: bytes | None) -> bool:
    """Whether a JPEG stream stays as it is.

    Behind the last block of a scan there can be text, and only decoding finds it, which takes ten times as long as all
    else. The challenge's own files, whose patients have UUIDs for names, are public: they are decoded only where their
    last bytes look like text.
    """
    if not rendering.keeps_stream(header, stream):
        return False
    if (
        key is None
        and _UUID.fullmatch(header.get(PATIENT_ID, ""))
        and not _TEXT.search(stream.data, len(stream.data) - _TAIL)
    ):
        return True
    from hilum.dicom.jpeg_surplus import ends_with_its_picture

    return ends_with_its_picture(stream)


def _tags_and_patient(header: Header, key: bytes | None) -> tuple[Tags, str]:
    tags = capped(tags_of(header))
    if key is None:
        return tags, ""
    if header.get(BURNED_IN, "").upper() == "YES":
        raise HilumError("text is burned into its picture (0028,0301), which may name a person")
    patient_id = header.get(PATIENT_ID, "")
    return tags, pseudonym(key, "patient", patient_id) if patient_id else ""


def _known(job: Job, source_sha256: str) -> Picture | None:
    """What an earlier run made of the same file, where it is still there."""
    known = job.known
    if known is None or known.source_sha256 != source_sha256:
        return None
    try:
        written = read_regular(Path(job.pictures, known.file_name), MAX_FILE_BYTES)
    except (OSError, HilumError):
        return None
    return known if _sha256(written) == known.sha256 else None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
