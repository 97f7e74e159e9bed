"""Simple cuts of the size of a region, against the events themselves."""

import json

import hist
import numpy as np
import pytest

from tailshard.search.baselines import of_equal_size
from tailshard.search.quoting import quote
from tailshard.search.regions import INCLUSIVE, Region


@pytest.fixture(scope="module")
def regions(searched):
    return json.loads((searched.results / "summary.json").read_text())["regions"]


def events(searched, channels, split):
    parts = [searched.events[channel] for channel in channels]
    chosen = [part["split"] == split for part in parts]
    return {
        name: np.concatenate([part[name][its] for part, its in zip(parts, chosen, strict=True)])
        for name in ("met", "m_eff", "weight")
    }


@pytest.mark.parametrize("quantity", ["met", "m_eff"])
def test_a_baseline_keeps_the_background_of_its_region_and_is_quoted_on_test_events(
    searched, regions, quantity
) -> None:
    seen = events(searched, ["zjets", "ttbar"], 2)
    tested = events(searched, ["zjets", "ttbar"], 3)
    signal = events(searched, ["resonance"], 3)
    data = searched.events["data"]
    for region in regions[1:]:
        found = region["baselines"][quantity]
        above = seen[quantity] >= found["threshold"]
        share = seen["weight"][above].sum() / seen["weight"].sum()
        assert found["background_efficiency"] == pytest.approx(share)
        assert share <= region["background_efficiency"] + 1e-9
        above = tested[quantity] >= found["threshold"]
        assert found["background"]["value"] == pytest.approx(5 * tested["weight"][above].sum())
        assert found["background"]["uncertainty"] == pytest.approx(
            5 * np.sqrt(np.square(tested["weight"][above]).sum())
        )
        assert found["data"] == np.count_nonzero(data[quantity] >= found["threshold"])
        its = found["signals"]["resonance"]
        efficiency = np.mean(signal[quantity] >= found["threshold"])
        assert its["efficiency"] == pytest.approx(efficiency)
        assert its["efficiency_uncertainty"] == pytest.approx(
            np.sqrt(efficiency * (1 - efficiency) / len(signal[quantity]))
        )


def test_nothing_stands_beside_all_events(regions) -> None:
    assert regions[0]["baselines"] == {}


def test_significances_of_baselines_ask_for_the_minimum_background(searched, regions) -> None:
    for region in regions[1:]:
        for found in region["baselines"].values():
            quoted = found["signals"]["resonance"]["asimov"]
            assert (quoted is None) is (found["background"]["value"] < 1)


def test_a_quantity_beyond_its_axis_has_no_threshold(small) -> None:
    pipeline = small.pipeline({"zjets": "background"})
    histogram = hist.Hist(
        hist.axis.StrCategory(["zjets"], name="channel", overflow=False),
        hist.axis.StrCategory(["training", "validation", "test"], name="split", overflow=False),
        hist.axis.Regular(10, 0, 100, name="met"),
        storage=hist.storage.Weight(),
    )
    region = Region("tail", "rule", 0.0, 0.1)
    kinds = {"background": {"zjets": quote(pipeline, "zjets")}, "signal": {}, "data": {}}
    assert of_equal_size(pipeline, {"met_fine": histogram}, region, kinds) == {}
    histogram.fill(channel="zjets", split="validation", met=[50.0, 200.0])
    assert of_equal_size(pipeline, {"met_fine": histogram}, region, kinds) == {}
    assert of_equal_size(pipeline, {"met_fine": histogram}, Region(INCLUSIVE, "", -9, 1), kinds) == {}
    histogram.fill(channel="zjets", split="validation", met=np.full(98, 50.0))
    assert of_equal_size(pipeline, {"met_fine": histogram}, region, kinds)["met"]["threshold"] == 60
