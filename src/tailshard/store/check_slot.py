"""Check one slot of a store against the catalog.

A task holds its slot and nothing else. For each slot:

* every array is there, and its checksums are right (all readers verify them);
* rows by split, sums of weights and of squared weights are the catalog's;
* entries lie in the range that was read, and none is there twice;
* the islands have the multiplicities of the array ``multiplicity``;
* statistics computed again are those stored, bit for bit;
* matrices computed again from ``objects`` are those stored, bit for bit;
* nothing is stored for unused rows, but for fill values up to the end of the last chunk.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray

from ..config import Features
from ..errors import StoreError, TailshardError
from ..features.islands import Islands
from ..features.rmm import islands_from_objects
from .catalog import Slot
from .cells import SLOT_ARRAYS, Statistics
from .layout import SPLITS, Geometry, events_group, shard_file
from .read import ShardReader
from .shard import open_shard
from .sums import summarise

ERROR = "error"


class Fault(NamedTuple):
    """Something in a store that is not as it should be."""

    channel: str
    slot: int | None
    """None where it concerns the whole array, channel or store."""
    array: str
    reason: str


class ChannelArrays(NamedTuple):
    """Arrays of a channel whose slots can be read."""

    usable: tuple[str, ...]
    scored: bool
    """Every slot must have its errors."""


def check_slot(
    store: Path, geometry: Geometry, features: Features | None, arrays: ChannelArrays, slot: Slot
) -> list[Fault]:
    """Check all of one slot.

    Parameters
    ----------
    store, geometry
        Where it is.
    features
        What the catalog says of the matrices; None leaves out computing them again.
    arrays
        What can be read of its channel.
    slot
        What the catalog says of it.

    Returns
    -------
    list
        Everything that is wrong with it.
    """
    check = _SlotCheck(store, geometry, slot)
    if slot.selected != check.rows:
        check.note("", f"the catalog counts {slot.selected} selected events and {check.rows} rows")
    if not check.rows:
        for name in arrays.usable:
            check.nothing_stored(name)
        return check.faults
    values = {}
    for name in arrays.usable:
        if name == ERROR and not arrays.scored and not check.file(name).exists():
            continue
        if name not in {"rmm", *SLOT_ARRAYS} and (read := check.values(name)) is not None:
            values[name] = read
    islands = check.islands() if "rmm" in arrays.usable else None
    _compare_rows(check, values)
    if islands is not None:
        _compare_matrices(check, values, islands, features)
        if SLOT_ARRAYS.keys() <= set(arrays.usable) and "weight" in values:
            _compare_statistics(check, islands, values["weight"])
    return check.faults


@dataclass
class _SlotCheck:
    """Reads a slot piece by piece, and notes what cannot be read."""

    store: Path
    geometry: Geometry
    slot: Slot
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reader = ShardReader(self.store)
        self.first = self.geometry.first_row(self.slot.index)
        self.rows = sum(self.slot.rows)

    def note(self, array: str, reason: str) -> None:
        """Enter a fault, once."""
        fault = Fault(self.slot.channel, self.slot.index, array, reason)
        if fault not in self.faults:
            self.faults.append(fault)

    def file(self, name: str) -> Path:
        """Find the file of an array."""
        folder = events_group(self.store) / self.slot.channel / name
        return shard_file(folder, self.slot.index, self._array(name).ndim)

    def nothing_stored(self, name: str) -> None:
        """Note a file where the catalog says that there are no rows."""
        if (file := self.file(name)).exists():
            self.note(name, f"{file} is there, but the catalog says that the slot has no rows")

    def values(self, name: str) -> NDArray[Any] | None:
        """Read an array's rows of the slot; None, and a fault, where they cannot be read."""
        array = self._array(name)
        parts = []
        for start, stop in self._pieces(name):
            part = self._try(name, start, stop, partial(self.reader.read, self.slot.channel, name))
            if part is not None:
                parts.append(part)
        if sum(map(len, parts)) < self.rows:
            return None
        values = np.concatenate(parts)
        unused, fill = values[self.rows :], array.fill_value
        empty = np.isnan(unused) if np.isnan(fill) else unused == fill
        if not empty.all():
            self.note(name, f"{np.count_nonzero(~empty)} values of unused rows are stored")
        return values[: self.rows]

    def islands(self) -> Islands | None:
        """Read the matrices of the slot; None, and a fault, where they cannot be read."""
        parts = []
        for start, stop in self._pieces("rmm"):
            part = self._try("rmm", start, stop, partial(self.reader.read_islands, self.slot.channel))
            if part is not None:
                parts.append(part)
        if sum(map(len, parts)) < self.rows:
            return None
        islands = Islands.concatenated(parts)
        unused = islands[self.rows :]
        if unused.multiplicity.any() or unused.cells.any():
            self.note("rmm", f"matrices of {len(unused)} unused rows are stored")
        return islands[: self.rows]

    def of_slot(self, name: str) -> NDArray[Any] | None:
        """Read the slot's row of an array of `SLOT_ARRAYS`."""
        index = self.slot.index
        found = self._try(name, index, index + 1, partial(self.reader.read, self.slot.channel, name))
        return None if found is None else found[0]

    def _array(self, name: str) -> "zarr.Array[Any]":
        return self.reader.array(self.slot.channel, name)

    def _pieces(self, name: str) -> Iterator[tuple[int, int]]:
        """Cut the rows up to the end of the last chunk in use, and look for chunks beyond."""
        array = self._array(name)
        chunk = array.chunks[0]
        used = -(-self.rows // chunk)
        for number in range(used):
            yield self.first + number * chunk, self.first + (number + 1) * chunk
        if array.shards is not None:
            try:
                with open_shard(self.file(name), array.shards[0] // chunk) as shard:
                    beyond = np.count_nonzero(shard.stored[used:])
            except StoreError:
                return  # noted where its chunks are read
            if beyond:
                self.note(name, f"{beyond} chunks of unused rows are stored")

    def _try(self, name: str, start: int, stop: int, read: Any) -> Any:
        try:
            return read(start, stop)
        except StoreError as error:
            # The reader's own words are advice to run what is running; its cause says what is damaged.
            cause = error.__cause__
            self.note(name, f"rows {start} to {stop} are damaged: {cause}" if cause else str(error))
            return None


def _compare_rows(check: _SlotCheck, values: Mapping[str, NDArray[Any]]) -> None:
    """Compare splits, weights and entries with the catalog."""
    slot = check.slot
    if "weight" in values:
        _compare_weights(check, values["weight"])
    if "split" in values:
        found = np.bincount(values["split"], minlength=4)
        for number, (name, rows) in enumerate(zip(SPLITS, slot.rows, strict=True), start=1):
            if found[number] != rows:
                check.note("split", f"{name} has {found[number]} rows, the catalog says {rows}")
        if (np.diff(values["split"].astype(np.int16)) < 0).any():
            check.note("split", "rows are not grouped by split")
    if "entry" in values:
        entry = values["entry"]
        outside = np.count_nonzero((entry < slot.start) | (entry >= slot.stop))
        if outside:
            check.note("entry", f"{outside} entries lie outside {slot.start} to {slot.stop}, which was read")
        if repeated := len(entry) - len(np.unique(entry)):
            check.note("entry", f"{repeated} entries are there more than once")
    if ERROR in values and (bad := np.count_nonzero(~np.isfinite(values[ERROR]))):
        check.note(ERROR, f"{bad} errors are not finite")


def _compare_weights(check: _SlotCheck, weight: NDArray[np.float64]) -> None:
    if bad := np.count_nonzero(~np.isfinite(weight)):
        check.note("weight", f"{bad} weights are not finite")
        return
    summary, slot = summarise(check.slot.rows, weight), check.slot
    for what in ("sum_of_weights", "sum_of_squared_weights"):
        for name, found, said in zip(SPLITS, getattr(summary, what), getattr(slot, what), strict=True):
            if found != said:
                check.note("weight", f"{what} of {name} is {found!r}, the catalog says {said!r}")


def _compare_matrices(
    check: _SlotCheck,
    values: Mapping[str, NDArray[Any]],
    islands: Islands,
    features: Features | None,
) -> None:
    """Compare the islands with the multiplicities and with what the objects give."""
    if "multiplicity" not in values:
        return
    multiplicity = values["multiplicity"]
    if different := np.count_nonzero((islands.multiplicity != multiplicity).any(axis=1)):
        check.note("rmm", f"{different} matrices have other multiplicities than the array 'multiplicity'")
        return
    if "objects" not in values or features is None or features.center_of_mass_energy is None:
        return
    try:
        again = islands_from_objects(
            values["objects"],
            multiplicity,
            check.geometry.counts,
            features.convention,
            features.center_of_mass_energy,
        )
    except TailshardError as error:
        check.note("rmm", f"cannot be computed again from 'objects': {error}")
        return
    stored, computed = islands.cells.view(np.uint32), again.cells.view(np.uint32)
    if different := np.count_nonzero(stored != computed):
        with np.errstate(invalid="ignore"):
            most = np.nanmax(np.abs(islands.cells - again.cells))
        check.note(
            "rmm", f"{different} cells are not those that 'objects' give; the largest difference is {most:g}"
        )


def _compare_statistics(check: _SlotCheck, islands: Islands, weight: NDArray[np.float64]) -> None:
    stored, magnitudes = check.of_slot("statistics"), check.of_slot("magnitudes")
    if stored is None or magnitudes is None:
        return
    bounds = np.cumsum((0, *check.slot.rows)).tolist()
    for name, found, counted, (start, stop) in zip(SPLITS, stored, magnitudes, pairwise(bounds), strict=True):
        try:
            made = Statistics.of(islands[start:stop], weight[start:stop])
        except StoreError as error:
            check.note("rmm", f"{name}: {error}")
            continue
        for statistic, old, new in zip(Statistics.STORED, found, made.stacked(), strict=True):
            if different := np.count_nonzero(old != new):
                check.note(
                    "statistics", f"{statistic} of {name} differs from the matrices in {different} cells"
                )
        if different := np.count_nonzero(counted != made.magnitudes):
            check.note("magnitudes", f"those of {name} differ from the matrices in {different} bins")
