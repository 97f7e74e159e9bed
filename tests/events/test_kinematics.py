import numpy as np
import pytest

from tailshard.cuts import LeptonCuts, Selection
from tailshard.events.kinematics import QUANTITIES, kinematics, mass_of_leading
from tailshard.events.objects import select_objects

SELECTION = Selection(
    electrons=LeptonCuts(minimum_pt=0, maximum_abs_eta=10), muons=LeptonCuts(minimum_pt=0, maximum_abs_eta=10)
)


def compute(events, selection=SELECTION):
    return kinematics(events, select_objects(events, selection, b_tag_threshold=4))


def test_quantities_of_one_event_match_a_calculation_by_hand(make_events):
    events = make_events(
        [[{"pt": 30.0, "phi": np.pi}, {"pt": 40.0}, {"pt": 10.0, "phi": np.pi / 2}]],
        [[{"pt": 50.0}, {"pt": 25.0, "b_tag": 5}]],
        met=[60.0],
        met_phi=[np.pi],
    )
    values = {name: float(value[0]) for name, value in compute(events).items()}
    assert values == pytest.approx(
        {
            "met": 60,
            "leading_lepton_pt": 40,
            "leading_jet_pt": 50,
            "m_ll": 2 * np.sqrt(30 * 40),
            "m_lll": np.sqrt(80**2 - 10**2 - 10**2),
            "m_llll": np.nan,
            "m_t": 2 * np.sqrt(40 * 60),
            "h_t": 75,
            "m_eff": 75 + 80 + 60,
            "delta_r_ll": np.pi,
            "delta_phi_ll": np.pi,
            "leptons": 3,
            "jets": 2,
            "b_jets": 1,
        },
        nan_ok=True,
        rel=1e-6,
    )


def test_a_quantity_is_undefined_without_its_objects_and_zero_sums_are_zero(make_events):
    values = compute(make_events([[], [{"pt": 20.0}]]))
    undefined = {name for name, value in values.items() if np.isnan(value[0])}
    assert undefined == {
        "leading_lepton_pt", "leading_jet_pt", "m_ll", "m_lll", "m_llll", "m_t", "delta_r_ll", "delta_phi_ll",
    }  # fmt: skip
    assert values["h_t"].tolist() == [0, 0]
    assert values["leading_lepton_pt"][1] == 20
    assert np.isnan(values["m_ll"][1])


def test_every_quantity_is_float32_one_value_per_event_also_for_no_events(make_events):
    for size in (3, 0):
        values = compute(make_events([[{"pt": 20.0}]] * size))
        assert list(values) == list(QUANTITIES)
        assert {(value.dtype, value.shape) for value in values.values()} == {(np.dtype(np.float32), (size,))}


def test_units_are_those_the_store_writes():
    assert {quantity.unit for quantity in QUANTITIES.values()} == {"GeV", "rad", "1"}


def test_angles_between_leptons_wrap_at_pi(make_events):
    events = make_events([[{"pt": 30.0, "phi": 3.1, "eta": 1.0}, {"pt": 20.0, "phi": -3.1, "eta": 1.0}]])
    values = compute(events)
    assert values["delta_phi_ll"][0] == pytest.approx(2 * np.pi - 6.2, abs=1e-6)
    assert values["delta_r_ll"][0] == pytest.approx(2 * np.pi - 6.2, abs=1e-6)


def test_a_mass_just_below_zero_is_negative_and_not_nan(make_events):
    light = np.sqrt(50.0**2 - 1e-4)
    pair = [{"pt": 50.0, "energy": light}, {"pt": 50.0, "energy": light}]
    objects = select_objects(make_events([pair]), SELECTION, 4)
    assert mass_of_leading(objects.leptons, 2)[0] == pytest.approx(-0.02, rel=1e-6)
