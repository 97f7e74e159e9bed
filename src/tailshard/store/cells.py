"""Statistics of matrices cell by cell, in a form that can be merged."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from ..features.compilation import compiled
from ..features.island_kernels import Counts, places_of, room_for_places
from ..features.islands import Islands, kinds

Cells = NDArray[np.float64]

MAGNITUDES = 160
"""Bins of `Statistics.magnitudes`: four in every octave from 2^-24 to 2^16, even within an octave."""
_FIRST_KEY = (127 - 24) << 2


def magnitude_edges() -> Cells:
    """Edges of the bins of `Statistics.magnitudes`: (MAGNITUDES + 1,)."""
    octave, quarter = np.divmod(np.arange(MAGNITUDES + 1), 4)
    return np.asarray(np.ldexp(1 + quarter / 4, octave - 24), np.float64)


@dataclass(frozen=True)
class Statistics:
    """Statistics of the matrices of some events; absent objects count as the zeros they are.

    All arrays have shape (rows, columns) and dtype float64. No events gives zeros everywhere.
    """

    events: int
    sum_of_weights: float
    occupancy: Cells
    """Events in which the cell is not zero."""
    minimum: Cells
    maximum: Cells
    mean: Cells
    sum_of_squared_deviations: Cells
    """From the mean, unweighted."""
    weighted_sum: Cells
    """Sum of weight times cell."""
    magnitudes: Cells
    """(bins, rows, columns): events by the absolute value of the cell, where it is not zero, in bins between
    `magnitude_edges`; what lies beyond is in the first and last bin. Quantiles and means of any function of
    the cell follow from it to the width of a bin, wherever and in whatever order parts were merged."""

    STORED: ClassVar = (
        "occupancy",
        "minimum",
        "maximum",
        "mean",
        "sum_of_squared_deviations",
        "weighted_sum",
    )
    """What the array ``statistics`` of a channel holds, in this order."""

    @property
    def variance(self) -> Cells:
        """Mean squared deviation from the mean, unweighted."""
        return self.sum_of_squared_deviations / max(self.events, 1)

    @property
    def weighted_mean(self) -> Cells:
        """Weighted mean; zeros where the weights sum to zero."""
        return self.weighted_sum / self.sum_of_weights if self.sum_of_weights else 0 * self.weighted_sum

    @classmethod
    def empty(cls, size: int) -> Self:
        """Statistics of no events, for matrices of that many rows."""
        zeros = np.zeros((size, size))
        magnitudes = np.zeros((MAGNITUDES, size, size))
        return cls(0, 0.0, zeros, zeros, zeros, zeros, zeros, zeros, magnitudes)

    @classmethod
    def of(cls, islands: Islands, weight: NDArray[np.float64]) -> Self:
        """Compute the statistics of some events with weights (events,).

        Sums run over one event after another, so that their bits do not depend on the machine.

        Raises
        ------
        StoreError
            A cell is not finite.
        """
        if not np.isfinite(islands.cells).all():
            raise StoreError("a matrix holds cells that are not finite; check the momenta it was made from")
        size, events = islands.size, len(islands)
        if not events:
            return cls.empty(size)
        where = (islands.multiplicity, islands.cells, *kinds(islands.counts))
        present, occupancy, total, weighted_sum = np.zeros((4, size * size))
        minimum, maximum = np.full((2, size * size), (np.inf,)) * np.array([[1], [-1]])
        add_cells(*where, weight, present, occupancy, total, weighted_sum, minimum, maximum)
        magnitudes = np.zeros((MAGNITUDES, size * size))
        count_magnitudes(where[0], islands.cells.view(np.uint32), *where[2:], _FIRST_KEY, magnitudes)
        mean, absent = total / events, events - present
        # Where an object is absent, its cells are zero.
        deviations = absent * mean**2
        add_squared_deviations(*where, mean, deviations)
        found = {
            "occupancy": occupancy,
            "minimum": np.where(absent > 0, np.minimum(minimum, 0), minimum),
            "maximum": np.where(absent > 0, np.maximum(maximum, 0), maximum),
            "mean": mean,
            "sum_of_squared_deviations": deviations,
            "weighted_sum": weighted_sum,
        }
        return cls(
            events,
            float(weight.sum()),
            **{name: cells.reshape(size, size) for name, cells in found.items()},
            magnitudes=magnitudes.reshape(MAGNITUDES, size, size),
        )

    def merge(self, other: Self) -> Self:
        """Statistics of both sets of events.

        Means and squared deviations by the pairwise formula of Chan, Golub and LeVeque (1983),
        "Algorithms for computing the sample variance", The American Statistician 37(3).
        """
        if not self.events or not other.events:
            return self if self.events else other
        events = self.events + other.events
        difference = other.mean - self.mean
        return replace(
            self,
            events=events,
            sum_of_weights=self.sum_of_weights + other.sum_of_weights,
            occupancy=self.occupancy + other.occupancy,
            minimum=np.minimum(self.minimum, other.minimum),
            maximum=np.maximum(self.maximum, other.maximum),
            mean=self.mean + difference * (other.events / events),
            sum_of_squared_deviations=self.sum_of_squared_deviations
            + other.sum_of_squared_deviations
            + difference**2 * (self.events * other.events / events),
            weighted_sum=self.weighted_sum + other.weighted_sum,
            magnitudes=self.magnitudes + other.magnitudes,
        )

    def stacked(self) -> Cells:
        """Stack what is stored: (statistics, rows, columns)."""
        return np.stack([getattr(self, name) for name in self.STORED])

    @classmethod
    def unstacked(
        cls,
        stored: Cells,
        magnitudes: NDArray[np.uint32],
        events: int,
        sum_of_weights: float,
        scale: float = 1.0,
    ) -> Self:
        """Undo `stacked`, with all weights multiplied by a scale."""
        named = dict(zip(cls.STORED, stored, strict=True))
        named["weighted_sum"] = named["weighted_sum"] * scale
        return cls(events, sum_of_weights * scale, **named, magnitudes=magnitudes.astype(np.float64))


class SlotArray(NamedTuple):
    """An array with one row for each slot: (splits, entries, rows, columns)."""

    dtype: str
    dimension: str
    """What its entries are."""
    entries: tuple[Any, ...]
    long_name: str


SLOT_ARRAYS = {
    "statistics": SlotArray("float64", "statistic", Statistics.STORED, "statistics"),
    "magnitudes": SlotArray(
        "uint32", "magnitude", tuple(magnitude_edges()[:-1].tolist()), "events by absolute value"
    ),
}
"""Arrays of a channel that hold the statistics of its cells."""


@compiled
def add_cells(
    multiplicity: NDArray[np.uint8],
    cells: NDArray[np.float32],
    first_row: Counts,
    counts: Counts,
    weight: NDArray[np.float64],
    present: Cells,
    occupancy: Cells,
    total: Cells,
    weighted_sum: Cells,
    minimum: Cells,
    maximum: Cells,
) -> None:
    """Add the cells of some islands to sums of whole matrices."""
    room = room_for_places(counts)
    begin = np.uint64(0)
    for event in range(len(multiplicity)):
        places, number = places_of(multiplicity[event], first_row, counts, room)
        for k in range(number):
            cell, value = places[k], np.float64(cells[begin + k])
            present[cell] += 1
            occupancy[cell] += value != 0
            total[cell] += value
            weighted_sum[cell] += value * weight[event]
            minimum[cell] = min(minimum[cell], value)
            maximum[cell] = max(maximum[cell], value)
        begin += number


@compiled
def add_squared_deviations(
    multiplicity: NDArray[np.uint8],
    cells: NDArray[np.float32],
    first_row: Counts,
    counts: Counts,
    mean: Cells,
    deviations: Cells,
) -> None:
    """Add the squared distances of the cells of some islands from a mean."""
    room = room_for_places(counts)
    begin = np.uint64(0)
    for event in range(len(multiplicity)):
        places, number = places_of(multiplicity[event], first_row, counts, room)
        for k in range(number):
            difference = np.float64(cells[begin + k]) - mean[places[k]]
            deviations[places[k]] += difference * difference
        begin += number


@compiled
def count_magnitudes(
    multiplicity: NDArray[np.uint8],
    bits: NDArray[np.uint32],
    first_row: Counts,
    counts: Counts,
    first_key: int,
    magnitudes: Cells,
) -> None:
    """Count the cells of some islands by magnitude: exponent and two digits of the fraction of a float32."""
    room = room_for_places(counts)
    begin = np.uint64(0)
    last = np.int64(len(magnitudes) - 1)
    for event in range(len(multiplicity)):
        places, number = places_of(multiplicity[event], first_row, counts, room)
        for k in range(number):
            magnitude = bits[begin + k] & np.uint32(0x7FFFFFFF)
            if magnitude:
                bin_number = np.int64(magnitude >> np.uint32(21)) - first_key
                if bin_number < 0:
                    bin_number = np.int64(0)
                elif bin_number > last:
                    bin_number = last
                magnitudes[bin_number, places[k]] += 1
        begin += number
