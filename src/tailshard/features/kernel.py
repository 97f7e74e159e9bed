"""The compiled kernel of the rapidity-mass matrix.

Events are taken in tiles that fit into the cache. The objects of a tile that have a row are gathered behind
the missing transverse momentum of their event, one vectorised pass turns them into momenta, and each event
then becomes an island: a row is computed for eight columns at once. Whole matrices are islands expanded,
so both have the same bits. A pair costs no exponential, cosine or hyperbolic cosine. With a = exp(y/4) and
b = 1/a::

    h      = cosh((y_i - y_j)/2) - 1 = (a_i b_j - b_i a_j)^2 / 2          (nothing cancels for y_i ~ y_j)
    cosh(y_i - y_j) - 1              = 2 h (h + 2)
    m_ij^2 = m_i^2 + m_j^2 + 2 (mT_i mT_j cosh(y_i - y_j) - pT_i . pT_j)  (PDG, review of kinematics)

No mathematics library of a machine has a say in the bits of a matrix; see `elementary`.

Everything inside is float64. Indices are unsigned, which spares numba the test for negative ones. All that
is known of an object lies in one array at fixed distances, which spares LLVM the question whether what is
written is also read, and lets it vectorise. Short loops run to a multiple of eight, and write over what
comes next before that is written.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .blocks import MAXIMUM_ROWS
from .compilation import compiled, copy, inlined
from .conventions import Convention
from .elementary import cosine_and_sine, exponential, limited
from .island_kernels import clear_places, find_places, in_eights, matrices_at_once, place_cells

MAXIMUM_ENERGY = 1e12
"""GeV. pT, MET and absolute masses above it count as this much, so that no cell overflows float32."""
MAXIMUM_ABS_ETA = 20.0
"""Larger pseudorapidities count as this one; a proton of the LHC has a rapidity below 10."""

ROOM = MAXIMUM_ROWS + 1
"""Objects and MET that a tile has room for: their momenta stay in the first levels of cache."""

# Where the quantities of a tile's objects begin. Distances are no power of two, whose multiples share a
# place in the cache. MET counts as an object without mass at eta = 0. GeV and rad.
_DISTANCE = ROOM + 24
_QUANTITIES = 15
(
    PT,
    ETA,
    PHI,
    MASS,
    PX,
    PY,
    SQUARED_MASS,
    TRANSVERSE_MASS,  # sqrt(m^2 + pT^2), the energy in the frame without longitudinal momentum
    UP,  # exp(y/4)
    DOWN,  # exp(-y/4)
    ENERGY,  # the convention's transverse energy
    EXCESS,  # energy^2 - pT^2, without its cancellation
    TOP,  # the cell in row 0
    LEFT,  # the cell in column 0
    DIAGONAL,  # the cell on the diagonal
) = (np.uint64(number * _DISTANCE) for number in range(_QUANTITIES))


@compiled
def count_objects(
    starts: NDArray[np.int64], stops: NDArray[np.int64], count: int, widths: NDArray[np.uint64]
) -> None:
    """Add one type's objects that have a row to the width of each event."""
    for event in range(len(starts)):
        widths[event] += np.uint64(min(stops[event] - starts[event], count))


@compiled
def list_objects(
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    count: int,
    cursor: NDArray[np.uint64],
    source: NDArray[np.uint64],
    target: NDArray[np.uint64],
    rank: NDArray[np.uint64],
) -> np.uint64:
    """List where one type's objects that have a row are, the cursors they go to, and their ranks.

    A loop of known length is worth more than the stores that it would spare.
    """
    number = np.uint64(0)
    for event in range(len(starts)):
        start, goal = np.uint64(starts[event]), cursor[event]
        for k in range(in_eights(np.uint64(count))):
            source[number + k] = start + k
            target[number + k] = goal + k
            rank[number + k] = k
        found = np.uint64(min(stops[event] - starts[event], count))
        number += found
        cursor[event] = goal + found
    return number


@compiled
def gather(
    number: np.uint64,
    source: NDArray[np.uint64],
    target: NDArray[np.uint64],
    rank: NDArray[np.uint64],
    components: tuple[NDArray[Any], ...],
    first_row: int,
    objects: NDArray[np.float64],
    row: NDArray[np.uint32],
    is_leading: NDArray[np.bool_],
) -> None:
    """Copy the listed objects of one type."""
    pt, eta, phi, mass = components
    for k in range(number):
        start, goal = source[k], target[k]
        objects[PT + goal] = pt[start]
        objects[ETA + goal] = eta[start]
        objects[PHI + goal] = phi[start]
        objects[MASS + goal] = mass[start]
        row[goal] = np.uint64(first_row) + rank[k]
        is_leading[goal] = rank[k] == 0


