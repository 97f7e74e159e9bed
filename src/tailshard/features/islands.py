"""Matrices without their empty cells.

Nine cells of ten of a rapidity-mass matrix are zeros whose place follows from how many objects of each
type the event has. An *island* is what remains: the rows and columns of the missing transverse momentum
and of the objects that exist, one cell after another, row by row::

    counts (2, 1), multiplicity (1, 1)

        MET  j0  j1  e0                 MET  j0  e0
    MET  x   x   .   x              MET  x   x   x
    j0   x   x   .   x     <->      j0   x   x   x     and the multiplicities 1, 1
    j1   .   .   .   .              e0   x   x   x
    e0   x   x   .   x

An event of n objects has (n + 1)^2 cells. The multiplicities are the event's own, never guessed from
zeros, so a cell that happens to be zero is kept. Islands flow from the kernel through the store to the
device that a network lives on; `expand` is the last step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ProcessingError
from .blocks import first_rows
from .island_kernels import copy_islands, expand_islands, find_starts, log_cells, pack_islands

_NO_SCALE = np.zeros(0, np.float32)


def island_starts(multiplicity: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Find where the cells of each event begin, and where the last ones end: (events + 1,).

    Parameters
    ----------
    multiplicity
        (events, types) objects that exist.
    """
    starts = np.empty(len(multiplicity) + 1, np.int64)
    find_starts(multiplicity, starts)
    return starts


def _unknown() -> NDArray[np.int64]:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class Islands:
    """The matrices of some events, without the rows and columns of absent objects.

    Raises
    ------
    ProcessingError
        Multiplicities, rows and cells do not fit together.
    """

    counts: tuple[int, ...]
    """Rows of the whole matrix by object type."""
    multiplicity: NDArray[np.uint8]
    """(events, types) objects that exist."""
    cells: NDArray[np.float32]
    """Cells of all events, one island after another."""
    starts: NDArray[np.int64] = field(default_factory=_unknown, repr=False)
    """(events + 1,) where the cells of each event begin; found from the multiplicities where left out."""

    def __post_init__(self) -> None:
        if not len(self.starts):
            object.__setattr__(self, "starts", island_starts(self.multiplicity))
        if self.multiplicity.ndim != 2 or self.multiplicity.shape[1] != len(self.counts):
            raise ProcessingError(
                f"multiplicities have the shape {self.multiplicity.shape} for {len(self.counts)} types"
            )
        if len(self.cells) != self.starts[-1]:
            raise ProcessingError(
                f"{len(self)} events have {self.starts[-1]} cells by their multiplicities, "
                f"found {len(self.cells)}"
            )

    @classmethod
    def empty(cls, counts: Sequence[int]) -> "Islands":
        """Give the islands of no events."""
        return cls(tuple(counts), np.zeros((0, len(counts)), np.uint8), np.zeros(0, np.float32))

    @classmethod
    def concatenated(cls, parts: Sequence["Islands"]) -> "Islands":
        """Put events of the same kind of matrix one after another; at least one part."""
        if len(parts) == 1:
            return parts[0]
        multiplicity = np.concatenate([part.multiplicity for part in parts])
        return cls(parts[0].counts, multiplicity, np.concatenate([part.cells for part in parts]))

    @property
    def size(self) -> int:
        """Rows, and columns, of the whole matrix."""
        return 1 + sum(self.counts)

    @property
    def nbytes(self) -> int:
        """Bytes of multiplicities and cells."""
        return self.multiplicity.nbytes + self.cells.nbytes

    def __len__(self) -> int:
        return len(self.multiplicity)

    def __getitem__(self, events: slice) -> "Islands":
        start, stop, step = events.indices(len(self))
        if step != 1:
            raise ProcessingError(f"islands are cut into ranges of neighbours, not with a step of {step}")
        stop = max(start, stop)
        starts = self.starts[start : stop + 1]
        cells = self.cells[starts[0] : starts[-1]]
        return Islands(self.counts, self.multiplicity[start:stop], cells, starts - starts[0])

    def take(self, rows: NDArray[Any]) -> "Islands":
        """Copy some events, in the order of their numbers `rows`."""
        multiplicity = self.multiplicity[rows]
        starts = island_starts(multiplicity)
        cells = np.empty(starts[-1], np.float32)
        copy_islands(self.cells, self.starts[rows], starts[:-1], np.diff(starts), cells)
        return Islands(self.counts, multiplicity, cells, starts)


def arranged(parts: Sequence[Islands], rows: NDArray[np.int64]) -> Islands:
    """Put all events of some parts into an order.

    As ``Islands.concatenated(parts).take(rows)`` for a permutation `rows`, but every event is copied once,
    and each part is read from its beginning to its end.
    """
    multiplicity = np.concatenate([part.multiplicity for part in parts])[rows]
    starts = island_starts(multiplicity)
    target = np.empty(len(rows), np.int64)
    target[rows] = starts[:-1]
    cells = np.empty(starts[-1], np.float32)
    first = 0
    for part in parts:
        copy_islands(
            part.cells, part.starts[:-1], target[first : first + len(part)], np.diff(part.starts), cells
        )
        first += len(part)
    return Islands(parts[0].counts, multiplicity, cells, starts)


