"""`hilum ablate`: what each part of a composed run adds."""

from pathlib import Path

from hilum.commands.arguments import DATA, RUN, check_order
from hilum.commands.options import Split
from hilum.commands.terminal import bar, table
from hilum.errors import HilumError


def ablate(
    run: Path,
    data: Path,
    *more: Path,
    before: tuple[str, ...] = (),
    split: Split = "holdout",
    json: Path | None = None,
) -> None:
    """Show what each part of a composed run adds: its parts put in one after another.

    Each row is chosen anew on val. Several folds are pooled, each chosen on its own val:
    hilum ablate run-0 DATA/splits/four-0 run-1 DATA/splits/four-1 ...

    Parameters
    ----------
    run
        Run folder of the backend compose, such as `hilum train winners` makes.
    data
        Dataset folder that it was trained on.
    more
        Further runs of the same parts, each with its dataset folder; their holdouts share no image.
    before
        A row to put first, from runs of any backend, one for each composed run: --before 'no negatives=RUN,RUN'. It
        can be given several times.
    split
        The split to score on. Figures of train and val flatter: they were trained or chosen there.
    json
        File to write the figures to.
    """
    from hilum.comparison.ablation import ablation
    from hilum.comparison.tables import addition_table
    from hilum.datasets.folder import Dataset
    from hilum.run import write_json

    if len(more) % 2:
        raise HilumError(f"{more[-1]}: a run without its data; expected hilum ablate RUN DATA RUN DATA ...")
    check_order("ablate", (RUN, run), (DATA, data), *zip((RUN, DATA) * len(more), more, strict=False))
    pairs = [(run, Dataset.open(data)), *((a, Dataset.open(b)) for a, b in zip(more[::2], more[1::2], strict=True))]
    earlier: dict[str, list[Path]] = {}
    for row in before:
        name, given, listed = row.partition("=")
        if not name or not given or name in earlier:
            raise HilumError(f"--before '{row}': expected NAME=RUN,RUN,... with a name of its own")
        earlier[name] = [Path(each) for each in listed.split(",")]
    with bar("folds") as progress:
        rows = ablation(pairs, before=earlier, name=split, progress=progress)
    images = sum(len(each.split(split)) for _, each in pairs)
    title = f"{', '.join(str(each) for each, _ in pairs)} on {images:,} images of {split}"
    table(*addition_table(rows), title=title, figures=True)
    if json:
        named = {name: [each.name for each in those] for name, those in earlier.items()}
        runs = [each.name for each, _ in pairs]
        write_json(
            json,
            {"runs": runs, "before": named, "split": split, "images": images, "rows": [row.dump() for row in rows]},
        )
