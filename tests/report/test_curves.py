import base64
import dataclasses

import numpy as np
import pytest

from tailshard.report import curves, plots


@pytest.fixture
def drawn(monkeypatch):
    """What is handed to the drawing functions."""
    seen = {}

    def spy(name):
        draw = getattr(plots, name)

        def spied(first, **others):
            seen.setdefault(name, []).append(first)
            return draw(first, **others)

        return spied

    for name in ("scan", "roc"):
        monkeypatch.setattr(plots, name, spy(name))
    return seen


def test_every_scan_has_a_column_for_met_and_one_for_m_eff_alone(findings, drawn) -> None:
    pictures = list(curves.scan_pictures(findings, "resonance"))
    assert len(pictures) == len(drawn["scan"]) == 3
    assert "m_eff alone" in pictures[0].alt
    for met, m_eff in drawn["scan"]:
        assert [curve.label for curve in met.significance] == ["MET alone", "efficiency 0.1", "median 1"]
        assert [curve.label for curve in m_eff.significance] == ["m_eff alone"]
        assert all(curve.mark is not None and curve.error is not None for curve in met.significance)
        for curve in (*met.background, *m_eff.background):
            assert not np.isfinite(curve.error[~(curve.y >= 2)]).any()  # the pipeline's minimum


def test_a_roc_curve_begins_where_the_background_can_tell(findings, drawn) -> None:
    picture = curves.roc_picture(findings, ["resonance"])
    assert base64.b64decode(picture.source.split(",")[1]).startswith(b"<?xml")
    its = findings.summary["signals"]["resonance"]
    for curve, score in zip(drawn["roc"][0], ("error", "met", "m_eff"), strict=True):
        assert curve.x[0] >= its["roc"][score]["resolution"] > 0
        assert len(curve.error) == len(curve.x)
        # Figure and table agree: a step has the value of the point to its left.
        found = its["efficiencies"][score][0]
        if found["value"] is not None:
            assert curve.y[np.searchsorted(curve.x, 0.1 + 1e-12, side="right") - 1] == found["value"]


def test_a_score_without_resolution_is_drawn_as_far_as_it_goes(findings) -> None:
    its = findings.summary["signals"]["resonance"]
    roc = {**its["roc"], "met": {name: [] for name in its["roc"]["met"]} | {"resolution": None}}
    summary = {**findings.summary, "signals": {"resonance": {**its, "roc": roc}}}
    assert (
        "MET alone" in curves.roc_picture(dataclasses.replace(findings, summary=summary), ["resonance"]).alt
    )
