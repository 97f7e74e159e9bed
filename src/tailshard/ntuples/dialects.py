"""One entry for each ntuple release: tree, branches, units, lepton codes, b-tag working points, weights.

`canonical` says what the entries are turned into.
"""

from collections.abc import Mapping

import awkward as ak
import numpy as np

from ..config import Pipeline
from ..errors import ConfigError
from ..registry import resolve
from .canonical import Dialect
from .columns import (
    Column,
    double,
    flag,
    identity,
    integer,
    number,
    passes_vertex,
    product,
    wrapped_identity,
)
from .susy_skim import SUSY_SKIM

__all__ = [
    "ATLAS_2016",
    "ATLAS_2020",
    "ATLAS_2025",
    "DIALECTS",
    "SUSY_SKIM",
    "Dialect",
    "collision_energy",
    "dialect",
]


def _four_momentum(prefix: str, energy: str, unit: float) -> dict[str, Column]:
    return {
        "pt": number(f"{prefix}_pt", unit),
        "eta": number(f"{prefix}_eta"),
        "phi": number(f"{prefix}_phi"),
        "energy": number(f"{prefix}_{energy}", unit),
    }


def _isolated(largest: float) -> Column:
    """Both cone sums below this share of the lepton's pT."""
    return Column(
        ("lep_ptcone30", "lep_etcone20", "lep_pt"),
        lambda tracks, clusters, pt: (tracks < largest * pt) & (clusters < largest * pt),
    )


_MEV = 1e-3
_GEV = 1.0

ATLAS_2025 = Dialect(
    name="atlas-2025",
    tree="analysis",
    simulation_runs=frozenset({284500}),
    event={
        "met": number("met", _GEV),
        "met_phi": number("met_phi"),
        "run": identity("runNumber"),
        "event": identity("eventNumber"),
    },
    leptons={
        **_four_momentum("lep", "e", _GEV),
        "flavour": integer("lep_type"),
        "charge": integer("lep_charge"),
        "trigger_matched": flag("lep_isTrigMatched"),
        "loose": flag("lep_isLooseID"),
        "medium": flag("lep_isMediumID"),
        "tight": flag("lep_isTightID"),
        "isolated_loose": flag("lep_isLooseIso"),
        "isolated_tight": flag("lep_isTightIso"),
        "d0_significance": number("lep_d0sig"),
        "z0": number("lep_z0"),
        "track_isolation": number("lep_ptvarcone30", _GEV),
        "calorimeter_isolation": number("lep_topoetcone20", _GEV),
    },
    jets={
        **_four_momentum("jet", "e", _GEV),
        "b_tag": number("jet_btag_quantile"),
        "passes_vertex": flag("jet_jvt"),
    },
    triggers={
        "electron": "trigE",
        "muon": "trigM",
        "dielectron": "trigDE",
        "dimuon": "trigDM",
        "multilepton": "trigML",
        "met": "trigMET",
    },
    simulation={
        "generator_weight": number("mcWeight"),
        "cross_section": Column(("xsec", "kfac", "filteff"), product),
        "sum_of_weights": number("sum_of_weights"),
    },
    scale_factors=(
        "ScaleFactor_PILEUP",
        "ScaleFactor_ELE",
        "ScaleFactor_MUON",
        "ScaleFactor_LepTRIGGER",
    ),
    # Quantiles 1 to 5 are the efficiency bins 100, 85, 77, 70, 60 %: every jet has at least 1.
    b_tag_working_points={85: 2, 77: 3, 70: 4, 60: 5},
    default_b_tag_efficiency=70,
    # FTAG calibrates the whole quantile distribution, so it holds at every working point. The older
    # ScaleFactor_BTAG is in the files too, with negative values down to -1.5.
    b_tag_scale_factor="ScaleFactor_FTAG",
    b_tag_scale_factor_efficiencies=frozenset({85, 77, 70, 60}),
    pile_up_scale_factor="ScaleFactor_JVT",
)
"""ATLAS Open Data for education, 13 TeV, 2025: GeV; leptons and jets are not ordered by pT.

opendata.atlas.cern/docs/data/for_education/13TeV25_details and its table of variables.

Overlaps are removed by the release: of 12,782 electrons and 9,482 muons in three of its files, none and 4
lie within 0.4 of a jet. `lep_isTrigMatched` speaks of single-lepton triggers: it is never set
where neither trigE nor trigM fired. There is no bit for triggers on an electron and a muon.
"""

