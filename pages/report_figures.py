"""The figures of a benchmark's report: configs and figures in, an SVG out. A config looks alike in all of them."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hilum.comparison.results import SCORE, Entry, Results
from hilum.eval.bootstrap import Interval
from hilum.eval.froc import FROC_RATES
from hilum.eval.image_level import ReliabilityBin
from hilum.eval.strata import FALSE_ALARMS, SENSITIVITY, Gap
from hilum.eval.travel import Travel
from hilum.pages.plotting import INK, LINE, QUIET, new_figure, to_svg
from hilum.pages.report_answer import Potential
from hilum.pages.series import Series, ranked, runs

_WIDTH = 5.2  # inches: at a phone's width the letters can still be read
_MOST = FROC_RATES[-1]  # false positives an image, as far as the last of FROC's rates


def scores(configs: Sequence[Series], baselines: Sequence[Entry], results: Results) -> bytes:
    """Scores with their intervals, single runs as rings; below, how far each config is behind the best."""
    best, *others = order = ranked(configs)
    trivial = [entry for entry in baselines if entry.score.estimate > 0]
    rows = len(order) + len(trivial)
    heights = [rows + 1.1, len(others) + 1.1] if others else [rows + 1.1]
    with new_figure(_WIDTH, 0.36 * sum(heights) + 0.5) as figure:
        above, *rest = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        for at, config in enumerate(order):
            for run in config.entries if len(config.entries) > 1 else ():
                above.plot(run.score.estimate, at, "o", ms=9, mfc="none", mec=config.colour, mew=0.8)
            _interval(above, config.score, at, config)
        for at, entry in enumerate(trivial, len(order)):
            _interval(above, entry.score, at, None)
        _rows(above, [config.name for config in order] + [entry.name for entry in trivial])
        above.set(xlim=(0, None), xlabel="competition score, 95% interval")
        for below in rest:
            below.axvline(0, color=INK, linewidth=1)
            for at, config in enumerate(others):
                _interval(below, results.difference(config.name, best.name).interval, at, config)
            _rows(below, [config.name for config in others])
            at_once = ",\nof all pairs at once" if len(order) > 2 else ""
            below.set_xlabel(f"difference from the best, paired, 95% interval{at_once}")
        return to_svg(figure)


def thresholds(configs: Sequence[Series]) -> bytes:
    """The score at every threshold; the point that was chosen on val is marked."""
    with new_figure(_WIDTH, 3.9) as figure:
        axis = figure.subplots()
        for config, run in runs(configs):
            x, y = _points(run.curves.threshold)
            rising = np.argsort(x, kind="stable")
            # Between two confidences the answer is that of the higher one; above all of them there is none.
            x, y = np.r_[0, x[rising], 1], np.r_[y[rising][:1], y[rising], 0]
            axis.plot(x[-len(y) :], y, drawstyle="steps-pre", **_line(config))
            if math.isfinite(run.least_confidence + run.score.estimate):
                at, score = run.least_confidence, run.score.estimate
                axis.plot(at, score, config.marker, ms=9, color=config.colour, mec="white", mew=1.5, zorder=4)
        axis.set(xlim=(0, 1), ylim=(0, None), xlabel="boxes count from this confidence on", ylabel="competition score")
        return _finished(figure, configs, axis)


def precision_recall(configs: Sequence[Series]) -> bytes:
    """Precision against recall of boxes, at two overlaps."""
    overlaps = list(dict.fromkeys(iou for config in configs for iou in config.first.curves.precision_recall))
    with new_figure(_WIDTH, 3.5) as figure:
        axes = figure.subplots(1, max(1, len(overlaps)), sharey=True, squeeze=False)[0]
        for axis, iou in zip(axes, overlaps, strict=False):
            for config, run in runs(configs):
                axis.plot(*_points(run.curves.precision_recall.get(iou, ())), **_line(config))
            axis.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall: true boxes found")
            axis.set_title(f"overlap (IoU) above {iou}", fontweight="normal")
        axes[0].set_ylabel("precision: boxes that are right")
        return _finished(figure, configs, *axes[: len(overlaps)])


def froc(configs: Sequence[Series]) -> bytes:
    """Share of true boxes found against false positives an image, with intervals at FROC's rates."""
    with new_figure(_WIDTH, 3.9) as figure:
        axis = figure.subplots()
        for config in configs:
            for run in config.entries:
                x, y = _points(run.curves.froc)
                # Without a further threshold nothing more is found, however many false positives are allowed.
                axis.plot(
                    np.append(x, _MOST), np.append(y, y[-1:] if len(y) else 0), drawstyle="steps-post", **_line(config)
                )
            if len(config.entries) == 1:
                shift = 1 + 0.05 * (config.number - (len(configs) - 1) / 2)
                for rate, found in zip(FROC_RATES, config.first.froc.sensitivity, strict=False):
                    if math.isfinite(found.low + found.high):
                        axis.plot(
                            [rate * shift] * 2, [found.low, found.high], color=config.colour, linewidth=1, alpha=0.5
                        )
        axis.set_xscale("symlog", linthresh=FROC_RATES[0], linscale=0.7)
        axis.set_xticks([0, *FROC_RATES], ["0", "1/8", "1/4", "1/2", "1", "2", "4", "8"])
        axis.xaxis.set_minor_locator(ticker.NullLocator())
        axis.set(xlim=(0, 1.15 * _MOST), ylim=(0, 1.02), xlabel="false positives an image", ylabel="true boxes found")
        return _finished(figure, configs, axis)


