"""How well a score parts signal from background: AUC, efficiencies, ROC curves and their uncertainties.

Pure functions on binned distributions. Event weights may be negative: sums are never sorted nor clipped,
and where one has no meaning the result is NaN.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .significance import Array, Spectrum

ROC_POINTS = np.union1d(np.linspace(0, 1, 101), np.logspace(-5, 0, 101))
"""Background efficiencies at which a ROC curve is drawn: even on a linear and on a logarithmic axis."""

# What sums of weights lose to rounding, relative to their total.
_ROUNDING = 1e-12


class Measured(NamedTuple):
    """A number and its standard deviation."""

    value: float
    uncertainty: float


class Roc(NamedTuple):
    """Shares of signal and background above falling cuts, both from 0 to 1, arrays of one length.

    The curve is one of steps: between two points it has the value of the left one, because no cut keeps
    a part of an event.
    """

    background_efficiency: Array
    signal_efficiency: Array
    signal_efficiency_uncertainty: Array
    """Of the signal efficiency at this background efficiency, from signal and background."""
    resolution: float
    """Smallest background efficiency that the sample can tell: the share of one (effective) event."""


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
    area = _sum_of_products(signal.values, background_below) / float(total_signal)
    variance = (
        _sum_of_products(signal.variances, (background_below - area) ** 2) / total_signal**2
        + _sum_of_products(background.variances, (signal_above - area) ** 2) / total_background**2
    )
    return Measured(area, float(np.sqrt(variance)))


def _sum_of_products(one: Array, other: Array) -> float:
    """Round once: the last digit of a BLAS product follows the processor and the number of threads."""
    return math.fsum(one * other)


def share(part: Spectrum, rest: Spectrum) -> Spectrum:
    """Give the part of a whole and its variance: an efficiency, of weighted events.

    Linear propagation of two independent sums, e = p / (p + r): Var(e) = ((1 - e)^2 Var(p) + e^2 Var(r)) /
    (p + r)^2, which for unit weights is the binomial variance. NaN where the whole is zero or less.
    """
    whole = part.values + rest.values
    whole = np.where(whole > 0, whole, np.nan)
    values = part.values / whole
    return Spectrum(values, ((1 - values) ** 2 * part.variances + values**2 * rest.variances) / whole**2)


def resolution(background: Spectrum) -> float:
    """Give the smallest efficiency that a sample can tell: the share of one of its effective events.

    A sample of weighted events says as much as (sum w)^2 / sum w^2 events of one weight.
    """
    total = background.values.sum()
    return float(background.variances.sum() / total**2) if total > 0 else np.nan


def efficiencies(signal: Spectrum, background: Spectrum, targets: ArrayLike) -> list[Measured]:
    """Give the signal efficiency at fixed background efficiencies.

    The cut is the loosest one such that neither it nor any tighter one keeps more of the background, as
    in `regions.threshold_at`: the upper end of a step of the ROC curve, never a point between two events.
    The uncertainty is that of the signal above the cut, and that of the place of the cut, which the
    background's statistics decide.

    Parameters
    ----------
    signal, background
        The same bins, in rising order of the score, underflow and overflow included.
    targets
        Background efficiencies.

    Returns
    -------
    list of Measured
        NaN where the background cannot tell: below the share of one of its events (`resolution`), or
        where none of them lies above the cut.
    """
    wanted = np.atleast_1d(np.asarray(targets, float))
    if not (signal.values.sum() > 0 and background.values.sum() > 0):
        return [Measured(np.nan, np.nan)] * len(wanted)
    curve = _Steps(signal, background)
    places = curve.places(wanted)
    told = (wanted >= resolution(background) * (1 - 1e-9)) & (curve.background.values[places] > 0)
    values = np.where(told, curve.signal.values[places], np.nan)
    uncertainties = np.where(told, curve.uncertainties(places, wanted), np.nan)
    return [Measured(float(value), float(sigma)) for value, sigma in zip(values, uncertainties, strict=True)]


def roc(signal: Spectrum, background: Spectrum) -> Roc:
    """Give the ROC curve of two binned distributions of a score, at a few hundred points.

    With negative weights an efficiency may turn back or leave [0, 1]; it is given as it is.

    Parameters
    ----------
    signal, background
        The same bins, in rising order of the score, underflow and overflow included.

    Returns
    -------
    Roc
        Empty arrays where signal or background sum to zero or less.
    """
    if not (signal.values.sum() > 0 and background.values.sum() > 0):
        return Roc(np.empty(0), np.empty(0), np.empty(0), np.nan)
    curve = _Steps(signal, background)
    last = len(curve.background.values) - 1
    points = np.union1d(curve.places(ROC_POINTS), [0, last])
    at = curve.background.values[points]
    uncertainties = curve.uncertainties(points, at)
    return Roc(at, curve.signal.values[points], uncertainties, resolution(background))


class _Steps:
    """Efficiencies of every cut, from the tightest, which keeps nothing, to none at all."""

    def __init__(self, signal: Spectrum, background: Spectrum) -> None:
        self.signal, self.background = (_kept(spectrum) for spectrum in (signal, background))
        self._reached = np.maximum.accumulate(self.background.values)

    def places(self, targets: Array) -> NDArray[np.intp]:
        """Find the loosest cuts up to which no more than these shares of the background are kept."""
        return np.maximum(np.searchsorted(self._reached, targets + _ROUNDING, side="right") - 1, 0)

    def uncertainties(self, places: NDArray[np.intp], targets: Array) -> Array:
        """Give those of the signal efficiency, where these cuts were chosen for these targets."""
        moved = self.background.uncertainties[places]
        ends = (self.signal.values[self.places(targets + sign * moved)] for sign in (1, -1))
        upper, lower = ends
        return np.hypot(self.signal.uncertainties[places], (upper - lower) / 2)


def _kept(spectrum: Spectrum) -> Spectrum:
    """Give the share at or above every edge, the highest edge first, with its variance."""
    values, variances = (np.concatenate([[0.0], np.cumsum(part[::-1])]) for part in spectrum)
    part = Spectrum(values, variances)
    return share(part, Spectrum(values[-1] - values, np.maximum(variances[-1] - variances, 0)))
