"""Rows of a store as arrays. How rows are read is behind one small interface, `RowReader`."""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import zarr
from numpy.typing import NDArray

from ..errors import StoreError
from .catalog import Catalog, Slot
from .cells import Statistics
from .layout import SPLITS, events_group, shard_file


class RowReader(Protocol):
    """Reads slices of rows. `ZarrReader` is the reference that every other reader must agree with."""

    def read(
        self, channel: str, name: str, start: int, stop: int, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Read rows ``[start, stop)`` of an array of a channel, into `out` where it is given.

        Raises
        ------
        StoreError
            The rows were never written, or are damaged.
        """


class ZarrReader:
    """Reads rows with the plain array interface of Zarr; checksums are verified by its codecs."""

    def __init__(self, store: Path) -> None:
        self._store = events_group(store)
        self._arrays: dict[tuple[str, str], zarr.Array[Any]] = {}

    def read(
        self, channel: str, name: str, start: int, stop: int, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Read rows; see `RowReader.read`."""
        array = self._array(channel, name)
        self._check_presence(array, channel, name, start, stop)
        try:
            rows = np.asarray(array[start:stop])
        except (RuntimeError, ValueError, OSError, TypeError, KeyError, IndexError) as error:
            raise StoreError(
                f"rows {start} to {stop} of {channel}/{name} in {self._store} are damaged ({error}); "
                "remove the store and run tailshard ingest"
            ) from error
        if out is None:
            return rows
        out[...] = rows
        return out

    def _array(self, channel: str, name: str) -> "zarr.Array[Any]":
        if (channel, name) not in self._arrays:
            try:
                self._arrays[channel, name] = zarr.open_array(self._store, path=f"{channel}/{name}", mode="r")
            except (FileNotFoundError, ValueError) as error:
                raise StoreError(
                    f"{self._store} has no array {channel}/{name}; run tailshard ingest"
                ) from error
        return self._arrays[channel, name]

    def _check_presence(
        self, array: "zarr.Array[Any]", channel: str, name: str, start: int, stop: int
    ) -> None:
        """Refuse rows whose shard is absent or empty, which Zarr itself would read as fill values."""
        if not 0 <= start <= stop <= array.shape[0]:
            raise StoreError(
                f"{channel}/{name} in {self._store} has {array.shape[0]} rows, asked for {start} to {stop}"
            )
        slot = (array.shards or array.chunks)[0]
        for index in range(start // slot, -(-stop // slot)):
            file = shard_file(self._store / channel / name, index, array.ndim)
            if not (file.exists() and file.stat().st_size):
                todo = "score" if name == "error" else "ingest"
                raise StoreError(
                    f"{file} is absent or empty: slot {index} was not written; run tailshard {todo}"
                )


def open_channel(store: Path, channel: str) -> zarr.Group:
    """Open a channel's group for reading.

    Raises
    ------
    StoreError
        There is none.
    """
    try:
        return zarr.open_group(events_group(store), path=channel, mode="r")
    except FileNotFoundError:
        raise StoreError(f"{store} has no channel '{channel}'; run tailshard ingest") from None


def read_rows(
    store: Path, channel: str, names: Sequence[str], start: int, stop: int
) -> dict[str, NDArray[Any]]:
    """Read rows ``[start, stop)`` of some arrays of a channel.

    Raises
    ------
    StoreError
        An array is absent, the rows were never written, or they are damaged.
    """
    reader = ZarrReader(store)
    return {name: reader.read(channel, name, start, stop) for name in names}


def statistics(
    store: Path, catalog: Catalog, channels: Sequence[str], split: str | None = "training"
) -> Statistics:
    """Merge the cell statistics of some channels, in one split or in all, with scaled weights.

    Slots are merged in the order of the catalog, so the result is the same to the last bit wherever
    it is computed. No matrix is read.

    Raises
    ------
    StoreError
        There is no such channel, or statistics are absent or damaged.
    """
    reader = ZarrReader(store)
    wanted = range(len(SPLITS)) if split is None else (SPLITS.index(split),)
    for channel in channels:
        catalog.channel(channel)

    def of_slot(slot: Slot) -> Statistics:
        stored = reader.read(slot.channel, "statistics", slot.index, slot.index + 1)[0]
        scale = catalog.scale(slot)
        return reduce(
            Statistics.merge,
            (
                Statistics.unstacked(stored[number], slot.rows[number], slot.sum_of_weights[number], scale)
                for number in wanted
            ),
        )

    parts = (of_slot(slot) for slot in catalog.slots if slot.channel in channels and any(slot.rows))
    return reduce(Statistics.merge, parts, Statistics.empty(catalog.geometry.size))
