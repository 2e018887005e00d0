"""UIDs that are derived: the same finding gets the same one again, so that sending it twice makes no second object."""

from typing import Final
from uuid import UUID, uuid5

_HILUM: Final = UUID("6f1c2a52-3f0e-5d0b-9a4c-8f6a1be0c7d1")  # the namespace of all that is derived here
_ROOT: Final = "2.25."  # of UIDs that are UUIDs (PS3.5 B.2)


def derived_uid(*parts: str) -> str:
    """A UID of what is named by these words, in this order: a UUID of version 5 (RFC 9562) as a UID.

    >>> derived_uid("1.2.3", "sr") == derived_uid("1.2.3", "sr"), derived_uid("1.2.3", "pr")[:5]
    (True, '2.25.')
    """
    return _ROOT + str(uuid5(_HILUM, "\0".join(parts)).int)
