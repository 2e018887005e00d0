"""The names of what is looked for, in the order of their ids: of one class in the challenge, of several elsewhere."""

from collections.abc import Sequence
from typing import Final

from hilum.errors import HilumError

ONE_CLASS: Final = ("opacity",)
MOST_CLASSES: Final = 64
_LONGEST = 64  # characters


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
        if not name or name != name.strip() or len(name) > _LONGEST or not name.isprintable():
            raise HilumError(
                f"{name[: _LONGEST + 1]!r} is no name of a class: expected 1 to {_LONGEST} printable characters, "
                "no blanks around them"
            )
        if (fold := name.casefold()) in seen:
            raise HilumError(f"two classes have one name: {seen[fold]!r} and {name!r}")
        seen[fold] = name
    return tuple(names)
