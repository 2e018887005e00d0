"""The figures of `hilum explore`: numbers and names in, a PNG out, all in one style.

Vermilion is opacity everywhere, and nothing else is; colours are Okabe and Ito's, and no figure needs them to be read.
"""

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from hilum.pages.plotting import BLUE, DPI, GREEN, INK, LINE, ORANGE, QUIET, SKY, VERMILION, new_figure, to_png

OPACITY, BOX = VERMILION, ORANGE
HEAT = LinearSegmentedColormap.from_list("opacity", ["#FFFFFF", "#F6C9A8", OPACITY, "#4A1E00"])
TILE_PX = 320  # longer side of a picture on a contact sheet
_WIDTH = 5.4  # inches: at a phone's width the letters can still be read


def class_bars(names: Sequence[str], counts: Sequence[int], opacity: Sequence[bool]) -> bytes:
    """Images of each class; `opacity` says which classes have it."""
    with _figure(_WIDTH, 0.9 + 0.55 * len(names)) as (figure, png):
        axis = figure.subplots()
        colours = [OPACITY if has else BLUE for has in opacity]
        _bars(axis, names, counts, colours, [_count(count, sum(counts)) for count in counts])
        axis.set_xlabel("images")
        return png()


def grouped_bars(names: Sequence[str], groups: Mapping[str, Sequence[int]]) -> bytes:
    """Counts of the same things by two ways of counting: the first in blue, the second hatched."""
    with _figure(_WIDTH, 1.2 + 0.85 * len(names)) as (figure, png):
        axis = figure.subplots()
        height = 0.36
        at = np.arange(len(names))
        for number, (label, counts) in enumerate(groups.items()):
            style: dict[str, Any] = (
                {"color": BLUE} if not number else {"color": "white", "edgecolor": INK, "hatch": "////"}
            )
            bars = axis.barh(at + (number - 0.5) * height, counts, height, label=label, **style)
            axis.bar_label(bars, [_count(count, sum(counts)) for count in counts], padding=4, fontsize=9.5)
        axis.set_yticks(at, [_fold(name) for name in names])
        axis.invert_yaxis()
        _quiet(axis, 1.45 * max(max(counts) for counts in groups.values()))
        axis.set_xlabel("rows or images")
        figure.legend(loc="outside upper left", ncols=1)
        return png()


def stacked_shares(names: Sequence[str], parts: Mapping[str, Sequence[int]]) -> bytes:
    """For each name one bar of 100%, cut into its parts."""
    with _figure(_WIDTH, 1.25 + 0.6 * len(names)) as (figure, png):
        axis = figure.subplots()
        totals = np.sum(list(parts.values()), axis=0)
        left = np.zeros(len(names))
        for (label, counts), colour in zip(parts.items(), (BLUE, SKY, GREEN, QUIET, LINE, "white"), strict=False):
            shares = np.asarray(counts) / totals
            axis.barh(names, shares, left=left, color=colour, edgecolor="white", label=label)
            for row, share in enumerate(shares):
                if share > 0.09:
                    dark = colour in {BLUE, GREEN}
                    text = f"{label} {share:.0%}" if len(label) < 6 else f"{share:.0%}"
                    middle = left[row] + share / 2
                    axis.text(middle, row, text, ha="center", va="center", color="white" if dark else INK)
            left += shares
        axis.set_yticks(range(len(names)), [f"{name}\n{total:,}" for name, total in zip(names, totals, strict=True)])
        axis.invert_yaxis()
        axis.set(xlim=(0, 1), xlabel="share of the images")
        axis.xaxis.set_major_formatter(ticker.PercentFormatter(1))
        axis.spines["left"].set_visible(False)
        axis.tick_params(axis="y", length=0)
        figure.legend(loc="outside upper left", ncols=min(4, len(parts)))
        return png()


