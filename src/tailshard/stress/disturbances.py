"""Ways to disturb events: pure functions of arrays.

============  ==========================================================================================
momentum_<k>  pT of the leading electron and of the leading muon times k, directions and masses as they
              are; MET balances: it loses, as a vector, what the two leptons gained
swap_leptons  electrons become muons and muons electrons, with their four-vectors
swap_jets     light jets become b jets and b jets light jets
shuffled      every cell of the matrix is dealt anew among the events of a slot: distributions of single
              cells stay, all that ties cells to each other is lost
gaussian      every cell is normal, with its mean and variance in the training events
in_islands    the same in the cells of the objects that a real event has, with the mean and variance that
              the cell has where it is not zero; other cells are empty
noise         every cell is uniform between its smallest and its largest value in the training events
============  ==========================================================================================

The first three change objects, from which the whole matrix is computed again by the kernel that made the
store. An object beyond the rows of its new type is left out, as in the store. The others make cells that
belong to no event, and so their matrices are whole: all cells count as filled, and in `shuffled` those of
every row that holds anything.

Random numbers are given by the caller, who keys them by the seed, the channel and the slot.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..features.blocks import first_rows
from ..features.islands import Islands, pack
from ..store.cells import Statistics
from ..store.layout import OBJECT_TYPES

FACTORS = (1.5, 3.0, 5.0, 7.0, 10.0)
"""Of the momenta, as in S. Frette's thesis (Oslo, 2023)."""

MOMENTUM = tuple(f"momentum_{factor:g}" for factor in FACTORS)
SWAPS = {"swap_leptons": ("electrons", "muons"), "swap_jets": ("light_jets", "b_jets")}
OF_OBJECTS = (*MOMENTUM, *SWAPS)
"""Disturbances that change objects."""
OF_CELLS = ("shuffled", "gaussian", "in_islands", "noise")
"""Disturbances that make matrices of no event."""
DISTURBANCES = (*OF_OBJECTS, *OF_CELLS)
WITHOUT_EVENTS = ("gaussian", "noise")
"""Made from statistics alone: no real event has a part in them."""

Objects = NDArray[np.float32]
Multiplicity = NDArray[np.uint8]


def disturb_objects(
    name: str, objects: Objects, multiplicity: Multiplicity, counts: Sequence[int]
) -> tuple[Objects, Multiplicity]:
    """Disturb the objects of some events by a name of `OF_OBJECTS`.

    Parameters
    ----------
    name
        What to do.
    objects, multiplicity
        (events, size, 4) float32 and (events, types) uint8, as the store has them; not changed.
    counts
        Rows by type.
    """
    if name in SWAPS:
        return swapped(objects, multiplicity, counts, *SWAPS[name])
    return with_momenta(objects, multiplicity, counts, float(name.removeprefix("momentum_"))), multiplicity


def with_momenta(
    objects: Objects, multiplicity: Multiplicity, counts: Sequence[int], factor: float
) -> Objects:
    """Multiply the pT of the leading electron and muon, and let MET balance the change.

    MET is minus the vector sum of everything that was measured, so it changes by (1 - factor) times the
    transverse momenta of the two leptons. Events without electrons and muons stay as they are.
    """
    changed = objects.copy()
    met, azimuth = (objects[:, 0, component].astype(np.float64) for component in (0, 2))
    x, y = met * np.cos(azimuth), met * np.sin(azimuth)
    touched = np.zeros(len(objects), bool)
    for kind in SWAPS["swap_leptons"]:
        number = OBJECT_TYPES.index(kind)
        row, there = first_rows(counts)[number], multiplicity[:, number] > 0
        pt, phi = (np.where(there, objects[:, row, each], 0).astype(np.float64) for each in (0, 2))
        x, y = x + (1 - factor) * pt * np.cos(phi), y + (1 - factor) * pt * np.sin(phi)
        changed[there, row, 0] *= np.float32(factor)
        touched |= there
    changed[touched, 0, 0] = np.hypot(x, y)[touched]
    changed[touched, 0, 2] = np.arctan2(y, x)[touched]
    return changed


def swapped(
    objects: Objects, multiplicity: Multiplicity, counts: Sequence[int], one: str, other: str
) -> tuple[Objects, Multiplicity]:
    """Let the objects of two types change places; the softest ones are left out where rows are too few."""
    changed, many = objects.copy(), multiplicity.copy()
    places = [OBJECT_TYPES.index(one), OBJECT_TYPES.index(other)]
    for source, target in (places, places[::-1]):
        rows = min(counts[source], counts[target])
        begin, start = first_rows(counts)[source], first_rows(counts)[target]
        changed[:, start : start + counts[target]] = 0
        changed[:, start : start + rows] = objects[:, begin : begin + rows]
        many[:, target] = np.minimum(multiplicity[:, source], counts[target])
    return changed, many


@dataclass(frozen=True)
class CellLimits:
    """What the training events say of every cell, (size, size) float64 each."""

    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    """Square root of the variance."""
    filled_mean: NDArray[np.float64]
    """Where the cell is not zero."""
    filled_deviation: NDArray[np.float64]

    @classmethod
    def of(cls, statistics: Statistics) -> "CellLimits":
        """Take what is needed of the statistics of some events."""
        filled = np.maximum(statistics.occupancy, 1)
        mean = statistics.mean * statistics.events / filled
        squares = (statistics.variance + statistics.mean**2) * statistics.events / filled
        return cls(
            statistics.minimum,
            statistics.maximum,
            statistics.mean,
            np.sqrt(statistics.variance),
            mean,
            np.sqrt(np.maximum(squares - mean**2, 0)),
        )


def noise(generator: np.random.Generator, limits: CellLimits, events: int) -> NDArray[np.float32]:
    """Draw cells uniformly within their limits: (events, size, size)."""
    shape = (events, *limits.minimum.shape)
    spread = limits.maximum - limits.minimum
    return (limits.minimum + spread * generator.random(shape, np.float32)).astype(np.float32)


def gaussian(generator: np.random.Generator, limits: CellLimits, events: int) -> NDArray[np.float32]:
    """Draw cells from normal distributions: (events, size, size)."""
    shape = (events, *limits.mean.shape)
    return (limits.mean + limits.deviation * generator.standard_normal(shape, np.float32)).astype(np.float32)


def in_islands(
    generator: np.random.Generator, limits: CellLimits, multiplicity: Multiplicity, counts: Sequence[int]
) -> Islands:
    """Draw the cells of objects that exist from normal distributions."""
    shape = (len(multiplicity), *limits.filled_mean.shape)
    cells = limits.filled_mean + limits.filled_deviation * generator.standard_normal(shape, np.float32)
    present = np.zeros(shape[:2], bool)
    present[:, 0] = True
    for number, (first, count) in enumerate(zip(first_rows(counts), counts, strict=True)):
        present[:, first : first + count] = np.arange(count) < multiplicity[:, number, np.newaxis]
    whole = np.where(present[:, :, np.newaxis] & present[:, np.newaxis], cells, 0).astype(np.float32)
    return pack(whole, multiplicity, counts)


def shuffled(generator: np.random.Generator, matrices: NDArray[np.float32]) -> NDArray[np.float32]:
    """Deal every cell anew among some events, each cell by itself: (events, size, size)."""
    columns = matrices.reshape(len(matrices), -1)
    return generator.permuted(columns, axis=0).reshape(matrices.shape)
