"""A radiograph with what was found in it, and what found it: what each kind of object tells in its own way."""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.uid import SecondaryCaptureImageStorage

from hilum.class_names import Confidence
from hilum.findings.source import UNICODE, SourceImage
from hilum.findings.uids import derived_uid

MANUFACTURER: Final = "hilum"
RESEARCH: Final = "research, not for diagnosis"


@dataclass(frozen=True)
class Algorithm:
    """What made the findings.

    Attributes:
        name: of the run.
        version: of hilum.
        digest: of the run's configs, operating points and weights (`hilum.run.run_digest`).
        confidence: the operating point, from which on boxes are kept.
    """

    name: str
    version: str
    digest: str
    confidence: Confidence

    def uid(self, *parts: str) -> str:
        """The UID of a thing that this algorithm made of what the words name."""
        least = self.confidence if isinstance(self.confidence, tuple) else float(self.confidence)
        return derived_uid(self.digest, repr(least), *parts)


class FoundBox(NamedTuple):
    """An opacity.

    Attributes:
        xyxy: left, top, right, bottom in pixels as stored, (0, 0) the outer corner of the first.
        percent: how sure.
        kind: the name of its class; empty where one is looked for.
    """

    xyxy: tuple[float, float, float, float]
    percent: float
    kind: str = ""

    @property
    def words(self) -> str:
        """What is written at it."""
        return f"{self.kind} {self.percent:.0f} %".strip()


@dataclass(frozen=True)
class Finding:
    """A picture with what was found in it.

    Attributes:
        image: the picture.
        boxes: what was found.
        percent: how likely the picture shows an opacity at all.
        warning: why the answer may mean nothing, else None.
        position: of the picture in what was asked for, from 0.
    """

    image: SourceImage
    boxes: tuple[FoundBox, ...]
    percent: float
    warning: str | None
    position: int

    @property
    def count(self) -> str:
        """How many boxes, in words."""
        return f"{len(self.boxes) or 'no'} box{'' if len(self.boxes) == 1 else 'es'}"


def outline(left: float, top: float, right: float, bottom: float) -> NDArray[np.float64]:
    """(5, 2) columns and rows of a closed line; (0, 0) the outer corner of the first pixel (PS3.3 C.18.6)."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], np.float64)


def summary(finding: Finding, algorithm: Algorithm) -> str:
    """A line to lie over a picture, of characters that any viewer has."""
    name = long_string(algorithm.name).encode("ascii", "replace").decode()
    least = algorithm.confidence
    boxes = finding.count + ("" if isinstance(least, tuple) else f" from {100 * least:.4g} % on")
    return f"hilum, {name}: opacity {finding.percent:.0f} %, {boxes}; {RESEARCH}"


def character_set(about: pydicom.Dataset, words: Iterable[str]) -> str | None:
    """Unicode where a text needs it."""
    return None if "SpecificCharacterSet" not in about and all(map(str.isascii, words)) else UNICODE


def long_string(text: str) -> str:
    """So much of a text as LO can hold."""
    return "".join(each if each.isprintable() and each != "\\" else " " for each in text)[:64].strip()


def for_highdicom(image: SourceImage) -> pydicom.Dataset:
    """A picture's attributes as highdicom takes them: of a class that it knows, in the place of a private one."""
    from highdicom._standard_utils import get_sop_class_iod_map

    known = image.dataset.SOPClassUID in get_sop_class_iod_map()
    if known:
        return image.dataset
    about = deepcopy(image.dataset)
    about.SOPClassUID = SecondaryCaptureImageStorage
    return about
