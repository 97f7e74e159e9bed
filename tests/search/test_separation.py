import os
import subprocess
import sys
from math import erf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tailshard.search.separation import auc, efficiencies, resolution, roc, share
from tailshard.search.significance import Spectrum


def exactly(values: object) -> Spectrum:
    values = np.asarray(values, float)
    return Spectrum(values, np.zeros_like(values))


def unit_weights(counts: object) -> Spectrum:
    counts = np.asarray(counts, float)
    return Spectrum(counts, counts)


def test_auc_of_two_gaussians_is_known() -> None:
    edges = np.linspace(-8, 10, 20_001)
    distribution = np.vectorize(lambda x: 0.5 * (1 + erf(x / np.sqrt(2))))
    background, signal = (np.diff(distribution(edges - mean)) for mean in (0.0, 1.5))
    expected = float(distribution(1.5 / np.sqrt(2)))
    assert auc(exactly(signal), exactly(background)).value == pytest.approx(expected, abs=1e-7)


def test_auc_counts_ties_half() -> None:
    assert auc(exactly([3]), exactly([5])).value == 0.5
    assert auc(exactly([0, 1]), exactly([1, 0])).value == 1
    assert auc(exactly([0, 1, 1]), exactly([1, 1, 0])).value == pytest.approx(3.5 / 4)


def test_the_last_digit_of_an_auc_does_not_follow_the_number_of_threads() -> None:
    program = """
import numpy as np
from tailshard.search.separation import auc
from tailshard.search.significance import Spectrum
random = np.random.default_rng(1)
found = [auc(*(Spectrum(random.random(100_000), random.random(100_000)) for _ in "sb")) for _ in range(8)]
print([number.hex() for pair in found for number in pair])
"""
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "OPENBLAS_NUM_THREADS": threads},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(said) == 1


weights = arrays(np.float64, 6, elements=st.floats(-1, 5).map(lambda x: round(x, 3)))


@settings(deadline=None)
@given(weights, weights)
def test_auc_is_the_weighted_share_of_pairs_in_order_whatever_the_signs(signal, background) -> None:
    found = auc(exactly(signal), exactly(background)).value
    if signal.sum() <= 0 or background.sum() <= 0:
        assert np.isnan(found)
        return
    pairs = sum(
        s * b * ((i > j) + 0.5 * (i == j)) for i, s in enumerate(signal) for j, b in enumerate(background)
    )
    scale = np.abs(signal).sum() * np.abs(background).sum() / (signal.sum() * background.sum())
    assert found == pytest.approx(pairs / signal.sum() / background.sum(), abs=1e-12 * scale)
    assert found + auc(exactly(background), exactly(signal)).value == pytest.approx(1, abs=1e-12 * scale)
    assert auc(exactly(7 * signal), exactly(background / 3)).value == pytest.approx(found, abs=1e-12 * scale)


@settings(deadline=None)
@given(weights, weights)
def test_the_roc_curve_encloses_the_auc(signal, background) -> None:
    curve = roc(exactly(signal), exactly(background))
    if signal.sum() <= 0 or background.sum() <= 0:
        assert curve.background_efficiency.size == 0
        return
    assert curve.background_efficiency[0] == curve.signal_efficiency[0] == 0
    assert curve.background_efficiency[-1] == pytest.approx(1)
    assert curve.signal_efficiency[-1] == pytest.approx(1)
    if (background > 0.06).all() and background.sum() < 5:  # every bin moves the curve by more than a point
        area = np.trapezoid(curve.signal_efficiency, curve.background_efficiency)
        assert area == pytest.approx(auc(exactly(signal), exactly(background)).value)


def test_the_roc_curve_of_fine_bins_is_short_and_resolves_small_efficiencies() -> None:
    background = np.exp(-np.linspace(0, 14, 10_000))
    curve = roc(exactly(background[::-1]), exactly(background))
    assert len(curve.background_efficiency) < 250
    assert 0 < curve.background_efficiency[1] < 2e-5
    assert (np.diff(curve.background_efficiency) > 0).all()


@pytest.mark.parametrize("negative_share", [0.0, 0.2], ids=["unit-weights", "some-negative-weights"])
def test_auc_uncertainty_is_that_of_repeated_simulations(negative_share: float) -> None:
    generator = np.random.default_rng(5)
    signal_rate = np.array([5.0, 10, 30, 60, 95])
    background_rate = np.array([150.0, 80, 40, 20, 10])

    def simulate(rate: np.ndarray) -> Spectrum:
        plus, minus = generator.poisson(rate), generator.poisson(negative_share * rate)
        return Spectrum((plus - minus).astype(float), (plus + minus).astype(float))

    areas = [auc(simulate(signal_rate), simulate(background_rate)).value for _ in range(4000)]
    rates = [
        Spectrum(rate * (1 - negative_share), rate * (1 + negative_share))
        for rate in (signal_rate, background_rate)
    ]
    assert auc(*rates).uncertainty == pytest.approx(np.std(areas), rel=0.06)
    assert auc(*rates).value == pytest.approx(np.mean(areas), abs=0.002)


