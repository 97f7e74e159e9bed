"""Figures of the robustness tests: drawing only."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..report.canvas import SOLID, STYLE, finish, new_figure
from ..report.plots import Curve


@mpl.rc_context(STYLE)
def shapes(distributions: Mapping[str, Curve], edges: NDArray[np.float64], title: str = "") -> Figure:
    """Draw normalised distributions of the error as steps, with bands for their uncertainties.

    Parameters
    ----------
    distributions
        Curves whose y has one value for each bin.
    edges
        Of the bins.
    """
    figure = new_figure(6.4, 5.4)
    axes = figure.add_subplot()
    filled = np.flatnonzero(np.sum([np.abs(curve.y) for curve in distributions.values()], axis=0))
    for curve in distributions.values():
        y = np.where(curve.y > 0, curve.y, np.nan)
        axes.stairs(y, edges, color=curve.colour, linestyle=curve.line, label=curve.label, baseline=None)
        if curve.error is not None:
            lower, upper = (np.repeat(y + sign * curve.error, 2) for sign in (-1, 1))
            x = np.repeat(edges, 2)[1:-1]
            axes.fill_between(x, np.maximum(lower, 1e-12), upper, color=curve.colour, alpha=0.16, linewidth=0)
    axes.set_yscale("log")
    largest = max(float(curve.y.max(initial=0)) for curve in distributions.values())
    axes.set_ylim(largest * 1e-5, largest * 2)
    if len(filled):
        axes.set_xlim(edges[filled[0]], edges[filled[-1] + 1])
    axes.set_xlabel(r"log$_{\mathrm{10}}$(reconstruction error)")
    axes.set_ylabel("Share of events per bin")
    finish(figure, axes, title)
    return figure


@mpl.rc_context(STYLE)
def areas(curves: Sequence[Curve], title: str = "") -> Figure:
    """Draw areas under the ROC curve against the factor on the momenta, with their uncertainties."""
    figure = new_figure(6.4, 5.4)
    axes = figure.add_subplot()
    for curve in curves:
        axes.errorbar(
            curve.x,
            curve.y,
            yerr=curve.error,
            color=curve.colour,
            linestyle=curve.line,
            marker="o" if curve.line == SOLID else "s",
            markersize=5,
            label=curve.label,
        )
    axes.axhline(0.5, color="#777777", linewidth=1)
    lowest = min(
        float(np.nanmin(curve.y - (curve.error if curve.error is not None else 0))) for curve in curves
    )
    axes.set_ylim(min(0.45, lowest - 0.02), 1.01)
    axes.margins(x=0.03)
    axes.set_xlabel("Factor on the momenta of the leading electron and muon")
    axes.set_ylabel("AUC")
    finish(figure, axes, title)
    return figure
