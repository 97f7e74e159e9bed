import sys
from types import ModuleType

import awkward as ak
import numpy as np
import pytest

from tailshard.cuts import EventCuts, LeptonCuts, Selection
from tailshard.errors import ConfigError, ProcessingError
from tailshard.events.objects import select_objects
from tailshard.events.selection import CutflowStep, event_cuts, select_events


def run(events, selection, weight=None):
    objects = select_objects(events, selection, b_tag_threshold=4)
    weight = np.ones(len(events)) if weight is None else np.asarray(weight, dtype=np.float64)
    return select_events(events, objects, selection, weight)


def names(steps):
    return [step.name for step in steps]


def own_module(monkeypatch, function, cuts=None):
    module = ModuleType("my_analysis")
    module.cut = function
    monkeypatch.setitem(sys.modules, "my_analysis", module)
    return Selection(name="my_analysis:cut", cuts=EventCuts(**(cuts or {})))


def everything(events, objects):
    return np.ones(len(events), dtype=bool)


def test_two_jets_two_leptons_asks_for_exactly_two_leptons_two_jets_and_met(make_events):
    two, jets = [{"pt": 20.0}, {"pt": 10.0}], [{"pt": 30.0}, {"pt": 25.0}]
    events = make_events(
        [two, [*two, {"pt": 9.0}], two, two, two[:1]],
        [jets, jets, jets[:1], jets, jets],
        met=[31.0, 31.0, 31.0, 30.0, 31.0],
    )
    mask, steps = run(events, Selection(name="two_jets_two_leptons"), [1, 2, 4, -8, 16])
    assert mask.tolist() == [True, False, False, False, False]
    assert steps == (
        CutflowStep("all", 5, 15.0),
        CutflowStep("exactly 2 leptons", 3, -3.0),
        CutflowStep("at least 2 jets", 2, -7.0),
        CutflowStep("met > 30 GeV", 1, 1.0),
    )


def test_two_lepton_asks_for_hard_leptons_above_the_resonances(make_events):
    def pair(first, second, phi):
        return [{"pt": first}, {"pt": second, "phi": phi, "flavour": 13}]

    events = make_events([pair(40, 36, np.pi), pair(40, 24, np.pi), pair(40, 36, 0.5)])
    mask, steps = run(events, Selection(name="two_lepton"))
    assert mask.tolist() == [True, False, False]
    assert names(steps) == ["all", "at least 2 leptons", "lepton pT > 25, 25 GeV", "m_ll > 70 GeV"]


def test_three_lepton_asks_for_exactly_three_of_which_two_are_above_20(make_events):
    def leptons(*pts):
        return [{"pt": pt} for pt in pts]

    events = make_events([leptons(8, 21, 22), leptons(8, 19, 22), leptons(21, 22), leptons(30, 30, 30, 30)])
    mask, steps = run(events, Selection(name="three_lepton"))
    assert mask.tolist() == [True, False, False, False]
    assert [step.raw for step in steps] == [4, 2, 1]


def test_four_lepton_looks_at_the_four_leading_leptons_only(make_events):
    def leptons(*flavours_and_charges):
        return [
            {"pt": 50.0 - 5 * place, "flavour": flavour, "charge": charge}
            for place, (flavour, charge) in enumerate(flavours_and_charges)
        ]

    zz = [(11, 1), (11, -1), (13, 1), (13, -1)]
    events = make_events(
        [
            leptons(*zz),
            leptons(*zz, (11, 1)),  # a soft fifth lepton changes nothing
            leptons((11, 1), *zz),  # a hard one does
            leptons((11, 1), (11, -1), (11, 1), (13, -1)),
            leptons((11, 1), (11, 1), (13, 1), (13, -1)),
            leptons(*zz[:3]),
        ]
    )
    mask, steps = run(events, Selection(name="four_lepton"))
    assert mask.tolist() == [True, True, False, False, False, False]
    assert names(steps) == [
        "all",
        "at least 4 leptons",
        "four leading leptons are 4e, 2e2mu or 4mu",
        "total charge zero",
    ]


def test_cuts_override_a_named_selection_field_by_field():
    selection = Selection(name="two_jets_two_leptons", cuts=EventCuts(minimum_met=60, maximum_leptons=4))
    cuts = event_cuts(selection)
    assert (cuts.minimum_leptons, cuts.maximum_leptons, cuts.minimum_jets, cuts.minimum_met) == (2, 4, 2, 60)


def test_false_takes_a_demand_of_a_named_selection_away(make_events):
    selection = Selection(name="four_lepton", cuts=EventCuts(flavour_pairs=False, total_charge_zero=False))
    _, steps = run(make_events([[]]), selection)
    assert names(steps) == ["all", "at least 4 leptons"]


