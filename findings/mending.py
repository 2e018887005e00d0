"""Values of a source as DICOM allows them (PS3.5 6.2): as they are, mended where the meaning is beyond doubt, or none.

An identifier is never cut or rewritten: what is almost somebody's identifier may be somebody else's.
"""

import re
from collections.abc import Callable
from datetime import date, time
from typing import Final

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

UNDECODABLE: Final = "\ufffd"
_NAME_GROUP, _NAME_GROUPS, _NAME_COMPONENTS = 64, 3, 5  # characters; groups; components of a group
_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_AGE = re.compile(r"(\d{1,3})([DWMY]?)")
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_ORIENTATION = re.compile(r"(?!.*([LR]).*[LR])(?!.*([AP]).*[AP])(?!.*([HF]).*[HF])[LRAPHF]{1,3}")

Rule = Callable[[str], str]
"""What of a text may stay: all of it, something that says the same, or nothing (an empty text)."""


def decoded(value: bytes, character_sets: list[str], *, name: bool) -> str:
    """Text of a file in the character sets that it names; what they do not have is a replacement character."""
    try:
        encodings = convert_encodings(character_sets or None)
        return decode_bytes(value, encodings, PN_DELIMS if name else TEXT_VR_DELIMS)
    except (LookupError, ValueError, TypeError):  # of no name that is known
        return value.decode("ascii", "replace")


def short(most: int) -> Rule:
    """LO and SH, of identifiers above all: one value of so many characters."""

    def rule(text: str) -> str:
        return text if text.isprintable() and len(text) <= most and not set(text) & {"\\", UNDECODABLE} else ""

    return rule


def person_name(text: str) -> str:
    """PN: the first value, three groups of at most 64 characters and five components; what cannot be shown is "?"."""
    first = text.split("\\", maxsplit=1)[0].replace(UNDECODABLE, "?")
    shown = "".join(each if each.isprintable() else " " for each in first)
    groups = ("^".join(group.split("^")[:_NAME_COMPONENTS])[:_NAME_GROUP] for group in shown.split("=")[:_NAME_GROUPS])
    return "=".join(groups).strip(" ")


def uid(text: str) -> str:
    """UI, also with zeros that lead: devices write such, archives keep them, and another UID is another object."""
    return text if len(text) <= 64 and _UID.fullmatch(text) else ""


def sex(text: str) -> str:
    """Patient's Sex, whatever its case."""
    return text.upper() if text.upper() in {"F", "M", "O"} else ""


def age(text: str) -> str:
    """AS: "25" and "25Y", which the challenge and others write, are "025Y"."""
    match = _AGE.fullmatch(text.upper())
    return f"{int(match[1]):03d}{match[2] or 'Y'}" if match else ""


def day(text: str) -> str:
    """DA, also as ACR-NEMA wrote it, with dots, and as ISO 8601 does."""
    digits = re.sub(r"(?<=^\d{4})([.-])(\d\d)\1(?=\d\d$)", r"\2", text)
    try:
        date.fromisoformat(digits)
    except ValueError:
        return ""
    return digits if re.fullmatch(r"\d{8}", digits, re.ASCII) else ""


def moment(text: str) -> str:
    """TM, also as ACR-NEMA wrote it, with colons."""
    match = re.fullmatch(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(\.\d{1,6})?)?)?", text, re.ASCII)
    if match is None:
        return ""
    try:
        time(int(match[1]), int(match[2] or 0), min(int(match[3] or 0), 59))
    except ValueError:
        return ""
    return "".join(part or "" for part in match.groups()) if int(match[3] or 0) <= 60 else ""


def decimal(text: str) -> str:
    """DS: one number of at most 16 characters."""
    return text if len(text) <= 16 and _DECIMAL.fullmatch(text) else ""


def orientation(text: str) -> str:
    """Patient Orientation: the directions of rows and of columns, as "L" and "F"."""
    parts = [part.strip() for part in text.upper().split("\\")]
    return "\\".join(parts) if len(parts) == 2 and all(map(_ORIENTATION.fullmatch, parts)) else ""
