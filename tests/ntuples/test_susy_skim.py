"""The ntuples of the SUSY group, which are not public: toys in their layout stand in."""

import awkward as ak
import numpy as np
import pytest
import uproot

from tailshard.chains import DILEPTON_CHAINS, distinct
from tailshard.cuts import EventCuts, JetCuts, LeptonCuts, Selection
from tailshard.errors import ConfigError, InputError
from tailshard.ntuples.dialects import SUSY_SKIM
from tailshard.pipeline_files import load, shipped

THESIS = load(shipped("thesis-2lep")).selection
CHAINS = distinct(DILEPTON_CHAINS)


@pytest.fixture(scope="module")
def branches(susy_toys):
    def read(sample):
        files = sorted(susy_toys.glob(f"{sample}_[0-9].root"))
        return uproot.concatenate([f"{path}:{sample}_NoSys" for path in files])

    return read


def flat(values):
    return ak.to_numpy(ak.flatten(values, axis=None))


def test_branches_are_those_that_the_thesis_reads():
    assert set(SUSY_SKIM.branches("background", THESIS)) == {
        *("met_Et", "met_Phi", "RunNumber", "RandomRunNumber", "EventNumber", "DatasetNumber", "bornMass"),
        *("genWeight", "eventWeight", "leptonWeight", "pileupWeight", "jvtWeight", "bTagWeight"),
        "globalDiLepTrigSF",
        *("lepPt", "lepEta", "lepPhi", "lepM", "lepFlavor", "lepCharge", "lepPassOR", "lepLoose"),
        *("lepTight", "lepIsoLoose_VarRad", "lepD0Sig", "lepZ0SinTheta"),
        *("jetPt", "jetEta", "jetPhi", "jetM", "jetJVT", "jetdl1r", "jetPassOR"),
        *(f"trigMatch_HLT_{chain}" for chain in CHAINS),
        *(f"lepHLT_{chain}" for chain in CHAINS),
    }
    of_data = set(SUSY_SKIM.branches("data", THESIS))
    assert not {name for name in of_data if "Weight" in name or "SF" in name}
    assert not of_data & {"RandomRunNumber", "DatasetNumber", "bornMass"}


@pytest.mark.parametrize("sample", ["zjets", "data"])
def test_canonical_reads_exactly_the_named_branches(branches, sample):
    kind = "data" if sample == "data" else "background"
    names = SUSY_SKIM.branches(kind, THESIS)
    ours = branches(sample)[list(names)][:30]
    assert len(SUSY_SKIM.canonical(ours, kind, THESIS)) == 30
    for name in names:
        with pytest.raises(InputError, match=f"susy-skim ntuple without the branch {name}"):
            SUSY_SKIM.canonical(ours[[other for other in names if other != name]], kind, THESIS)


def test_fields_units_and_codes(branches):
    stored = branches("zjets")
    events = SUSY_SKIM.canonical(stored, "background", THESIS)
    leptons, jets = events.leptons, events.jets
    np.testing.assert_array_equal(flat(leptons.pt), flat(stored.lepPt))  # GeV already
    np.testing.assert_array_equal(flat(leptons.flavour), np.where(flat(stored.lepFlavor) == 1, 11, 13))
    np.testing.assert_allclose(
        flat(jets.energy),
        np.sqrt((flat(stored.jetPt) * np.cosh(flat(stored.jetEta))) ** 2 + flat(stored.jetM) ** 2),
        rtol=1e-6,
    )
    np.testing.assert_allclose(flat(leptons.z0 / np.cosh(leptons.eta)), flat(stored.lepZ0SinTheta), rtol=1e-6)
    np.testing.assert_allclose(events.born_mass, np.asarray(stored.bornMass) / 1000)  # MeV here
    assert set(events.run) == {284500, 300000, 310000}
    np.testing.assert_array_equal(events.conditions_run, stored.RandomRunNumber)
    np.testing.assert_array_equal(events.sample_number, stored.DatasetNumber)
    for chain in CHAINS:
        np.testing.assert_array_equal(events.chains[chain], stored[f"trigMatch_HLT_{chain}"])
        np.testing.assert_array_equal(flat(leptons[f"matched_{chain}"]), flat(stored[f"lepHLT_{chain}"]))
    assert flat(leptons.energy).dtype == flat(jets.b_tag).dtype == np.float64


def test_data_has_the_run_that_was_taken(branches):
    events = SUSY_SKIM.canonical(branches("data"), "data", THESIS)
    np.testing.assert_array_equal(events.conditions_run, events.run)
    with pytest.raises(InputError, match="simulation in susy-skim has run 284500 or 300000 or 310000"):
        SUSY_SKIM.canonical(branches("data"), "background", THESIS)


def test_soft_central_jets_need_a_high_jvt_and_others_none():
    def one_jet(pt, eta, jvt):
        columns = SUSY_SKIM.jets["passes_vertex"]
        values = {"jetPt": pt, "jetEta": eta, "jetJVT": jvt}
        return columns.make(*(ak.Array([[values[name]]]) for name in columns.branches)).tolist() == [[True]]

    assert one_jet(59, 2.3, 0.92)
    assert not one_jet(59, 2.3, 0.90)
    assert not one_jet(59, -2.3, 0.90)
    assert one_jet(60, 2.3, 0.90)
    assert one_jet(59, 2.41, -0.1)


@pytest.mark.parametrize(
    ("selection", "without"),
    [
        (Selection(cuts=EventCuts(trigger_chains="dilepton")), set()),
        (Selection(), {"globalDiLepTrigSF"}),  # the thesis weighed its 3-lepton events with it all the same
        (Selection(jets=JetCuts(b_tag_efficiency=85)), {"globalDiLepTrigSF", "bTagWeight"}),
        (Selection(jets=JetCuts(pile_up_rejection=False)), {"globalDiLepTrigSF", "jvtWeight"}),
    ],
    ids=["chains", "no_chains", "b_tag_85", "no_jvt"],
)
def test_scale_factors_go_with_the_cuts_that_they_correct(branches, selection, without):
    stored = branches("ttbar")
    factors = {"leptonWeight", "pileupWeight", "jvtWeight", "bTagWeight", "globalDiLepTrigSF"} - without
    events = SUSY_SKIM.canonical(stored, "background", selection)
    expected = np.prod([np.asarray(stored[name]) for name in sorted(factors)], axis=0)
    np.testing.assert_allclose(events.scale_factor, expected, rtol=1e-12)
    read = set(SUSY_SKIM.branches("background", selection))
    assert not read & without


def test_both_b_tag_working_points_and_no_other():
    thresholds = [SUSY_SKIM.b_tag_threshold(JetCuts(b_tag_efficiency=point)) for point in (85, 77)]
    assert thresholds == [0.665, 2.195]
    assert SUSY_SKIM.b_tag_threshold(JetCuts()) == 2.195
    with pytest.raises(ConfigError, match="susy-skim has the working points 85, 77"):
        SUSY_SKIM.b_tag_threshold(JetCuts(b_tag_efficiency=70))


def test_what_the_ntuples_lack_is_refused():
    for asked in ({"identification": "medium"}, {"isolation": "tight"}):
        with pytest.raises(ConfigError, match="which susy-skim does not store"):
            SUSY_SKIM.branches("data", Selection(electrons=LeptonCuts(**asked)))
    with pytest.raises(ConfigError, match="needs 'trigger_matched' of the leptons"):
        SUSY_SKIM.branches("data", Selection(cuts=EventCuts(trigger_matched=True)))
