import dataclasses
from typing import Any, get_args

import pytest

from tailshard.learning import ScoreKind
from tailshard.report import figures
from tailshard.report.blocks import Note, Text
from tailshard.report.sections import sections
from tailshard.report.wording import SCORES, defined


def _words(findings, title: str, **summary: Any) -> list[str]:
    changed = dataclasses.replace(findings, summary={**findings.summary, **summary})
    return [block.text for block in sections(changed, {})[title]() if isinstance(block, Text | Note)]


def test_the_quarantine_says_what_was_corrected_and_what_was_not(findings) -> None:
    warning = "Part of the data was not read."
    words = _words(findings, "Quarantine", scales={"zjets": 1.25}, warnings=[warning])
    assert "The weights of zjets were multiplied by 1.25 to make up for it." in words
    assert warning in words
    words = _words(findings, "Quarantine", scales={}, warnings=[warning])
    assert "No weight was changed on their account." in words
    assert not any("normalisation" in each for each in words)


def _with_score(findings, **score: Any):
    changed = findings.pipeline.score.model_copy(update=score)
    pipeline = findings.pipeline.model_copy(update={"score": changed})
    return dataclasses.replace(findings, pipeline=pipeline)


@pytest.mark.parametrize("kind", [kind for kind in get_args(ScoreKind) if kind != "blocks"])
def test_the_error_is_called_what_it_is(findings, kind) -> None:
    words = next(sections(_with_score(findings, kind=kind), {})["Anomaly score"]()).text
    assert f"(score.kind: {kind})" in words
    assert SCORES[kind].name in figures.error_label(_with_score(findings, kind=kind))[0]
    assert ("reconstruction error" in words) is (kind in ("sum", "mean", "relative"))


def test_an_added_divergence_is_told_where_it_is_added(findings) -> None:
    for kind in ("mean", "excess"):
        words = defined(_with_score(findings, kind=kind, add_divergence=True).pipeline.score)
        assert ("is added" in words) is (kind == "mean")


def test_the_comparison_says_what_a_small_p_value_is_worth(findings) -> None:
    few_drawn = findings.pipeline.report.model_copy(update={"worst_cells": 0})
    findings = dataclasses.replace(
        findings, pipeline=findings.pipeline.model_copy(update={"report": few_drawn})
    )
    words = " ".join(_words(findings, "Cells of the matrix"))
    many = len(findings.summary["agreement"]["cells"])
    assert f"Of {many} distributions, were all described perfectly" in words
    few = {**findings.summary["agreement"], "cells": []}
    assert "Fewer than 5 events are expected or simulated" in " ".join(
        _words(findings, "Cells of the matrix", agreement=few)
    )


def test_without_data_nothing_is_compared(poor_findings) -> None:
    words = " ".join(_words(poor_findings, "Cells of the matrix"))
    assert "There is no data in this pipeline, so the cells of the matrix are not compared" in words
    assert "χ²" not in " ".join(_words(poor_findings, "Data and simulation"))
