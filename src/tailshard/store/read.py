"""Rows of a store as arrays. How rows are read is behind one small interface, `RowReader`."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import zarr
from numcodecs import Zstd
from numpy.typing import NDArray

from ..errors import ProcessingError, StoreError
from ..features.islands import Islands, pack
from ..places import is_remote
from .catalog import Catalog, Slot
from .cells import Statistics
from .codec import IslandsCodec, Memory, decode_islands, fresh
from .layout import COUNTS, SCORE_PREFIX, SPLITS, events_group, shard_file
from .memory import Scratch
from .metadata import open_array, open_group, readable
from .shard import Shard, open_shard

OPEN_SHARDS = 512
"""Files that a reader keeps open, at most."""

Decoded = TypeVar("Decoded")

_ZSTD = Zstd()


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

    def read_islands(self, channel: str, start: int, stop: int, memory: Memory = fresh) -> Islands:
        """Read the matrices of rows ``[start, stop)`` of a channel, without the cells of absent objects.

        `memory` gives room for cells; a reader may use it.

        Raises
        ------
        StoreError
            The rows were never written, or are damaged.
        """


class ZarrReader:
    """Reads rows with the plain array interface of Zarr; checksums are verified by its codecs."""

    def __init__(self, store: Path) -> None:
        self._store, self._group = store, events_group(store)
        self._arrays: dict[tuple[str, str], zarr.Array[Any]] = {}

    def read(
        self, channel: str, name: str, start: int, stop: int, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Read rows; see `RowReader.read`."""
        array = self.array(channel, name)
        self._check_presence(array, channel, name, start, stop)
        try:
            rows = np.asarray(array[start:stop])
        except (RuntimeError, ValueError, OSError, TypeError, KeyError, IndexError) as error:
            raise self._damaged(channel, name, start, stop, error) from error
        if out is None:
            return rows
        out[...] = rows
        return out

    def read_islands(
        self,
        channel: str,
        start: int,
        stop: int,
        memory: Memory = fresh,  # noqa: ARG002 - as in RowReader, which lets a reader do without
    ) -> Islands:
        """Read matrices; see `RowReader.read_islands`."""
        matrices = self.read(channel, "rmm", start, stop)
        multiplicity = self.read(channel, "multiplicity", start, stop)
        try:
            return pack(matrices, multiplicity, self._counts(channel))
        except ProcessingError as error:
            raise self._damaged(channel, "rmm", start, stop, error) from error

    def _counts(self, channel: str) -> tuple[int, ...]:
        counts: Any = self.array(channel, "rmm").attrs[COUNTS]
        return tuple(counts)

    def _damaged(self, channel: str, name: str, start: int, stop: int, error: Exception) -> StoreError:
        return StoreError(
            f"rows {start} to {stop} of {channel}/{name} in {self._group} are damaged ({error}); "
            "run tailshard verify to see what else is, remove the store and run tailshard ingest"
        )

    def array(self, channel: str, name: str) -> "zarr.Array[Any]":
        """Open an array, once.

        Raises
        ------
        StoreError
            There is none.
        """
        if (channel, name) not in self._arrays:
            try:
                self._arrays[channel, name] = open_array(self._store, channel, name)
            except (FileNotFoundError, ValueError) as error:
                raise StoreError(
                    f"{self._group} has no array {channel}/{name}; run tailshard ingest"
                ) from error
        return self._arrays[channel, name]

    def _check_presence(
        self, array: "zarr.Array[Any]", channel: str, name: str, start: int, stop: int
    ) -> None:
        """Refuse rows whose shard is absent or empty, which Zarr itself would read as fill values."""
        if not 0 <= start <= stop <= array.shape[0]:
            raise StoreError(
                f"{channel}/{name} in {self._group} has {array.shape[0]} rows, asked for {start} to {stop}"
            )
        slot = (array.shards or array.chunks)[0]
        for index in range(start // slot, -(-stop // slot)):
            file = shard_file(self._group / channel / name, index, array.ndim)
            if not _size(file):
                raise _absent(file, name, index)


class ShardReader(ZarrReader):
    """Reads rows of sharded arrays by straight byte ranges, and other arrays as `ZarrReader` does.

    Verifies the checksums of every index and chunk that it reads. Safe to use from several threads.
    """

    def __init__(self, store: Path) -> None:
        super().__init__(store)
        # As many files stay open; a stream comes back to the same few shards again and again.
        self._room = Scratch()
        self._shard = lru_cache(maxsize=OPEN_SHARDS)(self._open_shard)

    def read(
        self, channel: str, name: str, start: int, stop: int, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Read rows; see `RowReader.read`."""
        array = self.array(channel, name)
        if array.shards is None:
            if not is_remote(self._group):
                return super().read(channel, name, start, stop, out)
        elif isinstance(_serializer(array), IslandsCodec):
            return super().read(channel, name, start, stop, out)
        shape = array.chunks
        dtype = array.dtype.newbyteorder("<")

        def decode(content: NDArray[np.uint8]) -> NDArray[Any]:
            return np.frombuffer(_ZSTD.decode(content), dtype).reshape(shape)

        parts = [rows[first:last] for rows, first, last in self._chunks(channel, name, start, stop, decode)]
        if out is None:
            return np.concatenate([np.zeros((0, *shape[1:]), array.dtype), *parts])
        np.concatenate(parts, out=out)
        return out

    def read_islands(self, channel: str, start: int, stop: int, memory: Memory = fresh) -> Islands:
        """Read matrices; see `RowReader.read_islands`."""
        array, counts = self.array(channel, "rmm"), self._counts(channel)
        if not isinstance(_serializer(array), IslandsCodec):
            return super().read_islands(channel, start, stop, memory)
        chunk = array.chunks[0]

        def decode(content: NDArray[np.uint8]) -> Islands:
            return decode_islands(content, chunk, counts, memory)

        found = self._chunks(channel, "rmm", start, stop, decode)
        parts = [islands[first:last] for islands, first, last in found]
        return Islands.concatenated(parts) if parts else Islands.empty(counts)

    def _chunks(
        self, channel: str, name: str, start: int, stop: int, decode: Callable[[NDArray[np.uint8]], Decoded]
    ) -> Iterator[tuple[Decoded, int, int]]:
        """Decode the chunks that hold rows ``[start, stop)``; with each, which rows of it."""
        array = self.array(channel, name)
        if not 0 <= start <= stop <= array.shape[0]:
            raise StoreError(
                f"{channel}/{name} in {self._group} has {array.shape[0]} rows, asked for {start} to {stop}"
            )
        chunk, in_shard = array.chunks[0], _chunks_in_shard(array)
        for number in range(start // chunk, -(-stop // chunk)):
            if array.shards is None:
                content = self._whole(channel, name, number)
            else:
                shard = self._shard(channel, name, number // in_shard)
                content = shard.chunk(number % in_shard, self._room)
            try:
                rows = decode(content)
            except (ValueError, RuntimeError) as error:
                raise self._damaged(channel, name, start, stop, error) from error
            first = number * chunk
            yield rows, max(start - first, 0), min(stop - first, chunk)

    def _whole(self, channel: str, name: str, index: int) -> NDArray[np.uint8]:
        """Read a file that is one chunk: of an object store, by one request."""
        file = shard_file(self._group / channel / name, index, self.array(channel, name).ndim)
        try:
            return np.frombuffer(file.read_bytes(), np.uint8)
        except FileNotFoundError:
            raise _absent(file, name, index) from None

    def _open_shard(self, channel: str, name: str, index: int) -> Shard:
        array = self.array(channel, name)
        path = shard_file(self._group / channel / name, index, array.ndim)
        return open_shard(path, _chunks_in_shard(array))


def _absent(file: Path, name: str, index: int) -> StoreError:
    todo = "score" if name == "error" or name.startswith(SCORE_PREFIX) else "ingest"
    return StoreError(f"{file} is absent or empty: slot {index} was not written; run tailshard {todo}")


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _chunks_in_shard(array: "zarr.Array[Any]") -> int:
    return int((array.shards or array.chunks)[0]) // int(array.chunks[0])


def _serializer(array: "zarr.Array[Any]") -> Any:
    """Give the codec that turns the numbers of a sharded array into bytes."""
    metadata: Any = array.metadata
    return metadata.codecs[0].codecs[0]


def open_channel(store: Path, channel: str) -> zarr.Group:
    """Open a channel's group for reading.

    Raises
    ------
    StoreError
        There is none.
    """
    try:
        with readable(store):
            return open_group(store, channel)
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
    reader = ShardReader(store)
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
    reader = ShardReader(store)
    wanted = range(len(SPLITS)) if split is None else (SPLITS.index(split),)
    for channel in channels:
        catalog.channel(channel)

    def of_slot(slot: Slot) -> Statistics:
        stored, magnitudes = (
            reader.read(slot.channel, name, slot.index, slot.index + 1)[0]
            for name in ("statistics", "magnitudes")
        )
        scale = catalog.scale(slot)
        return reduce(
            Statistics.merge,
            (
                Statistics.unstacked(
                    stored[number], magnitudes[number], slot.rows[number], slot.sum_of_weights[number], scale
                )
                for number in wanted
            ),
        )

    parts = (of_slot(slot) for slot in catalog.slots if slot.channel in channels and any(slot.rows))
    return reduce(Statistics.merge, parts, Statistics.empty(catalog.geometry.size))
