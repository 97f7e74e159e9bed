"""The searches of the thesis on toys in the layout of their ntuples, from ROOT files to the store."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from distributed import Client

from tailshard.config import Pipeline
from tailshard.data_taking import year_of
from tailshard.errors import ProcessingError
from tailshard.ingest.stage import ingest
from tailshard.pipeline_files import load, shipped
from tailshard.store.catalog import Catalog, Slot, read_catalog
from tailshard.store.read import open_channel

SAMPLES = {
    "zjets": "background",
    "ttbar": "background",
    "diboson": "background",
    "resonance": "signal",
    "data": "data",
}


def thesis(toys: Path, name: str, *overrides: str) -> Pipeline:
    datasets = [
        {"channel": sample, "kind": kind, "dialect": "susy-skim", "files": f"{sample}_*.root"}
        for sample, kind in SAMPLES.items()
    ]
    small = [f"datasets={yaml.safe_dump(datasets, default_flow_style=True)}", "store.slot=2048"]
    return load(shipped(name), [*small, "store.chunk=256", *overrides], str(toys))


@pytest.fixture(scope="module")
def two_lepton(susy_toys: Path, tmp_path_factory: pytest.TempPathFactory, dask_workers: Client) -> Path:
    store = tmp_path_factory.mktemp("thesis") / "store"
    ingest(thesis(susy_toys, "thesis-2lep"), store, dask_workers, strict=True)
    return store


def column(store: Path, channel: str, name: str) -> np.ndarray:
    group = open_channel(store, channel)
    return np.asarray(group[name][:])[group["split"][:] > 0]


def slots(catalog: Catalog, channel: str) -> list[Slot]:
    return [slot for slot in catalog.slots if slot.channel == channel]


def test_the_cutflow_has_every_cut_of_the_thesis(two_lepton: Path) -> None:
    catalog = read_catalog(two_lepton)
    for slot in catalog.slots:
        assert [step.name for step in slot.cutflow] == [
            "all",
            "data taking of 2015, 2016, 2017, 2018",
            "no bad sample",
            "no Z event twice",
            "dilepton trigger of the year, legs matched",
            "at least 2 baseline leptons",
            "at least 2 leptons",
            "lepton pT > 25, 25 GeV",
            "m_ll > 70 GeV",
        ]
        raw = [step.raw for step in slot.cutflow]
        assert raw == sorted(raw, reverse=True)
        assert raw[1] == raw[0]
    for slot in slots(catalog, "zjets"):  # only Z samples have something to remove
        raw = [step.raw for step in slot.cutflow]
        assert raw[1] > raw[2] > raw[3]
    for channel in ("ttbar", "data"):
        assert all(slot.cutflow[1].raw == slot.cutflow[3].raw for slot in slots(catalog, channel))


def test_events_are_scaled_by_campaign(susy_toys: Path, two_lepton: Path) -> None:
    truth = json.loads((susy_toys / "truth.json").read_text())
    for sample in ("zjets", "ttbar", "resonance"):
        before = sum(slot.cutflow[0].weighted for slot in slots(read_catalog(two_lepton), sample))
        expected = truth["samples"][sample]["expected"] * 138.965 / truth["luminosity"]
        assert before == pytest.approx(expected, rel=1e-4)
    assert set(column(two_lepton, "data", "weight")) == {1}


def test_two_years_keep_their_part_of_the_simulation_and_of_the_data(
    susy_toys: Path, two_lepton: Path, tmp_path: Path, dask_workers: Client
) -> None:
    pipeline = thesis(susy_toys, "thesis-2lep", "years=[2015, 2016]", "luminosity=36.208")
    ingest(pipeline, tmp_path / "store", dask_workers, strict=True)
    runs = column(tmp_path / "store", "data", "run")
    assert set(year_of(runs)) == {2015, 2016}
    all_runs = column(two_lepton, "data", "run")
    assert len(runs) == np.isin(year_of(all_runs), [2015, 2016]).sum()
    for sample in ("zjets", "ttbar"):
        share = (
            column(tmp_path / "store", sample, "weight").sum() / column(two_lepton, sample, "weight").sum()
        )
        assert share == pytest.approx(36.208 / 138.965, abs=0.05)


def test_three_leptons(susy_toys: Path, tmp_path: Path, dask_workers: Client) -> None:
    ingest(thesis(susy_toys, "thesis-3lep"), tmp_path / "store", dask_workers, strict=True)
    assert set(column(tmp_path / "store", "diboson", "leptons")) == {3}
    names = [step.name for step in read_catalog(tmp_path / "store").slots[0].cutflow]
    assert names[4:] == [
        "dilepton trigger of the year, legs matched",
        "exactly 3 baseline leptons",
        "exactly 3 leptons",
        "lepton pT > 20, 20 GeV",
    ]


def correction(path: Path, flow: str) -> str:
    data = {
        "nodetype": "binning",
        "input": "pt",
        "edges": [0.0, 50.0, 90.0],
        "content": [0.5, 2.0],
        "flow": flow,
    }
    pt = [{"name": "pt", "type": "real"}]
    its = {"name": "sf", "version": 1, "inputs": pt, "output": {"name": "w", "type": "real"}, "data": data}
    path.write_text(json.dumps({"schema_version": 2, "corrections": [its]}))
    return f"corrections=[{{file: {path}, name: sf, inputs: {{pt: leading_lepton_pt}}}}]"


def test_a_correction_scales_simulation_and_leaves_data_alone(
    susy_toys: Path, two_lepton: Path, tmp_path: Path, dask_workers: Client
) -> None:
    its = correction(tmp_path / "sf.json", "clamp")
    ingest(thesis(susy_toys, "thesis-2lep", its), tmp_path / "store", dask_workers, strict=True)
    for sample in ("zjets", "resonance"):
        pt = column(two_lepton, sample, "leading_lepton_pt")
        ratio = column(tmp_path / "store", sample, "weight") / column(two_lepton, sample, "weight")
        np.testing.assert_allclose(ratio, np.where(pt < 50, 0.5, 2.0), rtol=1e-5)
    assert set(column(tmp_path / "store", "data", "weight")) == {1}


def test_a_correction_that_does_not_reach_an_event_stops_the_run_and_names_it(
    susy_toys: Path, tmp_path: Path, dask_workers: Client
) -> None:
    its = correction(tmp_path / "sf.json", "error")
    with pytest.raises(ProcessingError, match=r"entries 0 to .*correction 'sf' of .* cannot be evaluated"):
        ingest(thesis(susy_toys, "thesis-2lep", its), tmp_path / "store", dask_workers)
