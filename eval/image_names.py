"""Which image somebody means by a COCO `image_id`: its number in the split's file, or its name."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hilum.errors import HilumError
from hilum.eval.submission import image_name

ImageNames = Callable[[Any], str | None]
"""Of an `image_id` the name of the image, or None where there is none."""


def image_names(numbers: Mapping[int, str], image_ids: Iterable[str]) -> ImageNames:
    """Returns what finds the image that a COCO `image_id` means: its name, or None where there is none.

    Args:
        numbers: the images' names by number.
        image_ids: names that may stand for themselves. Some tools write a name of digits as a number.
    """
    known = dict.fromkeys(image_ids)
    meant: dict[int, set[str]] = defaultdict(set)
    for number, name in numbers.items():
        meant[number].add(name)
    for name in known:
        if (digits := _number(name)) is not None:
            meant[digits].add(name)

    def find(image: Any) -> str | None:
        if isinstance(image, str):
            name = image_name(image, known)
            if name in known:
                return name
            image = _number(name)
        names = meant.get(image, set())
        if len(names) > 1:
            raise HilumError(
                f"image_id {image} may be the number of one image and the name of another "
                f"({', '.join(sorted(names))}); write the names, as text"
            )
        return next(iter(names), None)

    return find


def _number(name: str) -> int | None:
    return int(name) if name.isascii() and name.isdigit() and len(name) < 19 else None
