"""`hilum evaluate`: score predictions."""

from pathlib import Path

from hilum.commands.arguments import ANSWERS, DATA, check_order
from hilum.commands.options import Share, Split
from hilum.commands.terminal import complain, say, table


def evaluate(
    predictions: Path, data: Path, *, split: Split = "holdout", confidence: Share = None, json: Path | None = None
) -> None:
    """Score predictions with the competition's metric and COCO AP, beside two trivial baselines.

    Parameters
    ----------
    predictions
        A run, a predictions folder, COCO results (.json), or a submission (.csv).
    data
        Dataset folder.
    split
        The split to score on. Figures of train and val flatter: they were trained or chosen there.
    confidence
        Boxes below do not count as the answer. Where not given: that of the run or the predictions folder; for COCO
        results one is chosen on val, or cross-fitted where they have nothing of val; a submission is kept as it is.
    json
        File to write the figures to.
    """
    from hilum.comparison.evaluate import evaluate as run
    from hilum.comparison.tables import findings, notes, score_table, table_rows
    from hilum.datasets.folder import Dataset
    from hilum.run import write_json

    check_order("evaluate", (ANSWERS, predictions), (DATA, data))
    results, problems = run(predictions, Dataset.open(data), split, confidence)
    complain(*problems)
    table(*score_table(table_rows(results)), title=f"{predictions} on {split}", figures=True)
    say(*findings(results), *notes(results))
    if json:
        write_json(json, results.dump())
