"""The compiled loops behind `islands`. Nothing is checked here.

Arguments that several of them share: `multiplicity` (events, types), `starts` (events + 1,) and `cells` are
an `Islands`; `first_row` and `counts` (types,) say which rows a type has; `matrices` are flat, (events,
size * size). Indices are unsigned, which spares numba the test for negative ones.
"""

import numpy as np
from numpy.typing import NDArray

from .compilation import compiled, copy, inlined

Counts = NDArray[np.uint64]


@inlined
def in_eights(number: np.uint64) -> np.uint64:
    """Round up to a multiple of eight, which vectorised loops do without a remainder."""
    return (number + np.uint64(7)) & ~np.uint64(7)


@inlined
def matrices_at_once(size: np.uint64) -> np.uint64:
    """How many whole matrices are put together in the cache before they are copied to memory.

    Memory takes large pieces faster, and scattered cells badly.
    """
    return max(np.uint64(1), np.uint64(8192) // (size * size))


@compiled
def find_places(
    rows: NDArray[np.uint32],
    begin: np.uint64,
    ends: NDArray[np.uint64],
    size: np.uint64,
    places: NDArray[np.uint32],
) -> np.uint64:
    """Write where the cells of some islands belong in whole matrices of `size` rows; give their number.

    The rows of the first event are ``rows[begin : ends[0]]``, those of the next ``rows[ends[0] : ends[1]]``.
    `places` needs room for seven more, and `rows` has something there.
    """
    number = np.uint64(0)
    first = np.uint32(0)
    for end in ends:
        width = end - begin
        for i in range(begin, end):
            line = first + rows[i] * np.uint32(size)
            for n in range(in_eights(width)):
                places[number + n] = line + rows[begin + n]
            number += width
        first += np.uint32(size * size)
        begin = end
    return number


@compiled
def place_cells(
    cells: NDArray[np.float32],
    begin: np.uint64,
    places: NDArray[np.uint32],
    number: np.uint64,
    matrices: NDArray[np.float32],
) -> None:
    """Copy cells from ``cells[begin]`` on to their places."""
    for k in range(number):
        matrices[places[k]] = cells[begin + k]


@compiled
def clear_places(places: NDArray[np.uint32], number: np.uint64, matrices: NDArray[np.float32]) -> None:
    """Undo `place_cells`."""
    for k in range(number):
        matrices[places[k]] = 0


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
def room_for_places(counts: Counts) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Memory for `places_of`."""
    size = 1 + np.int64(counts.sum())
    return np.zeros(size, np.uint64), np.empty(size * size, np.uint64)


@compiled
def places_of(
    multiplicity: NDArray[np.uint8],
    first_row: Counts,
    counts: Counts,
    room: tuple[NDArray[np.uint64], NDArray[np.uint64]],
) -> tuple[NDArray[np.uint64], np.uint64]:
    """Find where the cells of an event's island belong in its whole matrix; give their number, too.

    The places are in the order of the island's cells, in the memory `room`.
    """
    rows, places = room
    width = rows_of(multiplicity, first_row, counts, rows)
    number = np.uint64(0)
    for i in range(width):
        line = rows[i] * np.uint64(len(rows))
        for j in range(width):
            places[number + j] = line + rows[j]
        number += width
    return places, number


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
    offset: NDArray[np.float32],
    factor: NDArray[np.float32],
    absent: NDArray[np.float32],
) -> None:
    """Write whole matrices of ``(cell - offset) * factor``, or of the cells where these are empty.

    `matrices` is flat in one dimension; `absent` is what stands for the cells of absent objects in scaled
    matrices.
    """
    one = np.uint64(1)
    size = one + counts.sum()
    whole = size * size
    at_once = matrices_at_once(size)
    rows = np.zeros(at_once * size + np.uint64(256), np.uint32)
    ends = np.empty(at_once, np.uint64)
    places = np.empty(at_once * whole + np.uint64(8), np.uint32)
    scaled = len(offset) > 0
    tables = np.zeros((4, at_once * whole), np.float32)
    offsets, factors, empty, group = tables[0], tables[1], tables[2], tables[3]
    if scaled:
        for matrix in range(at_once):
            for cell in range(whole):
                place = matrix * whole + cell
                offsets[place], factors[place] = offset[cell], factor[cell]
                group[place] = empty[place] = absent[cell]
    for first in range(np.uint64(0), np.uint64(len(multiplicity)), at_once):
        last = min(first + at_once, np.uint64(len(multiplicity)))
        number = np.uint64(0)
        for event in range(first, last):
            rows[number] = 0
            number += one
            for kind in range(len(first_row)):
                for rank in range(in_eights(counts[kind])):
                    rows[number + rank] = first_row[kind] + rank
                number += np.uint64(multiplicity[event, kind])
            ends[event - first] = number
        written = find_places(rows, np.uint64(0), ends[: last - first], size, places)
        begin = np.uint64(starts[first])
        if scaled:
            for k in range(written):
                place = places[k]
                group[place] = (cells[begin + k] - offsets[place]) * factors[place]
        else:
            place_cells(cells, begin, places, written, group)
        copy(matrices, first * whole, group, np.uint64(0), (last - first) * whole)
        for k in range(written):
            group[places[k]] = empty[places[k]]


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
    room = room_for_places(counts)
    begin = np.uint64(0)
    for event in range(len(multiplicity)):
        places, number = places_of(multiplicity[event], first_row, counts, room)
        for k in range(number):
            value = cells[begin + k]
            logarithm = np.log1p(abs(value) / unit[places[k]])
            out[begin + k] = logarithm if value >= 0 else -logarithm
        begin += number


@compiled
def pack_islands(
    matrices: NDArray[np.float32],
    multiplicity: NDArray[np.uint8],
    first_row: Counts,
    counts: Counts,
    cells: NDArray[np.float32],
) -> int:
    """Copy the cells that exist; give the number of others that are not zero."""
    room = room_for_places(counts)
    begin = np.uint64(0)
    lost = 0
    for event in range(len(multiplicity)):
        matrix = matrices[event]
        places, number = places_of(multiplicity[event], first_row, counts, room)
        for cell in range(len(matrix)):
            lost += matrix[cell] != 0
        for k in range(number):
            value = matrix[places[k]]
            cells[begin + k] = value
            lost -= value != 0
        begin += number
    return lost
