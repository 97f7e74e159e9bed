"""The result in plain words, with honest numbers beside the simplest alternative."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ..search.filling import ERROR
from ..search.regions import INCLUSIVE
from .figures import region_label
from .findings import Findings
from .wording import candidates_in_words, listed, measured, number, observed, plural

_BASELINES = {"met": "missing transverse momentum (MET)", "m_eff": "effective mass (m_eff)"}
_AGREE = 2.0  # standard deviations within which two numbers are not called different


def headline(findings: Findings) -> str:
    """Tell in one paragraph what was found."""
    return " ".join(_sentences(findings))


def _sentences(findings: Findings) -> Iterator[str]:
    pipeline, summary = findings.pipeline, findings.summary
    learned = listed(list(pipeline.training_channels))
    yield (
        f"An autoencoder learned what {learned} events look like; the error with which it reconstructs "
        "an event says how anomalous the event is."
    )
    for signal, its in summary["signals"].items():
        yield from _separation(signal, its["auc"])
        yield from _significance(pipeline.regions.minimum_background, its["scans"])
    if not summary["signals"]:
        yield "No signal sample is named, so no AUC and no significance is quoted."
    yield from _data(findings)
    if rows := summary["quarantine"]:
        yield f"{plural(len(rows), 'input')} could not be read; see Quarantine."
    yield from summary["warnings"]


def _separation(signal: str, auc: Mapping[str, Any]) -> Iterator[str]:
    error = auc[ERROR]
    if error["value"] is None:
        yield f"Too few events of {signal} were selected to say how well it is separated."
        return
    area = measured(error["value"], error["uncertainty"])
    sentence = f"For {signal}, the error alone reaches an AUC of {area} (0.5 is chance, 1 is perfect)"
    baselines = [
        f"{measured(its['value'], its['uncertainty'])} by {_BASELINES[name]} alone ({_compare(error, its)})"
        for name, its in auc.items()
        if name != ERROR and its["value"] is not None
    ]
    yield f"{sentence}, to be set beside {listed(baselines)}." if baselines else f"{sentence}."


def _compare(error: Mapping[str, float], baseline: Mapping[str, float]) -> str:
    difference = error["value"] - baseline["value"]
    if abs(difference) <= _AGREE * math.hypot(error["uncertainty"], baseline["uncertainty"]):
        return "equal within uncertainties"
    return "the error does better" if difference > 0 else "the error does worse"


def _significance(minimum_background: float, scans: Mapping[str, Any]) -> Iterator[str]:
    """Quote the region whose scan promised most on validation events, so that test events chose nothing."""
    promising = {
        name: its["chosen"]["asimov_with_background_uncertainty"]
        for name, its in scans.items()
        if its["chosen"] is not None and name != INCLUSIVE
    }
    baseline = scans.get(INCLUSIVE, {}).get("quoted")
    if not promising:
        if scans:
            yield (
                f"No cut in any region leaves {minimum_background:g} expected background events, "
                "so no significance is quoted for a region."
            )
    else:
        name = max(promising, key=promising.__getitem__)
        quoted = scans[name]["quoted"]
        signal, background = (
            measured(quoted[part], quoted[f"{part}_uncertainty"]) for part in ("signal", "background")
        )
        yield (
            f"In the region '{region_label(name)}' with MET of at least {number(quoted['cut'])} GeV, both "
            f"chosen on validation events, the test events give {signal} signal over {background} background "
            f"events: {_quote(quoted)}."
        )
    if baseline is not None:
        yield f"A cut on MET alone, at {number(baseline['cut'])} GeV, gives {_quote(baseline)}."


def _quote(quoted: Mapping[str, Any]) -> str:
    if quoted["asimov"] is None:
        return "too little background among the test events to quote a significance"
    z = measured(quoted["asimov"], quoted["asimov_uncertainty"])
    simple = measured(quoted["s_over_sqrt_b"], quoted["s_over_sqrt_b_uncertainty"])
    uncertain = number(quoted["asimov_with_background_uncertainty"])
    return (
        f"an Asimov significance of {z} if the background is known exactly, {uncertain} if it is known to "
        f"the simulation's statistics (s/√b {simple})"
    )


def _data(findings: Findings) -> Iterator[str]:
    inclusive, candidates = findings.summary["regions"][0], findings.summary["candidates"]
    if inclusive["data"] is None:
        yield "There is no data in this pipeline, and so no candidates."
        return
    expected = {name: value * findings.to_data for name, value in inclusive["background"].items()}
    seen = inclusive["data"]
    yield (
        f"{observed(seen)} data events stand where the simulated background gives "
        f"{measured(expected['value'], expected['uncertainty'])}."
    )
    if not expected["value"] > 0 or not 0.5 < seen / expected["value"] < 2:
        yield (
            "The samples named as background therefore do not describe the data, and an excess of data "
            "says nothing about new physics."
        )
    if candidates is not None:
        yield f"Listed as candidates: {candidates_in_words(candidates)}."
