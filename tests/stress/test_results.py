"""Spectra become numbers."""

import numpy as np
import pytest
from hist import Hist, storage

from tailshard.search.filling import ERROR
from tailshard.stress.measure import EVENTS, KEPT, TAKEN, Sums, axes, quantities_of
from tailshard.stress.results import UNDISTURBED, against_the_others, edges, row, rows_of_network

Measured = tuple[dict[str, Sums], dict[str, dict[str, np.ndarray]]]


def _sums(seed: int, shift: float, disturbances: tuple[str, ...] = ()) -> tuple[Sums, dict[str, np.ndarray]]:
    random, known = np.random.default_rng(seed), axes()
    sums: Sums = {}
    values = {}
    for number, sample in enumerate((KEPT, TAKEN, *disturbances)):
        error = np.round(random.normal(shift + 0.5 * max(0, number - 1), 0.3, 40), 1) + 0.0005
        values[sample] = error
        sums[sample, EVENTS] = len(error)
        for quantity in quantities_of(sample):
            sums[sample, quantity] = Hist(known[quantity], storage=storage.Weight())
            sums[sample, quantity].fill(error if quantity == ERROR else 100 + error, weight=np.full(40, 2.0))
    return sums, values


def _area(signal: np.ndarray, background: np.ndarray) -> float:
    above = signal[:, None] > background[None, :]
    return float((above + 0.5 * (signal[:, None] == background[None, :])).mean())


@pytest.fixture(scope="module")
def measured() -> Measured:
    made = {"a": _sums(0, 0.0, ("momentum_3", "noise")), "b": _sums(1, 0.4, ("momentum_3", "noise"))}
    return {name: sums for name, (sums, _) in made.items()}, {name: its for name, (_, its) in made.items()}


def test_a_channel_stands_against_the_others(measured: Measured) -> None:
    sums, values = measured
    found = against_the_others(sums, "b", ["a", "b"])
    every = {name: np.concatenate([its[KEPT], its[TAKEN]]) for name, its in values.items()}
    assert found["auc"][ERROR]["value"] == pytest.approx(_area(every["b"], every["a"]))
    assert found["auc"][ERROR]["uncertainty"] > 0
    assert found["events"] == {"signal": 80, "background": 80}
    assert set(found["auc"]) == {ERROR, "met", "m_eff"}
    at = {its["background_efficiency"]: its for its in found["efficiencies"]}
    cut = np.sort(every["a"])[-8]  # a tenth of the background
    kept = (every["b"] > cut).mean()
    assert kept <= at[0.1]["value"] <= (every["b"] >= cut).mean()
    assert np.isnan(at[0.001]["value"]), "80 events cannot tell a thousandth"


def test_no_event_is_compared_with_itself(measured: Measured) -> None:
    sums, values = measured
    found = rows_of_network(sums, ["a", "b"], [], ["momentum_3", "noise"])
    kept = np.concatenate([its[KEPT] for its in values.values()])
    rest = np.concatenate([its[TAKEN] for its in values.values()])
    for name, background in (("momentum_3", kept), ("noise", np.concatenate([kept, rest]))):
        disturbed = np.concatenate([its[name] for its in values.values()])
        its = found["disturbed"][name]
        assert its["auc"][ERROR]["value"] == pytest.approx(_area(disturbed, background))
        assert its["events"] == {"signal": 80, "background": len(background)}
    assert set(found["disturbed"]["noise"]["auc"]) == {ERROR}, "noise has no objects, and so no MET"


def test_distributions_are_normalised_and_lose_nothing(measured: Measured) -> None:
    found = rows_of_network(measured[0], ["a", "b"], [], ["noise"])["distributions"]
    assert set(found) == {UNDISTURBED, "noise"}
    for its in found.values():
        assert len(its["values"]) == len(its["uncertainties"]) == len(edges()) - 1
        assert its["values"].sum() == pytest.approx(1)


def test_a_single_background_and_an_absent_signal_have_no_row(measured: Measured) -> None:
    found = rows_of_network({"a": measured[0]["a"]}, ["a"], ["nowhere"], [])
    assert found["channels"] == found["signals"] == found["disturbed"] == {}


def test_nothing_against_nothing_is_no_number() -> None:
    found = row({}, [("a", KEPT)], [("b", KEPT)])
    assert np.isnan(found["auc"][ERROR]["value"])
    assert found["events"] == {"signal": 0, "background": 0}
