"""Curves and matrices: scans, ROC, training, rapidity-mass matrices. Drawing only."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from .canvas import DOTTED, HALO, SOLID, STYLE, finish, label_rows, new_figure


class Curve(NamedTuple):
    """A line in a figure."""

    label: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    """NaN where there is nothing to draw."""
    colour: str
    line: Any = SOLID
    """One of the line styles of `canvas`."""
    mark: float | None = None
    """Abscissa to mark on the line."""
    error: NDArray[np.float64] | None = None
    """Standard deviations of y."""


class Scan(NamedTuple):
    """Significances against a cut, and the background that each cut leaves."""

    label: str
    """Of the abscissa."""
    significance: Sequence[Curve]
    background: Sequence[Curve]
    """One for each of the significances, in the same order."""


@mpl.rc_context(STYLE)
def scan(
    scans: Sequence[Scan],
    *,
    minimum_background: float,
    ordinate: str,
    title: str = "",
    corner: str = "",
    wide: bool = False,
) -> Figure:
    """Draw significance against cuts, above the background that each cut leaves.

    Parameters
    ----------
    scans
        One column for each quantity that is cut on, with one ordinate for all.
    minimum_background
        Events below which no significance is quoted; drawn as a line.
    ordinate
        Label of the upper panels.
    title, corner
        Above the axes, left and right.
    wide
        For the whole width of the page.
    """
    figure = new_figure(9.2, 6.4) if wide else new_figure(6.4, 5.6)
    panels = figure.subplots(
        2,
        len(scans),
        sharex="col",
        sharey="row",
        squeeze=False,
        height_ratios=(2, 1),
        width_ratios=(1.7, *[1] * (len(scans) - 1)),
    )
    largest = max(_largest(column.significance) for column in scans)
    most = max(_largest(column.background) for column in scans)
    floor = minimum_background or 1.0
    panels[0, 0].set_ylim(0, 1.12 * largest if largest > 0 else 1)
    panels[0, 0].set_ylabel(ordinate)
    panels[1, 0].set_ylim(floor / 30, 3 * max(most, floor))  # before the scale, see distributions
    panels[1, 0].set_yscale("log")
    panels[1, 0].set_ylabel("Background")
    for (upper, lower), column in zip(panels.T, scans, strict=True):
        for curve in column.significance:
            _draw(upper, curve._replace(error=None))
            _mark(upper, curve)
            if upper is not panels[0, 0]:
                _name(panels[0, 0], curve)
        for curve in column.background:
            _draw(lower, curve)
        if minimum_background > 0:
            lower.axhline(minimum_background, color="black", linewidth=1.2, linestyle=DOTTED)
        lower.set_xlim(*_filled_range(column.significance))
        lower.xaxis.set_major_locator(MaxNLocator("auto" if column is scans[0] else 3))
        lower.set_xlabel(column.label)
    if minimum_background > 0:
        panels[1, 0].annotate(
            f"nothing is quoted below {minimum_background:g}",
            (0.01, minimum_background),
            xycoords=("axes fraction", "data"),
            xytext=(0, -5),
            textcoords="offset points",
            va="top",
            fontsize=10.5,
            path_effects=HALO,
        )
    finish(figure, panels[0, 0], title, corner, last=panels[0, -1])
    return figure


@mpl.rc_context(STYLE)
def roc(curves: Sequence[Curve], *, title: str = "") -> Figure:
    """Draw signal efficiency (y) against background efficiency (x, logarithmic), in steps.

    Only points with a positive background efficiency can be drawn.
    """
    figure = new_figure(6.4, 5.4)
    axes = figure.add_subplot()
    smallest = min((float(curve.x[curve.x > 0].min(initial=1)) for curve in curves), default=1.0)
    left = 10.0 ** min(-2, max(-5, math.floor(math.log10(smallest))))
    chance = np.geomspace(left, 1, 200)
    axes.plot(chance, chance, color="#777777", linewidth=1, linestyle=DOTTED, label="chance")
    for curve in curves:
        _draw(axes, curve, drawstyle="steps-post")
    axes.grid(color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_xlim(left, 1)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("Background efficiency")
    axes.set_ylabel("Signal efficiency")
    finish(figure, axes, title)
    return figure


@mpl.rc_context(STYLE)
def training(curves: Sequence[Curve], *, best_epoch: int | None, title: str = "") -> Figure:
    """Draw losses (logarithmic) against the epoch, and mark the best epoch."""
    figure = new_figure(6.4, 4.8)
    axes = figure.add_subplot()
    for curve in curves:
        _draw(axes, curve, marker="o", markersize=4)
    if best_epoch is not None:
        axes.axvline(
            best_epoch, color="#555555", linewidth=1.2, linestyle=DOTTED, label=f"best epoch: {best_epoch}"
        )
    axes.set_yscale("log")
    axes.margins(x=0.05, y=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("Epoch")
    axes.set_ylabel("Weighted mean squared error")
    finish(figure, axes, title)
    return figure


@mpl.rc_context(STYLE)
def by_update(curves: Sequence[Curve], *, ordinate: str, title: str = "") -> Figure:
    """Draw what has changed (logarithmic) against the number of the update."""
    figure = new_figure(6.4, 4.8)
    axes = figure.add_subplot()
    for curve in curves:
        _draw(axes, curve, marker="o", markersize=4)
    axes.set_yscale("log")
    axes.margins(x=0.05, y=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("Update")
    axes.set_ylabel(ordinate)
    finish(figure, axes, title)
    return figure


@mpl.rc_context(STYLE)
def matrix(
    values: NDArray[np.floating[Any]],
    names: Sequence[str],
    *,
    limits: tuple[float, float],
    label: str,
    title: str = "",
    corner: str = "",
) -> Figure:
    """Draw a square matrix in colour, with named rows and columns.

    Parameters
    ----------
    values
        Shape (rows, rows). Zeros stay blank; what is negative gets a colour of its own.
    names
        Of rows and columns; lines part kinds of objects (a name without its number).
    limits
        Ends of the logarithmic colour scale, both positive; what lies beyond takes the colour of the end.
    label
        Of the colour scale.
    title, corner
        Above the axes, left and right.
    """
    figure = new_figure(7.2, 6.25)
    axes = figure.add_subplot()
    low, high = limits
    negative = bool((values < 0).any())
    # A logarithmic scale has no place for negative values; far below its end they take the colour "under".
    shown = np.where(values < 0, low * 1e-3, np.where(values > 0, np.maximum(values, low), np.nan))
    colours = mpl.colormaps["viridis_r"].with_extremes(under="#f26d6d", bad="white")
    image = axes.imshow(shown, norm=LogNorm(low, high), cmap=colours, interpolation="none")
    bar = figure.colorbar(image, ax=axes, extend="min" if negative else "neither", fraction=0.05, pad=0.02)
    bar.set_label(f"{label}, red: negative" if negative else label)
    label_rows(axes, names, fontsize=9.5)
    finish(figure, axes, title, corner, bottom=0.85, right=0.85)
    return figure


def _draw(axes: Axes, curve: Curve, **style: Any) -> None:
    axes.plot(
        curve.x,
        curve.y,
        color=curve.colour,
        linestyle=curve.line,
        label=curve.label,
        zorder=2 if curve.line == SOLID else 2.5,  # a broken line hides nothing below it
        **style,
    )
    if curve.error is not None:
        axes.fill_between(
            curve.x,
            curve.y - curve.error,
            curve.y + curve.error,
            step="post" if style.get("drawstyle") == "steps-post" else None,
            color=curve.colour,
            alpha=0.16,
            linewidth=0,
        )


def _mark(axes: Axes, curve: Curve) -> None:
    """Mark a point on a curve, with its uncertainty."""
    if curve.mark is None:
        return
    place = int(np.argmin(np.abs(curve.x - curve.mark)))
    error = None if curve.error is None else curve.error[place]
    axes.errorbar(
        [curve.mark],
        [curve.y[place]],
        yerr=error,
        fmt="o",
        color=curve.colour,
        markersize=8,
        markeredgecolor="white",
        elinewidth=1.6,
        zorder=3,
    )


def _name(axes: Axes, curve: Curve) -> None:
    """Put a curve of other axes into the legend."""
    axes.plot([], [], color=curve.colour, linestyle=curve.line, label=curve.label)


def _largest(curves: Sequence[Curve]) -> float:
    return max((float(curve.y[np.isfinite(curve.y)].max(initial=0)) for curve in curves), default=0.0)


def _filled_range(curves: Sequence[Curve]) -> tuple[float, float]:
    """Give the abscissae between which there is something to see, and a little more."""
    left, end = float(curves[0].x[0]), float(curves[0].x[-1])
    right = max(float(curve.x[np.isfinite(curve.y)].max(initial=left)) for curve in curves)
    return left, min(end, left + 1.1 * (right - left)) if right > left else end
