from dataclasses import replace

from tailshard.report.blocks import Note, Table
from tailshard.report.robustness import name_of, robustness


def _row(value: float) -> dict:
    return {"auc": {name: {"value": value, "uncertainty": 0.01} for name in ("error", "met", "m_eff")}}


def _content(findings) -> dict:
    return {
        "share": 0.01,
        "networks": {
            "full": {
                "model": findings.network.digest,
                "control": _row(0.5),
                "disturbed": {"momentum_1.5": _row(0.7), "noise": _row(1.0)},
            },
            "small": {"disturbed": {"noise": _row(0.9)}},
        },
        "removed": {"ttbar": {"row": _row(0.8)}},
    }


def test_a_search_that_was_not_put_to_the_test_says_how(findings) -> None:
    (note,) = robustness(replace(findings, robustness=None))
    assert isinstance(note, Note)
    assert "tailshard stress" in note.text


def test_every_test_is_a_row(findings) -> None:
    *_, table = robustness(replace(findings, robustness=_content(findings)))
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == [
        "ttbar, by a network that never saw it",
        "test events, nothing done to them (control)",
        f"test events, {name_of('momentum_1.5')}",
        "test events, uniform cells",
        "the same, trained on 0.01 of the events: uniform cells",
    ]
    assert table.rows[2][1] == "0.700 ± 0.010".replace(" ", "\u00a0")


def test_another_network_is_not_told_with_the_numbers_of_the_old_one(findings) -> None:
    content = _content(findings)
    content["networks"]["full"]["model"] = "another"
    (note,) = robustness(replace(findings, robustness=content))
    assert "has changed" in note.text
