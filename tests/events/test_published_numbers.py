"""Numbers that other people published for the same files, reproduced through canonical events."""

import json
from dataclasses import replace

import awkward as ak
import numpy as np
import pytest
import uproot

from tailshard.config import Dataset
from tailshard.cuts import EventCuts, JetCuts, LeptonCuts, Selection
from tailshard.events.kinematics import kinematics
from tailshard.events.objects import select_objects
from tailshard.events.selection import select_events
from tailshard.events.weights import event_weight
from tailshard.ntuples.dialects import ATLAS_2016, ATLAS_2020, ATLAS_2025

ANY_LEPTON = LeptonCuts(minimum_pt=0, maximum_abs_eta=10, identification="none")
ANY_JET = JetCuts(minimum_pt=0, maximum_abs_eta=10, pile_up_rejection=False)


@pytest.fixture(scope="module")
def expected(reference):
    return json.loads((reference / "reference.json").read_text())


@pytest.fixture
def read(shared_data):
    """``read(dialect, pattern, kind, selection)`` -> branches, canonical events, objects."""

    def read(dialect, pattern, kind, selection, more=()):
        (path,) = shared_data.glob(pattern)
        with uproot.open(path) as file:
            branches = file[dialect.tree].arrays([*dialect.branches(kind, selection), *more])
        events = dialect.canonical(branches, kind, selection)
        return branches, events, select_objects(events, selection, dialect.b_tag_threshold(selection.jets))

    return read


# The published four-lepton selection asks nothing of a lepton and takes no b-tag scale factor: the
# 2020 factor is for 70 %, so another working point leaves it out.
FOUR_LEPTON = Selection(
    name="four_lepton", electrons=ANY_LEPTON, muons=ANY_LEPTON, jets=JetCuts(b_tag_efficiency=77)
)


@pytest.mark.parametrize("period", ["A", "B"])
def test_2020_four_lepton_data(read, expected, period):
    numbers = expected["atlas_2020_4lep_data"]
    _, events, objects = read(ATLAS_2020, f"atlas_2020_4lep_data/data_{period}.*", "data", FOUR_LEPTON)
    mask, steps = select_events(events, objects, FOUR_LEPTON, np.ones(len(events)))
    assert steps[0].raw == numbers["entries"][period]
    assert mask.sum() == steps[-1].raw == numbers["selected"][period]


@pytest.mark.parametrize("sample", ["Zee", "ttbar_lep", "ttW"])
def test_2020_four_lepton_simulation(read, expected, sample):
    entries, selected, events_in_10_fb = expected["atlas_2020_4lep_mc"][sample]
    table = {"cross_section": 0.60084912, "sum_of_weights": 4075279.75386} if sample == "ttW" else {}
    dataset = Dataset(channel=sample, kind="background", dialect="atlas-2020", files="a.root", **table)
    _, events, objects = read(ATLAS_2020, f"atlas_2020_4lep_mc/*.{sample}.*", "background", FOUR_LEPTON)
    _, steps = select_events(events, objects, FOUR_LEPTON, event_weight(events, dataset, luminosity=10))
    assert (steps[0].raw, steps[-1].raw) == (entries, selected)
    if events_in_10_fb is not None:  # none is published for ttW
        assert steps[-1].weighted == pytest.approx(events_in_10_fb, abs=0.005)


