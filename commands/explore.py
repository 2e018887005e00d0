"""`hilum explore`: a page of what is in the data."""

from pathlib import Path

from hilum.commands.arguments import DATA, check_order
from hilum.commands.terminal import bar, say


def explore(data: Path, *, out: Path | None = None, stage1: Path | None = None) -> None:
    """Describe a dataset folder on one HTML page: what is in it, and what in it can mislead.

    Parameters
    ----------
    data
        Dataset folder.
    out
        Folder for the page and its figures as PNG files; DATA/explore where not given.
    stage1
        The challenge's stage_1_train_labels.csv: images that it does not name were the first stage's test set.
    """
    from hilum.pages.explore import explore as run

    check_order("explore", (DATA, data))
    with bar("exploring") as progress:
        page = run(data, out, stage1=stage1, progress=progress)
    say(f"{page}")
