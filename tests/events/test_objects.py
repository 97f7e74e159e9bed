import numpy as np
import pytest

from tailshard.cuts import JetCuts, LeptonCuts, Selection
from tailshard.events.objects import select_objects

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
