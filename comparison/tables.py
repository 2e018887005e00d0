"""The figures as one table, three ways: terminal, CSV, Markdown."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hilum.comparison.pictures import NOT_A_DEVICE
from hilum.eval.answer import AT_SENSITIVITY, YOUDEN
from hilum.eval.measures import OPERATING_POINT
from hilum.files import csv_text

Row = dict[str, str]
Cells = tuple[list[str], list[list[str]]]
"""A header, and rows as wide as it."""
MASK_ROW = "all-background mask"
_SCATTERED = 3


def table_rows(results: Mapping[str, Any]) -> list[Row]:
    """Format results (see `benchmark.Benchmark.results`; what an entry lacks stays empty) for people."""
    rows = [_row(entry) for entry in results["entries"]]
    mask = results.get("empty_mask_on_val") or results.get("empty_mask")
    if mask:  # it has no boxes, so it is a second face of the first baseline
        rows.insert(1, {**rows[0], "name": MASK_ROW, **_mask(mask)})
    return rows


def _row(entry: Mapping[str, Any]) -> Row:
    is_baseline = entry.get("backend", "") is None
    points = {} if is_baseline else entry.get("image_points", {})
    operating = points.get(OPERATING_POINT, {})
    cost = entry.get("cost") or {}
    alone, batched = cost.get("latency_alone") or {}, cost.get("latency_batched") or {}
    bounds = entry.get("bounds") or {}
    return {
        "name": str(entry["name"]),
        "competition score [95%]": _interval(entry.get("score")),
        "score, IoU >= t": _number(entry.get("score_at_or_above"), 3),
        "above nothing [95%]": _interval(entry.get("above_nothing"), signed=True),
        "above average boxes [95%]": _interval(entry.get("above_average_boxes"), signed=True),
        "with a perfect classifier": _number(bounds.get("perfect_classifier"), 3),
        "with perfect boxes": _number(bounds.get("perfect_boxes"), 3),
        "AP 0.40:0.75 [95%]": _interval(entry.get("ap_competition")),
        "AP 0.50:0.95": _number(entry.get("ap_coco"), 3),
        "box sensitivity [95%]": _interval(entry.get("sensitivity")),
        "false positives an image [95%]": _interval(entry.get("false_positives_per_image")),
        "FROC mean [95%]": _interval((entry.get("froc") or {}).get("mean")),
        "image AUROC [95%]": _interval(entry.get("auroc")),
        "image AP [95%]": _interval(entry.get("average_precision")),
        "Brier score [95%]": _interval(entry.get("brier")),
        "image sensitivity [95%]": _interval(operating.get("sensitivity")),
        "image specificity [95%]": _interval(operating.get("specificity")),
        f"sensitivity / specificity at {AT_SENSITIVITY}": _both(points.get(AT_SENSITIVITY)),
        f"sensitivity / specificity at {YOUDEN}": _both(points.get(YOUDEN)),
        "read sooner, share of worklist [95%]": _interval(entry.get("sooner_share")),
        "confidence >=": "" if is_baseline else _number(entry.get("least_confidence"), 3),
        **_mask(mask_figures(entry)),
        "pixel accuracy, as reported": _number((entry.get("reported") or {}).get("pixel_accuracy"), 4),
        "parameters": _count(cost.get("parameters")),
        "GFLOP an image": _number(cost.get("flops"), 2, 1e9),
        "MB on disk": _number(cost.get("weights_bytes"), 1, 1e6),
        "peak memory MB": _number((cost.get("peak_memory") or {}).get("resident_bytes"), 0, 1e6),
        "latency ms p50 / p95": _pair(alone),
        "latency ms in batches p50 / p95": _pair(batched),
        "images/s from arrays": _number((cost.get("from_arrays") or {}).get("images_per_second"), 1),
        "images/s from files": _throughput(cost.get("from_files") or {}),
        "time outside the network": _percent(batched.get("outside_network")),
        "training s": _number(cost.get("training_seconds"), 0),
    }


def mask_figures(entry: Mapping[str, Any]) -> dict[str, float | None]:
    """Pixel accuracy and mean IoU of a segmenter's masks on val, of the epoch that was kept; None for what has none."""
    log = [line for line in entry.get("log") or [] if line.get("val_score") is not None]
    kept: Mapping[str, Any] = max(log, key=lambda line: line["val_score"], default={})
    return {name: kept.get(f"val_{name}") for name in ("pixel_accuracy", "mean_iou")}


