"""The traps of each release, on its real files."""

import sys
from types import ModuleType

import awkward as ak
import numpy as np
import pytest
import uproot

from tailshard.config import Dataset
from tailshard.cuts import EventCuts, JetCuts, LeptonCuts, Selection
from tailshard.errors import ConfigError
from tailshard.events.objects import select_objects
from tailshard.events.weights import event_weight
from tailshard.ntuples.dialects import (
    ATLAS_2016,
    ATLAS_2020,
    ATLAS_2025,
    DIALECTS,
    SUSY_SKIM,
    collision_energy,
    dialect,
)
from tailshard.pipeline_files import load as load_pipeline
from tailshard.pipeline_files import shipped

ANY_LEPTON = LeptonCuts(minimum_pt=0, maximum_abs_eta=10, identification="none")
ANY_JET = JetCuts(minimum_pt=0, maximum_abs_eta=10, pile_up_rejection=False)
ANY = Selection(electrons=ANY_LEPTON, muons=ANY_LEPTON, jets=ANY_JET)

TTWW = "atlas_2025_2J2LMET30_mc/*410081*.root"
COLLISIONS_2025 = "atlas_2025_exactly4lep_data/*.root"
BENCHMARK = "benchmark_13TeV/*901020*.root"
ZEE = "atlas_2020_4lep_mc/*Zee*.root"
TTBAR_2020 = "atlas_2020_4lep_mc/*ttbar*.root"
TTW = "atlas_2020_4lep_mc/*ttW*.root"
COLLISIONS_2020 = "atlas_2020_4lep_data/data_B*.root"
SINGLE_TOP_2016 = "atlas_2016_8TeV_mc/*stop_wtchan.root"
W_2016 = "atlas_2016_8TeV_mc/*WtaunuWithB.root"


@pytest.fixture
def load(shared_data):
    """``load(dialect, pattern, kind, selection, *more)`` -> canonical events and the branches read."""

    def load(dialect, pattern, kind, selection, *more):
        (path,) = shared_data.glob(pattern)
        with uproot.open(path) as file:
            names = dict.fromkeys((*dialect.branches(kind, selection), *more))
            branches = file[dialect.tree].arrays(list(names))
        return dialect.canonical(branches, kind, selection), branches

    return load


def flat(values):
    return ak.to_numpy(ak.flatten(values, axis=None))


def unordered(particles):
    return int(ak.sum(ak.any(particles.pt[:, 1:] > particles.pt[:, :-1], axis=1)))


def test_dialects_are_found_by_name_and_an_unknown_one_lists_them(monkeypatch):
    assert [dialect(name) for name in DIALECTS] == [ATLAS_2025, ATLAS_2020, ATLAS_2016, SUSY_SKIM]
    with pytest.raises(ConfigError, match="use one of atlas-2025, atlas-2020, atlas-2016, susy-skim"):
        dialect("atlas-2030")
    module = ModuleType("my_release")
    module.mine, module.wrong = ATLAS_2020, "mini"
    monkeypatch.setitem(sys.modules, "my_release", module)
    assert dialect("my_release:mine") is ATLAS_2020
    with pytest.raises(ConfigError, match="is a str; it must be a Dialect"):
        dialect("my_release:wrong")


# Units and storage


@pytest.mark.parametrize(
    ("release", "pattern", "kind", "branch", "factor"),
    [
        (ATLAS_2025, TTWW, "background", "met", 1.0),
        (ATLAS_2025, BENCHMARK, "background", "met", 1.0),
        (ATLAS_2020, COLLISIONS_2020, "data", "met_et", 1e-3),
        (ATLAS_2016, SINGLE_TOP_2016, "background", "met_et", 1e-3),
    ],
    ids=["2025", "2025_benchmark", "2020", "2016"],
)
def test_energies_come_out_in_gev(load, release, pattern, kind, branch, factor):
    events, branches = load(release, pattern, kind, ANY)
    np.testing.assert_array_equal(events.met, np.asarray(branches[branch], dtype=np.float64) * factor)
    for objects, prefix in ((events.leptons, "lep"), (events.jets, "jet")):
        energy = f"{prefix}_{'e' if release is ATLAS_2025 else 'E'}"
        np.testing.assert_array_equal(flat(objects.pt), flat(branches[f"{prefix}_pt"]).astype(float) * factor)
        np.testing.assert_array_equal(flat(objects.energy), flat(branches[energy]).astype(float) * factor)
        np.testing.assert_array_equal(flat(objects.eta), flat(branches[f"{prefix}_eta"]))
    assert 5 <= flat(events.leptons.pt).min() < np.median(flat(events.leptons.pt)) < 100
    assert 15 < np.median(flat(events.met)) < 150


