"""The tables of a benchmark's report. A figure that is not there is a dash."""

from collections.abc import Mapping, Sequence
from typing import Any

from hilum.comparison.tables import MASK_ROW, filled, mask_figures, table_rows
from hilum.eval.measures import OPERATING_POINT
from hilum.eval.mistakes import Kind
from hilum.pages.contenders import Contender, Values, ranked, runs
from hilum.pages.gallery import MEANINGS
from hilum.pages.page import Cell, Table
from hilum.pages.report_answer import POINTS
from hilum.pages.wording import MISSING, bounds, decimal, finite

Rows = list[list[str | Cell]]

_MAIN = {
    "config": "The config, with its seed where there are several runs of it; below, the trivial baselines.",
    "score": (
        "The competition's score at the operating point: on each image TP / (TP + FP + FN), averaged over the overlaps "
        "IoU above 0.40, 0.45, ..., 0.75 and over the images; those with neither truth nor answer do not count. "
        "1 is perfect. Below: the 95% interval."
    ),
    "above two boxes": "How much higher the score is than that of the same two average boxes on every image.",
    "classifier perfect": "A bound: the score of the same boxes with none on images without opacity.",
    "boxes perfect": "A bound: the score if each image that gets a box got the true ones.",
    "AP 40:75": "COCO's average precision over the same overlaps: how well boxes are ranked, at any threshold.",
    "boxes found": "Sensitivity of boxes: the share of true boxes that a box overlaps at IoU above 0.40.",
    "false / image": "False positives: boxes without such a true box, an image.",
    "FROC": "The mean share of true boxes found at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives an image.",
    "AUROC": "How often an image with opacity is given a higher probability than one without; 0.5 is chance.",
    "sensitivity": "The share of the images with opacity that get a box.",
    "specificity": "The share of the images without opacity that get none.",
    "confidence from": "The operating point, chosen on val: boxes below this confidence are dropped.",
    "pixel accuracy": (
        "Of a segmenter's masks, on val: the share of right pixels. No result: an all-background mask has it too."
    ),
    "mask IoU": "The report's mean_iou of masks, on val; an image without opacity and with an empty mask counts as 1.",
    "ms": "Milliseconds for one image alone, from pixels to boxes: the median.",
    "M values": "Values in the weights, in millions.",
}
_COST = {
    "config": "The config, with its seed where there are several runs of it.",
    "training": "Time spent in epochs, minutes:seconds.",
    "ms alone": "Milliseconds for one image in a call of its own: median, and the 95th percentile.",
    "ms in batch": "The same for an image of a batch.",
    "images/s": "The whole pipeline in batches, from decoded pixels.",
    "images/s, files": "The same from files, of the kind below the figure, which are decoded meanwhile.",
    "GFLOP": "Arithmetic of one image in billions of operations, a multiplication and an addition being two.",
    "parameters": "Values in the weights.",
    "MB": "Weights on disk.",
    "memory, MB": "Peak of a fresh process that predicts three batches.",
    "GPU, MB": "Peak on the GPU.",
    "outside network": "Share of a batch's time that is not the network: resizing, copying, boxes from the output.",
}


def main_table(configs: Sequence[Contender], baselines: Sequence[Values], empty_mask: Values) -> Table:
    """The figures that matter most, a run a row, the best first; then the baselines, that of masks among them."""
    rows: Rows = [_main_row(run, _name(config, run)) for config, run in runs(ranked(configs))]
    rows += [_main_row(entry, Cell(str(entry["name"]))) for entry in baselines]
    if baselines:  # it has no boxes, so it is a second face of the first baseline
        rows.insert(-len(baselines) + 1 or len(rows), _main_row({**baselines[0], "mask": empty_mask}, Cell(MASK_ROW)))
    return Table(list(_MAIN), rows, list(_MAIN.values()))


def group_table(configs: Sequence[Contender]) -> Table:
    """Each config's runs together."""
    rows: Rows = [
        [
            Cell(config.name, mark=config.mark),
            _interval(config.score, 3),
            decimal(config.sd, 3),
            f"{len(config.values)}",
            ", ".join(decimal(finite(run["score"]["estimate"]), 3) for run in config.values),
        ]
        for config in ranked(configs)
    ]
    return Table(["config", "mean score", "SD over seeds", "runs", "each"], rows)


