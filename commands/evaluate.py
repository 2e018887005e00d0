"""`hilum evaluate`: score predictions."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from hilum.commands.arguments import ANSWERS, TRUTH, check_order
from hilum.commands.options import Share
from hilum.commands.terminal import complain, say, table
from hilum.errors import HilumError


def evaluate(
    predictions: Path,
    data: Path,
    *,
    split: Literal["train", "val", "holdout", "all"] | None = None,
    home: Path | None = None,
    confidence: Share = None,
    metric: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    json: Path | None = None,
) -> None:
    """Score predictions with the competition's metric and COCO AP, beside two trivial baselines.

    Against what a reader marked on worklist.html: AUROC, sensitivity and specificity of images.

    Parameters
    ----------
    predictions
        A run, a predictions folder, COCO results (.json), or a submission (.csv).
    data
        Dataset folder; or marks.csv, saved from the worklist of the predictions folder, or of another one of the same
        images.
    split
        The split to score on. Where not given: holdout; and of data that a run was not trained on, all labelled images.
        Figures of train and val flatter: they were trained or chosen there.
    home
        The dataset folder that the run was trained on, where DATA is another one: thresholds are chosen there, figures
        are compared with those of its holdout, and both are searched for the same pictures and patients.
    confidence
        Boxes below do not count as the answer. Where not given: that of the run or the predictions folder; for COCO
        results, and a submission to siim or vinbigdata, which holds all boxes, one is chosen on val, or cross-fitted
        where they have nothing of val; a submission to rsna is kept as it is.
    metric
        A further figure: siim or vinbigdata, those challenges' mAP with the AP of each class; competition, ap, froc,
        auroc, or a plug-in's, as train.select takes them. Several times for several.
    json
        File to write the figures to.
    """
    from hilum.comparison.away_tables import travel_notes, travel_table
    from hilum.comparison.chosen_metrics import checked_metrics, said_of
    from hilum.comparison.evaluate import evaluate as run
    from hilum.comparison.tables import findings, notes, row_of, score_table, short_table, table_rows
    from hilum.datasets.folder import Dataset
    from hilum.run import write_json

    check_order("evaluate", (ANSWERS, predictions), (TRUTH, data))
    if data.is_file() or data.suffix.lower() == ".csv":
        if metric:
            raise HilumError("--metric: marks say of images alone whether they show an opacity; give a dataset folder")
        if home is not None:
            raise HilumError("--home: marks are of images alone; give a dataset folder to compare with it")
        _on_marks(predictions, data, confidence, json)
        return
    dataset, at_home = Dataset.open(data), Dataset.open(home) if home else None
    results, problems = run(predictions, dataset, split, confidence, at_home, metric)
    complain(*problems)
    for each, which in ((results, results.mean_of), *((each, f", {name}") for name, each in results.classes.items())):
        table(*short_table(table_rows(each)), title=f"{predictions} on {results.split}{which}", figures=True)
        table(*score_table([row_of(entry) for entry in each.entries if not entry.is_baseline]), figures=True)
    if results.home_fingerprint:
        for name, each in (results.classes or {"": results}).items():
            which = f", {name}" if name else ""
            table(*travel_table(each.entries), title=f"{data} beside {home}, holdout{which}", figures=True)
            say(*travel_notes(each.entries))
    say(*findings(results), *notes(results), *said_of(checked_metrics(metric, dataset)))
    if json:
        write_json(json, results.dump())


def _on_marks(predictions: Path, marks: Path, confidence: float | None, json: Path | None) -> None:
    from hilum.comparison.marked import evaluate_marks
    from hilum.comparison.tables import marked_notes, marked_table
    from hilum.run import write_json

    if confidence is not None:
        raise HilumError("--confidence: marks are of what was predicted; predict with another --confidence")
    results = evaluate_marks(predictions, marks)
    table(*marked_table(results), title=f"{predictions} as {marks} has it", figures=True)
    say(*marked_notes(results))
    if json:
        write_json(json, results.dump())
