"""Whether events that have arrived look like those that a model was trained on.

The measure is the population stability index of two distributions p (trained on) and q (new) over B bins,

    PSI = sum over bins of (q - p) ln(q / p),

the symmetrised Kullback-Leibler divergence. By custom, below 0.1 nothing has changed, and above 0.25 much
has (N. Siddiqi, Credit Risk Scorecards, Wiley 2006, ch. 9). Two samples of N and M events of one
distribution have PSI / (1/N + 1/M) distributed as chi-squared with B - 1 degrees of freedom (B. Yurdakul,
Statistical Properties of Population Stability Index, Western Michigan University 2018): few events differ by
chance alone. So a drift has to be large and beyond chance.

Bins hold equal shares of the reference. Channels are compared each with itself, so that more of one and
less of another is no drift. Errors are those of validation events, which the model has learned from neither
before nor now, weighted; cells are compared through the statistics of the slots, in all splits and without
weights, by absolute value.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincc

from ..config import Pipeline
from ..features.names import cell_names
from ..progress import Progress, silent
from ..store.catalog import Catalog, Slot
from ..store.layout import SPLITS
from ..store.read import statistics
from .filling import ERROR, fine, spectrum_axes
from .histogram import read_quantities
from .partials import keep_filled
from .slots import fill

if TYPE_CHECKING:
    from distributed import Client

BINS = 10
BY_CHANCE = 1e-3
"""Probability below which a difference is not called chance, however many distributions were compared."""

Array = NDArray[np.float64]


class Drift(NamedTuple):
    """The largest difference found."""

    value: float
    """Population stability index."""
    chance: float
    """At most the probability to find as much among as many comparisons if nothing had changed."""
    where: str
    """What differs: a channel, or a cell of its matrices."""

    def exceeds(self, threshold: float) -> bool:
        """Tell whether it is larger than a threshold, and not by chance."""
        return self.value > threshold and self.chance < BY_CHANCE


def error_drift(
    pipeline: Pipeline,
    store: Path,
    catalog: Catalog,
    trained: Mapping[str, Sequence[Slot]],
    new: Mapping[str, Sequence[Slot]],
    client: "Client",
    progress: Progress = silent,
    kept: Path | None = None,
) -> Drift | None:
    """Compare the errors of new events with those of the events that the model was trained on.

    Parameters
    ----------
    pipeline, store, catalog
        A store whose events have errors by the model in force.
    trained, new
        Channel -> its slots; channels without both are left out.
    client
        Dask workers.
    progress
        Told the number of slots that are done.
    kept
        Folder that keeps what was made of each slot.

    Returns
    -------
    Drift or None
        Of the channel with the largest index; None where there is nothing to compare.
    """
    channels = [channel for channel in new if new[channel] and trained.get(channel)]
    slots = {f"{channel} {age}": its[channel] for channel in channels for age, its in _ages(trained, new)}
    # The same axes as the histogram stage has, so that it finds what was filled here.
    filled = fill(
        "comparing errors",
        pipeline,
        store,
        catalog,
        slots,
        spectrum_axes(read_quantities(store, catalog)),
        None,
        client,
        progress,
        keep_filled(kept, "spectra"),
        tidy=False,
        step="drift",
    )
    place = SPLITS.index("validation")
    found = []
    for channel in channels:
        before, now = (
            filled[f"{channel} {age}"][fine(ERROR)].view(flow=True)[place] for age, _ in _ages(trained, new)
        )
        counts = [_in_events(spectrum["value"], spectrum["variance"]) for spectrum in (before, now)]
        index, chance = stability(*(each[:, None] for each in counts))
        if np.isfinite(index[0]):
            found.append(Drift(float(index[0]), float(chance[0]), channel))
    return _largest(found, len(found))


def feature_drift(
    pipeline: Pipeline,
    store: Path,
    catalog: Catalog,
    trained: Mapping[str, Sequence[Slot]],
    new: Mapping[str, Sequence[Slot]],
) -> Drift | None:
    """Compare the cells of new matrices with those of the matrices that the model was trained on.

    No matrix is read: the slots' statistics hold how many events have which absolute value in which cell.
    Parameters and result are those of `error_drift`; the result is of the cell with the largest index.
    """
    names = [name for row in cell_names(pipeline.features.multiplicities) for name in row]
    found, compared = [], 0
    for channel in new:
        if not new[channel] or not trained.get(channel):
            continue
        before, now = (
            _by_magnitude(store, catalog.changed(slots=its[channel]), channel)
            for _, its in _ages(trained, new)
        )
        index, chance = stability(before, now)
        compared += int(np.isfinite(index).sum())
        if np.isfinite(index).any():
            # Not the largest index alone: where few events have an object, it is large by chance.
            real = np.where(chance < BY_CHANCE / index.size, index, -1)
            cell = int(np.nanargmax(real if real.max() >= 0 else np.nan_to_num(index, nan=-1)))
            found.append(Drift(float(index[cell]), float(chance[cell]), f"{names[cell]} of {channel}"))
    return _largest(found, compared)


def stability(reference: Array, new: Array) -> tuple[Array, Array]:
    """Compute the population stability index of many pairs of distributions.

    Parameters
    ----------
    reference, new
        Numbers of events in fine bins: (bins, distributions). Bins are joined to at most `BINS` of equal
        shares of the reference; half an event is added to each of them, so that none is empty.

    Returns
    -------
    index, chance
        (distributions,): the index, and the probability of as large a one for equal distributions. NaN
        and 1 where one of the two has no events, or the reference is all in one bin.
    """
    total, total_new = reference.sum(axis=0), new.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = (np.cumsum(reference, axis=0) - reference / 2) / total
        group = np.clip(np.nan_to_num(middle * BINS).astype(np.int64), 0, BINS - 1)
        sums = [
            np.stack([np.where(group == number, counts, 0).sum(axis=0) for number in range(BINS)])
            for counts in (reference, new)
        ]
        used = (sums[0] > 0) | (sums[1] > 0)
        bins = used.sum(axis=0)
        p, q = (np.where(used, (each + 0.5) / (each.sum(axis=0) + 0.5 * bins), 1) for each in sums)
        index = ((q - p) * np.log(q / p)).sum(axis=0)
        index = np.where((total > 0) & (total_new > 0) & (bins > 1), index, np.nan)
        chance = gammaincc((bins - 1) / 2, index / (1 / total + 1 / total_new) / 2)
    return index, np.where(np.isfinite(index), chance, 1.0)


def _ages(
    trained: Mapping[str, Sequence[Slot]], new: Mapping[str, Sequence[Slot]]
) -> tuple[tuple[str, Mapping[str, Sequence[Slot]]], ...]:
    return ("trained", trained), ("new", new)


def _in_events(values: Array, variances: Array) -> Array:
    """Scale a weighted spectrum to as many events as its weights are worth; negative bins count nothing."""
    values = np.maximum(values, 0)
    squares = variances.sum()
    return values * (values.sum() / squares) if squares > 0 else np.zeros_like(values)


def _by_magnitude(store: Path, catalog: Catalog, channel: str) -> Array:
    """Events by absolute value of each cell, zero first: (bins, cells)."""
    its = statistics(store, catalog, [channel], split=None)
    zero = its.events - its.occupancy
    return np.concatenate([zero[None], its.magnitudes]).reshape(1 + len(its.magnitudes), -1)


def _largest(found: Sequence[Drift], compared: int) -> Drift | None:
    corrected = [drift._replace(chance=min(1.0, drift.chance * compared)) for drift in found]
    return max(corrected, key=lambda drift: (drift.chance < BY_CHANCE, drift.value), default=None)
