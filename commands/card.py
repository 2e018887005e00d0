"""`hilum card`: a card for the run or the dataset folder that is to be published."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hilum.commands.terminal import say
from hilum.errors import HilumError
from hilum.kinds import TELLING, kind_of


def card(
    folder: Path,
    *,
    evaluation: Annotated[tuple[Path, ...], Parameter(negative=())] = (),
    data: Path | None = None,
    license: str | None = None,  # noqa: A002
    out: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Write the card of a run or of a dataset folder, README.md; of the latter also croissant.json.

    Read it before you publish it: what hilum cannot know, it says is not known.

    Parameters
    ----------
    folder
        A run folder, or a dataset folder.
    evaluation
        Of a run: what `hilum evaluate RUN DATA --json FILE` wrote. Several times for several data sets.
    data
        Of a run: the dataset folder that it was trained on, whose origin and numbers the card then tells.
    license
        Identifier of the licence of the weights or the data, such as cc-by-4.0.
    out
        Folder for what is written; FOLDER itself where not given.
    overwrite
        Replace a README.md that is there, and what you wrote into it.
    """
    from hilum.datasets.croissant import croissant
    from hilum.datasets.folder import Dataset
    from hilum.files import refuse_links, write_atomically
    from hilum.pages.data_card import data_card
    from hilum.pages.run_card import run_card
    from hilum.run import json_text

    kind, texts = kind_of(folder), dict[str, str]()
    if kind == "run":
        texts["README.md"] = run_card(folder, evaluation, Dataset.open(data) if data else None, license)
    elif kind == "dataset":
        if evaluation or data:
            raise HilumError(f"{folder}: is a dataset folder; --evaluation and --data go with a run")
        dataset = Dataset.open(folder)
        if dataset.is_further_split:
            raise HilumError(f"{folder}: is a further split, which has no pictures; give {dataset.root}")
        texts["README.md"] = data_card(dataset, license)
        texts["croissant.json"] = json_text(croissant(dataset, license or "not stated; see README.md"))
    else:
        what = TELLING.get(kind, "no such folder" if kind == "nothing" else "neither of them")
        raise HilumError(f"{folder}: {what}; a run folder or a dataset folder is expected")
    into = out or folder
    refuse_links(into, *texts)
    if not overwrite and (there := next((into / name for name in texts if (into / name).exists()), None)):
        raise HilumError(f"{there}: is there already; --overwrite writes it anew")
    into.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_atomically(into / name, text)
        say(f"{into / name}")
