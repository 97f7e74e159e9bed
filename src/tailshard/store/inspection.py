"""What a store holds, in numbers that a person can read: events, yields, bytes, occupancy."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..learning import Sampling
from ..places import files_below
from ..progress import Progress, silent
from .catalog import Catalog, read_catalog
from .cells import Statistics
from .layout import OBJECT_TYPES, SPLITS, Geometry, events_group
from .mixing import compare_orders
from .order import blocks_of, sampled
from .read import ShardReader, statistics


def inspect_store(store: Path, progress: Progress = silent) -> dict[str, Any]:
    """Say what a store holds.

    Reads the catalog, the statistics, and the array ``multiplicity`` slot by slot; no matrix.

    Parameters
    ----------
    store
        Folder of the store.
    progress
        Told the number of slots whose objects are counted.

    Returns
    -------
    dict
        JSON: ``geometry``, ``channels`` (rows by split, yields, objects, occupancy, bytes), ``bytes`` by
        array, ``bytes_per_event``, ``quarantine``, ``provenance``.

    Raises
    ------
    StoreError
        The store is absent or damaged.
    """
    catalog = read_catalog(store)
    geometry = catalog.geometry
    sizes = {channel.name: bytes_by_array(store, channel.name) for channel in catalog.channels}
    objects = _mean_objects(store, catalog, progress)
    channels = []
    for channel in catalog.channels:
        name, events = channel.name, catalog.rows(channel.name)
        cells: Statistics = statistics(store, catalog, [name], split=None)
        channels.append(
            {
                "channel": name,
                "kind": channel.kind,
                "slots": len(catalog.slots_of(name)),
                "events": events,
                "rows": {split: catalog.rows(name, split) for split in SPLITS},
                "yield": catalog.sum_of_weights(name),
                "yield_uncertainty": catalog.sum_of_squared_weights(name) ** 0.5,
                "occupancy": _share_of_cells(cells, geometry),
                "objects": dict(zip(OBJECT_TYPES, objects[name], strict=False)),
                "bytes": sum(sizes[name].values()),
            }
        )
    events = sum(catalog.rows(channel.name) for channel in catalog.channels)
    by_array: dict[str, int] = {}
    for its in sizes.values():
        for name, size in its.items():
            by_array[name] = by_array.get(name, 0) + size
    return {
        "geometry": {
            "slot": geometry.slot,
            "chunk": geometry.chunk,
            "counts": list(geometry.counts),
            "codec": geometry.codec,
        },
        "snapshot": catalog.snapshot_id(),
        "channels": channels,
        "events": events,
        "bytes": dict(sorted(by_array.items(), key=lambda each: -each[1])),
        "bytes_per_event": {name: size / events for name, size in by_array.items()} if events else {},
        "quarantine": len(catalog.quarantine),
        "provenance": catalog.provenance,
    }


def inspect_mixing(
    store: Path,
    channels: Sequence[str],
    batch_size: int,
    window_chunks: int,
    seed: int,
    sampling: Mapping[str, Sampling],
) -> dict[str, Any]:
    """Say how well the first epoch of a stream would mix the training events of some channels.

    Parameters
    ----------
    store, channels, batch_size, window_chunks, seed, sampling
        As in `Stream`.

    Returns
    -------
    dict
        JSON: ``stream``, the settings; ``random_draws``, the mean entropy of batches of independent
        draws in bits; ``orders``, a `Mixing` for each order.

    Raises
    ------
    StoreError
        The store is absent, or has no such channel.
    """
    catalog = read_catalog(store)
    wanted = {catalog.channel(name).name for name in channels}
    names = [channel.name for channel in catalog.channels if channel.name in wanted]
    blocks = sampled(blocks_of(catalog, names, "training"), names, sampling, seed, 0)
    orders = compare_orders(blocks, names, batch_size, window_chunks, seed)
    present = len(np.unique(blocks.channel))
    missing = max(present - 1, 0) / (2 * batch_size * np.log(2))
    return {
        "stream": {
            "channels": names,
            "batch_size": batch_size,
            "shuffle_chunks": window_chunks,
            "seed": seed,
            "sampling": {name: each.model_dump() for name, each in sampling.items()},
        },
        "random_draws": max(orders[0].ideal_entropy - missing, 0.0),
        "orders": [order.to_dict() for order in orders],
    }


def bytes_by_array(store: Path, channel: str) -> dict[str, int]:
    """Add up the files of every array of a channel; metadata is left out."""
    sizes: dict[str, int] = {}
    for name, size in files_below(events_group(store) / channel).items():
        array, *below = name.split("/")
        if below:
            sizes[array] = sizes.get(array, 0) + (size if below[0] == "c" else 0)
    return sizes


def _share_of_cells(cells: Statistics, geometry: Geometry) -> float:
    """Share of the cells that are not zero."""
    return float(cells.occupancy.sum()) / (max(cells.events, 1) * geometry.size**2)


def _mean_objects(store: Path, catalog: Catalog, progress: Progress) -> dict[str, list[float]]:
    """Mean number of objects of each type, by channel."""
    reader, geometry = ShardReader(store), catalog.geometry
    sums = {channel.name: np.zeros(geometry.types, np.int64) for channel in catalog.channels}
    for done, slot in enumerate(catalog.slots, start=1):
        first = geometry.first_row(slot.index)
        rows = reader.read(slot.channel, "multiplicity", first, first + sum(slot.rows))
        sums[slot.channel] += rows.sum(axis=0, dtype=np.int64)
        progress("count objects", done, len(catalog.slots))
    return {name: (total / max(catalog.rows(name), 1)).tolist() for name, total in sums.items()}
