import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailshard.search.agreement import agreement, groups, worst_first
from tailshard.search.significance import Spectrum


def spectrum(values, variances=None) -> Spectrum:
    values = np.asarray(values, float)
    return Spectrum(values, values if variances is None else np.asarray(variances, float))


def test_chi_squared_is_that_of_a_calculation_by_hand() -> None:
    found = agreement(spectrum([12, 18]), spectrum([10, 20], [6, 5]))
    assert found.chi2 == pytest.approx(4 / 16 + 4 / 25)
    assert found.bins == 2
    assert found.chi2_per_bin == pytest.approx(0.205)
    assert found.p_value == pytest.approx(np.exp(-0.41 / 2))  # of two degrees of freedom
    assert (found.data, found.expected) == (30, 30)
    assert found.expected_uncertainty == pytest.approx(np.sqrt(11))
    assert found.shape_chi2 == pytest.approx(found.chi2)  # the totals are equal


def test_the_shape_alone_knows_no_normalisation() -> None:
    found = agreement(spectrum([20, 40, 60]), spectrum([10, 20, 30]))
    assert found.chi2 > 10
    assert found.shape_chi2 == pytest.approx(0, abs=1e-12)
    assert found.shape_p_value == pytest.approx(1)


def test_neighbours_are_taken_together_until_enough_is_expected() -> None:
    def begin(values, weight=1.0):
        return groups(spectrum(values, weight * np.abs(values)), 5).tolist()

    assert begin([1, 2, 3, 5, 0, 4, 2]) == [0, 3, 4]
    assert begin([6, 6, 1, 1]) == [0, 1]  # the last one takes what is left over
    assert begin([1, 1]) == []
    assert begin([5, 9, -3], 0.5) == [0, 1]
    assert begin([5, 6, -3], 0.5) == [0]  # 6 - 3 is too little for a group of its own
    assert begin([6, 6, 6, 6], 2.0) == [0, 2]  # three simulated events of weight 2 in each bin
    found = agreement(spectrum([0, 0, 7, 1]), spectrum([0, 3, 3, 0], [0, 1, 1, 0]))
    assert (found.bins, found.shape_chi2) == (1, None)
    assert found.chi2 == pytest.approx((8 - 6) ** 2 / (6 + 2))


def test_data_where_nothing_is_expected_is_not_lost() -> None:
    expected = spectrum([50, 0, 0, 0])
    assert agreement(spectrum([50, 0, 0, 30]), expected).chi2 == pytest.approx(900 / 100)


def test_too_little_simulation_gives_nothing() -> None:
    assert agreement(spectrum([1, 2]), spectrum([1, 2])) is None
    assert agreement(spectrum([1, 2]), spectrum([-9, 2])) is None


def test_data_of_larger_weights_fluctuates_more() -> None:
    found = agreement(Spectrum(np.array([15.0]), np.array([75.0])), spectrum([20], [0]))
    assert found.chi2 == pytest.approx(25 / 100)


@pytest.mark.parametrize("weight", [0.25, 2.0])
def test_p_values_of_fluctuations_are_spread_evenly(weight) -> None:
    random = np.random.default_rng(5)
    true = np.array([200.0, 80, 30, 12, 3, 1])
    p_values = []
    for _ in range(400):
        simulation = weight * random.poisson(true / weight)
        found = agreement(spectrum(random.poisson(true)), spectrum(simulation, weight * simulation))
        p_values.append(found.p_value)
    counts, _ = np.histogram(p_values, 4, (0, 1))
    assert ((counts - 100) ** 2 / 100).sum() < 16  # p = 0.001 of three degrees of freedom


@given(st.lists(st.floats(-3, 50), min_size=1, max_size=30), st.floats(0.5, 20))
def test_every_group_holds_enough(expected, least) -> None:
    values = np.array(expected)
    starts = groups(spectrum(values, np.abs(values)), least)
    if len(starts):
        assert starts[0] == 0
        held, variance = (np.add.reduceat(each, starts) for each in (values, np.abs(values)))
        assert (held >= least * (1 - 1e-9)).all()
        assert (held**2 >= least * variance * (1 - 1e-9)).all()


def test_the_worst_come_first_and_the_unknown_nowhere() -> None:
    good, bad = (agreement(spectrum([d]), spectrum([10])) for d in (11, 30))
    found = {"a": good, "b": None, "c": bad, "d": good}
    assert [row["name"] for row in worst_first(found)] == ["c", "a", "d"]
    # Five bins that are all off say more than a single one that is a little more so.
    several = agreement(spectrum([130] * 5), spectrum([100] * 5, [0] * 5))
    single = agreement(spectrum([134]), spectrum([100], [0]))
    assert several.chi2_per_bin < single.chi2_per_bin
    assert [row["name"] for row in worst_first({"single": single, "several": several})] == [
        "several",
        "single",
    ]
    # Beyond what a p-value can say, chi2 per bin decides.
    huge = {name: agreement(spectrum([data]), spectrum([10], [0])) for name, data in (("x", 9e3), ("y", 9e4))}
    assert [row["name"] for row in worst_first(huge)] == ["y", "x"]


def test_the_summary_compares_all_data_with_the_quoted_background(searched) -> None:
    found = json.loads((searched.results / "summary.json").read_text())["agreement"]
    assert {row["name"] for row in found["quantities"]} | set(found["too_few"]) >= {"error", "met", "m_lll"}
    met = next(row for row in found["quantities"] if row["name"] == "met")
    background = [searched.events[name] for name in ("zjets", "ttbar")]
    expected = 5 * sum(part["weight"][part["split"] == 3].sum() for part in background)
    assert met["data"] == len(searched.events["data"]["met"])
    assert met["expected"] == pytest.approx(expected)
    p_values = [row["p_value"] for row in found["cells"]]
    assert p_values == sorted(p_values)
