import json

import awkward as ak
import numpy as np
import pytest
import uproot

from tailshard.config import Dataset
from tailshard.cuts import Selection
from tailshard.errors import InputError
from tailshard.events.weights import event_weight
from tailshard.ntuples.dialects import dialect
from tailshard.toys import make_toys, samples

SMALL = {"events": 3000, "signal_events": 500, "luminosity": 0.02, "injected": 7, "files": 2}
TINY = {"events": 200, "signal_events": 50, "luminosity": 0.001, "injected": 3, "files": 2}
BACKGROUNDS = ("zjets", "ttbar", "diboson")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("toys") / "small"


@pytest.fixture(scope="module")
def truth(folder):
    return make_toys(folder, seed=3, **SMALL)


@pytest.fixture(scope="module")
def read(folder, truth):
    """Everything in the files of a sample."""
    return lambda sample: uproot.concatenate(
        [f"{folder / file}:analysis" for file in truth.samples[sample].files]
    )


def _dataset(kind):
    return Dataset(channel="toys", kind=kind, dialect="atlas-2025", files=("x",))


def test_samples_have_about_the_events_asked_for_in_so_many_files(folder, truth):
    stored = sum(truth.samples[name].events for name in BACKGROUNDS)
    assert stored == pytest.approx(3000, rel=0.1)
    assert truth.samples["resonance"].events == pytest.approx(500, rel=0.15)
    assert {path.name for path in folder.glob("*.root")} == {
        f"{name}_{index}.root" for name in truth.samples for index in range(2)
    }


@pytest.mark.parametrize("sample", [*BACKGROUNDS, "resonance", "data"])
def test_the_files_hold_what_the_truth_says(truth, read, sample):
    events, known = read(sample), truth.samples[sample]
    assert len(events) == known.events == sum(known.origins.values())
    assert len(np.unique(events.eventNumber)) == len(events)


@pytest.mark.parametrize("sample", [*BACKGROUNDS, "resonance"])
def test_the_dialect_reads_the_toys_and_gives_the_yield_of_the_truth(truth, read, sample):
    known, selection = truth.samples[sample], Selection()
    events = dialect("atlas-2025").canonical(read(sample), "background", selection)
    weight = event_weight(events, _dataset("background"), truth.luminosity)
    assert weight.sum() == pytest.approx(known.expected)
    assert np.sqrt((weight**2).sum()) == pytest.approx(known.uncertainty)
    assert (weight < 0).any() == (sample == "zjets")


def test_the_dialect_reads_the_data_as_data(read):
    events = dialect("atlas-2025").canonical(read("data"), "data", Selection())
    assert (event_weight(events, _dataset("data"), 1.0) == 1).all()


def test_data_has_the_placeholders_of_real_data(read):
    data = read("data")
    assert ak.all(data.mcWeight == 1)
    assert ak.all(data.sum_of_weights == 1)
    for name in ("xsec", "kfac", "filteff"):
        assert ak.all(data[name] == 0)
    assert not ak.any(data.runNumber == 284500)
    assert ak.all(data.channelNumber == data.runNumber)


def test_data_is_the_backgrounds_in_proportion_and_the_injected_signal(truth, read):
    origins = truth.samples["data"].origins
    for name in BACKGROUNDS:
        known = truth.samples[name]
        spread = np.hypot(known.uncertainty, np.sqrt(known.expected))
        assert abs(origins[name] - known.expected) < 4 * spread
    data = read("data")
    assert origins["resonance"] == len(truth.injected) == 7
    injected = data[np.isin(data.eventNumber, truth.injected)]
    assert len(injected) == 7
    others = data[~np.isin(data.eventNumber, truth.injected)]
    assert ak.mean(ak.sum(injected.jet_pt, axis=1)) > 3 * ak.mean(ak.sum(others.jet_pt, axis=1))


def test_injected_events_lie_anywhere_in_the_data(truth, read):
    position = np.flatnonzero(np.isin(ak.to_numpy(read("data").eventNumber), truth.injected))
    assert position.max() - position.min() > 0.3 * truth.samples["data"].events


@pytest.mark.parametrize("sample", [*BACKGROUNDS, "resonance", "data"])
def test_every_event_passes_the_skim(read, sample):
    events = read(sample)
    assert ak.all(events.jet_n >= 2)
    assert ak.all(ak.sum(events.lep_isTightID, axis=1) >= 2)
    assert ak.all(events.met >= 30)
    assert ak.all(events.jet_pt >= 20)
    assert ak.all(abs(events.jet_eta) <= 2.5)
    assert ak.all(events.lep_pt >= 7)


