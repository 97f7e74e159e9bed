"""The compiled loops behind `islands`. Nothing is checked here.

Arguments that several of them share: `multiplicity` (events, types), `starts` (events + 1,) and `cells` are
an `Islands`; `first_row` and `counts` (types,) say which rows a type has; `matrices` are flat, (events,
size * size). Indices are unsigned, which spares numba the test for negative ones.
"""

import numpy as np
from numpy.typing import NDArray

from .kernel import compiled

Counts = NDArray[np.uint64]


@compiled
def find_starts(multiplicity: NDArray[np.uint8], starts: NDArray[np.int64]) -> None:
    """Write where each island begins, and where the last one ends."""
    starts[0] = 0
    for event in range(len(multiplicity)):
        width = 1
        for kind in range(multiplicity.shape[1]):
            width += multiplicity[event, kind]
        starts[event + 1] = starts[event] + width * width


@compiled
def rows_of(
    multiplicity: NDArray[np.uint8], first_row: Counts, counts: Counts, rows: NDArray[np.uint64]
) -> np.uint64:
    """Write the rows of an event's objects behind row 0, and give their number.

    Rows of absent objects are written too, to be written over by the next type: a loop of known length is
    worth more than the stores. `rows` needs room for all of them.
    """
    number = np.uint64(1)
    for kind in range(len(first_row)):
        for rank in range(counts[kind]):
            rows[number + rank] = first_row[kind] + rank
        number += np.uint64(multiplicity[kind])
    return number


@compiled
def room_for_rows(counts: Counts) -> NDArray[np.uint64]:
    """Memory for `rows_of`."""
    return np.zeros(1 + np.int64(counts.sum()), np.uint64)


@compiled
def copy_islands(
    source: NDArray[np.float32],
    starts: NDArray[np.int64],
    targets: NDArray[np.int64],
    lengths: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    """Copy the cells of some events to other places."""
    for event in range(len(starts)):
        start, target = np.uint64(starts[event]), np.uint64(targets[event])
        for cell in range(np.uint64(lengths[event])):
            out[target + cell] = source[start + cell]


@compiled
def expand_islands(
    multiplicity: NDArray[np.uint8],
    starts: NDArray[np.int64],
    cells: NDArray[np.float32],
    first_row: Counts,
    counts: Counts,
    matrices: NDArray[np.float32],
) -> None:
    """Write whole matrices."""
    rows = room_for_rows(counts)
    stride = np.uint64(len(rows))
    for event in range(len(multiplicity)):
        matrix = matrices[event]
        matrix[:] = 0
        number = rows_of(multiplicity[event], first_row, counts, rows)
        place = np.uint64(starts[event])
        for i in range(number):
            line = rows[i] * stride
            for j in range(number):
                matrix[line + rows[j]] = cells[place + j]
            place += number


@compiled
def expand_scaled(
    multiplicity: NDArray[np.uint8],
    starts: NDArray[np.int64],
    cells: NDArray[np.float32],
    first_row: Counts,
    counts: Counts,
    matrices: NDArray[np.float32],
    offset: NDArray[np.float32],
    factor: NDArray[np.float32],
    empty: NDArray[np.float32],
) -> None:
    """Write whole matrices of ``(cell - offset) * factor``; `empty` is what that makes of zero."""
    rows = room_for_rows(counts)
    stride = np.uint64(len(rows))
    for event in range(len(multiplicity)):
        matrix = matrices[event]
        for cell in range(len(empty)):
            matrix[cell] = empty[cell]
        number = rows_of(multiplicity[event], first_row, counts, rows)
        place = np.uint64(starts[event])
        for i in range(number):
            line = rows[i] * stride
            for j in range(number):
                cell = line + rows[j]
                matrix[cell] = (cells[place + j] - offset[cell]) * factor[cell]
            place += number


@compiled
def log_cells(
    multiplicity: NDArray[np.uint8],
    cells: NDArray[np.float32],
    first_row: Counts,
    counts: Counts,
    unit: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Write the signed logarithm of every cell, in the unit of its place in the matrix."""
    rows = room_for_rows(counts)
    stride = np.uint64(len(rows))
    place = np.uint64(0)
    for event in range(len(multiplicity)):
        number = rows_of(multiplicity[event], first_row, counts, rows)
        for i in range(number):
            line = rows[i] * stride
            for j in range(number):
                value = cells[place + j]
                logarithm = np.log1p(abs(value) / unit[line + rows[j]])
                out[place + j] = logarithm if value >= 0 else -logarithm
            place += number


@compiled
def pack_islands(
    matrices: NDArray[np.float32],
    multiplicity: NDArray[np.uint8],
    first_row: Counts,
    counts: Counts,
    cells: NDArray[np.float32],
) -> int:
    """Copy the cells that exist; give the number of others that are not zero."""
    rows = room_for_rows(counts)
    stride = np.uint64(len(rows))
    place = np.uint64(0)
    lost = 0
    for event in range(len(multiplicity)):
        matrix = matrices[event]
        number = rows_of(multiplicity[event], first_row, counts, rows)
        for cell in range(len(matrix)):
            lost += matrix[cell] != 0
        for i in range(number):
            line = rows[i] * stride
            for j in range(number):
                value = matrix[line + rows[j]]
                cells[place + j] = value
                lost -= value != 0
            place += number
    return lost
