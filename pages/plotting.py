"""What the figures of all pages share: their style.

Colours are Okabe and Ito's; no figure needs them to be read.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
from matplotlib.figure import Figure

QUIET, BLUE, SKY, GREEN, PURPLE, VERMILION, ORANGE, INK, LINE = (
    "#8A99A5",
    "#0072B2",
    "#56B4E9",
    "#009E73",
    "#CC79A7",
    "#D55E00",
    "#E69F00",
    "#1B2329",
    "#D9DFE3",
)
DPI = 200  # of a PNG
_STYLE = {
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$"
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.labelsize": 9.5,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "figure.facecolor": "white",
    "svg.hashsalt": "hilum",  # names inside an SVG would be random without
}


@contextmanager
def new_figure(width: float, height: float) -> Iterator[Figure]:
    """A figure in this style, in inches; draw and save it inside."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script the font lacks
        yield Figure(figsize=(width, height), layout="constrained")


def to_png(figure: Figure) -> bytes:
    """A PNG; the same figure gives the same bytes."""
    return _saved(figure, "png", DPI, {"Software": None})


def to_svg(figure: Figure) -> bytes:
    """An SVG whose letters are outlines, so that it looks alike everywhere; the same figure gives the same bytes."""
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    return _saved(figure, "svg", 72, nothing)


def _saved(figure: Figure, kind: str, dpi: int, metadata: dict[str, None]) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata)
    return buffer.getvalue()
