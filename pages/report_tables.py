"""The tables of a benchmark's report. A figure that is not there is a dash."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeVar

from hilum.comparison.away_tables import TRAVELS
from hilum.comparison.cost import Cost, Latency
from hilum.comparison.results import Entry, MaskFigures, Results
from hilum.comparison.tables import MASK_ROW, score_table, table_rows
from hilum.eval.bootstrap import Interval
from hilum.eval.measures import OPERATING_POINT
from hilum.eval.mistakes import Kind
from hilum.eval.strata import Strata
from hilum.eval.travel import Travel
from hilum.pages.gallery import MEANINGS
from hilum.pages.page import Cell, Table
from hilum.pages.report_answer import POINTS
from hilum.pages.series import Series, ranked, runs
from hilum.pages.wording import MISSING, bounds, decimal

Rows = list[list[str | Cell]]
Shown = TypeVar("Shown")
Columns = Mapping[str, tuple[str, Callable[[Shown], str | Cell]]]
"""By heading what a column means, and its cell."""

_CONFIG = "The config, with its seed where there are several runs of it."
_MAIN_CONFIG = "The config, with its seed where there are several runs of it; below, the trivial baselines."
_AUROC = "How often an image with opacity is given a higher probability than one without; 0.5 is chance."
_MAIN: Columns[Entry] = {
    "score": (
        (
            "The competition's score at the operating point: on each image TP / (TP + FP + FN), averaged over the "
            "overlaps IoU above 0.40, 0.45, ..., 0.75 and over the images; those with neither truth nor answer do not "
            "count. 1 is perfect. Below: the 95% interval."
        ),
        lambda run: _interval(run.score, 3),
    ),
    "above two boxes": (
        "How much higher the score is than that of the same two average boxes on every image.",
        lambda run: _interval(run.above_average_boxes, 3, signed=True),
    ),
    "classifier perfect": (
        "A bound: the score of the same boxes with none on images without opacity.",
        lambda run: decimal(run.bounds.perfect_classifier, 3),
    ),
    "boxes perfect": (
        "A bound: the score if each image that gets a box got the true ones.",
        lambda run: decimal(run.bounds.perfect_boxes, 3),
    ),
    "AP 40:75": (
        "COCO's average precision over the same overlaps: how well boxes are ranked, at any threshold.",
        lambda run: _interval(run.ap_competition, 3),
    ),
    "boxes found": (
        "Sensitivity of boxes: the share of true boxes that a box overlaps at IoU above 0.40.",
        lambda run: _interval(run.sensitivity),
    ),
    "false / image": (
        "False positives: boxes without such a true box, an image.",
        lambda run: _interval(run.false_positives_per_image),
    ),
    "FROC": (
        "The mean share of true boxes found at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives an image.",
        lambda run: _interval(run.froc.mean),
    ),
    "AUROC": (_AUROC, lambda run: _interval(run.auroc)),
    "sensitivity": (
        "The share of the images with opacity that get a box.",
        lambda run: _interval(run.point(OPERATING_POINT).sensitivity),
    ),
    "specificity": (
        "The share of the images without opacity that get none.",
        lambda run: _interval(run.point(OPERATING_POINT).specificity),
    ),
    "confidence from": (
        "The operating point, chosen on val: boxes below this confidence are dropped.",
        lambda run: MISSING if run.is_baseline else decimal(run.least_confidence, 3),
    ),
    "pixel accuracy": (
        "Of a segmenter's masks, on val: the share of right pixels. No result: an all-background mask has it too.",
        lambda run: decimal(run.masks.pixel_accuracy, 4),
    ),
    "mask IoU": (
        "The report's mean_iou of masks, on val; an image without opacity and with an empty mask counts as 1.",
        lambda run: decimal(run.masks.mean_iou, 4),
    ),
    "ms": (
        "Milliseconds for one image alone, from pixels to boxes: the median.",
        lambda run: decimal(run.cost.latency_alone.p50_ms, 1) if run.cost else MISSING,
    ),
    "M values": (
        "Values in the weights, in millions.",
        lambda run: decimal(run.cost.parameters / 1e6) if run.cost else MISSING,
    ),
}
_WORKLIST: Columns[Entry] = {
    "AUROC": (_AUROC, lambda run: _interval(run.auroc)),
    "mean place": (
        "Of an image with opacity in a worklist sorted by probability.",
        lambda run: decimal(run.triage.mean_place, 1) if run.triage else MISSING,
    ),
    "images sooner": (
        "How many fewer images are read before it than first come, first served.",
        lambda run: decimal(run.triage.sooner_images, 1, signed=True) if run.triage else MISSING,
    ),
    "share of the list": ("The same as a share of the worklist.", lambda run: _interval(run.sooner_share, signed=True)),
    "Brier": ("Mean squared difference of probability and truth; 0 is perfect.", lambda run: _interval(run.brier, 3)),
}
_COST: Columns[Cost] = {
    "training": ("Time spent in epochs, minutes:seconds.", lambda cost: _minutes(cost.training_seconds)),
    "ms alone": (
        "Milliseconds for one image in a call of its own: median, and the 95th percentile.",
        lambda cost: _times(cost.latency_alone),
    ),
    "ms in batch": ("The same for an image of a batch.", lambda cost: _times(cost.latency_batched)),
    "images/s": (
        "The whole pipeline in batches, from decoded pixels.",
        lambda cost: decimal(cost.from_arrays.images_per_second, 1),
    ),
    "images/s, files": (
        "The same from files, of the kind below the figure, which are decoded meanwhile.",
        lambda cost: Cell(decimal(cost.from_files.images_per_second, 1), cost.from_files.source),
    ),
    "GFLOP": (
        "Arithmetic of one image in billions of operations, a multiplication and an addition being two.",
        lambda cost: decimal(cost.flops / 1e9),
    ),
    "parameters": ("Values in the weights.", lambda cost: f"{cost.parameters:,}"),
    "MB": ("Weights on disk.", lambda cost: decimal(cost.weights_bytes / 1e6, 1)),
    "memory, MB": (
        "Peak of a fresh process that predicts three batches.",
        lambda cost: decimal(cost.peak_memory.resident_bytes / 1e6, 0),
    ),
    "GPU, MB": ("Peak on the GPU.", lambda cost: decimal(cost.peak_memory.gpu_bytes / 1e6, 0)),
    "outside network": (
        "Share of a batch's time that is not the network: resizing, copying, boxes from the output.",
        lambda cost: _percent(cost.latency_batched.outside_network),
    ),
}
_GAPS = {
    "config": _CONFIG,
    "stratum": "A group of images or boxes.",
    "measure": "What is compared.",
    "items": "Images or boxes that the figure is taken over.",
    "patients": "Who have such images or boxes; a gap is judged from 10 on each side on.",
    "here": "The figure in this stratum.",
    "elsewhere": "In the rest of the images or boxes for which it is known.",
    "gap": "Here minus elsewhere, with its 95% interval by itself.",
    "all at once": "The interval that holds for all gaps of the config at once: a gap is real if it leaves out 0.",
}
_AWAY_GAPS = {
    "config": _CONFIG,
    "group": "A group of images; of pictures, those of this size away against all of home.",
    "measure": "What is compared.",
    "items at home": "Images or boxes that the figure at home is taken over.",
    "patients at home": "Who have them; a difference is judged from 10 on each side on.",
    "home": "The figure at home.",
    "away": "The figure away.",
    "home minus away": "With its 95% interval by itself; not paired, for the images are others.",
    "all at once": "The interval that holds for all groups of the config at once: the difference is real if it leaves "
    "out 0.",
}
_MOVED = {
    "config": _CONFIG,
    "figure": "At the operating point and thresholds that were chosen at home.",
    "home": "On the holdout at home.",
    "away": "On the images of the other source.",
    "home minus away": "Above 0 where it is lower away; the 95% interval is not paired, for the images are others.",
}
_BECAME = MEANINGS | {
    Kind.FOUND: "a box overlaps it: IoU above 0.40",
    Kind.MERGED: "one box covers it and another true one",
    Kind.SPLIT: "several boxes are pieces of it",
    Kind.WRONG_SIZE: "a box wrong in size or place touches it",
}


def main_table(configs: Sequence[Series], baselines: Sequence[Entry], empty_mask: MaskFigures) -> Table:
    """The figures that matter most, a run a row, the best first; then the baselines, that of masks among them."""
    rows = [(_name(config, run), run) for config, run in runs(ranked(configs))]
    rows += [(Cell(entry.name), entry) for entry in baselines]
    table = _table(_MAIN_CONFIG, _MAIN, rows)
    if baselines:  # an all-background mask has no boxes, so it is a second face of the first baseline
        first = len(rows) - len(baselines)
        mask: dict[str, str | Cell] = dict(zip(table.header, table.rows[first], strict=True))
        mask |= {"config": Cell(MASK_ROW), "pixel accuracy": decimal(empty_mask.pixel_accuracy, 4)}
        mask |= {"mask IoU": decimal(empty_mask.mean_iou, 4)}
        rest = table.rows[first + 1 :]
        return Table(table.header, [*table.rows[: first + 1], list(mask.values()), *rest], table.hints)
    return table


def group_table(configs: Sequence[Series]) -> Table:
    """Each config's runs together."""
    rows: Rows = [
        [
            Cell(config.name, mark=config.mark),
            _interval(config.score, 3),
            decimal(config.sd, 3),
            f"{len(config.entries)}",
            ", ".join(decimal(run.score.estimate, 3) for run in config.entries),
        ]
        for config in ranked(configs)
    ]
    return Table(["config", "mean score", "SD over seeds", "runs", "each"], rows)