@compiled
def compute_momenta(number: np.uint64, objects: NDArray[np.float64], angle_factor: float) -> None:
    """Turn components into momenta, and fill LEFT."""
    for k in range(number):
        pt = limited(objects[PT + k], 0.0, MAXIMUM_ENERGY)
        eta = limited(objects[ETA + k], -MAXIMUM_ABS_ETA, MAXIMUM_ABS_ETA)
        mass = limited(objects[MASS + k], -MAXIMUM_ENERGY, MAXIMUM_ENERGY)
        cosine, sine = cosine_and_sine(objects[PHI + k])
        growth = exponential(abs(eta))
        abs_pz = pt * (growth - 1 / growth) / 2
        squared_mass = mass * abs(mass)
        squared_transverse_mass = pt * pt + squared_mass
        # E <= |pz| leaves no rapidity; such an object counts as massless.
        has_rapidity = squared_transverse_mass > 0
        squared_transverse_mass = max(squared_transverse_mass, 0.0)
        squared_mass = squared_mass if has_rapidity else 0.0
        transverse_mass = math.sqrt(squared_transverse_mass) if has_rapidity else pt
        energy = math.sqrt(squared_transverse_mass + abs_pz * abs_pz)
        exp_abs_y = (energy + abs_pz) / transverse_mass if has_rapidity else growth
        larger = math.sqrt(math.sqrt(exp_abs_y))
        smaller = 1 / larger
        twice_sinh = larger * larger - smaller * smaller
        objects[PT + k] = pt
        objects[PX + k] = pt * cosine
        objects[PY + k] = pt * sine
        objects[SQUARED_MASS + k] = squared_mass
        objects[TRANSVERSE_MASS + k] = transverse_mass
        objects[UP + k] = larger if eta >= 0 else smaller
        objects[DOWN + k] = smaller if eta >= 0 else larger
        objects[ENERGY + k] = transverse_mass
        objects[EXCESS + k] = squared_mass
        objects[LEFT + k] = twice_sinh * twice_sinh / 2 * angle_factor


@compiled
def compute_energies(number: np.uint64, objects: NDArray[np.float64]) -> None:
    """Let ENERGY and EXCESS be those of E sin(theta)."""
    for k in range(number):
        growth = exponential(abs(limited(objects[ETA + k], -MAXIMUM_ABS_ETA, MAXIMUM_ABS_ETA)))
        cosh_eta = (growth + 1 / growth) / 2
        excess = objects[SQUARED_MASS + k] / (cosh_eta * cosh_eta)
        objects[EXCESS + k] = excess
        objects[ENERGY + k] = math.sqrt(objects[PT + k] * objects[PT + k] + excess)


@inlined
def compute_energy_cells(
    number: np.uint64,
    objects: NDArray[np.float64],
    is_leading: NDArray[np.bool_],
    balance: np.uint64,
    energy_scale: float,
) -> None:
    """Fill TOP, and DIAGONAL; `balance` is the quantity that is compared with that of the object before."""
    for k in range(np.uint64(1), number):
        energy = objects[ENERGY + k] * energy_scale
        before, after = objects[balance + k - np.uint64(1)], objects[balance + k]
        imbalance = (before - after) / (before + after) if before + after > 0 else 0.0
        objects[TOP + k] = energy
        objects[DIAGONAL + k] = energy if is_leading[k] else imbalance


@compiled
def compute_masses_with_met(
    ends: NDArray[np.uint64], objects: NDArray[np.float64], energy_scale: float
) -> None:
    """Fill TOP with the transverse masses of MET and each object; objects of an event end at `ends`."""
    begin = np.uint64(0)
    for event in range(len(ends)):
        met_pt, met_x, met_y = objects[PT + begin], objects[PX + begin], objects[PY + begin]
        scale = energy_scale if met_pt > 0 else 0.0
        for n in range(in_eights(ends[event] - begin)):
            k = begin + n
            square = objects[EXCESS + k] + 2 * (
                objects[ENERGY + k] * met_pt - objects[PX + k] * met_x - objects[PY + k] * met_y
            )
            objects[TOP + k] = math.sqrt(max(square, 0.0)) * scale
        begin = ends[event]


@compiled
def write_islands(
    ends: NDArray[np.uint64],
    objects: NDArray[np.float64],
    convention: Convention,
    energy_scale: float,
    begins: NDArray[np.uint64],
    cells: NDArray[np.float32],
) -> None:
    """Write the islands of a tile, one after another, and where each begins.

    Parameters
    ----------
    ends
        (events,): where the objects of each event end.
    begins
        (events + 1,), written.
    cells
        Written; needs room for seven more.
    """
    one = np.uint64(1)
    begin = np.uint64(0)
    place = np.uint64(0)
    for event in range(len(ends)):
        begins[event] = place
        width = ends[event] - begin
        for n in range(in_eights(width)):
            cells[place + n] = objects[TOP + begin + n]
        cells[place] = objects[PT + begin] * energy_scale
        for i in range(begin + one, ends[event]):
            place += width
            px, py = objects[PX + i], objects[PY + i]
            up, down = objects[UP + i], objects[DOWN + i]
            squared_mass, transverse_mass = objects[SQUARED_MASS + i], objects[TRANSVERSE_MASS + i]
            for n in range(in_eights(width - one)):
                j = begin + one + n
                twice_sinh = up * objects[DOWN + j] - down * objects[UP + j]
                angle = twice_sinh * twice_sinh / 2
                cosh_of_difference = 1 + 2 * angle * (angle + 2)
                product = (
                    transverse_mass * objects[TRANSVERSE_MASS + j] * cosh_of_difference
                    - px * objects[PX + j]
                    - py * objects[PY + j]
                )
                square = squared_mass + objects[SQUARED_MASS + j] + 2 * product
                mass = math.copysign(math.sqrt(abs(square)), square) * energy_scale
                cells[place + one + n] = angle * convention.angle_factor if j < i else mass
            cells[place] = objects[LEFT + i]
            cells[place + i - begin] = objects[DIAGONAL + i]
        begin = ends[event]
        place += width
    begins[len(ends)] = place


