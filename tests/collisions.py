"""A small store whose matrices are those of its objects, and a network to look at them with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tests.slots import slot_of

from tailshard.config import Pipeline
from tailshard.features.blocks import first_rows
from tailshard.features.rmm import islands_from_objects
from tailshard.store.catalog import Catalog, Channel, Slot, write_catalog
from tailshard.store.layout import Geometry, assign_splits
from tailshard.store.write import create_arrays, write_slot

GEOMETRY = Geometry(slot=256, chunk=64, counts=(2, 1, 2, 2))
QUANTITIES = {"met": ("GeV", "missing transverse momentum"), "m_ll": ("GeV", "mass of two leptons")}
CHANNELS: Mapping[str, tuple[Any, tuple[int, ...], float, float]] = {
    "zjets": ("background", (250, 0, 180), 0.9, 40.0),
    "ttbar": ("background", (200, 120), 0.5, 80.0),
    "heavy": ("signal", (200,), 0.02, 400.0),
    "heavier": ("signal", (150,), 0.01, 900.0),
    "data": ("data", (100,), 1.0, 60.0),
}
"""Kind, events in each slot, weight and mean pT in GeV."""


def make_pipeline(channels: Sequence[str] = tuple(CHANNELS), **changes: Any) -> Pipeline:
    """Describe a search of these channels."""
    names = ("light_jets", "b_jets", "electrons", "muons")
    return Pipeline.model_validate(
        {
            "name": "small",
            "luminosity": 10,
            "datasets": [
                {"channel": name, "kind": CHANNELS[name][0], "dialect": "atlas-2025", "files": f"{name}.root"}
                for name in channels
            ],
            "features": {"multiplicities": dict(zip(names, GEOMETRY.counts, strict=True))},
            "store": {"slot": GEOMETRY.slot, "chunk": GEOMETRY.chunk},
            "model": {"name": "ae", "widths": [8], "latent": 3},
            "training": {"epochs": 2, "batch_size": 64, "shuffle_chunks": 8, "use_gpu": False},
            **changes,
        }
    )


def make_objects(events: int, mean_pt: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Objects (events, 8, 4) by falling pT, and multiplicities (events, 4)."""
    random = np.random.default_rng(seed)
    multiplicity = random.integers(0, np.array(GEOMETRY.counts) + 1, (events, 4)).astype(np.uint8)
    objects = np.zeros((events, GEOMETRY.size, 4), np.float32)
    objects[:, 0, 0], objects[:, 0, 2] = random.exponential(mean_pt, events), random.uniform(-3, 3, events)
    for number, (first, count) in enumerate(zip(first_rows(GEOMETRY.counts), GEOMETRY.counts, strict=True)):
        there = np.arange(count) < multiplicity[:, number, np.newaxis]
        pt = -np.sort(-random.exponential(mean_pt, (events, count)) * there, axis=1)
        objects[:, first : first + count, 0] = np.where(there, pt + 1, 0)
        objects[:, first : first + count, 1] = random.normal(0, 1, (events, count)) * there
        objects[:, first : first + count, 2] = random.uniform(-3, 3, (events, count)) * there
        objects[:, first : first + count, 3] = random.exponential(5, (events, count)) * there
    return objects, multiplicity


def make_slot(store: Path, channel: str, index: int, pipeline: Pipeline) -> Slot:
    """Write one slot."""
    _, sizes, weight, mean_pt = CHANNELS[channel]
    seed, events = 100 * list(CHANNELS).index(channel) + index, sizes[index]
    objects, multiplicity = make_objects(events, mean_pt, seed)
    weights = np.full(events, weight)
    if channel == "ttbar":
        weights[::10] *= -0.5
    identity = (
        np.full(events, 7 + index, np.uint64),
        np.arange(events, dtype=np.uint64) + np.uint64(1000 * seed),
        np.arange(events, dtype=np.uint64),
    )
    columns = {
        "rmm": islands_from_objects(objects, multiplicity, GEOMETRY.counts, "chekanov", 13000.0),
        "objects": objects,
        "multiplicity": multiplicity,
        "weight": weights,
        **dict(zip(("run", "event_number", "entry"), identity, strict=True)),
        "met": objects[:, 0, 0],
        "m_ll": np.where(multiplicity[:, 2] > 1, objects[:, 4, 0], np.nan).astype(np.float32),
    }
    split = assign_splits(channel, *identity, pipeline.splits)
    summary = write_slot(store, channel, index, GEOMETRY, columns, split)
    return slot_of(channel, index, events, summary, f"{channel}-{index}")


def make_store(store: Path, pipeline: Pipeline) -> Catalog:
    """Write all channels of a search."""
    channels = pipeline.channels
    create_arrays(store, {name: len(CHANNELS[name][1]) for name in channels}, GEOMETRY, QUANTITIES)
    slots = [
        make_slot(store, channel, index, pipeline)
        for channel in channels
        for index in range(len(CHANNELS[channel][1]))
    ]
    catalog = Catalog(
        geometry=GEOMETRY,
        channels=tuple(Channel(name=name, kind=kind) for name, kind in channels.items()),
        slots=tuple(slots),
        scales={"zjets": 1.25},
    )
    write_catalog(store, catalog)
    return catalog


def make_model(folder: Path, pipeline: Pipeline, store: Path, catalog: Catalog) -> Path:
    """Save a network that gives the same for every event, with the scaler of the store, and its metrics."""
    import torch

    from tailshard.models import build
    from tailshard.store.read import statistics
    from tailshard.train.checkpoint import Best, save_model
    from tailshard.train.metrics import EpochMetrics, write_metrics
    from tailshard.train.scaling import fit

    cells = GEOMETRY.size**2
    zeros = {name: torch.zeros_like(its) for name, its in build(pipeline.model, cells).state_dict().items()}
    scaler = fit(statistics(store, catalog, pipeline.training_channels), "minmax")
    path = folder / "model.pt"
    save_model(path, Best(1, 0.1, zeros), pipeline.model, scaler, GEOMETRY.size, "snapshot")
    write_metrics(folder, [EpochMetrics(1, 0.2, 0.1, 1.0, 0.1, 0.0, 100.0, 1e-3, 1, "cpu")])
    return path


class Small(NamedTuple):
    """A search whose network is there."""

    pipeline: Pipeline
    catalog: Catalog
    store: Path
    model: Path


def make_small(folder: Path) -> Small:
    """Make a pipeline, its store and its network in a folder."""
    pipeline = make_pipeline()
    catalog = make_store(folder / "store", pipeline)
    model = make_model(folder / "model", pipeline, folder / "store", catalog)
    return Small(pipeline, catalog, folder / "store", model)
