"""`hilum tune`: choose on val how a run's network becomes boxes."""

from pathlib import Path
from typing import TYPE_CHECKING

from hilum.class_names import confidence_words
from hilum.commands.arguments import DATA, RUN, check_order
from hilum.commands.options import AnyPath, check_values
from hilum.commands.terminal import bar, complain, say, table

if TYPE_CHECKING:
    from hilum.tune_run import Tuning


def tune(run: AnyPath, data: AnyPath, *, at: str | None = None) -> "Tuning":
    """Choose on val how a run's network becomes boxes, and at which confidence they are kept; prediction follows.

    Confidences and probabilities are calibrated on val, too.

    Args:
        run: Run folder, of a finished training; its operating point is written anew.
        data: Dataset folder that it was trained on.
        at: Keep boxes so that on val this share of the true ones is found (sensitivity=0.95), or so many are false in
            the mean of the images (fp_per_image=0.25), in the place of the highest competition score. Holdout tells how
            far that holds: `hilum evaluate`.

    Examples:
        >>> import hilum
        >>> tuning = hilum.tune("RUN", "DATA")
        >>> tuning.chosen.score >= tuning.untuned.score
        True
    """
    check_values(tune, locals())
    from hilum.datasets.folder import Dataset
    from hilum.training.calibrating import read_wish
    from hilum.tune_run import tune as run_tuning

    run, data = Path(run), Path(data)
    check_order("tune", (RUN, run), (DATA, data))
    wish = None if at is None else read_wish(at)
    with bar("tuning") as progress:
        return run_tuning(run, Dataset.open(data), progress, wish)


def show_tuning(tuning: "Tuning", run: Path, data: Path, **_: object) -> None:
    """Print what was chosen, and what each parameter does."""
    complain(*tuning.problems)
    untuned, chosen = tuning.untuned, tuning.chosen
    rows = [
        ("competition score", f"{untuned.score:.3f}", f"{chosen.score:.3f}"),
        ("boxes are kept at confidence >=", *(confidence_words(each.confidence) for each in (untuned, chosen))),
        *((f"boxes.{name}", f"{value}", f"{chosen.parameters[name]}") for name, value in untuned.parameters.items()),
    ]
    table(("on val", "untuned", "tuned"), rows)
    if tuning.reached:
        found, false = tuning.reached.sensitivity, tuning.reached.false_positives
        say(f"{run}: on val that finds {found:.3f} of the true boxes, with {false:.3f} false ones an image")
    if len(tuning.points) == 1:
        say(f"{run}: its backend has nothing to tune but the confidence")
        return
    effects = []
    for name, value, alone, best in tuning.effects():
        mark = " *" if chosen.parameters[name] == value else ""
        effects.append((name, f"{value}{mark}", f"{alone:.3f}", f"{best:.3f}"))
    table(("boxes.", "value (* tuned)", "score, others as tuned", "best score, any others"), effects)
    say(
        f"{run}: {len(tuning.points):,} combinations on {tuning.val_images:,} images of val; the best of so many "
        f"flatters, hilum evaluate {run} {data} tells the score of holdout"
    )