def test_jagged_branches_may_be_rvec_vectors_or_c_arrays(shared_data, load):
    stored = {"RVec<float>": TTWW, "std::vector<float>": ZEE, "float[]": BENCHMARK}
    for typename, pattern in stored.items():
        release = ATLAS_2020 if pattern is ZEE else ATLAS_2025
        (path,) = shared_data.glob(pattern)
        with uproot.open(path) as file:
            assert file[release.tree]["lep_pt"].typename == typename
            counts = file[release.tree]["lep_n"].array()
        events, _ = load(release, pattern, "background", ANY)
        assert ak.num(events.leptons).tolist() == counts.tolist()


# Order


@pytest.mark.parametrize(
    ("release", "pattern", "leptons", "jets"),
    [
        (ATLAS_2025, TTWW, 1548, 677),
        (ATLAS_2020, TTW, 0, 0),
        (ATLAS_2016, SINGLE_TOP_2016, 0, 695),
    ],
    ids=["2025", "2020", "2016"],
)
def test_objects_that_the_file_leaves_unordered_come_out_ordered(load, release, pattern, leptons, jets):
    events, _ = load(release, pattern, "background", ANY)
    assert (unordered(events.leptons), unordered(events.jets)) == (leptons, jets)
    objects = select_objects(events, ANY, release.b_tag_threshold(ANY.jets))
    assert {unordered(part) for part in objects} == {0}
    assert flat(ak.num(objects.leptons)).sum() == flat(ak.num(events.leptons)).sum()


def test_2016_counter_jet_n_is_not_the_length_of_the_jet_lists(load):
    events, branches = load(ATLAS_2016, SINGLE_TOP_2016, "background", ANY, "jet_n")
    assert ak.any(branches.jet_n != ak.num(events.jets))


# Data, simulation and their weights


def test_2020_data_survives_its_zero_weights_and_scale_factors(load):
    zeros = (
        "mcWeight",
        "scaleFactor_PILEUP",
        "scaleFactor_ELE",
        "scaleFactor_MUON",
        "scaleFactor_LepTRIGGER",
    )
    events, branches = load(ATLAS_2020, COLLISIONS_2020, "data", ANY, *zeros)
    assert all(not ak.any(branches[name]) for name in zeros)
    data = Dataset(channel="data", kind="data", dialect="atlas-2020", files="a.root")
    assert event_weight(events, data, luminosity=10).tolist() == [1.0] * 156


def test_2025_data_survives_its_zero_cross_section(load):
    events, branches = load(ATLAS_2025, COLLISIONS_2025, "data", ANY, "xsec", "sum_of_weights", "mcWeight")
    assert set(branches.xsec) == {0}
    assert set(branches.sum_of_weights) == set(branches.mcWeight) == {1}
    data = Dataset(channel="data", kind="data", dialect="atlas-2025", files="a.root")
    assert event_weight(events, data, luminosity=0.105).sum() == 3424


@pytest.mark.parametrize(
    ("release", "pattern"),
    [(ATLAS_2025, COLLISIONS_2025), (ATLAS_2020, COLLISIONS_2020)],
    ids=["2025", "2020"],
)
def test_data_is_told_by_its_run_because_its_channel_number_is_the_run_number(load, release, pattern):
    events, branches = load(release, pattern, "data", ANY, "channelNumber")
    assert ak.all(branches.channelNumber == events.run)
    assert not set(events.run) & release.simulation_runs


@pytest.mark.parametrize("pattern", [SINGLE_TOP_2016, W_2016], ids=["195847", "195848"])
def test_2016_simulation_has_either_of_two_runs(load, pattern):
    events, _ = load(ATLAS_2016, pattern, "background", ANY)
    assert set(events.run) <= {195847, 195848}
    assert len(set(events.run)) == 1


def test_generator_weights_keep_their_sign(load):
    events, _ = load(ATLAS_2020, ZEE, "background", ANY)
    dataset = Dataset(channel="Zee", kind="background", dialect="atlas-2020", files="a.root")
    weight = event_weight(events, dataset, luminosity=10)
    assert (weight < 0).sum() > 10
    np.testing.assert_array_equal(np.sign(weight), np.sign(events.generator_weight * events.scale_factor))


