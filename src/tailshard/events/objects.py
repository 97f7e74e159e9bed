"""Canonical events -> electrons, muons, light jets and b jets: selected, ordered by pT, in GeV."""

from typing import NamedTuple

import awkward as ak
import numpy as np
from vector.backends.awkward import behavior

from ..cuts import JetCuts, LeptonCuts, Selection

ELECTRON = 11
MUON = 13


class Objects(NamedTuple):
    """Selected objects of a batch of events, one list for each event.

    Every list is in falling order of pT; objects of equal pT keep the order of the file. All are
    `vector` momenta with float64 fields pt, eta, phi, mass (GeV, rad); `mass` is signed, see
    `select_objects`. Leptons also have flavour (11 or 13), charge and trigger_matched.
    """

    electrons: ak.Array
    muons: ak.Array
    light_jets: ak.Array
    b_jets: ak.Array
    leptons: ak.Array
    """Electrons and muons together."""
    jets: ak.Array
    """Light and b jets together."""


def select_objects(events: ak.Array, selection: Selection, b_tag_threshold: float) -> Objects:
    """Keep the leptons and jets that pass the cuts of `selection`, order them, and split them by type.

    Objects at a threshold pass. A selected jet is a b jet or a light jet, never both and never
    neither. A field that no cut asks for is not touched, so canonical events need not hold it.

    The mass follows from the stored energy, m2 = E^2 - p^2, and is ``sign(m2) * sqrt(abs(m2))`` as in
    ROOT: energies stored as float32 leave a light particle's m2 on either side of zero, and the sign
    keeps the stored energy recoverable.

    Parameters
    ----------
    events
        Canonical events of a dialect, shape (events,).
    selection
        Its `electrons`, `muons` and `jets` are used.
    b_tag_threshold
        Smallest ``b_tag`` of a b jet, from `Dialect.b_tag_threshold`.
    """
    leptons = events.leptons
    is_electron = leptons.flavour == ELECTRON
    is_muon = leptons.flavour == MUON
    leptons = leptons[
        (is_electron & _passing_leptons(leptons, selection.electrons))
        | (is_muon & _passing_leptons(leptons, selection.muons))
    ]
    leptons = _momenta(_by_falling_pt(leptons), ("flavour", "charge", "trigger_matched"))

    jets = _by_falling_pt(events.jets[_passing_jets(events.jets, selection.jets)])
    is_b_jet = jets.b_tag >= b_tag_threshold
    jets = _momenta(jets)

    return Objects(
        electrons=leptons[leptons.flavour == ELECTRON],
        muons=leptons[leptons.flavour == MUON],
        light_jets=jets[~is_b_jet],
        b_jets=jets[is_b_jet],
        leptons=leptons,
        jets=jets,
    )


def _passing_leptons(leptons: ak.Array, cuts: LeptonCuts) -> ak.Array:
    passing = (leptons.pt >= cuts.minimum_pt) & (abs(leptons.eta) <= cuts.maximum_abs_eta)
    if cuts.identification != "none":
        passing = passing & leptons[cuts.identification]
    if cuts.isolation != "none":
        passing = passing & leptons[f"isolated_{cuts.isolation}"]
    if cuts.maximum_abs_d0_significance is not None:
        passing = passing & (abs(leptons.d0_significance) <= cuts.maximum_abs_d0_significance)
    if cuts.maximum_abs_z0_sin_theta is not None:
        sine_of_theta = 1 / np.cosh(leptons.eta)
        passing = passing & (abs(leptons.z0 * sine_of_theta) <= cuts.maximum_abs_z0_sin_theta)
    return passing


def _passing_jets(jets: ak.Array, cuts: JetCuts) -> ak.Array:
    passing = (jets.pt >= cuts.minimum_pt) & (abs(jets.eta) <= cuts.maximum_abs_eta)
    if cuts.pile_up_rejection:
        passing = passing & jets.passes_vertex
    return passing


def _by_falling_pt(particles: ak.Array) -> ak.Array:
    return particles[ak.argsort(particles.pt, ascending=False, stable=True)]


def _momenta(particles: ak.Array, extra_fields: tuple[str, ...] = ()) -> ak.Array:
    momentum = particles.pt * np.cosh(particles.eta)
    mass_squared = (particles.energy - momentum) * (particles.energy + momentum)
    fields = {
        "pt": particles.pt,
        "eta": particles.eta,
        "phi": particles.phi,
        "mass": np.sign(mass_squared) * np.sqrt(abs(mass_squared)),
    }
    fields |= {field: particles[field] for field in extra_fields}
    return ak.zip(fields, with_name="Momentum4D", behavior=behavior)