def age_histograms(
    ages: Mapping[str, NDArray[np.float64]], impossible: Mapping[str, NDArray[np.float64]], opacity: Sequence[bool]
) -> bytes:
    """Ages of each class, possible ones, as shares in steps of five years; impossible ones as crosses.

    Those of 90 and older are one bar: exact ages that high are few enough to point at somebody.
    """
    edges = np.arange(0, 100, 5)
    with _figure(_WIDTH, 0.7 + 1.15 * len(ages)) as (figure, png):
        axes = figure.subplots(len(ages), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        # Not where they lie: an age that is rare enough could point at somebody.
        impossible = {name: np.where(wrong > 0, 130.0, -5.0) for name, wrong in impossible.items()}
        every = np.concatenate([[0.0, 92.0], *impossible.values()])
        for axis, (name, values), has in zip(axes, ages.items(), opacity, strict=True):
            shares = np.histogram(np.minimum(values, 92), edges)[0] / max(1, len(values))
            axis.bar(edges[:-1], shares, 5, align="edge", color=OPACITY if has else BLUE, edgecolor="white")
            if len(values):
                axis.axvline(np.median(values), color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
            wrong = impossible[name]
            if len(wrong):
                axis.plot(wrong, np.zeros(len(wrong)), "x", color=INK, markersize=8, mew=2, clip_on=False, zorder=5)
                text = f"{len(wrong)} impossible"
                axis.annotate(text, (wrong.max(), 0), (0, 8), textcoords="offset points", ha="center", fontsize=9)
            axis.set_title(name, pad=3)
            axis.set_yticks([])
            axis.spines["left"].set_visible(False)
        axes[-1].set(xlim=(every.min(), every.max() + 8), xlabel="age, years")
        ticks = [at for at in (0, 20, 40, 60, 80, 90) if at <= every.max() + 8]
        axes[-1].set_xticks(ticks, ["90+" if at == 90 else str(at) for at in ticks])
        return png()


def count_bars(names: Sequence[str], counts: Sequence[int]) -> bytes:
    """Images by their number of boxes; the first bar is of those without opacity."""
    with _figure(_WIDTH, 3.4) as (figure, png):
        axis = figure.subplots()
        bars = axis.bar(names, counts, color=[QUIET, *[OPACITY] * (len(names) - 1)], width=0.72)
        axis.bar_label(bars, [f"{count:,}" for count in counts], padding=3)
        axis.set(xlabel="boxes on an image", ylabel="images", ylim=(0, 1.12 * max(counts)))
        axis.set_yticks([])
        axis.spines["left"].set_visible(False)
        axis.tick_params(axis="x", length=0)
        return png()


def box_sizes(widths: NDArray[np.float64], heights: NDArray[np.float64]) -> bytes:
    """Widths against heights, both as a share of the picture, medians marked."""
    with _figure(_WIDTH, 4.9) as (figure, png):
        axis = figure.subplots()
        bins = 40 if len(widths) > 2000 else 24 if len(widths) > 200 else 12
        limit = (float(max(widths.max(), 0.4)), float(max(heights.max(), 0.4)))
        counts, _, _, mesh = axis.hist2d(
            widths, heights, bins=bins, range=((0, limit[0]), (0, limit[1])), cmap=HEAT, cmin=1
        )
        axis.axvline(np.median(widths), color=INK, linewidth=1, linestyle=(0, (4, 2)))
        axis.axhline(np.median(heights), color=INK, linewidth=1, linestyle=(0, (4, 2)))
        axis.set(xlabel="width, share of the picture's", ylabel="height, share of the picture's", aspect="equal")
        for ruler in (axis.xaxis, axis.yaxis):
            ruler.set_major_formatter(ticker.PercentFormatter(1))
        whole = ticker.MaxNLocator(5, integer=True)
        mesh.set_clim(0, max(2.0, float(np.nanmax(counts))))
        figure.colorbar(mesh, ax=axis, label="boxes", shrink=0.7, ticks=whole).outline.set_visible(False)
        return png()


def position_map(coverage: NDArray[np.float64], aspect: float) -> bytes:
    """How often each place of the picture is in a box, on a picture `aspect` times as high as it is wide."""
    with _figure(_WIDTH, 0.8 + 4.3 * min(1.4, aspect)) as (figure, png):
        axis = figure.subplots()
        shown = axis.imshow(coverage, cmap=HEAT, vmin=0, extent=(0, 1, aspect, 0), interpolation="bilinear")
        for spine in axis.spines.values():
            spine.set(visible=True, color=QUIET)
        axis.set(xticks=[], yticks=[])
        axis.axvline(0.5, color=QUIET, linewidth=0.8, linestyle=(0, (4, 3)))
        for place, side, text in ((0.03, "left", "patient's right"), (0.97, "right", "patient's left")):
            axis.text(place, 0.04 * aspect, text, ha=side, va="top")
        bar = figure.colorbar(shown, ax=axis, shrink=0.7, label="images with opacity whose boxes hold this place")
        bar.ax.yaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=0))
        bar.outline.set_visible(False)
        return png()


