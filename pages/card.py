"""A card, as the Hugging Face hub shows it: YAML between two lines, then Markdown that no text of a file can change."""

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import yaml

from hilum import __version__
from hilum.comparison.pictures import NOT_A_DEVICE
from hilum.comparison.tables import markdown_lines
from hilum.errors import HilumError
from hilum.printable import as_text, printable

NOT_KNOWN: Final = "not known"
# Escapes of CommonMark 0.31, 2.4. A colon before slashes, "www." and "@" would become links on GitHub and the hub.
_MARKUP: Final = re.compile(r"[\\`*_{}\[\]<>()#+!|~&$@^=]|:(?=//)|(?<=www)\.|^-", re.IGNORECASE)


def plain(text: object) -> str:
    r"""Text of anybody, as Markdown that shows it as it is.

    >>> plain("<b>[1](http://x) | *a*")
    '\\<b\\>\\[1\\]\\(http\\://x\\) \\| \\*a\\*'
    """
    return _MARKUP.sub(lambda found: f"\\{found[0]}", printable(str(text)).strip())


def table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table whose cells may hold anything; the columns after the first stand at the right."""
    return "\n".join(markdown_lines([plain(cell) for cell in header], ([plain(cell) for cell in row] for row in rows)))


def points(lines: Iterable[object]) -> str:
    """A list, an item a line."""
    return "\n".join(f"- {plain(line)}" for line in lines)


def name_of(folder: Path) -> str:
    """What a folder is called, without where it lies."""
    return as_text(folder.resolve().name)


def card_text(
    template: str, folder: Path, front: Mapping[str, Any], words: Mapping[str, object], blocks: Mapping[str, str]
) -> str:
    """A card: the template of this room filled in, after its front matter.

    Args:
        template: its name.
        folder: what the card is of; its name is the title.
        front: the front matter.
        words: by field of the template, what stands there; of anybody.
        blocks: likewise, what is Markdown already.
    """
    text = files("hilum.pages").joinpath(template).read_text(encoding="utf-8")
    said = {name: plain(value) for name, value in {"name": name_of(folder), "version": __version__, **words}.items()}
    head = yaml.safe_dump(dict(front), sort_keys=False, width=120)
    return f"---\n{head}---\n\n{text.format(**said, **blocks, not_a_device=NOT_A_DEVICE)}"


def licence(named: str | None, otherwise: str = "other") -> dict[str, str]:
    """The licence for the front matter: as named, else `otherwise`, of which nobody said more.

    Raises:
        HilumError: it is no word, such as the hub's identifiers of licences are.
    """
    if named is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,59}", named):
        raise HilumError(f"--license: expected an identifier such as apache-2.0, cc-by-4.0 or other, not {named!r}")
    found = (named or otherwise).lower()
    return {"license": found} | ({"license_name": "not-stated"} if found == "other" else {})
