"""Batches of shuffled events out of the store, the same for any number of ranks.

Batch b of epoch e is a pure function of the snapshot, the settings, e and b (see `order`). A rank
reads its blocks of every window and yields its rows of every batch, which may be none. Background
threads read the next window while batches are cut out of the present one::

    reader threads  | window 0 | window 1  . . . | window 2  . . .
    consumer                   | b0 b1 b2 b3 . . | b4 b5 b6 . . .

Events stay islands all the way: whoever uses a batch expands it, as late as possible. Peak memory of a
rank is (2 + read_ahead) windows / ranks, and a batch: it follows the window and never the store
(`Geometry.stream_bytes`).
"""

import threading
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..config import content_hash
from ..errors import ConfigError, StateError
from ..features.islands import Islands, arranged, expand
from ..learning import Sampling
from .catalog import read_catalog
from .layout import SPLITS
from .memory import Arena, Block, Cache
from .order import (
    Blocks,
    Integers,
    blocks_of,
    permutation,
    rows_of_rank,
    sampled,
    shuffled_windows,
    windows_in_order,
)
from .read import RowReader, ShardReader
from .state import StreamState


class Batch(NamedTuple):
    """One rank's rows of a global batch."""

    islands: Islands
    """Matrices of n events, without the cells of absent objects."""
    weight: NDArray[np.float64]
    """Event weights (n,), scaled for inputs in quarantine and for the sampling of the channel."""
    position: Integers
    """Places (n,) in the epoch's global order, rising."""
    number: int
    """Number of the batch in the epoch."""

    @property
    def features(self) -> NDArray[np.float32]:
        """Whole matrices (n, rows, columns), made anew at every call."""
        return expand(self.islands)


class _Window(NamedTuple):
    first: int
    """Place of the window's first row in the epoch."""
    stop: int
    number: int
    epoch: int
    blocks: Blocks


