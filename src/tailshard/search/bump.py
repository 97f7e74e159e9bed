"""A scan of one quantity for a local excess of data over simulated background, in windows of any width.

pyBumpHunter does it (G. Choudalakis, arXiv:1101.0390): the local p-value is the smallest Poisson probability
of all windows, and the global one the share of background-only pseudo-experiments in which some window is as
unlikely, so that looking in many places is paid for. The background counts as known exactly, in normalisation
and shape: where simulation is scarce or wrong, the scan finds that. Windows in which nothing is expected are
not looked at.
"""

import io
import math
from contextlib import redirect_stdout
from importlib.util import find_spec
from typing import Any

import numpy as np

from ..config import Pipeline
from ..errors import ConfigError
from ..inference import Bump
from .filling import BUMP, Filled
from .quoting import only, quote, spectrum
from .significance import Array


def require_hunter(pipeline: Pipeline) -> None:
    """Refuse a scan that cannot be done, before anything else is.

    Raises
    ------
    ConfigError
        pyBumpHunter is not installed, or there is no data.
    """
    if pipeline.histograms.bump is None:
        return
    if not pipeline.channels_of("data"):
        raise ConfigError("histograms.bump scans data, and no data set has kind data; remove it")
    if find_spec("pyBumpHunter") is None:
        raise ConfigError(
            "histograms.bump needs pyBumpHunter, which is not installed; run pip install 'tailshard[bump]', "
            "or remove histograms.bump"
        )


def find_bump(pipeline: Pipeline, histograms: Filled) -> dict[str, Any] | None:
    """Scan what the pipeline asks for.

    Parameters
    ----------
    pipeline
        The search; simulation is scaled to the luminosity of its data.
    histograms
        With the histogram to scan: axes channel, split, region and the quantity.

    Returns
    -------
    dict or None
        As the summary has it; None where no scan is asked for.

    Raises
    ------
    ConfigError
        The store has no such quantity, or there is no such region.
    """
    asked = pipeline.histograms.bump
    if asked is None:
        return None
    if BUMP not in histograms:
        raise ConfigError(
            f"histograms.bump.quantity: the store has no '{asked.quantity}'; name a kinematic quantity of it"
        )
    histogram = histograms[BUMP]
    if asked.region not in (known := list(histogram.axes["region"])):
        raise ConfigError(
            f"histograms.bump.region: there is no region '{asked.region}', only {', '.join(known)}"
        )
    quotes = {channel: quote(pipeline, channel) for channel in pipeline.channels}
    data, simulation = (
        spectrum(histogram, only(quotes, pipeline.channels_of(kind)), asked.region)
        for kind in ("data", "background")
    )
    simulation = simulation.scaled(pipeline.data_luminosity / pipeline.luminosity)
    # Without underflow and overflow: a window has two ends.
    observed, expected, variances = (
        part[1:-1] for part in (data.values, simulation.values, simulation.variances)
    )
    found = scan(observed, np.maximum(expected, 0), histogram.axes[-1].edges, asked)
    if found["window"] is not None:
        first, last = (int(place) for place in found.pop("bins"))
        found["expected_uncertainty"] = math.sqrt(variances[first:last].sum())
    return {"quantity": asked.quantity, "region": asked.region, **found}


def scan(observed: Array, expected: Array, edges: Array, asked: Bump) -> dict[str, Any]:
    """Find the window in which data exceeds the background most significantly.

    Parameters
    ----------
    observed, expected
        (bins,) events; none of the expected ones is negative.
    edges
        (bins + 1,)
    asked
        Windows, pseudo-experiments and seed.

    Returns
    -------
    dict
        ``window`` and ``bins``, its first edge and bin and those after its last, ``data`` and ``expected`` in
        it, ``local_p_value``, ``global_p_value``, ``global_p_value_uncertainty``, ``pseudo_experiments``; or
        ``window`` None and ``why_not``.
    """
    from pyBumpHunter import BumpHunter1D

    nothing = {"window": None, "pseudo_experiments": asked.pseudo_experiments}
    if np.count_nonzero(expected) < asked.widths[0]:
        return {**nothing, "why_not": "the background fills fewer bins than the smallest window has"}
    hunter = BumpHunter1D(
        bins=edges,
        width_min=asked.widths[0],
        width_max=asked.widths[1],
        npe=asked.pseudo_experiments,
        nworker=1,
        seed=asked.seed,
    )
    with redirect_stdout(io.StringIO()), np.errstate(divide="ignore"):
        hunter.bump_scan(observed, expected, is_hist=True)
    local = float(hunter.min_Pval_ar[0])
    if not local < 1:
        return {**nothing, "why_not": "no window holds more data than background"}
    first = int(hunter.min_loc_ar[0])
    last = first + int(hunter.min_width_ar[0])
    share = float(hunter.global_Pval)
    return {
        "window": [float(edges[first]), float(edges[last])],
        "bins": [first, last],
        "data": float(observed[first:last].sum()),
        "expected": float(expected[first:last].sum()),
        "local_p_value": local,
        "global_p_value": share,
        "global_p_value_uncertainty": math.sqrt(share * (1 - share) / asked.pseudo_experiments),
        "pseudo_experiments": asked.pseudo_experiments,
        "why_not": None,
    }
