"""Every number of a search, in one JSON object.

``summary.json`` field by field; a number that does not exist is null, never NaN::

    pipeline                 name of the search
    luminosity               fb^-1; every expected number of events is for it
    fractions                configured share of each split
    channels.<channel>
        kind                 background, signal or data
        cutflow              [{name, raw, weighted}]: events and scaled weight left after each cut
        events               {split: events in the store}
        splits, scale        which splits yields are quoted from, and the factor that makes up for the others
        yield                expected events (data: observed), yield_uncertainty its statistical uncertainty
        undefined            {observable: part of the yield for which the observable does not exist}
    inputs                   [{channel, dataset, url, entries, selected}]: files that were read; entries are
                             the events in it, selected ones are in the store
    quarantine               [{dataset, url, reason, ...}]: inputs that could not be read
    scales                   {sample: factor on its weights that makes up for them}
    warnings                 [sentence]: what of these inputs makes the numbers below less than they seem
    regions                  [region], overlapping; "inclusive" first, which is every selected event
        name, rule           key in the histograms; the rule in words
        threshold            smallest log10 error (inclusive: null)
        background_efficiency   share of the background's validation weight, from which the threshold follows
        yields.<channel>     {value, uncertainty, raw, upper_limit}: quoted yield, how many events stand for
                             it, and, where simulation has none, what its yield is below (68.27 %)
        background           {value, uncertainty}: all background channels
        simulation_ends      background channels of which no event is left
        quotable             false where fewer than regions.minimum_background events are expected
        data                 observed events; null without data
        signals.<signal>     {value, uncertainty, efficiency, s_over_sqrt_b, asimov, ...}: as `Significance`,
                             null where the background is not quotable
        baselines.<quantity> a region of the same size from a cut on "met" or "m_eff" alone: {threshold,
                             background_efficiency, background, data, signals}; empty for "inclusive"
    signals.<signal>         on the quoted splits, signal against all background
        auc.<score>          {value, uncertainty}; scores are "error" and the baselines "met", "m_eff"
        efficiencies.<score> [{background_efficiency, value, uncertainty}]: of the signal at four background
                             efficiencies; null where the background sample cannot resolve them
        roc.<score>          {background_efficiency, signal_efficiency, signal_efficiency_uncertainty}: lists
                             of one length, points of a curve of steps; and its resolution
        scans.<name>         counting what lies above a cut: on MET inside the region of that name, and on
                             "met" or "m_eff" alone, which know no network
            variable         what is cut on
            edges            the cuts, GeV; the lists below have their length
            signal, background, s_over_sqrt_b, asimov, asimov_with_background_uncertainty
                             of test events, each with a list <name>_uncertainty from the statistics of the
                             simulation; null where the expected background is too small
            validation       {signal, background, ...}: the same lists of validation events
            tried            number of cuts with enough background in validation events
            chosen           {cut, ...}: the cut of the largest Asimov significance (the background known
                             to its statistical uncertainty) in *validation* events. The largest of many
                             numbers that fluctuate, it is too large: no result
            quoted           {cut, ...}: what that cut gives in *test* events, which had no say in the choice;
                             both are null where no cut leaves enough background
        limits.<score>       upper limits at 95 % confidence on the strength of the signal (1: the pipeline's
                             cross-section), from the tail of the error or of a baseline alone; empty where
                             `limits` is null
            edges            lower edges of the bins; the last one has no end
            signal, background, background_uncertainty, data: counts, at the luminosity of the data
            expected         limits at -2, -1, 0, 1, 2 standard deviations, if there is no signal; or null
            observed         limit, where there is data; or null
            why_not          why there is no limit; or null
        best                 {region, tried, chosen, quoted}: the region whose chosen cut promises most in
                             validation events, and how many cuts in all regions were tried; null without one
    agreement                of all data with all background, as configured and unblinded; null without data
        least                expected and simulated events in a bin, at least; neighbours are put together
        quantities, cells    [{name, chi2, bins, chi2_per_bin, p_value, shape_chi2, shape_p_value, data,
                             expected, expected_uncertainty}]: as `Agreement`, the worst first
        too_few              names of what has too few of them to be compared
    bump                     null where none is asked for; else quantity, region, window [from, to], data,
                             expected and expected_uncertainty in it, local_p_value, global_p_value (0: below
                             the inverse of pseudo_experiments), global_p_value_uncertainty,
                             pseudo_experiments; window is null where none is found, for the reason why_not
    candidates               {count, fraction, limited, smallest_error}, null without data; limited is
                             true where report.maximum_candidates left events of that fraction out
    ensemble                 of every network, where there is more than one: see `search.ensemble`
    provenance               {pipeline, snapshot, model}: content hashes of what the numbers were made from

**Which yields.** Simulation is quoted from the test split alone, divided by the *configured* test
fraction. The split of an event is a hash of its identity, so each event is a test event with exactly
that probability and the estimate is unbiased in every bin, also for negative weights; dividing by the
share of weight that happened to fall into the test split would add a ratio's bias and a pole. Signal and
background are treated alike. Data was not learned from, so all of it counts; where a data channel was
trained on, it is quoted like simulation.

**No event left.** A simulated channel of which no event is left in a region is not known to be absent
there: 0 +- 0 would say so. It is quoted as an upper limit at 68.27 % confidence: -ln(1 - 0.6827) = 1.148
events (the Poisson limit for none seen; Particle Data Group, Review of Particle Physics, Statistics,
"Poisson or binomial data"), each of the channel's mean weight sum(w^2) / sum(w), with which a sum of
weights is Poisson distributed to good approximation (G. Bohm, G. Zech, arXiv:1309.1287).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..config import Pipeline
from ..store.catalog import Catalog
from ..store.layout import SPLITS
from .baselines import of_equal_size
from .comparison import compare
from .filling import BUMP, ERROR, EVENTS, SCAN, UNDEFINED, Filled, fine
from .quoting import Quote, only, quote, spectrum, total
from .regions import Region
from .significance import Spectrum, significance

NONE_SEEN = -math.log(1 - math.erf(math.sqrt(0.5)))
"""Upper limit on the mean of a Poisson distribution that gave no event, at 68.27 % confidence."""


def summarise(
    pipeline: Pipeline,
    catalog: Catalog,
    histograms: Filled,
    regions: Sequence[Region],
    candidates: Mapping[str, Any] | None,
    provenance: Mapping[str, Any],
    ensemble: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Put every number of a search into one object that JSON can hold.

    Parameters
    ----------
    pipeline, catalog
        The search and its store.
    histograms
        With channel axes: fine spectra, observables by region, and the counts.
    regions
        The inclusive region first.
    candidates, provenance, ensemble
        As in the summary, which has no ensemble where there is None.
    """
    quotes = {channel: quote(pipeline, channel) for channel in pipeline.channels}
    kinds = {kind: only(quotes, pipeline.channels_of(kind)) for kind in ("background", "signal", "data")}
    content = {
        "pipeline": pipeline.name,
        "luminosity": pipeline.luminosity,
        "fractions": dict(zip(SPLITS, pipeline.splits.fractions, strict=True)),
        "channels": {channel: _channel(pipeline, catalog, histograms, quotes, channel) for channel in quotes},
        "inputs": _inputs(catalog),
        "quarantine": [row.model_dump(mode="json") for row in catalog.quarantine],
        "scales": catalog.scales,
        "warnings": catalog.warnings,
        "regions": [
            {
                **describe_region(pipeline, region, histograms, quotes, kinds),
                "baselines": of_equal_size(pipeline, histograms, region, kinds),
            }
            for region in regions
        ],
        "signals": {
            signal: compare(pipeline, histograms, regions, quotes[signal], signal, kinds["background"])
            for signal in kinds["signal"]
        },
        "candidates": candidates,
        **({} if ensemble is None else {"ensemble": ensemble}),
        "provenance": provenance,
    }
    cleaned: dict[str, Any] = finite_or_none(content)
    return cleaned