ATLAS_2020 = Dialect(
    name="atlas-2020",
    tree="mini",
    simulation_runs=frozenset({284500}),
    event={
        "met": number("met_et", _MEV),
        "met_phi": number("met_phi"),
        "run": identity("runNumber"),
        "event": wrapped_identity("eventNumber"),
    },
    leptons={
        **_four_momentum("lep", "E", _MEV),
        "flavour": integer("lep_type"),
        "charge": integer("lep_charge"),
        "trigger_matched": flag("lep_trigMatched"),
        # Stored leptons are loosely identified; nothing tells the medium ones.
        "loose": Column(("lep_isTightID",), lambda tight: ak.ones_like(tight, dtype=np.bool_)),
        "tight": flag("lep_isTightID"),
        # As in the release's own analyses: 0.3 in H to ZZ, 0.1 where a W, Z or top pair is sought.
        "isolated_loose": _isolated(0.3),
        "isolated_tight": _isolated(0.1),
        # Despite the name this is abs(d0) over its uncertainty.
        "d0_significance": number("lep_tracksigd0pvunbiased"),
        "z0": number("lep_z0"),
        "track_isolation": number("lep_ptcone30", _MEV),
        "calorimeter_isolation": number("lep_etcone20", _MEV),
    },
    jets={
        **_four_momentum("jet", "E", _MEV),
        "b_tag": number("jet_MV2c10"),
        "passes_vertex": passes_vertex("jet_jvt", smallest=0.59, pt_below=60_000),
    },
    triggers={"electron": "trigE", "muon": "trigM"},
    simulation={
        "generator_weight": number("mcWeight"),
        "cross_section": number("XSection"),
        "sum_of_weights": number("SumWeights"),
    },
    scale_factors=(
        "scaleFactor_PILEUP",
        "scaleFactor_ELE",
        "scaleFactor_MUON",
        "scaleFactor_LepTRIGGER",
    ),
    b_tag_working_points={85: 0.1758, 77: 0.6459, 70: 0.8244273, 60: 0.9349},
    default_b_tag_efficiency=70,
    b_tag_scale_factor="scaleFactor_BTAG",
    b_tag_scale_factor_efficiencies=frozenset({70}),
)
"""ATLAS Open Data for education, 13 TeV, 2020: MeV; data has zeros for weights and scale factors.

opendata.atlas.cern/docs/data/for_education/13TeV_details; ATL-OREACH-PUB-2020-001.
"""

ATLAS_2016 = Dialect(
    name="atlas-2016",
    tree="mini",
    simulation_runs=frozenset({195847, 195848}),
    event={
        "met": number("met_et", _MEV),
        "met_phi": number("met_phi"),
        "run": identity("runNumber"),
        "event": wrapped_identity("eventNumber"),
        "good_quality": Column(("passGRL", "hasGoodVertex"), lambda run, vertex: run & vertex),
    },
    leptons={
        **_four_momentum("lep", "E", _MEV),
        "flavour": integer("lep_type"),
        "charge": integer("lep_charge"),
        "trigger_matched": flag("lep_trigMatched"),
        "tight": Column(("lep_flag",), lambda flags: (flags & 512) != 0),
        "isolated_tight": _isolated(0.15),
        # Here the branch is the uncertainty in mm, where the 2020 release has the significance.
        "d0_significance": Column(
            ("lep_trackd0pvunbiased", "lep_tracksigd0pvunbiased"),
            lambda d0, uncertainty: double(d0) / double(uncertainty),
        ),
        "z0": number("lep_z0"),
        "track_isolation": number("lep_ptcone30", _MEV),
        "calorimeter_isolation": number("lep_etcone20", _MEV),
    },
    jets={
        **_four_momentum("jet", "E", _MEV),
        "b_tag": number("jet_MV1"),
        "passes_vertex": passes_vertex("jet_jvf", smallest=0.5, pt_below=50_000),
    },
    triggers={"electron": "trigE", "muon": "trigM"},
    simulation={"generator_weight": number("mcWeight")},
    scale_factors=(
        "scaleFactor_PILEUP",
        "scaleFactor_ZVERTEX",
        "scaleFactor_ELE",
        "scaleFactor_MUON",
        "scaleFactor_TRIGGER",
    ),
    # The release's example code calls this cut 80 %; 70 % of its true b jets pass.
    b_tag_working_points={70: 0.7892},
    default_b_tag_efficiency=70,
    b_tag_scale_factor="scaleFactor_BTAG",
    b_tag_scale_factor_efficiencies=frozenset({70}),
    pile_up_scale_factor="scaleFactor_JVFSF",
    center_of_mass_energy=8_000.0,
)
"""ATLAS Open Data, 8 TeV, 2016: MeV; jets are not always ordered by pT; normalised by a table.

`events.weights.event_weight` says how to use the table. ATL-OREACH-PUB-2016-001.
"""

DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect for dialect in (ATLAS_2025, ATLAS_2020, ATLAS_2016, SUSY_SKIM)
}


def dialect(name: str) -> Dialect:
    """Find a dialect by its name, or a user's own by ``module:object``.

    Raises
    ------
    ConfigError
        There is none, or the object is not a `Dialect`.
    """
    found = resolve("dialect", name, DIALECTS)
    if not isinstance(found, Dialect):
        raise ConfigError(f"dialect '{name}' is a {type(found).__name__}; it must be a Dialect")
    return found


def collision_energy(pipeline: Pipeline) -> float:
    """Collision energy in GeV that matrices are made with: the pipeline's, or that of its dialects.

    Raises
    ------
    ConfigError
        The data sets are of different energies: neither yields nor matrices can be compared then.
    """
    energies = {
        dataset.identity: dialect(dataset.dialect).center_of_mass_energy for dataset in pipeline.datasets
    }
    if len(set(energies.values())) > 1:
        listed = ", ".join(f"'{name}' {energy / 1000:g} TeV" for name, energy in energies.items())
        raise ConfigError(
            f"the data sets are of different collision energies ({listed}); make a pipeline for each energy"
        )
    return pipeline.features.center_of_mass_energy or next(iter(energies.values()))
