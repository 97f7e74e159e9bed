import json

import numpy as np
import pytest

from tailshard.search.ensemble import spread
from tailshard.search.histogram import histogram
from tailshard.search.score import score

SEEDS = {1: 0.2, 7: 0.5, 3: 0.55}


@pytest.fixture(scope="module")
def summary(searched, small, client, tmp_path_factory) -> dict:
    """Three networks that differ in what they take for an ordinary event; the first is that of `searched`."""
    folder = tmp_path_factory.mktemp("ensemble")
    pipeline = small.pipeline(small.channels, training={"seeds": list(SEEDS)})
    small.store(folder / "store", pipeline)
    for seed, bias in SEEDS.items():
        small.model(folder / f"seed_{seed}" / "model.pt", bias=bias)
    score(pipeline, folder / "store", small.model(folder / "model.pt"), client)
    histogram(pipeline, folder / "store", folder / "results", client)
    return json.loads((folder / "results" / "summary.json").read_text())


@pytest.fixture(scope="module")
def alone(searched) -> dict:
    return json.loads((searched.results / "summary.json").read_text())


def test_the_numbers_of_the_search_are_those_of_the_first_network(summary, alone) -> None:
    same = [name for name in alone if name != "provenance"]
    assert {name: summary[name] for name in same} == {name: alone[name] for name in same}
    assert "ensemble" not in alone


def test_the_first_member_has_the_numbers_of_the_search(summary) -> None:
    first = summary["ensemble"]["members"]["1"]
    for mine, its in zip(first["regions"], summary["regions"], strict=True):
        assert mine == {name: its[name] for name in mine}
    its = summary["signals"]["resonance"]
    assert first["signals"]["resonance"] == {name: its[name]["error"] for name in ("auc", "efficiencies")}


@pytest.mark.parametrize("seed", SEEDS)
def test_every_member_is_a_search_of_its_own(summary, searched, seed) -> None:
    member = summary["ensemble"]["members"][str(seed)]
    events = {
        channel: its | {"error": np.log10(((its["rmm"].astype(float) - SEEDS[seed]) ** 2).sum(axis=(1, 2)))}
        for channel, its in searched.events.items()
    }
    for region in member["regions"]:
        threshold = -np.inf if region["threshold"] is None else region["threshold"]

        def expected(channel: str, threshold: float = threshold) -> float:
            its = events[channel]
            chosen = (its["error"] >= threshold) & (its["split"] == 3)
            return its["weight"][chosen].sum() / searched.pipeline.splits.test

        background = expected("zjets") + expected("ttbar")
        assert region["background"]["value"] == pytest.approx(background, rel=1e-4)
        assert region["signals"]["resonance"]["value"] == pytest.approx(expected("resonance"), rel=1e-4)
    signal, background = events["resonance"], [events["zjets"], events["ttbar"]]
    s = signal["error"][signal["split"] == 3]
    b = np.concatenate([its["error"][its["split"] == 3] for its in background])
    w = np.concatenate([its["weight"][its["split"] == 3] for its in background])
    area = ((s[:, None] > b) * w).sum() / (len(s) * w.sum())
    assert member["signals"]["resonance"]["auc"]["value"] == pytest.approx(area, abs=2e-3)


def test_the_spread_is_that_of_the_members(summary) -> None:
    its = summary["ensemble"]
    assert its["seeds"] == list(SEEDS)
    areas = [member["signals"]["resonance"]["auc"]["value"] for member in its["members"].values()]
    found = its["spread"]["signals"]["resonance"]["auc"]
    assert len(set(areas)) == 3
    assert found == {
        "mean": pytest.approx(np.mean(areas)),
        "standard_deviation": pytest.approx(np.std(areas, ddof=1)),
        "minimum": min(areas),
        "maximum": max(areas),
        "seeds": 3,
    }
    targets = [row["background_efficiency"] for row in its["spread"]["signals"]["resonance"]["efficiencies"]]
    assert targets == [0.1, 0.01, 0.001, 0.0001]
    region = its["spread"]["regions"]["efficiency_0.1"]
    values = [
        next(each for each in member["regions"] if each["name"] == "efficiency_0.1")
        for member in its["members"].values()
    ]
    assert region["background"]["mean"] == pytest.approx(
        np.mean([each["background"]["value"] for each in values])
    )
    assert region["signals"]["resonance"]["s_over_sqrt_b"]["maximum"] == max(
        each["signals"]["resonance"]["s_over_sqrt_b"] for each in values
    )


def test_the_band_passes_through_the_efficiencies(summary) -> None:
    found = summary["ensemble"]["spread"]["signals"]["resonance"]
    curve = found["roc"]
    place = int(np.argmin(np.abs(np.array(curve["background_efficiency"]) - 0.1)))
    at = next(row for row in found["efficiencies"] if row["background_efficiency"] == 0.1)
    for name in ("mean", "standard_deviation", "minimum", "maximum"):
        assert curve[name][place] == pytest.approx(at[name], abs=0.02)
    assert curve["mean"][0] is None  # far below one event of the background
    assert curve["seeds"][0] == 0


def test_a_spread_counts_the_numbers_that_exist() -> None:
    assert spread([1.0, None, 3.0, np.nan]) == {
        "mean": 2.0,
        "standard_deviation": pytest.approx(np.sqrt(2)),
        "minimum": 1.0,
        "maximum": 3.0,
        "seeds": 2,
    }
    one = spread([5.0, None])
    assert (one["mean"], one["seeds"]) == (5.0, 1)
    assert np.isnan(one["standard_deviation"])
    none = spread([None, np.nan])
    assert none["seeds"] == 0
    assert all(np.isnan(none[name]) for name in ("mean", "standard_deviation", "minimum", "maximum"))
    arrays = spread([np.array([1.0, np.nan]), np.array([3.0, 4.0])])
    np.testing.assert_array_equal(arrays["mean"], [2, 4])
    np.testing.assert_array_equal(arrays["seeds"], [2, 1])
