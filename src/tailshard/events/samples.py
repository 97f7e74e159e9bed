"""Simulated samples that are wrong, and those that hold the same events twice.

The numbers are those of S. Frette's thesis (Oslo, 2023), as its code has them.
"""

import awkward as ak
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

BAD_SAMPLES = (*range(308092, 308094), *range(410633, 410638))
"""Data-set numbers (DSIDs) of samples that no analysis should use."""

GOOD_ONLY_IN_2018 = (410472,)
"""Data-set numbers of samples that are good in the conditions of 2018 and bad in those before."""

INCLUSIVE_Z = range(700320, 700329)
"""Z to ll of all masses; above `LARGEST_INCLUSIVE_Z_MASS` samples of heavy Z stand in."""

LARGEST_INCLUSIVE_Z_MASS = 120.0
"""GeV, of the Z boson before it radiates; at this mass an event is still the inclusive sample's."""


def is_bad(sample_number: ak.Array, year: NDArray[np.int32]) -> Mask:
    """Tell which events are of a sample that is known to be wrong, shape (events,)."""
    number = ak.to_numpy(sample_number)
    bad: Mask = np.isin(number, BAD_SAMPLES) | (np.isin(number, GOOD_ONLY_IN_2018) & (year != 2018))
    return bad


def is_held_twice(sample_number: ak.Array, born_mass: ak.Array) -> Mask:
    """Tell which events of an inclusive Z sample another sample holds too; `born_mass` in GeV."""
    inclusive: Mask = np.isin(ak.to_numpy(sample_number), INCLUSIVE_Z)
    heavy: Mask = ak.to_numpy(born_mass) > LARGEST_INCLUSIVE_Z_MASS
    return inclusive & heavy
