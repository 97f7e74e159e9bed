"""Regions of the size of the network's from one simple quantity alone: what a plain cut would have found.

A cut on MET or on m_eff keeps the same share of the background's validation events as the region that it
stands beside, so that the two differ in what they order events by and in nothing else.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..config import Pipeline
from .filling import BASELINES, Filled, Histogram, fine
from .quoting import Quote, only, spectrum, total, validation
from .regions import INCLUSIVE, Region, lowest_edge
from .separation import share
from .significance import Spectrum, significance


def of_equal_size(
    pipeline: Pipeline,
    histograms: Filled,
    region: Region,
    kinds: Mapping[str, Mapping[str, Quote]],
) -> dict[str, Any]:
    """Give yields and significances of the simple cuts that keep as much background as a region.

    Parameters
    ----------
    pipeline
        The search.
    histograms
        Fine spectra of the baselines, with channel and split.
    region
        The region; the inclusive one has no baselines, it keeps everything.
    kinds
        Quotes of the channels of each kind.

    Returns
    -------
    dict
        Quantity -> threshold, background_efficiency, background, data, signals, as in the summary. A
        quantity without a threshold, because too much lies beyond its axis, is left out.
    """
    if region.name == INCLUSIVE:
        return {}
    found = {
        quantity: _cut(pipeline, histograms[fine(quantity)], quantity, region, kinds)
        for quantity in BASELINES
        if fine(quantity) in histograms
    }
    return {quantity: cut for quantity, cut in found.items() if cut is not None}


def _cut(
    pipeline: Pipeline,
    histogram: Histogram,
    quantity: str,
    region: Region,
    kinds: Mapping[str, Mapping[str, Quote]],
) -> dict[str, Any] | None:
    edges = histogram.axes[quantity].edges
    seen = spectrum(histogram, validation(pipeline, list(kinds["background"]))).values
    threshold = lowest_edge(seen, edges, region.background_efficiency) if seen.sum() > 0 else None
    if threshold is None:
        return None
    first = int(np.searchsorted(edges, threshold)) + 1  # the underflow comes before the first bin

    def halves(channels: Mapping[str, Quote]) -> tuple[Spectrum, Spectrum]:
        bins = spectrum(histogram, channels)
        above, below = (
            total(Spectrum(bins.values[part], bins.variances[part]))
            for part in (slice(first, None), slice(first))
        )
        return above, below

    background, _ = halves(kinds["background"])
    minimum = pipeline.regions.minimum_background

    def signal(channel: str) -> dict[str, Any]:
        above, below = halves(only(kinds["signal"], [channel]))
        efficiency = share(above, below)
        return {
            "value": above.values,
            "uncertainty": above.uncertainties,
            "efficiency": efficiency.values,
            "efficiency_uncertainty": efficiency.uncertainties,
            **significance(above, background, minimum)._asdict(),
        }

    return {
        "threshold": threshold,
        "background_efficiency": seen[first:].sum() / seen.sum(),
        "background": {"value": background.values, "uncertainty": background.uncertainties},
        "data": halves(kinds["data"])[0].values if kinds["data"] else None,
        "signals": {channel: signal(channel) for channel in kinds["signal"]},
    }