def all_figures(results: Results) -> Table:
    """Everything that `table.csv` holds, a figure a row."""
    header, rows = score_table(table_rows(results))
    return Table(header, [[cell or MISSING for cell in row] for row in rows])


def points_table(configs: Sequence[Series]) -> Table | None:
    """Sensitivity and specificity of images at each point, a run a row; None where none is known."""
    rows: Rows = [
        [_name(config, run), *(cell for name in POINTS for cell in _point(run, name))]
        for config, run in runs(configs)
        if run.image_points
    ]
    header = {"config": _MAIN_CONFIG}
    for point, meaning in POINTS.values():
        header[f"{point}: from"] = f"An image is called one with opacity by {meaning}."
        header[f"{point}: sensitivity"] = "The share of the images with opacity that are called so."
        header[f"{point}: specificity"] = "The share of the images without opacity that are not."
    return Table(list(header), rows, list(header.values())) if rows else None


def worklist_table(configs: Sequence[Series]) -> Table:
    """What ranking does to the worklist, and how good probabilities are."""
    return _table(_CONFIG, _WORKLIST, [(_name(config, run), run) for config, run in runs(configs)])


def mistakes_table(configs: Sequence[Series], of: Literal["boxes", "truth"]) -> Table:
    """How many boxes of each kind there are, a kind a row, of the first run of each config.

    Args:
        configs: in the columns.
        of: the predicted boxes, or the true ones.
    """
    both = [config.first.mistakes for config in configs]
    counts = [each.boxes if of == "boxes" else each.truth for each in both]
    meanings, what = (MEANINGS, "predicted boxes") if of == "boxes" else (_BECAME, "true boxes")
    rows: Rows = [
        [Cell(str(kind), meanings[kind]), *(f"{count.get(kind.value, 0):,}" for count in counts)]
        for kind in Kind
        if any(count.get(kind.value) for count in counts)
    ]
    rows.append(["all", *(f"{sum(count.values()):,}" for count in counts)])
    return Table([what, *(config.first.name for config in configs)], rows)