def test_2020_ttw_holds_placeholders_and_needs_the_release_table(load):
    events, _ = load(ATLAS_2020, TTW, "background", ANY)
    assert set(events.cross_section) == set(events.sum_of_weights) == {1}
    sample = {"channel": "ttW", "kind": "background", "dialect": "atlas-2020", "files": "a.root"}
    with pytest.raises(
        ConfigError, match="'ttW' must give cross_section and sum_of_weights: the file holds plac"
    ):
        event_weight(events, Dataset(**sample), luminosity=10)
    table = Dataset(**sample, cross_section=0.60084912, sum_of_weights=4075279.75386)
    weight = event_weight(events, table, luminosity=10)
    expected = 1e4 * 0.60084912 * np.asarray(events.generator_weight * events.scale_factor) / 4075279.75386
    np.testing.assert_allclose(weight, expected, rtol=1e-12)


def test_2020_sum_of_weights_is_that_of_the_whole_sample_and_not_of_the_skim(load):
    events, _ = load(ATLAS_2020, TTBAR_2020, "background", ANY)
    assert events.sum_of_weights[0] == 49386600
    assert ak.sum(events.generator_weight) == 1031


def test_2025_cross_section_includes_k_factor_and_filter_efficiency(load):
    events, _ = load(ATLAS_2025, TTWW, "background", ANY)
    assert events.cross_section[0] == pytest.approx(0.008095 * 1.223426, rel=1e-12)
    assert events.sum_of_weights[0] == 30000


# Scale factors

LEPTONIC = {
    ATLAS_2025.name: ("PILEUP", "ELE", "MUON", "LepTRIGGER"),
    ATLAS_2020.name: ("PILEUP", "ELE", "MUON", "LepTRIGGER"),
    ATLAS_2016.name: ("PILEUP", "ZVERTEX", "ELE", "MUON", "TRIGGER"),
}


@pytest.mark.parametrize(
    ("release", "pattern", "jets", "extra"),
    [
        (ATLAS_2025, TTWW, JetCuts(), ("FTAG", "JVT")),
        (ATLAS_2025, TTWW, JetCuts(b_tag_efficiency=85, pile_up_rejection=False), ("FTAG",)),
        (ATLAS_2025, BENCHMARK, JetCuts(), ("FTAG", "JVT")),
        (ATLAS_2020, ZEE, JetCuts(), ("BTAG",)),
        (ATLAS_2020, ZEE, JetCuts(b_tag_efficiency=77), ()),
        (ATLAS_2016, SINGLE_TOP_2016, JetCuts(), ("BTAG", "JVFSF")),
        (ATLAS_2016, SINGLE_TOP_2016, JetCuts(pile_up_rejection=False), ("BTAG",)),
    ],
    ids=["2025", "2025_85", "benchmark", "2020_70", "2020_77", "2016", "2016_no_jvf"],
)
def test_scale_factors_are_those_of_the_objects_and_of_the_jet_decisions_in_use(
    load, release, pattern, jets, extra
):
    selection = ANY.model_copy(update={"jets": jets})
    events, branches = load(release, pattern, "background", selection)
    prefix = "ScaleFactor_" if release is ATLAS_2025 else "scaleFactor_"
    factors = [f"{prefix}{name}" for name in (*LEPTONIC[release.name], *extra)]
    assert {name for name in branches.fields if name.startswith(prefix)} == set(factors)
    expected = np.prod([np.asarray(branches[name], dtype=np.float64) for name in factors], axis=0)
    np.testing.assert_allclose(events.scale_factor, expected, rtol=1e-14)
    assert events.scale_factor.type.content.primitive == "float64"


def test_2025_btag_factor_is_negative_in_places_and_ftag_is_used_instead(load):
    events, branches = load(ATLAS_2025, TTWW, "background", ANY, "ScaleFactor_BTAG")
    assert ak.min(branches.ScaleFactor_BTAG) < -1
    assert ak.min(branches.ScaleFactor_FTAG) > 0.5
    assert ak.min(events.scale_factor) >= 0


# Jets


def test_2025_quantile_tags_at_four_and_is_never_below_one(load):
    events, _ = load(ATLAS_2025, TTWW, "background", ANY)
    assert set(flat(events.jets.b_tag)) == {1, 2, 3, 4, 5}
    tagged = {
        efficiency: ak.sum(
            events.jets.b_tag >= ATLAS_2025.b_tag_threshold(JetCuts(b_tag_efficiency=efficiency))
        )
        for efficiency in (85, 77, 70, 60)
    }
    assert list(tagged.values()) == [ak.sum(events.jets.b_tag >= quantile) for quantile in (2, 3, 4, 5)]
    assert ATLAS_2025.b_tag_threshold(JetCuts()) == 4
    b_jets = select_objects(events, ANY, ATLAS_2025.b_tag_threshold(JetCuts())).b_jets
    assert 0 < ak.sum(ak.num(b_jets)) == tagged[70] < ak.sum(ak.num(events.jets))


