"""Numbers in sentences."""

import math
from collections.abc import Iterable, Sequence

from hilum.eval.bootstrap import Interval

MISSING = "\N{EN DASH}"


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


def few(items: Sequence[str], most: int = 4) -> str:
    """The items as a sentence lists them; the first of them and how many others where there are many."""
    return listed(items) if len(items) <= most else f"{', '.join(items[: most - 1])} and {len(items) - most + 1} others"


def decimal(value: float, decimals: int = 2, *, signed: bool = False) -> str:
    """A number with a true minus; a dash where there is none."""
    if not math.isfinite(value):
        return MISSING
    rounded = round(value, decimals) + 0.0  # no minus before a zero
    return f"{rounded:{'+' if signed else ''},.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def bounds(interval: Interval, decimals: int = 2, *, signed: bool = False) -> str:
    """The bounds of an interval, [0.20, 0.40]; nothing where there are none."""
    low, high = interval.low, interval.high
    if not math.isfinite(low) or not math.isfinite(high):
        return ""
    # A bound that is not zero never reads as if it were: on which side of zero it is may be all that matters.
    while decimals < 4 and any(end and not round(end, decimals) for end in (low, high)):
        decimals += 1
    return f"[{decimal(low, decimals, signed=signed)}, {decimal(high, decimals, signed=signed)}]"