def expand(
    islands: Islands,
    offset: NDArray[np.float32] | None = None,
    factor: NDArray[np.float32] | None = None,
    out: NDArray[np.float32] | None = None,
    absent: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Give whole matrices, with the zeros of absent objects.

    Parameters
    ----------
    islands
        Some events.
    offset, factor
        (size * size,) for ``(cell - offset) * factor``, of absent objects' zeros too; not at all where
        left out. Both or none.
    out
        (at least the events, size, size) float32 in C order, to write to instead of new memory.
    absent
        (size * size,) what scaled matrices hold in place of absent objects' zeros.

    Returns
    -------
    (events, size, size) float32

    Raises
    ------
    ProcessingError
        `out`, or an offset or factor, has another shape or type.
    """
    size = islands.size
    if out is None:
        out = np.empty((len(islands), size, size), np.float32)
    elif (
        len(out) < len(islands)
        or out.shape[1:] != (size, size)
        or out.dtype != np.float32
        or not out.flags.c_contiguous
    ):
        raise ProcessingError(
            f"out must be a float32 array of at least {len(islands)} x {size} x {size} in C order, "
            f"found {out.dtype} {out.shape}"
        )
    out = out[: len(islands)]
    if offset is None or factor is None:
        offset = factor = _NO_SCALE
    elif offset.shape != (size * size,) or factor.shape != (size * size,):
        raise ProcessingError(
            f"offset and factor have the shapes {offset.shape} and {factor.shape}; "
            f"matrices of {size} x {size} need {(size * size,)}"
        )
    empty = (np.float32(0) - offset) * factor if absent is None else absent
    where = kinds(islands.counts)
    expand_islands(
        islands.multiplicity, islands.starts, islands.cells, *where, out.reshape(-1), offset, factor, empty
    )
    return out


def logarithmic(islands: Islands, unit: NDArray[np.float32]) -> Islands:
    """Replace every cell by sign(cell) log(1 + abs(cell) / unit), with a unit (size * size,) for each."""
    cells = np.empty_like(islands.cells)
    log_cells(islands.multiplicity, islands.cells, *kinds(islands.counts), unit, cells)
    return Islands(islands.counts, islands.multiplicity, cells, islands.starts)


def kinds(counts: Sequence[int]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """First row and rows of each type, for the kernels."""
    return np.asarray(first_rows(counts), np.uint64), np.asarray(counts, np.uint64)


def pack(matrices: NDArray[np.float32], multiplicity: NDArray[np.uint8], counts: Sequence[int]) -> Islands:
    """Undo `expand`.

    Parameters
    ----------
    matrices
        (events, size, size)
    multiplicity
        (events, types) objects that exist.
    counts
        Rows by type.

    Raises
    ------
    ProcessingError
        Shapes do not fit, an event has more objects than rows, or a cell of an absent object is not zero.
    """
    size, events = 1 + sum(counts), len(matrices)
    if matrices.shape != (events, size, size) or multiplicity.shape != (events, len(counts)):
        raise ProcessingError(
            f"matrices {matrices.shape} and multiplicities {multiplicity.shape} do not fit rows "
            f"{tuple(counts)} by type"
        )
    if np.any(multiplicity > np.asarray(counts)):
        raise ProcessingError(f"an event has more objects than the rows {tuple(counts)} of their types")
    starts = island_starts(multiplicity)
    cells = np.empty(starts[-1], np.float32)
    flat = np.ascontiguousarray(matrices, np.float32).reshape(events, size * size)
    lost = pack_islands(flat, multiplicity, *kinds(counts), cells)
    if lost:
        raise ProcessingError(f"{lost} cells of absent objects are not zero; the multiplicities are wrong")
    return Islands(tuple(counts), multiplicity, cells)


def smallest_multiplicity(matrices: NDArray[np.float32], counts: Sequence[int]) -> NDArray[np.uint8]:
    """Find the fewest objects that leave no cell out: (events, types).

    For matrices that come without multiplicities; everything tailshard writes has its own. A cell whose
    bits are not those of +0.0 counts as there.
    """
    filled = np.ascontiguousarray(matrices, np.float32).view(np.uint32) != 0
    present = filled.any(axis=1) | filled.any(axis=2)
    multiplicity = np.zeros((len(matrices), len(counts)), np.uint8)
    for number, (first, count) in enumerate(zip(first_rows(counts), counts, strict=True)):
        multiplicity[:, number] = (present[:, first : first + count] * np.arange(1, count + 1)).max(axis=1)
    return multiplicity
