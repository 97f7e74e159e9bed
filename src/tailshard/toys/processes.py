"""Toy collisions: four processes and their kinematics.

======================  ==========================================================================
zjets                   Z to ee or mumu recoiling against jets; one weight in ten is negative
ttbar                   top pairs, both W to leptons
diboson                 WW to 2l 2nu, WZ to 3l nu, ZZ to 2l 2nu
resonance               the signal: X(1500) to YY; each Y(650) goes in steps to b, q, a W that decays
                        to a lepton, and a stable invisible N(100)
======================  ==========================================================================

What they are: relativistic kinematics with momentum conserved, resonances of the right mass and width,
falling spectra, two-body decays that are isotropic in the rest frame.

What they are not: there are no matrix elements, no spin correlations, no tau leptons and no fakes, and
the cross-sections are round numbers of the size of the real ones. No physics follows from them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Integers = NDArray[np.int32]
Mask = NDArray[np.bool_]
Momenta = NDArray[np.float64]
"""(..., 4): px, py, pz, energy in GeV."""


class Collisions(NamedTuple):
    """What leaves n collisions; a particle that is absent has zero momentum."""

    leptons: Momenta
    """(n, leptons, 4)"""
    flavour: Integers
    """(n, leptons): 11 or 13"""
    charge: Integers
    partons: Momenta
    """(n, partons, 4)"""
    is_b: Mask
    invisible: Momenta
    """(n, 4)"""


# -- kinematics ----------------------------------------------------------------------------------------


def four_momenta(pt: Numbers, rapidity: Numbers, phi: Numbers, mass: Numbers) -> Momenta:
    """Make momenta (..., 4) from arrays of one shape."""
    transverse_mass = np.hypot(pt, mass)
    return np.stack(
        (
            pt * np.cos(phi),
            pt * np.sin(phi),
            transverse_mass * np.sinh(rapidity),
            transverse_mass * np.cosh(rapidity),
        ),
        axis=-1,
    )


def transverse_momentum(momenta: Momenta) -> Numbers:
    """Give pT in GeV."""
    return np.hypot(momenta[..., 0], momenta[..., 1])


def pseudorapidity(momenta: Momenta) -> Numbers:
    """Give eta; 0 for an absent particle."""
    return np.arcsinh(momenta[..., 2] / np.maximum(transverse_momentum(momenta), 1e-9))


def azimuth(momenta: Momenta) -> Numbers:
    """Give phi in radians."""
    return np.arctan2(momenta[..., 1], momenta[..., 0])


def _angle(rng: Generator, shape: tuple[int, ...]) -> Numbers:
    return rng.uniform(-np.pi, np.pi, shape)


def _either(rng: Generator, one: int, other: int, events: int) -> Integers:
    return rng.choice(np.array([one, other], dtype=np.int32), events)


def _mass(rng: Generator, events: int, peak: float, width: float) -> Numbers:
    """Breit-Wigner, cut off where its tails stop being physics."""
    return np.clip(peak + 0.5 * width * rng.standard_cauchy(events), 0.6 * peak, 1.4 * peak)


def decay(
    rng: Generator, parent: Momenta, mass_1: Numbers | float, mass_2: Numbers | float
) -> tuple[Momenta, Momenta]:
    """Decay to two bodies, isotropic in the rest frame of the parent; all (n, 4)."""
    mass = np.sqrt(parent[:, 3] ** 2 - (parent[:, :3] ** 2).sum(axis=-1))
    allowed = (mass**2 - (mass_1 + mass_2) ** 2) * (mass**2 - (mass_1 - mass_2) ** 2)
    momentum = np.sqrt(np.maximum(allowed, 0)) / (2 * mass)
    at_rest = four_momenta(momentum, np.zeros(len(parent)), _angle(rng, (len(parent),)), np.asarray(mass_1))
    cosine = rng.uniform(-1, 1, len(parent))
    at_rest[:, :2] *= np.sqrt(1 - cosine**2)[:, None]
    at_rest[:, 2] = momentum * cosine
    # Boost to the laboratory.
    velocity = parent[:, :3] / parent[:, 3:]
    gamma = parent[:, 3] / mass
    along = (at_rest[:, :3] * velocity).sum(axis=-1)
    push = gamma**2 / (gamma + 1) * along + gamma * at_rest[:, 3]
    first = np.empty_like(parent)
    first[:, :3] = at_rest[:, :3] + push[:, None] * velocity
    first[:, 3] = gamma * (at_rest[:, 3] + along)
    return first, parent - first


# -- processes -----------------------------------------------------------------------------------------


def _radiation(rng: Generator, events: int, mean: float) -> Momenta:
    """Jets that accompany a process: up to six, (n, 6, 4); dN/dpT falls as the power -3.8."""
    shape = (events, 6)
    pt = np.minimum(18 / rng.power(2.8, shape), 1500)
    present = np.arange(6) < rng.poisson(mean, events)[:, None]
    return four_momenta(pt, rng.normal(0, 1.6, shape), _angle(rng, shape), 0.1 * pt) * present[..., None]


def _recoil(rng: Generator, radiation: Momenta, mass: Numbers, spread: float) -> Momenta:
    """Make a system of this mass balance the radiation, with some soft momentum of its own."""
    kick = rng.normal(0, 6, (len(mass), 2)) - radiation[..., :2].sum(axis=1)
    return four_momenta(transverse_momentum(kick), rng.normal(0, spread, len(mass)), azimuth(kick), mass)


def _collisions(
    leptons: list[tuple[Momenta, Integers, Integers]], partons: list[Momenta], is_b: Mask, invisible: Momenta
) -> Collisions:
    momenta, flavour, charge = (np.stack(column, axis=1) for column in zip(*leptons, strict=True))
    return Collisions(momenta, flavour, charge, np.stack(partons, axis=1), is_b, invisible)


def _zjets(rng: Generator, events: int) -> Collisions:
    radiation = _radiation(rng, events, 2.4)
    first, second = decay(rng, _recoil(rng, radiation, _mass(rng, events, 91.19, 2.5), 1.1), 0, 0)
    flavour, charge = _either(rng, 11, 13, events), _either(rng, -1, 1, events)
    return _collisions(
        [(first, flavour, charge), (second, flavour, -charge)],
        list(radiation.swapaxes(0, 1)),
        rng.random((events, 6)) < 0.04,
        np.zeros((events, 4)),
    )


def _ttbar(rng: Generator, events: int) -> Collisions:
    radiation = _radiation(rng, events, 1.2)
    masses = _mass(rng, events, 172.5, 1.4), _mass(rng, events, 172.5, 1.4)
    system = _recoil(rng, radiation, masses[0] + masses[1] + rng.gamma(1.4, 85, events), 0.9)
    leptons, partons, invisible = [], [], np.zeros((events, 4))
    charge = _either(rng, -1, 1, events)
    for sign, top in zip((1, -1), decay(rng, system, *masses), strict=True):
        w, bottom = decay(rng, top, _mass(rng, events, 80.4, 2.1), 4.7)
        lepton, neutrino = decay(rng, w, 0, 0)
        leptons.append((lepton, _either(rng, 11, 13, events), sign * charge))
        partons.append(bottom)
        invisible += neutrino
    is_b = np.concatenate((np.ones((events, 2), bool), rng.random((events, 6)) < 0.03), axis=1)
    return _collisions(leptons, [*partons, *radiation.swapaxes(0, 1)], is_b, invisible)


def _diboson(rng: Generator, events: int) -> Collisions:
    radiation = _radiation(rng, events, 2.4)
    kind = rng.choice(3, events, p=(0.60, 0.25, 0.15))
    is_zz = kind == 2
    is_z = is_zz, kind >= 1  # WW, WZ, ZZ
    masses = [np.where(z, _mass(rng, events, 91.19, 2.5), _mass(rng, events, 80.4, 2.1)) for z in is_z]
    system = _recoil(rng, radiation, masses[0] + masses[1] + rng.gamma(1.3, 70, events), 1.1)
    leptons, invisible = [], np.zeros((events, 4))
    charge = _either(rng, -1, 1, events)
    for boson, z, to_neutrinos, sign in zip(
        decay(rng, system, *masses), is_z, (is_zz, np.zeros_like(is_zz)), (1, -1), strict=True
    ):
        flavour = _either(rng, 11, 13, events)
        charged, other = decay(rng, boson, 0, 0)
        # A W gives one charged lepton, a Z two or none.
        for daughter, seen, its_sign in ((charged, ~to_neutrinos, sign), (other, z & ~to_neutrinos, -sign)):
            leptons.append((daughter * seen[:, None], flavour, its_sign * charge))
            invisible += daughter * ~seen[:, None]
    return _collisions(leptons, list(radiation.swapaxes(0, 1)), rng.random((events, 6)) < 0.03, invisible)


def _resonance(rng: Generator, events: int) -> Collisions:
    radiation = _radiation(rng, events, 1.5)
    system = _recoil(rng, radiation, _mass(rng, events, 1500, 40), 0.6)
    leptons, partons, invisible = [], [], np.zeros((events, 4))
    charge = _either(rng, -1, 1, events)
    for sign, heavy in zip((1, -1), decay(rng, system, 650, 650), strict=True):
        middle, bottom = decay(rng, heavy, 500, 4.7)
        light, quark = decay(rng, middle, 300, 0)
        w, stable = decay(rng, light, _mass(rng, events, 80.4, 2.1), 100)
        lepton, neutrino = decay(rng, w, 0, 0)
        leptons.append((lepton, _either(rng, 11, 13, events), sign * charge))
        partons += [bottom, quark]
        invisible += stable + neutrino
    is_b = np.zeros((events, 10), bool)
    is_b[:, [0, 2]] = True
    return _collisions(leptons, [*partons, *radiation.swapaxes(0, 1)], is_b, invisible)


@dataclass(frozen=True)
class Process:
    """A process and its normalisation."""

    name: str
    channel: int
    generate: Callable[[Generator, int], Collisions]
    cross_section: float
    """pb, before k-factor and filter efficiency."""
    k_factor: float
    filter_efficiency: float
    """Branching fraction to electrons and muons; for zjets a filter on jets too."""
    in_skim: float
    """About which share of the events passes the skim; decides only how many are generated."""
    weight: float = 1.0
    """Size of every generator weight."""
    negative: int = 0
    """One generator weight in so many is negative; 0 for none."""

    @property
    def total_cross_section(self) -> float:
        """pb, all included."""
        return self.cross_section * self.k_factor * self.filter_efficiency

    def weights(self, numbers: NDArray[np.int64]) -> Numbers:
        """Give the generator weights of the events with these numbers."""
        signs = np.where(numbers % self.negative == 0, -1.0, 1.0) if self.negative else np.ones(len(numbers))
        return self.weight * signs

    def sum_of_weights(self, generated: int) -> float:
        """Add the generator weights of the events 0 to `generated`."""
        return self.weight * (generated - (2 * -(-generated // self.negative) if self.negative else 0))


ZJETS = Process("zjets", 999001, _zjets, 2000.0, 1.15, 0.18, 0.067, weight=1.5, negative=10)
TTBAR = Process("ttbar", 999002, _ttbar, 730.0, 1.14, 0.045, 0.56)
DIBOSON = Process("diboson", 999003, _diboson, 180.0, 1.2, 0.045, 0.30)
RESONANCE = Process("resonance", 999004, _resonance, 0.4, 1.1, 1.0, 0.71)
