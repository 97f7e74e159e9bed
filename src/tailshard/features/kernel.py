"""The compiled kernel of the rapidity-mass matrix.

Events are taken in tiles that fit into the cache. The objects of a tile that have a row are gathered, one
vectorised pass turns them into momenta, and each event then writes the cells of its objects into zeroed
memory: a pair costs no exponential, cosine or hyperbolic cosine. With a = exp(y/4) and b = 1/a::

    h      = cosh((y_i - y_j)/2) - 1 = (a_i b_j - b_i a_j)^2 / 2          (nothing cancels for y_i ~ y_j)
    cosh(y_i - y_j) - 1              = 2 h (h + 2)
    m_ij^2 = m_i^2 + m_j^2 + 2 (mT_i mT_j cosh(y_i - y_j) - pT_i . pT_j)  (PDG, review of kinematics)

Cosines, sines and exponentials are Taylor series in reduced arguments: they vectorise, and since only
correctly rounded operations (+ - * / sqrt) remain, the bits of a matrix do not depend on the mathematics
library of a machine. They agree with it to 2e-14.

Everything inside is float64. Indices are unsigned, which spares numba the test for negative ones.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .conventions import Convention

MAXIMUM_ENERGY = 1e12
"""GeV. pT, MET and absolute masses above it count as this much, so that no cell overflows float32."""
MAXIMUM_ABS_ETA = 20.0
"""Larger pseudorapidities count as this one; a proton of the LHC has a rapidity below 10."""

TILE = 128
"""Events worked on at once: their momenta stay in the first levels of cache."""

_ONE_TURN = 2 * math.pi
# Taylor coefficients, highest power first.
_SINE = tuple((-1) ** (n // 2) / math.factorial(n) for n in range(17, 0, -2))
_COSINE = tuple((-1) ** (n // 2) / math.factorial(n) for n in range(16, -1, -2))
_EXPONENTIAL = tuple(1 / math.factorial(n) for n in range(12, -1, -1))

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile at the first call, keep the machine code on disk, run without the GIL, divide as IEEE does."""
    return cast(Function, njit(cache=True, nogil=True, error_model="numpy")(function))


class Momenta(NamedTuple):
    """The objects of a tile; float64, GeV."""

    px: NDArray[np.float64]
    py: NDArray[np.float64]
    squared_mass: NDArray[np.float64]
    transverse_mass: NDArray[np.float64]
    """sqrt(m^2 + pT^2), the energy in the frame where the object has no longitudinal momentum."""
    energy: NDArray[np.float64]
    """The convention's transverse energy."""
    excess: NDArray[np.float64]
    """energy^2 - pT^2, without its cancellation."""
    balance: NDArray[np.float64]
    """What the diagonal compares between neighbours of one type."""
    up: NDArray[np.float64]
    """exp(y/4)"""
    down: NDArray[np.float64]
    """exp(-y/4)"""


@compiled
def polynomial(coefficients: tuple[float, ...], x: float) -> float:
    """Value of a polynomial, coefficients of the highest power first."""
    total = 0.0
    for coefficient in coefficients:
        total = total * x + coefficient
    return total


@compiled
def cosine_and_sine(phi: float) -> tuple[float, float]:
    """Cosine and sine of any finite angle, from those of a quarter of it."""
    turn = phi - _ONE_TURN * math.floor(phi / _ONE_TURN + 0.5)
    # Angles beyond 1e15 have lost their meaning in float64; the limit keeps them finite.
    quarter = min(max(turn, -math.pi), math.pi) / 4
    square = quarter * quarter
    sine = quarter * polynomial(_SINE, square)
    cosine_of_half = 1 - 2 * sine * sine
    sine_of_half = 2 * sine * polynomial(_COSINE, square)
    return 1 - 2 * sine_of_half * sine_of_half, 2 * sine_of_half * cosine_of_half


