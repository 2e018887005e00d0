"""The keys of the JSON that hilum writes, from what it is checked against when it is read."""

from importlib import import_module
from typing import get_type_hints

from in_words import reasons, table, type_in_words


def record(place: str) -> str:
    """A table of the keys of one.

    Args:
        place: of its type, such as `hilum.run:Environment`.
    """
    module, _, name = place.partition(":")
    kind = getattr(import_module(module), name)
    why = reasons(kind)
    hints = get_type_hints(kind, include_extras=True)
    always = kind.__required_keys__
    rows = [
        (f"`{key}`", type_in_words(hint), "yes" if key in always else "", why.get(key, ""))
        for key, hint in hints.items()
    ]
    return table(("key", "type and range", "always", "what it is"), rows)
