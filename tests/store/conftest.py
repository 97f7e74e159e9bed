"""Small stores with events that say who they are: cell (0, 0) of a matrix is its event number."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from tests.slots import slot_of

from tailshard.store.catalog import Catalog, Channel, write_catalog
from tailshard.store.layout import Geometry
from tailshard.store.write import create_arrays, write_slot

GEOMETRY = Geometry(slot=64, chunk=8, counts=(1, 1, 1, 1))
QUANTITIES = {"met": ("GeV", "missing transverse momentum"), "m_lll": ("GeV", "mass of three leptons")}

Columns = dict[str, np.ndarray]


def _columns(count: int, first: int = 0) -> Columns:
    random = np.random.default_rng(first)
    rmm = random.exponential(size=(count, 5, 5)).astype(np.float32)
    rmm[random.random(rmm.shape) < 0.7] = 0
    multiplicity = random.integers(0, 2, (count, 4)).astype(np.uint8)
    present = np.concatenate([np.ones((count, 1), bool), multiplicity > 0], axis=1)
    rmm *= present[:, :, np.newaxis] & present[:, np.newaxis, :]
    rmm[:, 0, 0] = np.arange(first, first + count)
    return {
        "rmm": rmm,
        "objects": random.normal(size=(count, 5, 4)).astype(np.float32),
        "multiplicity": multiplicity,
        "weight": random.normal(1, 1, count),
        "run": np.full(count, 284500, np.uint64),
        "event_number": np.arange(first, first + count, dtype=np.uint64),
        "entry": np.arange(count, dtype=np.uint64),
        "met": random.exponential(50, count).astype(np.float32),
        "m_lll": np.full(count, np.nan, np.float32),
    }


def _splits(count: int, first: int = 0) -> np.ndarray:
    pattern = np.array([1, 1, 2, 1, 3, 1, 2, 1, 3, 1], np.uint8)
    return pattern[np.arange(first, first + count) % len(pattern)]


def _build(
    store: Path, channels: Mapping[str, tuple[int, ...]], scales: Mapping[str, float] | None = None
) -> Catalog:
    """Write channels with the given numbers of events in their slots."""
    create_arrays(store, {name: len(counts) for name, counts in channels.items()}, GEOMETRY, QUANTITIES)
    slots, first = [], 0
    for channel, counts in channels.items():
        for index, count in enumerate(counts):
            columns, split = _columns(count, first), _splits(count, first)
            summary = write_slot(store, channel, index, GEOMETRY, columns, split)
            slots.append(slot_of(channel, index, count, summary, f"{channel}-{index}"))
            first += count
    catalog = Catalog(
        geometry=GEOMETRY,
        channels=tuple(Channel(name=name, kind="background") for name in channels),
        slots=tuple(slots),
        scales=dict(scales or {}),
    )
    write_catalog(store, catalog)
    return catalog


@pytest.fixture(scope="session")
def geometry() -> Geometry:
    return GEOMETRY


@pytest.fixture(scope="session")
def quantities() -> dict[str, tuple[str, str]]:
    return QUANTITIES


@pytest.fixture(scope="session")
def make_columns() -> Callable[..., Columns]:
    return _columns


@pytest.fixture(scope="session")
def make_splits() -> Callable[..., np.ndarray]:
    return _splits


@pytest.fixture(scope="session")
def build_store() -> Callable[..., Catalog]:
    return _build
