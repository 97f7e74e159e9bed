"""Where things are: arrays, slots, splits and the bytes they take. Arithmetic only, no I/O.

Every array of a channel is aligned on the event axis, which is cut into slots. One partition of the
input owns one slot, and one slot is one shard (one file) of every array. Inside a slot the rows are
grouped by split, so that a split of a slot is one contiguous range::

    slot 0                                   slot 1
    |training..|validation|test|unused......||training....|validation|test|unused..|
    |chunk|chunk|chunk|chunk|chunk|chunk|...||chunk|...

Unused rows are chunks that are never stored.
"""

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..config import Splits

SPLITS = ("training", "validation", "test")
"""Names of the splits; split number 1, 2, 3 in the array ``split``, where 0 is an unused row."""

COMPONENTS = ("pt", "eta", "phi", "mass")
"""Components of an object in the array ``objects``."""

COUNTS = "counts"
"""Attribute of the array ``rmm``: rows by object type."""

OBJECTS_AT_MOST = 10
"""Objects that an event has on average, at most, in estimates of memory."""

OBJECT_TYPES = ("light_jets", "b_jets", "electrons", "muons")
"""Object types in the array ``multiplicity``."""


class PlacedRows(Protocol):
    """What `Geometry.split_range` needs to know of a slot."""

    @property
    def index(self) -> int:
        """Number of the slot in its channel."""

    @property
    def rows(self) -> tuple[int, int, int]:
        """Rows by split."""


