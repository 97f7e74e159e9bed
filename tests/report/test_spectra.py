import hist
import numpy as np
import pytest

from tailshard.report.spectra import as_used, folded, ratio, sums, total


def spectrum(values, weights=None) -> hist.Hist:
    histogram = hist.Hist(hist.axis.Regular(4, 0, 4, name="met"), storage=hist.storage.Weight())
    return histogram.fill(values, weight=np.ones(len(values)) if weights is None else weights)


def test_a_channel_is_taken_from_its_splits_and_scaled() -> None:
    histogram = hist.Hist(
        hist.axis.StrCategory(["ttbar", "data"], name="channel"),
        hist.axis.StrCategory(["training", "test"], name="split"),
        hist.axis.StrCategory(["inclusive", "tail"], name="region"),
        hist.axis.Regular(2, 0, 2, name="met"),
        storage=hist.storage.Weight(),
    )
    histogram.fill("ttbar", "training", "tail", [0.5], weight=[7.0])
    histogram.fill("ttbar", "test", "inclusive", [0.5, 1.5, 9.0], weight=[2.0, -1.0, 3.0])
    histogram.fill("data", ["training", "test"], "inclusive", [0.5, 0.5], weight=[1.0, 1.0])
    used = as_used(histogram, "ttbar", ["test"], 5.0, "inclusive")
    assert used.values(flow=True).tolist() == [0, 10, -5, 15]
    assert used.variances(flow=True).tolist() == [0, 100, 25, 225]
    assert as_used(histogram, "data", ["training", "test"], 1.0, "inclusive").values().tolist() == [2, 0]
    assert not as_used(histogram, "data", ["test"], 1.0, "tail").values().any()


def test_what_lies_outside_goes_into_the_last_bins() -> None:
    inside = folded(spectrum([-3, 0.5, 1.5, 7, 8], [1.0, 1.0, 1.0, 2.0, 3.0]))
    assert inside.values(flow=True).tolist() == [0, 2, 1, 0, 5, 0]
    assert inside.variances().tolist() == [2, 1, 0, 13]


def test_folding_leaves_the_original_alone() -> None:
    original = spectrum([9.0])
    folded(original)
    assert original.values(flow=True).tolist() == [0, 0, 0, 0, 0, 1]


def test_spectra_add_up_without_changing_the_first() -> None:
    first = spectrum([0.5])
    assert total([first, spectrum([0.5, 9.0])]).values(flow=True).tolist() == [0, 2, 0, 0, 0, 1]
    assert first.sum(flow=True).value == 1


def test_a_ratio_has_poisson_errors_of_the_data_and_a_band_of_the_simulation() -> None:
    data = spectrum([0.5] * 9 + [1.5])
    simulation = spectrum([0.5, 0.5, 2.5], [6.0, 6.0, -1.0])
    found = ratio(data, simulation)
    assert found.value[0] == pytest.approx(0.75)
    # The Garwood interval of 9 events at 68.27 %: Particle Data Group, Statistics, eq. 40.65.
    assert found.data_error[:, 0] == pytest.approx([2.943, 4.110], abs=2e-3)
    assert found.error[:, 0] == pytest.approx(found.data_error[:, 0] / 12)
    assert found.band[0] == pytest.approx(np.sqrt(72) / 12)
    assert np.isnan(found.value[1:]).all()
    assert not found.band[1:].any()


def test_a_ratio_without_any_data_is_zero() -> None:
    found = ratio(spectrum([]), spectrum([0.5]))
    assert found.value[0] == 0
    assert not found.data_error.any()


def test_sums_are_those_of_weights_and_squared_weights() -> None:
    values, variances = sums(spectrum([0.5, 0.5], [2.0, 3.0]))
    assert (values[0], variances[0]) == (5, 13)
