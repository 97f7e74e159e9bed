"""Spectra become the numbers of a robustness test.

``stress.json`` field by field::

    pipeline, seed           of which search, and of all random numbers
    share                    part of the training events that the network "small" saw
    background               channels that count as background
    networks.<network>       "full": the network of the search; "small": trained on a share of the events;
                             absent where it was not asked for
        model                content hash
        training             {channels, events, epochs, best_epoch, validation_loss}; events by channel
        control              row: the half that is disturbed, as it was, against the other: 0.5 if all is well
        disturbed.<name>     row; the names are those of `tailshard.stress.disturbances`
        channels.<channel>   row: a background channel against the others
        signals.<channel>    row: for comparison alone, nothing was chosen with it
        distributions.<name> {values, uncertainties}: share of events in bins of log10 error; also of
                             "undisturbed"
    removed.<channel>        a network that never saw this background
        model, training      as above
        row                  the channel against the other backgrounds
    edges                    of the bins of all distributions

    row
        events               unweighted numbers: {signal, background}
        auc.<score>          {value, uncertainty}; "error", and where there are objects "met" and "m_eff"
        efficiencies         [{background_efficiency, value, uncertainty}] by the error

What is disturbed stands for the signal. Numbers are of test events with their weights; a number that does
not exist is null.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..search.comparison import BACKGROUND_EFFICIENCIES
from ..search.filling import ERROR
from ..search.separation import auc, efficiencies
from ..search.significance import Spectrum
from .disturbances import WITHOUT_EVENTS
from .measure import EVENTS, KEPT, TAKEN, Sums, axes, quantities_of, spectrum_of

UNDISTURBED = "undisturbed"
_GROUPED = 100
"""Fine bins in a bin of a distribution: it is 0.2 wide."""

Row = dict[str, Any]
Part = tuple[str, str]
"""Channel and sample."""


def row(sums: Mapping[str, Sums], signal: Sequence[Part], background: Sequence[Part]) -> Row:
    """Compare two sets of events.

    Parameters
    ----------
    sums
        By channel; a channel that is absent has no events.
    signal, background
        Which samples of which channels to add up.
    """
    known = [name for name in quantities_of(signal[0][1]) if name in quantities_of(background[0][1])]
    spectra = {name: (_added(sums, signal, name), _added(sums, background, name)) for name in known}
    return {
        "events": {"signal": _events(sums, signal), "background": _events(sums, background)},
        "auc": {name: auc(*its)._asdict() for name, its in spectra.items()},
        "efficiencies": [
            {"background_efficiency": target, **found._asdict()}
            for target, found in zip(
                BACKGROUND_EFFICIENCIES, efficiencies(*spectra[ERROR], BACKGROUND_EFFICIENCIES), strict=True
            )
        ],
    }


def everything(channels: Sequence[str]) -> list[Part]:
    """Name all undisturbed test events of some channels."""
    return [(channel, sample) for channel in channels for sample in (KEPT, TAKEN)]


def against_the_others(sums: Mapping[str, Sums], channel: str, background: Sequence[str]) -> Row:
    """Compare a background channel with the other ones."""
    return row(sums, everything([channel]), everything([name for name in background if name != channel]))


def rows_of_network(
    sums: Mapping[str, Sums], background: Sequence[str], signals: Sequence[str], disturbances: Sequence[str]
) -> dict[str, Any]:
    """Give everything that is said of one network."""
    kept = [(channel, KEPT) for channel in background]
    disturbed = {name: [(channel, name) for channel in background] for name in disturbances}
    return {
        "control": row(sums, [(channel, TAKEN) for channel in background], kept),
        "disturbed": {
            name: row(sums, parts, everything(background) if name in WITHOUT_EVENTS else kept)
            for name, parts in disturbed.items()
        },
        "channels": {
            channel: against_the_others(sums, channel, background)
            for channel in background
            if len(background) > 1 and channel in sums
        },
        "signals": {
            signal: row(sums, everything([signal]), everything(background))
            for signal in signals
            if signal in sums
        },
        "distributions": {
            name: _distribution(_added(sums, parts, ERROR))
            for name, parts in {UNDISTURBED: everything(background), **disturbed}.items()
        },
    }


def edges() -> NDArray[np.float64]:
    """Edges of the bins of all distributions, in log10 error; what lies beyond is in the first or last."""
    return np.asarray(axes()[ERROR].edges[::_GROUPED], np.float64)


def _distribution(fine: Spectrum) -> dict[str, Any]:
    total = fine.values.sum()
    if not total > 0:
        return {"values": [], "uncertainties": []}
    values, variances = (_grouped(part) for part in fine)
    return {"values": values / total, "uncertainties": np.sqrt(variances) / total}


def _grouped(bins: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = bins[1:-1].reshape(-1, _GROUPED).sum(axis=1)
    inside[0] += bins[0]
    inside[-1] += bins[-1]
    return np.asarray(inside)


def _added(sums: Mapping[str, Sums], parts: Sequence[Part], quantity: str) -> Spectrum:
    length = axes()[quantity].extent
    total = Spectrum(np.zeros(length), np.zeros(length))
    for channel, sample in parts:
        if channel in sums:
            part = spectrum_of(sums[channel], sample, quantity)
            total = Spectrum(total.values + part.values, total.variances + part.variances)
    return total


def _events(sums: Mapping[str, Sums], parts: Sequence[Part]) -> int:
    return sum(sums[channel][sample, EVENTS] for channel, sample in parts if channel in sums)
