"""The measurements run: real data, real processes, a table and JSON; what they find is not tested."""

import io
import json
from pathlib import Path

import pytest
from benchmarks.__main__ import QUICK, measure
from benchmarks.harness import GROUPS, PIP, Contestant, Goal, Outcome, Settings, Table, ratio, rotated
from benchmarks.results import summarised
from rich.console import Console

TINY = {**QUICK, "events": 2000, "batch": 256, "chunk": 128, "slot": 1024, "seconds": 0.2}


def _measured(groups: tuple[str, ...], settings: Settings) -> tuple[dict, str, bool]:
    out, text = settings.work / "results.json", io.StringIO()
    whole = measure(groups, settings, out, Console(file=text, width=160))
    return json.loads(out.read_text()), text.getvalue(), whole


def _figures(content: dict, group: str, table: int, name: str) -> dict:
    rows = {row["name"]: row for row in content["groups"][group][table]["contestants"]}
    assert rows[name]["failed"] is None
    return rows[name]["figures"]


@pytest.mark.slow
def test_contestants_are_measured_written_as_json_and_may_fail(tmp_path: Path) -> None:
    content, text, whole = _measured(("kernel",), Settings(tmp_path, only=("NumPy",), **TINY))
    assert whole, text
    assert content["settings"]["events"] == 2000
    assert content["versions"]["numpy"]
    numpy = _figures(content, "kernel", 0, "NumPy, padded (n, 22, 22)")
    assert numpy["differing"]["median"] == 0
    assert numpy["rate"]["min"] <= numpy["rate"]["median"] <= numpy["rate"]["max"]
    assert len(numpy["rate"]["runs"]) == TINY["repeats"]
    assert 0 < numpy["rate"]["of_baseline"] < 1
    assert numpy["peak"]["median"] > 1e7
    # Neither asked for, nor a limit: not there, and its goals not measured.
    (table,) = content["groups"]["kernel"]
    assert "tailshard" not in {row["name"] for row in table["contestants"]}
    assert all(goal["reached"] is None for goal in table["goals"])
    assert "not measured" in text

    # A contestant that dies is reported, and the others go on.
    (tmp_path / "events-2000" / "arrays-1" / "met.npy").write_bytes(b"damaged")
    content, text, whole = _measured(("kernel",), Settings(tmp_path, only=("NumPy",), **TINY))
    assert not whole
    zeroing, dead = content["groups"]["kernel"][0]["contestants"]
    assert zeroing["figures"]
    assert "ValueError" in dead["failed"]
    assert "failed" in text


@pytest.mark.slow
def test_all_groups_run(tmp_path: Path) -> None:
    # Ways of tailshard and what they are compared with; all rivals take four minutes more.
    settings = Settings(tmp_path, only=("tailshard",), **{**TINY, "events": 4000, "repeats": 1})
    content, text, whole = _measured(GROUPS, settings)
    assert whole, text
    assert set(content["groups"]) == set(GROUPS)
    for tables in content["groups"].values():
        for table in tables:
            for row in table["contestants"]:
                assert row["figures"] or row["absent"], row


def test_ratios_are_taken_inside_a_round() -> None:
    fast, slow = (Outcome(Contestant(name, None)) for name in ("fast", "slow"))  # type: ignore[arg-type]
    # The machine was half as fast in the second round.
    fast.runs = [{"rate": 30.0}, {"rate": 15.0}, {"rate": 60.0}]
    slow.runs = [{"rate": 10.0}, {"rate": 5.0}, {"rate": 20.0}]
    assert ratio(fast, slow, "rate") == 3
    assert ratio(fast, slow, "other") is None
    goals = (Goal("fast", "rate", "slow", least=2), Goal("slow", "rate", most=9), Goal("fast", "x", least=1))
    table = Table("a table", (), (fast.contestant, slow.contestant), "slow", goals)
    summary = summarised(table, [fast, slow])
    assert [goal["reached"] for goal in summary["goals"]] == [True, False, None]
    assert summary["contestants"][0]["figures"]["rate"]["of_baseline"] == 3


def test_every_round_begins_with_another_contestant() -> None:
    rounds = [rotated(["a", "b", "c"], number) for number in range(4)]
    assert [order[0] for order in rounds] == ["a", "b", "c", "a"]
    assert all(sorted(order) == ["a", "b", "c"] for order in rounds)


def test_a_missing_package_is_named_with_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PIP, "no_such_package", "no-such-package==1")
    contestant = Contestant("rival", None, needs=("no_such_package",))  # type: ignore[arg-type]
    assert contestant.absent() == "pip install no-such-package==1"
    assert Contestant("rival", None).absent() == ""  # type: ignore[arg-type]
