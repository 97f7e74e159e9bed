import awkward as ak
import numpy as np
import pytest
from pydantic import ValidationError

from tailshard.cuts import JetCuts, LeptonCuts, Selection
from tailshard.events.objects import count_baseline_leptons, select_objects

ANY = LeptonCuts(minimum_pt=0, maximum_abs_eta=10, identification="none")


def test_objects_are_ordered_by_falling_pt_whatever_the_order_in_the_file(make_events):
    events = make_events(
        [[{"pt": 10}, {"pt": 30, "flavour": 13}, {"pt": 20}]],
        [[{"pt": 25}, {"pt": 90, "b_tag": 5}, {"pt": 40}, {"pt": 50, "b_tag": 5}]],
    )
    objects = select_objects(events, Selection(), b_tag_threshold=4)
    assert objects.leptons.pt.tolist() == [[30, 20, 10]]
    assert objects.leptons.flavour.tolist() == [[13, 11, 11]]
    assert objects.electrons.pt.tolist() == [[20, 10]]
    assert objects.muons.pt.tolist() == [[30]]
    assert objects.jets.pt.tolist() == [[90, 50, 40, 25]]
    assert objects.light_jets.pt.tolist() == [[40, 25]]
    assert objects.b_jets.pt.tolist() == [[90, 50]]


def test_objects_of_equal_pt_keep_the_order_of_the_file(make_events):
    leptons = [{"pt": 20, "phi": 0.1}, {"pt": 30, "phi": 0.2}, {"pt": 20, "phi": 0.3}, {"pt": 20, "phi": 0.4}]
    objects = select_objects(make_events([leptons]), Selection(), 4)
    assert objects.leptons.phi.tolist() == [[0.2, 0.1, 0.3, 0.4]]


def test_every_selected_jet_is_light_or_b_and_never_both(make_events):
    scores = [-0.5, 0.1, 0.1758, 0.5, 0.6459, 0.8244273, 0.9, np.nan]
    events = make_events(
        [[]], [[{"pt": 30 + score_index, "b_tag": score} for score_index, score in enumerate(scores)]]
    )
    objects = select_objects(events, Selection(), b_tag_threshold=0.6459)
    assert len(objects.b_jets[0]) == 3
    assert sorted([*objects.light_jets.pt[0], *objects.b_jets.pt[0]]) == sorted(objects.jets.pt[0].tolist())
    assert len(objects.jets[0]) == len(scores)


def test_an_object_at_the_threshold_passes_and_one_below_does_not(make_events):
    events = make_events(
        [[{"pt": 7.0}, {"pt": 6.999}, {"pt": 9, "eta": -2.47}, {"pt": 9, "eta": -2.48}]],
        [[{"pt": 20.0}, {"pt": 19.999}, {"pt": 30, "eta": 2.5}, {"pt": 30, "eta": 2.501}]],
    )
    objects = select_objects(events, Selection(), 4)
    assert objects.leptons.pt.tolist() == [[9, 7]]
    assert objects.jets.pt.tolist() == [[30, 20]]


def test_electrons_and_muons_have_their_own_cuts(make_events):
    leptons = [
        {"pt": 15, "eta": 2.6},
        {"pt": 15, "eta": 2.6, "flavour": 13},
        {"pt": 8},
        {"pt": 8, "flavour": 13},
    ]
    selection = Selection(electrons=LeptonCuts(minimum_pt=10), muons=LeptonCuts(maximum_abs_eta=2.7))
    objects = select_objects(make_events([leptons]), selection, 4)
    assert objects.electrons.pt.tolist() == [[]]
    assert objects.muons.pt.tolist() == [[15, 8]]


def test_a_lepton_of_another_flavour_is_not_an_object(make_events):
    objects = select_objects(make_events([[{"pt": 50, "flavour": 15}]]), Selection(), 4)
    assert objects.leptons.pt.tolist() == [[]]


