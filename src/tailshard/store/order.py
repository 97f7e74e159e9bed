"""The order of events: what is read, and when. Pure functions of the catalog, the seed and the epoch.

The rows of a split are cut into blocks at chunk boundaries. Blocks are dealt to windows, and the rows
of a window are shuffled in a buffer::

    blocks     of every channel, shuffled, then spread evenly over the windows:
               every window holds each channel's natural share to within one block
    windows    |  a c a b a a |  a a b a c a |  ...
    rows       shuffled inside each window; batch b is rows [b B, (b + 1) B) of all windows in a row

Ranks do not appear in the order. They only decide who reads which block of a window.

Shuffling sorts by the raw output of Philox4x64 (Salmon et al. 2011, doi:10.1145/2063384.2063405),
which NumPy keeps stable between versions, keyed by a digest of what is shuffled.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..learning import Sampling
from .catalog import Catalog

Integers = NDArray[np.int64]


class Blocks(NamedTuple):
    """Rows of one split, cut at chunk boundaries; arrays of shape (blocks,)."""

    channel: Integers
    """Place in the sequence of channels."""
    start: Integers
    stop: Integers
    """Rows ``[start, stop)`` of the channel."""
    scale: NDArray[np.float64]
    """Factor on the weights."""

    @property
    def sizes(self) -> Integers:
        """Rows in each block."""
        return self.stop - self.start

    def take(self, chosen: Integers | slice) -> "Blocks":
        """Give some of the blocks."""
        return Blocks(self.channel[chosen], self.start[chosen], self.stop[chosen], self.scale[chosen])


def blocks_of(catalog: Catalog, channels: Sequence[str], split: str) -> Blocks:
    """Cut the rows of a split into blocks, in the order of the channels and slots."""
    chunk = catalog.geometry.chunk
    nothing = np.zeros(0, dtype=np.int64)
    parts = [Blocks(nothing, nothing, nothing, np.zeros(0))]
    for number, channel in enumerate(channels):
        for slot in catalog.slots_of(channel):
            start, stop = catalog.geometry.split_range(slot, split)
            inner = np.arange((start // chunk + 1) * chunk, stop, chunk, dtype=np.int64)
            edges = np.concatenate([[start], inner, [stop]]) if start < stop else nothing
            count = max(len(edges) - 1, 0)
            numbers, scales = np.full(count, number), np.full(count, catalog.scale(slot))
            parts.append(Blocks(numbers, edges[:-1], edges[1:], scales))
    return Blocks(*map(np.concatenate, zip(*parts, strict=True)))


def sampled(
    blocks: Blocks, channels: Sequence[str], sampling: Mapping[str, Sampling], seed: int, epoch: int
) -> Blocks:
    """Choose what an epoch reads of each channel.

    A channel without an entry is read once. Another gives a fixed number of rows in every epoch: all of
    them as many times as they go into it, and for the rest a choice of blocks that changes from epoch to
    epoch, the last one cut. Where there is a share, "all" are the rows of a choice of blocks that is the
    same in every epoch. Weights are scaled so that the channel's sum stays what it is.
    """
    parts = []
    for place, channel in enumerate(channels):
        members = blocks.take(np.flatnonzero(blocks.channel == place))
        all_rows = int(members.sizes.sum())
        if channel not in sampling or not all_rows:
            parts.append(members)
            continue
        its = sampling[channel]
        rows = min(all_rows, max(1, round(its.share * all_rows)))
        if rows < all_rows:
            members = _some_rows(members, rows, seed, "share", channel)
        wanted = max(1, round(its.factor * rows))
        if its.at_most is not None:
            wanted = min(wanted, its.at_most)
        rest = _some_rows(members, wanted % rows, seed, epoch, "sample", channel)
        repeated = Blocks(*map(np.concatenate, zip(*[members] * (wanted // rows), rest, strict=True)))
        parts.append(repeated._replace(scale=repeated.scale * (all_rows / wanted)))
    return Blocks(*map(np.concatenate, zip(*parts, strict=True))) if parts else blocks


def _some_rows(blocks: Blocks, rows: int, *key: int | str) -> Blocks:
    """Choose blocks of so many rows, the last one cut; the key alone decides which."""
    order = permutation(len(blocks.sizes), *key)
    stops = np.cumsum(blocks.sizes[order])
    chosen = order[: np.searchsorted(stops, rows) + 1] if rows else order[:0]
    some = blocks.take(chosen)
    if rows:
        some.stop[-1] -= stops[len(chosen) - 1] - rows
    return some


def shuffled_windows(
    blocks: Blocks, channels: Sequence[str], window_blocks: int, seed: int, epoch: int
) -> list[Integers]:
    """Deal shuffled blocks to windows.

    Every channel's blocks are spread over all windows, so each window holds the channel's share of
    them rounded up or down. A window holds at most `window_blocks`, or one block of each channel where
    there are more channels than that.

    Returns
    -------
    list of int64 arrays
        Block numbers in each window, rising.
    """
    counts = np.bincount(blocks.channel, minlength=len(channels))
    number = _number_of_windows(counts, window_blocks)
    window_of = np.empty(len(blocks.channel), dtype=np.int64)
    for place, channel in enumerate(channels):
        members = np.flatnonzero(blocks.channel == place)
        order = members[permutation(len(members), seed, epoch, "blocks", channel)]
        # The k-th of n blocks goes to window floor((k + u) / n * windows), with one random phase u.
        phase = _random_below(number, seed, epoch, "phase", channel)
        window_of[order] = (np.arange(len(members)) * number + phase) // max(len(members), 1)
    return _grouped(window_of, number)


def windows_in_order(blocks: Blocks, window_blocks: int) -> list[Integers]:
    """Deal blocks to windows in the order of the catalog."""
    total = len(blocks.channel)
    return _grouped(np.arange(total) // window_blocks, -(-total // window_blocks))


def _number_of_windows(counts: Integers, window_blocks: int) -> int:
    def fits(windows: int) -> bool:
        return int((-(-counts // windows)).sum()) <= window_blocks

    most = int(counts.max(initial=0))
    return 1 + bisect_left(range(1, most), True, key=fits) if most else 0


def _grouped(group_of: Integers, groups: int) -> list[Integers]:
    members = np.argsort(group_of, kind="stable")
    edges = np.searchsorted(group_of[members], np.arange(1, groups))
    return np.split(members, edges) if groups else []


def rows_of_rank(sizes: Integers, order: Integers | None, rank: int, ranks: int) -> tuple[Integers, Integers]:
    """Find a rank's rows in a window.

    Block number modulo ranks says who reads a block; a rank keeps its blocks one after another.

    Parameters
    ----------
    sizes
        Rows in each block of the window.
    order
        Permutation of the window's rows; None leaves them in the order of the blocks.
    rank, ranks
        Which rank, of how many.

    Returns
    -------
    positions, rows
        Places of the rank's rows in the shuffled window, rising, and which of the rank's own rows
        belongs at each.
    """
    mine = np.repeat(np.arange(len(sizes)) % ranks == rank, sizes)
    place = np.cumsum(mine) - 1
    if order is not None:
        mine, place = mine[order], place[order]
    positions = np.flatnonzero(mine)
    return positions, place[positions]


def permutation(count: int, *key: int | str) -> Integers:
    """Shuffle ``range(count)``; the key alone decides the order.

    The numbers ride in the low bits of what is sorted, so that no two keys are equal: a plain sort is
    several times faster than one that returns places.
    """
    bits = np.uint64(max(count - 1, 0).bit_length())
    keys = _philox(key).random_raw(count) >> bits << bits | np.arange(count, dtype=np.uint64)
    keys.sort()
    return (keys & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)


def generator_of(*key: int | str) -> np.random.Generator:
    """Give random numbers that the key alone decides."""
    return np.random.Generator(_philox(key))


def _random_below(limit: int, *key: int | str) -> int:
    return int(_philox(key).random_raw()) * limit >> 64


def _philox(key: tuple[int | str, ...]) -> np.random.Philox:
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    return np.random.Philox(key=int.from_bytes(digest, "little"))
