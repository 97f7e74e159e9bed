import sys

import numpy as np
import pytest

from tailshard.errors import ConfigError
from tailshard.inference import Bump
from tailshard.search.bump import find_bump, require_hunter, scan

EDGES = np.linspace(0, 600, 61)
FALLING = 300 * np.exp(-np.arange(60) / 12)
ASKED = Bump(pseudo_experiments=300)


@pytest.fixture
def hunter():
    return pytest.importorskip("pyBumpHunter")


def test_a_bump_is_found_where_it_is(hunter, capsys) -> None:
    data = np.random.default_rng(3).poisson(FALLING).astype(float)
    data[30:33] += [12, 25, 12]
    found = scan(data, FALLING, EDGES, ASKED)
    assert 290 <= found["window"][0] <= 310
    assert 320 <= found["window"][1] <= 340
    first, last = found["bins"]
    assert found["data"] == data[first:last].sum()
    assert found["expected"] == pytest.approx(FALLING[first:last].sum())
    # Poisson probability of as many events or more in the window.
    from scipy.stats import poisson

    assert found["local_p_value"] == pytest.approx(poisson.sf(found["data"] - 1, found["expected"]))
    assert found["global_p_value"] <= 0.01
    assert found["global_p_value"] >= found["local_p_value"] or found["global_p_value"] == 0
    assert capsys.readouterr().out == ""  # standard output is for results
    assert scan(data, FALLING, EDGES, ASKED) == found  # the seed is fixed


def test_the_global_p_value_pays_for_looking_everywhere(hunter) -> None:
    random = np.random.default_rng(4)
    found = [scan(random.poisson(FALLING).astype(float), FALLING, EDGES, ASKED) for _ in range(12)]
    shares = [its["global_p_value"] for its in found]
    assert np.mean(shares) > 0.25
    assert all(its["global_p_value"] > 3 * its["local_p_value"] for its in found)


def test_where_nothing_is_expected_nothing_is_found(hunter) -> None:
    assert "fewer bins" in scan(np.ones(60), np.zeros(60), EDGES, ASKED)["why_not"]
    assert scan(np.zeros(60), FALLING, EDGES, ASKED)["why_not"] == "no window holds more data than background"
    holes = np.where(np.arange(60) % 2, FALLING, 0)
    assert scan(FALLING.round(), holes, EDGES, ASKED)["window"] is not None


def test_what_cannot_be_scanned_is_refused(small, monkeypatch) -> None:
    def asked(channels=small.channels, **bump):
        return small.pipeline(channels, histograms={"bump": {"quantity": "m_lll", **bump}})

    require_hunter(small.pipeline(small.channels))
    with pytest.raises(ConfigError, match="no data set has kind data"):
        require_hunter(asked({"zjets": "background"}))
    monkeypatch.setitem(sys.modules, "pyBumpHunter", None)
    with pytest.raises(ConfigError, match=r"pip install 'tailshard\[bump\]'"):
        require_hunter(asked())
    with pytest.raises(ConfigError, match="the store has no 'm_lll'"):
        find_bump(asked(), {})


def test_windows_and_ranges_are_checked() -> None:
    for wrong in ({"range": (3, 3)}, {"widths": (3, 2)}, {"widths": (2, 60)}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Bump(**wrong)


def test_the_stage_scans_a_region(hunter, searched, small, client, tmp_path) -> None:
    import json

    from tailshard.search.histogram import histogram, read_histograms

    def pipeline(region):
        bump = {"quantity": "met", "region": region, "bins": 20, "range": [0, 400], "pseudo_experiments": 100}
        return small.pipeline(small.channels, histograms={"cell_bins": 0, "bump": bump})

    histogram(pipeline("inclusive"), searched.store, tmp_path, client)
    found = json.loads((tmp_path / "summary.json").read_text())["bump"]
    bins = read_histograms(tmp_path / "histograms.json")["bump"]
    assert found["why_not"] is None
    low, high = (round(edge / 20) for edge in found["window"])
    chosen = bins["data", sum, "inclusive", :].values()[low:high]
    assert found["data"] == chosen.sum()
    assert found["expected_uncertainty"] > 0
    with pytest.raises(ConfigError, match=r"there is no region 'tail', only inclusive, efficiency_0\.1"):
        histogram(pipeline("tail"), searched.store, tmp_path / "other", client)
