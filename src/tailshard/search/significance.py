"""How well a signal stands out: significances, scans, ROC curves and their uncertainties.

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

# Background efficiencies at which a ROC curve is drawn: even on a linear and on a logarithmic axis.
_ROC_POINTS = np.union1d(np.linspace(0, 1, 101), np.logspace(-5, 0, 101))


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


class Measured(NamedTuple):
    """A number and its standard deviation."""

    value: float
    uncertainty: float


class Roc(NamedTuple):
    """Shares of signal and background above falling cuts, both from 0 to 1, arrays of one length."""

    background_efficiency: Array
    signal_efficiency: Array


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
    dZ/ds = ln(1 + s/b) / Z and dZ/db = (ln(1 + s/b) - s/b) / Z.

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
    with_uncertainty = asimov(s, np.nan_to_num(b), background.uncertainties)
    return Significance(simple, simple_uncertainty, z, z_uncertainty, with_uncertainty)


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


def auc(signal: Spectrum, background: Spectrum) -> Measured:
    """Give the weighted area under the ROC curve, from two binned distributions of a score.

    It is the probability that a signal event scores higher than a background event, ties counting
    half: sum_ij s_i b_j [i > j or half i = j] / (S B). This is linear in each set of weights, so
    negative ones need no sorting and no clipping. The variance is linear propagation of the bins' sums
    of squared weights, which for unit weights is that of DeLong, DeLong and Clarke-Pearson (1988).

    Parameters
    ----------
    signal, background
        The same bins, in rising order of the score, underflow and overflow included.

    Returns
    -------
    Measured
        NaN where signal or background sum to zero or less.
    """
    total_signal, total_background = signal.values.sum(), background.values.sum()
    if not (total_signal > 0 and total_background > 0):
        return Measured(np.nan, np.nan)
    background_below = (np.cumsum(background.values) - background.values / 2) / total_background
    signal_above = 1 - (np.cumsum(signal.values) - signal.values / 2) / total_signal
    area = float(signal.values @ background_below / total_signal)
    variance = (
        signal.variances @ (background_below - area) ** 2 / total_signal**2
        + background.variances @ (signal_above - area) ** 2 / total_background**2
    )
    return Measured(area, float(np.sqrt(variance)))


def roc(signal: Array, background: Array) -> Roc:
    """Give the ROC curve of two binned distributions of a score, at a few hundred points.

    With negative weights an efficiency may turn back or leave [0, 1]; it is given as it is.

    Parameters
    ----------
    signal, background
        Sums of weights in the same bins, in rising order of the score, underflow and overflow included.

    Returns
    -------
    Roc
        Empty arrays where signal or background sum to zero or less.
    """
    if not (signal.sum() > 0 and background.sum() > 0):
        return Roc(np.empty(0), np.empty(0))
    signal_efficiency, background_efficiency = (
        np.concatenate([[0.0], np.cumsum(values[::-1]) / values.sum()]) for values in (signal, background)
    )
    reached = np.maximum.accumulate(background_efficiency)
    points = np.unique(np.searchsorted(reached, _ROC_POINTS).clip(max=len(reached) - 1))
    points = np.union1d(points, [0, len(reached) - 1])
    return Roc(background_efficiency[points], signal_efficiency[points])


def _float_arrays(*values: ArrayLike) -> tuple[Array, ...]:
    return tuple(np.array(value) for value in np.broadcast_arrays(*(np.asarray(v, float) for v in values)))
