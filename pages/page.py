"""One HTML page that needs nothing but itself: style, script and pictures inside, no request to anywhere.

Whatever is given is plain text and is escaped here, once; nothing that comes from a file can become markup. What is
markup already, a page's style and script and a section's widget, says so. No other script than the page's own runs.
"""

import base64
import hashlib
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from hilum import __version__
from hilum.errors import HilumError
from hilum.eval.pictures import NOT_A_DEVICE
from hilum.files import write_atomically
from hilum.pages.wording import MISSING

_MOST_COLUMNS = 13  # more than these are let out of the page's margins where the window is wide enough
GENERATOR = '<meta name="generator" content="hilum'


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
    """

    title: str
    summary: str
    figures: Sequence[tuple[str, str]]
    parts: Sequence[Part]
    footer: Sequence[str] = field(default=())
    style: str = ""
    script: str = ""

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
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
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
{GENERATOR} {escape(__version__)}">
<meta name="robots" content="noindex">
<link rel="icon" href="data:,">
<title>{escape(page.title)}</title>
<style>{_STYLE}{page.style}</style>
</head>
<body>
<header><h1>{escape(page.title)}</h1><p class="summary">{escape(page.summary)}</p>
<dl class="figures">{figures}</dl>
<nav aria-label="Contents"><ol>{contents}</ol></nav></header>
<main>
{parts}</main>
<footer>{footer}</footer>
{script}</body>
</html>
"""


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


_STYLE = """
:root { color-scheme: light; --ink: #1b2329; --quiet: #55626c; --line: #d9dfe3; --accent: #0072b2; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0 auto; padding: 0 1.25rem; max-width: 72rem; background: #fff; color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  overflow-wrap: break-word; }
header { padding: 3.5rem 0 0; }
h1 { margin: 0 0 .5rem; font-size: clamp(1.8rem, 5vw, 2.6rem); line-height: 1.15; letter-spacing: -.02em; }
h2 { margin: 0 0 1.75rem; padding-top: 2.75rem; border-top: 2px solid var(--ink); font-size: 1.6rem;
  line-height: 1.2; letter-spacing: -.01em; }
h3 { margin: 0 0 .6rem; font-size: .85rem; line-height: 1.3; text-transform: uppercase; letter-spacing: .06em;
  color: var(--quiet); }
p { margin: 0 0 .8rem; max-width: 42rem; }
a { color: var(--accent); }
.summary { font-size: 1.15rem; color: var(--quiet); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: 1rem 1.5rem;
  margin: 2rem 0; padding: 1.25rem 0; border: solid var(--line); border-width: 1px 0; }
.figures div { display: flex; flex-direction: column-reverse; justify-content: flex-end; }
.figures dd { margin: 0; font-size: 1.75rem; font-weight: 650; line-height: 1.15; letter-spacing: -.02em; }
.figures dt { font-size: .875rem; line-height: 1.35; color: var(--quiet); }
nav ol { display: flex; flex-wrap: wrap; gap: .4rem 1.5rem; margin: 0 0 3.5rem; padding: 0; list-style: none; }
.part { padding-bottom: 1rem; }
article { margin-bottom: 3.5rem; }
.finding { font-size: 1.3rem; font-weight: 600; line-height: 1.35; letter-spacing: -.005em; }
figure { margin: 0; }
img { display: block; width: 100%; height: auto; }
.scroll { overflow-x: auto; margin: 1rem 0 1.25rem; }
table { border-collapse: collapse; font-size: .9rem; line-height: 1.4; }
th, td { padding: .4rem 1.25rem .4rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; font-weight: 400; }
thead th { color: var(--quiet); font-size: .8rem; vertical-align: bottom; }
th:last-child, td:last-child { padding-right: 0; }
td small, th small { display: block; font-size: .8em; color: var(--quiet); }
ul { margin: 0 0 1rem; padding-left: 1.2rem; max-width: 42rem; }
li { margin-bottom: .4rem; }
.sortable th, .sortable td { padding-right: .8rem; }
.sortable thead th { white-space: normal; }
.sortable th:first-child { position: sticky; left: 0; min-width: 6.5rem; background: #fff; }
.sample { width: 1.6rem; height: .65rem; margin-right: .5rem; overflow: visible; }
.sample path { fill: none; stroke-width: 3; }
thead button { padding: 0; border: 0; background: none; color: inherit; font: inherit; text-align: inherit;
  text-decoration: underline dotted; text-underline-offset: .2em; cursor: help; }
.js thead button { cursor: pointer; }
[aria-sort] button { color: var(--ink); font-weight: 650; }
[aria-sort=descending] button::after { content: " \2193"; }
[aria-sort=ascending] button::after { content: " \2191"; }
details { margin: .5rem 0; }
summary { color: var(--accent); cursor: pointer; }
details dl { font-size: .875rem; }
details dt { font-weight: 650; }
details dd { margin: 0 0 .5rem; max-width: 42rem; }
pre { margin: .5rem 0 1rem; padding: .75rem 1rem; overflow-x: auto; background: #f4f6f7; font-size: .8rem;
  line-height: 1.45; }
.number { white-space: nowrap; text-align: right; font-variant-numeric: tabular-nums; }
footer { padding: 1.5rem 0 3rem; border-top: 2px solid var(--ink); font-size: .875rem; color: var(--quiet); }
footer p { max-width: none; margin: 0 0 .3rem; }
footer p:first-child { font-weight: 650; color: var(--ink); }
.broad th, .broad td { padding-right: .55rem; }
@media screen and (min-width: 75rem) {
  .broad { position: relative; left: 50%; translate: -50%; width: fit-content; max-width: min(100vw - 3rem, 96rem); }
}
@media (min-width: 56rem) {
  .beside { display: grid; grid-template-columns: minmax(0, 5fr) minmax(0, 8fr); column-gap: 3rem; }
  .beside h3, .below { grid-column: 1 / -1; }
}
@media (max-width: 40rem) {
  header { padding-top: 2rem; }
  .wide figure { overflow-x: auto; margin-right: -1.25rem; }
  .wide img { width: 44rem; max-width: none; }
}
@media print {
  @page { margin: 15mm; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  header { padding: 0; }
  h2 { padding-top: 1rem; }
  h2, h3, .finding { break-after: avoid; }
  article { break-inside: avoid; margin-bottom: 1.5rem; }
  tr { break-inside: avoid; }
  .scroll { overflow: visible; }
  .sortable { font-size: 7.5pt; }
  .broad .sortable { font-size: 6pt; }
  .broad .sortable th, .broad .sortable td { padding-right: 1mm; }
  .sortable th, .sortable td { padding-right: 1.5mm; }
  .sortable th:first-child { min-width: 0; }
  .sortable .number { white-space: normal; }
  thead th { font-size: inherit; }
  thead button { text-decoration: none; }
  details:not([open]) { display: none; }
  pre { white-space: pre-wrap; }
  .beside { display: grid; grid-template-columns: minmax(0, 5fr) minmax(0, 6fr); column-gap: 1.5rem; }
  .beside h3, .below { grid-column: 1 / -1; }
}
"""
