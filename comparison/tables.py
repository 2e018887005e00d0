"""The figures as one table, three ways: terminal, CSV, Markdown."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from hilum.comparison.additions import Addition
from hilum.comparison.cost import Cost, Latency
from hilum.comparison.marked import MarkedEvaluation
from hilum.comparison.pictures import NOT_A_DEVICE
from hilum.comparison.results import (
    Change,
    Difference,
    Entry,
    Evaluation,
    Group,
    MaskFigures,
    Results,
)
from hilum.eval.answer import AT_SENSITIVITY, YOUDEN
from hilum.eval.bootstrap import Interval
from hilum.eval.figures import ImagePoint
from hilum.eval.measures import OPERATING_POINT
from hilum.eval.strata import Gap
from hilum.files import csv_text

Row = dict[str, str]
Cells = tuple[list[str], list[list[str]]]
"""A header, and rows as wide as it."""
MASK_ROW = "all-background mask"
_SHORT: Mapping[str, str] = {
    "score [95%]": "competition score [95%]",
    "sensitivity": "box sensitivity [95%]",
    "FP/image": "false positives an image [95%]",
    "AUROC": "image AUROC [95%]",
    "ms": "latency ms p50 / p95",
}
"""What a column of a short table is headed, and the figure that it shows."""
_SCATTERED = 3


def table_rows(results: Results | Evaluation) -> list[Row]:
    """Format results for people; what an entry lacks stays empty."""
    rows = [row_of(entry) for entry in results.entries]
    # An all-background mask has no boxes, so it is a second face of the first baseline.
    rows.insert(1, {**rows[0], "name": MASK_ROW, **_mask(results.mask)})
    return rows


def row_of(entry: Entry) -> Row:
    """The figures of an entry; what it lacks is empty."""
    operating = entry.point(OPERATING_POINT)
    return {
        "name": entry.name,
        "competition score [95%]": interval_text(entry.score),
        "score, IoU >= t": number_text(entry.score_at_or_above, 3),
        "above nothing [95%]": interval_text(entry.above_nothing, signed=True),
        "above average boxes [95%]": interval_text(entry.above_average_boxes, signed=True),
        "with a perfect classifier": number_text(entry.bounds.perfect_classifier, 3),
        "with perfect boxes": number_text(entry.bounds.perfect_boxes, 3),
        "AP 0.40:0.75 [95%]": interval_text(entry.ap_competition),
        "AP 0.50:0.95": number_text(entry.ap_coco, 3),
        "box sensitivity [95%]": interval_text(entry.sensitivity),
        "false positives an image [95%]": interval_text(entry.false_positives_per_image),
        "FROC mean [95%]": interval_text(entry.froc.mean),
        "image AUROC [95%]": interval_text(entry.auroc),
        "image AP [95%]": interval_text(entry.average_precision),
        "Brier score [95%]": interval_text(entry.brier),
        "image sensitivity [95%]": interval_text(operating.sensitivity),
        "image specificity [95%]": interval_text(operating.specificity),
        f"sensitivity / specificity at {AT_SENSITIVITY}": _both(entry.point(AT_SENSITIVITY)),
        f"sensitivity / specificity at {YOUDEN}": _both(entry.point(YOUDEN)),
        "read sooner, share of worklist [95%]": interval_text(entry.sooner_share),
        **{title: number_text(value, 3) for title, value in entry.metrics.items()},
        "confidence >=": "" if entry.is_baseline else number_text(entry.least_confidence, 3),
        **_mask(entry.masks),
        "pixel accuracy, as reported": number_text(entry.reported.pixel_accuracy, 4),
        **{name: shown(entry.cost) if entry.cost else "" for name, shown in _COST.items()},
    }


_COST: Mapping[str, Callable[[Cost], str]] = {
    "parameters": lambda cost: f"{cost.parameters:,}",
    "GFLOP an image": lambda cost: number_text(cost.flops / 1e9, 2),
    "MB on disk": lambda cost: number_text(cost.weights_bytes / 1e6, 1),
    "peak memory MB": lambda cost: number_text(cost.peak_memory.resident_bytes / 1e6, 0),
    "latency ms p50 / p95": lambda cost: _pair(cost.latency_alone),
    "latency ms in batches p50 / p95": lambda cost: _pair(cost.latency_batched),
    "images/s from arrays": lambda cost: number_text(cost.from_arrays.images_per_second, 1),
    "images/s from files": lambda cost: f"{cost.from_files.images_per_second:.1f} ({cost.from_files.source})",
    "time outside the network": lambda cost: _percent(cost.latency_batched.outside_network),
    "training s": lambda cost: number_text(cost.training_seconds, 0),
}


def _mask(figures: MaskFigures) -> Row:
    return {
        "pixel accuracy of masks": number_text(figures.pixel_accuracy, 4),
        "mean IoU of masks": number_text(figures.mean_iou, 4),
    }


def filled(rows: Sequence[Row]) -> list[Row]:
    """The rows without columns that are empty in all of them."""
    used = [key for key in rows[0] if any(row[key] for row in rows)]
    return [{key: row[key] for key in used} for row in rows]


def table_csv(rows: Sequence[Row]) -> str:
    """The table as CSV; what a row lacks is empty."""
    header = list(dict.fromkeys(key for row in rows for key in row))
    return csv_text(header, [[row.get(key, "") for key in header] for row in rows])


def table_markdown(rows: Sequence[Row], results: Results, more: Sequence[str] = ()) -> str:
    """The table as Markdown, one line a figure, with what has to be known to read it; `more` are lines between."""
    lines = markdown_lines(*score_table(rows))
    differences = [
        f"- {each.higher} above {each.lower}: {interval_text(each.score, signed=True)}{_more(each)}"
        for each in results.differences
    ]
    paired = ["## Paired differences of the competition score [95%]", "", *differences, ""] if differences else []
    return "\n".join(["# Benchmark", "", *lines, "", *paired, *more, *findings(results), *notes(results), ""])


def markdown_lines(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table as Markdown; the columns after the first stand at the right."""
    rule = f"| --- |{' ---: |' * (len(header) - 1)}"
    first, *others = (f"| {' | '.join(cells)} |" for cells in (header, *rows))
    return [first, rule, *others]