@pytest.mark.parametrize(
    "sample", ["ZZ", "stop_schan", "stop_wtchan", "ttbar_had", "WtaunuWithB", "DYtautauM15to40"]
)
def test_2016_one_lepton_simulation(read, expected, sample):
    lepton = LeptonCuts(minimum_pt=25, maximum_abs_eta=10, identification="tight", isolation="tight")
    jet = JetCuts(minimum_pt=25, maximum_abs_eta=10, pile_up_rejection=False)
    selection = Selection(electrons=lepton, muons=lepton, jets=jet)
    dialect = replace(ATLAS_2016, b_tag_scale_factor=None)  # none is in the published weight
    pattern = f"atlas_2016_8TeV_mc/*.{sample}.root"
    branches, events, objects = read(dialect, pattern, "background", selection, ["jet_jvf"])
    unit = Dataset(
        channel="c",
        kind="background",
        dialect="atlas-2016",
        files="a.root",
        cross_section=1,
        sum_of_weights=1,
    )
    weight = event_weight(events, unit, luminosity=1e-3)

    # The published selection drops jets by the signed eta, one end of the detector only; ours does not.
    raw = events.jets
    pile_up = (raw.pt < 50) & (raw.eta < 2.4) & (branches.jet_jvf < 0.5)
    jets = ak.to_numpy(ak.sum((raw.pt >= 25) & (raw.eta <= 2.5) & ~pile_up, axis=1))

    chosen = (ak.to_numpy(ak.num(objects.leptons)) == 1) & (kinematics(events, objects)["m_t"] <= 100)
    chosen[int(0.02 * len(events)) :] = False
    found = [chosen.sum(), weight[chosen].sum(), jets[chosen].sum(), (weight * jets)[chosen].sum()]
    assert found == pytest.approx(expected["atlas_2016_8TeV_mc"][sample], abs=6e-4)


def test_2025_exactly_four_lepton_data(read, expected):
    numbers = expected["atlas_2025_exactly4lep_data15_periodD"]
    selection = Selection(
        name="four_lepton",
        electrons=ANY_LEPTON.model_copy(update={"identification": "loose", "isolation": "loose"}),
        muons=ANY_LEPTON.model_copy(update={"identification": "medium", "isolation": "loose"}),
        cuts=EventCuts(triggers=("electron", "muon")),
    )
    _, events, objects = read(ATLAS_2025, "atlas_2025_exactly4lep_data/*.root", "data", selection)

    # Upstream asks for the match and the pT of stored leptons, in the order of the file.
    stored = events.leptons
    before = (
        ak.any(stored.trigger_matched, axis=1)
        & (stored.pt[:, 0] > 20)
        & (stored.pt[:, 1] > 15)
        & (stored.pt[:, 2] > 10)
    )
    cuts = [
        np.ones(len(events), dtype=bool),
        events.triggers.electron | events.triggers.muon,
        ak.any(stored.trigger_matched, axis=1),
        *(stored.pt[:, place] > threshold for place, threshold in enumerate((20, 15, 10))),
        ak.num(objects.leptons) == 4,
    ]
    passing = np.logical_and.accumulate([ak.to_numpy(cut) for cut in cuts])
    assert passing.sum(axis=1).tolist() == numbers["cutflow"][:7]

    mask, steps = select_events(events[before], part(objects, before), selection, np.ones(ak.sum(before)))
    assert [step.raw for step in steps[1:]] == numbers["cutflow"][5:]
    masses = kinematics(events[before], part(objects, before))["m_llll"][mask]
    assert sorted(masses) == pytest.approx(sorted(numbers["m4l_GeV"]), abs=6e-4)


def part(objects, mask):
    return type(objects)(*(collection[mask] for collection in objects))


@pytest.mark.parametrize("sample", ["301333", "410081"])
def test_2025_two_jets_two_leptons_simulation(read, expected, sample):
    numbers = expected["atlas_2025_2J2LMET30_mc"][f"{sample}_event0"]
    selection = Selection(name="two_jets_two_leptons", electrons=ANY_LEPTON, muons=ANY_LEPTON, jets=ANY_JET)
    _, events, objects = read(ATLAS_2025, f"atlas_2025_2J2LMET30_mc/*{sample}*", "signal", selection)
    found = {name: float(values[0]) for name, values in kinematics(events, objects).items()}
    assert found["met"] == pytest.approx(numbers["met"], rel=1e-6)
    assert found["h_t"] == pytest.approx(numbers["ht"], rel=1e-6)
    assert found["m_eff"] == pytest.approx(numbers["st"], rel=1e-6)
    assert found["m_eff"] - found["h_t"] - found["met"] == pytest.approx(numbers["lt"], rel=1e-6)
    assert found["delta_phi_ll"] == pytest.approx(numbers["dphi_ll"], abs=1e-6)
    # Published with massless leptons; the stored energies move the last digit.
    first, second = objects.leptons[0, 0], objects.leptons[0, 1]
    massless = np.sqrt(
        2 * first.pt * second.pt * (np.cosh(first.eta - second.eta) - np.cos(first.phi - second.phi))
    )
    assert massless == pytest.approx(numbers["m_ll"], abs=2e-5)
    if sample == "301333":
        assert found["m_ll"] == pytest.approx(178.815775, abs=1e-5)