def millimetres(
    fields_mm: NDArray[np.float64],
    widths_mm: NDArray[np.float64],
    heights_mm: NDArray[np.float64],
    cassette_mm: tuple[float, float],
) -> bytes:
    """How wide the pictures would be, beside what a chest cassette is, and how large the boxes, if any, by the tag."""
    with _figure(_WIDTH, 5.0 if len(widths_mm) else 2.5) as (figure, png):
        above, *rest = figure.subplots(2 if len(widths_mm) else 1, 1, squeeze=False)[:, 0]
        right = max(cassette_mm[1] * 1.08, float(fields_mm.max()) * 1.08)
        above.axvspan(*cassette_mm, color=SKY, alpha=0.35, linewidth=0)
        counts, _, _ = above.hist(fields_mm, bins=np.linspace(0, right, 90), color=BLUE)
        label = f"a chest cassette:\n{cassette_mm[0]:.0f} to {cassette_mm[1]:.0f} mm"
        smaller = np.median(fields_mm) < np.mean(cassette_mm)
        place, side = (cassette_mm[0] - right / 60, "right") if smaller else (cassette_mm[1] + right / 60, "left")
        above.text(place, counts.max(), label, ha=side, va="top", fontsize=9.5)
        above.set_title("Width of the pictures, by the tag")
        above.set(xlim=(0, right), xlabel="mm", ylabel="images")
        for below in rest:
            bins = np.linspace(0, max(1.0, float(np.quantile(np.r_[widths_mm, heights_mm], 0.999))), 45)
            below.hist(widths_mm, bins=bins, color=OPACITY, alpha=0.85, label="width")
            below.hist(heights_mm, bins=bins, histtype="step", color=INK, linewidth=1.6, label="height")
            below.set_title("Boxes, by the tag")
            below.set(xlabel="mm", ylabel="boxes", xlim=(0, bins[-1]))
            below.legend()
        for axis in (above, *rest):
            axis.yaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))
            axis.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
        return png()


def shares_with_intervals(
    names: Sequence[str], hits: Sequence[int], totals: Sequence[int], intervals: Sequence[tuple[float, float]]
) -> bytes:
    """Share with opacity in each group, and its 95% interval."""
    with _figure(_WIDTH, 1.0 + 0.7 * len(names)) as (figure, png):
        axis = figure.subplots()
        shares = np.array(hits) / np.array(totals)
        error = np.abs(np.array(intervals).T - shares)
        texts = [f"{share:.0%} of {total:,}" for share, total in zip(shares, totals, strict=True)]
        _bars(axis, names, shares.tolist(), [OPACITY] * len(names), [""] * len(names))
        axis.errorbar(shares, range(len(names)), xerr=error, fmt="none", ecolor=INK, capsize=4, linewidth=1.4)
        for row, (text, (_, high)) in enumerate(zip(texts, intervals, strict=True)):
            axis.text(high, row, f"  {text}", va="center")
        axis.set(
            xlim=(0, 1.55 * max(high for _, high in intervals)), xlabel="images with opacity; lines: 95% intervals"
        )
        axis.xaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=0))
        return png()


def patient_bars(names: Sequence[str], patients: Sequence[int], images: Sequence[int]) -> bytes:
    """Patients by how many images they have, and the images these hold."""
    with _figure(_WIDTH, 3.9) as (figure, png):
        axis = figure.subplots()
        at = np.arange(len(names))
        hatched: dict[str, Any] = {"color": "white", "edgecolor": INK, "hatch": "////"}
        for shift, counts, label, style in (
            (-0.2, patients, "share of the patients", {"color": BLUE}),
            (0.2, images, "share of the images", hatched),
        ):
            shares = np.array(counts) / max(1, sum(counts))
            bars = axis.bar(at + shift, shares, 0.4, label=label, **style)
            axis.bar_label(bars, [_share(count, sum(counts)) for count in counts], padding=2, fontsize=8.5)
        axis.set_xticks(at, names)
        axis.set(xlabel="images of one patient", yticks=[])
        axis.spines["left"].set_visible(False)
        axis.tick_params(axis="x", length=0)
        figure.legend(loc="outside upper left", ncols=2)
        return png()


