"""The result in plain words, with honest numbers beside the simplest alternative."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from ..learning import ScoreKind
from ..search.filling import ERROR
from .ensemble import in_one_sentence
from .figures import region_label, score_label
from .findings import Findings
from .wording import candidates_in_words, listed, measured, number, observed, plural

_BASELINES = {"met": "missing transverse momentum (MET)", "m_eff": "effective mass (m_eff)"}
_BY_RECONSTRUCTION = "the error with which it reconstructs an event"
_MEANING: Mapping[ScoreKind, str] = {
    **dict.fromkeys(get_args(ScoreKind), _BY_RECONSTRUCTION),
    "relative": f"{_BY_RECONSTRUCTION}, in units of what is usual for background,",
    "excess": "how far an event's energies and masses exceed their reconstruction",
    "divergence": "how far its latent distribution lies from the prior",
    "latent_distance": "how far its latent variables lie from those of the background",
}
_DECIDING = "asimov_with_background_uncertainty"
_AGREE = 2.0  # standard deviations within which two numbers are not called different


def headline(findings: Findings) -> str:
    """Tell in one paragraph what was found."""
    return " ".join(_sentences(findings))


def _sentences(findings: Findings) -> Iterator[str]:
    pipeline, summary = findings.pipeline, findings.summary
    learned = listed(list(pipeline.training_channels))
    yield (
        f"An autoencoder learned what {learned} events look like; {_MEANING[pipeline.score.kind]} says how "
        "anomalous an event is, called its error below."
    )
    for signal, its in summary["signals"].items():
        yield from _separation(signal, its["auc"])
        yield from in_one_sentence(findings, signal)
        yield from _significance(pipeline.regions.minimum_background, its)
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
    verdict = _verdict(error["value"] - baseline["value"], error["uncertainty"], baseline["uncertainty"])
    return ("equal within uncertainties", "the error does better", "the error does worse")[verdict]


def _verdict(difference: float, *uncertainties: float) -> int:
    """Give 1 or -1 where a difference is more than its uncertainty, else 0."""
    return 0 if abs(difference) <= _AGREE * math.hypot(*uncertainties) else 1 if difference > 0 else -1


def _significance(minimum_background: float, its: Mapping[str, Any]) -> Iterator[str]:
    """Quote the region whose scan promised most on validation events, so that test events chose nothing."""
    scans, best = its["scans"], its["best"]
    if best is None:
        if scans:
            yield (
                f"No cut in any region leaves {minimum_background:g} expected background events, "
                "so no significance is quoted for a region."
            )
    else:
        quoted = best["quoted"]
        signal, background = (
            measured(quoted[part], quoted[f"{part}_uncertainty"]) for part in ("signal", "background")
        )
        yield (
            f"In the region '{region_label(best['region'])}' with MET of at least {number(quoted['cut'])} "
            f"GeV, both chosen on validation events, the test events give {signal} signal over {background} "
            f"background events: {_quote(quoted)}."
        )
        promised = best["chosen"][_DECIDING]
        yield (
            f"The validation events had promised {number(promised)}, as the largest of "
            f"{plural(best['tried'], 'cut')} tried on them: a number that is too large on average, and no "
            "result."
        )
    alone = {name: scans[name]["quoted"] for name in _BASELINES if name in scans and scans[name]["quoted"]}
    for name, quoted in alone.items():
        yield f"A cut on {score_label(name)}, at {number(quoted['cut'])} GeV, gives {_quote(quoted)}."
    if best is not None:
        yield from _against(best["quoted"], alone)


def _against(quoted: Mapping[str, Any], alone: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Say which simple cuts do better than the network, and which do not."""
    groups: dict[int, list[str]] = {}
    for name, its in alone.items():
        if quoted[_DECIDING] is not None and its[_DECIDING] is not None:
            uncertainties = (each[f"{_DECIDING}_uncertainty"] for each in (quoted, its))
            verdict = _verdict(quoted[_DECIDING] - its[_DECIDING], *uncertainties)
            groups.setdefault(verdict, []).append(score_label(name))
    words = (("does better than", 1), ("does worse than", -1), ("equals, within uncertainties,", 0))
    if sentence := listed([f"{verb} {listed(groups[sign])}" for verb, sign in words if sign in groups]):
        yield f"By the significance with background uncertainty, the network {sentence}."


def _quote(quoted: Mapping[str, Any]) -> str:
    if quoted["asimov"] is None:
        return "too little background among the test events to quote a significance"
    z, uncertain, simple = (
        measured(quoted[name], quoted[f"{name}_uncertainty"])
        for name in ("asimov", _DECIDING, "s_over_sqrt_b")
    )
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