def test_a_share_of_unit_weights_has_the_binomial_variance() -> None:
    found = share(unit_weights([0, 3, 10]), unit_weights([10, 7, 0]))
    assert found.values.tolist() == [0, 0.3, 1]
    assert found.variances.tolist() == pytest.approx([0, 0.3 * 0.7 / 10, 0])
    assert np.isnan(share(unit_weights([0]), unit_weights([0])).values).all()


def test_efficiencies_are_the_upper_ends_of_steps_and_nothing_below_one_background_event() -> None:
    generator = np.random.default_rng(8)
    b, s = generator.exponential(50, 574), generator.exponential(200, 2000)
    edges = np.linspace(0, 5000, 50_001)
    spectra = [unit_weights(np.concatenate([[0], np.histogram(its, edges)[0], [0]])) for its in (s, b)]
    targets = (0.1, 0.01, 1e-3, 1e-4)
    found = efficiencies(*spectra, targets)
    for target, value in zip(targets[:2], found, strict=False):
        # Unbinned: everything above the first background event that would be too many.
        cut = np.sort(b)[::-1][int(target * len(b))]
        assert value.value == pytest.approx(np.mean(s > cut), abs=1e-3)
        assert 0 < value.uncertainty < 0.3
    assert all(np.isnan(value.value) and np.isnan(value.uncertainty) for value in found[2:])
    assert resolution(spectra[1]) == pytest.approx(1 / 574)
    curve = roc(*spectra)
    assert curve.resolution == pytest.approx(1 / 574)
    for target, value in zip(targets[:2], found, strict=False):
        place = np.searchsorted(curve.background_efficiency, target + 1e-12, side="right") - 1
        assert curve.signal_efficiency[place] == value.value  # figure and table agree
    without_background = curve.signal_efficiency[curve.background_efficiency == 0]
    assert without_background.tolist() == [0, np.mean(s > b.max())]  # both ends of the first step


def test_a_channel_of_few_heavy_events_limits_the_resolution() -> None:
    # One heavy event may be anywhere: thousands of light ones do not tell efficiencies below its share.
    background = Spectrum(np.array([10_000.0, 100.0]), np.array([10_000.0 * 10, 1.0]))
    assert resolution(background) == pytest.approx(1e5 / 10_100**2, rel=1e-4)
    found = efficiencies(unit_weights([10, 10]), background, [0.01, 9e-4])
    assert found[0].value == 0.5
    assert np.isnan(found[1].value)


def test_efficiencies_without_signal_or_background_do_not_exist() -> None:
    nothing, something = unit_weights([0, 0]), unit_weights([3, 3])
    for spectra in ((nothing, something), (something, nothing)):
        assert all(np.isnan(value.value) for value in efficiencies(*spectra, [0.1]))


def test_a_rise_of_the_background_cannot_be_undone_by_negative_weights() -> None:
    # From the right: 1, then 6, back to 1 and on to 10 of 10.
    background = Spectrum(np.array([9.0, -5.0, 5.0, 1.0]), np.full(4, 0.01))
    (found,) = efficiencies(exactly([1, 1, 1, 1]), background, [0.2])
    assert found.value == 0.25


@pytest.mark.parametrize("negative_share", [0.0, 0.1], ids=["unit-weights", "some-negative-weights"])
def test_efficiency_uncertainty_is_that_of_repeated_simulations(negative_share: float) -> None:
    generator = np.random.default_rng(6)
    grid = np.linspace(0, 1, 201)
    signal_rate, background_rate = 4 * np.exp(-2 * (1 - grid)), 40 * np.exp(-6 * grid)

    def simulate(rate: np.ndarray) -> Spectrum:
        plus, minus = generator.poisson(rate), generator.poisson(negative_share * rate)
        return Spectrum((plus - minus).astype(float), (plus + minus).astype(float))

    found = [
        efficiencies(simulate(signal_rate), simulate(background_rate), [0.1])[0].value for _ in range(1500)
    ]
    rates = [
        Spectrum(rate * (1 - negative_share), rate * (1 + negative_share))
        for rate in (signal_rate, background_rate)
    ]
    (expected,) = efficiencies(*rates, [0.1])
    assert expected.uncertainty == pytest.approx(np.std(found), rel=0.15)
    assert expected.value == pytest.approx(np.mean(found), abs=np.std(found))
