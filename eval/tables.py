"""One table, three ways: terminal, CSV, Markdown."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hilum.converters.files import csv_text
from hilum.eval.pictures import NOT_A_DEVICE

Row = dict[str, str]


def table_rows(entries: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Format entries (see `benchmark.Entry.to_json`; keys that an entry lacks stay empty) for people."""
    return [
        {
            "name": str(entry["name"]),
            "competition score [95%]": _interval(entry.get("score")),
            "score, IoU >= t": _number(entry.get("score_at_or_above"), 3),
            "above nothing [95%]": _interval(entry.get("above_nothing"), signed=True),
            "above average boxes [95%]": _interval(entry.get("above_average_boxes"), signed=True),
            "AP 0.40:0.75": _number(entry.get("ap_competition"), 3),
            "AP 0.50:0.95": _number(entry.get("ap_coco"), 3),
            "sensitivity": _number(entry.get("sensitivity"), 3),
            "false positives an image": _number(entry.get("false_positives_per_image"), 3),
            "confidence >=": _number(entry.get("least_confidence"), 3) if entry.get("backend", "") is not None else "",
            "parameters": "" if entry.get("parameters") is None else f"{entry['parameters']:,}",
            "training s": _number(entry.get("training_seconds"), 0),
            "latency ms": _number(entry.get("latency_ms"), 1),
        }
        for entry in entries
    ]


def table_csv(rows: Sequence[Row]) -> str:
    """The table as CSV."""
    return csv_text(list(rows[0]), [list(row.values()) for row in rows])


def table_markdown(rows: Sequence[Row], about: Mapping[str, Any]) -> str:
    """The table as Markdown, with what has to be known to read it."""
    header = list(rows[0])
    lines = [f"| {' | '.join(header)} |", f"| --- |{' ---: |' * (len(header) - 1)}"]
    lines += [f"| {' | '.join(row.values())} |" for row in rows]
    return "\n".join(["# Benchmark", "", *lines, "", *notes(about), ""])


def notes(about: Mapping[str, Any]) -> list[str]:
    """Lines that belong under a table."""
    unit = (
        "patients" if about["patients_known"] else "images (no patient map was given, so patients may be on two sides)"
    )
    return [
        (f"- {about['images']} {about['split']} images, {about['positive_images']} with opacity; {about['chosen']}."),
        f"- Intervals: bootstrap over {unit}, 2,000 resamples.",
        (
            "- Competition score: mean over images of TP/(TP+FP+FN), averaged over IoU > 0.40, 0.45, ..., 0.75; images "
            "with neither truth nor prediction do not count. AP is COCO's, another figure. Sensitivity and false "
            "positives: IoU > 0.40."
        ),
        f"- Data {about['data_fingerprint']}, hilum {about['hilum']}.",
        f"- {NOT_A_DEVICE}",
    ]


def print_table(rows: Sequence[Row], title: str) -> None:
    """Print the table to the terminal, turned on its side where there is more than one row: it is wider than most."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("")
    for row in rows:
        table.add_column(row["name"], justify="right", overflow="fold")
    for key in list(rows[0])[1:]:
        if any(row[key] for row in rows):
            table.add_row(key, *(row[key] for row in rows))
    console = Console()
    # A pipe or a log file has no width of its own; rich would take 80 columns and fold names.
    (console if console.is_terminal else Console(width=150)).print(table)


def _interval(value: Mapping[str, float] | None, *, signed: bool = False) -> str:
    if value is None or not math.isfinite(value["estimate"]):
        return ""
    sign = "+" if signed else ""
    return f"{value['estimate']:{sign}.3f} [{value['low']:{sign}.3f}, {value['high']:{sign}.3f}]"


def _number(value: float | None, decimals: int) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.{decimals}f}"
