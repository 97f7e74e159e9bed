"""Which partition fills which slot: a pure function of the file set and the catalog."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..config import Dataset, Pipeline, content_hash
from ..errors import InputError, WorkdirError
from ..events.kinematics import QUANTITIES
from ..ledger import code_of
from ..ntuples.dialects import collision_energy
from ..ntuples.fileset import Partition
from ..places import make_folder, remove_tree
from ..progress import Progress, silent
from ..store.catalog import (
    Catalog,
    Channel,
    Slot,
    catalog_path,
    read_catalog,
    read_pending,
    write_catalog,
    write_pending,
)
from ..store.layout import Geometry, assign_slots, events_group
from ..store.write import clear_slot, create_arrays
from .damage import damaged_slots
from .survey import SurveyedDataset, configuration, meaning_of, survey


@dataclass(frozen=True)
class SlotTask:
    """A partition and the slot of its channel that it fills."""

    partition: Partition
    index: int
    key: str
    """Content key of the slot."""


def geometry_of(pipeline: Pipeline) -> Geometry:
    """Sizes of the store of a pipeline."""
    store = pipeline.store
    return Geometry(store.slot, store.chunk, pipeline.features.multiplicities.counts, store.codec)


def _slot_key(pipeline: Pipeline, dataset: Dataset, partition: Partition) -> str:
    content = configuration(pipeline)
    # Data is not scaled to its luminosity: simulation is, where the two are compared.
    content["datasets"] = {**meaning_of(dataset), "luminosity": None}
    if dataset.kind == "data":
        content |= {"luminosity": None, "campaigns": None, "corrections": None}  # data is not scaled
    return content_hash(code_of("ingest"), partition.key, content)


def prepare(
    pipeline: Pipeline, store: Path, surveyed: Sequence[SurveyedDataset]
) -> tuple[Catalog, list[SlotTask], int]:
    """Give every partition its slot, strike out and clear what is stale, and make room in the arrays.

    The catalog that comes back holds what stays and may be more than the one in the store, which is
    replaced only where something is struck out. The tasks come back in the order of the data sets, without
    those whose slot is whole already.
    """
    geometry = geometry_of(pipeline)
    channels = tuple(Channel(name=name, kind=kind) for name, kind in pipeline.channels.items())
    # No data set, file or host: what differs between two stores of the same events must not be here.
    made_by = {
        "tailshard": version("tailshard"),
        "pipeline": pipeline.name,
        "configuration": content_hash(configuration(pipeline)),
        "features": {
            **pipeline.features.model_dump(mode="json"),
            "center_of_mass_energy": collision_energy(pipeline),
        },
    }
    fresh = Catalog(geometry=geometry, channels=channels, provenance=made_by)
    old = read_catalog(store) if catalog_path(store).exists() else fresh
    names = [channel.name for channel in channels]
    _refuse_strangers(pipeline, store, surveyed, old)
    if old.geometry != geometry:
        remove_tree(store)
        old = fresh
    for channel in old.channels:
        if channel.name not in names:
            write_catalog(store, old := old.without(channel.name))
            remove_tree(events_group(store) / channel.name)

    published = {(slot.channel, slot.index): slot.key for slot in old.slots}
    pending = [
        slot
        for slot in read_pending(store)
        if slot.channel in names and (slot.channel, slot.index) not in published
    ]
    whole = fresh.changed(slots=(*old.slots, *pending))
    damaged = damaged_slots(store, whole)
    kept: list[Slot] = []
    tasks: list[SlotTask] = []
    to_clear: list[tuple[str, int]] = []
    lengths: dict[str, int] = {}
    for name in names:
        existing = {slot.index: slot for slot in whole.slots if slot.channel == name}
        of_channel = [
            (partition, _slot_key(pipeline, each.dataset, partition))
            for each in surveyed
            if each.dataset.channel == name
            for partition in (*each.partitions, *_read_before(pipeline, each, existing.values()))
        ]
        assignment = assign_slots(
            [key for _, key in of_channel], {index: slot.key for index, slot in existing.items()}
        )
        to_clear += [(name, index) for index in assignment.freed]
        lengths[name] = 1 + max((*assignment.indices, *existing), default=-1)
        for index, (partition, key) in zip(assignment.indices, of_channel, strict=True):
            if index in existing and existing[index].key == key and (name, index) not in damaged:
                kept.append(existing[index].model_copy(update={"url": partition.url}))
            else:
                tasks.append(SlotTask(partition, index, key))
    order = {dataset.identity: number for number, dataset in enumerate(pipeline.datasets)}
    tasks.sort(key=lambda task: order[task.partition.dataset])

    make_folder(store)
    catalog = fresh.changed(slots=kept)
    staying = {(slot.channel, slot.index) for slot in kept}
    if not catalog_path(store).exists() or not staying.issuperset(published):
        write_catalog(
            store,
            fresh.changed(
                slots=[slot for slot in old.slots if (slot.channel, slot.index) in staying],
                **{name: getattr(old, name) for name in ("quarantine", "scales", "warnings")},
            ),
        )
    write_pending(store, [slot for slot in kept if (slot.channel, slot.index) not in published])
    quantities = {name: (quantity.unit, quantity.description) for name, quantity in QUANTITIES.items()}
    create_arrays(store, lengths, geometry, quantities, made_by)
    for name, index in to_clear:
        clear_slot(store, name, index)
    return catalog, tasks, len(to_clear)


def _read_before(pipeline: Pipeline, each: SurveyedDataset, slots: Iterable[Slot]) -> Iterator[Partition]:
    """Partitions of files that cannot be read today but could be: what was read of them stays."""
    lost = {row.url for row in each.quarantine}
    for slot in slots:
        if slot.dataset == each.dataset.identity and slot.url in lost:
            partition = Partition(
                slot.dataset, slot.url, slot.tree, slot.uuid, slot.start, slot.stop, slot.content
            )
            if _slot_key(pipeline, each.dataset, partition) == slot.key:
                yield partition


def _refuse_strangers(
    pipeline: Pipeline, store: Path, surveyed: Sequence[SurveyedDataset], old: Catalog
) -> None:
    """Stop before a wrong data root or another pipeline of the same name empties a store."""
    datasets = {slot.dataset for slot in old.slots}
    if datasets and datasets.isdisjoint(dataset.identity for dataset in pipeline.datasets):
        raise WorkdirError(
            f"{store} holds the data sets {sorted(datasets)}, none of which this pipeline names; "
            "use another --workdir, or ingest with --force to begin anew"
        )
    unread = [each for each in surveyed if not each.files]
    for each in unread:
        name = each.dataset.identity
        why = "\n".join(f"  {row.url}: {row.reason}" for row in each.quarantine)
        if name in datasets:
            raise InputError(
                f"nothing of the data set '{name}' can be read, but the store holds events of it; it was "
                f"left as it is. Is the data root right? Ingest with --force to do without them.\n{why}"
            )
    for channel in pipeline.training_channels:
        if all(each in unread for each in surveyed if each.dataset.channel == channel):
            rows = [row for each in unread for row in each.quarantine if each.dataset.channel == channel]
            raise InputError(
                f"nothing of the channel '{channel}' can be read, and the network is to learn from it:\n"
                + "\n".join(f"  {row.url}: {row.reason}" for row in rows)
            )


def plan(
    pipeline: Pipeline, progress: Progress = silent, surveyed: Sequence[SurveyedDataset] | None = None
) -> dict[str, Any]:
    """Open every file, run nothing, and say what a run would read, write and need.

    Files that were surveyed already are not opened again.

    Returns
    -------
    dict
        JSON: ``datasets`` (files, entries, partitions), ``files``, ``quarantine``, and ``estimates``
        in bytes and in words.
    """
    surveyed = survey(pipeline, progress=progress) if surveyed is None else surveyed
    geometry = geometry_of(pipeline)
    entries = sum(file.entries for each in surveyed for file in each.files)
    partitions = [partition for each in surveyed for partition in each.partitions]
    training = pipeline.training
    numbers = {
        "slots": len(partitions),
        "stored_bytes": geometry.stored_bytes(entries, len(QUANTITIES)),
        "ingest_task_bytes": geometry.ingest_task_bytes(len(QUANTITIES)),
        "training_stream_bytes": geometry.stream_bytes(training.shuffle_chunks, training.batch_size),
        "scoring_task_bytes": geometry.scoring_task_bytes(),
    }
    return {
        "pipeline": pipeline.name,
        "datasets": [
            {
                "dataset": each.dataset.identity,
                "channel": each.dataset.channel,
                "kind": each.dataset.kind,
                "files": len(each.files),
                "entries": sum(file.entries for file in each.files),
                "partitions": len(each.partitions),
            }
            for each in surveyed
        ],
        "files": [{"url": file.url, "entries": file.entries} for each in surveyed for file in each.files],
        "quarantine": [row.model_dump(mode="json") for each in surveyed for row in each.rows],
        **numbers,
        "estimates": {
            "slots": f"{numbers['slots']} of {geometry.slot:,} events, {entries:,} entries to read",
            "store": f"about {_human(numbers['stored_bytes'])} on disk, if every event is kept",
            "ingest": f"at most {_human(numbers['ingest_task_bytes'])} of memory for a task",
            "training": f"{_human(numbers['training_stream_bytes'])} for the shuffle of one worker",
            "scoring": f"{_human(numbers['scoring_task_bytes'])} of memory for a task",
        },
    }


def _human(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
