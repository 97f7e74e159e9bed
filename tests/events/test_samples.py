import awkward as ak
import numpy as np
import pytest

from tailshard.config import Dataset
from tailshard.cuts import EventCuts, Selection
from tailshard.errors import ConfigError
from tailshard.events.objects import select_objects
from tailshard.events.samples import is_bad, is_held_twice
from tailshard.events.selection import select_events
from tailshard.ntuples.dialects import ATLAS_2025


def test_bad_samples_are_told_by_their_number_and_one_of_them_by_the_year_too():
    numbers = [308091, 308092, 308093, 308094, 410632, 410633, 410637, 410638]
    bad = is_bad(ak.Array(numbers), np.full(8, 2017))
    assert bad.tolist() == [False, True, True, False, False, True, True, False]
    by_year = is_bad(ak.Array([410472] * 4), np.array([2015, 2016, 2017, 2018]))
    assert by_year.tolist() == [True, True, True, False]


def test_heavy_z_events_of_the_inclusive_samples_are_held_twice():
    number = ak.Array([700319, 700320, 700328, 700329, 700320, 700320])
    mass = ak.Array([500.0, 500.0, 500.0, 500.0, 120.0, 91.0])
    assert is_held_twice(number, mass).tolist() == [False, True, True, False, False, False]


CUTS = EventCuts(remove_bad_samples=True, remove_z_overlap=True, minimum_leptons=0, lepton_pt=())


def run(events, years=None):
    selection = Selection(name="two_lepton", cuts=CUTS)
    objects = select_objects(events, selection, 4)
    return select_events(events, objects, selection, np.ones(len(events)), years)[1]


def test_both_are_steps_of_the_cutflow_which_data_passes(make_events):
    runs = np.array([350000, 350000, 350000, 330000, 400001], dtype=np.uint64)
    simulation = make_events(
        [[]] * 5,
        conditions_run=runs,
        sample_number=[700320, 700320, 308092, 410472, 1],
        born_mass=[90.0, 121.0, 90.0, -1.0, -1.0],
    )
    steps = [("all", 5), ("data taking of 2017, 2018", 4), ("no bad sample", 2), ("no Z event twice", 1)]
    assert [(step.name, step.raw) for step in run(simulation, (2017, 2018))][:4] == steps
    data = make_events([[]] * 2, conditions_run=runs[2:4])
    steps = [("all", 2), ("data taking of 2018", 1), ("no bad sample", 1), ("no Z event twice", 1)]
    assert [(step.name, step.raw) for step in run(data, (2018,))][:4] == steps


def test_a_release_that_does_not_tell_the_sample_is_refused():
    simulation = Dataset(channel="c", kind="signal", dialect="atlas-2025", files="a.root")
    with pytest.raises(ConfigError, match="would have to store sample_number, born_mass"):
        ATLAS_2025.check(simulation, Selection(cuts=CUTS))
