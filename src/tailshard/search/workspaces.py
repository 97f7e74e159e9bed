"""Counts become a workspace of pyhf: a statistical model as JSON, which other tools read too.

One channel of a few bins; one sample for each background and one for the signal. The signal's strength is the
parameter ``mu``, and 1 is the cross-section of the pipeline. Backgrounds vary within the statistics of the
simulation (``staterror``, from the sums of squared weights) and within `limits.background_uncertainty`
(``normsys``), all samples with the luminosity (``lumi``). Where there is no data, the expected background
stands in its place. Format: L. Heinrich, M. Feickert, G. Stark, K. Cranmer, J. Open Source Softw. 6 (2021)
2823.
"""

from typing import Any

from ..inference import Limits
from .tail import Tail

STRENGTH = "mu"
MEASUREMENT = "search"


def workspace(
    tail: Tail, name: str, signal: str, limits: Limits, factor: float = 1.0, reach: float = 10.0
) -> dict[str, Any]:
    """Write down the model of one tail.

    Parameters
    ----------
    tail
        Counts.
    name, signal
        Of the channel, and of the signal's sample.
    limits
        Uncertainties.
    factor
        Of the signal: ``mu`` counts in units of it.
    reach
        Largest ``mu`` that a fit may try.
    """
    lumi = limits.luminosity_uncertainty
    common = [{"name": "lumi", "type": "lumi", "data": None}] if lumi else []
    samples: list[dict[str, Any]] = [
        {
            "name": signal,
            "data": (tail.signal.values * factor).tolist(),
            "modifiers": [{"name": STRENGTH, "type": "normfactor", "data": None}, *common],
        }
    ]
    for channel, counts in tail.backgrounds.items():
        modifiers = [
            {"name": f"simulation_{name}", "type": "staterror", "data": counts.uncertainties.tolist()},
            *common,
        ]
        if relative := limits.background_uncertainty:
            size = {"lo": 1 - relative, "hi": 1 + relative}
            modifiers.append({"name": f"normalisation_{channel}", "type": "normsys", "data": size})
        samples.append({"name": channel, "data": counts.values.tolist(), "modifiers": modifiers})
    observed = tail.background.values if tail.data is None else tail.data
    parameters: list[dict[str, Any]] = [{"name": STRENGTH, "inits": [1.0], "bounds": [[0.0, reach]]}]
    if lumi:
        near = [max(0.0, 1 - 5 * lumi), 1 + 5 * lumi]
        parameters.append(
            {"name": "lumi", "auxdata": [1.0], "sigmas": [lumi], "bounds": [near], "inits": [1.0]}
        )
    return {
        "channels": [{"name": name, "samples": samples}],
        "observations": [{"name": name, "data": observed.tolist()}],
        "measurements": [{"name": MEASUREMENT, "config": {"poi": STRENGTH, "parameters": parameters}}],
        "version": "1.0.0",
    }
