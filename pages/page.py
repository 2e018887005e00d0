"""One HTML page that needs nothing but itself: style, script and pictures inside, no request to anywhere.

Whatever is given is plain text and is escaped here, once; nothing that comes from a file can become markup. What is
markup already, a page's style and script and a section's widget, says so. No other script than the page's own runs.
"""

import base64
import hashlib
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html import escape
from importlib.resources import files
from pathlib import Path

from hilum import __version__
from hilum.comparison.pictures import NOT_A_DEVICE
from hilum.errors import HilumError
from hilum.files import write_atomically
from hilum.pages.wording import MISSING

_MOST_COLUMNS = 13  # more than these are let out of the page's margins where the window is wide enough
_GENERATOR = '<meta name="generator" content="hilum'


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        name: of its PNG file, without the ending.
        png: the file's content.
        alt: what one who cannot see it should know.
    """

    name: str
    png: bytes
    alt: str

    @property
    def size_wh(self) -> tuple[int, int]:
        """Pixels, from the PNG header (PNG specification, 11.2.2)."""
        width, height = struct.unpack(">II", self.png[16:24])
        return width, height


@dataclass(frozen=True)
class Drawing:
    """A figure as SVG, which is on the page and in no file beside it.

    Attributes:
        svg: with a viewBox.
        alt: as a picture's.
    """

    svg: bytes
    alt: str

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the viewBox."""
        found = re.search(rb'viewBox="0 0 ([\d.]+) ([\d.]+)"', self.svg)
        if not found:
            raise ValueError("svg: has no viewBox that starts at 0 0")
        return round(float(found[1])), round(float(found[2]))


@dataclass(frozen=True)
class Cell:
    """A cell with more than a text.

    Attributes:
        text: what it says, and is sorted by.
        note: below, smaller.
        mark: CSS class of a line drawn before it, as the row's line in the figures; "" for none.
        value: what it is sorted by instead, where the text is no decimal number.
    """

    text: str
    note: str = ""
    mark: str = ""
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """A small table of one row or more; the first column names the row, and columns of numbers are set to the right.

    Attributes:
        hints: what each column means, to be seen on hover and below the table; columns can be sorted then.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    hints: Sequence[str] = ()


@dataclass(frozen=True)
class Fold:
    """Something to be opened: a table, or text whose lines are kept."""

    title: str
    content: Table | str


@dataclass(frozen=True)
class Section:
    """One thing worth knowing.

    Attributes:
        finding: it, in a sentence.
        text: paragraphs: what the figure shows and why it matters.
        wide: the picture takes the page's whole width, below the text.
        points: a list, after the paragraphs.
        folds: after the table.
        widget: markup, whose maker has escaped it.
    """

    title: str
    finding: str
    text: Sequence[str] = ()
    picture: Picture | Drawing | None = None
    table: Table | None = None
    wide: bool = False
    points: Sequence[str] = ()
    folds: Sequence[Fold] = ()
    widget: str = ""


@dataclass(frozen=True)
class Part:
    """Sections under one heading."""

    title: str
    sections: Sequence[Section]


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        figures: the numbers to see first: (number, what it counts).
        footer: lines on where it comes from.
        style, script: CSS and JavaScript of this kind of page. Nothing that is read from anywhere may be in them.
        beside: pictures may also be shown that lie beside the page.
        switch: pages of the same kind: (what each shows, the relative path to it, "" of this one).
    """

    title: str
    summary: str
    figures: Sequence[tuple[str, str]]
    parts: Sequence[Part]
    footer: Sequence[str] = field(default=())
    style: str = ""
    script: str = ""
    beside: bool = False
    switch: Sequence[tuple[str, str]] = ()

    def with_switch(self, pages: Sequence[tuple[str, str]]) -> "Page":
        """The same among others of its kind."""
        return replace(self, switch=pages, style=self.style + asset("switch.css")) if pages else self

    @property
    def pictures(self) -> list[Picture]:
        """All pictures, from top to bottom."""
        sections = [section for part in self.parts for section in part.sections]
        return [section.picture for section in sections if isinstance(section.picture, Picture)]


def page_html(page: Page) -> str:
    """Render a page; the same page gives the same bytes."""
    contents = "".join(f'<li><a href="#part-{n}">{escape(p.title)}</a></li>' for n, p in enumerate(page.parts, 1))
    figures = "".join(f"<div><dt>{escape(what)}</dt><dd>{escape(number)}</dd></div>" for number, what in page.figures)
    parts = "".join(
        f'<section class="part"><h2 id="part-{number}">{escape(part.title)}</h2>'
        f"{''.join(map(_section, part.sections))}</section>\n"
        for number, part in enumerate(page.parts, 1)
    )
    footer = "".join(f"<p>{escape(line)}</p>" for line in (NOT_A_DEVICE, *page.footer))
    # 'self' of a page that is opened from a disk is no file in every browser.
    images = "data: 'self' file:" if page.beside else "data:"
    policy = f"default-src 'none'; img-src {images}; style-src 'unsafe-inline'"
    script = ""
    if page.script:
        digest = base64.b64encode(hashlib.sha256(page.script.encode()).digest()).decode("ascii")
        policy += f"; script-src 'sha256-{digest}'"
        script = f"<script>{page.script}</script>\n"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
{_GENERATOR} {escape(__version__)}">
<meta name="robots" content="noindex">
<link rel="icon" href="data:,">
<title>{escape(page.title)}</title>
<style>{asset("page.css")}{page.style}</style>
</head>
<body>
<header><h1>{escape(page.title)}</h1><p class="summary">{escape(page.summary)}</p>
<dl class="figures">{figures}</dl>
<nav aria-label="Contents"><ol>{contents}</ol></nav>{_switch(page.switch)}</header>
<main>
{parts}</main>
<footer>{footer}</footer>
{script}</body>
</html>
"""


def _switch(pages: Sequence[tuple[str, str]]) -> str:
    links = "".join(
        f'<li><a href="{escape(path)}">{escape(what)}</a></li>'
        if path
        else f'<li><a aria-current="page">{escape(what)}</a></li>'
        for what, path in pages
    )
    return f'<nav class="switch" aria-label="Class"><ul>{links}</ul></nav>' if links else ""


def asset(name: str) -> str:
    """A stylesheet or script of this folder as it stands on a page: after its tag, on a line of its own."""
    return "\n" + files("hilum.pages").joinpath(name).read_text(encoding="utf-8")


def is_page(path: Path) -> bool:
    """Whether a file is a page that hilum wrote.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return _GENERATOR.encode() in file.read(2000)


