"""How every figure looks, and how it becomes bytes.

Figures are made through Matplotlib's object interface alone: no global state knows about them, and they
vanish when nothing refers to them any more.
"""

import io
import math
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import mplhep
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patheffects import withStroke

FILLS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
"""Ten colours that stay apart for colour-blind readers (M. A. Petroff, arXiv:2107.02270)."""

LINES = ("#c9007a", "#00634a", "#1b1f8a", "#8a5a00", "#0086a8", "#a00000", "#5b6770")
"""Dark colours of lines, readable on white and over the fills."""

_LETTER = 0.089  # inches that a letter of 12 points takes, on the safe side
_HANDLE = 0.62  # inches of a legend's symbol and the space around it
_SMALLEST = 8.0  # points

SOLID = "-"
DASHED = (0, (4, 1.6))
DOTTED = (0, (1, 1.5))

HALO = (withStroke(linewidth=3.4, foreground="white"),)
"""Lifts a line off the fills below it."""

STYLE: dict[Any, Any] = {
    **mplhep.style.ATLAS,
    "font.size": 12,
    "axes.labelsize": 13,
    "axes.titlesize": 12,
    "axes.unicode_minus": True,
    "axes.autolimit_mode": "data",
    "axes.formatter.limits": (-3, 5),
    "xtick.labelsize": 11.5,
    "ytick.labelsize": 11.5,
    "xtick.major.size": 6,
    "xtick.minor.size": 3,
    "ytick.major.size": 6,
    "ytick.minor.size": 3,
    "legend.fontsize": 11.5,
    "legend.borderpad": 0.2,
    "legend.borderaxespad": 0.1,
    "legend.columnspacing": 1.4,
    "legend.handlelength": 1.6,
    "xtick.major.pad": 5,
    "lines.linewidth": 1.8,
    "hatch.linewidth": 0.7,
    "svg.fonttype": "path",
    "svg.hashsalt": "tailshard",
}
"""mplhep's ATLAS layout (ticks, Helvetica, no label), in sizes that suit a page."""


def fills(count: int) -> list[str]:
    """Colours for stacked channels: the ten, then the same ten lightened."""
    light = [_lightened(colour) for colour in FILLS]
    return [(*FILLS, *light)[index % 20] for index in range(count)]


def _lightened(colour: str) -> str:
    red, green, blue = to_rgb(colour)
    return to_hex(((1 + red) / 2, (1 + green) / 2, (1 + blue) / 2))


def lines(count: int) -> list[str]:
    """Colours for lines."""
    return [LINES[index % len(LINES)] for index in range(count)]


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure, sizes in inches, that pyplot knows nothing of."""
    # Wide pads: the layout of axes with a fixed aspect is not exact.
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.09))
    FigureCanvasAgg(figure)
    return figure


def write_titles(figure: Figure, axes: Axes, title: str, corner: str = "") -> None:
    """Write above the axes: the title on the left, luminosity and the like on the right, small if long."""
    letters = len(title) + len(re.sub(r"[$^{}]|\\\w+", "", corner)) + 3
    size = min(12.0, 12 * (figure.get_figwidth() - 1) / (_LETTER * letters))
    if size < _SMALLEST:
        title = f"{title[: max(1, int(len(title) - letters * (1 - size / _SMALLEST)) - 1)]}…"
    size = max(size, _SMALLEST)
    axes.set_title(plain(title), loc="left", fontweight="bold", fontsize=size)
    axes.set_title(corner, loc="right", fontsize=size)


def write_legend(figure: Figure, axes: Axes, first: Sequence[str] = ()) -> None:
    """Put the legend above the axes, where it hides nothing; in as many columns as fit, so none is cut."""
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda index: labels[index] not in first)
    if not order:
        return
    names = [labels[index] for index in order]
    figure.legend(
        [handles[index] for index in order],
        names,
        loc="outside upper left",
        ncols=legend_columns(names, figure.get_figwidth()),
    )


def legend_columns(names: Sequence[str], width: float) -> int:
    """Give the largest number of columns in which a legend fits a width in inches."""
    for columns in range(len(names), 1, -1):
        rows = math.ceil(len(names) / columns)
        widest = [max(map(len, names[start : start + rows])) for start in range(0, len(names), rows)]
        if sum(_LETTER * letters + _HANDLE for letters in widest) <= width:
            return columns
    return 1


def plain(text: str) -> str:
    """Keep Matplotlib from reading a user's text as mathematics."""
    return text.replace("$", r"\$")


def svg(figure: Figure) -> bytes:
    """Draw a figure as SVG: glyphs as paths, no date, the same bytes for the same data."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