def finite_or_none(value: Any) -> Any:
    """Turn arrays, NumPy numbers and named tuples into what JSON can hold; NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {str(key): finite_or_none(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return finite_or_none(value._asdict())
    if isinstance(value, np.ndarray | np.generic):
        return finite_or_none(value.tolist())
    if isinstance(value, list | tuple):
        return [finite_or_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _channel(
    pipeline: Pipeline, catalog: Catalog, histograms: Filled, quotes: Mapping[str, Quote], channel: str
) -> dict[str, Any]:
    alone = only(quotes, [channel])
    everything = total(spectrum(histograms[fine(ERROR)], alone))
    lost = spectrum(histograms[UNDEFINED], alone)
    observables = histograms[UNDEFINED].axes["histogram"]
    return {
        "kind": pipeline.channels[channel],
        "cutflow": [
            {"name": step.name, "raw": step.raw, "weighted": step.weighted}
            for step in catalog.cutflow(channel)
        ],
        "events": {split: catalog.rows(channel, split) for split in SPLITS},
        **quotes[channel]._asdict(),
        "yield": everything.values,
        "yield_uncertainty": everything.uncertainties,
        "undefined": {
            name: lost.values[place]
            for place, name in enumerate(observables)
            if name not in (ERROR, SCAN, BUMP)
        },
    }


def _inputs(catalog: Catalog) -> list[dict[str, Any]]:
    """List the files that were read, in the order of the store."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for slot in catalog.slots:
        new = {"channel": slot.channel, "dataset": slot.dataset, "url": slot.url, "entries": 0, "selected": 0}
        row = found.setdefault((slot.dataset, slot.url), new)
        row["entries"] += slot.stop - slot.start
        row["selected"] += slot.selected
    return list(found.values())