def all_figures(results: Values) -> Table:
    """Everything that `table.csv` holds, a figure a row."""
    rows = filled(table_rows(results))
    keys = list(rows[0])[1:]
    return Table(["", *(row["name"] for row in rows)], [[key, *(row[key] or MISSING for row in rows)] for key in keys])


def points_table(configs: Sequence[Contender]) -> Table | None:
    """Sensitivity and specificity of images at each point, a run a row; None where none is known."""
    rows: Rows = []
    for config, run in runs(configs):
        points = [(run.get("image_points") or {}).get(name) or {} for name in POINTS]
        if any(points):
            shown = [
                (
                    decimal(finite(point.get("threshold")), 3),
                    _interval(point.get("sensitivity")),
                    _interval(point.get("specificity")),
                )
                for point in points
            ]
            rows.append([_name(config, run), *(cell for three in shown for cell in three)])
    header = {"config": _MAIN["config"]}
    for point, meaning in POINTS.values():
        header[f"{point}: from"] = f"An image is called one with opacity by {meaning}."
        header[f"{point}: sensitivity"] = "The share of the images with opacity that are called so."
        header[f"{point}: specificity"] = "The share of the images without opacity that are not."
    return Table(list(header), rows, list(header.values())) if rows else None


def worklist_table(configs: Sequence[Contender]) -> Table:
    """What ranking does to the worklist, and how good probabilities are."""
    rows: Rows = []
    for config, run in runs(configs):
        worklist = run.get("triage") or {}
        rows.append(
            [
                _name(config, run),
                _interval(run.get("auroc")),
                decimal(finite(worklist.get("mean_place")), 1),
                decimal(finite(worklist.get("sooner_images")), 1, signed=True),
                _interval(run.get("sooner_share"), signed=True),
                _interval(run.get("brier"), 3),
            ]
        )
    header = {
        "config": _COST["config"],
        "AUROC": _MAIN["AUROC"],
        "mean place": "Of an image with opacity in a worklist sorted by probability.",
        "images sooner": "How many fewer images are read before it than first come, first served.",
        "share of the list": "The same as a share of the worklist.",
        "Brier": "Mean squared difference of probability and truth; 0 is perfect.",
    }
    return Table(list(header), rows, list(header.values()))


def mistakes_table(configs: Sequence[Contender], of: str) -> Table:
    """How many boxes of each kind there are, a kind a row, of the first run of each config.

    Args:
        configs: in the columns.
        of: "boxes", the predicted ones, or "truth".
    """
    counts = [((config.values[0].get("mistakes") or {}).get(of) or {}) for config in configs]
    kinds = [kind for kind in Kind if any(count.get(str(kind)) for count in counts)]
    became = {Kind.FOUND: "a box overlaps it: IoU above 0.40", Kind.MERGED: "one box covers it and another true one"}
    became |= {Kind.SPLIT: "several boxes are pieces of it", Kind.WRONG_SIZE: "a box wrong in size or place touches it"}
    meanings = MEANINGS | (became if of == "truth" else {})
    rows: Rows = [
        [Cell(str(kind), meanings[kind]), *(f"{count.get(str(kind), 0):,}" for count in counts)] for kind in kinds
    ]
    rows.append(["all", *(f"{sum(count.values()):,}" for count in counts)])
    what = "predicted boxes" if of == "boxes" else "true boxes"
    return Table([what, *(config.first.name for config in configs)], rows)


def gaps_table(configs: Sequence[Contender]) -> Table | None:
    """Every stratum against the rest of its factor, of the first run of each config; None where there is none."""
    rows: Rows = [
        [
            Cell(config.first.name, mark=config.mark),
            f"{gap['factor']}: {gap['stratum']}",
            str(gap["measure"]),
            f"{gap['items']:,}",
            f"{gap['patients']:,}",
            _interval(gap["inside"]),
            _interval(gap["outside"]),
            _interval(gap["gap"], signed=True),
            bounds(gap["simultaneous"], signed=True) or MISSING,
        ]
        for config in configs
        for gap in (config.values[0].get("strata") or {}).get("gaps") or []
    ]
    header = {
        "config": _COST["config"],
        "stratum": "A group of images or boxes.",
        "measure": "What is compared.",
        "items": "Images or boxes that the figure is taken over.",
        "patients": "Who have such images or boxes; a gap is judged from 10 on each side on.",
        "here": "The figure in this stratum.",
        "elsewhere": "In the rest of the images or boxes for which it is known.",
        "gap": "Here minus elsewhere, with its 95% interval by itself.",
        "all at once": "The interval that holds for all gaps of the config at once: a gap is real if it leaves out 0.",
    }
    return Table(list(header), rows, list(header.values())) if rows else None


