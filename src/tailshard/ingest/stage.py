"""The stage: survey the files, plan the slots, fill them on the workers, keep the catalog true."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed import CancelledError, KilledWorker

from ..config import Pipeline
from ..errors import (
    ClusterError,
    ConfigError,
    InputError,
    ProcessingError,
    StorageError,
    StoreError,
    scheduler_gone,
)
from ..naming import task_key, task_name
from ..ntuples import read
from ..ntuples.dialects import dialect
from ..ntuples.inspection import reason
from ..progress import Progress, silent
from ..store.catalog import Catalog, Quarantined, Slot, read_pending, write_catalog, write_pending
from .fill import fill_slot
from .normalisation import normalisation
from .plan import SlotTask, prepare
from .repeats import find_repeats, warning_of
from .survey import Inputs, SurveyedDataset, survey

if TYPE_CHECKING:
    from distributed import Client

CATALOG_PERIOD = 2.0
"""Seconds at least between two replacements of the list of finished slots while tasks finish."""


@dataclass(frozen=True)
class IngestResult:
    """What ingest did."""

    catalog: Catalog
    written: int
    """Slots filled."""
    kept: int
    """Slots that were whole already."""
    freed: int
    """Slots whose partition is gone or changed."""
    entries_read: int = 0
    """Entries of the ntuples behind the slots that were filled."""
    surveyed: tuple[SurveyedDataset, ...] = ()
    """The files that the store holds now, and those that it lacks."""

    def to_dict(self) -> dict[str, Any]:
        """Small facts for the ledger and the command line."""
        catalog = self.catalog
        return {
            "slots": {"written": self.written, "kept": self.kept, "freed": self.freed},
            "entries_read": self.entries_read,
            "events": {channel.name: catalog.rows(channel.name) for channel in catalog.channels},
            "yields": {channel.name: catalog.sum_of_weights(channel.name) for channel in catalog.channels},
            "quarantine": [row.model_dump(mode="json") for row in catalog.quarantine],
            "scales": catalog.scales,
            "warnings": list(catalog.warnings),
        }


def ingest(
    pipeline: Pipeline,
    store: Path,
    client: "Client",
    progress: Progress = silent,
    strict: bool = False,
    inputs: Inputs | None = None,
    partials: Path | None = None,
) -> IngestResult:
    """Bring a store up to date with a pipeline and its files.

    Parameters
    ----------
    pipeline
        The search.
    store
        Folder of the store; made where it is absent.
    client
        Workers that read and write.
    progress
        Told of files opened and slots filled.
    strict
        Fail where an input would go into quarantine, or data events would count twice.
    inputs
        What was found when the files were looked for; they are looked for here where it is left out.
    partials
        Folder that keeps what was found of repeated events; None keeps nothing.

    Raises
    ------
    ConfigError
        The pipeline names something that does not exist.
    InputError
        Nothing can be read of a channel to learn from or of a data set that the store holds, or
        something cannot be read and `strict` forbids it; the store stays as it was. Two data sets name
        one file, or `strict` and data events are there more than once.
    WorkdirError
        The store holds the data sets of another pipeline.
    ProcessingError
        A selection or dialect failed on events that could be read.
    ClusterError
        Workers died too often, or the scheduler is gone.
    """

    def on_workers(function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> Iterable[Any]:
        futures = [
            client.submit(function, *each, key=task_key("survey", "files"), pure=False) for each in arguments
        ]
        for future, (url, *_) in zip(futures, arguments, strict=True):
            try:
                yield future.result()
            except KilledWorker as error:
                raise ClusterError(
                    f"{error.allowed_failures + 1} workers died while they opened {url}, most likely for "
                    "want of memory; leave the file out, or use workers with more memory"
                ) from error
            except CancelledError as error:
                raise scheduler_gone("open files") from error

    surveyed = survey(pipeline, on_workers, progress, inputs)
    quarantine = [row for each in surveyed for row in each.rows]
    if strict and quarantine:
        _refuse(quarantine)
    catalog, tasks, freed = prepare(pipeline, store, surveyed)
    kept = len(catalog.slots)
    pending = read_pending(store)

    collections = []
    for each in surveyed:
        its_tasks = [task for task in tasks if task.partition.dataset == each.dataset.identity]
        if its_tasks:
            branches = dialect(each.dataset.dialect).branches(each.dataset.kind, pipeline.selection)
            events = read.open_partitions([task.partition for task in its_tasks], branches)
            fill = partial(fill_slot, pipeline, each.dataset, store)
            name = task_name("ingest", each.dataset.channel)
            collections.append(read.map_partitions(fill, events, its_tasks, name))

    slots: list[Slot] = []
    next_write = time.monotonic() + CATALOG_PERIOD
    for done, (number, outcome) in enumerate(read.results(client, collections), start=1):
        task = tasks[number]
        if isinstance(outcome, Slot):
            slots.append(outcome)
        else:
            quarantine.append(_failed(task, outcome))
        if time.monotonic() > next_write:
            began = time.monotonic()
            write_pending(store, (*pending, *slots))
            # A long list takes its time: it must not take most of the driver's.
            next_write = time.monotonic() + max(CATALOG_PERIOD, 20 * (time.monotonic() - began))
        progress("fill slots", done, len(tasks))

    catalog = catalog.changed(
        slots=(*catalog.slots, *slots),
        quarantine=sorted(quarantine, key=lambda row: (row.dataset, row.url, row.start or 0)),
    )
    scales, warnings = normalisation(surveyed, catalog.slots)
    write_pending(store, (*pending, *slots))
    repeated = tuple(warning_of(find_repeats(store, catalog, client, progress, partials)))
    catalog = catalog.changed(scales=scales, warnings=(*warnings, *repeated))
    write_catalog(store, catalog)
    write_pending(store, ())
    if strict and quarantine:
        _refuse(quarantine)
    if strict and repeated:
        raise InputError(f"--strict forbids events that count twice. {repeated[0]}")
    entries = sum(slot.stop - slot.start for slot in slots)
    return IngestResult(catalog, len(slots), kept, freed, entries, tuple(surveyed))


def _failed(task: SlotTask, error: Exception) -> Quarantined:
    if isinstance(error, ProcessingError | ConfigError | StoreError | StorageError | ClusterError):
        partition = task.partition
        raise type(error)(
            f"dataset '{partition.dataset}', entries {partition.start} to {partition.stop} of "
            f"{partition.url}: {error}"
        ) from error
    return Quarantined(
        dataset=task.partition.dataset,
        url=task.partition.url,
        reason=reason(error),
        start=task.partition.start,
        stop=task.partition.stop,
    )


def _rows(quarantine: Iterable[Quarantined]) -> str:
    return "\n".join(f"  {row.dataset}: {row.url}: {row.reason}" for row in quarantine)


def _refuse(quarantine: Sequence[Quarantined]) -> None:
    raise InputError(
        f"{len(quarantine)} inputs cannot be used, and --strict forbids going on:\n{_rows(quarantine)}"
    )
