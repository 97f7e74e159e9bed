"""The rapidity-mass matrix in plain Python: slow, easy to read; tests hold the kernel to it."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .blocks import Block, check_blocks, first_rows
from .conventions import Convention, convention_scales
from .kernel import MAXIMUM_ABS_ETA, MAXIMUM_ENERGY


class Particle(NamedTuple):
    """An object of an event."""

    row: int
    leading: bool
    px: float
    py: float
    squared_mass: float
    transverse_mass: float
    energy: float
    """The convention's transverse energy."""
    balance: float
    """What the diagonal compares."""
    y: float


def particles(
    event: int, blocks: Sequence[Block], counts: Sequence[int], convention: Convention
) -> Iterator[Particle]:
    """Give the objects of an event that have a row, by row."""
    for block, first_row, count in zip(blocks, first_rows(counts), counts, strict=True):
        start, stop = int(block.offsets[event]), int(block.offsets[event + 1])
        for k in range(start, min(stop, start + count)):
            pt = min(max(float(block.pt[k]), 0.0), MAXIMUM_ENERGY)
            eta = min(max(float(block.eta[k]), -MAXIMUM_ABS_ETA), MAXIMUM_ABS_ETA)
            mass = min(max(float(block.mass[k]), -MAXIMUM_ENERGY), MAXIMUM_ENERGY)
            phi = float(block.phi[k])
            squared_mass = mass * abs(mass)
            if pt * pt + squared_mass > 0:
                transverse_mass = math.sqrt(pt * pt + squared_mass)
                y = math.asinh(pt * math.sinh(eta) / transverse_mass)
            else:
                squared_mass, transverse_mass, y = 0.0, pt, eta
            if convention.energy_is_e_sin_theta:
                energy = balance = transverse_mass * math.cosh(y) / math.cosh(eta)
            else:
                energy, balance = transverse_mass, pt
            yield Particle(
                first_row + k - start,
                k == start,
                pt * math.cos(phi),
                pt * math.sin(phi),
                squared_mass,
                transverse_mass,
                energy,
                balance,
                y,
            )


def rmm_reference(
    met: NDArray[Any],
    met_phi: NDArray[Any],
    blocks: Sequence[Block],
    counts: Sequence[int],
    convention: str = "chekanov",
    center_of_mass_energy: float = 13000.0,
) -> NDArray[np.float64]:
    """Compute what `tailshard.features.rmm.rmm` computes, in float64; the same parameters and errors."""
    check_blocks(len(met), blocks, counts)
    rules, energy_scale = convention_scales(convention, center_of_mass_energy)
    size = 1 + sum(counts)
    matrices = np.zeros((len(met), size, size))
    for event, matrix in enumerate(matrices):
        missing = min(max(float(met[event]), 0.0), MAXIMUM_ENERGY)
        missing_x = missing * math.cos(met_phi[event])
        missing_y = missing * math.sin(met_phi[event])
        matrix[0, 0] = missing * energy_scale
        above: list[Particle] = []
        for this in particles(event, blocks, counts, rules):
            if not rules.transverse_mass_with_met:
                matrix[0, this.row] = this.transverse_mass * energy_scale
            elif missing > 0:
                square = (
                    (this.energy + missing) ** 2 - (this.px + missing_x) ** 2 - (this.py + missing_y) ** 2
                )
                matrix[0, this.row] = math.sqrt(max(square, 0.0)) * energy_scale
            matrix[this.row, 0] = rules.angle_factor * (math.cosh(this.y) - 1)
            if this.leading:
                matrix[this.row, this.row] = this.energy * energy_scale
            elif above[-1].balance + this.balance > 0:
                matrix[this.row, this.row] = (above[-1].balance - this.balance) / (
                    above[-1].balance + this.balance
                )
            for other in above:
                product = this.transverse_mass * other.transverse_mass * math.cosh(this.y - other.y)
                square = (
                    this.squared_mass
                    + other.squared_mass
                    + 2 * (product - this.px * other.px - this.py * other.py)
                )
                matrix[other.row, this.row] = math.copysign(math.sqrt(abs(square)), square) * energy_scale
                matrix[this.row, other.row] = rules.angle_factor * (math.cosh((this.y - other.y) / 2) - 1)
            above.append(this)
    return matrices