@compiled
def exponential(x: float) -> float:
    """exp(x) for 0 <= x <= MAXIMUM_ABS_ETA, as exp(x/64)^64."""
    power = polynomial(_EXPONENTIAL, x / 64)
    for _ in range(6):
        power *= power
    return power


@compiled
def limited(value: float, lowest: float, highest: float) -> float:
    """Nearest value that is allowed."""
    return min(max(value, lowest), highest)


@compiled
def gather(
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    components: tuple[NDArray[Any], ...],
    first_row: int,
    count: int,
    cursor: NDArray[np.uint64],
    objects: tuple[NDArray[np.float64], ...],
    row: NDArray[np.uint64],
    is_leading: NDArray[np.bool_],
) -> None:
    """Copy one type's objects that have a row to each event's cursor, and move the cursors on."""
    pt, eta, phi, mass = components
    to_pt, to_eta, to_phi, to_mass = objects
    one = np.uint64(1)
    for event in range(len(starts)):
        source = np.uint64(starts[event])
        target = cursor[event]
        end = target + np.uint64(min(stops[event] - starts[event], count))
        its_row = np.uint64(first_row)
        while target < end:
            to_pt[target] = pt[source]
            to_eta[target] = eta[source]
            to_phi[target] = phi[source]
            to_mass[target] = mass[source]
            row[target] = its_row
            is_leading[target] = its_row == first_row
            source += one
            target += one
            its_row += one
        cursor[event] = target


@compiled
def compute_momenta(
    number: int, objects: tuple[NDArray[np.float64], ...], convention: Convention, momenta: Momenta
) -> None:
    """Turn the first `number` of the gathered objects into momenta."""
    for k in range(number):
        pt = limited(objects[0][k], 0.0, MAXIMUM_ENERGY)
        eta = limited(objects[1][k], -MAXIMUM_ABS_ETA, MAXIMUM_ABS_ETA)
        mass = limited(objects[3][k], -MAXIMUM_ENERGY, MAXIMUM_ENERGY)
        cosine, sine = cosine_and_sine(objects[2][k])
        growth = exponential(abs(eta))
        cosh_eta = (growth + 1 / growth) / 2
        abs_pz = pt * (growth - 1 / growth) / 2
        squared_mass = mass * abs(mass)
        squared_transverse_mass = pt * pt + squared_mass
        # E <= |pz| leaves no rapidity; such an object counts as massless.
        has_rapidity = squared_transverse_mass > 0
        squared_mass = squared_mass if has_rapidity else 0.0
        transverse_mass = math.sqrt(squared_transverse_mass) if has_rapidity else pt
        energy = math.sqrt(max(squared_transverse_mass, 0.0) + abs_pz * abs_pz)
        exp_abs_y = (energy + abs_pz) / transverse_mass if has_rapidity else growth
        larger = math.sqrt(math.sqrt(exp_abs_y))
        smaller = 1 / larger
        momenta.px[k] = pt * cosine
        momenta.py[k] = pt * sine
        momenta.squared_mass[k] = squared_mass
        momenta.transverse_mass[k] = transverse_mass
        momenta.up[k] = larger if eta >= 0 else smaller
        momenta.down[k] = smaller if eta >= 0 else larger
        if convention.energy_is_e_sin_theta:
            momenta.excess[k] = squared_mass / (cosh_eta * cosh_eta)
            momenta.energy[k] = math.sqrt(pt * pt + momenta.excess[k])
            momenta.balance[k] = momenta.energy[k]
        else:
            momenta.excess[k] = squared_mass
            momenta.energy[k] = transverse_mass
            momenta.balance[k] = pt


