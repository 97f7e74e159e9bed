"""Stacked distributions, with data and their ratio where there are any."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import mplhep
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from ..search.filling import Histogram
from .canvas import DASHED, HALO, STYLE, finish, new_figure
from .spectra import Ratio, ratio, sums, total

_BAND: dict[str, Any] = {
    "fill": True,
    "facecolor": "none",
    "edgecolor": "#444444",
    "hatch": "//////",
    "linewidth": 0,
}
_POINTS: dict[str, Any] = {
    "color": "black",
    "marker": "o",
    "markersize": 3.6,
    "linestyle": "none",
    "elinewidth": 1.1,
}
_FLAG = 0.055  # height of a threshold's name, in axes
_ROOM = 0.92  # part of a ratio panel's reach that a point may use, so that none is cut in half
_EDGE = 0.025  # height of half a point, in axes


class Component(NamedTuple):
    """A channel in a figure."""

    label: str
    histogram: Histogram
    """One axis, Weight storage, normalised as it is to be drawn."""
    colour: str


@mpl.rc_context(STYLE)
def distribution(
    backgrounds: Sequence[Component],
    signals: Sequence[Component] = (),
    data: "Histogram | None" = None,
    *,
    label: str,
    unit: str = "1",
    title: str = "",
    corner: str = "",
    cuts: Mapping[str, float] | None = None,
    window: tuple[float, float] | None = None,
    wide: bool = False,
) -> Figure:
    """Stack backgrounds, overlay signals, and compare with data where there are any.

    Parameters
    ----------
    backgrounds
        Stacked, the smallest at the bottom; the hatched band is their statistical uncertainty.
    signals
        Drawn as lines with the normalisation that they come with.
    data
        Drawn with Poisson (Garwood) intervals of 68 %, and over the stack in a lower panel.
    label, unit
        Of the abscissa; unit "1" is not printed.
    title, corner
        Above the axes, left and right.
    cuts
        Thresholds on the abscissa by name; events to the right are kept.
    window
        A range of the abscissa to shade.
    wide
        For the whole width of the page.
    """
    figure = new_figure(9.2, 5.6) if wide else new_figure(6.4, 5.4)
    if data is None:
        main = bottom = figure.add_subplot()
    else:
        main, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    simulation = total([part.histogram for part in backgrounds])
    edges = simulation.axes[0].edges
    _stack(main, backgrounds, simulation)
    for part in signals:
        main.stairs(
            part.histogram.values(),
            edges,
            color=part.colour,
            linewidth=2,
            label=part.label,
            path_effects=HALO,
        )
    if data is not None:
        comparison = ratio(data, simulation)
        seen = data.values() > 0
        main.errorbar(
            comparison.centers[seen],
            data.values()[seen],
            yerr=comparison.data_error[:, seen],
            label="Data",
            **_POINTS,
        )
        _draw_ratio(bottom, comparison)
    low, high = logarithmic_range(simulation, [part.histogram for part in signals], data)
    free = 0.92 - _FLAG * len(cuts or ())
    main.set_ylim(low, low * (high / low) ** (1 / free))  # before the scale, which warns without limits
    main.set_yscale("log")
    main.set_ylabel(_events_per_bin(edges, unit))
    if window is not None:
        for axes in {main, bottom}:
            axes.axvspan(*window, color="#ffe08a", zorder=0, linewidth=0)
    _draw_cuts(main, cuts or {}, (float(edges[0]), float(edges[-1])))
    main.set_xlabel("")
    bottom.set_xlabel(label if unit == "1" else f"{label} [{unit}]")
    _set_abscissa(bottom, edges, unit)
    finish(figure, main, title, corner, first=["Data"])
    return figure


def logarithmic_range(
    simulation: Histogram, signals: Sequence[Histogram] = (), data: "Histogram | None" = None
) -> tuple[float, float]:
    """Give the range of a logarithmic axis: all but stray bins of the stack, signals and single data events.

    It spans 9 decades at most; what is drawn may need room above it.
    """
    expected = simulation.values()
    floors = [float(np.quantile(expected[expected > 0], 0.05)) / 2] if (expected > 0).any() else []
    peaks = [float(part.values().max()) for part in signals]
    floors += [peak / 30 for peak in peaks if peak > 0]
    peaks.append(float(expected.max()))
    if data is not None and data.values().any():
        floors.append(0.4)
        peaks.append(float(data.values().max() + np.sqrt(data.values().max()) + 1))
    top = max(peaks)
    if not top > 0:
        return 0.1, 10.0
    return min(max(min(floors), top * 1e-9), top / 100), top


def ratio_range(comparison: Ratio) -> tuple[float, float, bool]:
    """Choose the range of a ratio panel, and whether it is logarithmic.

    It has to show nine in ten of all points, and nine in ten of those known to better than 50 % or more
    than two standard deviations from one: a search looks for an excess in the tail, where no bin is
    precise. The narrowest of three symmetric ranges that does so; else one that starts at zero; and a
    logarithmic one where data and simulation are far apart.
    """
    (down, up), value = comparison.error, comparison.value
    with np.errstate(invalid="ignore"):
        seen = value > 0
        precise = np.maximum(down, up) < 0.5 * value
        apart = (value - 2 * down > 1) | (value + 2 * up < 1)
    groups = [value[group] for group in (seen, seen & (precise | apart)) if group.any()]
    if not groups:
        return 0.0, 2.0, False
    farthest = max(_all_but_a_tenth(np.abs(values - 1)) for values in groups)
    for reach in (0.25, 0.5, 1.0):
        if farthest <= _ROOM * reach:
            return 1 - reach, 1 + reach, False
    highest = max(_all_but_a_tenth(values) for values in groups)
    if np.median(groups[-1]) > 1 / 3 and highest <= 5:
        return 0.0, highest / _ROOM, False
    lowest = min(1 / _all_but_a_tenth(1 / values) for values in groups)
    return min(0.3, lowest / 2), max(3.0, 2 * highest), True


def _all_but_a_tenth(values: NDArray[np.float64]) -> float:
    """Give the largest value when the largest tenth, rounded down, is left out."""
    return float(np.sort(values)[len(values) - 1 - len(values) // 10])


def _stack(axes: Axes, backgrounds: Sequence[Component], simulation: Histogram) -> None:
    stack = sorted(backgrounds, key=lambda part: float(part.histogram.values().sum()))
    mplhep.histplot(
        [part.histogram for part in stack],
        ax=axes,
        stack=True,
        histtype="fill",
        label=[part.label for part in stack],
        color=[part.colour for part in stack],
        flow="none",
    )
    values, variances = sums(simulation)
    error = np.sqrt(variances)
    edges = simulation.axes[0].edges
    axes.stairs(values + error, edges, baseline=values - error, label="stat. uncertainty", **_BAND)


def _draw_ratio(axes: Axes, comparison: Ratio) -> None:
    low, high, logarithmic = ratio_range(comparison)
    axes.set_ylim(low, high)
    if logarithmic:
        axes.set_yscale("log")
    axes.set_ylabel("Data / sim.")
    axes.axhline(1, color="black", linewidth=1, linestyle=DASHED)
    band = comparison.band
    axes.stairs(1 + band, comparison.edges, baseline=np.maximum(1 - band, 1e-12), **_BAND)
    height = _heights(comparison.value, low, high, logarithmic)
    with np.errstate(invalid="ignore"):
        above, below = height > 1 - _EDGE, (height < _EDGE) & (comparison.value > 0)
        inside = (comparison.value > 0) & ~above & ~below
    axes.errorbar(
        comparison.centers[inside], comparison.value[inside], yerr=comparison.error[:, inside], **_POINTS
    )
    # Arrows for points that lie beyond the panel, or so close to its edge that they would be cut.
    for outside, marker, place in ((above, "^", 0.92), (below, "v", 0.08)):
        axes.plot(
            comparison.centers[outside],
            np.full(np.count_nonzero(outside), place),
            marker,
            color="black",
            markersize=4,
            transform=axes.get_xaxis_transform(),
        )


def _heights(values: NDArray[np.float64], low: float, high: float, logarithmic: bool) -> NDArray[np.float64]:
    """Give the places of values in a panel: 0 at its lower end, 1 at its upper one; NaN without a value."""
    if not logarithmic:
        return (values - low) / (high - low)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.log(values / low) / math.log(high / low)


def _draw_cuts(axes: Axes, cuts: Mapping[str, float], limits: tuple[float, float]) -> None:
    """Mark thresholds by lines of different height, so that their names never collide."""
    low, high = limits
    inside = sorted((value, name) for name, value in cuts.items() if low < value < high)
    names_on_the_left = sum(value for value, _ in inside) > len(inside) * (low + high) / 2
    for level, (value, name) in enumerate(reversed(inside) if names_on_the_left else inside):
        height = 0.955 - _FLAG * level
        axes.axvline(value, ymax=height, color="black", linewidth=1, linestyle=DASHED)
        axes.annotate(
            f"{name} →" if names_on_the_left else f"→ {name}",
            (value, height),
            xycoords=("data", "axes fraction"),
            xytext=(-4 if names_on_the_left else 4, 0),
            textcoords="offset points",
            ha="right" if names_on_the_left else "left",
            va="center",
            fontsize=10.5,
        )


def _events_per_bin(edges: NDArray[np.float64], unit: str) -> str:
    width = edges[1] - edges[0]
    if unit == "1":
        return "Events" if math.isclose(width, 1) else f"Events / {width:.3g}"
    return f"Events / {width:.3g} {unit}"


def _set_abscissa(axes: Axes, edges: NDArray[np.float64], unit: str) -> None:
    axes.set_xlim(edges[0], edges[-1])
    if unit == "1" and np.array_equal(edges, np.arange(edges[0], edges[-1] + 1)) and edges[0] % 1 == 0:
        shown = edges[: -1 : math.ceil((len(edges) - 1) / 15)]
        axes.set_xticks(shown + 0.5, [f"{edge:.0f}" for edge in shown])
        axes.xaxis.set_minor_locator(NullLocator())
