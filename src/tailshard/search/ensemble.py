"""The numbers of every network of an ensemble, and how far they lie apart.

Each network is a search of its own: its regions come from the errors that it gives the background's
validation events, and its numbers from the same functions as those of the first. Their spread is what the
seed alone changes, the order of events and the weights that training begins with. All networks are asked
about the same events, so the spread holds nothing of the statistics of the simulation, and comes beside it.

``ensemble`` in ``summary.json``, of a pipeline with `training.seeds`; null where a number does not exist::

    seeds                    [seed]; the rest of the summary is of the first
    members.<seed>
        regions              [{name, threshold, background_efficiency, background, data, signals}]
        signals.<signal>     {auc: {value, uncertainty}, efficiencies: [{background_efficiency, value,
                             uncertainty}]}: of the error
    spread
        regions.<region>     {background, signals.<signal>.<quantity>}: a spread each; quantities are value,
                             s_over_sqrt_b, asimov and asimov_with_background_uncertainty
        signals.<signal>     {auc, efficiencies: [{background_efficiency, ...}], roc}: a spread each; that of
                             the ROC curves is one of lists, at the background_efficiency beside it

A spread is {mean, standard_deviation, minimum, maximum, seeds}, over as many seeds as give the number. The
standard deviation is that of one network, sqrt(sum (x - mean)^2 / (n - 1)); null for fewer than two.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..config import Pipeline
from .comparison import BACKGROUND_EFFICIENCIES, compare
from .filling import ERROR, Filled
from .quoting import Quote, only, quote
from .regions import Region
from .separation import ROC_POINTS, Roc
from .summary import describe_region

_SIGNIFICANCES = ("value", "s_over_sqrt_b", "asimov", "asimov_with_background_uncertainty")

_ROUNDING = 1e-12  # of numbers, relative to their mean


class Found(NamedTuple):
    """What the errors by one network were reduced to."""

    histograms: Filled
    """With channel axes: the fine spectrum of the error, the error by region, and the counts."""
    regions: Sequence[Region]
    """Of this network; the inclusive region first."""


def summarise_members(pipeline: Pipeline, found: Mapping[int, Found]) -> dict[str, Any]:
    """Give what the summary says of an ensemble.

    Parameters
    ----------
    pipeline
        The search.
    found
        By seed, the first one first.
    """
    quotes = {channel: quote(pipeline, channel) for channel in pipeline.channels}
    background = only(quotes, pipeline.channels_of("background"))
    compared = {
        seed: {
            signal: compare(pipeline, its.histograms, its.regions, quotes[signal], signal, background)
            for signal in pipeline.channels_of("signal")
        }
        for seed, its in found.items()
    }
    members: dict[int, dict[str, Any]] = {
        seed: {
            "regions": [_region(pipeline, region, its.histograms, quotes) for region in its.regions],
            "signals": {
                signal: {name: numbers[name][ERROR] for name in ("auc", "efficiencies")}
                for signal, numbers in compared[seed].items()
            },
        }
        for seed, its in found.items()
    }
    curves = {
        signal: [numbers[signal]["roc"][ERROR] for numbers in compared.values()]
        for signal in pipeline.channels_of("signal")
    }
    each = list(members.values())
    return {
        "seeds": list(found),
        "members": members,
        "spread": {
            "regions": _spread_of_regions([member["regions"] for member in each]),
            "signals": {
                signal: _spread_of_separation([member["signals"][signal] for member in each], curves[signal])
                for signal in curves
            },
        },
    }


def spread(values: Sequence[ArrayLike | None]) -> dict[str, Any]:
    """Give mean, standard deviation and extremes of what some networks give, numbers or arrays of one shape.

    None and NaN do not count; ``seeds`` is how many do. NaN where there are too few.
    """
    numbers = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    known = ~np.isnan(numbers)
    count = known.sum(axis=0)

    def where(enough: NDArray[np.bool_], result: ArrayLike) -> Any:
        return np.where(enough, result, np.nan)[()]

    mean = np.where(known, numbers, 0).sum(axis=0) / np.maximum(count, 1)
    away = np.where(known, numbers - mean, 0)
    # Sums of the same weights in another order differ by rounding, and by nothing else.
    away = np.where(np.abs(away) > _ROUNDING * np.abs(mean), away, 0)
    squares = np.square(away).sum(axis=0)
    return {
        "mean": where(count > 0, mean),
        "standard_deviation": where(count > 1, np.sqrt(squares / np.maximum(count - 1, 1))),
        "minimum": where(count > 0, np.where(known, numbers, np.inf).min(axis=0)),
        "maximum": where(count > 0, np.where(known, numbers, -np.inf).max(axis=0)),
        "seeds": count[()],
    }


def _region(
    pipeline: Pipeline, region: Region, histograms: Filled, quotes: Mapping[str, Quote]
) -> dict[str, Any]:
    kinds = {kind: only(quotes, pipeline.channels_of(kind)) for kind in ("background", "signal", "data")}
    its = describe_region(pipeline, region, histograms, quotes, kinds)
    kept = ("name", "threshold", "background_efficiency", "background", "data", "signals")
    return {name: its[name] for name in kept}


def _spread_of_regions(members: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Compare the regions of one name; every network has the same ones."""
    found = {}
    for same in zip(*members, strict=True):
        found[same[0]["name"]] = {
            "background": spread([region["background"]["value"] for region in same]),
            "signals": {
                signal: {
                    quantity: spread([region["signals"][signal][quantity] for region in same])
                    for quantity in _SIGNIFICANCES
                }
                for signal in same[0]["signals"]
            },
        }
    return found


def _spread_of_separation(members: Sequence[Mapping[str, Any]], curves: Sequence[Roc]) -> dict[str, Any]:
    efficiencies = zip(*(member["efficiencies"] for member in members), strict=True)
    resolutions = [curve.resolution for curve in curves]
    return {
        "auc": spread([member["auc"].value for member in members]),
        "efficiencies": [
            {"background_efficiency": target, **spread([one["value"] for one in same])}
            for target, same in zip(BACKGROUND_EFFICIENCIES, efficiencies, strict=True)
        ],
        "roc": {
            "background_efficiency": ROC_POINTS,
            **spread([_at(curve, ROC_POINTS) for curve in curves]),
            "resolution": resolutions[0],
        },
    }


def _at(curve: Roc, targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Read a curve of steps at some background efficiencies; NaN below what the background can tell."""
    if not curve.background_efficiency.size:
        return np.full(len(targets), np.nan)
    reached = np.maximum.accumulate(curve.background_efficiency)
    place = np.maximum(np.searchsorted(reached, targets, side="right") - 1, 0)
    told = targets >= curve.resolution * (1 - 1e-9)
    return np.where(told, curve.signal_efficiency[place], np.nan)
