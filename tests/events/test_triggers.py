import awkward as ak
import numpy as np
import pytest

from tailshard.chains import DILEPTON_CHAINS, distinct, legs_of
from tailshard.config import Dataset
from tailshard.cuts import EventCuts, LeptonCuts, Selection
from tailshard.errors import ConfigError
from tailshard.events.objects import select_objects
from tailshard.events.selection import event_cuts, select_events
from tailshard.events.triggers import legs_matched
from tailshard.ntuples.dialects import ATLAS_2025, SUSY_SKIM

ANY = LeptonCuts(minimum_pt=0, maximum_abs_eta=10, identification="none")
RUNS = {2015: 280000, 2016: 300001, 2017: 330000, 2018: 350000}


def muon(pt, **more):
    return {"pt": pt, "flavour": 13, **more}


def electron(pt, **more):
    return {"pt": pt, "flavour": 11, **more}


@pytest.mark.parametrize(
    ("chain", "leptons", "matched"),
    [
        ("mu22_mu8noL1", [muon(23), muon(9)], True),  # the thesis asked both for 22 GeV
        ("mu22_mu8noL1", [muon(9), muon(23)], True),
        ("mu22_mu8noL1", [muon(21), muon(21)], False),
        ("mu22_mu8noL1", [muon(30), muon(8)], False),  # a threshold must be exceeded
        ("mu22_mu8noL1", [muon(30)], False),  # one muon is not both legs
        ("mu22_mu8noL1", [muon(30), electron(30)], False),
        ("e7_lhmedium_mu24", [electron(8), muon(25)], True),
        ("e7_lhmedium_mu24", [electron(25), muon(8)], False),
        ("e7_lhmedium_mu24", [electron(25), electron(25)], False),
        ("2e12_lhloose_L12EM10VH", [electron(13), electron(12.5), muon(50)], True),
        ("2e12_lhloose_L12EM10VH", [electron(50), electron(12)], False),
        ("2e12_lhloose_L12EM10VH", [], False),
    ],
)
def test_each_leg_needs_a_lepton_of_its_own_above_its_own_threshold(make_events, chain, leptons, matched):
    events = make_events([leptons, [electron(100), electron(100), muon(100), muon(100)]])
    assert legs_matched(events.leptons, legs_of(chain)).tolist() == [matched, True]


def chain_events(make_events, rows):
    """Events of (year, chains that fired, leptons with their matched chains)."""
    chains = distinct(DILEPTON_CHAINS)
    events = make_events(
        [[{name: value for name, value in each.items() if name != "of"} for each in row[2]] for row in rows],
        conditions_run=np.array([RUNS[row[0]] for row in rows], dtype=np.uint64),
        chains=np.array([tuple(c in row[1] for c in chains) for row in rows], [(c, bool) for c in chains]),
    )
    leptons = events.leptons
    for chain in chains:
        flags = [[chain in each.get("of", row[1]) for each in row[2]] for row in rows]
        leptons = ak.with_field(leptons, ak.values_astype(ak.Array(flags), bool), f"matched_{chain}")
    return ak.with_field(events, leptons, "leptons")


def passing(events, chains="dilepton", **lepton_cuts):
    its = ANY.model_copy(update=lepton_cuts)
    selection = Selection(
        name="two_lepton", electrons=its, muons=its, cuts=EventCuts(trigger_chains=chains, minimum_m_ll=-1)
    )
    cuts = selection.cuts.model_copy(update={"lepton_pt": (0, 0)})
    selection = selection.model_copy(update={"cuts": cuts})
    objects = select_objects(events, selection, 4)
    mask, steps = select_events(events, objects, selection, np.ones(len(events)))
    return mask.tolist(), [step.name for step in steps]


def test_a_chain_counts_in_its_years_only(make_events):
    pair = [electron(50), electron(40)]
    rows = [(year, {"2e15_lhvloose_nod0_L12EM13VH"}, pair) for year in RUNS]
    rows += [(year, {"2e12_lhloose_L12EM10VH"}, pair) for year in RUNS]
    mask, names = passing(chain_events(make_events, rows))
    assert mask == [False, True, False, False, True, False, False, False]
    assert names[1] == "dilepton trigger of the year, legs matched"


