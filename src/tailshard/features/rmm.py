"""The rapidity-mass matrix (RMM): an event as one square image of fixed size.

Row and column 0 belong to the missing transverse momentum (MET), the others to objects: light jets, b jets,
electrons, muons, each by falling pT. The first row holds transverse masses, the first column longitudinal
boosts, the diagonal transverse energies and their imbalances, the upper triangle invariant masses, the lower
one rapidity differences; `conventions` has the formulas. Cells of absent objects are zero.

Every finite input gives finite cells:

* pT and MET below 0 count as 0; pT, MET and masses beyond 1e12 GeV, and pseudorapidities beyond 20, count as
  these limits;
* an object whose negative squared mass leaves it no rapidity (E <= |pz|; rounding makes these of very forward
  massless objects) counts as massless, so that its rapidity is its pseudorapidity;
* an object with pT = 0 has no momentum at all: its rapidity is 0 if it has a mass, else its pseudorapidity;
* an imbalance of two vanishing energies is 0;
* a pair with negative squared mass has the mass -sqrt(-m^2), as in ROOT; mT(MET, object) is never negative.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ProcessingError
from .blocks import (
    Block,
    block_from_awkward,
    blocks_from_objects,
    check_blocks,
    check_objects,
    first_rows,
    pad_objects,
)
from .conventions import CONVENTIONS, Convention, convention_scales
from .islands import Islands, island_starts
from .kernel import compute
from .names import cell_names, row_names

__all__ = [
    "CONVENTIONS",
    "Block",
    "Convention",
    "block_from_awkward",
    "blocks_from_objects",
    "cell_names",
    "islands_from_objects",
    "pad_objects",
    "rmm",
    "rmm_from_objects",
    "row_names",
]

_NO_ISLANDS = np.zeros(0, np.int64)


def rmm(
    met: NDArray[Any],
    met_phi: NDArray[Any],
    blocks: Sequence[Block],
    counts: Sequence[int],
    convention: str = "chekanov",
    center_of_mass_energy: float = 13000.0,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Compute the rapidity-mass matrix of every event.

    Contiguous float64 components (or float32, where all are) are used where they lie; others are copied.

    Parameters
    ----------
    met, met_phi
        (events,) missing transverse momentum in GeV and its azimuth in rad.
    blocks
        Objects by type, in the order of the rows, by falling pT within an event.
    counts
        Rows by type; objects beyond are left out.
    convention
        "chekanov" or "thesis"; see `tailshard.features.conventions`.
    center_of_mass_energy
        sqrt(s) in GeV, at least 1; used by "chekanov".
    out
        (events, size, size) float32 in C order, to write to instead of new memory.

    Returns
    -------
    (events, size, size) float32, size = 1 + sum(counts)

    Raises
    ------
    ConfigError
        Unknown convention, impossible energy or counts.
    ProcessingError
        Arrays that do not fit together.
    """
    check_blocks(len(met), blocks, counts)
    single = all(component.dtype == np.float32 for block in blocks for component in block[1:])
    dtype = np.float32 if single else np.float64
    components = tuple(
        tuple(np.ascontiguousarray(component, dtype) for component in block[1:]) for block in blocks
    )
    offsets = [np.ascontiguousarray(block.offsets, np.int64) for block in blocks]
    starts, stops = [each[:-1] for each in offsets], [each[1:] for each in offsets]
    out = _matrices(len(met), counts, out)
    _compute(met, met_phi, starts, stops, components, counts, convention, center_of_mass_energy, out)
    return out


