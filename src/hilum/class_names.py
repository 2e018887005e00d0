"""The names of what is looked for, in the order of their ids: of one class in the challenge, of several elsewhere."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hilum.errors import HilumError

ONE_CLASS: Final = ("opacity",)
MOST_CLASSES: Final = 64
Confidence = float | tuple[float, ...]
"""From which on boxes are kept: one for all, or one for each of several classes."""
_LONGEST = 64  # characters
_MOST_DECIMALS = 6


def check_class_names(names: Sequence[str]) -> tuple[str, ...]:
    """Make sure that files and pages can show some names, and that they tell classes apart.

    Raises:
        HilumError: there is none or there are too many; one is empty, long or not printable; two are the same but for
            their case. The reason alone.
    """
    if not 1 <= len(names) <= MOST_CLASSES:
        raise HilumError(f"{len(names)} classes; expected 1 to {MOST_CLASSES}")
    seen: dict[str, str] = {}
    for name in names:
        # DICOM's texts have no backslash, which parts values there.
        if not name or name != name.strip() or len(name) > _LONGEST or not name.isprintable() or "\\" in name:
            raise HilumError(
                f"{name[: _LONGEST + 1]!r} is no name of a class: expected 1 to {_LONGEST} printable characters, "
                "no blanks around them and no backslash"
            )
        if (fold := name.casefold()) in seen:
            raise HilumError(f"two classes have one name: {seen[fold]!r} and {name!r}")
        seen[fold] = name
    return tuple(names)


def check_same_classes(looked_for: Sequence[str], there: Sequence[str], where: str) -> None:
    """Make sure that what was looked for is what the data have, whatever the case of its letters.

    Raises:
        HilumError: the classes differ.
    """
    if [name.casefold() for name in looked_for] != [name.casefold() for name in there]:
        raise HilumError(
            f"{where}: looks for {', '.join(looked_for)}; the data are of {', '.join(there)}; data of the same classes "
            "are made by `hilum convert --classes`"
        )


def here_is(names: Sequence[str], any_of: str = "") -> str:
    """What an opacity is on a page, for a sentence before others; "" where it is the challenge's."""
    return "" if tuple(names) == ONE_CLASS else f"Here an opacity is{any_of}: {', '.join(names)}. "


def confidence_words(confidence: Confidence) -> str:
    """From which confidence on boxes are kept, for people: "0.35", or of several classes "0.20 to 0.55, by class"."""
    if not isinstance(confidence, tuple):
        return confidence_text(confidence)
    return f"{confidence_text(min(confidence))} to {confidence_text(max(confidence))}, by class"


def confidence_text(value: float) -> str:
    """A confidence or a probability, for people; what is near 0 or 1 does not read as if it were it.

    >>> [confidence_text(value) for value in (0.3512, 0.0042, 0.99962, 0.0, 1.0)]
    ['0.35', '0.004', '0.9996', '0.00', '1.00']
    """
    decimals = 2
    while decimals < _MOST_DECIMALS and 0 < value < 1 and round(value, decimals) in {0, 1}:
        decimals += 1
    return f"{value:.{decimals}f}"


def class_names_of(record: Mapping[str, Any]) -> tuple[str, ...]:
    """What is looked for, in the order of the ids, as the record of a dataset folder or of predictions says it."""
    return tuple(record.get("class_names", ONE_CLASS))


def said_of_classes(names: Sequence[str]) -> dict[str, list[str]]:
    """What a record says of its classes: nothing where they are those of the challenge, whose folders came first."""
    return {} if tuple(names) == ONE_CLASS else {"class_names": list(names)}


def class_slug(name: str) -> str:
    """A file's name for a class: its letters and digits, with a digest where that is not the whole name."""
    plain = "-".join(re.findall("[a-z0-9]+", name.lower()))
    if plain == name.lower() and "-" not in plain:
        return plain
    return f"{plain}-{hashlib.sha256(name.casefold().encode()).hexdigest()[:8]}".strip("-")