@pytest.mark.parametrize(
    ("cuts", "failing"),
    [
        ({"identification": "loose"}, {"loose": False}),
        ({"identification": "medium"}, {"medium": False}),
        ({"identification": "tight"}, {"tight": False}),
        ({"isolation": "loose"}, {"isolated_loose": False}),
        ({"isolation": "tight"}, {"isolated_tight": False}),
        ({"maximum_abs_d0_significance": 5}, {"d0_significance": -5.1}),
        ({"maximum_abs_z0_sin_theta": 0.5}, {"z0": -0.51}),
    ],
    ids=lambda value: next(iter(value)),
)
def test_a_lepton_cut_rejects_what_fails_it_and_nothing_else(make_events, cuts, failing):
    good, bad = {"pt": 20.0}, {"pt": 30.0, **failing}
    selection = Selection(electrons=ANY.model_copy(update=cuts))
    objects = select_objects(make_events([[good, bad]]), selection, 4)
    assert objects.leptons.pt.tolist() == [[20]]
    unrestricted = select_objects(make_events([[good, bad]]), Selection(electrons=ANY), 4)
    assert unrestricted.leptons.pt.tolist() == [[30, 20]]


def test_z0_is_multiplied_by_the_sine_of_the_polar_angle(make_events):
    forward = {"pt": 20.0, "eta": 2.0, "z0": 1.5}  # sin(theta) = 1 / cosh(2) = 0.266
    selection = Selection(electrons=LeptonCuts(maximum_abs_z0_sin_theta=0.5))
    assert len(select_objects(make_events([[forward]]), selection, 4).leptons[0]) == 1


def test_pile_up_rejection_keeps_the_jets_from_the_vertex_and_drops_the_others(make_events):
    jets = [[{"pt": 30, "passes_vertex": True}, {"pt": 40, "passes_vertex": False}]]
    assert select_objects(make_events([[]], jets), Selection(), 4).jets.pt.tolist() == [[30]]
    everything = Selection(jets=JetCuts(pile_up_rejection=False))
    assert select_objects(make_events([[]], jets), everything, 4).jets.pt.tolist() == [[40, 30]]


def test_the_mass_is_signed_and_gives_the_stored_energy_back(make_events):
    eta = 1.3
    momentum = 40 * np.cosh(eta)
    energies = [np.sqrt(momentum**2 + 5**2), np.sqrt(momentum**2 - 5**2)]
    events = make_events([[]], [[{"pt": 40, "eta": eta, "energy": energy} for energy in energies]])
    jets = select_objects(events, Selection(), 4).jets
    np.testing.assert_allclose(jets.mass[0], [5, -5], rtol=1e-12)
    np.testing.assert_allclose(jets.E[0], energies, rtol=1e-14)


def test_events_without_any_object_are_kept(make_events):
    objects = select_objects(make_events([[], []]), Selection(), 4)
    assert [len(part) for part in objects] == [2] * 6
    assert select_objects(make_events([]), Selection(), 4).leptons.tolist() == []


# Baseline and signal

LOOSE = LeptonCuts(minimum_pt=5, identification="loose", maximum_abs_z0_sin_theta=0.5)
SIGNAL = LeptonCuts(minimum_pt=10, identification="tight", isolation="loose", maximum_abs_d0_significance=5)


@pytest.mark.parametrize(
    ("lepton", "is_baseline", "is_signal"),
    [
        ({}, True, True),
        ({"pt": 6.0}, True, False),
        ({"pt": 4.0}, False, False),
        ({"tight": False}, True, False),
        ({"isolated_loose": False}, True, False),
        ({"d0_significance": 5.5}, True, False),
        ({"z0": 0.6}, False, False),  # a signal lepton is a baseline lepton that passes more
        ({"loose": False}, False, False),
        ({"passes_overlap": False}, False, False),
        ({"flavour": 13, "eta": 2.6}, True, True),
        ({"flavour": 13, "d0_significance": 3.5}, True, False),
        ({"eta": 2.6}, False, False),
    ],
    ids=str,
)
def test_signal_leptons_are_baseline_leptons_that_pass_more(make_events, lepton, is_baseline, is_signal):
    wide = {"maximum_abs_eta": 2.7}
    selection = Selection(
        baseline_electrons=LOOSE,
        baseline_muons=LOOSE.model_copy(update=wide),
        electrons=SIGNAL,
        muons=SIGNAL.model_copy(update={**wide, "maximum_abs_d0_significance": 3}),
    )
    events = make_events([[{"pt": 20.0, **lepton}]])
    assert count_baseline_leptons(events, selection).tolist() == [int(is_baseline)]
    assert ak.num(select_objects(events, selection, 4).leptons).tolist() == [int(is_signal)]