def gaps_table(configs: Sequence[Series]) -> Table | None:
    """Every stratum against the rest of its factor, of the first run of each config; None where there is none."""
    return _gaps([(config, config.first.strata) for config in configs], _GAPS)


def away_gaps_table(known: Sequence[tuple[Series, Travel]]) -> Table | None:
    """Every group at home against the same one away, of the first run of each config; None where there is none."""
    return _gaps([(config, travel.strata) for config, travel in known], _AWAY_GAPS)


def travel_table(known: Sequence[tuple[Series, Travel]]) -> Table:
    """The figures at home and away, of the first run of each config."""
    rows: Rows = [
        [
            Cell(config.first.name, mark=config.mark),
            told,
            _interval(moved.home),
            _interval(moved.away),
            _interval(moved.difference, signed=True),
        ]
        for config, travel in known
        for figure, told in TRAVELS.items()
        if math.isfinite((moved := travel.moved(figure)).away.estimate)
    ]
    return Table(list(_MOVED), rows, list(_MOVED.values()))


def _gaps(strata: Sequence[tuple[Series, Strata]], columns: Mapping[str, str]) -> Table | None:
    rows: Rows = [
        [
            Cell(config.first.name, mark=config.mark),
            f"{gap.factor}: {gap.stratum}",
            gap.measure,
            f"{gap.items:,}",
            f"{gap.patients:,}",
            _interval(gap.inside),
            _interval(gap.outside),
            _interval(gap.gap, signed=True),
            bounds(gap.simultaneous, signed=True) or MISSING,
        ]
        for config, of_config in strata
        for gap in of_config.gaps
    ]
    return Table(list(columns), rows, list(columns.values())) if rows else None


