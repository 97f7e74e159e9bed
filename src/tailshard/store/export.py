"""A store that any Zarr reader opens, whether or not tailshard is installed.

The copy has the same arrays, attributes and catalog, but its matrices are whole and compressed with
Zstandard, a codec of every Zarr library. It is a store like any other: tailshard reads it, too.

One task reads and writes one slot, so memory follows the slot; every checksum is verified on the way. The
copy grows in a hidden folder beside its place, gets its catalog last and is then renamed: a folder of
the name that was asked for is whole.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import StoreError, TailshardError
from ..features.islands import Islands
from ..ledger import locked
from ..places import local
from ..progress import Progress, silent
from .catalog import Catalog, Slot, read_catalog, write_catalog
from .cells import SLOT_ARRAYS
from .check_slot import ERROR
from .layout import SCORE_PREFIX, Geometry, columns, events_group, shard_file
from .metadata import open_array, open_group
from .read import ShardReader, open_channel
from .tasks import each_slot
from .write import create_arrays, write_column, write_slot

if TYPE_CHECKING:
    from distributed import Client

_NOT_COLUMNS = ("rmm", "split", *SLOT_ARRAYS, ERROR)
"""Arrays that are not copied as columns: matrices, and what writing a slot makes or cannot take."""


@dataclass(frozen=True)
class Export:
    """What was written."""

    store: str
    slots: int
    events: int
    bytes: int
    """On disk."""

    def to_dict(self) -> dict[str, Any]:
        """Give what JSON can hold."""
        return asdict(self)


def export_dense(store: Path, out: Path, client: "Client", progress: Progress = silent) -> Export:
    """Write a copy of a store with whole matrices.

    Parameters
    ----------
    store
        Folder of the store.
    out
        Folder of the copy, which must not be there.
    client
        Dask workers that see both under the same paths.
    progress
        Told the number of slots that are done.

    Raises
    ------
    StoreError
        The store is absent or damaged, or `out` is there already or cannot be written.
    WorkdirError
        Another export is writing to `out`.
    ClusterError
        Workers died too often.
    """
    local(out, "an export")
    catalog = read_catalog(store)
    geometry = replace(catalog.geometry, codec="zstd")
    with aside(out) as place:
        _create_like(store, place, catalog, geometry)
        copy = partial(_copy_slot, store, place, geometry)
        for _, failure in each_slot(client, "export slots", copy, catalog.slots, progress):
            if isinstance(failure, TailshardError):
                raise failure
        write_catalog(place, catalog.changed(geometry=geometry))
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return Export(str(out), len(catalog.slots), sum(slot.selected for slot in catalog.slots), size)


@contextmanager
def aside(out: Path) -> Iterator[Path]:
    """Give a folder to write to, and put it in its place at the end; nothing is left of a failure."""
    if out.exists():
        raise StoreError(f"{out} exists already; remove it, or name another folder")
    place = out.with_name(f".{out.name}.partial")
    try:
        with locked(place):
            _clear(place)
            try:
                yield place
                (place / ".lock").unlink()
                place.rename(out)
            except BaseException:
                shutil.rmtree(place, ignore_errors=True)
                raise
    except OSError as error:
        raise StoreError(f"cannot write {out}: {error.strerror or error}") from error


def _clear(place: Path) -> None:
    """Remove what a killed export has left, but for the lock that is held."""
    for path in place.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()


def _create_like(store: Path, place: Path, catalog: Catalog, geometry: Geometry) -> None:
    """Create the arrays of all channels with the names, lengths and attributes of a store's."""
    known = {*columns(geometry, {}), *SLOT_ARRAYS}
    lengths, quantities = {}, {}
    for channel in catalog.channels:
        for name, array in open_channel(store, channel.name).arrays():
            if name == "split":
                lengths[channel.name] = int(array.shape[0]) // geometry.slot
            elif name not in known and not name.startswith(SCORE_PREFIX):
                quantities[name] = (str(array.attrs["units"]), str(array.attrs["long_name"]))
    create_arrays(place, lengths, geometry, quantities, dict(open_group(store).attrs))
    for channel in catalog.channels:
        for name, array in open_channel(store, channel.name).arrays():
            copy = open_array(place, channel.name, name, "r+")
            if dict(copy.attrs) != dict(array.attrs):
                copy.attrs.put(dict(array.attrs))


def _copy_slot(store: Path, place: Path, geometry: Geometry, slot: Slot) -> None:
    reader = ShardReader(store)
    start, rows = geometry.first_row(slot.index), sum(slot.rows)
    stop = start + rows
    if not rows:
        return
    group = open_channel(store, slot.channel)
    names = [name for name, _ in group.arrays() if not _is_made_otherwise(name)]
    islands = [
        reader.read_islands(slot.channel, first, min(first + geometry.chunk, stop))
        for first in range(start, stop, geometry.chunk)
    ]
    values: dict[str, Any] = {name: reader.read(slot.channel, name, start, stop) for name in names}
    split = np.asarray(reader.read(slot.channel, "split", start, stop), np.uint8)
    values["rmm"] = Islands.concatenated(islands)
    written = write_slot(place, slot.channel, slot.index, geometry, values, split)
    if written != (slot.rows, slot.sum_of_weights, slot.sum_of_squared_weights):
        raise StoreError(
            f"slot {slot.index} of channel '{slot.channel}' in {store} is not what the catalog says; "
            "run tailshard verify"
        )
    if shard_file(events_group(store) / slot.channel / ERROR, slot.index, 1).exists():
        errors = reader.read(slot.channel, ERROR, start, stop)
        write_column(place, slot.channel, ERROR, slot.index, geometry, errors)


def _is_made_otherwise(name: str) -> bool:
    """Tell whether an array is not copied as a column; scores beside ``error`` are not copied at all."""
    return name in _NOT_COLUMNS or name.startswith(SCORE_PREFIX)
