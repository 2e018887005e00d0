"""Numbers in sentences."""

from collections.abc import Iterable


def percent(part: float, whole: float) -> str:
    """A share in whole percent; what is neither none nor all never reads as if it were."""
    share = part / whole if whole else 0.0
    if 0 < share < 0.01:
        return "under 1%"
    return "over 99%" if 0.99 < share < 1 else f"{share:.0%}"


def many(count: int, one: str, more: str | None = None) -> str:
    """1 image, 1,000 images."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def listed(items: Iterable[str]) -> str:
    """The items, of which there are some, as a sentence lists them: a, b and c."""
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last
