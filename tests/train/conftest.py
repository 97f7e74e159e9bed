"""A small store of events that a narrow network can learn."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.slots import slot_of

from tailshard.config import Pipeline
from tailshard.store.catalog import Catalog, Channel, write_catalog
from tailshard.store.layout import Geometry
from tailshard.store.write import create_arrays, write_slot

GEOMETRY = Geometry(slot=512, chunk=16, counts=(1, 1, 1, 1))
CONSTANT_CELLS = 2


def matrices(events: int, seed: int) -> np.ndarray:
    """Matrices (events, 5, 5) that vary in two directions only, and not at all in two cells."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(0).random((2, 5, 5))
    result = np.einsum("nd,drc->nrc", rng.random((events, 2)), directions)
    result[:, 4, 4], result[:, 0, 3] = 0, 0.1
    return result.astype(np.float32)


def write_store(store: Path, events: dict[str, tuple[int, int, int]], seed: int = 1) -> Path:
    """Write one slot for each channel; `events` are its rows by split."""
    create_arrays(store, dict.fromkeys(events, 1), GEOMETRY, {})
    slots = []
    for number, (channel, rows) in enumerate(events.items()):
        count = sum(rows)
        rng = np.random.default_rng((seed, number))
        summary = write_slot(
            store,
            channel,
            0,
            GEOMETRY,
            {
                "rmm": matrices(count, seed + number),
                "objects": np.zeros((count, GEOMETRY.size, 4), np.float32),
                "multiplicity": np.ones((count, GEOMETRY.types), np.uint8),
                "weight": rng.normal(1.0, 0.7, count),
                **{name: np.arange(count, dtype=np.uint64) for name in ("run", "event_number", "entry")},
            },
            np.repeat(np.array([1, 2, 3], np.uint8), rows),
        )
        slots.append(slot_of(channel, 0, count, summary, f"{channel}-{seed}"))
    channels = tuple(Channel(name=name, kind="background") for name in events)
    write_catalog(store, Catalog(geometry=GEOMETRY, channels=channels, slots=tuple(slots)))
    return store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two background channels and a signal."""
    return write_store(
        tmp_path / "store", {"diboson": (300, 60, 10), "top": (120, 30, 10), "signal": (5, 5, 5)}
    )


@pytest.fixture
def pipeline() -> Callable[..., Pipeline]:
    """Make a pipeline whose training fits the store; keywords change `training`."""

    def make(model: str = "ae_small", **training: object) -> Pipeline:
        kinds = {"diboson": "background", "top": "background", "signal": "signal"}
        return Pipeline.model_validate(
            {
                "name": "small",
                "luminosity": 1,
                "datasets": [
                    {"channel": channel, "kind": kind, "dialect": "atlas-2025", "files": f"{channel}.root"}
                    for channel, kind in kinds.items()
                ],
                "model": {"name": model, "latent": 4},
                "training": {
                    "epochs": 3,
                    "batch_size": 64,
                    "shuffle_chunks": 8,
                    "learning_rate": 0.01,
                    "use_gpu": False,
                    **training,
                },
            }
        )

    return make