def test_leptons_and_jets_are_in_no_order(read):
    events = read("ttbar")
    for pt in (events.lep_pt, events.jet_pt):
        assert 0.2 < ak.mean(pt[:, 0] < pt[:, 1]) < 0.8


def test_branches_are_named_and_typed_as_in_the_release(shared_data, folder):
    for ours, theirs in (
        ("ttbar_0.root", "atlas_2025_2J2LMET30_mc/*410081*"),
        ("data_0.root", "atlas_2025_exactly4lep_data/*"),
    ):
        with uproot.open(next(shared_data.glob(theirs))) as file:
            release = {
                name: kind.replace("RVec<", "").rstrip(">")
                for name, kind in file["analysis"].typenames().items()
            }
        with uproot.open(folder / ours) as file:
            toys = {name: kind.replace("[]", "") for name, kind in file["analysis"].typenames().items()}
        assert toys == {name: release[name] for name in toys}


def test_the_signal_is_in_the_tail_but_not_out_of_reach_of_the_background(read):
    def effective_mass(events):
        return ak.to_numpy(ak.sum(events.jet_pt, axis=1) + ak.sum(events.lep_pt, axis=1) + events.met)

    background = np.concatenate([effective_mass(read(name)) for name in BACKGROUNDS])
    signal = effective_mass(read("resonance"))
    assert np.median(signal) > np.quantile(background, 0.99)
    assert np.quantile(signal, 0.05) < np.quantile(background, 0.999)


def test_top_pairs_have_b_jets_and_zjets_do_not(read):
    tagged = {name: ak.mean(ak.any(read(name).jet_btag_quantile >= 4, axis=1)) for name in ("ttbar", "zjets")}
    assert tagged["ttbar"] > 0.8
    assert tagged["zjets"] < 0.2


# -- again and again -----------------------------------------------------------------------------------


def test_the_same_parameters_give_the_same_events_and_identities(tmp_path, folder, truth):
    assert make_toys(tmp_path / "again", seed=3, **SMALL) == truth
    identities = set()
    for path in sorted(folder.glob("*.root")):
        with uproot.open(path) as one, uproot.open(tmp_path / "again" / path.name) as other:
            assert one.file.uuid == other.file.uuid
            identities.add(one.file.uuid)
            assert ak.array_equal(one["analysis"].arrays(), other["analysis"].arrays())
    assert len(identities) == 10


def test_another_seed_gives_other_events_and_identities(tmp_path, folder, truth):
    one, other = (make_toys(tmp_path / str(seed), seed=seed, **TINY) for seed in (1, 2))
    assert one.recipe != other.recipe
    with (
        uproot.open(tmp_path / "1/ttbar_0.root") as file,
        uproot.open(tmp_path / "2/ttbar_0.root") as another,
    ):
        assert file.file.uuid != another.file.uuid
        assert not np.isin(
            file["analysis/met"].array(library="np"), another["analysis/met"].array(library="np")
        ).any()


def test_toys_that_are_there_already_are_left_as_they_are(folder, truth):
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert make_toys(folder, seed=3, **SMALL) == truth
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_other_toys_replace_those_of_an_earlier_recipe(tmp_path):
    make_toys(tmp_path / "toys", **{**TINY, "files": 3})
    truth = make_toys(tmp_path / "toys", **{**TINY, "files": 1})
    assert {path.name for path in (tmp_path / "toys").iterdir()} == {
        "truth.json",
        *(file for sample in truth.samples.values() for file in sample.files),
    }


def test_incomplete_toys_are_made_again(tmp_path):
    truth = make_toys(tmp_path / "toys", **TINY)
    (tmp_path / "toys/data_1.root").unlink()
    assert make_toys(tmp_path / "toys", **TINY) == truth
    assert (tmp_path / "toys/data_1.root").exists()
    (tmp_path / "toys/truth.json").write_text("{}")
    assert make_toys(tmp_path / "toys", **TINY) == truth
    assert json.loads((tmp_path / "toys/truth.json").read_text())["seed"] == 1


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "data_0.root").write_text("precious")
    with pytest.raises(InputError, match=r"holds files but no truth.json: name a new folder"):
        make_toys(tmp_path, **SMALL)
    assert (tmp_path / "data_0.root").read_text() == "precious"


def test_large_samples_are_made_block_by_block(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "_BLOCK", 20)
    truth = make_toys(tmp_path / "toys", **TINY)
    for name, known in truth.samples.items():
        events = 0
        numbers = set()
        for file in known.files:
            with uproot.open(tmp_path / "toys" / file) as opened:
                tree = opened["analysis"]
                events += tree.num_entries
                numbers.update(tree["eventNumber"].array().tolist())
                if name != "resonance":
                    assert tree["met"].num_baskets > 1
        assert events == known.events == len(numbers)
    assert len(truth.injected) == 3
