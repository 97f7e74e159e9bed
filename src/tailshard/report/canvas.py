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
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
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

LINES = ("#c9007a", "#00634a", "#1b1f8a", "#8a5a00", "#007494", "#a00000", "#5b6770")
"""Dark colours of lines, readable on white and over the fills."""

# In inches, measured, on the safe side: a letter of a title and of a legend, a legend's symbol with the
# space around it, the left margin, and the height of a title and of a row of a legend.
_TITLE_LETTER, _LEGEND_LETTER, _HANDLE = 0.089, 0.081, 0.56
_LEFT, _TITLE, _LEGEND_ROW = 0.95, 0.34, 0.225
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
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def finish(
    figure: Figure,
    axes: Axes,
    title: str,
    corner: str = "",
    *,
    first: Sequence[str] = (),
    last: Axes | None = None,
    bottom: float = 0.62,
    right: float = 0.2,
) -> None:
    """Write title and legend above the axes, and give all figures the same margins.

    Parameters
    ----------
    figure, axes
        The figure and its uppermost axes.
    title, corner
        On the left and on the right, in smaller letters if they are long.
    first
        Entries that come first in the legend. It has as many columns as fit, so that none is cut, and
        lies where it hides nothing.
    last
        Axes that the corner stands above, where there are several side by side.
    bottom, right
        Room below and beside the axes, in inches.
    """
    width, height = figure.get_size_inches()
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda index: labels[index] not in first)
    rows = 0
    if order:
        names = [labels[index] for index in order]
        columns = legend_columns(names, width - 0.2)
        rows = math.ceil(len(names) / columns)
        symbols = [handles[index] for index in order]
        figure.legend(symbols, names, loc="upper left", bbox_to_anchor=(0.1 / width, 1), ncols=columns)
    _write_titles(axes, last or axes, title, corner, width - _LEFT - right)
    figure.subplots_adjust(
        left=_LEFT / width,
        right=1 - right / width,
        bottom=bottom / height,
        top=1 - (_TITLE + _LEGEND_ROW * rows) / height,
        hspace=0.1,
        wspace=0.06,
    )
    figure.align_ylabels()


def _write_titles(axes: Axes, last: Axes, title: str, corner: str, width: float) -> None:
    letters = len(title) + len(re.sub(r"[$^{}]|\\\w+", "", corner)) + 3
    size = min(12.0, 12 * width / (_TITLE_LETTER * letters))
    if size < _SMALLEST:
        title = f"{title[: max(1, int(len(title) - letters * (1 - size / _SMALLEST)) - 1)]}…"
        size = _SMALLEST
    axes.set_title(plain(title), loc="left", fontweight="bold", fontsize=size)
    last.set_title(corner, loc="right", fontsize=size)


def legend_columns(names: Sequence[str], width: float) -> int:
    """Give the largest number of columns in which a legend fits a width in inches."""
    letters = [len(name) for name in names]
    for columns in range(len(names), 1, -1):
        # Matplotlib fills column by column; where they cannot be equal, the first ones are longer.
        widest = [int(column.max()) for column in np.array_split(letters, columns)]
        if sum(_LEGEND_LETTER * most + _HANDLE for most in widest) <= width:
            return columns
    return 1


def label_rows(axes: Axes, names: Sequence[str], fontsize: float) -> None:
    """Name rows and columns of a square matrix; lines part kinds of objects (a name without its number)."""
    places = range(len(names))
    axes.set_xticks(places, names, rotation=90, fontsize=fontsize)
    axes.set_yticks(places, names, fontsize=fontsize)
    axes.minorticks_off()
    axes.tick_params(length=0)
    kinds = [name.rstrip("0123456789 ") for name in names]
    for place in places[1:]:
        if kinds[place] != kinds[place - 1]:
            axes.axhline(place - 0.5, color="#888888", linewidth=0.7)
            axes.axvline(place - 0.5, color="#888888", linewidth=0.7)


def plain(text: str) -> str:
    """Keep Matplotlib from reading a user's text as mathematics."""
    return text.replace("$", r"\$")


def svg(figure: Figure) -> bytes:
    """Draw a figure as SVG: glyphs as paths, no date, the same bytes for the same data."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