def describe_region(
    pipeline: Pipeline,
    region: Region,
    histograms: Filled,
    quotes: Mapping[str, Quote],
    kinds: Mapping[str, Mapping[str, Quote]],
) -> dict[str, Any]:
    """Give what the summary says of a region, but for what stands beside it."""

    def expected(channels: Mapping[str, Quote]) -> Spectrum:
        return total(spectrum(histograms[ERROR], channels, region.name))

    def measured(channels: Mapping[str, Quote]) -> dict[str, Any]:
        found = expected(channels)
        return {"value": found.values, "uncertainty": found.uncertainties}

    def raw(channel: str) -> int:
        counted = spectrum(histograms[EVENTS], {channel: Quote(quotes[channel].splits, 1.0)}, region.name)
        return int(counted.values)

    def upper_limit(channel: str) -> float | None:
        if pipeline.channels[channel] == "data" or raw(channel):
            return None
        every = spectrum(histograms[fine(ERROR)], {channel: Quote(SPLITS, quotes[channel].scale)})
        value, variance = every.values.sum(), every.variances.sum()
        return NONE_SEEN * variance / value if value > 0 else None

    background = expected(kinds["background"])
    floor = pipeline.regions.minimum_background

    def signal(channel: str) -> dict[str, Any]:
        alone = only(quotes, [channel])
        selected = total(spectrum(histograms[fine(ERROR)], alone)).values
        value = expected(alone)
        return {
            **measured(alone),
            "efficiency": value.values / selected if selected > 0 else None,
            **significance(value, background, floor)._asdict(),
        }

    return {
        "name": region.name,
        "rule": region.rule,
        "threshold": region.threshold,
        "background_efficiency": region.background_efficiency,
        "yields": {
            channel: {
                **measured(only(quotes, [channel])),
                "raw": raw(channel),
                "upper_limit": upper_limit(channel),
            }
            for channel in quotes
        },
        "background": measured(kinds["background"]),
        "simulation_ends": [channel for channel in kinds["background"] if not raw(channel)],
        "quotable": bool(background.values > 0 and background.values >= floor),
        "data": expected(kinds["data"]).values if kinds["data"] else None,
        "signals": {channel: signal(channel) for channel in kinds["signal"]},
    }
