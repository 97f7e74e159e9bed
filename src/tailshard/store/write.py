"""One partition -> one slot of a channel: one shard in every array, and the statistics of the slot.

The driver calls `create_arrays` before any task starts; a task calls `write_slot` and touches no file
of another slot. Writing is idempotent: the same rows give the same bytes, whatever was there before. Only
rows that exist are written, and a chunk of existing rows is written even if it holds nothing but fill
values, so a missing file is always damage and never a row of zeros. Zarr makes the arrays; their files are
written straight, byte for byte as Zarr would, because nobody but tailshard knows the multiplicities that
the matrices are stored by, and because it is faster. A kill leaves at worst a slot that
the catalog does not know. Nothing is flushed to the medium: after a power failure shards may be
missing or short, which readers notice.
"""

import shutil
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from ..errors import ProcessingError, StoreError
from ..features.islands import Islands, pack
from ..places import is_remote, remove_files
from .cells import SLOT_ARRAYS, Statistics
from .codec import IslandsCodec
from .encode import ZSTD, write_matrices, write_values
from .layout import COUNTS, OBJECT_TYPES, SPLITS, Column, Geometry, events_group, shard_file
from .layout import columns as describe_columns
from .metadata import open_array, open_group, readable
from .shard import write_whole
from .sums import SlotSummary, summarise

_REQUIRED = ("rmm", "objects", "multiplicity", "weight", "run", "event_number", "entry")


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
    with readable(store):
        root = open_group(store, mode="a")
        root.attrs.put(dict(attributes or {}))
        for channel, count in slots.items():
            group = root.require_group(channel)
            for name, column in describe_columns(geometry, quantities).items():
                _create(group, name, column, count, geometry)
            _create_statistics(group, count, geometry)


def create_columns(store: Path, channel: str, geometry: Geometry, described: Mapping[str, Column]) -> None:
    """Create more arrays of a channel that exists, as long as its others.

    Raises
    ------
    StoreError
        There is no such channel, or an array is there already with another shape or type.
    """
    if not described:
        return
    with readable(store):
        group = open_group(store, channel, "r+")
        count = int(open_array(store, channel, "split").shape[0]) // geometry.slot
        for name, column in described.items():
            _create(group, name, column, count, geometry)


def _create(group: zarr.Group, name: str, column: Column, count: int, geometry: Geometry) -> None:
    _create_or_resize(
        group,
        name,
        geometry,
        shape=(count * geometry.slot, *column.shape),
        dtype=column.dtype,
        chunks=(geometry.chunk if column.streamed else geometry.slot, *column.shape),
        shards=(geometry.slot, *column.shape) if column.streamed else None,
        dimension_names=("event", *column.dimensions),
        fill_value=column.fill,
        attributes={
            "units": column.units,
            "long_name": column.long_name,
            **({COUNTS: list(geometry.counts), "types": list(OBJECT_TYPES)} if name == "rmm" else {}),
        },
    )


def _create_statistics(group: zarr.Group, count: int, geometry: Geometry) -> None:
    for name, its in SLOT_ARRAYS.items():
        shape = (len(SPLITS), len(its.entries), geometry.size, geometry.size)
        _create_or_resize(
            group,
            name,
            geometry,
            shape=(count, *shape),
            dtype=its.dtype,
            chunks=(1, *shape),
            shards=None,
            dimension_names=("slot", "subset", its.dimension, "row", "column"),
            fill_value=0,
            attributes={
                "units": "1",
                "long_name": f"{its.long_name} of the matrix cells by slot and split",
                "subset": list(SPLITS),
                its.dimension: list(its.entries),
            },
        )


def _encoding(name: str, geometry: Geometry) -> dict[str, Any]:
    if name == "rmm" and geometry.codec == "islands":
        return {"serializer": IslandsCodec(geometry.counts), "compressors": None}
    return {"compressors": ZstdCodec(level=1, checksum=True)}


