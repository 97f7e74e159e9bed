import sys
from dataclasses import replace
from types import ModuleType

import awkward as ak
import numpy as np
import pytest
import uproot

from tailshard.config import Dataset
from tailshard.cuts import EventCuts, JetCuts, LeptonCuts, Selection
from tailshard.errors import ConfigError, InputError
from tailshard.ntuples.dialects import ATLAS_2016, ATLAS_2020, ATLAS_2025

FILES = {
    "2025_simulation": (ATLAS_2025, "background", "atlas_2025_2J2LMET30_mc/*410081*.root"),
    "2025_data": (ATLAS_2025, "data", "atlas_2025_exactly4lep_data/*.root"),
    "2025_benchmark": (ATLAS_2025, "signal", "benchmark_13TeV/*902002*.root"),
    "2025_benchmark_data": (ATLAS_2025, "data", "benchmark_13TeV/*pseudodata.3lep.root"),
    "2020_simulation": (ATLAS_2020, "background", "atlas_2020_4lep_mc/*ttW*.root"),
    "2020_data": (ATLAS_2020, "data", "atlas_2020_4lep_data/data_B*.root"),
    "2016_simulation": (ATLAS_2016, "background", "atlas_2016_8TeV_mc/*DYtautau*.root"),
}
DEMANDING = Selection(
    name="three_lepton",
    electrons=LeptonCuts(isolation="tight", maximum_abs_d0_significance=5, maximum_abs_z0_sin_theta=0.5),
    cuts=EventCuts(triggers=("electron", "dimuon")),
)


def read(shared_data, pattern, dialect, names):
    (path,) = shared_data.glob(pattern)
    with uproot.open(path) as file:
        return file[dialect.tree].arrays(list(names))


@pytest.mark.parametrize("selection", [Selection(), DEMANDING], ids=["default", "demanding"])
@pytest.mark.parametrize("case", FILES)
def test_canonical_reads_exactly_the_named_branches(shared_data, case, selection):
    dialect, kind, pattern = FILES[case]
    names = dialect.branches(kind, selection)
    branches = read(shared_data, pattern, dialect, names)[:50]
    assert set(branches.fields) == set(names)
    assert len(dialect.canonical(branches, kind, selection)) == 50
    for name in names:
        with pytest.raises(InputError, match=f"{dialect.name} ntuple without the branch {name}"):
            dialect.canonical(branches[[other for other in names if other != name]], kind, selection)


@pytest.mark.parametrize("case", FILES)
def test_fields_and_types_are_the_same_for_every_release(shared_data, case):
    dialect, kind, pattern = FILES[case]
    names = dialect.branches(kind, DEMANDING)
    events = dialect.canonical(read(shared_data, pattern, dialect, names), kind, DEMANDING)
    fields = {"met", "met_phi", "run", "event", "leptons", "jets", "triggers"}
    if kind != "data":
        fields |= {"generator_weight", "scale_factor"}
        fields |= {"cross_section", "sum_of_weights"} if dialect.normalised_in_file else set()
    assert set(events.fields) - {"good_quality"} == fields
    particle = {"pt": "float64", "eta": "float64", "phi": "float64", "energy": "float64"}
    assert types(events.leptons) == {
        **particle,
        "flavour": "int32",
        "charge": "int32",
        "trigger_matched": "bool",
        "tight": "bool",
        "isolated_tight": "bool",
        "d0_significance": "float64",
        "z0": "float64",
    }
    assert types(events.jets) == {**particle, "b_tag": "float64", "passes_vertex": "bool"}
    assert types(events.triggers) == {"electron": "bool", "dimuon": "bool"}
    flat = {field: events[field] for field in fields - {"leptons", "jets", "triggers"}}
    assert types(ak.zip(flat)) == {
        field: "uint64" if field in ("run", "event") else "float64" for field in flat
    }
    assert set(np.unique(ak.flatten(events.leptons.flavour))) <= {11, 13}
    assert set(np.unique(ak.flatten(events.leptons.charge))) == {-1, 1}


def types(records):
    return {
        field: ak.type(ak.flatten(records[field], axis=None)).content.primitive for field in records.fields
    }


@pytest.mark.parametrize("case", FILES)
def test_an_empty_partition_gives_no_events(shared_data, case):
    dialect, kind, pattern = FILES[case]
    names = dialect.branches(kind, DEMANDING)
    events = dialect.canonical(read(shared_data, pattern, dialect, names)[:0], kind, DEMANDING)
    assert len(events) == 0
    assert "energy" in events.leptons.fields


def test_only_what_a_cut_needs_is_read():
    bare = LeptonCuts(identification="none")
    selection = Selection(electrons=bare, muons=bare, jets=JetCuts(pile_up_rejection=False))
    assert ATLAS_2025.branches("data", selection) == (
        *("met", "met_phi", "runNumber", "eventNumber"),
        *("lep_pt", "lep_eta", "lep_phi", "lep_e", "lep_type", "lep_charge", "lep_isTrigMatched"),
        *("jet_pt", "jet_eta", "jet_phi", "jet_e", "jet_btag_quantile"),
    )


@pytest.mark.parametrize("dialect", [ATLAS_2025, ATLAS_2020, ATLAS_2016], ids=lambda dialect: dialect.name)
def test_data_never_carries_simulation_weights(dialect):
    names = dialect.branches("data", DEMANDING)
    assert [name for name in names if "weight" in name.lower() or "scalefactor" in name.lower()] == []
    assert not {"xsec", "kfac", "filteff", "XSection"} & set(names)