def _more(difference: Difference) -> str:
    all_pairs = difference.simultaneous
    text = f"; all pairs of configs at once [{all_pairs.low:+.3f}, {all_pairs.high:+.3f}]" if all_pairs else ""
    seeds = number_text(difference.over_seeds, 3)
    return f"{text}; seeds alone may move it by {seeds}" if seeds else text


def findings(results: Results | Evaluation) -> list[str]:
    """Lines on what the table has no room for: each answer's kinds of errors, and the gaps that are beyond chance."""
    lines = []
    for entry in results.entries:
        if entry.is_baseline:
            continue
        told = [
            f"{what} {', '.join(f'{count:,} {kind}' for kind, count in kinds.items())}"
            for kinds, what in ((entry.mistakes.boxes, "boxes:"), (entry.mistakes.truth, "of the true boxes"))
            if kinds
        ]
        lines += [f"- {entry.name}, {'; '.join(told)}."] if told else []
        lines += [
            f"- {entry.name}, beyond chance: {gap.measure}, {gap.factor} {gap.stratum}: "
            f"{gap.inside.estimate:.3f}, elsewhere {gap.outside.estimate:.3f}, gap "
            f"{interval_text(gap.simultaneous, signed=True)} (all {entry.strata.comparisons} gaps at once)."
            for gap in pointed_out(entry.strata.gaps)
        ]
    return lines


def pointed_out(gaps: Sequence[Gap]) -> list[Gap]:
    """The gaps that the interval separates from zero; where a factor has two strata, which mirror each other, one."""
    shown: list[Gap] = []
    for gap in gaps:
        of_two = sum((gap.factor, gap.measure) == (each.factor, each.measure) for each in gaps) == 2
        mirrored = of_two and any((gap.factor, gap.measure) == (each.factor, each.measure) for each in shown)
        if gap.separated and not mirrored:
            shown.append(gap)
    return shown


def notes(results: Results | Evaluation) -> list[str]:
    """Lines that belong under a table."""
    known = results.patients_known
    unit = "patients" if known else "images (no patient is known, so patients may be on two sides)"
    unknown = results.images_without_patient if known else 0
    leak = results.patients_on_both_sides
    code = f", code {results.code}" if results.code else ""
    which = "labelled" if results.split == "all" else results.split
    return [
        f"- {results.images} {which} images, {results.positive_images} with opacity; {results.chosen}.",
        f"- Intervals: bootstrap over {unit}, 2,000 resamples; 500 for AP.",
        *_seeds(results.groups),
        *([f"- {unknown} images of the data are in no patient map; each counts as a patient."] if unknown else []),
        *([f"- {leak} patients of {results.split} are in another split too: figures flatter."] if leak else []),
        (
            "- Competition score: mean over images of TP/(TP+FP+FN), averaged over IoU > 0.40, 0.45, ..., 0.75; images "
            "with neither truth nor prediction do not count. AP is COCO's, another figure. Box sensitivity, false "
            "positives and FROC: IoU > 0.40."
        ),
        (
            "- With a perfect classifier: the same boxes, none on images without opacity. With perfect boxes: the true "
            "boxes wherever it answers. Pixel accuracy (of runs: on val) is no result: an all-background mask has "
            "it too."
        ),
        *[f"- {line}" for line in (*reported_on(results), *scattered_latency(results))],
        f"- Data {results.data_fingerprint}, hilum {results.hilum}{code}.",
        *[
            f"- {entry.name} was trained by other code, {entry.trained_by}."
            for entry in results.entries
            if entry.trained_by not in ("", results.code)
        ],
        f"- {NOT_A_DEVICE}",
    ]


