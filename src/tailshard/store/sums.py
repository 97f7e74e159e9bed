"""Sums of the weights of a slot, as the catalog keeps them."""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class SlotSummary(NamedTuple):
    """What was written into a slot; all by split."""

    rows: tuple[int, int, int]
    sum_of_weights: tuple[float, float, float]
    sum_of_squared_weights: tuple[float, float, float]


def summarise(rows: tuple[int, int, int], weight: NDArray[np.float64]) -> SlotSummary:
    """Add the weights of a slot by split, and their squares; exactly, so that their order does not matter.

    Parameters
    ----------
    rows
        By split.
    weight
        (sum of the rows,) split after split.
    """
    training, validation, test = (slice(*edges) for edges in pairwise(np.cumsum((0, *rows)).tolist()))
    return SlotSummary(
        rows,
        *(
            (math.fsum(terms[training]), math.fsum(terms[validation]), math.fsum(terms[test]))
            for terms in (weight, weight**2)
        ),
    )
