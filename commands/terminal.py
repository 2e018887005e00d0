"""What commands write: results to standard output, what is only told on the way to standard error.

Names that stand in it may be anybody's. Nothing in them reaches a terminal that it would obey, and none breaks a line.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from hilum.printable import one_line, printable

_FITS, _GAP = 80, 2  # columns of a terminal, and between those of a table
_BOUNDS = re.compile(r",? ?(?:paired )?\[[-+0-9., %]+\]$")
_WIDE = 10_000  # columns; a pipe or a log file has no width of its own, and rich would fold names to 80


def say(*lines: str) -> None:
    """Write lines of a result to standard output."""
    sys.stdout.write("".join(f"{printable(line)}\n" for line in lines))


def complain(*lines: str) -> None:
    """Write lines on what is wrong to standard error."""
    sys.stderr.write("".join(f"hilum: {one_line(line)}\n" for line in lines))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "", figures: bool = False) -> None:
    """Write a table to standard output; where it is too wide, its last figure alone keeps its bounds.

    Args:
        header: the heading of every column.
        rows: a cell a column.
        title: of the table.
        figures: all columns but the first hold figures, which stand at the right.
    """
    header, rows = _fitting(header, list(rows))
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        title=Text(printable(title)) if title else None,
        title_justify="left",
    )
    for number, heading in enumerate(header):
        shown.add_column(Text(printable(heading)), justify="right" if figures and number else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(markup=False, highlight=False)
    (console if console.is_terminal else Console(width=_WIDE)).print(shown)


def _fitting(header: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """A table that fits a terminal, as far as bounds in brackets make it too wide."""
    columns = list(zip(header, *rows, strict=True))
    with_bounds = [number for number, cells in enumerate(columns) if any(map(_BOUNDS.search, cells))]
    if sum(max(map(len, cells)) + _GAP for cells in columns) - _GAP <= _FITS:
        return header, rows
    for number in with_bounds[:-1]:
        columns[number] = tuple(_BOUNDS.sub("", cell) for cell in columns[number])
    header, *rows = zip(*columns, strict=True)
    return header, rows


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error while the command works; call what it gives with how many are done, and of how many."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from hilum.talk import is_quiet

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=is_quiet() or not console.is_terminal) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
