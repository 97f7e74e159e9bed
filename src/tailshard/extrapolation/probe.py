"""A small store, filled as ingest fills one, to measure on."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import dask
from dask.local import get_sync

from ..config import Dataset, Pipeline
from ..errors import InputError
from ..events.kinematics import QUANTITIES
from ..ingest.fill import fill_slot
from ..ingest.plan import SlotTask, geometry_of
from ..ingest.survey import SurveyedDataset, survey
from ..ntuples import read
from ..ntuples.dialects import dialect
from ..ntuples.fileset import Partition
from ..pipeline_files import load, shipped
from ..store.catalog import Catalog, Channel, Slot, write_catalog
from ..store.inspection import bytes_by_array
from ..store.stream import Stream
from ..store.write import create_arrays
from ..toys import make_toys

ENTRIES = 16_384
"""Entries of a partition that are read at most."""
WARM_UP = 256
"""Entries that are read before the clock starts."""
SLOTS = 64
"""Slots that are filled at most."""
TOYS = 20_000
"""Toy events, where there are no files."""


class Input(NamedTuple):
    """A partition to read, and the pipeline that says how."""

    pipeline: Pipeline
    dataset: Dataset
    partition: Partition
    name: str


def first_input(pipeline: Pipeline, surveyed: Sequence[SurveyedDataset]) -> Input | None:
    """Find the first file of the channels to learn from, or of any other."""
    order = sorted(surveyed, key=lambda each: each.dataset.channel not in pipeline.training_channels)
    for each in order:
        for partition in each.partitions:
            return Input(pipeline, each.dataset, partition, partition.url)
    return None


def toy_input(pipeline: Pipeline, place: Path) -> Input:
    """Stand toys in for files that are not here; matrices, network and batches stay the pipeline's."""
    make_toys(place / "toys", events=TOYS, signal_events=100, files=1)
    demo = load(shipped("demo"), data_root=str(place / "toys"))
    fields = ("features", "store", "model", "training")
    training = pipeline.training.model_copy(update={"channels": None, "sampling": {}})
    toys = demo.model_copy(
        update={**{name: getattr(pipeline, name) for name in fields}, "training": training}
    )
    found = first_input(toys, survey(toys))
    if found is None:
        raise InputError(f"toys in {place} cannot be read; is there room on the disk?")
    return found._replace(name="toys")


@dataclass(frozen=True)
class Probe:
    """A small store, and what it took to fill it."""

    pipeline: Pipeline
    store: Path
    catalog: Catalog
    entries: int
    seconds: float
    """For each entry."""
    input_bytes: float
    """For each entry."""
    bytes: dict[str, int]
    """By array."""

    @property
    def channel(self) -> str:
        """Name of its only channel."""
        return self.catalog.channels[0].name

    @property
    def events(self) -> int:
        """Events in the store."""
        return self.catalog.rows(self.channel)

    def stream(self) -> Stream:
        """Give the stream that a rank would train on."""
        training = self.pipeline.training
        return Stream(
            self.store,
            [self.channel],
            "training",
            training.batch_size,
            training.seed,
            window_chunks=training.shuffle_chunks,
            threads=training.reader_threads,
        )


def fill_store(source: Input, store: Path, seconds: float) -> Probe:
    """Fill slots with the same partition, over and over."""
    pipeline, dataset, partition, _ = source
    geometry = geometry_of(pipeline)
    whole = min(partition.stop - partition.start, ENTRIES)
    quantities = {name: (quantity.unit, quantity.description) for name, quantity in QUANTITIES.items()}
    create_arrays(store, {dataset.channel: SLOTS}, geometry, quantities)
    branches = dialect(dataset.dialect).branches(dataset.kind, pipeline.selection)

    def fill(index: int, entries: int) -> Slot:
        part = replace(partition, stop=partition.start + entries)
        with dask.config.set(scheduler=get_sync):
            events = read.open_partitions([part], branches).compute()
        return fill_slot(pipeline, dataset, store, events, SlotTask(part, index, str(index)))

    fill(0, min(whole, WARM_UP))  # compiles kernels, opens the file for the first time
    slots: list[Slot] = []
    began = time.process_time()
    while len(slots) < SLOTS and (not slots or time.process_time() - began < seconds):
        slots.append(fill(len(slots), whole))
    spent = time.process_time() - began
    channel = Channel(name=dataset.channel, kind=dataset.kind)
    catalog = Catalog(geometry=geometry, channels=(channel,), slots=tuple(slots))
    write_catalog(store, catalog)
    entries = whole * len(slots)
    sizes = bytes_by_array(store, dataset.channel)
    return Probe(
        pipeline, store, catalog, entries, spent / entries, read.stored_bytes(partition, branches), sizes
    )