def reliability(configs: Sequence[Series]) -> bytes:
    """How often images show opacity, and boxes hit one, by the probability they were given, and before calibration.

    Dots are as large as their images, or boxes, are many.
    """
    with new_figure(_WIDTH, 4.2) as figure:
        axes = figure.subplots(1, 2)
        for axis, name, what in zip(
            axes,
            ("reliability", "box_reliability"),
            (("probability of an image", "images that show opacity"), ("confidence of a box", "boxes that hit one")),
            strict=True,
        ):
            ideal = axis.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=(0, (4, 3)), label="as often as said")
            for config in configs:
                before = [each for each in getattr(config.first, f"{name}_before") if each.images]
                axis.plot(*_dots(before), color=config.colour, linewidth=0.8, linestyle=":")
                bins = [each for each in getattr(config.first, name) if each.images]
                total = sum(each.images for each in bins)
                axis.plot(*_dots(bins), **_line(config))
                areas = [25 + 500 * each.images / total for each in bins]
                axis.scatter(*_dots(bins), areas, config.colour, alpha=0.45, linewidths=0)
            axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel=what[0], ylabel=what[1], aspect="equal")
        axes[0].legend(handles=ideal, loc="lower right")
        return _finished(figure, configs, *axes)


def _dots(bins: Sequence[ReliabilityBin]) -> tuple[list[float], list[float]]:
    return [each.probability for each in bins], [each.observed for each in bins]


def worklist(configs: Sequence[Series], positives: int, images: int) -> bytes:
    """Share of the images with opacity that have been read, against the share of the worklist."""
    with new_figure(_WIDTH, 3.9) as figure:
        axis = figure.subplots()
        axis.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
        axis.annotate("first come, first served", (0.6, 0.6), (6, -8), textcoords="offset points", va="top", fontsize=9)
        if positives:
            axis.plot([0, positives / images, 1], [0, 1, 1], color=QUIET, linewidth=1)
        for config, run in runs(configs):
            axis.plot(*_points(run.curves.worklist), **_line(config))
        axis.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="share of the worklist read", ylabel="images with opacity read")
        for ruler in (axis.xaxis, axis.yaxis):
            ruler.set_major_formatter(ticker.PercentFormatter(1))
        return _finished(figure, configs, axis)


def potential(rows: Sequence[Potential]) -> bytes:
    """Each config's score, and what it loses to boxes and to images; all add up to 1."""
    with new_figure(_WIDTH, 1.35 + 0.5 * len(rows)) as figure:
        axis = figure.subplots()
        for at, (config, score, _, boxes) in enumerate(rows):
            axis.barh(at, score, 0.6, color=config.colour)
            axis.barh(at, boxes - score, 0.6, left=score, color=LINE)
            axis.barh(at, 1 - boxes, 0.6, left=boxes, color="white", edgecolor=QUIET, hatch="////", linewidth=0)
            axis.barh(at, 1, 0.6, fill=False, edgecolor=QUIET, linewidth=0.8)
            for left, size in ((0.0, score), (score, boxes - score), (boxes, 1 - boxes)):
                if size > 0.1:
                    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
                    axis.text(left + size / 2, at, f"{size:.2f}", ha="center", va="center", bbox=box, fontsize=9)
        _rows(axis, [config.name for config, *_ in rows])
        axis.grid(visible=False)
        axis.set(xlim=(0, 1), xlabel="competition score")
        key: dict[str, Any] = {
            "score": tuple(Patch(color=config.colour) for config, *_ in rows[:4]),
            "lost to boxes": Patch(color=LINE),
            "lost to images": Patch(facecolor="white", edgecolor=QUIET, hatch="////"),
        }
        together = {tuple: HandlerTuple(ndivide=None, pad=0)}
        figure.legend(key.values(), key.keys(), handler_map=together, loc="outside upper left", ncols=3)
        return to_svg(figure)


