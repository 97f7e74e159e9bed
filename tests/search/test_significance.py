import numpy as np
import pytest

from tailshard.search.significance import (
    Spectrum,
    asimov,
    best_cut,
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
    uncertain = asimov(s, b, np.sqrt(b_weight * b))
    expected = found.asimov_with_background_uncertainty_uncertainty
    assert expected == pytest.approx(uncertain.std(), rel=0.03)


def test_tails_hold_everything_above_each_edge() -> None:
    above = tails(Spectrum(np.array([100.0, 1, 2, 4]), np.array([1.0, 1, 1, 1])))
    assert above.values.tolist() == [7, 6, 4]
    assert above.variances.tolist() == [3, 2, 1]
