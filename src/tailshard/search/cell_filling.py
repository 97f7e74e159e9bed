"""One shard slot becomes histograms of every cell of its matrices, and sums for their correlations.

The matrices of a slot are read chunk by chunk and once; what a task holds beside a chunk, and columns of the
slot, is a fixed number of bins for each cell. Cells of absent objects are in no bin: a histogram of ET(muon
1) counts the events with a muon. Correlations take them as the zeros that a network sees.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..features.islands import kinds
from ..features.names import PHYSICS_BLOCKS
from ..store.catalog import Slot
from ..store.cells import Statistics, magnitude_edges
from ..store.layout import SCORE_PREFIX, Geometry
from ..store.read import ShardReader
from .cell_kernels import add_products, fill_bins

Array = NDArray[np.float64]

INSIDE = 0.995
"""Share of the cells, by their absolute value, that the range of a histogram holds at least."""

_STEPS = np.array([1, 1.5, 2, 3, 5, 7, 10])

CORRELATED_AT_MOST = 1600
"""Cells of a matrix whose correlations are computed: sums of 20 MB; 23 x 23 cells take 2 MB."""

BLOCKS = SCORE_PREFIX + "blocks"
"""Array of the errors by kind of cell, where the pipeline asks for them."""


@dataclass(frozen=True, eq=False)
class Binning:
    """Bins of equal width for every cell; (cells,) each, in the order of the flat matrix."""

    low: Array
    high: Array
    bins: int

    @classmethod
    def of(cls, statistics: Statistics, bins: int) -> Self:
        """Choose ranges that hold nearly every event, from statistics that the store has.

        A range begins at zero, or as far below it as the cell reaches, and ends on one of a few numbers of
        each decade, so that it seldom changes when events arrive: sums that were kept are then good no more.
        A cell that no event has gets a range that nothing falls into.
        """
        flat = statistics.magnitudes.reshape(len(statistics.magnitudes), -1)
        inside = np.argmax(np.cumsum(flat, axis=0) >= INSIDE * flat.sum(axis=0), axis=0)
        reach = magnitude_edges()[inside + 1]
        smallest, largest = statistics.minimum.reshape(-1), statistics.maximum.reshape(-1)
        low = 0.0 - _rounded_up(np.minimum(np.maximum(-smallest, 0), reach))
        high = _rounded_up(np.minimum(np.maximum(largest, 0), reach))
        return cls(low, np.where(high > low, high, low + 1), bins)

    @property
    def edges(self) -> Array:
        """Edges of the bins: (cells, bins + 1)."""
        return np.linspace(self.low, self.high, self.bins + 1, axis=1)


def _rounded_up(values: Array) -> Array:
    """Round up to 1, 1.5, 2, 3, 5 or 7 times a power of ten; zero stays zero."""
    exponent = np.floor(np.log10(np.where(values > 0, values, 1)))
    scale = 10.0 ** np.abs(exponent)
    leading = np.where(exponent < 0, values * scale, values / scale)
    # The smaller of both, where a number of two digits is not what the floating point makes of it.
    step = _STEPS[np.searchsorted(_STEPS, leading * (1 - 1e-9))]
    rounded: Array = np.where(exponent < 0, step / scale, step * scale)
    return np.where(values > 0, rounded, 0.0)


@dataclass(frozen=True, eq=False)
class CellSums:
    """Sums over some events, float64; they add up."""

    values: Array
    """(cells, bins + 2): sums of weights, underflow first, overflow last; empty where no bins are wanted."""
    variances: Array
    """(cells, bins + 2): sums of squared weights."""
    weight: float
    """Sum of weights."""
    sums: Array
    """(cells,): of weight x cell; empty where correlations are not wanted."""
    products: Array
    """(cells, cells): of weight x cell x cell, on the diagonal and above it; as empty."""
    blocks: Array
    """(3, kinds of cells): of w x, w^2 x and w^2 x^2 with the error x of the kind; empty without it."""
    squared_weights: float
    """Sum of squared weights."""

    @classmethod
    def empty(cls, cells: int, bins: int, correlated: bool, blocks: bool) -> Self:
        """Give sums over no events."""
        histogrammed, wanted = (cells if bins else 0), (cells if correlated else 0)
        values, variances = np.zeros((2, histogrammed, bins + 2))
        return cls(
            values,
            variances,
            0.0,
            np.zeros(wanted),
            np.zeros((wanted, wanted)),
            np.zeros((3, len(PHYSICS_BLOCKS) if blocks else 0)),
            0.0,
        )

    def __add__(self, other: Self) -> Self:
        return type(self)(*(getattr(self, name) + getattr(other, name) for name in vars(self)))


def add_sums(parts: list[CellSums]) -> CellSums:
    """Add sums, from the first part to the last."""
    return reduce(CellSums.__add__, parts)


def fill_slot_cells(
    binning: Binning,
    blocks: bool,
    store: Path,
    geometry: Geometry,
    slot: Slot,
    scale: float,
    splits: Sequence[str],
    correlated: bool,
) -> CellSums:
    """Fill the histograms of every cell, and sum up what correlations need, in one pass over a slot.

    Parameters
    ----------
    binning
        Of every cell.
    blocks
        Sum up the errors by kind of cell, too.
    store, geometry, slot
        Where the events are.
    scale
        Factor on every weight.
    splits
        Splits to read.
    correlated
        Sum up products of cells.

    Raises
    ------
    StoreError
        Rows are absent or damaged.
    """
    cells = len(binning.low)
    found = CellSums.empty(cells, binning.bins, correlated, blocks)
    weights = squares = 0.0
    per_unit = binning.bins / (binning.high - binning.low)
    reader, where = ShardReader(store), kinds(geometry.counts)
    for split in splits:
        first, end = geometry.split_range(slot, split)
        if first == end:
            continue
        weight = reader.read(slot.channel, "weight", first, end).astype(np.float64) * scale
        weights += float(weight.sum())
        squares += float(np.square(weight).sum())
        for start, stop in _pieces(geometry, first, end) if binning.bins or correlated else ():
            islands = reader.read_islands(slot.channel, start, stop)
            events = (islands.multiplicity, islands.cells, *where, weight[start - first : stop - first])
            if binning.bins:
                fill_bins(*events, binning.low, per_unit, found.values, found.variances)
            if correlated:
                add_products(*events, found.sums, found.products)
        if blocks:
            errors = reader.read(slot.channel, BLOCKS, first, end).astype(np.float64)
            for row, (w, x) in enumerate(((1, 1), (2, 1), (2, 2))):
                found.blocks[row] += (weight[:, np.newaxis] ** w * errors**x).sum(axis=0)
    return CellSums(**{**vars(found), "weight": weights, "squared_weights": squares})


def _pieces(geometry: Geometry, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Cut a range of rows where chunks begin, so that no piece is larger than one of them."""
    first = (start // geometry.chunk + 1) * geometry.chunk
    return pairwise([start, *range(first, stop, geometry.chunk), stop])
