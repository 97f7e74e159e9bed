import awkward as ak
import numpy as np
import pytest
import uproot

from tailshard.chains import DILEPTON_CHAINS, distinct, legs_of
from tailshard.config import Dataset
from tailshard.cuts import Selection
from tailshard.data_taking import RUN_2, Campaign, year_of
from tailshard.errors import InputError
from tailshard.events.weights import event_weight
from tailshard.ntuples.dialects import dialect
from tailshard.pipeline_files import load, shipped
from tailshard.toys import make_toys
from tailshard.toys.layouts import LAYOUTS

SMALL = {"events": 3000, "signal_events": 500, "luminosity": 0.02, "injected": 7, "files": 2}
SIMULATED = ("zjets", "ttbar", "diboson", "resonance")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("toys") / "susy"


@pytest.fixture(scope="module")
def truth(folder):
    return make_toys(folder, seed=3, layout="susy-skim", **SMALL)


@pytest.fixture(scope="module")
def read(folder, truth):
    return lambda sample: uproot.concatenate(
        [f"{folder / file}:{sample}_NoSys" for file in truth.samples[sample].files]
    )


def test_every_layout_has_a_dialect():
    assert all(dialect(name).name == name for name in LAYOUTS)
    with pytest.raises(InputError, match="no toys in a layout 'delphes'; use one of atlas-2025, susy-skim"):
        make_toys("never-made", layout="delphes")


def test_the_branches_are_enough_for_the_thesis(read):
    for pipeline in ("thesis-2lep", "thesis-3lep"):
        selection = load(shipped(pipeline)).selection
        for sample, kind in (("zjets", "background"), ("data", "data")):
            assert set(dialect("susy-skim").branches(kind, selection)) <= set(read(sample).fields)


@pytest.mark.parametrize("sample", SIMULATED)
def test_campaigns_add_up_to_the_yield_of_the_truth(truth, read, sample):
    known = truth.samples[sample]
    whole = sum(campaign.total for campaign in RUN_2)
    campaigns = [
        Campaign(
            name=its.name,
            luminosity={year: share * truth.luminosity / whole for year, share in its.luminosity.items()},
        )
        for its in RUN_2
    ]
    events = dialect("susy-skim").canonical(read(sample), "background", Selection())
    # The toys' factor of the trigger is in the truth, but not applied where no trigger is asked for.
    events["scale_factor"] = events.scale_factor * read(sample).globalDiLepTrigSF
    its = Dataset(channel="toys", kind="background", dialect="susy-skim", files="x")
    weight = event_weight(events, its, truth.luminosity, campaigns)
    assert weight.sum() == pytest.approx(known.expected, rel=1e-5)
    assert np.sqrt((weight**2).sum()) == pytest.approx(known.uncertainty, rel=1e-5)
    year = year_of(ak.to_numpy(events.conditions_run))
    for campaign in campaigns:
        share = weight[np.isin(year, list(campaign.luminosity))].sum() / weight.sum()
        assert share == pytest.approx(campaign.total / truth.luminosity, abs=0.1)


def test_events_belong_to_the_year_of_their_campaign(read):
    stored = read("ttbar")
    year = year_of(ak.to_numpy(stored.RandomRunNumber))
    for run, years in ((284500, {2015, 2016}), (300000, {2017}), (310000, {2018})):
        assert set(year[stored.RunNumber == run]) == years
    assert set(year_of(ak.to_numpy(read("data").RunNumber))) == {2015, 2016, 2017, 2018}


def test_the_injected_signal_is_marked_and_known(truth, read):
    data = read("data")
    assert sorted(data.EventNumber[data.isBSM].tolist()) == sorted(truth.injected)
    assert ak.all(data.genWeight == 1)
    assert ak.all(read("resonance").isBSM)


def test_chains_fire_in_their_years_with_matched_leptons_above_the_thresholds(read):
    stored = read("ttbar")
    year = year_of(ak.to_numpy(stored.RandomRunNumber))
    for chain in distinct(DILEPTON_CHAINS):
        fired, matched = stored[f"trigMatch_HLT_{chain}"], stored[f"lepHLT_{chain}"]
        its_years = {its for its, chains in DILEPTON_CHAINS.items() if chain in chains}
        assert set(year[fired]) <= its_years
        assert not ak.any(matched[~fired])
        lowest = min(leg.threshold for leg in legs_of(chain))
        assert ak.all(stored.lepPt[matched] > lowest)
        assert ak.all(ak.sum(matched[fired], axis=1) >= 2)
    assert ak.any(stored.trigMatch_HLT_mu22_mu8noL1)


def test_some_events_are_for_an_analysis_to_remove(read):
    stored = read("zjets")
    assert 0 < ak.mean(stored.DatasetNumber == 308092) < 0.05
    assert 0 < ak.mean(stored.bornMass > 120_000) < 0.1
    assert 0.8 < ak.mean(ak.flatten(read("ttbar").lepPassOR)) < 1
    assert 0.8 < ak.mean(ak.flatten(read("ttbar").jetPassOR)) < 1


def test_the_same_parameters_give_the_same_events(tmp_path, folder, truth):
    assert make_toys(tmp_path / "again", seed=3, layout="susy-skim", **SMALL) == truth
    for path in sorted(folder.glob("*.root")):
        with uproot.open(path) as one, uproot.open(tmp_path / "again" / path.name) as other:
            (tree,) = one.keys(cycle=False)
            assert ak.array_equal(one[tree].arrays(), other[tree].arrays(), equal_nan=True)