def write_page(path: Path, page: Page) -> None:
    """Write the page, and its pictures as PNG files beside it; the page comes last.

    Raises:
        HilumError: the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for picture in page.pictures:
            write_atomically(path.with_name(f"{picture.name}.png"), picture.png)
        write_atomically(path, page_html(page))
    except OSError as error:
        raise HilumError(f"{error.filename or path}: cannot be written ({error.strerror or error})") from error


def _section(section: Section) -> str:
    text = "".join(f"<p>{escape(paragraph)}</p>" for paragraph in section.text)
    points = "".join(f"<li>{escape(point)}</li>" for point in section.points)
    points = f"<ul>{points}</ul>" if points else ""
    table = _table(section.table) if section.table else ""
    folds = "".join(map(_fold, section.folds))
    words = f'<p class="finding">{escape(section.finding)}</p>{text}{points}'
    below = ""
    if section.picture and section.table and section.table.hints:  # too wide for a column
        below = f'<div class="below">{table}{folds}</div>'
    else:
        words += table + folds
    words = f'<div class="words">{words}</div>'
    kind = "wide" if section.wide else "beside" if section.picture else "plain"
    picture = _picture(section.picture) if section.picture else ""
    return (
        f'<article class="{kind}"><h3>{escape(section.title)}</h3>{words}{picture}{below}{section.widget}</article>\n'
    )


def _picture(picture: Picture | Drawing) -> str:
    kind, content = ("png", picture.png) if isinstance(picture, Picture) else ("svg+xml", picture.svg)
    width, height = picture.size_wh
    data = base64.b64encode(content).decode("ascii")
    return (
        f'<figure><img src="data:image/{kind};base64,{data}" width="{width}" height="{height}" '
        f'alt="{escape(picture.alt)}"></figure>'
    )


def _fold(fold: Fold) -> str:
    content = _table(fold.content) if isinstance(fold.content, Table) else f"<pre>{escape(fold.content)}</pre>"
    return f"<details><summary>{escape(fold.title)}</summary>{content}</details>"


def _table(table: Table) -> str:
    rows = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in table.rows]
    # A column is one of numbers, and its heading stands above them, where every cell starts with a digit.
    numbers = [
        at > 0 and all(map(_is_number, column)) and any(cell.text != MISSING for cell in column)
        for at, column in enumerate(zip(*rows, strict=True))
    ]
    hints = table.hints or [""] * len(table.header)
    header = "".join(
        f"<th scope=col{' class=number' * number}>{_heading(name, hint)}</th>"
        for name, hint, number in zip(table.header, hints, numbers, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<{'td' if at else 'th scope=row'}{' class=number' * number}{_value(cell)}>{_content(cell)}"
            f"</{'td' if at else 'th'}>"
            for at, (cell, number) in enumerate(zip(row, numbers, strict=True))
        )
        + "</tr>"
        for row in rows
    )
    markup = f"<thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"
    if not table.hints:
        return f'<div class="scroll"><table>{markup}</div>'
    meanings = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(hint)}</dd>"
        for name, hint in zip(table.header, hints, strict=True)
        if hint
    )
    return (
        f'<div class="scroll{" broad" * (len(table.header) > _MOST_COLUMNS)}" tabindex="0" role="region" '
        'aria-label="Table, wider than a phone">'
        f'<table class="sortable">{markup}</div>'
        f'<details class="meanings"><summary>What the columns mean</summary><dl>{meanings}</dl></details>'
    )


def _heading(name: str, hint: str) -> str:
    return f'<button type="button" title="{escape(hint)}">{escape(name)}</button>' if hint else escape(name)


def _content(cell: Cell) -> str:
    mark = line_sample(cell.mark) if cell.mark else ""
    note = f"<small>{escape(cell.note)}</small>" if cell.note else ""
    return f"{mark}{escape(cell.text)}{note}"


def _value(cell: Cell) -> str:
    return "" if cell.value is None else f' data-value="{cell.value:g}"'


def line_sample(mark: str) -> str:
    """A short line as markup; `mark` is the CSS class that gives it its colour and dashes."""
    return f'<svg class="sample {escape(mark)}" viewBox="0 0 26 10" aria-hidden="true"><path d="M0 5h26"></path></svg>'


def _is_number(cell: Cell) -> bool:
    return cell.text == MISSING or cell.text.lstrip("+\N{MINUS SIGN}")[:1].isdigit()
