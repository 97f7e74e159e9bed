"""Quantities that physicists cut on and plot, each with its unit and label.

A quantity is undefined (NaN) in an event that lacks the objects it is made of.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from .objects import Objects

Values = NDArray[np.float64]


class Quantity(NamedTuple):
    """Something to compute for every event."""

    unit: str
    """"GeV", "rad", or "1" for a pure number."""
    description: str
    """In plain words."""
    label: str
    """LaTeX, without the unit."""
    compute: Callable[[ak.Array, Objects], Values]
    """Canonical events and their objects -> float64, shape (events,)."""


def leading(values: ak.Array, position: int) -> Values:
    """Value of the object at `position` (0 is the leading one) of each event, NaN where there is none."""
    chosen = ak.pad_none(values, position + 1, axis=1)[:, position]
    return _doubles(ak.fill_none(chosen, np.nan))


def mass_of_leading(particles: ak.Array, number: int) -> Values:
    """Invariant mass in GeV of the `number` leading objects of each event, NaN where there are fewer.

    Signed as the mass of a single object is: two nearly parallel leptons can have a tiny negative one.
    """
    together = ak.sum(particles[:, :number], axis=1)
    return np.where(_count(particles) >= number, _doubles(together.mass), np.nan)


def transverse_mass(events: ak.Array, objects: Objects) -> Values:
    """Transverse mass in GeV of the leading lepton, taken as massless, and the missing momentum.

    m_T^2 = 2 pT(l) MET (1 - cos(phi(l) - phi(MET))), Particle Data Group, Kinematics.
    """
    pt, phi = leading(objects.leptons.pt, 0), leading(objects.leptons.phi, 0)
    met, met_phi = _doubles(events.met), _doubles(events.met_phi)
    return np.asarray(np.sqrt(2 * pt * met * (1 - np.cos(phi - met_phi))))


def _doubles(values: ak.Array) -> Values:
    return np.asarray(ak.to_numpy(values), dtype=np.float64)


def _count(particles: ak.Array) -> Values:
    return _doubles(ak.num(particles, axis=1))


def _scalar_sum_of_pt(particles: ak.Array) -> Values:
    return _doubles(ak.sum(particles.pt, axis=1))


def _effective_mass(events: ak.Array, objects: Objects) -> Values:
    return _scalar_sum_of_pt(objects.jets) + _scalar_sum_of_pt(objects.leptons) + _doubles(events.met)


def _between_leading_leptons(distance: str) -> Callable[[ak.Array, Objects], Values]:
    def compute(_events: ak.Array, objects: Objects) -> Values:
        pair = ak.pad_none(objects.leptons, 2, axis=1)
        separation = getattr(pair[:, 0], distance)(pair[:, 1])
        return _doubles(ak.fill_none(abs(separation), np.nan))

    return compute


QUANTITIES: Mapping[str, Quantity] = {
    "met": Quantity(
        "GeV",
        "missing transverse momentum",
        r"$E_\mathrm{T}^\mathrm{miss}$",
        lambda events, _objects: _doubles(events.met),
    ),
    "leading_lepton_pt": Quantity(
        "GeV",
        "transverse momentum of the leading lepton",
        r"$p_\mathrm{T}(\ell_1)$",
        lambda _events, objects: leading(objects.leptons.pt, 0),
    ),
    "leading_jet_pt": Quantity(
        "GeV",
        "transverse momentum of the leading jet",
        r"$p_\mathrm{T}(j_1)$",
        lambda _events, objects: leading(objects.jets.pt, 0),
    ),
    "m_ll": Quantity(
        "GeV",
        "invariant mass of the two leading leptons",
        r"$m_{\ell\ell}$",
        lambda _events, objects: mass_of_leading(objects.leptons, 2),
    ),
    "m_lll": Quantity(
        "GeV",
        "invariant mass of the three leading leptons",
        r"$m_{\ell\ell\ell}$",
        lambda _events, objects: mass_of_leading(objects.leptons, 3),
    ),
    "m_llll": Quantity(
        "GeV",
        "invariant mass of the four leading leptons",
        r"$m_{4\ell}$",
        lambda _events, objects: mass_of_leading(objects.leptons, 4),
    ),
    "m_t": Quantity(
        "GeV",
        "transverse mass of the leading lepton and the missing momentum",
        r"$m_\mathrm{T}(\ell_1, E_\mathrm{T}^\mathrm{miss})$",
        transverse_mass,
    ),
    "h_t": Quantity(
        "GeV",
        "scalar sum of the transverse momenta of the jets",
        r"$H_\mathrm{T}$",
        lambda _events, objects: _scalar_sum_of_pt(objects.jets),
    ),
    "m_eff": Quantity(
        "GeV",
        "effective mass: jets, leptons and missing transverse momentum",
        r"$m_\mathrm{eff}$",
        _effective_mass,
    ),
    "delta_r_ll": Quantity(
        "1",
        "angular distance of the two leading leptons",
        r"$\Delta R(\ell_1, \ell_2)$",
        _between_leading_leptons("deltaR"),
    ),
    "delta_phi_ll": Quantity(
        "rad",
        "azimuthal angle between the two leading leptons",
        r"$|\Delta\phi(\ell_1, \ell_2)|$",
        _between_leading_leptons("deltaphi"),
    ),
    "leptons": Quantity(
        "1", "number of leptons", "leptons", lambda _events, objects: _count(objects.leptons)
    ),
    "jets": Quantity("1", "number of jets", "jets", lambda _events, objects: _count(objects.jets)),
    "b_jets": Quantity("1", "number of b jets", r"$b$ jets", lambda _events, objects: _count(objects.b_jets)),
}
"""Name -> quantity. "Leading" is always by pT; m_ll, m_lll and m_llll are of the two, three and four
leading leptons of any flavour and charge; h_t sums the jets, m_eff the jets, the leptons and MET."""


def kinematics(events: ak.Array, objects: Objects) -> dict[str, NDArray[np.float32]]:
    """Compute every quantity: name -> float32, shape (events,), NaN where undefined.

    Computed in float64; only the result is rounded.
    """
    return {
        name: quantity.compute(events, objects).astype(np.float32) for name, quantity in QUANTITIES.items()
    }