@dataclass(frozen=True)
class Geometry:
    """Sizes that all arrays of a store share.

    The methods that end in ``_bytes`` are upper estimates of peak memory, known before a task starts.
    """

    slot: int
    """Rows in a slot."""
    chunk: int
    """Rows in a chunk: the least that is decoded at once."""
    counts: tuple[int, ...]
    """Rows of the rapidity-mass matrix by object type."""
    codec: Literal["islands", "zstd"] = "islands"
    """How matrices are stored: without their empty cells, or whole and compressed."""

    @property
    def size(self) -> int:
        """Rows, and columns, of the rapidity-mass matrix."""
        return 1 + sum(self.counts)

    @property
    def types(self) -> int:
        """Object types."""
        return len(self.counts)

    def first_row(self, index: int) -> int:
        """First row of a slot."""
        return index * self.slot

    def split_range(self, slot: PlacedRows, split: str) -> tuple[int, int]:
        """Rows ``[start, stop)`` of the event axis that hold a split of a slot."""
        number = SPLITS.index(split)
        start = self.first_row(slot.index) + sum(slot.rows[:number])
        return start, start + slot.rows[number]

    @property
    def matrix_bytes(self) -> int:
        """Bytes of one event's whole matrix in memory."""
        return 4 * self.size**2

    @property
    def island_bytes(self) -> int:
        """Bytes of one event's matrix without the cells of absent objects, for ten objects an event."""
        return 4 * min(self.size, 1 + OBJECTS_AT_MOST) ** 2 + self.types

    def bytes_per_event(self, quantities: int = 0) -> int:
        """Bytes of one event's row in memory, with whole matrices and that many kinematic quantities."""
        fixed = sum(
            np.dtype(column.dtype).itemsize * int(np.prod(column.shape, dtype=np.int64))
            for column in columns(self, {}).values()
        )
        return fixed + 4 * quantities

    def stored_bytes(self, events: int, quantities: int = 0) -> int:
        """Rough bytes on disk: matrices shrink to 8 %, padded objects to 25 %, other columns to 75 %.

        Measured on toys of five objects an event; events with more objects take more.
        """
        objects = 4 * len(COMPONENTS) * self.size
        rest = self.bytes_per_event(quantities) - self.matrix_bytes - objects
        return int(events * (0.08 * self.matrix_bytes + 0.25 * objects + 0.75 * rest))

    def ingest_task_bytes(self, quantities: int = 0) -> int:
        """Peak of writing a full slot: all columns, a sorted copy, a shard of encoded chunks."""
        row = self.bytes_per_event(quantities) - self.matrix_bytes + self.island_bytes
        return 3 * self.slot * row + 2 * self.chunk * self.matrix_bytes

    def stream_bytes(self, window_chunks: int, batch_size: int, ranks: int = 1, read_ahead: int = 1) -> int:
        """Peak of one rank's stream: the window in use, those read ahead, one being sorted, a batch.

        A row holds its island, weight and place; the permutation of a window, which every rank computes
        in full, adds 32 bytes a row. The batch is expanded to whole matrices.
        """
        row = self.island_bytes + 24
        window = window_chunks * self.chunk
        share = -(-window_chunks // ranks) * self.chunk
        batch = -(-batch_size // ranks) * (self.matrix_bytes + 2 * row)
        return (2 + read_ahead) * (share * row + window * 32) + batch

    def scoring_task_bytes(self) -> int:
        """Peak of scoring a slot chunk by chunk: some copies of the whole matrices, and the scores."""
        return 6 * self.chunk * self.matrix_bytes + 8 * self.slot


class Column(NamedTuple):
    """An array of a channel, described for one event."""

    dtype: str
    dimensions: tuple[str, ...] = ()
    """Names of the dimensions after the event axis."""
    shape: tuple[int, ...] = ()
    """Lengths of those dimensions."""
    units: str = "1"
    long_name: str = ""
    fill: float = 0
    """What unused rows read as."""
    streamed: bool = False
    """Read in blocks of rows, so a shard holds many chunks; otherwise a slot is one chunk."""


SCORE_PREFIX = "score_"
"""Begins the names of arrays that hold scores other than ``error``, or the errors of an ensemble's networks;
the score stage creates them."""


def columns(geometry: Geometry, quantities: Mapping[str, tuple[str, str]]) -> dict[str, Column]:
    """Describe every array on the event axis of a channel.

    Parameters
    ----------
    geometry
        Sizes of the store.
    quantities
        Kinematic quantity -> (units, long name).
    """
    size, types, nan = geometry.size, geometry.types, float("nan")
    return {
        "rmm": Column(
            "float32",
            ("row", "column"),
            (size, size),
            "1",
            "rapidity-mass matrix",
            streamed=True,
        ),
        "objects": Column(
            "float32",
            ("row", "component"),
            (size, len(COMPONENTS)),
            "GeV, 1, rad, GeV",
            "pt, eta, phi and signed mass of the objects, one for each row of the matrix",
            streamed=True,
        ),
        "multiplicity": Column("uint8", ("type",), (types,), "1", "stored objects by type", streamed=True),
        "split": Column("uint8", units="1", long_name="0 unused row, 1 training, 2 validation, 3 test"),
        "weight": Column("float64", units="1", long_name="event weight", streamed=True),
        "run": Column("uint64", units="1", long_name="run number"),
        "event_number": Column("uint64", units="1", long_name="event number"),
        "entry": Column("uint64", units="1", long_name="entry in the input tree"),
        "error": Column("float32", units="1", long_name="reconstruction error", fill=nan),
        **{
            name: Column("float32", units=units, long_name=long_name, fill=nan)
            for name, (units, long_name) in quantities.items()
        },
    }


def events_group(store: Path) -> Path:
    """Zarr group of a store; nothing but Zarr lies in it, so that any Zarr reader lists it in peace."""
    return store / "events.zarr"


def shard_file(array: Path, index: int, dimensions: int) -> Path:
    """File of an array's slot: Zarr's default chunk key, for arrays cut along their first axis alone."""
    return array.joinpath("c", str(index), *["0"] * (dimensions - 1))


# -- which split an event belongs to ---------------------------------------------------------------


def assign_splits(
    identity: str, run: ArrayLike, event_number: ArrayLike, entry: ArrayLike, splits: Splits
) -> NDArray[np.uint8]:
    """Decide the split of every event by a keyed hash of its identity.

    The decision depends on nothing else: not on order, other events, partitions or machines.

    Parameters
    ----------
    identity
        Name of the data set.
    run, event_number, entry
        Integers of shape (events,); entry is the place in the input tree.
    splits
        Fractions and seed.

    Returns
    -------
    array of uint8, shape (events,)
        1 training, 2 validation, 3 test.

    Notes
    -----
    The hash chains the finaliser of SplitMix64 (Steele, Lea, Flood 2014, doi:10.1145/2660193.2660195,
    with the constants of Vigna's splitmix64.c) over a BLAKE2b digest of seed and identity, and the
    three integers.
    """
    key = hashlib.blake2b(f"{splits.seed}/{identity}".encode(), digest_size=8).digest()
    state = np.full(np.shape(run), int.from_bytes(key, "little"), dtype=np.uint64)
    for field in (run, event_number, entry):
        state = _splitmix64(state ^ np.asarray(field).astype(np.uint64))
    uniform = (state >> np.uint64(11)) * 2.0**-53
    edges = np.cumsum(splits.fractions)[:-1]
    return (1 + np.searchsorted(edges, uniform, side="right")).astype(np.uint8)


def _splitmix64(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


# -- which slot a partition owns -------------------------------------------------------------------


class SlotAssignment(NamedTuple):
    """Slots of the partitions of one channel."""

    indices: tuple[int, ...]
    """Slot of each partition, in the order they were given."""
    freed: tuple[int, ...]
    """Slots whose partition is gone, refilled or not. Strike them out of the catalog and clear them
    before anything is written."""


def assign_slots(partition_keys: Sequence[str], existing: Mapping[int, str]) -> SlotAssignment:
    """Give every partition of a channel a slot; a partition that has one keeps it.

    Parameters
    ----------
    partition_keys
        Content key of every partition, in the order of the plan.
    existing
        Slot -> content key, from the catalog.

    Notes
    -----
    Partitions without a slot take unused ones, lowest first, then new ones at the end.
    """
    places: dict[str, deque[int]] = {}
    for index in sorted(existing):
        places.setdefault(existing[index], deque()).append(index)
    kept = [places[key].popleft() if places.get(key) else None for key in partition_keys]
    taken = {index for index in kept if index is not None}
    unused = iter([index for index in range(len(partition_keys) + len(taken)) if index not in taken])
    indices = tuple(next(unused) if index is None else index for index in kept)
    return SlotAssignment(indices, tuple(index for index in sorted(existing) if index not in taken))
