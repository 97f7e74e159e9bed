"""Slots that pseudo-data is drawn from: which events, how often, and in pieces aside."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..features.islands import Islands
from ..store.catalog import Slot
from ..store.cells import SLOT_ARRAYS
from ..store.check_slot import ERROR
from ..store.layout import SCORE_PREFIX, Geometry
from ..store.order import generator_of, permutation
from ..store.read import ShardReader, open_channel
from .draw import keys_of, repetitions

_REPLACED = ("rmm", "split", "weight", "run", "event_number", "entry", ERROR, *SLOT_ARRAYS)


class Recipe(NamedTuple):
    """How the events of a source are drawn."""

    kind: str
    """"poisson": simulation, by weight. "all": every event once. "chosen": those with the smallest keys."""
    scale: float
    """Factor on the stored weights: expected events that one stands for."""
    splits: tuple[str, ...]
    """Which events are drawn from."""


class SourceSums(NamedTuple):
    """Sums over the events that a source can give."""

    events: int
    weight: float
    positive: float
    """Of positive weights alone."""
    drawable: int
    """Events of positive weight."""

    def plus(self, other: "SourceSums") -> "SourceSums":
        """Add the sums of another source."""
        return SourceSums(
            self.events + other.events,
            self.weight + other.weight,
            self.positive + other.positive,
            self.drawable + other.drawable,
        )


@dataclass(frozen=True)
class Source:
    """A slot that events are drawn from."""

    slot: Slot
    recipe: Recipe
    factor: float = 1.0
    """On Poisson means: see `tailshard.blind.draw`."""
    largest_key: float = np.inf
    """Of the events that are chosen by key."""
    is_signal: bool = False


def sums_of_slot(store: Path, geometry: Geometry, slot: Slot, recipe: Recipe) -> SourceSums:
    """Add up what a slot can give."""
    weight = _read(ShardReader(store), geometry, slot, recipe, "weight") * recipe.scale
    positive = weight[weight > 0]
    return SourceSums(len(weight), float(weight.sum()), float(positive.sum()), len(positive))


def smallest_keys(
    store: Path, geometry: Geometry, seed: int, count: int, slot: Slot, recipe: Recipe
) -> NDArray[np.float64]:
    """Give the smallest keys of a slot's events, `count` at most."""
    weight = _read(ShardReader(store), geometry, slot, recipe, "weight")
    keys = np.sort(keys_of(_random(seed, "keys", slot), weight))
    return keys[np.isfinite(keys)][:count]


def drawn_rows(store: Path, geometry: Geometry, seed: int, source: Source) -> NDArray[np.int64]:
    """Say which rows of a slot are drawn, in a random order; some more than once."""
    reader, slot, recipe = ShardReader(store), source.slot, source.recipe
    weight = _read(reader, geometry, slot, recipe, "weight")
    if recipe.kind == "all":
        times = np.ones(len(weight), np.int64)
    elif recipe.kind == "chosen":
        times = (keys_of(_random(seed, "keys", slot), weight) <= source.largest_key).astype(np.int64)
    else:
        times = repetitions(_random(seed, "draw", slot), weight * recipe.scale, source.factor)
    nothing = np.zeros(0, np.int64)
    rows = np.concatenate([nothing, *(np.arange(*its) for its in _ranges(geometry, slot, recipe))])
    rows = np.repeat(rows, times)
    return rows[permutation(len(rows), seed, "rows", slot.channel, slot.index)]


def count_drawn(store: Path, geometry: Geometry, seed: int, source: Source) -> int:
    """Count the events that are drawn of a slot."""
    return len(drawn_rows(store, geometry, seed, source))


def spill(
    store: Path, geometry: Geometry, seed: int, folder: Path, pieces: Sequence[int], source: Source
) -> None:
    """Write the drawn events of a slot into a folder, cut into pieces for the targets."""
    rows, reader, slot = drawn_rows(store, geometry, seed, source), ShardReader(store), source.slot
    if not len(rows):
        return
    folder.mkdir(parents=True)
    ranges = _ranges(geometry, slot, source.recipe)
    firsts = np.concatenate([np.arange(*its) for its in ranges])
    places = np.searchsorted(firsts, rows)  # rows of a range of neighbours, and then of the next
    # Events of large weight are drawn many times: what is drawn of a slot may be far more than the slot.
    parts = [places[at : at + geometry.slot] for at in range(0, len(places), geometry.slot)]

    def write(name: str, dtype: DTypeLike, shape: tuple[int, ...], made: Iterable[NDArray[Any]]) -> None:
        out = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.dtype(dtype), shape)
        at = 0
        for rows_of_part in made:
            out[at : at + len(rows_of_part)] = rows_of_part
            at += len(rows_of_part)
        out.flush()

    for name in copied_columns(store, slot.channel):
        values = np.concatenate([reader.read(slot.channel, name, *its) for its in ranges])
        write(name, values.dtype, (len(places), *values.shape[1:]), (values[part] for part in parts))
    islands = Islands.concatenated([reader.read_islands(slot.channel, *its) for its in ranges])
    starts = np.concatenate([[0], np.cumsum(np.diff(islands.starts)[places])])
    write("cells", np.float32, (int(starts[-1]),), (islands.take(part).cells for part in parts))
    edges = np.concatenate([[0], np.cumsum(pieces)])
    np.save(folder / "edges.npy", edges)
    np.save(folder / "starts.npy", starts[edges])


def copied_columns(store: Path, channel: str) -> list[str]:
    """Columns that are copied: objects, multiplicities and kinematic quantities."""
    return sorted(
        name
        for name, _ in open_channel(store, channel).arrays()
        if name not in _REPLACED and not name.startswith(SCORE_PREFIX)
    )


def quantities_of(store: Path, channel: str) -> dict[str, tuple[str, str]]:
    """Kinematic quantities of a channel -> (units, long name)."""
    group = open_channel(store, channel)
    names = {*copied_columns(store, channel)} - {"objects", "multiplicity"}
    return {
        name: (str(array.attrs["units"]), str(array.attrs["long_name"]))
        for name, array in group.arrays()
        if name in names
    }


def _random(seed: int, what: str, slot: Slot) -> np.random.Generator:
    return generator_of(seed, what, slot.channel, slot.index)


def _ranges(geometry: Geometry, slot: Slot, recipe: Recipe) -> list[tuple[int, int]]:
    every = [geometry.split_range(slot, split) for split in recipe.splits]
    return [its for its in every if its[0] < its[1]]


def _read(
    reader: ShardReader, geometry: Geometry, slot: Slot, recipe: Recipe, name: str
) -> NDArray[np.float64]:
    parts = [reader.read(slot.channel, name, *its) for its in _ranges(geometry, slot, recipe)]
    return np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)