@compiled
def compute(
    met: NDArray[np.float64],
    met_phi: NDArray[np.float64],
    starts: tuple[NDArray[np.int64], ...],
    stops: tuple[NDArray[np.int64], ...],
    components: tuple[tuple[NDArray[Any], ...], ...],
    counts: tuple[int, ...],
    convention: Convention,
    energy_scale: float,
    matrices: NDArray[np.float32],
    island_starts: NDArray[np.int64],
) -> None:
    """Write the matrices of all events, whole or without the rows and columns of absent objects.

    Nothing is checked here; `tailshard.features.rmm` does.

    Parameters
    ----------
    met, met_phi
        (events,).
    starts, stops
        One pair of (events,) arrays a type: where the objects of each event lie in the components.
    components
        pt, eta, phi and signed mass of each type, flat; of one dtype and layout.
    counts
        Rows of each type; objects beyond are left out.
    energy_scale
        Multiplies energies and masses.
    matrices
        (events * size * size,), overwritten. For islands, one after another: as long as they take.
    island_starts
        (events + 1,): where the island of each event begins; empty for whole matrices.
    """
    as_islands = len(island_starts) > 0
    tile = ROOM // (1 + sum(counts))
    size = np.uint64(1 + sum(counts))
    whole = size * size
    at_once = np.int64(matrices_at_once(size))
    # There is room for what short loops write too much; whatever they read there, nothing of it stays.
    objects = np.empty(_QUANTITIES * _DISTANCE)
    row, is_leading = np.empty(_DISTANCE, np.uint32), np.empty(_DISTANCE, np.bool_)
    lists = np.empty((3, ROOM + 256), np.uint64)
    source, target, rank = lists[0], lists[1], lists[2]
    ends, begins = np.empty(tile, np.uint64), np.empty(tile + 1, np.uint64)
    islands = np.empty(np.uint64(tile) * whole + np.uint64(8), np.float32)
    places = np.empty(np.uint64(at_once) * whole + np.uint64(8), np.uint32)
    group = np.zeros(np.uint64(at_once) * whole, np.float32)
    for first in range(0, len(met), tile):
        last = min(first + tile, len(met))
        ends = ends[: last - first]
        ends[:] = 1
        for kind in range(len(counts)):
            count_objects(starts[kind][first:last], stops[kind][first:last], counts[kind], ends)
        number = np.uint64(0)
        for event in range(last - first):
            objects[PT + number] = met[first + event]
            objects[ETA + number] = 0
            objects[PHI + number] = met_phi[first + event]
            objects[MASS + number] = 0
            row[number] = 0
            is_leading[number] = True
            number, ends[event] = number + ends[event], number + np.uint64(1)
        first_row = 1
        for kind in range(len(counts)):
            listed = list_objects(
                starts[kind][first:last], stops[kind][first:last], counts[kind], ends, source, target, rank
            )
            gather(listed, source, target, rank, components[kind], first_row, objects, row, is_leading)
            first_row += counts[kind]
        compute_momenta(number, objects, convention.angle_factor)
        if convention.energy_is_e_sin_theta:
            compute_energies(number, objects)
            compute_energy_cells(number, objects, is_leading, ENERGY, energy_scale)
        else:
            compute_energy_cells(number, objects, is_leading, PT, energy_scale)
        if convention.transverse_mass_with_met:
            compute_masses_with_met(ends, objects, energy_scale)
        write_islands(ends, objects, convention, energy_scale, begins, islands)
        if as_islands:
            copy(matrices, np.uint64(island_starts[first]), islands, np.uint64(0), begins[len(ends)])
            continue
        begin = np.uint64(0)
        for event in range(0, len(ends), at_once):
            some = ends[event : event + at_once]
            written = find_places(row, begin, some, size, places)
            place_cells(islands, begins[event], places, written, group)
            to = np.uint64(first + event) * whole
            copy(matrices, to, group, np.uint64(0), np.uint64(len(some)) * whole)
            clear_places(places, written, group)
            begin = some[-1]
