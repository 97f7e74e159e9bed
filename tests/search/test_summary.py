import json

import hist
import numpy as np
import pytest

from tailshard.search.filling import SCAN
from tailshard.search.regions import INCLUSIVE
from tailshard.search.summary import Quote, finite_or_none, quote, spectrum, summarise
from tailshard.store.layout import assign_splits


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


def test_simulation_is_quoted_from_test_events_and_data_from_all(small) -> None:
    pipeline = small.pipeline(small.channels, splits={"training": 0.5, "validation": 0.25, "test": 0.25})
    assert quote(pipeline, "zjets") == quote(pipeline, "resonance") == Quote(("test",), 4.0)
    assert quote(pipeline, "data") == Quote(("training", "validation", "test"), 1.0)


def test_data_that_was_learned_from_is_quoted_like_simulation(small) -> None:
    pipeline = small.pipeline(small.channels, training={"channels": ["data"]})
    assert quote(pipeline, "data") == Quote(("test",), 5.0)
    assert quote(pipeline, "zjets") == Quote(("test",), 5.0)


def test_dividing_by_the_configured_fraction_is_unbiased_also_for_negative_weights(small) -> None:
    generator = np.random.default_rng(0)
    events = 2000
    weight = generator.choice([1.0, -0.5], events, p=[0.7, 0.3])
    estimates = []
    for seed in range(300):
        pipeline = small.pipeline({"zjets": "background"}, splits={"seed": seed})
        split = assign_splits("zjets", np.ones(events), np.ones(events), np.arange(events), pipeline.splits)
        estimates.append(weight[split == 3].sum() * quote(pipeline, "zjets").scale)
    standard_error = np.std(estimates) / np.sqrt(len(estimates))
    assert abs(np.mean(estimates) - weight.sum()) < 4 * standard_error
    assert standard_error < 0.01 * weight.sum()


def test_spectra_add_channels_with_their_splits_and_scales() -> None:
    histogram = histograms([INCLUSIVE, "tail"])["error"]
    histogram.fill(channel="zjets", split="test", region="tail", error=[-5, 0.5, 9], weight=2)
    histogram.fill(channel="ttbar", split="training", region="tail", error=[0.5], weight=-1)
    histogram.fill(channel="ttbar", split="validation", region="tail", error=[0.5], weight=100)
    quotes = {"zjets": Quote(("test",), 5.0), "ttbar": Quote(("training", "test"), 1.0)}
    found = spectrum(histogram, quotes, "tail")
    assert found.values.tolist() == [10, 0, 0, 9, 0, 10]
    assert found.variances.tolist() == [100, 0, 0, 101, 0, 100]
    assert spectrum(histogram, quotes, INCLUSIVE).values.tolist() == [0] * 6


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
    scan = summary["signals"]["resonance"]["scans"][INCLUSIVE]
    assert scan["chosen"]["cut"] == scan["quoted"]["cut"] == 200
    assert scan["chosen"]["signal"] == 5 * 40
    assert scan["chosen"]["background"] == 5 * 50
    assert scan["quoted"]["signal"] == 0
    assert scan["quoted"]["background"] == 5 * 200
    assert scan["quoted"]["asimov"] == 0 < max(value for value in scan["asimov"] if value is not None)
    assert scan["edges"] == [0, 100, 200, 300, 400]
    assert scan["asimov"][-1] is None  # no background is left above 400
    assert scan["signal"] == [200, 200, 0, 0, 0]


class _Region:
    name, rule, threshold, background_efficiency = INCLUSIVE, "every selected event", -np.inf, 1.0


class _Catalog:
    quarantine = ()
    warnings = ()
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
    assert signal["roc"]["error"] == {"background_efficiency": [], "signal_efficiency": []}
    assert signal["scans"][INCLUSIVE]["chosen"] is signal["scans"][INCLUSIVE]["quoted"] is None
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
