"""Canonical events -> electrons, muons, light jets and b jets: selected, ordered by pT, in GeV."""

from typing import NamedTuple

import awkward as ak
import numpy as np
from vector.backends.awkward import behavior

from ..chains import ELECTRON, MUON
from ..cuts import JetCuts, LeptonCuts, Selection
from ..errors import ConfigError

# Jets that pile-up can make: soft, and in the acceptance of the tracker that tells their vertex.
_JVT_PT_BELOW = 60.0
_JVT_ABS_ETA_BELOW = 2.4

MATCHED = "matched_"
"""A lepton's field ``matched_<chain>`` tells whether it fired a leg of that chain."""


class Objects(NamedTuple):
    """Selected objects of a batch of events, one list for each event.

    Every list is in falling order of pT; objects of equal pT keep the order of the file. All are
    `vector` momenta with float64 fields pt, eta, phi, mass (GeV, rad); `mass` is signed, see
    `select_objects`. Leptons also have flavour (11 or 13), charge, and trigger_matched and the matches of
    trigger chains where the canonical events have them.
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
    neither: light is whatever is not tagged at the working point, or lies outside the acceptance of
    b-tagging. A field that no cut asks for is not touched, so canonical events need not hold it.

    The mass follows from the stored energy, m2 = E^2 - p^2, and is ``sign(m2) * sqrt(abs(m2))`` as in
    ROOT: energies stored as float32 leave a light particle's m2 on either side of zero, and the sign
    keeps the stored energy recoverable.

    Parameters
    ----------
    events
        Canonical events of a dialect, shape (events,).
    selection
        Its cuts on leptons and jets are used.
    b_tag_threshold
        Smallest ``b_tag`` of a b jet, from `Dialect.b_tag_threshold`.
    """
    leptons = events.leptons
    passing = _passing_flavours(leptons, selection.electrons, selection.muons)
    if selection.baseline_electrons is not None:
        passing = passing & _passing_baseline(leptons, selection)
    leptons = _by_falling_pt(leptons[passing & _surviving(leptons, selection)])
    matches = [name for name in leptons.fields if name.startswith(MATCHED)]
    has_match = ["trigger_matched"] if "trigger_matched" in leptons.fields else []
    leptons = _momenta(leptons, ("flavour", "charge", *has_match, *matches))

    jets = events.jets
    jets = _by_falling_pt(jets[_passing_jets(jets, selection.jets) & _surviving(jets, selection)])
    is_b_jet = (jets.b_tag >= b_tag_threshold) & (abs(jets.eta) <= selection.jets.maximum_abs_eta_b_tag)
    jets = _momenta(jets)

    return Objects(
        electrons=leptons[leptons.flavour == ELECTRON],
        muons=leptons[leptons.flavour == MUON],
        light_jets=jets[~is_b_jet],
        b_jets=jets[is_b_jet],
        leptons=leptons,
        jets=jets,
    )


def count_baseline_leptons(events: ak.Array, selection: Selection) -> ak.Array:
    """Count the leptons of each event that pass the baseline cuts and survive the removal of overlaps."""
    leptons = events.leptons
    return ak.sum(_passing_baseline(leptons, selection) & _surviving(leptons, selection), axis=1)


def _passing_baseline(leptons: ak.Array, selection: Selection) -> ak.Array:
    electrons, muons = selection.baseline_electrons, selection.baseline_muons
    if electrons is None or muons is None:
        raise ConfigError(
            "a cut counts baseline leptons, but selection.baseline_electrons and baseline_muons do not "
            "say what they are"
        )
    return _passing_flavours(leptons, electrons, muons)


def _passing_flavours(leptons: ak.Array, electrons: LeptonCuts, muons: LeptonCuts) -> ak.Array:
    is_electron = leptons.flavour == ELECTRON
    is_muon = leptons.flavour == MUON
    return (is_electron & _passing_leptons(leptons, electrons)) | (is_muon & _passing_leptons(leptons, muons))


def _surviving(particles: ak.Array, selection: Selection) -> ak.Array:
    if selection.overlap_removal and "passes_overlap" in particles.fields:
        return particles.passes_overlap
    return ak.ones_like(particles.pt, dtype=np.bool_)


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
        passing = passing & _from_the_vertex(jets, cuts)
    return passing


def _from_the_vertex(jets: ak.Array, cuts: JetCuts) -> ak.Array:
    if cuts.minimum_jvt is None:
        return jets.passes_vertex
    in_doubt = (jets.pt < _JVT_PT_BELOW) & (abs(jets.eta) < _JVT_ABS_ETA_BELOW)
    return ~in_doubt | (jets.jvt >= cuts.minimum_jvt)


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
