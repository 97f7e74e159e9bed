"""Pseudo-data: events of many slots in one random order, in slots of their own.

A shuffle that never holds more than a slot, in two passes of one task for each slot::

    sources   |zjets 0|zjets 1|ttbar 0|...        each draws its events, puts them in a random order and cuts
                  v       v       v            them into pieces, one for each target
    pieces     files aside, a folder for each source
                  v       v                    each gathers its pieces, in a random order
    targets   |blind 0|blind 1|...

Pieces are as large as one random order of all events would make them. What is written says nothing of where
an event came from: run, event number and entry are new and follow the random order, weights are 1, and
the slots name one file that does not exist. The task that gathers a slot knows which of its rows are
signal; it tells the driver, which seals it.
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..config import Splits
from ..errors import ClusterError
from ..features.islands import Islands
from ..naming import task_key
from ..progress import Progress
from ..store.catalog import Catalog, CutflowStep, Slot
from ..store.layout import Geometry, assign_splits
from ..store.order import permutation
from ..store.write import create_arrays, write_slot
from .sources import Source, copied_columns, quantities_of, spill

if TYPE_CHECKING:
    from distributed import Client

Result = TypeVar("Result")

BLIND = "blind"
"""Name of the channel."""
RUN = 1
"""Run number of all its events."""
NOWHERE = "blind"
"""File that its slots name."""


def gather(
    store: Path,
    geometry: Geometry,
    splits: Splits,
    seed: int,
    names: Sequence[str],
    folders: Sequence[tuple[Path, bool]],
    size: int,
    index: int,
) -> tuple[Slot, list[int]]:
    """Write a slot of the blind channel from its pieces.

    Parameters
    ----------
    store, geometry, splits, seed
        Of the new store.
    names
        Columns that are copied.
    folders
        Of all sources, and whether they are signal.
    size
        Rows that the pieces add up to.
    index
        Number of the slot.

    Returns
    -------
    slot, signal
        The catalog's entry, and the event numbers of its signal events.
    """
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in (*names, "cells")}
    signal = []
    for folder, is_signal in folders:
        edges = np.load(folder / "edges.npy")
        begin, end = (int(edge) for edge in edges[index : index + 2])
        if begin == end:
            continue
        starts = np.load(folder / "starts.npy")
        for name in names:
            parts[name].append(np.load(folder / f"{name}.npy", mmap_mode="r")[begin:end])
        parts["cells"].append(np.load(folder / "cells.npy", mmap_mode="r")[starts[index] : starts[index + 1]])
        signal.append(np.full(end - begin, is_signal))
    joined = {name: np.concatenate(its) for name, its in parts.items()}
    order = permutation(size, seed, "target", index)
    islands = Islands(geometry.counts, joined["multiplicity"], joined.pop("cells")).take(order)
    number = np.arange(size, dtype=np.uint64) + np.uint64(1 + geometry.first_row(index))
    entry, run = number - np.uint64(1), np.full(size, RUN, np.uint64)
    split = assign_splits(BLIND, run, number, entry, splits)
    columns: dict[str, Any] = {name: values[order] for name, values in joined.items()}
    columns |= {"rmm": islands, "weight": np.ones(size), "run": run, "event_number": number, "entry": entry}
    summary = write_slot(store, BLIND, index, geometry, columns, split)
    first = geometry.first_row(index)
    slot = Slot(
        channel=BLIND,
        index=index,
        dataset=BLIND,
        url=NOWHERE,
        uuid="",
        tree="",
        start=first,
        stop=first + size,
        key=hashlib.sha256(islands.cells.tobytes()).hexdigest()[:16],
        cutflow=(CutflowStep("pseudo-data", size, float(size)),),
        runs=((RUN, size),),
        selected=size,
        **summary._asdict(),
    )
    return slot, sorted(number[np.concatenate(signal)[order]].tolist())


def mix(
    store: Path,
    place: Path,
    catalog: Catalog,
    sources: Sequence[Source],
    table: NDArray[np.int64],
    sizes: Sequence[int],
    splits: Splits,
    seed: int,
    attributes: Mapping[str, Any],
    client: "Client",
    progress: Progress,
) -> tuple[list[Slot], list[int]]:
    """Write the blind channel into a new store.

    Parameters
    ----------
    store, catalog
        Where the events come from.
    place
        Folder of the new store.
    sources, table, sizes
        What is drawn from, how much of it goes into which slot (sources, slots), and the slots' rows.
    splits, seed
        Of the new events.
    attributes
        Of the root group.
    client, progress
        Dask workers that see both stores under the same paths, and who is told of their progress.

    Returns
    -------
    slots, signal
        Entries of the catalog, and event numbers of signal events.
    """
    geometry = catalog.geometry
    aside = place / "pieces"
    folders = [aside / str(number) for number in range(len(sources))]
    cut = [
        (folder, pieces.tolist(), source)
        for folder, pieces, source in zip(folders, table, sources, strict=True)
    ]
    on_workers(client, "drawing events", partial(spill, store, geometry, seed), cut, progress)
    channel = sources[0].slot.channel
    names = copied_columns(store, channel)
    create_arrays(place, {BLIND: len(sizes)}, geometry, quantities_of(store, channel), attributes)
    filled = [
        (folder, source.is_signal)
        for folder, source, pieces in zip(folders, sources, table, strict=True)
        if pieces.any()
    ]
    function = partial(gather, place, geometry, splits, seed, names, filled)
    targets = [(size, index) for index, size in enumerate(sizes)]
    found = on_workers(client, "mixing events", function, targets, progress)
    shutil.rmtree(aside, ignore_errors=True)
    return [slot for slot, _ in found], sorted(number for _, numbers in found for number in numbers)


def on_workers(
    client: "Client",
    what: str,
    function: Callable[..., Result],
    calls: Sequence[tuple[Any, ...]],
    progress: Progress,
) -> list[Result]:
    """Call a function on the workers, and give its results in the order of the calls.

    Raises
    ------
    ClusterError
        Workers died too often.
    TailshardError
        Whatever the function raised.
    """
    from distributed import KilledWorker

    futures = [client.submit(function, *call, key=task_key("blind", what), pure=False) for call in calls]
    found = []
    try:
        for done, future in enumerate(futures, start=1):
            found.append(future.result())
            progress(what, done, len(futures))
    except KilledWorker as error:
        raise ClusterError(
            f"{what}: a Dask worker died again and again ({error}); give the workers more memory"
        ) from error
    finally:
        client.cancel(futures)
    return found
