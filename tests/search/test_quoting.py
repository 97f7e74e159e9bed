import hist
import numpy as np

from tailshard.search.quoting import Quote, only, quote, spectrum, validation
from tailshard.search.regions import INCLUSIVE
from tailshard.store.layout import assign_splits


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


def test_cuts_are_chosen_from_validation_events_scaled_by_their_share(small) -> None:
    pipeline = small.pipeline(small.channels, splits={"training": 0.5, "validation": 0.25, "test": 0.25})
    assert validation(pipeline, ["zjets"]) == {"zjets": Quote(("validation",), 4.0)}
    quotes = {channel: quote(pipeline, channel) for channel in pipeline.channels}
    assert only(quotes, ["data"]) == {"data": quote(pipeline, "data")}


def test_spectra_add_channels_with_their_splits_and_scales() -> None:
    histogram = hist.Hist(
        hist.axis.StrCategory(["zjets", "ttbar"], name="channel", overflow=False),
        hist.axis.StrCategory(["training", "validation", "test"], name="split", overflow=False),
        hist.axis.StrCategory([INCLUSIVE, "tail"], name="region", overflow=False),
        hist.axis.Regular(4, -2, 2, name="error"),
        storage=hist.storage.Weight(),
    )
    histogram.fill(channel="zjets", split="test", region="tail", error=[-5, 0.5, 9], weight=2)
    histogram.fill(channel="ttbar", split="training", region="tail", error=[0.5], weight=-1)
    histogram.fill(channel="ttbar", split="validation", region="tail", error=[0.5], weight=100)
    quotes = {"zjets": Quote(("test",), 5.0), "ttbar": Quote(("training", "test"), 1.0)}
    found = spectrum(histogram, quotes, "tail")
    assert found.values.tolist() == [10, 0, 0, 9, 0, 10]
    assert found.variances.tolist() == [100, 0, 0, 101, 0, 100]
    assert spectrum(histogram, quotes, INCLUSIVE).values.tolist() == [0] * 6