@pytest.mark.parametrize(
    ("release", "pattern", "efficiencies"),
    [(ATLAS_2020, TTW, (85, 77, 70, 60)), (ATLAS_2016, SINGLE_TOP_2016, (70,))],
    ids=["2020", "2016"],
)
def test_a_working_point_tags_its_share_of_true_b_jets(load, release, pattern, efficiencies):
    events, branches = load(release, pattern, "background", ANY, "jet_trueflav")
    true_b = (branches.jet_trueflav == 5) & (events.jets.pt > 25)
    for efficiency in efficiencies:
        threshold = release.b_tag_threshold(JetCuts(b_tag_efficiency=efficiency))
        measured = np.mean(flat(events.jets.b_tag[true_b]) >= threshold)
        assert measured == pytest.approx(efficiency / 100, abs=0.015)
    assert set(release.b_tag_working_points) == set(efficiencies)
    assert release.default_b_tag_efficiency == 70


def test_2025_vertex_decision_is_the_stored_flag(load):
    events, branches = load(ATLAS_2025, COLLISIONS_2025, "data", Selection())
    np.testing.assert_array_equal(flat(events.jets.passes_vertex), flat(branches.jet_jvt))
    assert 0.9 < np.mean(flat(events.jets.passes_vertex)) < 0.95


@pytest.mark.parametrize(
    ("release", "pattern", "score", "pt_below", "smallest"),
    [(ATLAS_2020, TTW, "jet_jvt", 60, 0.59), (ATLAS_2016, SINGLE_TOP_2016, "jet_jvf", 50, 0.5)],
    ids=["2020", "2016"],
)
def test_soft_central_jets_need_a_high_vertex_score_and_others_none(
    load, release, pattern, score, pt_below, smallest
):
    events, branches = load(release, pattern, "background", Selection())
    jets = events.jets
    scores = branches[score]
    judged = (jets.pt < pt_below) & (abs(jets.eta) < 2.4)
    assert ak.all(scores[judged & jets.passes_vertex] >= smallest)
    assert ak.all(scores[judged & ~jets.passes_vertex] < smallest)
    assert ak.all(jets.passes_vertex[~judged])
    assert ak.any(judged & ~jets.passes_vertex)
    # Both ends of the detector are treated alike.
    assert ak.all(jets.passes_vertex[jets.eta < -2.4])


# Leptons


def test_2016_charges_are_stored_as_floats_and_come_out_as_integers(load):
    events, branches = load(ATLAS_2016, W_2016, "background", ANY)
    assert branches.lep_charge.type.content.content.primitive == "float32"
    assert set(flat(events.leptons.charge)) == {-1, 1}
    np.testing.assert_array_equal(flat(events.leptons.charge), flat(branches.lep_charge))


