import hist
import numpy as np
import pytest

from tailshard.search.quoting import spectrum as quoted
from tailshard.search.quoting import validation
from tailshard.search.tail import tail_cuts, tail_of


def fill(pipeline, **events):
    """Fill a spectrum of 100 bins: channel -> split -> values, each of weight 1."""
    axes = (
        hist.axis.StrCategory(list(pipeline.channels), name="channel", overflow=False),
        hist.axis.StrCategory(["training", "validation", "test"], name="split", overflow=False),
        hist.axis.Regular(100, 0, 100, name="met"),
    )
    histogram = hist.Hist(*axes, storage=hist.storage.Weight())
    for channel, splits in events.items():
        for split, (values, weight) in splits.items():
            histogram.fill(channel=channel, split=split, met=values, weight=weight)
    return histogram


@pytest.fixture
def pipeline(small):
    return small.pipeline({"zjets": "background", "resonance": "signal", "data": "data"})


EVEN = np.repeat(np.arange(100) + 0.5, 12)


def test_every_cut_keeps_half_of_the_one_before(pipeline) -> None:
    histogram = fill(
        pipeline,
        zjets={"validation": (EVEN, 1), "test": (EVEN, 2)},
        resonance={"test": ([95.5, 99.5, 120, 3], 1)},
        data={"training": ([92.0, 99.9], 1), "test": ([99.9], 1)},
    )
    tail = tail_of(pipeline, histogram, "resonance")
    # At most 10 %, 5 %, 2.5 % and 1.25 % of 100 bins; above the next cut nothing is left.
    assert tail.edges == [90, 95, 98, 99]
    np.testing.assert_allclose(tail.background.values, 5 * 2 * 12 * np.array([5, 3, 1, 1]))
    np.testing.assert_allclose(tail.background.variances, 25 * 4 * 12 * np.array([5, 3, 1, 1]))
    assert tail.signal.values.tolist() == [0, 5, 0, 10]
    assert tail.data.tolist() == [1, 0, 0, 2]


def test_cuts_follow_from_validation_events_alone(pipeline) -> None:
    first, second = (
        fill(pipeline, zjets={"validation": (EVEN, 1), "test": (EVEN, weight)}, resonance={"test": ([99], 1)})
        for weight in (1, 7)
    )
    assert tail_of(pipeline, first, "resonance").edges == tail_of(pipeline, second, "resonance").edges


def test_a_bin_without_test_background_joins_its_neighbour(pipeline) -> None:
    short = EVEN[EVEN < 98]
    histogram = fill(
        pipeline, zjets={"validation": (EVEN, 1), "test": (short, 1)}, resonance={"test": ([99.5], 1)}
    )
    tail = tail_of(pipeline, histogram, "resonance")
    assert tail.edges == [90, 95]
    assert tail.signal.values.tolist() == [0, 5]


def test_enough_background_is_asked_for_at_the_luminosity_of_the_data(pipeline) -> None:
    histogram = fill(
        pipeline, zjets={"validation": (EVEN, 1), "test": (EVEN, 1)}, resonance={"test": ([99.5], 1)}
    )
    luminosity = 0.01 * pipeline.luminosity
    datasets = tuple(
        each.model_copy(update={"luminosity": luminosity}) if each.kind == "data" else each
        for each in pipeline.datasets
    )
    whole = tail_of(pipeline, histogram, "resonance")
    part = tail_of(pipeline.model_copy(update={"datasets": datasets}), histogram, "resonance")
    assert part.background.values.sum() == pytest.approx(0.01 * whole.background.values.sum())
    assert len(part.edges) < len(whole.edges)
    assert part.background.values.min() >= pipeline.regions.minimum_background > 0.01 * 60


def test_too_little_background_gives_a_reason(pipeline) -> None:
    few = {"validation": (np.full(5, 50.0), 1), "test": (np.full(5, 50.0), 1)}
    assert "fewer than 10 are simulated" in tail_of(pipeline, fill(pipeline, zjets=few), "resonance")
    nothing = {"validation": (EVEN, 1), "test": ([1.0], 1)}
    assert "above the loosest cut" in tail_of(pipeline, fill(pipeline, zjets=nothing), "resonance")
    negative = {"validation": (EVEN, -1), "test": (EVEN, -1)}
    histogram = fill(pipeline, zjets=negative)
    assert tail_cuts(pipeline, quoted(histogram, validation(pipeline, ["zjets"])), np.arange(101.0)) == []


def test_a_signal_of_negative_weights_has_no_tail(pipeline) -> None:
    histogram = fill(
        pipeline, zjets={"validation": (EVEN, 1), "test": (EVEN, 1)}, resonance={"test": ([99.5], -1)}
    )
    assert tail_of(pipeline, histogram, "resonance") == "no event of resonance is left above the loosest cut"
