"""One-dimensional spectra: what the figures draw and the files hold. Computing only."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import hist
import numpy as np
from mplhep.error_estimation import poisson_interval
from numpy.typing import NDArray

from ..search.filling import Histogram


class Ratio(NamedTuple):
    """Data over simulation, bin by bin; NaN where no simulation is expected."""

    edges: NDArray[np.float64]
    centers: NDArray[np.float64]
    value: NDArray[np.float64]
    error: NDArray[np.float64]
    """Shape (2, bins): down and up, from the data alone."""
    band: NDArray[np.float64]
    """Relative uncertainty of the simulation; 0 where none is expected."""
    data_error: NDArray[np.float64]
    """Shape (2, bins): down and up, before the division."""


def as_used(
    histogram: Histogram, channel: str, splits: Sequence[str], scale: float, region: str | None = None
) -> Histogram:
    """Take one channel's spectrum from some of its splits, with all weights scaled.

    Parameters
    ----------
    histogram
        Axes channel, split, region (unless `region` is None) and one quantity; Weight storage.
    channel, region
        Categories to take.
    splits
        Splits to add.
    scale
        Factor on the weights that makes up for the other splits.
    """
    taken: Any = (
        histogram[{"channel": channel}]
        if region is None
        else histogram[{"channel": channel, "region": region}]
    )
    return total([taken[{"split": split}] for split in splits]) * scale


def sums(spectrum: Histogram) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the sums of weights and of squared weights, without flow."""
    contents: Any = spectrum.view()
    return contents["value"], contents["variance"]


def folded(spectrum: Histogram) -> Histogram:
    """Add underflow to the first bin and overflow to the last, so that a figure shows every event."""
    contents: Any = spectrum.view(flow=True)
    inner = contents[1:-1].copy()
    for field in ("value", "variance"):
        inner[field][0] += contents[field][0]
        inner[field][-1] += contents[field][-1]
    result: Histogram = hist.Hist(spectrum.axes[0], storage=hist.storage.Weight())
    result[...] = inner
    return result


def total(spectra: Sequence[Histogram]) -> Histogram:
    """Add spectra of one axis, flow included; there must be at least one."""
    first, *others = spectra
    return sum(others, start=first.copy())


def ratio(data: Histogram, simulation: Histogram) -> Ratio:
    """Divide data by simulation, with Poisson (Garwood) intervals of 68 % on the data."""
    axis = data.axes[0]
    (observed, variances), (expected, expected_variances) = sums(data), sums(simulation)
    # poisson_interval warns where nothing is filled at all.
    low, high = poisson_interval(observed, variances) if observed.any() else (observed, observed)
    data_error = np.stack([observed - low, high - observed])
    usable = expected > 0
    denominator = np.where(usable, expected, np.nan)
    band = np.zeros_like(expected)
    band[usable] = np.sqrt(expected_variances[usable]) / expected[usable]
    return Ratio(axis.edges, axis.centers, observed / denominator, data_error / denominator, band, data_error)