@pytest.mark.parametrize("year", RUNS)
def test_every_chain_of_every_year_passes_an_event_that_fired_it(make_events, year):
    both = [electron(60), electron(50), muon(60), muon(50)]
    rows = [(year, {chain}, both) for chain in DILEPTON_CHAINS[year]]
    assert all(passing(chain_events(make_events, rows))[0])


def test_the_chain_must_have_fired_and_both_legs_must_be_matched_to_selected_leptons(make_events):
    chain = "mu22_mu8noL1"
    rows = [
        (2017, {chain}, [muon(30), muon(10)]),
        (2017, set(), [muon(30, of={chain}), muon(10, of={chain})]),
        (2017, {chain}, [muon(30), muon(10, of=set())]),
        (2017, {chain}, [muon(30), muon(10, tight=False)]),
        (2017, {chain, "2mu14"}, [muon(30, of={chain}), muon(20, of={"2mu14"})]),
    ]
    mask, _ = passing(chain_events(make_events, rows), identification="tight")
    assert mask == [True, False, False, False, False]


def test_lists_of_the_users_own(make_events):
    rows = [(year, {"2mu10"}, [muon(12), muon(11)]) for year in RUNS]
    events = chain_events(make_events, rows)
    mask, names = passing(events, {2016: ("HLT_2mu10",), 2018: ("2mu14", "2mu10")})
    assert mask == [False, True, False, True]
    assert names[1] == "trigger chain of the year, legs matched"
    with pytest.raises(ValueError, match="names no electron or muon"):
        EventCuts(trigger_chains={2016: ("xe110",)})


def test_legs_of_the_triggers_of_open_data(make_events):
    rows = [
        ("electron", [electron(28, trigger_matched=True), muon(9, trigger_matched=False)], True),
        ("electron", [electron(28, trigger_matched=False), muon(28, trigger_matched=True)], False),
        ("electron", [electron(26, trigger_matched=True)], False),
        ("dielectron", [electron(19), electron(18.5)], True),
        ("dielectron", [electron(19), muon(18.5)], False),
        ("dielectron", [electron(19, trigger_matched=False), electron(20, trigger_matched=False)], True),
        ("met", [], True),
    ]
    names = ("electron", "dielectron", "met")
    events = make_events(
        [row[1] for row in rows],
        triggers=np.array([tuple(row[0] == n for n in names) for row in rows], [(n, bool) for n in names]),
    )
    cuts = EventCuts(
        triggers=names,
        trigger_legs={"electron": "e27", "dielectron": "2e18"},
        minimum_leptons=0,
        lepton_pt=(),
        minimum_m_ll=None,
    )
    selection = Selection(name="three_lepton", electrons=ANY, muons=ANY, cuts=cuts)
    objects = select_objects(events, selection, 4)
    _, steps = select_events(events, objects, selection, np.ones(len(events)))
    assert steps[1].name == "electron (e27) or dielectron (2e18) or met trigger"
    for number, row in enumerate(rows):
        part = events[number : number + 1]
        _, steps = select_events(part, select_objects(part, selection, 4), selection, np.ones(1))
        assert steps[1].raw == row[2], row


def test_legs_of_a_trigger_that_is_not_asked_for_are_refused():
    cuts = EventCuts(triggers=("electron",), trigger_legs={"muon": "mu27"})
    with pytest.raises(ConfigError, match="trigger_legs speaks of muon, which triggers does not ask for"):
        event_cuts(Selection(cuts=cuts))


def test_a_release_without_chains_or_without_triggers_says_what_it_has():
    data = Dataset(channel="data", kind="data", dialect="any", files="a.root")
    with pytest.raises(ConfigError, match="use triggers and trigger_legs: it has electron, muon"):
        ATLAS_2025.check(data, Selection(cuts=EventCuts(trigger_chains="dilepton")))
    with pytest.raises(ConfigError, match="stores none; it has only chains: use trigger_chains"):
        SUSY_SKIM.check(data, Selection(cuts=EventCuts(triggers=("electron",))))
