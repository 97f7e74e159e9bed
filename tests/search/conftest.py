"""A small store with known contents, and models to score it with."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from distributed import Client
from tests.clusters import threads_of_this_process

from tailshard.config import Pipeline, content_hash
from tailshard.store.catalog import Catalog, Channel, CutflowStep, Quarantined, Slot, write_catalog
from tailshard.store.layout import Geometry, assign_splits
from tailshard.store.write import create_arrays, write_slot

GEOMETRY = Geometry(slot=256, chunk=64, counts=(1, 1, 1, 1))
QUANTITIES = {
    "met": ("GeV", "missing transverse momentum"),
    "m_eff": ("GeV", "effective mass"),
    "m_lll": ("GeV", "mass of three leptons"),
}

# channel -> kind, events in each slot, mean of every cell, weights, mean MET
CHANNELS: dict[str, tuple[str, tuple[int, ...], float, tuple[float, ...], float]] = {
    "zjets": ("background", (256, 256, 100), 0.2, (0.5,), 60),
    "ttbar": ("background", (200, 0, 180), 0.3, (0.4, 0.4, 0.4, -0.1), 90),
    "resonance": ("signal", (150,), 0.8, (0.01,), 300),
    "data": ("data", (256, 40), 0.22, (1.0,), 65),
}


def make_pipeline(channels: Mapping[str, str], **changes: Any) -> Pipeline:
    return Pipeline.model_validate(
        {
            "name": "small",
            "luminosity": 10,
            "datasets": [
                {"channel": channel, "kind": kind, "dialect": "atlas-2025", "files": f"{channel}.root"}
                for channel, kind in channels.items()
            ],
            "features": {"multiplicities": {"light_jets": 1, "b_jets": 1, "electrons": 1, "muons": 1}},
            "store": {"slot": GEOMETRY.slot, "chunk": GEOMETRY.chunk},
            "histograms": {
                "observables": {
                    "met": {"bins": 20, "range": [0, 1000]},
                    "m_lll": {"bins": 10, "range": [0, 500]},
                    "not_in_the_store": {"bins": 2, "range": [0, 1]},
                }
            },
            "limits": None,
            "report": {"candidate_fraction": 0.1},
            **changes,
        }
    )


def make_events(channel: str, index: int) -> dict[str, np.ndarray]:
    _, sizes, mean, weights, met = CHANNELS[channel]
    events = sizes[index]
    seed = [list(CHANNELS).index(channel), index]
    generator, of_matrices = np.random.default_rng(seed), np.random.default_rng([*seed, 1])
    m_lll = generator.exponential(100, events).astype(np.float32)
    m_lll[::3] = np.nan
    return {
        "rmm": of_matrices.normal(mean, 0.1, (events, GEOMETRY.size, GEOMETRY.size)).astype(np.float32),
        "objects": np.zeros((events, GEOMETRY.size, 4), np.float32),
        "multiplicity": np.ones((events, GEOMETRY.types), np.uint8),
        "weight": np.resize(np.array(weights), events),
        "run": np.full(events, 300_000 + index, np.uint64),
        "event_number": generator.permutation(events).astype(np.uint64),
        "entry": np.arange(events, dtype=np.uint64),
        "met": generator.exponential(met, events).astype(np.float32),
        "m_eff": generator.exponential(3 * met, events).astype(np.float32),
        "m_lll": m_lll,
    }


def make_store(store: Path, pipeline: Pipeline) -> Catalog:
    channels = pipeline.channels
    create_arrays(store, {name: len(CHANNELS[name][1]) for name in channels}, GEOMETRY, QUANTITIES)
    slots = []
    for channel in channels:
        for index, events in enumerate(CHANNELS[channel][1]):
            columns = make_events(channel, index)
            identity = [columns[name] for name in ("run", "event_number", "entry")]
            split = assign_splits(channel, *identity, pipeline.splits)
            written = write_slot(store, channel, index, GEOMETRY, columns, split)
            slots.append(
                Slot(
                    channel=channel,
                    index=index,
                    dataset=channel,
                    url=f"root://somewhere/{channel}_{index}.root",
                    uuid="",
                    tree="analysis",
                    start=0,
                    stop=2 * events,
                    key=content_hash(channel, index),
                    rows=written.rows,
                    sum_of_weights=written.sum_of_weights,
                    sum_of_squared_weights=written.sum_of_squared_weights,
                    cutflow=(
                        CutflowStep("all", 2 * events, 2.0 * events),
                        CutflowStep("two leptons", events, float(columns["weight"].sum())),
                    ),
                    selected=events,
                )
            )
    catalog = Catalog(
        geometry=GEOMETRY,
        channels=tuple(Channel(name=name, kind=kind) for name, kind in channels.items()),
        slots=tuple(slots),
        quarantine=(Quarantined(dataset="zjets", url="root://somewhere/bad.root", reason="truncated"),),
        scales={"zjets": 1.25},
    )
    write_catalog(store, catalog)
    return catalog


def make_truth(pipeline: Pipeline, catalog: Catalog, bias: float = 0.2) -> dict[str, dict[str, np.ndarray]]:
    """Every event of every channel, with what the small model makes of it, without reading the store."""
    truth = {}
    for channel in pipeline.channels:
        slots = []
        for index in range(len(CHANNELS[channel][1])):
            columns = make_events(channel, index)
            identity = [columns[name] for name in ("run", "event_number", "entry")]
            columns["split"] = assign_splits(channel, *identity, pipeline.splits)
            columns["weight"] = columns["weight"] * catalog.scales.get(channel, 1.0)
            columns["error"] = ((columns["rmm"].astype(float) - bias) ** 2).sum(axis=(1, 2))
            columns["file"] = np.full(len(columns["error"]), f"root://somewhere/{channel}_{index}.root")
            slots.append(columns)
        truth[channel] = {name: np.concatenate([slot[name] for slot in slots]) for name in slots[0]}
    return truth


def make_model(path: Path, bias: float = 0.2, size: int = GEOMETRY.size) -> Path:
    """Save a network that reconstructs every event as one and the same, whose errors are easy to check."""
    import torch

    from tailshard.learning import Model
    from tailshard.models import build
    from tailshard.train.checkpoint import Best, save_model
    from tailshard.train.scaling import Scaler

    torch.manual_seed(1)
    cells, model = size**2, Model(latent=2)
    network = {name: torch.zeros_like(value) for name, value in build(model, cells).state_dict().items()}
    network["decoder.0.bias"] = torch.full((cells,), bias)
    scaler = Scaler("minmax", np.zeros(cells, np.float32), np.ones(cells, np.float32))
    save_model(path, Best(1, 0.1, network), model, scaler, size, "snapshot")
    return path


class Searched(NamedTuple):
    """A folder in which the small search was done, and the truth about its events."""

    pipeline: Pipeline
    catalog: Catalog
    store: Path
    model: Path
    results: Path
    events: dict[str, dict[str, np.ndarray]]
    """Channel -> columns in the order they were made, with scaled weight, split number, error and file."""


SMALL = SimpleNamespace(
    geometry=GEOMETRY,
    channels={name: kind for name, (kind, *_) in CHANNELS.items()},
    pipeline=make_pipeline,
    store=make_store,
    model=make_model,
    truth=make_truth,
)


@pytest.fixture(scope="session")
def small() -> SimpleNamespace:
    """Makers of small searches."""
    return SMALL


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory, client: Any) -> Searched:
    """The small search, scored and histogrammed; tests must not change it."""
    from tailshard.search.histogram import histogram
    from tailshard.search.score import score

    folder = tmp_path_factory.mktemp("searched")
    pipeline = make_pipeline(SMALL.channels)
    catalog = make_store(folder / "store", pipeline)
    model = make_model(folder / "model.pt")
    score(pipeline, folder / "store", model, client)
    histogram(pipeline, folder / "store", folder / "results", client)
    truth = make_truth(pipeline, catalog)
    return Searched(pipeline, catalog, folder / "store", model, folder / "results", truth)


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """Workers in this process: two threads."""
    with threads_of_this_process() as client:
        yield client
