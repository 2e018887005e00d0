"""`hilum tune`: choose on val how a run's network becomes boxes."""

from pathlib import Path

from hilum.commands.terminal import bar, complain, say


def tune(run: Path, data: Path) -> None:
    """Choose on val how a run's network becomes boxes, and at which confidence they are kept; prediction follows.

    Parameters
    ----------
    run
        Run folder, of a finished training; its operating point is written anew.
    data
        Dataset folder that it was trained on.
    """
    from rich.console import Console
    from rich.table import Table

    from hilum.datasets.folder import Dataset
    from hilum.tune import tune as run_tuning

    with bar("tuning") as progress:
        tuning = run_tuning(run, Dataset.open(data), progress)
    for problem in tuning.problems:
        complain(problem)
    untuned, chosen = tuning.untuned, tuning.chosen
    table = Table("on val", "untuned", "tuned")
    table.add_row("competition score", f"{untuned.score:.3f}", f"{chosen.score:.3f}")
    table.add_row("boxes are kept at confidence >=", f"{untuned.confidence:.3f}", f"{chosen.confidence:.3f}")
    for name, value in untuned.parameters.items():
        table.add_row(f"boxes.{name}", f"{value}", f"{chosen.parameters[name]}")
    Console().print(table)
    if len(tuning.points) == 1:
        say(f"{run}: its backend has nothing to tune but the confidence")
        return
    table = Table("boxes.", "value (* tuned)", "score, others as tuned", "best score, any others")
    for name, value, alone, best in tuning.effects():
        mark = " *" if chosen.parameters[name] == value else ""
        table.add_row(name, f"{value}{mark}", f"{alone:.3f}", f"{best:.3f}")
    Console().print(table)
    say(
        f"{run}: {len(tuning.points):,} combinations on {tuning.val_images:,} images of val; the best of so many "
        f"flatters, hilum evaluate {run} {data} tells the score of holdout"
    )
