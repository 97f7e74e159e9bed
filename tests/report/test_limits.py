import dataclasses

import pytest

from tailshard.report import limits
from tailshard.report.blocks import Note, Pictures, Table
from tailshard.report.sections import sections
from tailshard.search.filling import BUMP


def test_limits_stand_beside_those_of_the_baselines(findings) -> None:
    table = limits.limits_table(findings)
    assert table.header[-1] == "Observed"
    assert [row[:2] for row in table.rows] == [
        ["resonance", "error"],
        ["resonance", "MET alone"],
        ["resonance", "m_eff alone"],
    ]
    expected = findings.summary["signals"]["resonance"]["limits"]["met"]["expected"]
    assert table.rows[1][2].endswith("\u00a0GeV")
    assert float(table.rows[1][4]) == pytest.approx(expected[2], rel=0.01)
    assert " to " in table.rows[1][5]


def test_a_limit_that_does_not_exist_says_why(findings) -> None:
    signal = findings.summary["signals"]["resonance"]
    nothing = dict.fromkeys(signal["limits"]["met"]) | {"why_not": "the fit failed"}
    changed = {**signal, "limits": {**signal["limits"], "met": nothing}}
    other = dataclasses.replace(findings, summary={**findings.summary, "signals": {"resonance": changed}})
    assert limits.limits_table(other).rows[1][2:] == ["–"] * 6
    assert [note.text for note in limits.reasons(other)] == [
        "resonance by MET alone: no limit, because the fit failed."
    ]


def test_no_limits_and_no_signal_are_said_in_a_line(findings, poor_findings) -> None:
    pipeline = findings.pipeline.model_copy(update={"limits": None})
    (note,) = sections(dataclasses.replace(findings, pipeline=pipeline), {})["Limits"]()
    assert note == Note("No limits were asked for (limits: null).")
    (note,) = sections(poor_findings, {})["Limits"]()
    assert "No signal sample is named" in note.text


@pytest.fixture
def bumpy(findings):
    bump = {
        "quantity": "met",
        "region": "efficiency_0.1",
        "window": [100.0, 150.0],
        "data": 31.0,
        "expected": 12.0,
        "expected_uncertainty": 1.5,
        "local_p_value": 3e-6,
        "global_p_value": 0.0,
        "global_p_value_uncertainty": 0.0,
        "pseudo_experiments": 2000,
        "why_not": None,
    }
    histograms = {**findings.histograms, BUMP: findings.histograms["met"]}
    return dataclasses.replace(findings, histograms=histograms, summary={**findings.summary, "bump": bump})


def test_the_window_is_drawn_and_its_global_p_value_is_never_zero(bumpy) -> None:
    text, pictures, table = sections(bumpy, {})["Bump"]()
    assert "pays for having looked in many places" in text.text
    assert isinstance(pictures, Pictures)
    assert "100 to 150 is shaded" in pictures.pictures[0].caption
    assert isinstance(table, Table)
    assert ["global p-value", "below 5.0 × 10⁻⁴"] in table.rows
    assert ["window", "100 to 150 GeV"] in table.rows


def test_a_scan_that_found_nothing_says_so_and_none_has_no_section(bumpy, findings) -> None:
    assert "Bump" not in sections(findings, {})
    bump = {**bumpy.summary["bump"], "window": None, "why_not": "no window holds more"}
    nothing = dataclasses.replace(bumpy, summary={**bumpy.summary, "bump": bump})
    *_, note = limits.bump_blocks(nothing)
    assert note == Note("Nothing was found: no window holds more.")