@pytest.mark.parametrize(
    ("cuts", "step", "passing"),
    [
        ({"opposite_charge": True}, "leading leptons of opposite charge", [0, 2]),
        ({"same_flavour": True}, "leading leptons of the same flavour", [0, 1]),
        ({"total_charge_zero": True, "minimum_leptons": 2}, "total charge zero", [0, 2]),
        ({"minimum_m_ll": 50}, "m_ll > 50 GeV", [0, 1, 2]),
        ({"maximum_m_ll": 70}, "m_ll < 70 GeV", [2]),
        ({"minimum_b_jets": 1}, "at least 1 b jet", [0]),
        ({"maximum_b_jets": 0}, "no b jet", [1, 2, 3]),
        ({"maximum_b_jets": 1}, "at most 1 b jet", [0, 1, 2, 3]),
        ({"minimum_jets": 1}, "at least 1 jet", [0, 1]),
        ({"trigger_matched": True}, "a lepton that fired a trigger", [0, 1, 3]),
        ({"triggers": ("muon",)}, "muon trigger", [1]),
        ({"triggers": ("electron", "muon")}, "electron or muon trigger", [0, 1]),
        ({"lepton_pt": (25, 39)}, "lepton pT > 39, 25 GeV", [0, 1]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_each_cut_keeps_what_it_should_and_names_itself(make_events, monkeypatch, cuts, step, passing):
    def pair(charges, flavours, second_pt=36.0, matched=True):
        return [
            {"pt": 40.0, "charge": charges[0], "flavour": flavours[0], "trigger_matched": matched},
            {
                "pt": second_pt,
                "charge": charges[1],
                "flavour": flavours[1],
                "phi": np.pi,
                "trigger_matched": False,
            },
        ]

    events = make_events(
        [
            pair((1, -1), (11, 11)),
            pair((1, 1), (13, 13)),
            pair((-1, 1), (11, 13), second_pt=20.0, matched=False),
            pair((1, 1), (11, 11))[:1],
        ],
        [[{"pt": 30.0, "b_tag": 5}], [{"pt": 30.0}], [], []],
        triggers=np.array(
            [(True, False), (False, True), (False, False), (False, False)],
            dtype=[("electron", bool), ("muon", bool)],
        ),
    )
    mask, steps = run(events, own_module(monkeypatch, everything, cuts))
    assert names(steps)[-2] == step
    assert np.flatnonzero(mask).tolist() == passing


def test_good_run_and_vertex_are_asked_for_where_the_release_leaves_them_open(make_events, monkeypatch):
    events = make_events([[]] * 2, good_quality=[True, False])
    mask, steps = run(events, own_module(monkeypatch, everything))
    assert mask.tolist() == [True, False]
    assert steps[1] == CutflowStep("good run and vertex", 1, 1.0)


def test_a_selection_of_the_users_own_is_the_last_cut(make_events, monkeypatch):
    def exactly_two(events, objects):
        return ak.num(objects.leptons) == 2

    selection = own_module(monkeypatch, exactly_two, {"minimum_leptons": 1})
    events = make_events([[], [{"pt": 20.0}], [{"pt": 20.0}, {"pt": 30.0}]])
    mask, steps = run(events, selection, [1, 2, 4])
    assert mask.tolist() == [False, False, True]
    assert steps[1:] == (CutflowStep("at least 1 lepton", 2, 6.0), CutflowStep("my_analysis:cut", 1, 4.0))


def broken(events, objects):
    raise KeyError("photons")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (broken, "my_analysis:cut' failed: KeyError: 'photons'"),
        (lambda events, objects: np.ones(len(events)), "one boolean for each of the 2 events, found float64"),
        (lambda events, objects: np.ones(3, dtype=bool), r"found bool of shape \(3,\)"),
    ],
    ids=["raises", "not_boolean", "wrong_length"],
)
def test_a_selection_of_the_users_own_that_fails_is_named(make_events, monkeypatch, function, message):
    with pytest.raises(ProcessingError, match=message):
        run(make_events([[{"pt": 9.0}]] * 2), own_module(monkeypatch, function))


def test_a_selection_that_cannot_be_called_is_a_configuration_error(make_events, monkeypatch):
    with pytest.raises(ConfigError, match="is a int; it must be a function"):
        run(make_events([[]]), own_module(monkeypatch, 3))


def test_an_unknown_selection_lists_the_known_ones():
    with pytest.raises(
        ConfigError, match="use one of two_jets_two_leptons, two_lepton, three_lepton, four_lepton"
    ):
        event_cuts(Selection(name="five_lepton"))


def test_contradicting_lepton_counts_are_refused():
    selection = Selection(name="three_lepton", cuts=EventCuts(minimum_leptons=4))
    with pytest.raises(ConfigError, match=r"minimum_leptons \(4\) is above maximum_leptons \(3\)"):
        event_cuts(selection)


def test_no_events_give_a_cutflow_of_zeros(make_events):
    mask, steps = run(make_events([]), Selection(name="four_lepton"))
    assert mask.shape == (0,)
    assert {(step.raw, step.weighted) for step in steps} == {(0, 0.0)}


def test_three_baseline_leptons_that_are_all_signal_leptons(make_events):
    loose, good = {"pt": 30.0, "tight": False}, {"pt": 40.0}
    baseline = LeptonCuts(identification="loose")
    selection = Selection(
        name="three_lepton",
        baseline_electrons=baseline,
        baseline_muons=baseline,
        cuts=EventCuts(minimum_baseline_leptons=3, maximum_baseline_leptons=3),
    )
    events = make_events([[good] * 3, [*[good] * 3, loose], [*[good] * 2, loose], [good] * 4])
    mask, steps = run(events, selection)
    assert mask.tolist() == [True, False, False, False]
    assert [(step.name, step.raw) for step in steps[1:3]] == [
        ("exactly 3 baseline leptons", 2),
        ("exactly 3 leptons", 1),
    ]


def test_baseline_leptons_that_nothing_defines_are_refused(make_events):
    selection = Selection(name="three_lepton", cuts=EventCuts(minimum_baseline_leptons=3))
    with pytest.raises(ConfigError, match="baseline_electrons and baseline_muons do not say what they are"):
        run(make_events([[]]), selection)
