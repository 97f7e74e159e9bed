import dataclasses
from typing import Any

from tailshard.report.blocks import Note, Text
from tailshard.report.sections import sections


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
