"""The tail of a spectrum in a few bins: what a limit is computed from.

Bins follow from the background's validation events alone, by the same rule for the network's error and for
the baselines, so that their limits differ by what they order events by and in nothing else: the loosest cut
keeps the largest share of `regions.background_efficiencies`, each next one half of what the one before it
keeps, as long as enough background is expected and simulated above it. Contents are those of the quoted
events.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..config import Pipeline
from .filling import Histogram
from .quoting import Quote, only, quote, spectrum, validation
from .regions import lowest_edge
from .significance import Array, Spectrum

SIMULATED = 10.0
"""Effective number of simulated events, (sum w)^2 / sum w^2, that the last bin holds at least."""

_LOOSEST = 0.1  # where no background efficiency is configured
_HALVINGS = 20


class Tail(NamedTuple):
    """Counts in the tail of one spectrum, in bins from the loosest cut upwards; the last one has no end."""

    edges: list[float]
    """Lower edges of the bins."""
    signal: Spectrum
    backgrounds: Mapping[str, Spectrum]
    """By channel."""
    data: Array | None

    @property
    def background(self) -> Spectrum:
        """Give all backgrounds together."""
        parts = list(self.backgrounds.values())
        return Spectrum(*(np.sum([part[field] for part in parts], axis=0) for field in range(2)))


def tail_of(pipeline: Pipeline, histogram: Histogram, signal: str) -> Tail | str:
    """Count signal, backgrounds and data in the tail of a fine spectrum.

    Parameters
    ----------
    pipeline
        The search; simulation is scaled to the luminosity of its data.
    histogram
        With channel and split axes, and one quantity.
    signal
        Channel of the signal.

    Returns
    -------
    Tail or str
        Or why there is none.
    """
    backgrounds = pipeline.channels_of("background")
    floor = pipeline.regions.minimum_background
    quotes = {channel: quote(pipeline, channel) for channel in pipeline.channels}
    edges = histogram.axes[-1].edges
    to_data = pipeline.data_luminosity / pipeline.luminosity
    seen = spectrum(histogram, validation(pipeline, backgrounds)).scaled(to_data)
    tested = spectrum(histogram, only(quotes, backgrounds)).scaled(to_data)
    cuts = _with_background(tail_cuts(pipeline, seen, edges), tested.values, floor)
    if not cuts:
        return (
            f"above the loosest cut, fewer than {floor:g} background events are expected or fewer than "
            f"{SIMULATED:g} are simulated"
        )
    starts = np.array(cuts) + 1  # the underflow comes first

    def binned(channels: Mapping[str, Quote], factor: float) -> Spectrum:
        found = spectrum(histogram, channels)
        return Spectrum(*(np.add.reduceat(part, starts) for part in found)).scaled(factor)

    data = only(quotes, pipeline.channels_of("data"))
    found = binned({signal: quotes[signal]}, to_data)
    # A rate cannot fall where a signal grows, whatever negative weights leave in a bin.
    found = Spectrum(np.maximum(found.values, 0), found.variances)
    if not found.values.sum() > 0:
        return f"no event of {signal} is left above the loosest cut"
    return Tail(
        [float(edges[cut]) for cut in cuts],
        found,
        {channel: binned({channel: quotes[channel]}, to_data) for channel in backgrounds},
        binned(data, 1.0).values if data else None,
    )


def tail_cuts(pipeline: Pipeline, seen: Spectrum, edges: Array) -> list[int]:
    """Choose the cuts, as numbers of edges from the loosest on; none where there is too little background.

    Parameters
    ----------
    pipeline
        The search.
    seen
        Validation events of the background, scaled to all events; underflow first and overflow last.
    edges
        Of the bins.
    """
    loosest = max(pipeline.regions.background_efficiencies, default=_LOOSEST)
    cuts: list[int] = []
    if not seen.values.sum() > 0:
        return cuts
    for halving in range(_HALVINGS):
        edge = lowest_edge(seen.values, edges, loosest / 2**halving)
        cut = len(edges) if edge is None else int(np.searchsorted(edges, edge))
        value, variance = (float(part[cut + 1 :].sum()) for part in seen)
        enough = value > 0 and value >= pipeline.regions.minimum_background
        if not enough or value**2 < SIMULATED * variance or (cuts and cut <= cuts[-1]):
            break
        cuts.append(cut)
    return cuts


def _with_background(cuts: Sequence[int], tested: Array, floor: float) -> list[int]:
    """Leave out cuts until test events, too, expect enough background in every bin."""
    kept = list(cuts)
    place = len(kept) - 1
    while place >= 0:
        stop = kept[place + 1] + 1 if place + 1 < len(kept) else None
        value = float(tested[kept[place] + 1 : stop].sum())
        if not (value > 0 and value >= floor):
            # Its events join the looser bin; the loosest one, that of the next bin.
            if place == 0 and len(kept) > 1:
                del kept[1]
                continue
            del kept[place]
        place -= 1
    return kept