def _create_or_resize(group: zarr.Group, name: str, geometry: Geometry, **wanted: Any) -> None:
    if name not in group:
        # The shard index keeps Zarr's default: at the end, guarded by CRC32C.
        group.create_array(name, **_encoding(name, geometry), **wanted)
        return
    array = zarr.open_array(group.store, path=f"{group.path}/{name}", mode="r+", zarr_format=3)
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
    columns: Mapping[str, Any],
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
        Array name -> values with the events along the first axis, in any order: objects, multiplicity,
        weight, run, event_number, entry and the kinematic quantities as arrays, rmm as `Islands` or as
        whole matrices.
    split
        1, 2 or 3 for each event. Rows are sorted by it (stably); events that are sorted already are
        written without a copy.

    Raises
    ------
    StoreError
        The columns do not fit the arrays or each other, or hold weights or cells that are not finite.
    """
    where = f"slot {index} of channel '{channel}' in {store}"
    arrays = _arrays_of(store, channel)
    described = {name: _column(array) for name, array in arrays.items()}
    slots = int(arrays["split"].shape[0]) // geometry.slot
    _check(columns, split, described, geometry, slots, index, where)
    islands = _islands(columns, geometry, where)
    _clear_slot(events_group(store) / channel, described, index)
    rows = tuple(int(count) for count in np.bincount(split, minlength=4)[1:4])
    if (split[:-1] > split[1:]).any():
        order = np.argsort(split, kind="stable")
        columns = {name: values[order] for name, values in columns.items() if name != "rmm"}
        islands, split = islands.take(order), split[order]
    weight = np.asarray(columns["weight"], np.float64)
    bounds = np.cumsum((0, *rows))
    parts = [slice(int(start), int(stop)) for start, stop in pairwise(bounds)]
    if len(split):
        folder = events_group(store) / channel
        found = [Statistics.of(islands[part], weight[part]) for part in parts]
        statistics = np.stack([each.stacked() for each in found])
        write_whole(shard_file(folder / "statistics", index, 5), ZSTD.encode(statistics))
        magnitudes = np.stack([each.magnitudes for each in found]).astype("<u4")
        write_whole(shard_file(folder / "magnitudes", index, 5), ZSTD.encode(magnitudes))
        write_matrices(folder, index, geometry, islands)
        for name, values in {**columns, "split": split}.items():
            if name != "rmm":
                write_values(folder, name, index, geometry, described[name], values)
    return summarise((rows[0], rows[1], rows[2]), weight)


def _islands(columns: Mapping[str, Any], geometry: Geometry, where: str) -> Islands:
    islands, multiplicity = columns["rmm"], columns["multiplicity"]
    if not isinstance(islands, Islands):
        try:
            return pack(islands, multiplicity, geometry.counts)
        except ProcessingError as error:
            raise StoreError(f"{where}: {error}") from error
    if not np.array_equal(islands.multiplicity, multiplicity):
        raise StoreError(f"{where}: the matrices have other multiplicities than the column 'multiplicity'")
    return islands


def write_column(
    store: Path, channel: str, name: str, index: int, geometry: Geometry, values: NDArray[Any]
) -> None:
    """Write one array of a slot whose rows exist, in the order of the store (such as ``error``).

    Raises
    ------
    StoreError
        There is no such array, or it holds fewer rows than there are values.
    """
    folder = events_group(store) / channel
    try:
        array = open_array(store, channel, name)
    except FileNotFoundError:
        raise StoreError(
            f"channel '{channel}' of {store} has no array '{name}'; run tailshard ingest"
        ) from None
    column, slots = _column(array), int(array.shape[0]) // geometry.slot
    if len(values) > geometry.slot or index >= slots:
        raise StoreError(
            f"{len(values)} rows do not fit slot {index} of {channel}/{name} in {store}, "
            f"which has {slots} slots of {geometry.slot}"
        )
    if is_remote(store):  # a file that is written anew needs no clearing there
        remove_files([] if len(values) else [shard_file(folder / name, index, 1 + len(column.shape))])
    else:
        _clear(folder / name, index)
    if len(values):
        write_values(folder, name, index, geometry, column, values)


def clear_slot(store: Path, channel: str, index: int) -> None:
    """Remove every file of a slot; its rows read as fill values afterwards."""
    described = {name: _column(array) for name, array in _arrays_of(store, channel).items()}
    _clear_slot(events_group(store) / channel, described, index)


def _clear_slot(folder: Path, described: Mapping[str, Column], index: int) -> None:
    if is_remote(folder):
        remove_files(shard_file(folder / name, index, 1 + len(its.shape)) for name, its in described.items())
        return
    for name in described:
        _clear(folder / name, index)


def _clear(array: Path, index: int) -> None:
    place = array / "c" / str(index)
    if place.is_dir():
        shutil.rmtree(place)
    else:
        for file in (place, *place.parent.glob(f"{index}.*.partial")):
            file.unlink(missing_ok=True)


def _arrays_of(store: Path, channel: str) -> "dict[str, zarr.Array[Any]]":
    """Find the arrays that a channel has."""
    try:
        group = open_group(store, channel)
    except FileNotFoundError:
        raise StoreError(f"{store} has no channel '{channel}'; create its arrays first") from None
    return dict(group.arrays())


def _column(array: "zarr.Array[Any]") -> Column:
    """Describe an array as it was created."""
    fill: Any = array.fill_value
    return Column(str(array.dtype), shape=array.shape[1:], fill=fill, streamed=array.shards is not None)


def _check(
    columns: Mapping[str, Any],
    split: NDArray[np.uint8],
    arrays: Mapping[str, Column],
    geometry: Geometry,
    slots: int,
    index: int,
    where: str,
) -> None:
    if index >= slots:
        raise StoreError(f"{where}: the arrays have {slots} slots; make them longer first")
    if missing := [name for name in _REQUIRED if name not in columns]:
        raise StoreError(f"{where}: columns {missing} are missing")
    if unknown := [name for name in columns if name not in arrays]:
        raise StoreError(f"{where}: the store has no arrays for the columns {unknown}; create them first")
    if len(split) > geometry.slot:
        raise StoreError(f"{where}: {len(split)} events do not fit a slot of {geometry.slot}")
    for name, values in columns.items():
        shape = (len(values), values.size, values.size) if isinstance(values, Islands) else values.shape
        if shape != (len(split), *arrays[name].shape):
            raise StoreError(
                f"{where}: column '{name}' has shape {shape} instead of {(len(split), *arrays[name].shape)}"
            )
    if len(split) and not (split.min() >= 1 and split.max() <= len(SPLITS)):
        raise StoreError(f"{where}: splits must be 1, 2 or 3, found {np.unique(split).tolist()}")
    if bad := int(np.count_nonzero(~np.isfinite(columns["weight"]))):
        raise StoreError(f"{where}: {bad} of {len(split)} weights are not finite; check the input's weights")
