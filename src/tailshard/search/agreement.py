"""How well simulation describes data, distribution by distribution.

    chi2 = sum over bins of (d - b)^2 / (b + sigma_b^2)

with d data events, b expected ones, and sigma_b^2 the sum of the squared weights behind them: Pearson's
chi-squared with the statistical uncertainty of the simulation beside that of the data. Neighbouring bins are
taken together until `LEAST` events are expected in each, and as many simulated, as the distribution of chi2
is that of the textbooks only then (W. G. Cochran, "The chi^2 test of goodness of fit", Ann. Math. Statist. 23
(1952) 315). Nothing is fitted: there are as many degrees of freedom as bins. The chi-squared of the shape
alone scales the simulation to the number of data events and has one less.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2 as chi2_distribution

from ..config import Pipeline
from .cells import Cells
from .filling import ERROR, Filled
from .quoting import only, quote, spectrum
from .regions import INCLUSIVE
from .significance import Spectrum

LEAST = 5.0
"""Expected events in a bin, at least, and simulated ones: (sum w)^2 / sum w^2 of them."""


class Agreement(NamedTuple):
    """How well one distribution is described."""

    chi2: float
    bins: int
    """After neighbours were taken together."""
    chi2_per_bin: float
    p_value: float
    shape_chi2: float | None
    """After the simulation was scaled to the data; None for a single bin."""
    shape_p_value: float | None
    data: float
    """Events in all bins."""
    expected: float
    expected_uncertainty: float


def agreement(data: Spectrum, expected: Spectrum, least: float = LEAST) -> Agreement | None:
    """Compare data with simulation.

    Parameters
    ----------
    data, expected
        Bins of one distribution, underflow and overflow included. Data with other weights than 1 is taken
        as events of its mean weight.
    least
        Expected, and simulated, events in a bin.

    Returns
    -------
    Agreement or None
        None where fewer than `least` events are expected or simulated altogether.
    """
    starts = groups(expected, least)
    if not len(starts):
        return None
    d, b, v = (np.add.reduceat(bins, starts) for bins in (data.values, expected.values, expected.variances))
    observed, simulated = float(d.sum()), float(b.sum())
    one = float(data.variances.sum()) / observed if observed > 0 else 1.0
    value = float(np.sum((d - b) ** 2 / (one * b + v)))
    shape = shape_p = None
    if len(starts) > 1 and observed > 0:
        factor = observed / simulated
        shape = float(np.sum((d - factor * b) ** 2 / (one * factor * b + factor**2 * v)))
        shape_p = float(chi2_distribution.sf(shape, len(starts) - 1))
    return Agreement(
        value,
        len(starts),
        value / len(starts),
        float(chi2_distribution.sf(value, len(starts))),
        shape,
        shape_p,
        observed,
        simulated,
        float(np.sqrt(v.sum())),
    )


def groups(expected: Spectrum, least: float) -> NDArray[np.intp]:
    """Find where groups of neighbouring bins begin that each hold enough expected and simulated events.

    Returns
    -------
    array of int
        First bins of the groups; the last one takes what is left over. Empty where all bins hold too little.
    """

    def enough(begin: int, end: int | None) -> bool:
        value, variance = (float(part[begin:end].sum()) for part in expected)
        return value >= least and value**2 >= least * variance

    starts, begin = [], 0
    for place in range(len(expected.values)):
        if enough(begin, place + 1):
            starts.append(begin)
            begin = place + 1
    # What is left over, negative weights too, must not spoil the last group.
    while starts and not enough(starts[-1], None):
        starts.pop()
    return np.array(starts, np.intp)


def data_and_simulation(pipeline: Pipeline, histograms: Filled, cells: Cells) -> dict[str, Any] | None:
    """Compare all data with all background, in every quantity and in every cell.

    Parameters
    ----------
    pipeline
        The search; simulation is scaled to the luminosity of its data.
    histograms
        Of the configured quantities, with channel, split and region axes; the inclusive region is taken.
    cells
        Of the matrices.

    Returns
    -------
    dict or None
        As the summary has it; None without data.
    """
    kinds: dict[Any, tuple[str, ...]] = {
        "data": pipeline.channels_of("data"),
        "background": pipeline.channels_of("background"),
    }
    if not kinds["data"]:
        return None
    quotes = {channel: quote(pipeline, channel) for channel in pipeline.channels}
    to_data = pipeline.data_luminosity / pipeline.luminosity

    def of_quantity(name: str) -> Agreement | None:
        data, simulation = (
            spectrum(histograms[name], only(quotes, channels), INCLUSIVE) for channels in kinds.values()
        )
        return agreement(data, simulation.scaled(to_data))

    def of_cell(cell: int) -> Agreement | None:
        data, simulation = (_added(cells, cell, channels) for channels in kinds.values())
        return agreement(data, simulation.scaled(to_data))

    quantities = [name for name in (ERROR, *pipeline.histograms.observables) if name in histograms]
    found = {
        "quantities": {name: of_quantity(name) for name in quantities},
        "cells": {name: of_cell(cell) for cell, name in enumerate(cells.cells) if len(cells.edges)},
    }
    return {
        "least": LEAST,
        **{kind: worst_first(each) for kind, each in found.items()},
        "too_few": [name for each in found.values() for name, its in each.items() if its is None],
    }


def _added(cells: Cells, cell: int, channels: Iterable[str]) -> Spectrum:
    parts = [cells.spectrum(cell, channel) for channel in channels]
    return Spectrum(*(np.sum([part[field] for part in parts], axis=0) for field in range(2)))


def worst_first(found: Mapping[str, Agreement | None]) -> list[dict[str, Any]]:
    """List what could be compared by rising p-value, and by chi2 per bin where that underflows."""
    known = {name: its for name, its in found.items() if its is not None}
    order = sorted(known, key=lambda name: (known[name].p_value, -known[name].chi2_per_bin))
    return [{"name": name, **known[name]._asdict()} for name in order]