def rmm_from_objects(
    objects: NDArray[np.float32],
    multiplicity: NDArray[np.uint8],
    counts: Sequence[int],
    convention: str = "chekanov",
    center_of_mass_energy: float = 13000.0,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Compute the rapidity-mass matrix from the padded objects of the store, which are not copied.

    Gives the same bits as `rmm` of `blocks_from_objects`, today and from the store later.

    Parameters
    ----------
    objects
        (events, size, 4) float32: pt, eta, phi, signed mass by row, MET in row 0.
    multiplicity
        (events, types) uint8: how many rows of each type hold an object.
    counts, convention, center_of_mass_energy, out
        As in `rmm`.

    Returns
    -------
    (events, size, size) float32

    Raises
    ------
    ConfigError, ProcessingError
        As in `rmm`.
    """
    check_objects(objects, multiplicity, counts)
    out = _matrices(len(objects), counts, out)
    events = _padded(objects, multiplicity, counts)
    _compute(*events, counts, convention, center_of_mass_energy, out)
    return out


def islands_from_objects(
    objects: NDArray[np.float32],
    multiplicity: NDArray[np.uint8],
    counts: Sequence[int],
    convention: str = "chekanov",
    center_of_mass_energy: float = 13000.0,
) -> Islands:
    """Compute the matrices from the padded objects without ever making the cells of absent objects.

    Parameters
    ----------
    objects, multiplicity, counts, convention, center_of_mass_energy
        As in `rmm_from_objects`, whose bits the cells have.

    Raises
    ------
    ConfigError, ProcessingError
        As in `rmm`.
    """
    check_objects(objects, multiplicity, counts)
    starts = island_starts(multiplicity)
    cells = np.empty(starts[-1], np.float32)
    events = _padded(objects, multiplicity, counts)
    _compute(*events, counts, convention, center_of_mass_energy, cells, starts)
    return Islands(tuple(counts), multiplicity, cells)


def _matrices(events: int, counts: Sequence[int], out: NDArray[np.float32] | None) -> NDArray[np.float32]:
    shape = (events, 1 + sum(counts), 1 + sum(counts))
    if out is None:
        return np.empty(shape, np.float32)
    if out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise ProcessingError(
            f"out must be a float32 array of shape {shape} in C order, found {out.dtype} {out.shape}"
        )
    return out


def _padded(
    objects: NDArray[np.float32], multiplicity: NDArray[np.uint8], counts: Sequence[int]
) -> tuple[NDArray[Any], NDArray[Any], list[NDArray[Any]], list[NDArray[Any]], Any]:
    """Say where the kernel finds padded objects: MET, its azimuth, starts, stops, components."""
    events, size, _ = objects.shape
    flat = np.ascontiguousarray(objects, np.float32).reshape(events * size, 4)
    starts = [np.arange(events) * size + first_row for first_row in first_rows(counts)]
    stops = [start + multiplicity[:, number] for number, start in enumerate(starts)]
    return objects[:, 0, 0], objects[:, 0, 2], starts, stops, (tuple(flat.T),) * len(counts)


def _compute(
    met: NDArray[Any],
    met_phi: NDArray[Any],
    starts: Sequence[NDArray[np.int64]],
    stops: Sequence[NDArray[np.int64]],
    components: tuple[tuple[NDArray[Any], ...], ...],
    counts: Sequence[int],
    convention: str,
    center_of_mass_energy: float,
    out: NDArray[np.float32],
    starts_of_islands: NDArray[np.int64] = _NO_ISLANDS,
) -> None:
    rules, energy_scale = convention_scales(convention, center_of_mass_energy)
    if len(met_phi) != len(met):
        raise ProcessingError(f"met has {len(met)} events and met_phi {len(met_phi)}")
    compute(
        _read_only(np.ascontiguousarray(met, np.float64)),
        _read_only(np.ascontiguousarray(met_phi, np.float64)),
        tuple(map(_read_only, starts)),
        tuple(map(_read_only, stops)),
        tuple(tuple(map(_read_only, each)) for each in components),
        tuple(map(int, counts)),
        rules,
        energy_scale,
        out.reshape(-1),
        _read_only(starts_of_islands),
    )


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    # numba compiles once for arrays that may be written and once for those that may not; this leaves one.
    view = array.view()
    view.flags.writeable = False
    return view