# The table of the benchmark's README: medium and tightly isolated leptons above 7 GeV, no cut on eta, no
# b-tag scale factor. "+ trigger" is any of four triggers, without a match.

QUALITY = LeptonCuts(identification="medium", isolation="tight", maximum_abs_eta=2.7)
TWO_LEPTONS = Selection(
    name="two_lepton",
    electrons=QUALITY,
    muons=QUALITY,
    cuts=EventCuts(maximum_leptons=2, lepton_pt=(20, 20), minimum_m_ll=-10),
)
THREE_LEPTONS = Selection(name="three_lepton", electrons=QUALITY, muons=QUALITY)
THREE_LEPTONS_TRIGGERED = Selection(
    name="three_lepton",
    electrons=QUALITY.model_copy(update={"maximum_abs_d0_significance": 5, "maximum_abs_z0_sin_theta": 0.5}),
    muons=QUALITY.model_copy(update={"maximum_abs_d0_significance": 3, "maximum_abs_z0_sin_theta": 0.5}),
    cuts=EventCuts(triggers=("electron", "muon", "dielectron", "dimuon")),
)


@pytest.fixture(scope="module")
def benchmark_table(shared_data):
    """Sample -> row of the table."""
    lines = (shared_data / "benchmark_13TeV" / "README.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    header = next(row for row in rows if row[0] == "sample")
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows if len(row) == len(header)}


def printed(cell):
    """Value of a cell, of which three or four digits are printed, with a tolerance of 1e-3."""
    value = float(cell.split("+-")[0])
    return pytest.approx(value, rel=1e-3, abs=1e-3 if value < 1.2 else None)


@pytest.mark.parametrize(
    "sample",
    [
        *("Zee_lo", "Zmumu_lo", "Zee_lo_3l", "Zmumu_lo_3l", "Ztautau", "Zee_hi", "Zmumu_hi", "ttbar_2l"),
        *("ttbar_1l", "WZ_3l", "WZ_2l", "WW_2l", "ZZ_4l", "ZZ_2l", "HWW", "HZZ", "Wjets"),
        *("C1N2_450_300", "C1N2_800_50"),
    ],
)
def test_benchmark_yields_are_those_of_its_readme(shared_data, benchmark_table, sample):
    row = benchmark_table[sample]
    dialect = replace(ATLAS_2025, b_tag_scale_factor=None)
    dataset = Dataset(channel="c", kind="signal", dialect="atlas-2025", files="a.root")
    selections = (TWO_LEPTONS, THREE_LEPTONS, THREE_LEPTONS_TRIGGERED)
    names = dict.fromkeys(name for its in selections for name in dialect.branches("signal", its))
    (path,) = shared_data.glob(f"benchmark_13TeV/*_mc_{row['DSID']}.*.root")
    with uproot.open(path) as file:
        branches = file["analysis"].arrays(list(names))
    assert len(branches) == int(row["stored"])

    def run(selection):
        events = dialect.canonical(branches, "signal", selection)
        objects = select_objects(events, selection, dialect.b_tag_threshold(selection.jets))
        return select_events(events, objects, selection, event_weight(events, dataset, luminosity=139))[1][-1]

    two, three, triggered = map(run, selections)
    assert two.weighted == printed(row["2L /139fb"])
    assert three.raw == int(row["3L raw"])
    assert three.weighted == printed(row["3L /139fb"])
    assert triggered.weighted == printed(row["3L + trigger + d0, z0 cuts"])