def reported_on(results: Results | Evaluation) -> list[str]:
    """What to know of pixel accuracies that the report printed, which stand beside ours: other images, and how many."""
    names: dict[int, list[str]] = {}
    for entry in results.entries:
        images = entry.reported.held_out
        if images is not None and images != results.val_images:
            names.setdefault(images, []).append(entry.name)
    return [
        f"Pixel accuracy, as reported, of {', '.join(of)}: the report held out {images:,} images; this val has "
        f"{results.val_images:,}."
        for images, of in names.items()
    ]


def scattered_latency(results: Results | Evaluation) -> list[str]:
    """What to know of times that were taken while the machine had something else to do."""
    names = [
        entry.name
        for entry in results.entries
        if entry.cost and entry.cost.latency_alone.p95_ms > _SCATTERED * entry.cost.latency_alone.p50_ms
    ]
    line = (
        f"Latency of {', '.join(names)}: p95 is more than {_SCATTERED} times p50, so the machine had something else to "
        "do; times here are too long, and not to be compared."
    )
    return [line] if names else []


def marked_table(results: MarkedEvaluation) -> Cells:
    """Header and rows of the figures of images."""
    return score_table([row_of(entry) for entry in results.entries])


def marked_notes(results: MarkedEvaluation) -> list[str]:
    """Lines that belong under that table."""
    more = [
        f"{count:,} {what}" for count, what in ((results.unsure, "unsure"), (results.unread, "not predicted")) if count
    ]
    left_out = f"; left out: {', '.join(more)}" if more else ""
    return [
        f"- {results.images:,} images that a reader marked, {results.positive_images:,} with opacity{left_out}.",
        "- Sensitivity and specificity are of the marked images: whoever marks the likeliest alone sees few missed.",
        "- Intervals: bootstrap over images, 2,000 resamples.",
        f"- {NOT_A_DEVICE}",
    ]


def _seeds(groups: Sequence[Group]) -> list[str]:
    known = [
        f"{group.name} {group.sd_over_seeds:.3f} ({group.runs} runs)"
        for group in groups
        if math.isfinite(group.sd_over_seeds)
    ]
    told = f"- Seeds are not in the intervals. Standard deviation of the score over them: {', '.join(known)}."
    return [told] if known else []


def score_table(rows: Sequence[Row]) -> Cells:
    """Header and rows, one row a figure: a column a figure would be wider than most terminals."""
    rows = filled(rows)
    return ["", *(row["name"] for row in rows)], [[key, *(row[key] for row in rows)] for key in list(rows[0])[1:]]


def short_table(rows: Sequence[Row]) -> Cells:
    """Header and rows, one row an entry, of the figures that a terminal of 80 columns has room for."""
    chosen = [row for row in filled(rows) if row["name"] != MASK_ROW]
    keys = [key for key in _SHORT.values() if key in chosen[0]]
    header = ["", *(heading for heading, key in _SHORT.items() if key in keys)]
    # The first figure keeps its bounds; of others the estimate, or the first of two, is shown.
    return header, [[row["name"], row[keys[0]], *(row[key].partition(" ")[0] for key in keys[1:])] for row in chosen]


def difference_table(changes: Sequence[Change]) -> Cells:
    """Header and rows of what changed between two benchmarks: scores, their paired difference, images."""
    header = ["", "new [95%]", "old [95%]", "difference [95%]", "better", "worse", "alike"]
    return header, [
        [
            each.name,
            *(interval_text(each.new), interval_text(each.old), interval_text(each.difference, signed=True)),
            *(f"{count:,}" for count in (each.images.better, each.images.worse, each.images.alike)),
        ]
        for each in changes
    ]


def addition_table(rows: Sequence[Addition]) -> Cells:
    """Header and rows of what each part of a composition adds, paired (`hilum.comparison.ablation`)."""
    header = ["", "score [95%]", "added [95%]", "AP", "sensitivity", "FP/image"]
    return header, [
        [
            row.name,
            interval_text(row.score),
            interval_text(row.added, signed=True) if row.added else "",
            number_text(row.ap_competition, 3),
            number_text(row.sensitivity.estimate, 3),
            number_text(row.false_positives_per_image.estimate, 3),
        ]
        for row in rows
    ]


def interval_text(value: Interval, *, signed: bool = False) -> str:
    """A figure with its bounds; empty where it is not known."""
    if not math.isfinite(value.estimate):
        return ""
    sign = "+" if signed else ""
    text = f"{value.estimate:{sign}.3f}"
    known = math.isfinite(value.low) and math.isfinite(value.high)
    return f"{text} [{value.low:{sign}.3f}, {value.high:{sign}.3f}]" if known else text


def number_text(value: float, decimals: int) -> str:
    """A number; empty where there is none."""
    return f"{value:.{decimals}f}" if math.isfinite(value) else ""


def _percent(share: float) -> str:
    return f"{share:.0%}" if math.isfinite(share) else ""


def _pair(latency: Latency) -> str:
    return f"{latency.p50_ms:.1f} / {latency.p95_ms:.1f}"


def _both(point: ImagePoint) -> str:
    parts = [number_text(of.estimate, 3) for of in (point.sensitivity, point.specificity)]
    return " / ".join(parts) if all(parts) else ""