def test_2016_tight_leptons_and_trigger_matches_are_read_from_bits(load):
    events, branches = load(ATLAS_2016, W_2016, "background", Selection())
    np.testing.assert_array_equal(flat(events.leptons.tight), (flat(branches.lep_flag) >> 9) & 1)
    assert set(flat(branches.lep_trigMatched)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(flat(events.leptons.trigger_matched), flat(branches.lep_trigMatched) > 0)
    assert 0.9 < np.mean(flat(events.leptons.tight)) < 1


def test_2016_good_run_and_vertex_are_left_to_the_reader(load):
    events, branches = load(ATLAS_2016, W_2016, "background", ANY)
    np.testing.assert_array_equal(events.good_quality, branches.passGRL & branches.hasGoodVertex)
    assert 0.99 < ak.mean(events.good_quality) < 1


@pytest.mark.parametrize(
    ("release", "pattern", "d0"),
    [
        (ATLAS_2025, TTWW, "lep_d0"),
        (ATLAS_2020, TTW, "lep_trackd0pvunbiased"),
        (ATLAS_2016, SINGLE_TOP_2016, "lep_trackd0pvunbiased"),
    ],
    ids=["2025", "2020", "2016"],
)
def test_d0_significance_is_a_significance_in_every_release(load, release, pattern, d0):
    """The same branch name means the significance in 2020 and the uncertainty in mm in 2016."""
    cuts = ANY_LEPTON.model_copy(update={"maximum_abs_d0_significance": 5.0})
    selection = ANY.model_copy(update={"electrons": cuts})
    events, branches = load(release, pattern, "background", selection, d0)
    uncertainty = np.abs(flat(branches[d0]) / flat(events.leptons.d0_significance))
    assert 0.01 < np.median(uncertainty) < 0.02
    assert np.median(np.abs(flat(events.leptons.d0_significance))) > 0.5


@pytest.mark.parametrize(
    ("release", "pattern", "isolation", "largest"),
    [
        (ATLAS_2020, TTW, "loose", 0.3),
        (ATLAS_2020, TTW, "tight", 0.1),
        (ATLAS_2016, SINGLE_TOP_2016, "tight", 0.15),
    ],
)
def test_isolation_is_both_cone_sums_relative_to_pt(load, release, pattern, isolation, largest):
    cuts = ANY_LEPTON.model_copy(update={"isolation": isolation})
    events, branches = load(release, pattern, "background", ANY.model_copy(update={"muons": cuts}))
    pt = flat(branches.lep_pt)
    expected = (flat(branches.lep_ptcone30) / pt < largest) & (flat(branches.lep_etcone20) / pt < largest)
    isolated = flat(events.leptons[f"isolated_{isolation}"])
    assert np.mean(isolated == expected) > 0.9999
    assert 0.3 < isolated.mean() < 0.99


def test_leptons_of_the_2020_release_are_all_loosely_identified(load):
    loose, tight = (LeptonCuts(identification=level) for level in ("loose", "tight"))
    events, branches = load(
        ATLAS_2020, TTW, "background", ANY.model_copy(update={"electrons": loose, "muons": tight})
    )
    assert ak.all(events.leptons.loose)
    np.testing.assert_array_equal(flat(events.leptons.tight), flat(branches.lep_isTightID))


def test_2025_identification_and_isolation_are_the_stored_flags(load):
    cuts = {
        level: LeptonCuts(identification=level, isolation=isolation)
        for level, isolation in (("medium", "loose"), ("tight", "tight"))
    }
    selection = ANY.model_copy(update={"electrons": cuts["medium"], "muons": cuts["tight"]})
    events, branches = load(ATLAS_2025, TTWW, "background", selection)
    for field, branch in (
        ("medium", "lep_isMediumID"),
        ("tight", "lep_isTightID"),
        ("isolated_loose", "lep_isLooseIso"),
        ("isolated_tight", "lep_isTightIso"),
    ):
        np.testing.assert_array_equal(flat(events.leptons[field]), flat(branches[branch]))
        assert 0 < np.mean(flat(events.leptons[field])) < 1


# Triggers and identity


def test_2025_triggers_are_read_by_name(load):
    triggers = ("electron", "muon", "dielectron", "dimuon", "multilepton", "met")
    selection = ANY.model_copy(update={"cuts": EventCuts(triggers=triggers)})
    events, _ = load(ATLAS_2025, COLLISIONS_2025, "data", selection)
    fired = {name: int(ak.sum(events.triggers[name])) for name in triggers}
    assert fired["multilepton"] == 0
    assert fired["dimuon"] > fired["muon"] > fired["met"] > fired["electron"] > fired["dielectron"] > 0


def test_benchmark_files_without_the_multilepton_trigger_work_unless_it_is_asked_for(load):
    wanted = EventCuts(triggers=("electron", "muon", "dielectron", "dimuon", "met"))
    events, _ = load(ATLAS_2025, BENCHMARK, "background", ANY.model_copy(update={"cuts": wanted}))
    assert all(ak.any(events.triggers[name]) for name in events.triggers.fields)
    assert "trigML" in ATLAS_2025.branches(
        "data", ANY.model_copy(update={"cuts": EventCuts(triggers=("multilepton",))})
    )


def test_2020_event_numbers_that_overflowed_are_restored(load):
    events, branches = load(ATLAS_2020, COLLISIONS_2020, "data", ANY)
    overflowed = branches.eventNumber < 0
    assert ak.sum(overflowed) == 17
    restored = ak.to_numpy(events.event)
    assert restored.dtype == np.uint64
    assert restored[overflowed].min() >= 2**31
    assert restored.max() < 2**32
    np.testing.assert_array_equal(restored[~overflowed], branches.eventNumber[~overflowed])
    assert len(set(restored)) == 156


def test_the_collision_energy_is_that_of_the_dialects_unless_the_pipeline_says_another() -> None:
    eight = [f"datasets.{number}.dialect=atlas-2016" for number in range(5)]
    assert collision_energy(load_pipeline(shipped("demo"), (), "/nowhere")) == 13_000
    assert collision_energy(load_pipeline(shipped("demo"), eight, "/nowhere")) == 8_000
    mine = [*eight, "features.center_of_mass_energy=7 TeV"]
    assert collision_energy(load_pipeline(shipped("demo"), mine, "/nowhere")) == 7_000
