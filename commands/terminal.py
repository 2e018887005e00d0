"""What commands write: results to standard output, what is only told on the way to standard error."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def say(text: str, end: str = "\n") -> None:
    """Write a result to standard output."""
    sys.stdout.write(text + end)


def complain(line: str) -> None:
    """Write what is wrong, and does not stop the command, to standard error."""
    sys.stderr.write(f"hilum: {line}\n")


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error while the command works; call what it gives with how many are done, and of how many."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