class _Loaded(NamedTuple):
    """One rank's rows of a window, in the order in which they are used."""

    window: _Window
    islands: Islands
    weight: NDArray[np.float64]
    positions: Integers

    def cut(self, start: int, stop: int, number: int) -> Batch:
        """Give the rows at places ``[start, stop)`` of the epoch."""
        begin, end = np.searchsorted(self.positions, (start, stop))
        rows = slice(int(begin), int(end))
        return Batch(self.islands[rows], self.weight[rows], self.positions[rows], number)


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
    threads
        Threads that read and decode blocks; their number does not change the batches.
    sampling
        Channels of which an epoch reads more or less than all events.
    cache
        Bytes of blocks to keep in memory from one epoch to the next.
    reader
        How rows are read; `ShardReader` where left out.

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
        window_chunks: int = 64,
        shuffle: bool = True,
        read_ahead: int = 1,
        threads: int = 1,
        sampling: Mapping[str, Sampling] = MappingProxyType({}),
        cache: int = 0,
        reader: RowReader | None = None,
    ) -> None:
        _check(split, batch_size, rank, ranks, window_chunks, read_ahead, threads)
        catalog = read_catalog(store)
        wanted = {catalog.channel(name).name for name in channels}
        self._channels = tuple(channel.name for channel in catalog.channels if channel.name in wanted)
        self._blocks = blocks_of(catalog, self._channels, split)
        self._sampling = {name: sampling[name] for name in self._channels if name in sampling}
        self._counts = catalog.geometry.counts
        self._reader = reader or ShardReader(store)
        self._cache, self._arena = Cache(cache), Arena()
        self._split, self._batch_size, self._seed = split, batch_size, seed
        self._rank, self._ranks = rank, ranks
        self._window_chunks, self._shuffle, self._read_ahead = window_chunks, shuffle, read_ahead
        self._threads = threads
        self.events = int(self._blocks_of_epoch(0).sizes.sum())
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
            sampling=content_hash({name: each.model_dump() for name, each in self._sampling.items()}),
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

    def _blocks_of_epoch(self, epoch: int) -> Blocks:
        return sampled(self._blocks, self._channels, self._sampling, self._seed, epoch)

    def _windows(self, epoch: int, place: int) -> list[_Window]:
        """List the windows of an epoch that hold rows from a place on."""
        blocks = self._blocks_of_epoch(epoch)
        if self._shuffle:
            windows = shuffled_windows(blocks, self._channels, self._window_chunks, self._seed, epoch)
        else:
            windows = windows_in_order(blocks, self._window_chunks)
        stops = np.cumsum([blocks.sizes[chosen].sum() for chosen in windows], dtype=np.int64).tolist()
        return [
            _Window(first, stop, number, epoch, blocks.take(chosen))
            for number, (first, stop, chosen) in enumerate(zip([0, *stops], stops, windows, strict=False))
            if stop > place
        ]

    def _load(self, windows: list[_Window]) -> Generator[_Loaded, None, None]:
        """Read windows ahead of the consumer."""
        stopped = threading.Event()
        upcoming = iter(windows)
        name = "tailshard-stream"
        with (
            ThreadPoolExecutor(self._threads, thread_name_prefix=f"{name}-block") as readers,
            ThreadPoolExecutor(1, thread_name_prefix=name) as pool,
        ):
            try:
                reading = deque(
                    pool.submit(self._read, window, readers, stopped)
                    for window in islice(upcoming, 1 + self._read_ahead)
                )
                while reading:
                    loaded = reading.popleft().result()
                    yield loaded
                    del loaded
                    for window in islice(upcoming, 1):
                        reading.append(pool.submit(self._read, window, readers, stopped))
            finally:
                stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, window: _Window, readers: ThreadPoolExecutor, stopped: threading.Event) -> _Loaded:
        """Read this rank's blocks of a window, and put their rows where the shuffle wants them."""
        mine = window.blocks.take(slice(self._rank, None, self._ranks))
        self._arena.reset()  # windows are read one after another, and copied from it
        read = partial(self._read_block, stopped=stopped)
        blocks = list(readers.map(read, *mine[:3])) or [Block(Islands.empty(self._counts), np.zeros(0))]
        order = None
        if self._shuffle:
            order = permutation(window.stop - window.first, self._seed, window.epoch, "rows", window.number)
        positions, rows = rows_of_rank(window.blocks.sizes, order, self._rank, self._ranks)
        weight = np.concatenate(
            [block.weight * scale for block, scale in zip(blocks, mine.scale, strict=False)] or [np.zeros(0)]
        )
        islands = arranged([block.islands for block in blocks], rows)
        return _Loaded(window, islands, weight[rows], window.first + positions)

    def _read_block(self, channel: int, start: int, stop: int, stopped: threading.Event) -> Block:
        """Read the rows of a block, from memory where they are kept."""
        name, rows = self._channels[channel], (int(start), int(stop))
        key = (name, *rows)
        if (kept := self._cache.get(key)) is not None:
            return kept
        if stopped.is_set():  # nobody will look at the window
            raise CancelledError
        weight = np.asarray(self._reader.read(name, "weight", *rows), np.float64)
        return self._cache.keep(key, Block(self._reader.read_islands(name, *rows, self._arena.cells), weight))


def _joined(parts: list[Batch]) -> Batch:
    """Join the parts of a batch that come from different windows."""
    if len(parts) == 1:
        return parts[0]
    return Batch(
        Islands.concatenated([part.islands for part in parts]),
        np.concatenate([part.weight for part in parts]),
        np.concatenate([part.position for part in parts]),
        parts[0].number,
    )


def _check(
    split: str, batch_size: int, rank: int, ranks: int, window_chunks: int, read_ahead: int, threads: int
) -> None:
    if split not in SPLITS:
        raise ConfigError(f"there is no split '{split}'; use one of {', '.join(SPLITS)}")
    for name, value, least in (
        ("batch_size", batch_size, 1),
        ("window_chunks", window_chunks, 1),
        ("ranks", ranks, 1),
        ("rank", rank, 0),
        ("read_ahead", read_ahead, 0),
        ("threads", threads, 1),
    ):
        if value < least:
            raise ConfigError(f"{name} must be at least {least}, found {value}")
    if rank >= ranks:
        raise ConfigError(f"rank must be below the number of ranks, found rank {rank} of {ranks}")
