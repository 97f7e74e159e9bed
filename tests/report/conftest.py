"""A small search, done by the real stages on made-up events: everything that a report reads."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from distributed import Client
from tests.clusters import threads_of_this_process

from tailshard.config import Pipeline, content_hash
from tailshard.store.catalog import Catalog, Channel, CutflowStep, Quarantined, Slot, write_catalog
from tailshard.store.layout import Geometry, assign_splits
from tailshard.store.write import create_arrays, write_slot

GEOMETRY = Geometry(slot=1024, chunk=256, counts=(6, 6, 5, 5))
QUANTITIES = {
    "met": ("GeV", "missing transverse momentum"),
    "m_ll": ("GeV", "mass of the two leading leptons"),
    "m_lll": ("GeV", "mass of the three leading leptons"),
    "m_eff": ("GeV", "effective mass"),
    "jets": ("1", "number of jets"),
}

# channel -> kind, events, weight, mean MET
CHANNELS = {
    "zjets": ("background", 1000, 0.8, 40),
    "ttbar": ("background", 800, 0.2, 80),
    "resonance": ("signal", 400, 0.05, 250),
    "data": ("data", 900, 1.0, 50),
}


class Search(NamedTuple):
    """A pipeline and the folders of its stages."""

    pipeline: Pipeline
    store: Path
    model: Path
    results: Path


def _pipeline(channels: list[str], **changes: Any) -> Pipeline:
    return Pipeline.model_validate(
        {
            "name": "made-up",
            "description": "Made-up events.",
            "luminosity": 10,
            "datasets": [
                {"channel": name, "kind": CHANNELS[name][0], "dialect": "atlas-2025", "files": f"{name}.root"}
                for name in channels
            ],
            "store": {"slot": GEOMETRY.slot, "chunk": GEOMETRY.chunk},
            "histograms": {
                "observables": {
                    "met": {"bins": 20, "range": [0, 500]},
                    "m_lll": {"bins": 10, "range": [0, 500]},
                    "jets": {"bins": 8, "range": [0, 8]},
                    "not_in_the_store": {"bins": 2, "range": [0, 1]},
                }
            },
            "regions": {"background_efficiencies": [0.1], "median_steps": [1], "minimum_background": 2},
            "report": {"candidate_fraction": 0.05, "event_displays": 1},
            **changes,
        }
    )


def _events(channel: str, three_leptons: bool) -> dict[str, np.ndarray]:
    kind, count, weight, mean_met = CHANNELS[channel]
    random = np.random.default_rng(list(CHANNELS).index(channel))
    strange = np.full(count, kind == "signal") | ((kind == "data") & (random.random(count) < 0.02))
    multiplicity = random.integers(0, 3, (count, 4)).astype(np.uint8)
    present = np.zeros((count, GEOMETRY.size), bool)
    present[:, 0] = True
    for number, first in enumerate((1, 7, 13, 18)):
        present[:, first : first + 2] = np.arange(2) < multiplicity[:, number, np.newaxis]
    cells = (
        random.exponential(0.02, (count, GEOMETRY.size, GEOMETRY.size))
        * np.where(strange, 8, 1)[:, None, None]
    )
    met = random.exponential(mean_met, count)
    m_lll = np.where(random.random(count) < 0.4, random.normal(150, 40, count), np.nan)
    return {
        "rmm": (cells * present[:, :, np.newaxis] * present[:, np.newaxis, :]).astype(np.float32),
        "objects": np.zeros((count, GEOMETRY.size, 4), np.float32),
        "multiplicity": multiplicity,
        "weight": np.full(count, weight),
        "run": np.full(count, 284500, np.uint64),
        "event_number": random.permutation(count).astype(np.uint64),
        "entry": np.arange(0, 2 * count, 2, dtype=np.uint64),
        "met": met.astype(np.float32),
        "m_ll": random.normal(91, 5, count).astype(np.float32),
        "m_lll": (m_lll if three_leptons else np.full(count, np.nan)).astype(np.float32),
        "m_eff": (met + random.exponential(200, count)).astype(np.float32),
        "jets": multiplicity[:, :2].sum(axis=1).astype(np.float32),
    }


def _write_store(store: Path, pipeline: Pipeline, three_leptons: bool) -> Catalog:
    create_arrays(store, dict.fromkeys(pipeline.channels, 1), GEOMETRY, QUANTITIES)
    slots = []
    for channel in pipeline.channels:
        columns = _events(channel, three_leptons)
        count = len(columns["weight"])
        split = assign_splits(
            channel, columns["run"], columns["event_number"], columns["entry"], pipeline.splits
        )
        written = write_slot(store, channel, 0, GEOMETRY, columns, split)
        slots.append(
            Slot(
                channel=channel,
                index=0,
                dataset=channel,
                url=f"root://somewhere/{channel}.root",
                uuid="",
                tree="analysis",
                start=0,
                stop=2 * count,
                key=content_hash(channel),
                rows=written.rows,
                sum_of_weights=written.sum_of_weights,
                sum_of_squared_weights=written.sum_of_squared_weights,
                cutflow=(
                    CutflowStep("all", 2 * count, 2 * float(columns["weight"].sum())),
                    CutflowStep("two leptons", count, float(columns["weight"].sum())),
                ),
                selected=count,
            )
        )
    catalog = Catalog(
        geometry=GEOMETRY,
        channels=tuple(Channel(name=name, kind=kind) for name, kind in pipeline.channels.items()),
        slots=tuple(slots),
        quarantine=(Quarantined(dataset="zjets", url="root://somewhere/bad.root", reason="cut <short>"),),
    )
    write_catalog(store, catalog)
    return catalog


def _write_model(folder: Path, store: Path, catalog: Catalog, pipeline: Pipeline) -> None:
    import torch

    from tailshard.models import build
    from tailshard.store.read import statistics
    from tailshard.train.background import Background
    from tailshard.train.checkpoint import Best, save_model, weights_of
    from tailshard.train.scaling import fit

    torch.manual_seed(1)
    network = build(pipeline.model, GEOMETRY.size**2)
    scaler = fit(statistics(store, catalog, list(pipeline.training_channels)), pipeline.training.scaler)
    best = Best(2, 0.015, weights_of(network))
    background = Background(
        GEOMETRY.counts,
        np.full(GEOMETRY.size**2, 0.01, np.float32),
        np.array([1, 4, 4, 2, 2, 6, 6], np.float32),
        *np.zeros((2, 0, 0), np.float32),
    )
    save_model(folder / "model.pt", best, pipeline.model, scaler, GEOMETRY.size, "snapshot", background)
    epochs = [
        {
            "epoch": epoch,
            "training_loss": loss,
            "validation_loss": loss + 0.001,
            "seconds": 2.0,
            "validation_seconds": 0.5,
            "waited": 0.1,
            "events_per_second": 1000.0,
            "learning_rate": 1e-3,
            "workers": 2,
            "device": "cpu",
        }
        for epoch, loss in ((1, 0.03), (2, 0.014), (3, 0.0145))
    ]
    lines = "".join(json.dumps(metrics) + "\n" for metrics in epochs)
    (folder / "metrics.jsonl").write_text(lines)


@pytest.fixture(scope="session")
def make_search(client: Any) -> Callable[..., Search]:
    """Search some channels in a folder: score and histogram, after a store and a model made by hand."""

    def make(folder: Path, channels: list[str], three_leptons: bool = True, **changes: Any) -> Search:
        from tailshard.search.histogram import histogram
        from tailshard.search.score import score

        pipeline = _pipeline(channels, **changes)
        search = Search(pipeline, folder / "store", folder / "model", folder / "results")
        catalog = _write_store(search.store, pipeline, three_leptons)
        _write_model(search.model, search.store, catalog, pipeline)
        score(pipeline, search.store, search.model / "model.pt", client)
        histogram(pipeline, search.store, search.results, client)
        return search

    return make


@pytest.fixture(scope="session")
def search(make_search: Callable[..., Search], tmp_path_factory: pytest.TempPathFactory) -> Search:
    """Two backgrounds, a signal and data, with errors by kind of cell; tests must not change it."""
    folder = tmp_path_factory.mktemp("search")
    return make_search(folder, list(CHANNELS), score={"also": ["blocks"]})


@pytest.fixture(scope="session")
def simulation_only(make_search: Callable[..., Search], tmp_path_factory: pytest.TempPathFactory) -> Search:
    """One background and nothing else: no signal, no data, no third lepton. And a title that is no joy."""
    title = "50$ <b>cheaper</b> $ " + "and very long " * 12
    folder = tmp_path_factory.mktemp("simulation")
    return make_search(folder, ["zjets"], three_leptons=False, report={"title": title})


@pytest.fixture(scope="session")
def findings(search: Search) -> Any:
    """What the report reads of the search."""
    from tailshard.report.findings import read_findings

    return read_findings(search.pipeline, search.store, search.model, search.results)


@pytest.fixture(scope="session")
def poor_findings(simulation_only: Search) -> Any:
    """What the report reads where there is no signal, no data and no third lepton."""
    from tailshard.report.findings import read_findings

    return read_findings(
        simulation_only.pipeline, simulation_only.store, simulation_only.model, simulation_only.results
    )


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """Workers in this process: two threads."""
    with threads_of_this_process() as client:
        yield client