@compiled
def write_event(
    matrix: NDArray[np.float32],
    size: int,
    met: tuple[float, float, float],
    objects: tuple[int, int],
    row: NDArray[np.uint64],
    is_leading: NDArray[np.bool_],
    momenta: Momenta,
    convention: Convention,
    energy_scale: float,
) -> None:
    """Write the matrix of one event.

    `matrix` is flat, with rows of `size` cells; `met` is its magnitude, x and y; `objects` are the event's
    first object and the one after its last; `row` tells the row of each object and `is_leading` whether
    it is the first of its type.
    """
    one = np.uint64(1)
    stride = np.uint64(size)
    matrix[:] = 0
    met_pt, met_x, met_y = met
    matrix[0] = met_pt * energy_scale
    begin = np.uint64(objects[0])
    for i in range(begin, np.uint64(objects[1])):
        row_i = row[i]
        px, py, squared_mass = momenta.px[i], momenta.py[i], momenta.squared_mass[i]
        transverse_mass, up, down = momenta.transverse_mass[i], momenta.up[i], momenta.down[i]
        energy, balance = momenta.energy[i], momenta.balance[i]
        if not convention.transverse_mass_with_met:
            matrix[row_i] = energy * energy_scale
        elif met_pt > 0:
            square = momenta.excess[i] + 2 * (energy * met_pt - px * met_x - py * met_y)
            matrix[row_i] = math.sqrt(max(square, 0.0)) * energy_scale
        twice_sinh = up * up - down * down
        matrix[row_i * stride] = twice_sinh * twice_sinh / 2 * convention.angle_factor
        if is_leading[i]:
            matrix[row_i * stride + row_i] = energy * energy_scale
        else:
            before = momenta.balance[i - one]
            if before + balance > 0:
                matrix[row_i * stride + row_i] = (before - balance) / (before + balance)
        for j in range(begin, i):
            row_j = row[j]
            twice_sinh = up * momenta.down[j] - down * momenta.up[j]
            angle = twice_sinh * twice_sinh / 2
            cosh_of_difference = 1 + 2 * angle * (angle + 2)
            square = (
                squared_mass
                + momenta.squared_mass[j]
                + 2
                * (
                    transverse_mass * momenta.transverse_mass[j] * cosh_of_difference
                    - px * momenta.px[j]
                    - py * momenta.py[j]
                )
            )
            matrix[row_i * stride + row_j] = angle * convention.angle_factor
            matrix[row_j * stride + row_i] = math.copysign(math.sqrt(abs(square)), square) * energy_scale


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
    size = 1 + sum(counts)
    cells = size * size
    capacity = TILE * (size - 1)
    row = np.empty(capacity, np.uint64)
    is_leading = np.empty(capacity, np.bool_)
    gathered = np.empty((4, capacity))
    objects = (gathered[0], gathered[1], gathered[2], gathered[3])
    made = np.empty((9, capacity))
    momenta = Momenta(made[0], made[1], made[2], made[3], made[4], made[5], made[6], made[7], made[8])
    cursor = np.empty(TILE, np.uint64)
    for first in range(0, len(met), TILE):
        last = min(first + TILE, len(met))
        number = 0
        for event in range(first, last):
            cursor[event - first] = number
            for block in range(len(counts)):
                number += min(stops[block][event] - starts[block][event], counts[block])
        first_row = 1
        for block in range(len(counts)):
            gather(
                starts[block][first:last],
                stops[block][first:last],
                components[block],
                first_row,
                counts[block],
                cursor,
                objects,
                row,
                is_leading,
            )
            first_row += counts[block]
        compute_momenta(number, objects, convention, momenta)
        begin: Any = np.uint64(0)
        for event in range(first, last):
            met_pt = limited(met[event], 0.0, MAXIMUM_ENERGY)
            cosine, sine = cosine_and_sine(met_phi[event])
            end = cursor[event - first]
            if as_islands:
                for k in range(begin, end):
                    row[k] = k - begin + np.uint64(1)
                width = int(end - begin) + 1
                start, stop = island_starts[event], island_starts[event + 1]
            else:
                width = size
                start, stop = event * cells, (event + 1) * cells
            write_event(
                matrices[start:stop],
                width,
                (met_pt, met_pt * cosine, met_pt * sine),
                (begin, end),
                row,
                is_leading,
                momenta,
                convention,
                energy_scale,
            )
            begin = end
