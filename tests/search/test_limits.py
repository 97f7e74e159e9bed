import json

import numpy as np
import pytest
from scipy.stats import norm, poisson

from tailshard.inference import Limits
from tailshard.search.limits import FOLDER, find_limits, rough_limit, upper_limits, write_workspaces
from tailshard.search.significance import Spectrum
from tailshard.search.tail import Tail

pytest.importorskip("pyhf")


def counting(signal, background, variance=0.0, data=None) -> Tail:
    spectra = {"b": Spectrum(np.array([background]), np.array([variance]))}
    observed = None if data is None else np.array([data])
    return Tail([0.0], Spectrum(np.array([signal]), np.zeros(1)), spectra, observed)


def asymptotic_cls_limit(signal, background, data) -> float:
    """Of a counting experiment with a known background, by bisection with formulas of arXiv:1007.1727."""

    def cls(mu: float) -> float:
        def q(n):
            rate, best = mu * signal + background, max(n, background)
            if n > rate:
                return 0.0
            return 2 * (poisson.logpmf(round(n), best) - poisson.logpmf(round(n), rate))

        def q_asimov():
            rate = mu * signal + background
            return 2 * (rate - background + background * np.log(background / rate))

        root, asimov = np.sqrt(q(data)), np.sqrt(q_asimov())
        if root <= asimov:
            return norm.sf(root) / norm.sf(root - asimov)
        above = norm.sf((root**2 + asimov**2) / (2 * asimov))
        return above / norm.sf((root**2 - asimov**2) / (2 * asimov))

    low, high = 1e-3 / signal, 1e3 / signal
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if cls(middle) > 0.05 else (low, middle)
    return low


@pytest.mark.parametrize(
    ("signal", "background", "data"), [(10.0, 50.0, 50), (0.004, 50.0, 61), (900.0, 4.0, 3)]
)
def test_limits_are_those_of_the_formulas_for_a_counting_experiment(signal, background, data) -> None:
    found = upper_limits(counting(signal, background, data=float(data)), "error", "s", Limits())
    assert found["why_not"] is None
    assert found["observed"] == pytest.approx(asymptotic_cls_limit(signal, background, data), rel=0.01)
    median = found["expected"][2]
    if data == background:
        assert found["observed"] == pytest.approx(median, rel=0.01)
        # arXiv:1007.1727, equation 89: mu = sigma (N^-1(1 - alpha N(n)) + n), here for the median.
        sigma = (
            median
            * signal
            / np.sqrt(
                2 * (median * signal + background * np.log(background / (median * signal + background)))
            )
        )
        assert median * signal == pytest.approx(sigma * norm.ppf(1 - 0.05 * 0.5), rel=0.01)
    assert found["expected"] == sorted(found["expected"])


def test_uncertainties_make_limits_weaker() -> None:
    exact, simulated, scaled = (
        upper_limits(counting(10.0, 50.0, variance), "error", "s", Limits(background_uncertainty=relative))
        for variance, relative in ((0.0, 0.0), (100.0, 0.0), (0.0, 0.3))
    )
    assert exact["expected"][2] < simulated["expected"][2] < scaled["expected"][2]
    assert exact["observed"] is None  # there is no data


def test_a_fit_that_fails_says_so(monkeypatch) -> None:
    from pyhf.infer.intervals import upper_limits as scans

    def broken(*_args, **_options):
        raise ValueError("no minimum")

    monkeypatch.setattr(scans, "toms748_scan", broken)
    found = upper_limits(counting(10.0, 50.0), "error", "s", Limits())
    assert found == {
        "expected": None,
        "observed": None,
        "why_not": "pyhf could not fit the counts (ValueError: no minimum)",
    }


def test_the_rough_limit_is_near_the_limit() -> None:
    for signal, background in ((10.0, 50.0), (1e-3, 1e4), (50.0, 0.1)):
        tail = counting(signal, background)
        limit = upper_limits(tail, "error", "s", Limits())["expected"][2]
        assert 0.3 < limit / rough_limit(tail, Limits()) < 3


@pytest.fixture(scope="module")
def limited(searched, small, client):
    from tailshard.search.histogram import read_histograms

    pipeline = small.pipeline(small.channels, limits={"background_uncertainty": 0.1})
    return find_limits(pipeline, read_histograms(searched.results / "histograms.json"), client)


def test_the_network_stands_beside_met_and_m_eff(limited, searched) -> None:
    limits, workspaces = limited
    assert list(limits) == ["resonance"]
    assert list(limits["resonance"]) == ["error", "met", "m_eff"]
    assert set(workspaces) == {"resonance.json", "resonance-met.json", "resonance-m_eff.json"}
    for score, its in limits["resonance"].items():
        assert its["why_not"] is None
        assert its["observed"] > 0
        name = "resonance" if score == "error" else f"resonance-{score}"
        parameters = workspaces[f"{name}.json"]["measurements"][0]["config"]["parameters"]
        assert parameters[0]["bounds"][0][1] > max(its["observed"], its["expected"][4])
        values = searched.events["data"][score]
        values = np.log10(values) if score == "error" else values
        assert its["data"].sum() == np.count_nonzero(values >= its["edges"][0])
    best = limits["resonance"]["error"]["expected"][2]
    assert best < limits["resonance"]["met"]["expected"][2]


def test_a_signal_that_is_absent_and_a_pipeline_that_wants_none(searched, small, client) -> None:
    from tailshard.search.histogram import read_histograms

    histograms = read_histograms(searched.results / "histograms.json")
    assert find_limits(small.pipeline(small.channels, limits=None), histograms, client) == ({}, {})
    for name in ("error_fine", "met_fine", "m_eff_fine"):
        for field in ("value", "variance"):
            histograms[name].view(flow=True)[field][2] = 0  # the resonance
    limits, workspaces = find_limits(small.pipeline(small.channels, limits={}), histograms, client)
    assert workspaces == {}
    for its in limits["resonance"].values():
        assert its["why_not"] == "no event of resonance is left above the loosest cut"
        assert its["expected"] is its["data"] is None


def test_workspaces_of_another_search_go(tmp_path) -> None:
    write_workspaces(tmp_path, {"a.json": {"version": "1.0.0"}, "b.json": {}})
    write_workspaces(tmp_path, {"a.json": {"version": "1.0.0"}})
    assert [file.name for file in (tmp_path / FOLDER).iterdir()] == ["a.json"]
    assert json.loads((tmp_path / FOLDER / "a.json").read_text()) == {"version": "1.0.0"}