def _mask(figures: Mapping[str, float | None]) -> Row:
    return {
        "pixel accuracy of masks": _number(figures["pixel_accuracy"], 4),
        "mean IoU of masks": _number(figures["mean_iou"], 4),
    }


def filled(rows: Sequence[Row]) -> list[Row]:
    """The rows without columns that are empty in all of them."""
    used = [key for key in rows[0] if any(row[key] for row in rows)]
    return [{key: row[key] for key in used} for row in rows]


def table_csv(rows: Sequence[Row]) -> str:
    """The table as CSV."""
    return csv_text(list(rows[0]), [list(row.values()) for row in rows])


def table_markdown(rows: Sequence[Row], about: Mapping[str, Any]) -> str:
    """The table as Markdown, one line a figure, with what has to be known to read it."""
    rows = filled(rows)
    lines = [f"|  | {' | '.join(row['name'] for row in rows)} |", f"| --- |{' ---: |' * len(rows)}"]
    lines += [f"| {key} | {' | '.join(row[key] for row in rows)} |" for key in list(rows[0])[1:]]
    differences = [
        f"- {each['higher']} above {each['lower']}: {_interval(each['score'], signed=True)}{_more(each)}"
        for each in about.get("differences", [])
    ]
    paired = ["## Paired differences of the competition score [95%]", "", *differences, ""] if differences else []
    return "\n".join(["# Benchmark", "", *lines, "", *paired, *findings(about), *notes(about), ""])


def _more(difference: Mapping[str, Any]) -> str:
    low, high = ((difference.get("simultaneous") or {}).get(end) for end in ("low", "high"))
    text = f"; all pairs of configs at once [{low:+.3f}, {high:+.3f}]" if _is_number(low) and _is_number(high) else ""
    seeds = _number(difference.get("over_seeds"), 3)
    return f"{text}; seeds alone may move it by {seeds}" if seeds else text


def findings(results: Mapping[str, Any]) -> list[str]:
    """Lines on what the table has no room for: each answer's kinds of errors, and the gaps that are beyond chance."""
    lines = []
    for entry in results["entries"]:
        if entry.get("backend", "") is None:  # a baseline
            continue
        kinds = entry.get("mistakes") or {}
        told = [
            f"{what} {', '.join(f'{count:,} {kind}' for kind, count in kinds[of].items())}"
            for of, what in (("boxes", "boxes:"), ("truth", "of the true boxes"))
            if kinds.get(of)
        ]
        lines += [f"- {entry['name']}, {'; '.join(told)}."] if told else []
        lines += [
            f"- {entry['name']}, beyond chance: {gap['measure']}, {gap['factor']} {gap['stratum']}: "
            f"{gap['inside']['estimate']:.3f}, elsewhere {gap['outside']['estimate']:.3f}, gap "
            f"{_interval(gap['simultaneous'], signed=True)} (all {entry['strata']['comparisons']} gaps at once)."
            for gap in pointed_out((entry.get("strata") or {}).get("gaps") or [])
        ]
    return lines


