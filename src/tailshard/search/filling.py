"""One shard slot becomes histograms; histograms of slots add up to those of a channel.

Sums are sums: a histogram holds sums of weights and of squared weights in float64, filled slot by slot
and added in a fixed order. Nothing is normalised here.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any, TypeAlias

import hist
import numpy as np
from numpy.typing import NDArray

from ..config import Histograms
from ..errors import ProcessingError
from ..store.catalog import Slot
from ..store.layout import SPLITS, Geometry
from ..store.read import read_rows
from .regions import Region

Histogram: TypeAlias = "hist.Hist[Any]"
"""Weight storage: sums of weights and of their squares."""
Filled = dict[str, Histogram]
"""Histograms by name."""
Axes = Mapping[str, hist.axis.Regular]
"""Name of a histogram -> its axis, which is named after the quantity it holds."""

ERROR = "error"
"""The quantity log10(error), the score that the pipeline chose; the store holds the error itself."""
BASELINES = ("met", "m_eff")
"""Quantities that every network is compared with: a cut on one of them alone."""
ERROR_LABEL = "log10(error)"
UNDEFINED = "undefined"
"""Weight of events for which a quantity does not exist, by histogram."""
EVENTS = "events"
"""Unweighted numbers of events, by region."""
SCAN = "met_scan"
"""MET in every region, for the scan of a cut on it."""

BUMP = "bump"
"""The quantity that is scanned for a local excess of data, in every region."""


def fine(quantity: str) -> str:
    """Name of the finely binned spectrum of a quantity, from which cuts, AUC and scans come."""
    return f"{quantity}_fine"


def spectrum_axes(quantities: Mapping[str, str]) -> dict[str, hist.axis.Regular]:
    """Axes of the fine spectra: the error's, and those of the baselines that the store has.

    They are fixed, so that the spectra of any two runs can be compared or added.

    Parameters
    ----------
    quantities
        Quantities of the store and their labels.
    """
    fixed = {ERROR: (10_000, -10, 10), "met": (3000, 0, 3000), "m_eff": (3000, 0, 6000)}
    labels = {ERROR: ERROR_LABEL, **quantities}
    return {fine(name): _regular(name, labels, *binning) for name, binning in fixed.items() if name in labels}


def observable_axes(histograms: Histograms, quantities: Mapping[str, str]) -> dict[str, hist.axis.Regular]:
    """Axes of the histograms that are drawn and scanned, for those quantities that the store has."""
    labels = {ERROR: ERROR_LABEL, **quantities}
    axes = {
        name: _regular(name, labels, its.bins, *its.range)
        for name, its in {ERROR: histograms.error, **histograms.observables}.items()
        if name in labels
    }
    if "met" in labels:
        axes[SCAN] = _regular("met", labels, 150, 0, 1500)
    if (bump := histograms.bump) is not None and bump.quantity in labels:
        axes[BUMP] = _regular(bump.quantity, labels, bump.bins, *bump.range)
    return axes


def fill_slot(
    axes: Axes,
    regions: Sequence[Region] | None,
    store: Path,
    geometry: Geometry,
    slot: Slot,
    scale: float,
    error: str = ERROR,
) -> Filled:
    """Fill the histograms of one slot.

    Parameters
    ----------
    axes
        What to fill.
    regions
        Regions to fill for; None for histograms without a region axis.
    store, geometry, slot
        Where the events are.
    scale
        Factor on every weight: the normalisation of the slot's dataset.
    error
        Array of the store that holds the error.

    Returns
    -------
    Filled
        ``name``: (split, region, quantity), sums of weights and of their squares. With regions also
        ``events``: (split, region), counts, and ``undefined``: (split, histogram), the weight of events
        for which a quantity does not exist, so that it is in no bin.

    Raises
    ------
    ProcessingError
        An event has no finite error or no finite weight.
    """
    filled = empty(axes, regions)
    columns = ["weight", error, *dict.fromkeys(axis.name for axis in axes.values() if axis.name != ERROR)]
    for split in SPLITS:
        start, stop = geometry.split_range(slot, split)
        if start == stop:
            continue
        values = read_rows(store, slot.channel, columns, start, stop)
        weight = values.pop("weight").astype(np.float64) * scale
        require_finite("weight", weight, slot, "correct the weights of this dataset and ingest again")
        require_finite(error, values[error], slot, "run 'tailshard score' again")
        values[ERROR] = log10_error(values.pop(error))
        if regions is None:
            _fill(filled, axes, values, weight, {"split": split})
            continue
        for region in regions:
            inside = values[ERROR] >= region.threshold
            chosen = {name: column[inside] for name, column in values.items()}
            where: dict[str, Any] = {"split": split, "region": region.name}
            _fill(filled, axes, chosen, weight[inside], where)
            _put(filled[EVENTS], np.ones(np.count_nonzero(inside)), split, region.name)
        for name, axis in axes.items():
            _put(filled[UNDEFINED], weight[np.isnan(values[axis.name])], split, name)
    return filled


def _fill(
    filled: Filled,
    axes: Axes,
    values: Mapping[str, NDArray[np.floating]],
    weight: NDArray[np.float64],
    where: Mapping[str, Any],
) -> None:
    for name, axis in axes.items():
        defined = ~np.isnan(values[axis.name])  # boost-histogram would count NaN as overflow
        filled[name].fill(**where, **{axis.name: values[axis.name][defined]}, weight=weight[defined])


def _put(histogram: Histogram, weight: NDArray[np.float64], *categories: str) -> None:
    sums = hist.accumulators.WeightedSum(weight.sum(), np.square(weight).sum())
    histogram[tuple(hist.loc(category) for category in categories)] = sums


def empty(axes: Axes, regions: Sequence[Region] | None, channels: Sequence[str] | None = None) -> Filled:
    """Make the histograms that `fill_slot` fills, with a leading channel axis where channels are given."""
    leading = [_categories("channel", channels)] if channels is not None else []
    leading.append(_categories("split", SPLITS))
    if regions is None:
        return {name: _weighted(*leading, axis) for name, axis in axes.items()}
    by_region = [*leading, _categories("region", [region.name for region in regions])]
    return {
        **{name: _weighted(*by_region, axis) for name, axis in axes.items()},
        EVENTS: _weighted(*by_region),
        UNDEFINED: _weighted(*leading, _categories("histogram", list(axes))),
    }


def add_filled(parts: list[Filled]) -> Filled:
    """Add histograms name by name, from the first part to the last."""
    return {name: reduce(add, [part[name] for part in parts]) for name in parts[0]}


def join_channels(parts: Mapping[str, Filled], joined: Filled) -> Filled:
    """Copy each channel's histograms into those with a channel axis; channels without events stay empty."""
    for name, histogram in joined.items():
        for place, channel in enumerate(histogram.axes["channel"]):
            if channel in parts:
                histogram.view(flow=True)[place] = parts[channel][name].view(flow=True)
    return joined


def log10_error(error: NDArray[np.float32]) -> NDArray[np.float64]:
    """Give log10 of errors, in float64; minus infinity for a perfect reconstruction."""
    with np.errstate(divide="ignore"):
        return np.log10(error.astype(np.float64))


def require_finite(name: str, values: NDArray[np.floating], slot: Slot, remedy: str) -> None:
    """Refuse events for which a column that all of them need is not finite.

    Raises
    ------
    ProcessingError
        Some are not; it names channel, slot and file.
    """
    if broken := int(np.count_nonzero(~np.isfinite(values))):
        raise ProcessingError(
            f"channel '{slot.channel}', slot {slot.index} ({slot.url}): {broken} of {len(values)} events "
            f"have no finite {name}; {remedy}"
        )


def _regular(
    name: str, labels: Mapping[str, str], bins: int, lower: float, upper: float
) -> hist.axis.Regular:
    return hist.axis.Regular(bins, lower, upper, name=name, label=labels[name])


def _categories(name: str, categories: Sequence[str]) -> hist.axis.StrCategory:
    return hist.axis.StrCategory(categories, name=name, overflow=False)


def _weighted(*axes: Any) -> Histogram:
    return hist.Hist(*axes, storage=hist.storage.Weight())
