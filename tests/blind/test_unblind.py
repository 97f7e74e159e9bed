"""A claim, and then the truth."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tailshard import verbs
from tailshard.blind.seal import SEALED, seal
from tailshard.blind.unblind import Claim, in_region, make_claim, unblind, verdict
from tailshard.errors import ConfigError, WorkdirError

TRUTH = {"signal": "resonance", "events": 80, "event_numbers": [3, 5]}
YIELDS = {"resonance": 40.0, "other": 10.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A blind test that nobody has searched yet."""
    digest = seal(tmp_path, TRUTH)
    (tmp_path / "blind.json").write_text(
        json.dumps({"pipeline": "search", "sha256": digest, "signals": YIELDS})
    )
    return tmp_path


def _claims(folder: Path) -> list[Any]:
    claims: list[Any] = json.loads((folder / "claims.json").read_text())
    return claims


def test_a_claim_is_recorded_and_compared(folder: Path) -> None:
    found = verbs.unblind(folder, signal="resonance", events=60, uncertainty=10)
    assert found["truth"] == {"signal": "resonance", "events": 80}
    assert found["verdict"] == {
        "presence_right": True,
        "signal_right": True,
        "claimed": 60,
        "uncertainty": 10,
        "injected": 80,
        "pull": -2,
    }
    assert found["regions"] is None, "nothing was searched"
    assert found["after_unblinding"] is False
    (claim,) = _claims(folder)
    assert claim["claim"]["events"] == 60
    assert claim["sha256"] == found["sha256"]
    assert json.loads((folder / "results" / "unblinded.json").read_text())["verdict"] == found["verdict"]
    page = (folder / "report" / "unblinded.html").read_text()
    assert "Claimed was resonance with 60\u00a0±\u00a010 events, hidden was resonance with 80 events." in page
    assert "The number is off by −2.0 standard deviations." in page
    assert "had not been scored" in page


def test_nothing_is_opened_without_a_claim(folder: Path) -> None:
    with pytest.raises(ConfigError, match="nothing is opened without a claim: give --claim FILE"):
        verbs.unblind(folder)
    assert not (folder / "claims.json").exists()
    assert not (folder / "results").exists()


def test_a_second_claim_is_marked(folder: Path) -> None:
    verbs.unblind(folder, signal="nothing")
    again = verbs.unblind(folder, signal="resonance", events=80, uncertainty=1)
    assert again["after_unblinding"] is True
    assert [claim["after_unblinding"] for claim in _claims(folder)] == [False, True]
    assert _claims(folder)[0]["claim"]["signal"] is None


def test_a_claim_comes_from_a_file(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "claim.json"
    claim = {"signal": "resonance", "strength": 2.5, "uncertainty": 0.25, "by": "A. Nobody"}
    path.write_text(json.dumps(claim))
    found = verbs.unblind(folder, claim=path)
    assert found["verdict"]["claimed"] == 100
    assert found["verdict"]["pull"] == 2
    assert found["claim"]["by"] == "A. Nobody"
    with pytest.raises(ConfigError, match="give it once"):
        verbs.unblind(folder, claim=path, signal="resonance")


@pytest.mark.parametrize("text", ["{", "[]", '{"signal": "a"}', '{"signal": "a", "evnts": 3}'])
def test_a_file_that_is_no_claim_opens_nothing(folder: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "claim.json").write_text(text)
    with pytest.raises(ConfigError):
        verbs.unblind(folder, claim=tmp_path / "claim.json")
    with pytest.raises(ConfigError, match="cannot read the claim"):
        verbs.unblind(folder, claim=tmp_path / "nowhere.json")
    assert not (folder / "claims.json").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"events": 3}, "an amount of no signal"),
        ({"signal": "a"}, "give the amount of the signal once"),
        ({"signal": "a", "events": 3, "strength": 1}, "give the amount of the signal once"),
        ({"signal": "a", "events": -3}, "events"),
        ({"signal": "a", "events": 3, "uncertainty": 0}, "uncertainty"),
    ],
)
def test_a_claim_says_one_thing(content: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make_claim(content)


def test_a_signal_that_cannot_be_in_it_is_no_claim(folder: Path) -> None:
    with pytest.raises(ConfigError, match="'zprime' cannot be in this sample; it holds nothing"):
        verbs.unblind(folder, signal="zprime", events=3)
    assert not (folder / "claims.json").exists()


def test_a_folder_that_is_no_blind_test_is_refused(tmp_path: Path) -> None:
    for wrong in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(WorkdirError, match=r"holds no blind test \(blind.json is absent\)"):
            verbs.unblind(wrong, signal="nothing")
    assert not (tmp_path / "nowhere").exists()


def test_a_truth_that_was_exchanged_is_refused_and_the_claim_stays(folder: Path, tmp_path: Path) -> None:
    (folder / SEALED).unlink()
    seal(folder, {**TRUTH, "events": 60})
    with pytest.raises(WorkdirError, match="is not what was sealed"):
        verbs.unblind(folder, signal="resonance", events=60)
    assert len(_claims(folder)) == 1


def test_claims_that_cannot_be_read_are_not_forgotten(folder: Path) -> None:
    (folder / "claims.json").write_text("{")
    with pytest.raises(WorkdirError, match="who claimed what is not known"):
        verbs.unblind(folder, signal="nothing")
    assert (folder / "claims.json").read_text() == "{"


@pytest.mark.parametrize(
    ("signal", "truth", "presence", "right"),
    [
        ("resonance", "resonance", True, True),
        ("other", "resonance", True, False),
        (None, "resonance", False, False),
        ("resonance", None, False, False),
        (None, None, True, True),
    ],
)
def test_presence_and_name_are_judged_apart(
    signal: str | None, truth: str | None, presence: bool, right: bool
) -> None:
    claim = Claim(signal=signal, events=None if signal is None else 5, uncertainty=1 if signal else None)
    found = verdict(claim, {"signal": truth, "events": 0 if truth is None else 5}, YIELDS)
    assert (found["presence_right"], found["signal_right"]) == (presence, right)
    assert (found["pull"] is None) == (not right or signal is None)


def test_a_region_shows_its_excess() -> None:
    region = {
        "name": "tail",
        "data": 30.0,
        "background": {"value": 10.0, "uncertainty": 0.0},
        "threshold": -1.0,
        "quotable": True,
    }
    found = in_region(region, np.array([-2.0, -1.0, 0.5]))
    assert found["excess"] == 20
    assert found["excess_uncertainty"] == pytest.approx(np.sqrt(30))
    # sqrt(2 (n ln(n / b) - (n - b))), equation 97 of arXiv:1007.1727 with s = n - b
    assert found["significance"] == pytest.approx(np.sqrt(2 * (30 * np.log(3) - 20)))
    assert found["injected"] == 2
    # Simulation of twice the luminosity of the sample.
    twice = {**region, "background": {"value": 20.0, "uncertainty": 0.0}}
    assert in_region(twice, np.array([]), to_data=0.5)["significance"] == found["significance"]
    deficit = in_region({**region, "data": 5.0, "threshold": None}, np.array([-9.0]))
    assert (deficit["significance"], deficit["injected"]) == (0, 1)
    assert in_region({**region, "quotable": False}, np.array([]))["significance"] is None


def test_the_salt_and_the_places_stay_sealed(folder: Path) -> None:
    found = unblind(folder, Claim())
    assert not {"salt", "event_numbers"} & set(found["truth"])
