"""Batches of shuffled events out of the store, the same for any number of ranks.

Batch b of epoch e is a pure function of the snapshot, the settings, e and b (see `order`). A rank
reads its blocks of every window and yields its rows of every batch, which may be none. A background
thread reads the next window while batches are cut out of the present one; two buffers change places::

    reader thread   | window 0 | window 1  . . . | window 2  . . .
    consumer                   | b0 b1 b2 b3 . . | b4 b5 b6 . . .

Peak memory of a rank is (1 + read_ahead) windows / ranks, and two batches: it follows the window and
never the store (`Geometry.stream_bytes`).
"""

import threading
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, StateError
from .catalog import read_catalog
from .layout import SPLITS
from .order import Integers, blocks_of, permutation, rows_of_rank, shuffled_windows, windows_in_order
from .read import RowReader, ZarrReader

STATE_VERSION = 1


@dataclass(frozen=True)
class StreamState:
    """Where a stream is, and everything that decides what comes next."""

    snapshot: str
    """Snapshot of the channels that are streamed."""
    split: str
    seed: int
    batch_size: int
    window_chunks: int
    shuffle: bool
    epoch: int
    batch: int
    """First batch that has not been used yet."""

    def to_dict(self) -> dict[str, Any]:
        """Give a dictionary that JSON and checkpoints can hold."""
        return {"version": STATE_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Undo `to_dict`.

        Raises
        ------
        StateError
            It is not the state of a stream, or another version of tailshard wrote it.
        """
        names = {"version", *(field.name for field in fields(cls))}
        if content.get("version") != STATE_VERSION or set(content) != names:
            raise StateError(
                f"not a stream state of version {STATE_VERSION} (found version {content.get('version')!r}, "
                f"keys {sorted(content)}); start the training anew"
            )
        return cls(**{name: value for name, value in content.items() if name != "version"})


class Batch(NamedTuple):
    """One rank's rows of a global batch."""

    features: NDArray[np.float32]
    """Matrices (n, rows, columns)."""
    weight: NDArray[np.float64]
    """Event weights (n,), scaled for inputs in quarantine."""
    position: Integers
    """Places (n,) in the epoch's global order, rising."""
    number: int
    """Number of the batch in the epoch."""


class _Buffer(NamedTuple):
    features: NDArray[np.float32]
    weight: NDArray[np.float64]


class _Window(NamedTuple):
    first: int
    """Place of the window's first row in the epoch."""
    stop: int
    number: int
    epoch: int
    blocks: Integers


class _Loaded(NamedTuple):
    window: _Window
    buffer: _Buffer
    positions: Integers
    rows: Integers

    def cut(self, start: int, stop: int, number: int) -> Batch:
        """Copy the rows at places ``[start, stop)`` of the epoch."""
        begin, end = np.searchsorted(self.positions, (start, stop))
        rows = self.rows[begin:end]
        return Batch(self.buffer.features[rows], self.buffer.weight[rows], self.positions[begin:end], number)


class Stream:
    """Batches of one split of some channels.

    Parameters
    ----------
    store
        Folder of the store.
    channels
        What to stream; their order does not matter.
    split
        training, validation or test.
    batch_size
        Events in a global batch, over all ranks.
    seed
        Decides the order together with the epoch.
    rank, ranks
        Which part of every batch to yield.
    window_chunks
        Chunks that are shuffled together, over all ranks.
    shuffle
        False gives the order of the catalog.
    read_ahead
        Windows read ahead of the one in use.
    reader
        How rows are read; `ZarrReader` where left out.

    Attributes
    ----------
    events : int
        Events in an epoch, over all ranks.
    batches : int
        Batches in an epoch; the last one may be smaller, and is never dropped.
    snapshot : str
        Hash of the rows and weights that are streamed.
    waited : float
        Seconds that the consumer has waited for batches in the latest epoch.

    Raises
    ------
    ConfigError
        An argument is out of range.
    StoreError
        There is no store, or no such channel in it.
    """

    def __init__(
        self,
        store: Path,
        channels: Sequence[str],
        split: str,
        batch_size: int,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
        window_chunks: int = 128,
        shuffle: bool = True,
        read_ahead: int = 1,
        reader: RowReader | None = None,
    ) -> None:
        _check(split, batch_size, rank, ranks, window_chunks, read_ahead)
        catalog = read_catalog(store)
        wanted = {catalog.channel(name).name for name in channels}
        self._channels = tuple(channel.name for channel in catalog.channels if channel.name in wanted)
        self._blocks = blocks_of(catalog, self._channels, split)
        self._size = catalog.geometry.size
        self._reader = reader or ZarrReader(store)
        self._split, self._batch_size, self._seed = split, batch_size, seed
        self._rank, self._ranks = rank, ranks
        self._window_chunks, self._shuffle, self._read_ahead = window_chunks, shuffle, read_ahead
        self.events = int(self._blocks.sizes.sum())
        self.batches = -(-self.events // batch_size)
        self.snapshot = catalog.snapshot_id(self._channels)
        self.waited = 0.0

    def state(self, epoch: int, batch: int) -> StreamState:
        """Describe the place before a batch of an epoch, to be saved."""
        return StreamState(
            snapshot=self.snapshot,
            split=self._split,
            seed=self._seed,
            batch_size=self._batch_size,
            window_chunks=self._window_chunks,
            shuffle=self._shuffle,
            epoch=epoch,
            batch=batch,
        )

    def resume(self, state: StreamState) -> tuple[int, int]:
        """Find the epoch and batch to continue with, on any number of ranks.

        Raises
        ------
        StateError
            The state belongs to a stream of other events or in another order.
        """
        here, there = asdict(self.state(state.epoch, state.batch)), asdict(state)
        if differences := [
            f"{name} was {there[name]} and is {here[name]}" for name in here if here[name] != there[name]
        ]:
            raise StateError(
                f"cannot continue the saved stream: {'; '.join(differences)}; "
                "restore what has changed, or start the training anew"
            )
        if not (state.epoch >= 0 and 0 <= state.batch <= self.batches):
            raise StateError(
                f"the saved stream is at epoch {state.epoch}, batch {state.batch}, but an epoch has "
                f"{self.batches} batches; start the training anew"
            )
        return state.epoch, state.batch

    def epoch(self, epoch: int, start: int = 0) -> Generator[Batch, None, None]:
        """Yield this rank's part of every batch of an epoch, from batch `start` on.

        Closing the iterator, or an exception in its consumer, stops the reader thread.

        Raises
        ------
        StoreError
            Rows are missing or damaged.
        """
        self.waited = 0.0
        asked = perf_counter()
        place = start * self._batch_size
        parts: list[Batch] = []
        with closing(self._load(self._windows(epoch, place))) as windows:
            for loaded in windows:
                while place < loaded.window.stop:
                    number = place // self._batch_size
                    end = min((number + 1) * self._batch_size, self.events)
                    stop = min(end, loaded.window.stop)
                    parts.append(loaded.cut(place, stop, number))
                    place = stop
                    if place == end:
                        batch, parts = _joined(parts), []
                        self.waited += perf_counter() - asked
                        yield batch
                        asked = perf_counter()

    def _windows(self, epoch: int, place: int) -> list[_Window]:
        """List the windows of an epoch that hold rows from a place on."""
        if self._shuffle:
            windows = shuffled_windows(self._blocks, self._channels, self._window_chunks, self._seed, epoch)
        else:
            windows = windows_in_order(self._blocks, self._window_chunks)
        sizes = self._blocks.sizes
        stops = np.cumsum([sizes[blocks].sum() for blocks in windows], dtype=np.int64).tolist()
        return [
            _Window(first, stop, number, epoch, blocks)
            for number, (first, stop, blocks) in enumerate(zip([0, *stops], stops, windows, strict=False))
            if stop > place
        ]

    def _load(self, windows: list[_Window]) -> Generator[_Loaded, None, None]:
        """Read windows ahead of the consumer, each into the buffer of one that is used up."""
        rows = max((int(self._own_sizes(window).sum()) for window in windows), default=0)
        buffers = [
            _Buffer(np.empty((rows, self._size, self._size), np.float32), np.empty(rows))
            for _ in range(min(1 + self._read_ahead, len(windows)))
        ]
        stopped = threading.Event()
        upcoming = iter(windows)
        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tailshard-stream")
        try:
            reading = deque(
                pool.submit(self._read, window, buffer, stopped)
                for buffer, window in zip(buffers, upcoming, strict=False)
            )
            while reading:
                loaded = reading.popleft().result()
                yield loaded
                for window in upcoming:
                    reading.append(pool.submit(self._read, window, loaded.buffer, stopped))
                    break
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)

    def _own_sizes(self, window: _Window) -> Integers:
        return self._blocks.sizes[window.blocks[self._rank :: self._ranks]]

    def _read(self, window: _Window, buffer: _Buffer, stopped: threading.Event) -> _Loaded:
        stop = 0
        for block in window.blocks[self._rank :: self._ranks]:
            if stopped.is_set():
                break
            channel = self._channels[self._blocks.channel[block]]
            rows = int(self._blocks.start[block]), int(self._blocks.stop[block])
            start, stop = stop, stop + rows[1] - rows[0]
            self._reader.read(channel, "rmm", *rows, out=buffer.features[start:stop])
            self._reader.read(channel, "weight", *rows, out=buffer.weight[start:stop])
            buffer.weight[start:stop] *= self._blocks.scale[block]
        order = None
        if self._shuffle:
            order = permutation(window.stop - window.first, self._seed, window.epoch, "rows", window.number)
        positions, own_rows = rows_of_rank(self._blocks.sizes[window.blocks], order, self._rank, self._ranks)
        return _Loaded(window, buffer, window.first + positions, own_rows)


def _joined(parts: list[Batch]) -> Batch:
    """Join the parts of a batch that come from different windows."""
    if len(parts) == 1:
        return parts[0]
    return Batch(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.weight for part in parts]),
        np.concatenate([part.position for part in parts]),
        parts[0].number,
    )


def _check(split: str, batch_size: int, rank: int, ranks: int, window_chunks: int, read_ahead: int) -> None:
    if split not in SPLITS:
        raise ConfigError(f"there is no split '{split}'; use one of {', '.join(SPLITS)}")
    for name, value, least in (
        ("batch_size", batch_size, 1),
        ("window_chunks", window_chunks, 1),
        ("ranks", ranks, 1),
        ("rank", rank, 0),
        ("read_ahead", read_ahead, 0),
    ):
        if value < least:
            raise ConfigError(f"{name} must be at least {least}, found {value}")
    if rank >= ranks:
        raise ConfigError(f"rank must be below the number of ranks, found rank {rank} of {ranks}")
