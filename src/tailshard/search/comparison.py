"""One signal against all background: how well the network separates it, beside MET and m_eff alone.

Cuts are chosen on validation events and quoted on test events. The largest significance of a scan is the
largest of many numbers that fluctuate, and so larger than what its cut is worth; events that had no say
in the choice do not know about that.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..config import Pipeline
from .filling import BASELINES, ERROR, SCAN, Filled, Histogram, fine
from .quoting import Quote, spectrum, validation
from .regions import INCLUSIVE, Region
from .separation import auc, efficiencies, roc
from .significance import Array, Significance, Spectrum, best_cut, significance, tails

BACKGROUND_EFFICIENCIES = (0.1, 0.01, 0.001, 0.0001)
"""At which the efficiency of a signal is quoted."""

_SCAN_STEP = 10  # fine bins between two cuts on a baseline that is scanned outside regions


class _Counted(NamedTuple):
    """What lies above every cut of a scan."""

    signal: Spectrum
    background: Spectrum
    found: Significance


def compare(
    pipeline: Pipeline,
    histograms: Filled,
    regions: Sequence[Region],
    quoted: Quote,
    signal: str,
    background: Mapping[str, Quote],
) -> dict[str, Any]:
    """Give everything that the summary says of one signal.

    Parameters
    ----------
    pipeline
        The search.
    histograms
        Fine spectra of error and baselines, and MET by region.
    regions
        The inclusive region first.
    quoted, signal
        The signal, and how it is quoted.
    background
        How each background channel is quoted.
    """
    alone = {signal: quoted}
    spectra = {
        score: (spectrum(histograms[fine(score)], alone), spectrum(histograms[fine(score)], background))
        for score in (ERROR, *BASELINES)
        if fine(score) in histograms
    }
    scans = {
        name: _scan(pipeline, scanned, alone, background)
        for name, scanned in _scanned(histograms, regions).items()
    }
    return {
        "auc": {score: auc(*both) for score, both in spectra.items()},
        "efficiencies": {
            score: [
                {"background_efficiency": target, **found._asdict()}
                for target, found in zip(
                    BACKGROUND_EFFICIENCIES, efficiencies(*both, BACKGROUND_EFFICIENCIES), strict=True
                )
            ]
            for score, both in spectra.items()
        },
        "roc": {score: roc(*both) for score, both in spectra.items()},
        "scans": scans,
        "best": _best(scans),
    }


class _Scanned(NamedTuple):
    """What is scanned: a cut on one quantity, in all events or in a region."""

    variable: str
    histogram: Histogram
    region: str | None
    step: int = 1
    """Bins from one cut to the next."""

    @property
    def edges(self) -> Array:
        """The cuts."""
        edges: Array = self.histogram.axes[self.variable].edges[:: self.step]
        return edges

    def above(self, channels: Mapping[str, Quote]) -> Spectrum:
        """Count what lies above every cut."""
        summed = tails(spectrum(self.histogram, channels, self.region))
        return Spectrum(*(part[:: self.step] for part in summed))


def _scanned(histograms: Filled, regions: Sequence[Region]) -> dict[str, _Scanned]:
    """Name what is scanned: the baselines alone, then a cut on MET in every region of the network."""
    found = {
        quantity: _Scanned(quantity, histograms[fine(quantity)], None, _SCAN_STEP)
        for quantity in BASELINES
        if fine(quantity) in histograms
    }
    if SCAN in histograms:
        # MET alone has the cuts of the regions that it stands beside.
        found = {**found, "met": _Scanned("met", histograms[SCAN], INCLUSIVE)}
        for region in regions:
            if region.name != INCLUSIVE:
                found[region.name] = _Scanned("met", histograms[SCAN], region.name)
    return found


def _scan(
    pipeline: Pipeline, scanned: _Scanned, signal: Mapping[str, Quote], background: Mapping[str, Quote]
) -> dict[str, Any]:
    def counted(of_signal: Mapping[str, Quote], of_background: Mapping[str, Quote]) -> _Counted:
        above = scanned.above(of_signal), scanned.above(of_background)
        return _Counted(*above, significance(*above, pipeline.regions.minimum_background))

    seen = counted(*(validation(pipeline, list(channels)) for channels in (signal, background)))
    tested = counted(signal, background)
    edges, best = scanned.edges, best_cut(seen.found)
    return {
        "variable": scanned.variable,
        "edges": edges,
        **_numbers(tested),
        "validation": _numbers(seen),
        "tried": np.count_nonzero(~np.isnan(seen.found.asimov_with_background_uncertainty)),
        "chosen": None if best is None else {"cut": edges[best], **_numbers(seen, best)},
        "quoted": None if best is None else {"cut": edges[best], **_numbers(tested, best)},
    }


def _best(scans: Mapping[str, Any]) -> dict[str, Any] | None:
    """Find the region whose chosen cut promises most on validation events."""
    regions = {name: scan for name, scan in scans.items() if name not in BASELINES}
    promised = {
        name: scan["chosen"]["asimov_with_background_uncertainty"]
        for name, scan in regions.items()
        if scan["chosen"] is not None
    }
    if not promised:
        return None
    name = max(promised, key=promised.__getitem__)
    return {
        "region": name,
        "tried": sum(scan["tried"] for scan in regions.values()),
        "chosen": scans[name]["chosen"],
        "quoted": scans[name]["quoted"],
    }


def _numbers(counted: _Counted, place: int | None = None) -> dict[str, Any]:
    """Give yields and significances with their uncertainties, of one cut or of all."""
    signal, background, found = counted
    everything = {
        "signal": signal.values,
        "signal_uncertainty": signal.uncertainties,
        "background": background.values,
        "background_uncertainty": background.uncertainties,
        **found._asdict(),
    }
    return everything if place is None else {name: values[place] for name, values in everything.items()}
