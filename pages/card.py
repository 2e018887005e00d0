"""A card, as the Hugging Face hub shows it: YAML between two lines, then Markdown that nothing from a file can change."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from hilum.errors import HilumError
from hilum.printable import as_text, printable

NOT_KNOWN: Final = "not known"
# Escapes of CommonMark 0.31, 2.4. A colon before slashes, "www." and "@" would become links on GitHub and the hub.
_MARKUP: Final = re.compile(r"[\\`*_{}\[\]<>()#+!|~&$@^=]|:(?=//)|(?<=www)\.", re.IGNORECASE)


def plain(text: object) -> str:
    r"""Text of anybody, as Markdown that shows it as it is.

    >>> plain("<b>[1](http://x) | *a*")
    '\\<b\\>\\[1\\]\\(http\\://x\\) \\| \\*a\\*'
    """
    return _MARKUP.sub(lambda found: f"\\{found[0]}", printable(str(text)).strip())


def table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table whose cells may hold anything; the columns after the first stand at the right."""
    rule = f"| --- |{' ---: |' * (len(header) - 1)}"
    first, *others = (f"| {' | '.join(map(plain, cells))} |" for cells in (header, *rows))
    return "\n".join([first, rule, *others])


def points(lines: Iterable[object]) -> str:
    """A list, an item a line."""
    return "\n".join(f"- {plain(line)}" for line in lines)


def card_text(folder: Path, front: Mapping[str, Any], sections: Mapping[str, Iterable[str]]) -> str:
    """The card of a folder, under its name; blocks of a section are Markdown already, "" stands before the others."""
    head = yaml.safe_dump(dict(front), sort_keys=False, width=120)
    blocks = [f"# {plain(as_text(folder.resolve().name))}"]
    for heading, its in sections.items():
        blocks += [f"## {heading}"] * bool(heading) + [block for block in its if block]
    return f"---\n{head}---\n\n" + "\n\n".join(blocks) + "\n"


def licence(named: str | None, otherwise: str = "other") -> dict[str, str]:
    """The licence for the front matter: as named, else `otherwise`, of which nobody said more.

    Raises:
        HilumError: it is no word, such as the hub's identifiers of licences are.
    """
    if named is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,59}", named):
        raise HilumError(f"--license: expected an identifier such as apache-2.0, cc-by-4.0 or other, not {named!r}")
    found = (named or otherwise).lower()
    return {"license": found} | ({"license_name": "not-stated"} if found == "other" else {})