def cost_table(configs: Sequence[Series]) -> Table | None:
    """What each run costs; None where nothing was measured. Columns that are empty in all rows are left out."""
    rows = [(_name(config, run), run.cost) for config, run in runs(configs) if run.cost]
    cells = {heading: [cell(cost) for _, cost in rows] for heading, (_, cell) in _COST.items()}
    used = {
        heading: _COST[heading] for heading, column in cells.items() if any(_text(cell) != MISSING for cell in column)
    }
    return _table(_CONFIG, used, rows) if rows else None


def _table(config: str, columns: Columns[Shown], rows: Sequence[tuple[Cell, Shown]]) -> Table:
    """A table whose first column, which `config` explains, names the rows."""
    cells: Rows = [[name, *(cell(shown) for _, cell in columns.values())] for name, shown in rows]
    return Table(["config", *columns], cells, [config, *(hint for hint, _ in columns.values())])


def _name(config: Series, run: Entry) -> Cell:
    return Cell(run.name, mark=config.mark)


def _point(run: Entry, name: str) -> tuple[str, Cell, Cell]:
    point = run.point(name)
    return decimal(point.threshold, 3), _interval(point.sensitivity), _interval(point.specificity)


def _interval(value: Interval, decimals: int = 2, *, signed: bool = False) -> Cell:
    text = decimal(value.estimate, decimals, signed=signed)
    return Cell(text, "" if text == MISSING else bounds(value, signed=signed))


def _times(latency: Latency) -> Cell:
    return Cell(decimal(latency.p50_ms, 1), f"95%: {decimal(latency.p95_ms, 1)}")


def _minutes(seconds: float) -> Cell:
    if math.isnan(seconds):
        return Cell(MISSING)
    minutes, rest = divmod(round(seconds), 60)
    return Cell(f"{minutes:,}:{rest:02d}", value=round(seconds))


def _percent(share: float) -> str:
    return MISSING if math.isnan(share) else f"{share:.0%}"


def _text(cell: str | Cell) -> str:
    return cell.text if isinstance(cell, Cell) else cell
