"""One partition -> one slot of a channel: one shard in every array, and the statistics of the slot.

The driver calls `create_arrays` before any task starts; a task calls `write_slot` and touches no file
of another slot. Writing is idempotent: the same rows give the same bytes, whatever was there before. Only
rows that exist are written, and a chunk of existing rows is written even if it holds nothing but fill
values, so a missing file is always damage and never a row of zeros. A kill leaves at worst a slot that
the catalog does not know. Nothing is flushed to the medium: after a power failure shards may be
missing or short, which readers notice.
"""

import math
import shutil
import threading
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from ..errors import StoreError
from .cells import Statistics
from .layout import SPLITS, Column, Geometry, events_group
from .layout import columns as describe_columns

_REQUIRED = ("rmm", "objects", "multiplicity", "weight", "run", "event_number", "entry")
_OPENING = threading.Lock()


class SlotSummary(NamedTuple):
    """What was written into a slot; all by split."""

    rows: tuple[int, int, int]
    sum_of_weights: tuple[float, float, float]
    sum_of_squared_weights: tuple[float, float, float]


def create_arrays(
    store: Path,
    slots: Mapping[str, int],
    geometry: Geometry,
    quantities: Mapping[str, tuple[str, str]],
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Create the arrays of every channel, or make them longer or shorter.

    Parameters
    ----------
    store
        Folder of the store.
    slots
        Channel -> number of slots.
    geometry
        Sizes of the store.
    quantities
        Kinematic quantity -> (units, long name); one array each.
    attributes
        What the root group says about itself: JSON values, nothing that depends on time or host.

    Raises
    ------
    StoreError
        An array is there already with another geometry or type.
    """
    root = zarr.open_group(events_group(store), mode="a")
    root.attrs.put(dict(attributes or {}))
    for channel, count in slots.items():
        group = root.require_group(channel)
        for name, column in describe_columns(geometry, quantities).items():
            _create(group, name, column, count, geometry)
        _create_statistics(group, count, geometry)


def _create(group: zarr.Group, name: str, column: Column, count: int, geometry: Geometry) -> None:
    _create_or_resize(
        group,
        name,
        shape=(count * geometry.slot, *column.shape),
        dtype=column.dtype,
        chunks=(geometry.chunk if column.streamed else geometry.slot, *column.shape),
        shards=(geometry.slot, *column.shape) if column.streamed else None,
        dimension_names=("event", *column.dimensions),
        fill_value=column.fill,
        attributes={"units": column.units, "long_name": column.long_name},
    )


def _create_statistics(group: zarr.Group, count: int, geometry: Geometry) -> None:
    shape = (len(SPLITS), len(Statistics.STORED), geometry.size, geometry.size)
    _create_or_resize(
        group,
        "statistics",
        shape=(count, *shape),
        dtype="float64",
        chunks=(1, *shape),
        shards=None,
        dimension_names=("slot", "subset", "statistic", "row", "column"),
        fill_value=0,
        attributes={
            "units": "1",
            "long_name": "statistics of the matrix cells by slot and split",
            "subset": list(SPLITS),
            "statistic": list(Statistics.STORED),
        },
    )


def _create_or_resize(group: zarr.Group, name: str, **wanted: Any) -> None:
    if name not in group:
        # The shard index keeps Zarr's default: at the end, guarded by CRC32C.
        group.create_array(name, compressors=ZstdCodec(level=1, checksum=True), **wanted)
        return
    array = zarr.open_array(group.store, path=f"{group.path}/{name}", mode="r+")
    found = (str(array.dtype), array.chunks, array.shards, array.shape[1:])
    asked = (wanted["dtype"], wanted["chunks"], wanted["shards"], wanted["shape"][1:])
    if found != asked:
        raise StoreError(
            f"{group.store_path} was made with another geometry: {name} has (type, chunks, shards, shape) "
            f"{found}, now {asked} is asked for; remove the store, or use another --workdir"
        )
    if array.shape != wanted["shape"]:
        array.resize(wanted["shape"])
    # What a later stage noted about an array stays: its slots stay, too.
    attributes = {**array.attrs, **wanted["attributes"]}
    if dict(array.attrs) != attributes:
        array.attrs.put(attributes)


def write_slot(
    store: Path,
    channel: str,
    index: int,
    geometry: Geometry,
    columns: Mapping[str, NDArray[Any]],
    split: NDArray[np.uint8],
) -> SlotSummary:
    """Write the selected events of a partition into its slot, in place of what was there.

    Parameters
    ----------
    store, channel, index
        Which slot.
    geometry
        Sizes of the store.
    columns
        Array name -> values with the events along the first axis, in any order: rmm, objects,
        multiplicity, weight, run, event_number, entry and the kinematic quantities.
    split
        1, 2 or 3 for each event. Rows are sorted by it (stably); events that are sorted already are
        written without a copy.

    Raises
    ------
    StoreError
        The columns do not fit the arrays or each other, or hold weights or cells that are not finite.
    """
    arrays = _open_for_writing(store, channel)
    _check(columns, split, arrays, geometry, index, f"slot {index} of channel '{channel}' in {store}")
    clear_slot(store, channel, index)
    rows = tuple(int(count) for count in np.bincount(split, minlength=4)[1:4])
    if (split[:-1] > split[1:]).any():
        order = np.argsort(split, kind="stable")
        columns = _Sorted(columns, order)
        split = split[order]
    first, total = geometry.first_row(index), len(split)
    weight = np.asarray(columns["weight"], np.float64)
    bounds = np.cumsum((0, *rows))
    parts = [slice(int(start), int(stop)) for start, stop in pairwise(bounds)]
    if total:
        rmm = columns["rmm"]
        arrays["rmm"][first : first + total] = rmm
        arrays["statistics"][index] = np.stack(
            [Statistics.of(rmm[part], weight[part], geometry.chunk).stacked() for part in parts]
        )
        del rmm
        arrays["split"][first : first + total] = split
        for name in columns:
            if name != "rmm":
                arrays[name][first : first + total] = columns[name]
    return SlotSummary(
        (rows[0], rows[1], rows[2]),
        *(
            (math.fsum(terms[parts[0]]), math.fsum(terms[parts[1]]), math.fsum(terms[parts[2]]))
            for terms in (weight, weight**2)
        ),
    )


class _Sorted(Mapping[str, NDArray[Any]]):
    """Columns whose rows are sorted when they are asked for, one column at a time."""

    def __init__(self, columns: Mapping[str, NDArray[Any]], order: NDArray[np.intp]) -> None:
        self._columns, self._order = columns, order

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._columns[name][self._order]

    def __iter__(self) -> Any:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def write_column(
    store: Path, channel: str, name: str, index: int, geometry: Geometry, values: NDArray[Any]
) -> None:
    """Write one array of a slot whose rows exist, in the order of the store (such as ``error``).

    Raises
    ------
    StoreError
        There is no such array, or it holds fewer rows than there are values.
    """
    array = _open_for_writing(store, channel).get(name)
    if array is None:
        raise StoreError(f"channel '{channel}' of {store} has no array '{name}'; run tailshard ingest")
    if len(values) > geometry.slot or geometry.first_row(index) + len(values) > array.shape[0]:
        raise StoreError(f"{len(values)} rows do not fit slot {index} of {channel}/{name} in {store}")
    _clear(events_group(store) / channel / name, index)
    if len(values):
        array[geometry.first_row(index) : geometry.first_row(index) + len(values)] = values


def clear_slot(store: Path, channel: str, index: int) -> None:
    """Remove every file of a slot; its rows read as fill values afterwards."""
    for metadata in sorted((events_group(store) / channel).glob("*/zarr.json")):
        _clear(metadata.parent, index)


def _clear(array: Path, index: int) -> None:
    place = array / "c" / str(index)
    if place.is_dir():
        shutil.rmtree(place)
    else:
        for file in (place, *place.parent.glob(f"{index}.*.partial")):
            file.unlink(missing_ok=True)


def _open_for_writing(store: Path, channel: str) -> dict[str, "zarr.Array[Any]"]:
    # An array takes over the configuration when it is opened; the lock keeps another thread from
    # leaving the context, and so restoring the default, in between.
    with _OPENING, zarr.config.set({"array.write_empty_chunks": True}):
        try:
            group = zarr.open_group(events_group(store), path=channel, mode="r+")
        except FileNotFoundError:
            raise StoreError(f"{store} has no channel '{channel}'; create its arrays first") from None
        return dict(group.arrays())


def _check(
    columns: Mapping[str, NDArray[Any]],
    split: NDArray[np.uint8],
    arrays: Mapping[str, "zarr.Array[Any]"],
    geometry: Geometry,
    index: int,
    where: str,
) -> None:
    if index >= (slots := arrays["split"].shape[0] // geometry.slot):
        raise StoreError(f"{where}: the arrays have {slots} slots; make them longer first")
    if missing := [name for name in _REQUIRED if name not in columns]:
        raise StoreError(f"{where}: columns {missing} are missing")
    if unknown := [name for name in columns if name not in arrays]:
        raise StoreError(f"{where}: the store has no arrays for the columns {unknown}; create them first")
    if len(split) > geometry.slot:
        raise StoreError(f"{where}: {len(split)} events do not fit a slot of {geometry.slot}")
    for name, values in columns.items():
        if values.shape != (len(split), *arrays[name].shape[1:]):
            raise StoreError(
                f"{where}: column '{name}' has shape {values.shape} instead of "
                f"{(len(split), *arrays[name].shape[1:])}"
            )
    if len(split) and not (split.min() >= 1 and split.max() <= len(SPLITS)):
        raise StoreError(f"{where}: splits must be 1, 2 or 3, found {np.unique(split).tolist()}")
    if bad := int(np.count_nonzero(~np.isfinite(columns["weight"]))):
        raise StoreError(f"{where}: {bad} of {len(split)} weights are not finite; check the input's weights")