def latency(configs: Sequence[Series]) -> bytes:
    """Score against the time that one picture takes, alone."""
    with new_figure(_WIDTH, 3.7) as figure:
        axis = figure.subplots()
        for config, run in runs(configs):
            time, score = milliseconds(run), run.score
            if time is None or not math.isfinite(score.estimate):
                continue
            if math.isfinite(score.low + score.high):
                axis.plot([time, time], [score.low, score.high], color=config.colour, linewidth=1.5, alpha=0.6)
            axis.plot(time, score.estimate, config.marker, ms=10, color=config.colour, mec="white", mew=1.2)
        axis.set_xscale("log")
        times = [time for _, run in runs(configs) if (time := milliseconds(run)) is not None]
        axis.set_xlim(min(times) / 2, max(times) * 2)
        axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if max(times) / min(times) < 30 else (1,)))
        axis.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_formatter(ticker.NullFormatter())
        axis.set(ylim=(0, None), xlabel="milliseconds an image, one at a time (median)", ylabel="competition score")
        return _finished(figure, configs, axis, markers=True)


def learning(configs: Sequence[Series]) -> bytes:
    """Score on val and training loss by epoch; the epoch that was kept is marked.

    Where epochs were chosen by another figure than the score, as those of a classifier are, only the loss is drawn.
    """
    with new_figure(_WIDTH, 5.4) as figure:
        above, below = figure.subplots(2, 1, sharex=True)
        losses = []
        for config, run in runs(configs):
            trained = [(line["epoch"], line["train_loss"]) for line in run.log]
            below.plot(*_points(trained), **_line(config))
            losses += [loss for _, loss in trained]
            if run.val_figure == SCORE:
                known = [(line["epoch"], score) for line in run.log if (score := line["val_score"]) is not None]
                above.plot(*_points(known), **_line(config))
            if run.val_figure == SCORE and (kept := run.kept_epoch):
                at = kept["epoch"], kept["val_score"]
                above.plot(*at, config.marker, ms=9, color=config.colour, mec="white", mew=1.2)
        above.set(ylim=(0, None), ylabel="best score on val")
        below.set(xlabel="epoch", ylabel="training loss")
        if losses and min(losses) > 0:
            below.set_yscale("log")
            for which in (below.yaxis.set_major_formatter, below.yaxis.set_minor_formatter):
                which(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
            below.yaxis.set_minor_locator(ticker.LogLocator(subs=(2, 5)))
        below.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        return _finished(figure, configs, above, below)


def strata(configs: Sequence[Series]) -> bytes | None:
    """Sensitivity in each stratum, and below how many images without opacity get a box; None where there are none."""
    panels = [(name, rows) for name in (SENSITIVITY, FALSE_ALARMS) if (rows := _strata_rows(configs, name))]
    if not panels:
        return None
    heights = [len(rows) + 1.5 for _, rows in panels]
    each = 0.16 + 0.09 * len(configs)
    with new_figure(_WIDTH, 0.8 + each * sum(heights)) as figure:
        axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
        words = {SENSITIVITY: "true boxes found", FALSE_ALARMS: "images without opacity that get a box"}
        for axis, (measure, rows) in zip(axes, panels, strict=True):
            factors: list[str] = []
            for at, ((factor, _), cells) in enumerate(rows.items()):
                for config, gap in cells:
                    shift = 0.62 * ((config.number + 0.5) / len(configs) - 0.5)
                    _interval(axis, gap.inside, at + shift, config, size=5)
                if factors and factor != factors[-1]:
                    axis.axhline(at - 0.5, color=QUIET, linewidth=0.8)
                factors.append(factor)
            names = [f"{_factor(factor)}{stratum} ({cells[0][1].items:,})" for (factor, stratum), cells in rows.items()]
            _rows(axis, names, fold=24)
            axis.set(xlim=(-0.02, 1.02), xlabel=f"{words[measure]}, 95% interval")
            axis.xaxis.set_major_formatter(ticker.PercentFormatter(1))
        return _finished(figure, configs, markers=True)


def travel(known: Sequence[tuple[Series, Travel]], name: str) -> bytes:
    """Score, sensitivity and false positives of each config at home and away."""
    panels = {
        "score": "competition score",
        "sensitivity": "true boxes found",
        "false_positives_per_image": "false positives an image",
    }
    with new_figure(_WIDTH, 0.4 + len(panels) * (0.8 + 0.42 * len(known))) as figure:
        axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
        for axis, (of, words) in zip(axes, panels.items(), strict=True):
            for at, (config, its) in enumerate(known):
                _interval(axis, its.moved(of).home, at - 0.16, None)
                _interval(axis, its.moved(of).away, at + 0.16, config)
            _rows(axis, [config.name for config, _ in known])
            axis.set(xlim=(-0.02 * axis.get_xlim()[1], None), xlabel=f"{words}, 95% interval")
        axes[0].set_title(f"grey: at home; in colour: at {_short(name)}", fontweight="normal")
        return to_svg(figure)


def milliseconds(run: Entry) -> float | None:
    """The median time of one picture alone; None where it was not measured."""
    return run.cost.latency_alone.p50_ms if run.cost and run.cost.latency_alone.p50_ms > 0 else None


def _strata_rows(configs: Sequence[Series], measure: str) -> dict[tuple[str, str], list[tuple[Series, Gap]]]:
    rows: dict[tuple[str, str], list[tuple[Series, Gap]]] = {}
    for config in configs:
        for gap in config.first.strata.gaps:
            if gap.measure == measure and math.isfinite(gap.inside.estimate):
                rows.setdefault((gap.factor, gap.stratum), []).append((config, gap))
    return rows


def _factor(name: str) -> str:
    return {"class of images without opacity": "", "number of boxes": "boxes: ", "age group": "age "}.get(
        name, f"{name} "
    )


def _points(curve: Sequence[tuple[float, float]]) -> tuple[Any, Any]:
    x, y = np.array(curve, np.float64).reshape(-1, 2).T
    return x, y


def _line(config: Series) -> dict[str, Any]:
    many = len(config.entries) > 1
    style = (0, config.dashes) if config.dashes else "-"
    return {"color": config.colour, "linestyle": style, "linewidth": 1.3 if many else 2, "alpha": 0.75 if many else 1}


def _interval(axis: Any, value: Interval, at: float, config: Series | None, size: float = 8) -> None:
    if not math.isfinite(value.estimate):
        return
    colour, marker = (config.colour, config.marker) if config else (QUIET, "o")
    if math.isfinite(value.low + value.high):
        axis.plot([value.low, value.high], [at, at], color=colour, linewidth=size / 4, solid_capstyle="butt")
    axis.plot(value.estimate, at, marker, ms=size, color=colour, mec="white", mew=0.8, zorder=4)


def _rows(axis: Any, names: Sequence[str], fold: int | None = None) -> None:
    shown = [_short(name) if fold is None else "\n".join(textwrap.wrap(name, fold)[:2]) for name in names]
    axis.set_yticks(range(len(names)), shown)
    axis.set_ylim(len(names) - 0.45, -0.55)
    axis.grid(axis="x")
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)


def _legend(figure: Any, configs: Sequence[Series], *, markers: bool) -> None:
    handles = [
        Line2D(
            [],
            [],
            marker=config.marker if markers else "",
            ms=7,
            **{**_line(config), "linewidth": 0 if markers else 2, "alpha": 1},
        )
        for config in configs
    ]
    # A label that starts with an underscore would be left out.
    labels = [f" {name}" if (name := _short(config.name)).startswith("_") else name for config in configs]
    columns = max(1, min(len(labels), 4, 68 // max(8 + len(label) for label in labels)))
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.2 * (-(-len(labels) // columns) - 1))  # each further line of the legend
    figure.legend(handles, labels, loc="outside upper left", ncols=columns, handlelength=2.6, columnspacing=1.2)


def _finished(figure: Any, configs: Sequence[Series], *axes: Any, markers: bool = False) -> bytes:
    for axis in axes:
        axis.grid(visible=True)
    _legend(figure, configs, markers=markers)
    return to_svg(figure)


def _short(name: str) -> str:
    return (
        textwrap.shorten(name, 24, placeholder="...") if " " in name else name if len(name) <= 24 else f"{name[:21]}..."
    )
