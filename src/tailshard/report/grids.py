"""Drawings of many cells at once: correlations, events and reconstructions, errors by kind of cell."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LogNorm, Normalize, SymLogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .canvas import STYLE, finish, label_rows, new_figure, plain

_NAMED_AT_MOST = 60  # cells whose names are legible


class Block(NamedTuple):
    """Neighbouring rows of a grid that are of one kind."""

    name: str
    start: int
    stop: int


@mpl.rc_context(STYLE)
def correlation(
    values: NDArray[np.floating[Any]],
    names: Sequence[str],
    blocks: Sequence[Block],
    *,
    title: str = "",
    corner: str = "",
) -> Figure:
    """Draw a matrix of correlations from -1 (blue) to 1 (red).

    Parameters
    ----------
    values
        (cells, cells); NaN stays grey.
    names
        Of the cells; written where they are few enough to be read.
    blocks
        Kinds of cells, from the first to the last; lines part them.
    title, corner
        Above the axes, left and right.
    """
    figure = new_figure(9.2, 8.3)
    axes = figure.add_axes((0.11, 0.09, 0.76, 0.86))
    colours = mpl.colormaps["RdBu_r"].with_extremes(bad="#dddddd")
    image = axes.imshow(values, norm=Normalize(-1, 1), cmap=colours, interpolation="none")
    bar = figure.colorbar(image, cax=figure.add_axes((0.89, 0.09, 0.022, 0.86)))
    bar.set_label("correlation")
    axes.minorticks_off()
    axes.tick_params(length=0)
    if len(names) <= _NAMED_AT_MOST:
        size = min(9.5, 330 / len(names))
        axes.set_position((0.22, 0.2, 0.65, 0.75))
        bar.ax.set_position((0.89, 0.2, 0.022, 0.75))
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
        axes.set_yticks(range(len(names)), names, fontsize=size)
    else:
        # A block of a few cells has no room for its name beside those of its neighbours.
        shown = [block for block in blocks if block.stop - block.start > 0.035 * len(names)]
        middles = [(block.start + block.stop - 1) / 2 for block in shown]
        axes.set_xticks(middles, [block.name for block in shown])
        axes.set_yticks(middles, [block.name for block in shown])
    for block in blocks[1:]:
        axes.axhline(block.start - 0.5, color="black", linewidth=0.6)
        axes.axvline(block.start - 0.5, color="black", linewidth=0.6)
    axes.set_title(plain(title), loc="left", fontweight="bold")
    axes.set_title(corner, loc="right")
    return figure


@mpl.rc_context(STYLE)
def reconstruction(
    event: NDArray[np.float32],
    reconstructed: NDArray[np.float32],
    names: Sequence[str],
    *,
    label: str,
    title: str = "",
    corner: str = "",
) -> Figure:
    """Draw the matrix of an event, what a network makes of it, and the difference of both.

    Parameters
    ----------
    event, reconstructed
        (rows, rows). Cells of objects that do not exist are NaN in both and stay blank.
    names
        Of rows and columns.
    label
        Of the colour scales.
    title, corner
        Above the figure, left and right.
    """
    figure = new_figure(13.0, 6.0)
    panels = figure.subplots(1, 3, sharey=True)
    difference = event - reconstructed
    both = np.abs(np.concatenate([event.ravel(), reconstructed.ravel()]))
    seen = both[np.isfinite(both) & (both > 0)]
    high = float(seen.max(initial=0)) or 1.0
    low = max(float(np.quantile(seen, 0.05)) if seen.size else 0.1, 1e-4 * high) * 0.999
    logarithmic = mpl.colormaps["viridis_r"].with_extremes(under="#f26d6d", bad="white")
    away = float(np.nanmax(np.abs(difference), initial=0)) or 1.0
    signed = SymLogNorm(max(1e-3 * away, low / 10), vmin=-away, vmax=away)
    drawn = (
        ("event", _above(event, low), LogNorm(low, high), logarithmic, label),
        ("reconstruction", _above(reconstructed, low), LogNorm(low, high), logarithmic, label),
        (
            "event − reconstruction",
            difference,
            signed,
            mpl.colormaps["RdBu_r"].with_extremes(bad="white"),
            label,
        ),
    )
    for axes, (name, values, norm, colours, words) in zip(panels, drawn, strict=True):
        image = axes.imshow(values, norm=norm, cmap=colours, interpolation="none")
        negative = isinstance(norm, LogNorm) and bool((values[np.isfinite(values)] < low).any())
        bar = figure.colorbar(
            image,
            ax=axes,
            orientation="horizontal",
            extend="min" if negative else "neither",
            fraction=0.05,
            pad=0.2,
            shrink=0.86,
        )
        bar.set_label(f"{words}, red: not above zero" if negative else words, fontsize=10.5)
        bar.ax.tick_params(labelsize=9.5)
        ticks = [low, math.sqrt(low * high), high] if isinstance(norm, LogNorm) else [-away, 0, away]
        bar.set_ticks(ticks, labels=[f"{tick:.2g}".replace("-", "−") for tick in ticks])
        bar.ax.minorticks_off()
        label_rows(axes, names, fontsize=8)
        axes.set_title(name, fontsize=11)
    figure.text(0.01, 0.965, plain(title), fontweight="bold", fontsize=12)
    figure.text(0.99, 0.965, corner, ha="right", fontsize=12)
    figure.subplots_adjust(left=0.075, right=0.985, top=0.9, bottom=0.1, wspace=0.05)
    return figure


def _above(values: NDArray[np.float32], low: float) -> NDArray[np.float64]:
    """Move what is small but positive onto a logarithmic scale, and the rest below it."""
    with np.errstate(invalid="ignore"):
        moved = np.where(values > 0, np.maximum(values, low), low * 1e-3)
    return np.where(np.isnan(values), np.nan, moved)


@mpl.rc_context(STYLE)
def by_kind(
    values: NDArray[np.float64],
    errors: NDArray[np.float64],
    names: Sequence[str],
    kinds: Sequence[str],
    colours: Sequence[str],
    *,
    ordinate: str,
    title: str = "",
    corner: str = "",
) -> Figure:
    """Draw a point with its uncertainty for every name and kind, on a logarithmic ordinate.

    Parameters
    ----------
    values, errors
        (names, kinds); NaN is left out.
    names, colours
        What is compared, and its colours.
    kinds
        Along the abscissa.
    ordinate
        Its label.
    title, corner
        Above the axes, left and right.
    """
    figure = new_figure(9.2, 5.2)
    axes = figure.add_subplot()
    places = np.arange(len(kinds), dtype=np.float64)
    shifts = (np.arange(len(names)) - (len(names) - 1) / 2) * min(0.14, 0.7 / len(names))
    for name, colour, shift, mean, error in zip(names, colours, shifts, values, errors, strict=True):
        axes.errorbar(
            places + shift, mean, yerr=error, fmt="o", color=colour, markersize=6, elinewidth=1.4, label=name
        )
    axes.set_xticks(places, kinds)
    axes.xaxis.minorticks_off()
    axes.set_xlim(-0.6, len(kinds) - 0.4)
    for place in places[1:]:
        axes.axvline(place - 0.5, color="#dddddd", linewidth=0.8, zorder=0)
    positive = values[np.isfinite(values) & (values > 0)]
    if positive.size:
        axes.set_ylim(0.5 * float(positive.min()), 2 * float(positive.max()))
        axes.set_yscale("log")
    axes.set_xlabel("Kind of cell")
    axes.set_ylabel(ordinate)
    finish(figure, axes, title, corner)
    return figure
