"""Statistics of matrices cell by cell, in a form that can be merged."""

from dataclasses import dataclass, replace
from functools import reduce
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError

Cells = NDArray[np.float64]


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
        return cls(0, 0.0, zeros, zeros, zeros, zeros, zeros, zeros)

    @classmethod
    def of(cls, matrices: NDArray[np.float32], weight: NDArray[np.float64], block: int = 1024) -> Self:
        """Compute the statistics of matrices (events, rows, columns) with weights (events,).

        Works in blocks of events to bound memory. Sums run along the event axis one event after
        another (never through BLAS), so that the bits do not depend on the machine.

        Raises
        ------
        StoreError
            A cell is not finite.
        """
        parts = (
            cls._of_block(matrices[start : start + block], weight[start : start + block])
            for start in range(0, len(matrices), block)
        )
        return reduce(cls.merge, parts, cls.empty(matrices.shape[1]))

    @classmethod
    def _of_block(cls, matrices: NDArray[np.float32], weight: NDArray[np.float64]) -> Self:
        if not np.isfinite(matrices).all():
            raise StoreError("a matrix holds cells that are not finite; check the momenta it was made from")
        cells = matrices.astype(np.float64)
        mean = cells.mean(axis=0)
        return cls(
            events=len(cells),
            sum_of_weights=float(weight.sum()),
            occupancy=np.count_nonzero(cells, axis=0).astype(np.float64),
            minimum=cells.min(axis=0),
            maximum=cells.max(axis=0),
            mean=mean,
            sum_of_squared_deviations=((cells - mean) ** 2).sum(axis=0),
            weighted_sum=(cells * weight[:, np.newaxis, np.newaxis]).sum(axis=0),
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
        )

    def stacked(self) -> Cells:
        """Stack what is stored: (statistics, rows, columns)."""
        return np.stack([getattr(self, name) for name in self.STORED])

    @classmethod
    def unstacked(cls, stored: Cells, events: int, sum_of_weights: float, scale: float = 1.0) -> Self:
        """Undo `stacked`, with all weights multiplied by a scale."""
        named = dict(zip(cls.STORED, stored, strict=True))
        named["weighted_sum"] = named["weighted_sum"] * scale
        return cls(events, sum_of_weights * scale, **named)