def paired_dots(rows: Sequence[tuple[str, float, float]], names: tuple[str, str]) -> bytes:
    """Several shares in two groups of images, a line from one to the other."""
    with _figure(_WIDTH, 1.1 + 0.62 * len(rows)) as (figure, png):
        axis = figure.subplots()
        for at, (_, first, second) in enumerate(rows):
            axis.plot([first, second], [at, at], color=QUIET, linewidth=2, zorder=1)
            for value, other in ((first, second), (second, first)):
                side = -1 if value < other or (value == other and value is first) else 1
                axis.annotate(
                    f"{value:.0%}",
                    (value, at),
                    xytext=(side * 9, 0),
                    textcoords="offset points",
                    ha="right" if side < 0 else "left",
                    va="center",
                )
        at_all = range(len(rows))
        axis.scatter([row[1] for row in rows], at_all, s=60, color=BLUE, label=names[0], zorder=2)
        axis.scatter(
            [row[2] for row in rows], at_all, s=60, facecolor="white", edgecolor=INK, lw=1.8, label=names[1], zorder=2
        )
        axis.set_yticks(at_all, [_fold(row[0]) for row in rows])
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.set_xlim(0, min(1.08, 1.25 * max(max(row[1:]) for row in rows)))
        axis.xaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=0))
        axis.grid(axis="y")
        axis.spines["left"].set_visible(False)
        axis.tick_params(axis="y", length=0)
        figure.legend(loc="outside upper left", ncols=2)
        return png()


def contact_sheet(title: str, tiles: Sequence[tuple[NDArray[np.uint8], NDArray[np.float64], str]]) -> bytes:
    """Pictures side by side: (pixels, boxes as (boxes, 4) left, top, right, bottom of 0 to 1, caption) each."""
    columns = min(4, len(tiles))
    rows = -(-len(tiles) // columns)
    inch = TILE_PX / DPI
    with _figure(columns * inch, rows * (inch + 0.2) + 0.15) as (figure, png):
        figure.suptitle(title, fontsize=7)
        axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"wspace": 0.02, "hspace": 0.02}).ravel()
        for axis in axes:
            axis.set_axis_off()
        for axis, (pixels, boxes, caption) in zip(axes, tiles, strict=False):
            axis.imshow(pixels, cmap="gray", vmin=0, vmax=255)
            height, width = pixels.shape
            for left, top, right, bottom in boxes * (width, height, width, height) - 0.5:
                place = {"xy": (left, top), "width": right - left, "height": bottom - top}
                axis.add_patch(Rectangle(**place, fill=False, edgecolor="black", linewidth=2.2))
                axis.add_patch(Rectangle(**place, fill=False, edgecolor=BOX, linewidth=1.2))
            axis.set_title(caption, fontsize=5, pad=2, fontweight="normal")
        return png()


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Figure, Callable[[], bytes]]]:
    """A figure in our style, in inches, and the function that makes it a PNG."""
    with new_figure(width, height) as figure:
        yield figure, partial(to_png, figure)


def _bars(axis: Any, names: Sequence[str], values: Sequence[float], colours: Sequence[str], texts: list[str]) -> None:
    bars = axis.barh(range(len(names)), values, color=colours, height=0.62)
    axis.bar_label(bars, texts, padding=5)
    axis.set_yticks(range(len(names)), [_fold(name) for name in names])
    axis.invert_yaxis()
    _quiet(axis, 1.4 * max(values))


def _quiet(axis: Any, right: float) -> None:
    axis.set_xlim(0, right)
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.xaxis.set_major_locator(ticker.MaxNLocator(4))
    axis.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))


def _fold(name: str) -> str:
    return textwrap.fill(name, 18)


def _count(count: int, total: int) -> str:
    return f"{count:,} ({_share(count, total)})"


def _share(count: int, total: int) -> str:
    """As short as a bar's label has to be; a few are not none."""
    return "<1%" if 0 < count < total / 100 else f"{count / max(1, total):.0%}"
