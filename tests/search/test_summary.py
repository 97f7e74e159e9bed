import json

import hist
import numpy as np
import pytest

from tailshard.search.filling import SCAN
from tailshard.search.quoting import Quote
from tailshard.search.regions import INCLUSIVE
from tailshard.search.summary import finite_or_none, summarise


def histograms(regions: list[str]) -> dict[str, hist.Hist]:
    """Empty histograms of the names that a summary is made from."""
    channels = hist.axis.StrCategory(["zjets", "ttbar", "resonance"], name="channel", overflow=False)
    splits = hist.axis.StrCategory(["training", "validation", "test"], name="split", overflow=False)
    region = hist.axis.StrCategory(regions, name="region", overflow=False)
    error = hist.axis.Regular(4, -2, 2, name="error")
    met = hist.axis.Regular(4, 0, 400, name="met")
    names = hist.axis.StrCategory(["error", "met", SCAN], name="histogram", overflow=False)
    axes = {
        "error": (channels, splits, region, error),
        SCAN: (channels, splits, region, met),
        "error_fine": (channels, splits, error),
        "events": (channels, splits, region),
        "undefined": (channels, splits, names),
    }
    return {name: hist.Hist(*its, storage=hist.storage.Weight()) for name, its in axes.items()}


def test_a_cut_is_chosen_among_validation_events_and_quoted_from_test_events(small) -> None:
    pipeline = small.pipeline({"zjets": "background", "ttbar": "background", "resonance": "signal"})
    filled = histograms([INCLUSIVE])
    background, signal = (
        {"channel": "zjets", "region": INCLUSIVE},
        {"channel": "resonance", "region": INCLUSIVE},
    )
    for split, high, low in (("validation", 350, 150), ("test", 150, 350)):
        # In each split the background is where the signal of the other split is.
        filled[SCAN].fill(split=split, met=np.full(200, low), weight=1, **background)
        filled[SCAN].fill(split=split, met=np.full(50, high), weight=1, **background)
        filled[SCAN].fill(split=split, met=np.full(40, high), weight=1, **signal)
    summary = summarise(pipeline, _Catalog(), filled, [_Region()], None, {})
    scan = summary["signals"]["resonance"]["scans"]["met"]
    assert scan["chosen"]["cut"] == scan["quoted"]["cut"] == 200
    assert scan["chosen"]["signal"] == 5 * 40
    assert scan["chosen"]["background"] == 5 * 50
    assert scan["quoted"]["signal"] == 0
    assert scan["quoted"]["background"] == 5 * 200
    assert scan["quoted"]["asimov"] == 0 < max(value for value in scan["asimov"] if value is not None)
    assert scan["edges"] == [0, 100, 200, 300, 400]
    assert scan["asimov"][-1] is None  # no background is left above 400
    assert scan["signal"] == [200, 200, 0, 0, 0]
    assert scan["signal_uncertainty"] == pytest.approx([5 * 40**0.5, 5 * 40**0.5, 0, 0, 0])
    assert scan["tried"] == 4
    assert summary["signals"]["resonance"]["best"] is None  # there is no region of the network


class _Region:
    name, rule, threshold, background_efficiency = INCLUSIVE, "every selected event", -np.inf, 1.0


class _Catalog:
    quarantine = ()
    warnings = ()
    slots = ()
    scales: dict[str, float] = {}  # noqa: RUF012 - stands for a catalog's, which is frozen

    def cutflow(self, channel: str) -> tuple[()]:
        return ()

    def rows(self, channel: str, split: str) -> int:
        return 0


def test_channels_without_any_event_give_zeros_and_nulls(small) -> None:
    pipeline = small.pipeline({"zjets": "background", "ttbar": "background", "resonance": "signal"})
    summary = summarise(pipeline, _Catalog(), histograms([INCLUSIVE]), [_Region()], None, {})
    text = json.dumps(summary, allow_nan=False)
    signal = summary["signals"]["resonance"]
    assert signal["auc"]["error"] == {"value": None, "uncertainty": None}
    assert signal["roc"]["error"] == {
        "background_efficiency": [],
        "signal_efficiency": [],
        "signal_efficiency_uncertainty": [],
        "resolution": None,
    }
    assert signal["efficiencies"]["error"] == [
        {"background_efficiency": target, "value": None, "uncertainty": None}
        for target in (0.1, 0.01, 0.001, 0.0001)
    ]
    assert signal["scans"]["met"]["chosen"] is signal["scans"]["met"]["quoted"] is signal["best"] is None
    assert summary["regions"][0]["background"] == {"value": 0, "uncertainty": 0}
    assert summary["regions"][0]["data"] is None
    assert summary["regions"][0]["signals"]["resonance"]["efficiency"] is None
    assert "NaN" not in text


def test_a_channel_without_a_test_event_in_a_region_has_an_upper_limit_and_the_floor_holds(small) -> None:
    pipeline = small.pipeline(
        {"zjets": "background", "ttbar": "background", "resonance": "signal"},
        regions={"minimum_background": 30},
    )
    filled = histograms([INCLUSIVE])
    for split in ("training", "test"):
        filled["error_fine"].fill(channel="zjets", split=split, error=[0, 0, 0], weight=[0.5, 0.5, 2])
    filled["error"].fill(channel="ttbar", split="test", region=INCLUSIVE, error=[0, 0], weight=2)
    for _ in range(2):
        filled["events"].fill(channel="ttbar", split="test", region=INCLUSIVE)
    filled["error"].fill(channel="resonance", split="test", region=INCLUSIVE, error=[0], weight=1)
    region = summarise(pipeline, _Catalog(), filled, [_Region()], None, {})["regions"][0]
    assert region["background"]["value"] == 5 * 4
    assert region["quotable"] is False
    assert region["signals"]["resonance"]["asimov"] is None
    assert region["simulation_ends"] == ["zjets"]
    # No event at 68.27 %: 1.148, each of mean weight (0.25 + 0.25 + 4) / 3, scaled to all splits.
    assert region["yields"]["zjets"]["upper_limit"] == pytest.approx(1.1479 * 1.5 * 5, rel=1e-4)
    assert region["yields"]["ttbar"]["upper_limit"] is None
    lower = pipeline.model_copy(
        update={"regions": pipeline.regions.model_copy(update={"minimum_background": 20})}
    )
    region = summarise(lower, _Catalog(), filled, [_Region()], None, {})["regions"][0]
    assert region["quotable"] is True
    assert region["signals"]["resonance"]["asimov"] > 0


def test_what_json_cannot_hold_becomes_null() -> None:
    content = {
        "array": np.array([1.0, np.nan, -np.inf]),
        "number": np.float64(2),
        "count": np.int64(3),
        "tuple": (1.5, float("inf")),
        "named": Quote(("test",), np.nan),
        "flag": True,
        "text": "NaN",
    }
    assert finite_or_none(content) == {
        "array": [1.0, None, None],
        "number": 2.0,
        "count": 3,
        "tuple": [1.5, None],
        "named": {"splits": ["test"], "scale": None},
        "flag": True,
        "text": "NaN",
    }


@pytest.mark.parametrize("value", [0, "text", None, 1.5])
def test_what_json_can_hold_stays_as_it_is(value) -> None:
    assert finite_or_none(value) == value
