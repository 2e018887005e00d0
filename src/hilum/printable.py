"""Text that came from anybody, as a terminal may show it: nothing in it is obeyed, and it stays on its line."""

import os
import re
from typing import Final

MOST_QUOTED: Final = 200
"""Characters in a row that an error line quotes of a name or a value."""
_MOST_IN_LINE = 800  # of an error: two paths, a value and what is said of them
_LONG = re.compile(rf"\S{{{MOST_QUOTED + 1},}}")


def printable(text: str) -> str:
    r"""The text with every character escaped that a terminal may obey or cannot show.

    These are control characters (C0, DEL, C1), line breaks and separators of every kind, marks that turn the direction
    of writing, and the surrogates by which Python holds bytes of a file name that are no UTF-8.

    >>> printable("a\x1b[2J\nb")
    'a\\x1b[2J\\nb'
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def as_text(name: str) -> str:
    """A file's name as tables and JSON can hold it: bytes that are no UTF-8 are spelt out."""
    return os.fsencode(name).decode(errors="backslashreplace")


def one_line(text: str) -> str:
    """An error's line: printable, long words and long lines with a gap in their middle.

    A path keeps its beginning and its end. Said again, as a part of a longer line, it stays as it is.
    """
    return _with_gap(_LONG.sub(lambda found: _with_gap(found[0], MOST_QUOTED), printable(text)), _MOST_IN_LINE)


def _with_gap(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    head = (most - 3) // 2
    return f"{text[:head]}...{text[len(text) - (most - 3 - head) :]}"
