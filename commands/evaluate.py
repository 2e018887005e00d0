"""`hilum evaluate`: score predictions."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from hilum.commands.arguments import ANSWERS, TRUTH, check_order
from hilum.commands.options import AnyPath, Share, check_values, path_of
from hilum.commands.terminal import say, table
from hilum.errors import HilumError
from hilum.talk import log

if TYPE_CHECKING:
    from hilum.comparison.marked import MarkedEvaluation
    from hilum.comparison.results import Evaluation


def evaluate(
    predictions: AnyPath,
    data: AnyPath,
    *,
    split: Literal["train", "val", "holdout", "all"] | None = None,
    home: AnyPath | None = None,
    confidence: Share = None,
    metric: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    json: AnyPath | None = None,
) -> "Evaluation | MarkedEvaluation":
    """Score predictions with the competition's metric and COCO AP, beside two trivial baselines.

    Against what a reader marked on worklist.html: AUROC, sensitivity and specificity of images.

    Args:
        predictions: A run, a predictions folder, COCO results (.json), or a submission (.csv).
        data: Dataset folder; or marks.csv, saved from the worklist of the predictions folder, or of another one of the
            same images.
        split: The split to score on. Where not given: holdout; and of data that a run was not trained on, all labelled
            images. Figures of train and val flatter: they were trained or chosen there.
        home: The dataset folder that the run was trained on, where DATA is another one: thresholds are chosen there,
            figures are compared with those of its holdout, and both are searched for the same pictures and patients.
        confidence: Boxes below do not count as the answer. Where not given: that of the run or the predictions folder;
            for COCO results, and a submission to siim or vinbigdata, which holds all boxes, one is chosen on val, or
            cross-fitted where they have nothing of val; a submission to rsna is kept as it is.
        metric: A further figure: siim or vinbigdata, those challenges' mAP with the AP of each class; competition, ap,
            froc, auroc, or a plug-in's, as train.select takes them. Several times for several.
        json: File to write the figures to.

    Returns:
        The figures, as the file has them; the last of its `entries` is of the predictions, the others of baselines.

    Examples:
        >>> import hilum
        >>> found = hilum.evaluate("RUN", "DATA")
        >>> score = found.entries[-1].score
        >>> score.low <= score.estimate <= score.high, found.split, found.entries[0].name
        (True, 'holdout', 'nothing predicted')
    """
    check_values(evaluate, locals())
    from hilum.comparison.evaluate import evaluate as run
    from hilum.comparison.marked import evaluate_marks
    from hilum.datasets.folder import Dataset
    from hilum.hub import folder_of
    from hilum.run import write_json

    predictions, data, home = folder_of(predictions), Path(data), path_of(home)
    found: Evaluation | MarkedEvaluation
    check_order("evaluate", (ANSWERS, predictions), (TRUTH, data))
    if data.is_file() or data.suffix.lower() == ".csv":
        if metric:
            raise HilumError("--metric: marks say of images alone whether they show an opacity; give a dataset folder")
        if home is not None:
            raise HilumError("--home: marks are of images alone; give a dataset folder to compare with it")
        if confidence is not None:
            raise HilumError("--confidence: marks are of what was predicted; predict with another --confidence")
        found = evaluate_marks(predictions, data)
    else:
        at_home = Dataset.open(home) if home else None
        found, problems = run(predictions, Dataset.open(data), split, confidence, at_home, metric)
        for problem in problems:
            log.warning(problem)
    if json:
        write_json(Path(json), found.dump())
    return found


def show_evaluation(
    results: "Evaluation | MarkedEvaluation",
    predictions: Path,
    data: Path,
    *,
    home: Path | None = None,
    metric: tuple[str, ...] = (),
    **_: object,
) -> None:
    """Print the figures, and what is to be known of them."""
    from hilum.comparison import tables
    from hilum.comparison.away_tables import travel_notes, travel_table
    from hilum.comparison.chosen_metrics import checked_metrics, said_of
    from hilum.comparison.marked import MarkedEvaluation

    if isinstance(results, MarkedEvaluation):
        table(*tables.marked_table(results), title=f"{predictions} as {data} has it", figures=True)
        say(*tables.marked_notes(results))
        return
    for each, which in ((results, results.mean_of), *((each, f", {name}") for name, each in results.classes.items())):
        table(
            *tables.short_table(tables.table_rows(each)), title=f"{predictions} on {results.split}{which}", figures=True
        )
        table(
            *tables.score_table([tables.row_of(entry) for entry in each.entries if not entry.is_baseline]), figures=True
        )
    if results.home_fingerprint:
        for name, each in (results.classes or {"": results}).items():
            which = f", {name}" if name else ""
            table(*travel_table(each.entries), title=f"{data} beside {home}, holdout{which}", figures=True)
            say(*travel_notes(each.entries))
    say(*tables.findings(results), *tables.notes(results), *said_of(checked_metrics(metric, results.classes)))
