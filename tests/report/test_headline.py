import dataclasses
from typing import Any

import pytest

from tailshard.report.headline import headline


def said(findings) -> str:
    """The headline, with ordinary spaces."""
    return headline(findings).replace("\u00a0", " ").replace("\u202f", "")


def changed(findings, **summary: Any):
    return dataclasses.replace(findings, summary={**findings.summary, **summary})


def with_signal(findings, **parts: Any):
    return changed(findings, signals={"resonance": {**findings.summary["signals"]["resonance"], **parts}})


def quoted(asimov: float | None, cut: float = 100.0) -> dict:
    return {
        "cut": cut,
        "signal": 3.0,
        "signal_uncertainty": 0.25,
        "background": 2.0,
        "background_uncertainty": 0.5,
        "s_over_sqrt_b": asimov,
        "s_over_sqrt_b_uncertainty": 0.1,
        "asimov": asimov,
        "asimov_uncertainty": 0.1,
        "asimov_with_background_uncertainty": asimov and asimov / 2,
        "asimov_with_background_uncertainty_uncertainty": 0.05,
    }


def best(chosen: dict, quoted: dict) -> dict:
    return {"region": "promising", "tried": 412, "chosen": chosen, "quoted": quoted}


@pytest.mark.parametrize(
    ("met", "verdict"),
    [(0.8, "the error does better"), (0.95, "the error does worse"), (0.91, "equal within uncertainties")],
)
def test_the_error_is_compared_with_met_alone_within_uncertainties(findings, met, verdict) -> None:
    auc = {"error": {"value": 0.9, "uncertainty": 0.01}, "met": {"value": met, "uncertainty": 0.01}}
    words = said(with_signal(findings, auc=auc))
    assert (
        f"an AUC of 0.900 ± 0.010 (0.5 is chance, 1 is perfect), to be set beside {met:.3f} ± 0.010" in words
    )
    assert f"by missing transverse momentum (MET) alone ({verdict})" in words


def test_the_quoted_region_stands_beside_both_baselines_and_its_promise(findings) -> None:
    scans = {
        "met": {"quoted": quoted(1.2, cut=250.0)},
        "m_eff": {"quoted": quoted(4.0, cut=900.0)},
        "modest": {"quoted": quoted(9.0)},
    }
    words = said(with_signal(findings, scans=scans, best=best(quoted(3.0), quoted(2.5, cut=120.0))))
    assert (
        "In the region 'promising' with MET of at least 120 GeV, both chosen on validation events, the test "
        "events give 3.00 ± 0.25 signal over 2.00 ± 0.50 background events: an Asimov significance of "
        "2.50 ± 0.10 if the background is known exactly, 1.250 ± 0.050 if it is known to the simulation's "
        "statistics (s/√b 2.50 ± 0.10). The validation events had promised 1.50, as the largest of 412 cuts "
        "tried on them: a number that is too large on average, and no result."
    ) in words
    assert "A cut on MET alone, at 250 GeV, gives an Asimov significance of 1.20 ± 0.10" in words
    assert "A cut on m_eff alone, at 900 GeV, gives an Asimov significance of 4.00 ± 0.10" in words
    assert "the network does better than MET alone and does worse than m_eff alone." in words
    assert "9.00" not in words


def test_what_does_not_differ_by_its_uncertainty_is_called_equal(findings) -> None:
    scans = {"met": {"quoted": quoted(2.4)}, "m_eff": {"quoted": quoted(2.6)}}
    words = said(with_signal(findings, scans=scans, best=best(quoted(3.0), quoted(2.5))))
    assert "the network equals, within uncertainties, MET alone and m_eff alone." in words


def test_a_cut_that_leaves_too_little_in_the_test_events_is_not_quoted(findings) -> None:
    scans = {"met": {"quoted": quoted(1.2)}}
    words = said(with_signal(findings, scans=scans, best=best(quoted(3.0), quoted(None))))
    assert "too little background among the test events" in words
    assert "By the significance" not in words


def test_no_cut_with_enough_background_gives_no_significance(findings) -> None:
    scans = {"tail": {"quoted": None}, "met": {"quoted": None}}
    assert "No cut in any region leaves 2 expected background events" in said(
        with_signal(findings, scans=scans, best=None)
    )


def test_too_few_events_give_no_auc(findings) -> None:
    auc = {"error": {"value": None, "uncertainty": None}}
    assert "Too few events of resonance were selected" in said(
        with_signal(findings, auc=auc, scans={}, best=None)
    )


@pytest.mark.parametrize(("observed", "warned"), [(100.0, False), (1000.0, True), (10.0, True)])
def test_data_that_the_simulation_does_not_describe_is_said_to_be_so(findings, observed, warned) -> None:
    inclusive = findings.summary["regions"][0]
    inclusive = {**inclusive, "data": observed, "background": {"value": 120.0, "uncertainty": 3.0}}
    words = said(changed(findings, regions=[inclusive]))
    assert f"{observed:.0f} data events" in words
    assert ("do not describe the data" in words) is warned


def test_quarantine_is_mentioned_only_if_something_is_in_it(findings) -> None:
    assert "1 input could not be read" in said(findings)
    assert "could not be read" not in said(changed(findings, quarantine=[]))


def test_a_warning_of_the_store_is_repeated(findings) -> None:
    assert "The yield is too small." in said(changed(findings, warnings=["The yield is too small."]))


def test_the_headline_says_what_the_error_is(findings) -> None:
    assert "the error with which it reconstructs an event says how anomalous" in said(findings)
    score = findings.pipeline.score.model_copy(update={"kind": "latent_distance"})
    pipeline = findings.pipeline.model_copy(update={"score": score})
    words = said(dataclasses.replace(findings, pipeline=pipeline))
    assert "how far its latent variables lie from those of the background says how anomalous" in words


def test_a_search_without_signal_and_data_says_so(poor_findings) -> None:
    words = said(poor_findings)
    assert "No signal sample is named, so no AUC and no significance is quoted." in words
    assert "There is no data in this pipeline, and so no candidates." in words