def test_baseline_cuts_are_given_for_both_flavours_or_for_none():
    with pytest.raises(ValidationError, match="give baseline_electrons and baseline_muons, or neither"):
        Selection(baseline_electrons=LOOSE)


# Overlaps, pile-up and b-tags


def test_leptons_and_jets_must_survive_the_removal_of_overlaps_where_flags_tell(make_events):
    leptons = [{"pt": 30.0}, {"pt": 20.0, "passes_overlap": False}]
    jets = [{"pt": 50.0, "passes_overlap": False}, {"pt": 40.0}]
    events = make_events([leptons], [jets])
    kept = select_objects(events, Selection(), 4)
    assert (kept.leptons.pt.tolist(), kept.jets.pt.tolist()) == ([[30]], [[40]])
    everything = select_objects(events, Selection(overlap_removal=False), 4)
    assert (everything.leptons.pt.tolist(), everything.jets.pt.tolist()) == ([[30, 20]], [[50, 40]])
    for objects in ("leptons", "jets"):  # a release that has removed overlaps itself has no flags
        bare = ak.without_field(events[objects], "passes_overlap")
        events = ak.with_field(events, bare, objects)
    assert select_objects(events, Selection(), 4).jets.pt.tolist() == [[50, 40]]


@pytest.mark.parametrize(
    ("jet", "passing"),
    [
        ({"pt": 59.0, "eta": 0.5, "jvt": 0.95}, True),
        ({"pt": 59.0, "eta": 0.5, "jvt": 0.91}, True),
        ({"pt": 59.0, "eta": 0.5, "jvt": 0.90}, False),  # the thesis kept these, and only these
        ({"pt": 59.0, "eta": -2.3, "jvt": -0.1}, False),
        ({"pt": 60.0, "eta": 0.5, "jvt": -0.1}, True),
        ({"pt": 59.0, "eta": -2.4, "jvt": -0.1}, True),
    ],
    ids=str,
)
def test_soft_jets_in_the_tracker_must_reach_the_jvt_score(make_events, jet, passing):
    selection = Selection(jets=JetCuts(minimum_jvt=0.91))
    objects = select_objects(make_events([[]], [[{**jet, "passes_vertex": not passing}]]), selection, 4)
    assert ak.num(objects.jets).tolist() == [int(passing)]


def test_a_jet_beyond_the_acceptance_of_b_tagging_is_light(make_events):
    jets = [{"pt": 60.0 - place, "eta": eta, "b_tag": 5.0} for place, eta in enumerate((0, 2.5, -2.6, 2.7))]
    objects = select_objects(make_events([[]], [jets]), Selection(jets=JetCuts(maximum_abs_eta=2.8)), 4)
    assert objects.b_jets.pt.tolist() == [[60, 59]]
    assert objects.light_jets.pt.tolist() == [[58, 57]]


@pytest.mark.parametrize("threshold", [0.665, 2.195])
def test_no_jet_is_lost_between_light_and_b(make_events, threshold):
    rng = np.random.default_rng(1)
    scores = [*rng.uniform(-3, 5, 300), 0.665, 2.195, np.nextafter(0.665, 0), np.nextafter(2.195, 0), np.nan]
    jets = [
        {"pt": float(pt), "eta": float(eta), "b_tag": float(score)}
        for pt, eta, score in zip(
            rng.uniform(20, 99, len(scores)), rng.uniform(-2.8, 2.8, len(scores)), scores, strict=True
        )
    ]
    selection = Selection(jets=JetCuts(maximum_abs_eta=2.8))
    objects = select_objects(make_events([[]], [jets]), selection, threshold)
    assert ak.num(objects.jets).tolist() == [len(scores)]
    both = sorted(objects.light_jets.pt.tolist()[0] + objects.b_jets.pt.tolist()[0], reverse=True)
    assert both == objects.jets.pt.tolist()[0]
    assert 0 < ak.num(objects.b_jets)[0] < len(scores)
