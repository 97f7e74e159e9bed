"""Which events go into a blind sample: pure functions.

An event of simulation stands for w expected events, w its weight over the share of events that are drawn
from. Pseudo-data takes it n times, n from a Poisson distribution of mean w: the number of events in any
region is then Poisson distributed about what simulation expects there, as it is for collisions. (To accept
events by their weight over the largest one would need no repetition, but gives as much pseudo-data
as the largest weight allows, and less spread than Poisson where weights are large.) Where events repeat,
weights are large: simulation has fewer events than collisions would have.

There is no event with a negative weight in nature. Those of simulation are left out, and the others of
the channel are taken less often, so that its yield stays what it is: their means are times sum(w) /
sum(max(w, 0)), sums over the channel. Its shapes change where negative weights are not spread evenly; how
much weight was
negative is told.

A signal is drawn without repetition, N events of those with a positive weight; the probability of each
goes with its weight (P. Efraimidis and P. Spirakis, Inform. Process. Lett. 97 (2006) 181), as long as N is
small beside their number.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError

Weights = NDArray[np.float64]


def repetitions(generator: np.random.Generator, weight: Weights, factor: float) -> NDArray[np.int64]:
    """Say how many times each event is taken: (events,).

    Parameters
    ----------
    generator
        Random numbers.
    weight
        (events,) expected events that each stands for; negative ones are never taken.
    factor
        Makes up for those of the channel.
    """
    return np.asarray(generator.poisson(np.maximum(weight, 0) * factor), np.int64)


def factor_of(total: float, positive: float, channel: str) -> float:
    """Give the factor of `repetitions`: the sum of weights over that of the positive ones.

    Raises
    ------
    ConfigError
        The weights sum to less than zero: no pseudo-data stands for them.
    """
    if total < 0:
        raise ConfigError(
            f"the weights of the test events of '{channel}' sum to {total:g}; no pseudo-data stands for "
            "negative yields: ingest more files of this channel"
        )
    return total / positive if positive > 0 else 0.0


def keys_of(generator: np.random.Generator, weight: Weights) -> Weights:
    """Give each event a number; the N smallest are a weighted choice: (events,), infinite for w <= 0."""
    exponential = generator.standard_exponential(len(weight))
    keys = np.full(len(weight), np.inf)
    np.divide(exponential, weight, out=keys, where=weight > 0)
    return keys


def deal(
    generator: np.random.Generator, counts: Sequence[int], rows: int
) -> tuple[list[int], NDArray[np.int64]]:
    """Deal events of several sources to slots, as a shuffle of all of them would.

    Parameters
    ----------
    generator
        Random numbers.
    counts
        Events of each source.
    rows
        Rows of a slot.

    Returns
    -------
    sizes, table
        Events in each slot, all full but the last; and (sources, slots) how many come from where.
    """
    total = sum(counts)
    sizes = [min(rows, total - first) for first in range(0, total, rows)]
    left = np.array(sizes, np.int64)
    table = np.zeros((len(counts), len(sizes)), np.int64)
    for number, count in enumerate(counts):
        if count:
            table[number] = generator.multivariate_hypergeometric(left, count, method="marginals")
            left -= table[number]
    return sizes, table


def choose(
    generator: np.random.Generator,
    signals: Sequence[str],
    nothing: float,
    limits: tuple[float, float],
) -> tuple[str | None, int]:
    """Choose a signal, or none, and a number of its events, evenly in the logarithm.

    Parameters
    ----------
    generator
        Random numbers.
    signals
        Names to choose from.
    nothing
        Probability of no signal at all.
    limits
        Smallest and largest number of events, 1 at least.
    """
    # Always the same number of draws: what comes next does not depend on what is chosen.
    is_nothing, place, where = generator.random(3)
    if is_nothing < nothing:
        return None, 0
    low, high = np.log(limits)
    return signals[int(place * len(signals))], round(float(np.exp(low + where * (high - low))))
