"""How well a signal stands out: significances, scans and their uncertainties.

Pure functions on arrays. Event weights may be negative, so a sum may be zero or below; where a formula
has no meaning there the result is NaN, never a guess.

Formulas: G. Cowan, K. Cranmer, E. Gross, O. Vitells, arXiv:1007.1727, equation 97, and with a
background uncertainty G. Cowan, "Discovery sensitivity for a counting experiment with background
uncertainty" (2012), where the asymptotic formula is derived.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# Below this ratio of signal to background the logarithms cancel to rounding noise; the limit
# s / sqrt(b + sigma^2) is then exact to the same order.
_SMALL_RATIO = 1e-6

# Relative step of the numerical derivatives of a significance.
_STEP = 1e-4


class Spectrum(NamedTuple):
    """Sums of weights and of squared weights, of one or of many bins."""

    values: Array
    """Sums of weights."""
    variances: Array
    """Sums of squared weights: the variances of `values`."""

    @property
    def uncertainties(self) -> Array:
        """Statistical standard deviations of `values`."""
        return np.sqrt(self.variances)

    def scaled(self, factor: float) -> "Spectrum":
        """Multiply every weight by a factor."""
        return Spectrum(self.values * factor, self.variances * factor**2)


class Significance(NamedTuple):
    """Significances of a signal over a background, arrays of one shape; NaN where undefined."""

    s_over_sqrt_b: Array
    s_over_sqrt_b_uncertainty: Array
    """From the statistics of the simulation, signal and background."""
    asimov: Array
    """Median discovery significance, the background known exactly."""
    asimov_uncertainty: Array
    """From the statistics of the simulation, signal and background."""
    asimov_with_background_uncertainty: Array
    """Median discovery significance, the background known to its statistical uncertainty."""
    asimov_with_background_uncertainty_uncertainty: Array
    """From the statistics of the simulation, signal and background."""


def s_over_sqrt_b(signal: ArrayLike, background: ArrayLike) -> Array:
    """Give s / sqrt(b); NaN where b <= 0. A negative s gives a negative value."""
    s, b = _float_arrays(signal, background)
    return s / np.sqrt(np.where(b > 0, b, np.nan))


def asimov(signal: ArrayLike, background: ArrayLike, background_uncertainty: ArrayLike = 0.0) -> Array:
    """Give the median discovery significance of a counting experiment.

    Parameters
    ----------
    signal, background
        Expected events; they broadcast.
    background_uncertainty
        Standard deviation of the background estimate, in events.

    Returns
    -------
    Array
        NaN where b <= 0; zero where s <= 0, because the discovery test statistic is zero by definition
        when nothing exceeds the background.
    """
    s, b, sigma = _float_arrays(signal, background, background_uncertainty)
    result = np.full(s.shape, np.nan)
    result[(b > 0) & (s <= 0)] = 0.0
    usable = (b > 0) & (s > 0)
    s, b, variance = s[usable], b[usable], sigma[usable] ** 2
    total = s + b
    half_q = total * np.log1p(s / b) - s
    known_to = variance > 0
    s2, b2, v2, t2 = (values[known_to] for values in (s, b, variance, total))
    half_q[known_to] = t2 * np.log1p(s2 * b2 / (b2**2 + t2 * v2)) - b2**2 / v2 * np.log1p(
        v2 * s2 / (b2 * (b2 + v2))
    )
    limit = s / np.sqrt(b + variance)
    result[usable] = np.where(s < _SMALL_RATIO * b, limit, np.sqrt(2 * np.maximum(half_q, 0)))
    return result


def significance(signal: Spectrum, background: Spectrum, minimum_background: float = 0.0) -> Significance:
    """Give every significance of a signal over a background.

    The uncertainties are those of the simulation's statistics, propagated linearly from s and b:
    dZ/ds = ln(1 + s/b) / Z and dZ/db = (ln(1 + s/b) - s/b) / Z; those of the significance with background
    uncertainty are taken numerically, the relative uncertainty of b going with 1 / sqrt(b).

    Parameters
    ----------
    signal, background
        Expected events and their variances, arrays that broadcast.
    minimum_background
        Everything is NaN where fewer background events are expected than this.
    """
    s, b = _float_arrays(signal.values, background.values)
    enough = (b > 0) & (b >= minimum_background)
    b = np.where(enough, b, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = s / b
        simple = s_over_sqrt_b(s, np.nan_to_num(b))
        simple_uncertainty = np.sqrt(signal.variances / b + background.variances * ratio**2 / (4 * b))
        z = asimov(s, np.nan_to_num(b))
        log = np.log1p(np.maximum(ratio, 0))
        z_uncertainty = (
            np.sqrt(signal.variances * log**2 + background.variances * (log - np.maximum(ratio, 0)) ** 2) / z
        )
        # Where nothing exceeds the background, Z is zero and s / sqrt(b) has its slope.
        z_uncertainty = np.where(ratio < _SMALL_RATIO, simple_uncertainty, z_uncertainty)
    uncertain = asimov(s, np.nan_to_num(b), background.uncertainties)
    return Significance(
        simple,
        simple_uncertainty,
        z,
        z_uncertainty,
        uncertain,
        _uncertainty_of_uncertain(s, b, signal.variances, background.variances),
    )


def _uncertainty_of_uncertain(s: Array, b: Array, s_variance: Array, b_variance: Array) -> Array:
    """Propagate the statistics of s and b to the significance with background uncertainty."""

    def z(of_s: Array, of_b: Array) -> Array:
        relative = b_variance / b  # of weights of one size: the variance is proportional to b
        return asimov(of_s, np.nan_to_num(of_b), np.sqrt(np.nan_to_num(relative * of_b)))

    by_s = (z(s * (1 + _STEP), b) - z(s * (1 - _STEP), b)) / (2 * _STEP)
    by_b = (z(s, b * (1 + _STEP)) - z(s, b * (1 - _STEP))) / (2 * _STEP)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Where nothing exceeds the background, Z is zero and its limit has this slope.
        slope = 1 / np.sqrt(b + b_variance)
        positive = s > _SMALL_RATIO * b
        of_signal = s_variance * np.where(positive, by_s / s, slope) ** 2
        result: Array = np.sqrt(of_signal + b_variance * np.where(positive, by_b / b, 0) ** 2)
    return result


def tails(contents: Spectrum) -> Spectrum:
    """Sum from every edge upwards.

    Parameters
    ----------
    contents
        Bins with underflow first and overflow last, n + 2 of them.

    Returns
    -------
    Spectrum
        For each of the n + 1 edges what lies at or above it, the overflow included.
    """
    return Spectrum(*(np.cumsum(part[:0:-1])[::-1] for part in contents))


def best_cut(scan: Significance) -> int | None:
    """Find the cut of the largest Asimov significance with background uncertainty.

    With the uncertainty, because the significance without it is largest where the simulated background
    happens to fluctuate down, which weights of both signs make worse.

    Returns
    -------
    int or None
        Index of the cut, the lowest of equals; None where all are undefined.
    """
    z = scan.asimov_with_background_uncertainty
    return None if np.isnan(z).all() else int(np.nanargmax(z))


def _float_arrays(*values: ArrayLike) -> tuple[Array, ...]:
    return tuple(np.array(value) for value in np.broadcast_arrays(*(np.asarray(v, float) for v in values)))
