"""The ntuples of the ATLAS SUSY group that S. Frette's thesis (Oslo, 2023) was made with.

Branches, units and formulas are those that the code of the thesis reads (Gadangadang/MasterThesis on
GitHub). Energies are in GeV, except the mass of the Z boson, which is in MeV.

Weights. ``genWeight`` is the cross-section (k-factor and filter efficiency included) over the sum of
generator weights of the sample in one campaign, so that::

    genWeight [pb] * eventWeight * luminosity of the campaign [pb^-1] * scale factors

counts collision events. Some productions wrote another unit than pb: `Dataset.cross_section_unit` says
so in the pipeline, where everybody can see it.

Scale factors. leptonWeight and pileupWeight always; jvtWeight with the decision on pile-up jets;
bTagWeight at the 77 % working point, the one of the thesis's matrices; globalDiLepTrigSF where dilepton
chains are asked for, and only there.

JVT. Jets below 60 GeV and within |eta| of 2.4 must reach 0.91, the threshold of the thesis, which keeps
those *below* it by mistake. `selection.jets.minimum_jvt` sets another.

b-tags. DL1r: 85 % at 0.665 and 77 % at 2.195; a selected jet below the threshold in use is light.

Overlaps. ``lepPassOR`` and ``jetPassOR`` are the flags of the group's own removal; the thesis forgot
the second.

Years. ``RandomRunNumber`` is the run of data whose pile-up a simulated event was given.
"""

import awkward as ak
import numpy as np

from .canonical import Dialect
from .columns import Column, double, flag, identity, integer, number, passes_vertex

_MEV = 1e-3


def _four_momentum(prefix: str) -> dict[str, Column]:
    return {
        "pt": number(f"{prefix}Pt"),
        "eta": number(f"{prefix}Eta"),
        "phi": number(f"{prefix}Phi"),
        "energy": Column((f"{prefix}Pt", f"{prefix}Eta", f"{prefix}M"), _energy),
    }


def _energy(pt: ak.Array, eta: ak.Array, mass: ak.Array) -> ak.Array:
    momentum = double(pt) * np.cosh(double(eta))
    return np.sqrt(momentum**2 + double(mass) ** 2)


SUSY_SKIM = Dialect(
    name="susy-skim",
    tree="*_NoSys",
    # mc16a, mc16d and mc16e.
    simulation_runs=frozenset({284500, 300000, 310000}),
    event={
        "met": number("met_Et"),
        "met_phi": number("met_Phi"),
        "run": identity("RunNumber"),
        "event": identity("EventNumber"),
    },
    leptons={
        **_four_momentum("lep"),
        # 1 is an electron, 2 a muon.
        "flavour": Column(("lepFlavor",), lambda flavour: ak.values_astype(9 + 2 * flavour, np.int32)),
        "charge": integer("lepCharge"),
        "loose": flag("lepLoose"),
        "tight": flag("lepTight"),
        "isolated_loose": flag("lepIsoLoose_VarRad"),
        "d0_significance": number("lepD0Sig"),
        "z0": Column(
            ("lepZ0SinTheta", "lepEta"), lambda z0_sine, eta: double(z0_sine) * np.cosh(double(eta))
        ),
        "passes_overlap": flag("lepPassOR"),
    },
    jets={
        **_four_momentum("jet"),
        "b_tag": number("jetdl1r"),
        "jvt": number("jetJVT"),
        "passes_vertex": passes_vertex("jetJVT", smallest=0.91, pt_below=60, pt="jetPt", eta="jetEta"),
        "passes_overlap": flag("jetPassOR"),
    },
    triggers={},
    simulation={
        "generator_weight": number("eventWeight"),
        "cross_section_per_weight": number("genWeight"),
    },
    scale_factors=("leptonWeight", "pileupWeight"),
    b_tag_working_points={85: 0.665, 77: 2.195},
    default_b_tag_efficiency=77,
    b_tag_scale_factor="bTagWeight",
    b_tag_scale_factor_efficiencies=frozenset({77}),
    pile_up_scale_factor="jvtWeight",
    chain_scale_factor="globalDiLepTrigSF",
    conditions=identity("RandomRunNumber"),
    samples={"sample_number": integer("DatasetNumber"), "born_mass": number("bornMass", _MEV)},
    chains=("trigMatch_HLT_{}", "lepHLT_{}"),
)
"""Run 2 ntuples of the SUSY group; see the top of this module."""
