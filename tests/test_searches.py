"""The shipped searches from ntuples to report, with one command each."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import uproot

from tailshard import verbs
from tailshard.pipeline_files import shipped

pytestmark = pytest.mark.slow


def _numbers(content: Any) -> Iterator[float]:
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        for each in content:
            yield from _numbers(each)
    elif isinstance(content, float):
        yield content


def _summary(workdir: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((workdir / "results" / "summary.json").read_text())
    assert all(math.isfinite(number) for number in _numbers(summary))
    return summary


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("demo")
    answer = verbs.demo(workdir=workdir, overrides=["training.epochs=5"])
    assert all(stage["did"] for stage in answer["stages"].values())
    assert Path(answer["stages"]["report"]["page"]).is_file()
    return workdir


def test_the_demo_finds_the_signal_that_was_put_into_its_data(demo: Path) -> None:
    summary = _summary(demo)
    truth = json.loads((demo / "toys" / "truth.json").read_text())
    signal = summary["signals"]["resonance"]
    assert signal["auc"]["error"]["value"] > signal["auc"]["met"]["value"] > 0.5
    quoted = {name: scan["quoted"] for name, scan in signal["scans"].items() if scan["quoted"]}
    baseline = quoted.pop("met")
    quoted.pop("m_eff")  # the signal is heavy: a cut on m_eff alone finds it as well
    assert max(scan["asimov"] or 0 for scan in quoted.values()) > baseline["asimov"]
    assert signal["best"]["region"] in quoted
    candidates = pyarrow.parquet.read_table(demo / "results" / "candidates.parquet").to_pylist()
    assert len(candidates) == summary["candidates"]["count"]
    injected = set(truth["injected"])
    found = sum(row["event_number"] in injected for row in candidates)
    share = len(injected) / summary["channels"]["data"]["yield"]
    assert found / len(candidates) > 5 * share, "candidates are no richer in signal than the data"


def test_the_page_and_the_root_file_hold_what_they_should(demo: Path) -> None:
    page = (demo / "report" / "index.html").read_text()
    for heading in ("Cutflow", "Significance", "Training", "Candidates", "Provenance"):
        assert heading in page
    for address in ('src="http', 'href="http', "<script"):
        assert address not in page
    with uproot.open(demo / "report" / "histograms.root") as file:
        histograms = [file[key] for key, name in file.classnames().items() if name.startswith("TH1")]
        assert histograms
        assert sum(float(histogram.values().sum()) for histogram in histograms) > 0


@pytest.mark.parametrize(
    ("name", "counts", "signals"),
    [
        ("open-data", {"ttWW": 2670, "zprime3000": 338, "data": 30}, ["zprime3000"]),
        ("open-data-4lep", {"Zee": 243, "ttbar": 334, "ttW": 333, "data": 27 + 86}, []),
    ],
)
def test_a_search_on_real_files(
    name: str, counts: dict[str, int], signals: list[str], shared_data: Path, tmp_path: Path
) -> None:
    def run() -> dict[str, Any]:
        return verbs.run(
            shipped(name), workdir=tmp_path, data_root=str(shared_data), overrides=["training.epochs=5"]
        )

    assert all(stage["did"] for stage in run()["stages"].values())
    summary = _summary(tmp_path)
    events = {channel: sum(row["events"].values()) for channel, row in summary["channels"].items()}
    assert {channel: events[channel] for channel in counts} == counts
    assert events["data"] > 0
    assert list(summary["signals"]) == signals
    for signal in summary["signals"].values():
        assert signal["auc"]["error"]["uncertainty"] > 0
        assert signal["auc"]["met"]["value"] > 0
        assert {"met", "m_eff"} <= set(signal["scans"])
        assert signal["efficiencies"]["error"][-1]["value"] is None  # 574 events cannot tell 1e-4
    assert all(row["background"]["uncertainty"] >= 0 for row in summary["regions"])
    assert (tmp_path / "results" / "candidates.csv").read_text().count("\n") > 1

    assert not any(stage["did"] for stage in run()["stages"].values())


def test_four_lepton_yields_are_the_published_ones(shared_data: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "work"
    answer = verbs.ingest(
        shipped("open-data-4lep"),
        workdir=workdir,
        data_root=str(shared_data),
        # The published yields go without the b-tag scale factor, which belongs to the 70 % working point.
        overrides=["luminosity=10 fb^-1", "selection.jets.b_tag_efficiency=77"],
    )
    yields = answer["stages"]["ingest"]["yields"]
    assert yields["Zee"] == pytest.approx(43.14, abs=0.01)
    assert yields["ttbar"] == pytest.approx(28.13, abs=0.01)
    assert yields["data"] == 113


@pytest.mark.parametrize(
    ("name", "data", "signal"),
    [("benchmark-2lep", 20546, 147.9), ("benchmark-3lep", 5280, 75.39)],
)
def test_a_benchmark_search(name: str, data: int, signal: float, shared_data: Path, tmp_path: Path) -> None:
    answer = verbs.run(
        shipped(name),
        workdir=tmp_path,
        data_root=str(shared_data),
        overrides=["training.epochs=1", "training.batch_size=2048"],
    )
    assert answer["stages"]["ingest"]["quarantine"] == []
    summary = _summary(tmp_path)
    channels = summary["channels"]
    assert sum(channels["pseudodata"]["events"].values()) == data
    assert answer["stages"]["ingest"]["yields"]["C1N2_450_300"] == pytest.approx(signal, rel=1e-3)
    assert list(summary["signals"]) == ["C1N2_450_300", "C1N2_800_50"]
    for signal_summary in summary["signals"].values():
        assert signal_summary["auc"]["met"]["value"] > 0.9
    if name == "benchmark-2lep":  # in 3-lepton data, the Z with a fake lepton is one event many times
        inclusive = summary["regions"][0]
        expected = inclusive["background"]["value"] * 0.0196 / 139
        assert inclusive["data"] == pytest.approx(expected, rel=0.05)
    page = (tmp_path / "report" / "index.html").read_text()
    assert "fb⁻¹" in page


@pytest.mark.parametrize("name", ["thesis-2lep", "thesis-3lep"])
def test_a_search_of_the_thesis_on_toys_of_its_layout(name: str, susy_toys: Path, tmp_path: Path) -> None:
    kinds = {"zjets": "background", "ttbar": "background", "diboson": "background", "resonance": "signal"}
    datasets = [
        f"{{channel: {sample}, kind: {kind}, dialect: susy-skim, files: '{sample}_*.root'}}"
        for sample, kind in (kinds | {"data": "data"}).items()
    ]
    overrides = [
        f"datasets=[{', '.join(datasets)}]",
        *("store.slot=2048", "store.chunk=256", "training.epochs=2", "training.batch_size=64"),
    ]
    verbs.run(shipped(name), workdir=tmp_path, data_root=str(susy_toys), overrides=overrides)
    summary = _summary(tmp_path)
    assert summary["luminosity"] == 138.965
    assert sum(summary["channels"]["data"]["events"].values()) > 0
    auc = summary["signals"]["resonance"]["auc"]["error"]["value"]
    if name == "thesis-2lep":
        assert 0 < auc <= 1
    else:  # the signal of the toys has two leptons
        assert auc is None
        assert sum(summary["channels"]["diboson"]["events"].values()) > 0
