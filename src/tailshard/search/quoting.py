"""Which events of a channel its yields are taken from, and sums of their weights."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..config import Pipeline
from ..store.layout import SPLITS
from .significance import Spectrum


class Quote(NamedTuple):
    """Which events of a channel a yield is taken from."""

    splits: tuple[str, ...]
    scale: float
    """Factor on the weights that makes up for the splits left out."""


def quote(pipeline: Pipeline, channel: str) -> Quote:
    """Tell from which splits the yield of a channel is quoted."""
    if pipeline.channels[channel] == "data" and channel not in pipeline.training_channels:
        return Quote(SPLITS, 1.0)
    return Quote(("test",), 1 / pipeline.splits.test)


def spectrum(histogram: Any, quotes: Mapping[str, Quote], region: str | None = None) -> Spectrum:
    """Add the bins of several channels, each from its splits and with its scale.

    Parameters
    ----------
    histogram
        With axes channel, split, then region if one is named, then any other.
    quotes
        Channels to add, and how.
    region
        Region to take.

    Returns
    -------
    Spectrum
        Bins of the remaining axes, underflow first and overflow last.
    """
    bins = histogram.view(flow=True)
    if region is not None:
        bins = bins[:, :, histogram.axes["region"].index(region)]
    total = Spectrum(np.zeros(bins.shape[2:]), np.zeros(bins.shape[2:]))
    for channel, (splits, scale) in quotes.items():
        place = histogram.axes["channel"].index(channel)
        for split in splits:
            part = bins[place, histogram.axes["split"].index(split)]
            scaled = Spectrum(part["value"], part["variance"]).scaled(scale)
            total = Spectrum(total.values + scaled.values, total.variances + scaled.variances)
    return total


def only(quotes: Mapping[str, Quote], channels: Sequence[str]) -> dict[str, Quote]:
    """Take the quotes of some channels."""
    return {channel: quotes[channel] for channel in channels}


def validation(pipeline: Pipeline, channels: Sequence[str]) -> dict[str, Quote]:
    """Quote simulation from its validation events, from which cuts and thresholds may be chosen."""
    return dict.fromkeys(channels, Quote(("validation",), 1 / pipeline.splits.validation))


def total(bins: Spectrum) -> Spectrum:
    """Add all bins."""
    return Spectrum(bins.values.sum(), bins.variances.sum())