def cost_table(configs: Sequence[Contender]) -> Table | None:
    """What each run costs; None where nothing was measured. Columns that are empty in all rows are left out."""
    rows: Rows = [[_name(config, run), *_cost_row(run["cost"])] for config, run in runs(configs) if run.get("cost")]
    if not rows:
        return None
    used = [at for at in range(len(_COST)) if any(_text(row[at]) != MISSING for row in rows)]
    header = [list(_COST)[at] for at in used]
    return Table(header, [[row[at] for at in used] for row in rows], [_COST[name] for name in header])


def _name(config: Contender, run: Values) -> Cell:
    return Cell(str(run["name"]), mark=config.mark)


def _main_row(run: Values, name: Cell) -> list[str | Cell]:
    trivial = run.get("backend") is None
    point = {} if trivial else (run.get("image_points") or {}).get(OPERATING_POINT) or {}
    cost = run.get("cost") or {}
    bounds_of, mask = run.get("bounds") or {}, run.get("mask") or mask_figures(run)
    return [
        name,
        _interval(run.get("score"), 3),
        _interval(run.get("above_average_boxes"), 3, signed=True),
        *(decimal(finite(bounds_of.get(half)), 3) for half in ("perfect_classifier", "perfect_boxes")),
        _interval(run.get("ap_competition"), 3),
        _interval(run.get("sensitivity")),
        _interval(run.get("false_positives_per_image")),
        _interval((run.get("froc") or {}).get("mean")),
        _interval(run.get("auroc")),
        _interval(point.get("sensitivity")),
        _interval(point.get("specificity")),
        MISSING if trivial else decimal(finite(run.get("least_confidence")), 3),
        *(decimal(finite(mask.get(figure)), 4) for figure in ("pixel_accuracy", "mean_iou")),
        decimal(finite((cost.get("latency_alone") or {}).get("p50_ms")), 1),
        decimal(_scaled(cost.get("parameters"), 1e6), 2),
    ]


def _cost_row(cost: Mapping[str, Any]) -> list[str | Cell]:
    memory = cost.get("peak_memory") or {}
    batch, files = cost.get("latency_batched") or {}, cost.get("from_files") or {}
    parameters, outside = finite(cost.get("parameters")), finite(batch.get("outside_network"))
    return [
        _minutes(finite(cost.get("training_seconds"))),
        _times(cost.get("latency_alone")),
        _times(batch),
        decimal(finite((cost.get("from_arrays") or {}).get("images_per_second")), 1),
        Cell(decimal(finite(files.get("images_per_second")), 1), str(files.get("source") or "")),
        decimal(_scaled(cost.get("flops"), 1e9), 2),
        MISSING if parameters is None else f"{parameters:,.0f}",
        decimal(_scaled(cost.get("weights_bytes"), 1e6), 1),
        decimal(_scaled(memory.get("resident_bytes"), 1e6), 0),
        decimal(_scaled(memory.get("gpu_bytes"), 1e6), 0),
        MISSING if outside is None else f"{outside:.0%}",
    ]


def _interval(value: Values | None, decimals: int = 2, *, signed: bool = False) -> Cell:
    estimate = finite((value or {}).get("estimate"))
    note = bounds(value, signed=signed) if estimate is not None else ""
    return Cell(decimal(estimate, decimals, signed=signed), note)


def _times(latency: Values | None) -> Cell:
    median, slow = (finite((latency or {}).get(name)) for name in ("p50_ms", "p95_ms"))
    return Cell(decimal(median, 1), f"95%: {decimal(slow, 1)}" if slow is not None else "")


def _scaled(value: Any, unit: float) -> float | None:
    number = finite(value)
    return None if number is None else number / unit


def _minutes(seconds: float | None) -> Cell:
    if seconds is None:
        return Cell(MISSING)
    minutes, rest = divmod(round(seconds), 60)
    return Cell(f"{minutes:,}:{rest:02d}", value=round(seconds))


def _text(cell: str | Cell) -> str:
    return cell.text if isinstance(cell, Cell) else cell
