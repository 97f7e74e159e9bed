from math import erf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tailshard.search.significance import (
    Spectrum,
    asimov,
    auc,
    best_cut,
    roc,
    s_over_sqrt_b,
    significance,
    tails,
)


def exactly(values: object) -> Spectrum:
    values = np.asarray(values, float)
    return Spectrum(values, np.zeros_like(values))


def unit_weights(counts: object) -> Spectrum:
    counts = np.asarray(counts, float)
    return Spectrum(counts, counts)


def profile_likelihood_significance(s: float, b: float, sigma: float) -> float:
    """Significance of the Asimov data n = s + b with a control region m = tau b, by its definition."""
    tau = b / sigma**2
    n, m = s + b, tau * b

    def log_likelihood(on: float, off: float) -> float:
        return n * np.log(on) - on + m * np.log(off) - off

    background_only = (n + m) / (1 + tau)
    q0 = 2 * (log_likelihood(s + b, tau * b) - log_likelihood(background_only, tau * background_only))
    return float(np.sqrt(q0))


@pytest.mark.parametrize(
    ("s", "b", "expected"),
    [
        pytest.param(10, 100, 0.98399164, id="s-much-smaller-than-b"),
        pytest.param(5, 1, 3.39132918, id="s-larger-than-b"),
        pytest.param(43, 1339, 1.16890225, id="yields-of-a-published-scan"),
    ],
)
def test_asimov_significance_has_its_known_values(s: float, b: float, expected: float) -> None:
    # Evaluated from sqrt(2 ((s + b) ln(1 + s/b) - s)) in 50-digit arithmetic.
    assert asimov(s, b) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(("s", "b", "sigma"), [(10, 100, 10), (5, 1, 0.3), (50, 1000, 100), (1, 20, 0.5)])
def test_asimov_with_background_uncertainty_is_the_profile_likelihood_ratio(s, b, sigma) -> None:
    assert asimov(s, b, sigma) == pytest.approx(profile_likelihood_significance(s, b, sigma), rel=1e-9)


def test_asimov_goes_smoothly_to_its_limits() -> None:
    assert asimov(5, 10, 1e-9) == pytest.approx(asimov(5, 10), rel=1e-9)
    assert asimov(1e-9, 4, 0) == pytest.approx(0.5e-9, rel=1e-6)
    assert asimov(1e-3, 4, 1) == pytest.approx(1e-3 / np.sqrt(5), rel=1e-3)
    just_below, just_above = asimov(np.array([0.999e-6, 1.001e-6]), 1, 0.1)
    assert just_above / just_below == pytest.approx(1.001 / 0.999, rel=1e-4)


@pytest.mark.parametrize("b", [0.0, -3.0])
def test_nothing_is_claimed_where_the_background_is_zero_or_negative(b: float) -> None:
    assert np.isnan(s_over_sqrt_b(2, b))
    assert np.isnan(asimov(2, b))
    assert np.isnan(asimov(2, b, 1))
    found = significance(unit_weights(2), exactly(b))
    assert all(np.isnan(value) for value in found)


def test_a_negative_signal_is_no_discovery() -> None:
    assert asimov(-2, 9) == 0
    assert s_over_sqrt_b(-2, 9) == pytest.approx(-2 / 3)
    assert np.isfinite(significance(unit_weights(0), unit_weights(9)).asimov_uncertainty)


def test_significance_asks_for_a_minimum_of_background() -> None:
    found = significance(unit_weights([4, 4, 4]), unit_weights([0.5, 1.0, 2.0]), minimum_background=1.0)
    assert np.isnan(found.asimov).tolist() == [True, False, False]
    assert np.isnan(found.s_over_sqrt_b_uncertainty).tolist() == [True, False, False]
    assert best_cut(found) == 1
    assert best_cut(significance(unit_weights([4]), unit_weights([0.5]), 1.0)) is None


def test_a_downward_fluctuation_of_the_background_is_not_the_best_cut() -> None:
    signal = unit_weights([10, 9])
    background = Spectrum(np.array([100.0, 1.0]), np.array([10.0, 400.0]))
    found = significance(signal, background)
    assert found.asimov[1] > found.asimov[0]
    assert best_cut(found) == 0


def test_uncertainties_are_those_of_repeated_simulations() -> None:
    generator = np.random.default_rng(3)
    s_weight, b_weight, s_events, b_events = 0.02, 0.1, 800, 600
    signal = Spectrum(np.array(s_weight * s_events), np.array(s_weight**2 * s_events))
    background = Spectrum(np.array(b_weight * b_events), np.array(b_weight**2 * b_events))
    found = significance(signal, background)
    s = s_weight * generator.poisson(s_events, 20_000)
    b = b_weight * generator.poisson(b_events, 20_000)
    assert found.asimov_uncertainty == pytest.approx(asimov(s, b).std(), rel=0.03)
    assert found.s_over_sqrt_b_uncertainty == pytest.approx(s_over_sqrt_b(s, b).std(), rel=0.03)
    assert found.asimov_with_background_uncertainty < found.asimov


def test_tails_hold_everything_above_each_edge() -> None:
    above = tails(Spectrum(np.array([100.0, 1, 2, 4]), np.array([1.0, 1, 1, 1])))
    assert above.values.tolist() == [7, 6, 4]
    assert above.variances.tolist() == [3, 2, 1]


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
    curve = roc(signal, background)
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
    curve = roc(background[::-1].copy(), background)
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
