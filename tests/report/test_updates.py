"""The section on updates: a note without any, otherwise figures and a table."""

import dataclasses
from typing import Any

from tailshard.report.blocks import Note, Pictures, Table
from tailshard.report.updates import UPDATES_SHOWN, updates


def _line(number: int, **changed: Any) -> dict[str, Any]:
    return {
        "time": f"2026-01-{number % 28 + 1:02}T00:00:00+00:00",
        "files": 10 + number,
        "events": {"data": 900 + number, "zjets": 1000},
        "yields": {"data": 900.0 + number, "zjets": 800.0, "ttbar": 160.0, "resonance": 20.0},
        "trained_on": 1000,
        "training_events": 1100,
        "retrained": False,
        "drift": {},
        "results": f"{number}",
        **changed,
    }


def _blocks(findings, *history: dict[str, Any]) -> list[Any]:
    return list(updates(dataclasses.replace(findings, history=history)))


def test_without_an_update_there_is_a_note(findings) -> None:
    assert findings.history == []
    (note,) = _blocks(findings)
    assert isinstance(note, Note)


def test_every_update_is_a_row_with_what_the_network_has_seen(findings) -> None:
    drift = {"errors": {"value": 0.31, "chance": 1e-9, "where": "zjets"}, "features": None}
    blocks = _blocks(findings, _line(1), _line(2, retrained=True, trained_on=1100, drift=drift))
    (table,) = (block for block in blocks if isinstance(block, Table))
    assert [row[:5] for row in table.rows] == [
        ["1", "2026-01-02 00:00:00", "kept", "11", "901"],
        ["2", "2026-01-03 00:00:00", "trained", "12", "902"],
    ]
    assert [row[6:] for row in table.rows] == [["–", "–"], ["0.310", "–"]]
    (pictures,) = (block for block in blocks if isinstance(block, Pictures))
    assert len(pictures.pictures) == 2


def test_drift_is_drawn_only_where_it_was_measured(findings) -> None:
    (pictures,) = (block for block in _blocks(findings, _line(1)) if isinstance(block, Pictures))
    assert len(pictures.pictures) == 1


def test_the_last_ones_keep_their_numbers(findings) -> None:
    blocks = _blocks(findings, *map(_line, range(1, UPDATES_SHOWN + 6)))
    (table,) = (block for block in blocks if isinstance(block, Table))
    assert (table.rows[0][0], table.rows[-1][0]) == ("6", f"{UPDATES_SHOWN + 5}")