def test_a_selection_of_the_users_own_may_look_at_every_field(monkeypatch):
    module = ModuleType("my_analysis")
    module.cut = lambda events, objects: np.ones(len(events), dtype=bool)
    monkeypatch.setitem(sys.modules, "my_analysis", module)
    selection = Selection(name="my_analysis:cut", cuts=EventCuts(triggers=("met",)))
    names = set(ATLAS_2025.branches("data", selection))
    assert {"lep_ptvarcone30", "lep_topoetcone20", "lep_d0sig", "lep_isLooseIso", "trigMET"} <= names
    assert "trigE" not in names


@pytest.mark.parametrize(
    ("case", "declared", "message"),
    [
        ("2025_simulation", "data", "declared as data, but run 284500 is simulation in atlas-2025"),
        ("2025_data", "signal", r"declared as signal, but run 276\d\d\d is collision data: .* run 284500;"),
        ("2025_benchmark", "data", "run 284500 is simulation"),
        ("2025_benchmark_data", "background", "run 302002 is collision data"),
        ("2020_simulation", "data", "run 284500 is simulation in atlas-2020"),
        ("2020_data", "background", r"declared as background, but run 300\d\d\d is collision data"),
        ("2016_simulation", "data", "run 195847 is simulation in atlas-2016"),
    ],
)
def test_simulation_declared_as_data_and_the_reverse_name_the_run(shared_data, case, declared, message):
    dialect, _, pattern = FILES[case]
    branches = read(shared_data, pattern, dialect, dialect.branches(declared, Selection()))
    with pytest.raises(InputError, match=message):
        dialect.canonical(branches, declared, Selection())


@pytest.mark.parametrize(
    ("dialect", "selection", "message"),
    [
        (ATLAS_2020, Selection(muons=LeptonCuts(identification="medium")), "needs 'medium' of the leptons"),
        (ATLAS_2016, Selection(electrons=LeptonCuts(isolation="loose")), "needs 'isolated_loose'"),
        (
            ATLAS_2020,
            Selection(cuts=EventCuts(triggers=("dimuon", "met"))),
            "stores none; it has electron, muon",
        ),
        (ATLAS_2020, Selection(jets=JetCuts(b_tag_efficiency=80)), "working points 85, 77, 70, 60"),
    ],
    ids=["medium_2020", "loose_isolation_2016", "triggers_2020", "working_point"],
)
@pytest.mark.parametrize("kind", ["data", "background"])
def test_what_a_release_does_not_store_is_refused_before_any_file_is_opened(
    dialect, selection, message, kind
):
    overrides = {} if kind == "data" else {"cross_section": 1, "sum_of_weights": 1000}
    dataset = Dataset(channel="sample", kind=kind, dialect=dialect.name, files="a.root", **overrides)
    with pytest.raises(ConfigError, match=message):
        dialect.check(dataset, selection)


def test_a_trigger_that_the_release_lacks_never_fires(shared_data):
    selection = Selection(cuts=EventCuts(triggers=("muon", "dimuon")))
    names = ATLAS_2020.branches("data", selection)
    branches = read(shared_data, FILES["2020_data"][2], ATLAS_2020, names)
    triggers = ATLAS_2020.canonical(branches, "data", selection).triggers
    assert ak.any(triggers.muon)
    assert not ak.any(triggers.dimuon)


def test_2016_simulation_needs_both_overrides_and_data_none():
    common = {"channel": "ZZ", "dialect": "atlas-2016", "files": "a.root"}
    ATLAS_2016.check(Dataset(kind="data", **common), Selection())
    ATLAS_2016.check(Dataset(kind="signal", cross_section=1, sum_of_weights=9, **common), Selection())
    with pytest.raises(ConfigError, match="'ZZ' must give sum_of_weights: atlas-2016 files hold neither"):
        ATLAS_2016.check(Dataset(kind="signal", cross_section=1, **common), Selection())
    ATLAS_2020.check(Dataset(kind="signal", **{**common, "dialect": "atlas-2020"}), Selection())


def test_a_release_without_scale_factors_has_no_such_field(shared_data):
    dialect = replace(ATLAS_2016, scale_factors=(), b_tag_scale_factor=None, pile_up_scale_factor=None)
    names = dialect.branches("background", Selection())
    branches = read(shared_data, FILES["2016_simulation"][2], dialect, names)
    assert "scale_factor" not in dialect.canonical(branches, "background", Selection()).fields


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("branch", ["met", "lep_pt", "jet_e", "jet_phi"])
def test_an_impossible_momentum_names_branch_and_event(shared_data, branch, value):
    dialect, kind, pattern = FILES["2025_simulation"]
    branches = read(shared_data, pattern, dialect, dialect.branches(kind, Selection()))[:50]
    values = ak.to_numpy(ak.flatten(branches[branch], axis=None)).copy()
    values[values.size // 2] = value
    if branches[branch].ndim > 1:
        counts = ak.num(branches[branch])
        place = int(np.searchsorted(np.cumsum(ak.to_numpy(counts)), values.size // 2, side="right"))
        values = ak.unflatten(values, counts)
    else:
        place = values.size // 2
    branches[branch] = values
    event = branches["eventNumber"][place]
    with pytest.raises(InputError, match=rf"1 of 50 events .*\(branch {branch}\).* event {event}: "):
        dialect.canonical(branches, kind, Selection())
