"""What is to be trained, checked before any worker starts, and what decides what is learned."""

from pathlib import Path

import torch

from ..config import Pipeline, content_hash
from ..errors import StoreError
from ..learning import WHERE_IT_RUNS
from ..models import build
from ..registry import source_of
from ..store.catalog import Catalog
from ..store.read import statistics
from .loop import Task
from .members import model_hash
from .objective import cell_weights
from .scaling import fit as fit_scaler
from .scaling import varying


def task_of(pipeline: Pipeline, store: Path, catalog: Catalog) -> Task:
    """Say what is to be trained, and check everything that can be checked before any worker starts.

    Raises
    ------
    StoreError
        The store has no events to train on.
    ConfigError
        The model cannot be made.
    """
    channels, counts = pipeline.training_channels, catalog.geometry.counts
    for split in ("training", "validation"):
        if not sum(catalog.rows(channel, split) for channel in channels):
            raise StoreError(
                f"{store} has no {split} events in {', '.join(channels)}; ingest more files, loosen the "
                "selection, or name other training.channels"
            )
    with torch.random.fork_rng([]):
        build(pipeline.model, catalog.geometry.size**2)
    of_cells = statistics(store, catalog, channels)
    if not varying(of_cells).any():
        raise StoreError(f"no cell varies in the training events of {', '.join(channels)} in {store}")
    scaler = fit_scaler(of_cells, pipeline.training.scaler)
    weights = cell_weights(of_cells, counts, pipeline.training.cell_weights)
    return Task(store, channels, counts, pipeline.model, pipeline.training, scaler, weights)


def identity_of(pipeline: Pipeline, catalog: Catalog, initial: Path | None = None) -> str:
    """Content hash of all that decides what is learned, but for the code; `initial` is as in `train`."""
    begins_with = [] if initial is None else [model_hash(initial)]
    return content_hash(
        *begins_with,
        pipeline.model,
        source_of(pipeline.model.name),
        pipeline.training.model_dump(mode="json", exclude={*WHERE_IT_RUNS, "seeds"}),
        pipeline.features,
        pipeline.splits,
        catalog.snapshot_id(pipeline.training_channels),
    )
