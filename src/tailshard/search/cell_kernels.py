"""The compiled loops behind `cell_filling`. Nothing is checked here.

Sums run over one event after another, so that their bits do not depend on the machine. `multiplicity` and
`cells` are those of `Islands`; `first_row` and `counts` (types,) say which rows a type has.
"""

import numpy as np
from numpy.typing import NDArray

from ..features.compilation import compiled
from ..features.island_kernels import Counts, places_of, room_for_places

Array = NDArray[np.float64]


@compiled
def fill_bins(
    multiplicity: NDArray[np.uint8],
    cells: NDArray[np.float32],
    first_row: Counts,
    counts: Counts,
    weight: Array,
    low: Array,
    bins_per_unit: Array,
    values: Array,
    variances: Array,
) -> None:
    """Add weights and their squares to the bins of every cell that exists.

    `low` and `bins_per_unit` are (places,); `values` and `variances` (places, bins + 2), underflow first.
    """
    room = room_for_places(counts)
    begin = np.uint64(0)
    bins = values.shape[1] - 2
    for event in range(len(multiplicity)):
        places, number = places_of(multiplicity[event], first_row, counts, room)
        for k in range(number):
            place = places[k]
            # Bounded before it becomes an integer, which a float may be too large for.
            bin_number = (np.float64(cells[begin + k]) - low[place]) * bins_per_unit[place]
            where = np.int64(np.floor(min(max(bin_number, -1.0), np.float64(bins)))) + 1
            values[place, where] += weight[event]
            variances[place, where] += weight[event] * weight[event]
        begin += number


@compiled
def add_products(
    multiplicity: NDArray[np.uint8],
    cells: NDArray[np.float32],
    first_row: Counts,
    counts: Counts,
    weight: Array,
    sums: Array,
    products: Array,
) -> None:
    """Add weight x cell to `sums` (places,) and weight x cell x cell to `products` (places, places).

    What lies below the diagonal is left out; cells of absent objects are zeros, which add nothing.
    """
    room = room_for_places(counts)
    begin = np.uint64(0)
    for event in range(len(multiplicity)):
        places, number = places_of(multiplicity[event], first_row, counts, room)
        for a in range(number):
            weighted = weight[event] * np.float64(cells[begin + a])
            sums[places[a]] += weighted
            row = products[places[a]]
            for b in range(a, number):
                row[places[b]] += weighted * np.float64(cells[begin + b])
        begin += number