def pointed_out(gaps: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The gaps that the interval separates from zero; where a factor has two strata, which mirror each other, one."""
    shown: list[Mapping[str, Any]] = []
    for gap in gaps:
        of_two = sum((gap["factor"], gap["measure"]) == (each["factor"], each["measure"]) for each in gaps) == 2
        mirrored = of_two and any(
            (gap["factor"], gap["measure"]) == (each["factor"], each["measure"]) for each in shown
        )
        if gap["separated"] and not mirrored:
            shown.append(gap)
    return shown


def notes(about: Mapping[str, Any]) -> list[str]:
    """Lines that belong under a table."""
    unit = "patients" if about["patients_known"] else "images (no patient is known, so patients may be on two sides)"
    unknown = about.get("images_without_patient") if about["patients_known"] else 0
    leak = about.get("patients_on_both_sides")
    code = f", code {about['code']}" if about.get("code") else ""
    return [
        f"- {about['images']} {about['split']} images, {about['positive_images']} with opacity; {about['chosen']}.",
        f"- Intervals: bootstrap over {unit}, 2,000 resamples; 500 for AP.",
        *_seeds(about.get("groups", [])),
        *([f"- {unknown} images of the data are in no patient map; each counts as a patient."] if unknown else []),
        *([f"- {leak} patients of {about['split']} are in another split too: figures flatter."] if leak else []),
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
        *[f"- {line}" for line in reported_on(about)],
        *[f"- {line}" for line in scattered_latency(about)],
        f"- Data {about['data_fingerprint']}, hilum {about['hilum']}{code}.",
        *[
            f"- {entry['name']} was trained by other code, {entry['trained_by']}."
            for entry in about.get("entries", [])
            if entry.get("trained_by", about.get("code")) != about.get("code")
        ],
        f"- {NOT_A_DEVICE}",
    ]


def reported_on(about: Mapping[str, Any]) -> list[str]:
    """What to know of pixel accuracies that the report printed, which stand beside ours: other images, and how many."""
    names: dict[int, list[str]] = {}
    for entry in about.get("entries", []):
        images = (entry.get("reported") or {}).get("held_out")
        if images is not None and images != about.get("val_images", images):
            names.setdefault(images, []).append(entry["name"])
    return [
        f"Pixel accuracy, as reported, of {', '.join(of)}: the report held out {images:,} images; this val has "
        f"{about['val_images']:,}."
        for images, of in names.items()
    ]


def scattered_latency(about: Mapping[str, Any]) -> list[str]:
    """What to know of times that were taken while the machine had something else to do."""
    names = []
    for entry in about.get("entries", []):
        alone = (entry.get("cost") or {}).get("latency_alone") or {}
        if (alone.get("p95_ms") or 0) > _SCATTERED * (alone.get("p50_ms") or math.inf):
            names.append(entry["name"])
    line = (
        f"Latency of {', '.join(names)}: p95 is more than {_SCATTERED} times p50, so the machine had something else to "
        "do; times here are too long, and not to be compared."
    )
    return [line] if names else []


def _seeds(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    known = [
        f"{group['name']} {group['sd_over_seeds']:.3f} ({group['runs']} runs)"
        for group in groups
        if _is_number(group.get("sd_over_seeds"))
    ]
    told = f"- Seeds are not in the intervals. Standard deviation of the score over them: {', '.join(known)}."
    return [told] if known else []


def score_table(rows: Sequence[Row]) -> Cells:
    """Header and rows for a terminal, one row a figure: a column a figure would be wider than most terminals."""
    rows = filled(rows)
    return ["", *(row["name"] for row in rows)], [[key, *(row[key] for row in rows)] for key in list(rows[0])[1:]]


def difference_table(differences: Sequence[Mapping[str, Any]]) -> Cells:
    """Header and rows of what changed between two benchmarks."""
    header = ["", "new [95%]", "old [95%]", "difference, paired [95%]", "images better", "worse", "alike"]
    return header, [
        [
            each["name"],
            *(_interval(each["new"]), _interval(each["old"]), _interval(each["difference"], signed=True)),
            *(f"{each['images'][how]:,}" for how in ("better", "worse", "alike")),
        ]
        for each in differences
    ]


def addition_table(rows: Sequence[Mapping[str, Any]]) -> Cells:
    """Header and rows of what each part of a composition adds (`hilum.comparison.ablation`)."""
    header = ["", "score [95%]", "added, paired [95%]", "AP 0.40:0.75", "box sensitivity", "FP / image", "on val"]
    return header, [
        [
            row["name"],
            _interval(row["score"]),
            _interval(row["added"], signed=True),
            _number(row["ap_competition"], 3),
            *(_number(row[name]["estimate"], 3) for name in ("sensitivity", "false_positives_per_image")),
            _number(sum(fold["val_score"] for fold in row["folds"]) / len(row["folds"]), 3),
        ]
        for row in rows
    ]


def _interval(value: Mapping[str, float | None] | None, *, signed: bool = False) -> str:
    if value is None or not _is_number(value["estimate"]):
        return ""
    sign = "+" if signed else ""
    text = f"{value['estimate']:{sign}.3f}"
    if _is_number(value["low"]) and _is_number(value["high"]):
        text += f" [{value['low']:{sign}.3f}, {value['high']:{sign}.3f}]"
    return text


def _number(value: float | None, decimals: int, unit: float = 1) -> str:
    return f"{value / unit:.{decimals}f}" if value is not None and _is_number(value) else ""


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _percent(share: float | None) -> str:
    return f"{share:.0%}" if share is not None and _is_number(share) else ""


def _pair(latency: Mapping[str, float | None]) -> str:
    parts = [_number(latency.get(name), 1) for name in ("p50_ms", "p95_ms")]
    return " / ".join(parts) if all(parts) else ""


def _both(point: Mapping[str, Any] | None) -> str:
    parts = [_number(((point or {}).get(name) or {}).get("estimate"), 3) for name in ("sensitivity", "specificity")]
    return " / ".join(parts) if all(parts) else ""


def _throughput(measured: Mapping[str, Any]) -> str:
    text = _number(measured.get("images_per_second"), 1)
    return f"{text} ({measured['source']})" if text else ""


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
