"""How well an order of events mixes the channels, from the order alone: no array is read.

A batch of n events with n_c of channel c is compared with the shares p_c of the whole epoch:

* the entropy of its composition, - sum_c n_c/n log2(n_c/n), against the ideal, that of the shares. A batch
  of n independent draws falls short of the ideal by (C - 1) / (2 n ln 2) bits on average (Miller 1955);
* chi-squared, sum_c (n_c - n p_c)^2 / (n p_c), over its C - 1 degrees of freedom: 1 for independent draws,
  below for batches that are more even than chance, far above where channels come one after another.

Means over batches count each batch by its events. Three orders are compared: the stream of tailshard, the
megasets that the thesis trained on, and no shuffle at all. A channel's share in a batch says nothing
of *which* of its events are there; for that, `Mixing` keeps how many events are shuffled together, and how
many are seen before the network sees the same event again.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .order import Blocks, Integers, permutation, shuffled_windows, windows_in_order

MEGASETS = 10
"""Parts into which the thesis cut each channel (numpy.array_split)."""

MEGASET_EPOCHS = 4
"""Epochs that the thesis trained on one megaset before it turned to the next."""


@dataclass(frozen=True)
class Mixing:
    """How even the batches of one order are."""

    order: str
    batches: int
    entropy: float
    """bits; mean."""
    lowest_entropy: float
    """bits; of the least mixed batch of full size, or of all where none is."""
    ideal_entropy: float
    """bits; of the shares of the epoch."""
    chi_squared: float | None
    """Over the degrees of freedom; mean. None where there are fewer than two channels."""
    highest_chi_squared: float | None
    shuffled_together: int
    """Events among which the rows of a batch are drawn at random; the mean over the pools."""
    seen_again_after: int
    """Events that the network sees from one sight of an event to the next, on average within a pass."""

    def to_dict(self) -> dict[str, Any]:
        """Give what JSON can hold."""
        return asdict(self)


def channel_rows(blocks: Blocks, channels: int) -> Integers:
    """Count the rows of every channel: (channels,)."""
    counts = np.zeros(channels, np.int64)
    np.add.at(counts, blocks.channel, blocks.sizes)
    return counts


def stream_compositions(
    blocks: Blocks, channels: Sequence[str], batch_size: int, window_blocks: int, seed: int, epoch: int
) -> Iterator[Integers]:
    """Count the events of each channel in the batches of `Stream`, window by window.

    Parameters
    ----------
    blocks
        What the epoch reads (`order.sampled`).
    channels
        Names, as the stream has them.
    batch_size, window_blocks, seed, epoch
        As in the stream.

    Yields
    ------
    (batches, channels) int64
        Compositions of batches in their order, whole ones but for the epoch's last.
    """
    windows = shuffled_windows(blocks, channels, window_blocks, seed, epoch)
    labels = _labels_in_windows(blocks, windows, seed, epoch)
    return _compositions(labels, len(channels), batch_size)


def unshuffled_compositions(
    blocks: Blocks, channels: int, batch_size: int, window_blocks: int
) -> Iterator[Integers]:
    """Count the events of each channel in batches in the order of the catalog; see `stream_compositions`."""
    windows = windows_in_order(blocks, window_blocks)
    labels = (np.repeat(blocks.channel[chosen], blocks.sizes[chosen]) for chosen in windows)
    return _compositions(labels, channels, batch_size)


def megaset_sizes(rows: Integers, megasets: int = MEGASETS) -> Integers:
    """Count the events of each channel in each megaset, as numpy.array_split cuts: (megasets, channels)."""
    place = np.arange(megasets)[:, np.newaxis]
    sizes: Integers = rows // megasets + (place < rows % megasets)
    return sizes


def megaset_compositions(
    rows: Integers, batch_size: int, seed: int, megasets: int = MEGASETS, epochs: int = MEGASET_EPOCHS
) -> Iterator[Integers]:
    """Count the events of each channel in the batches of the thesis, one megaset's epoch at a time.

    Each channel is shuffled and cut into megasets; a network sees one megaset for some epochs, shuffled
    anew in each, then the next. Shuffled batches are drawn without replacement, so their compositions follow
    the multivariate hypergeometric distribution, from which they are drawn here; no event is moved.

    Parameters
    ----------
    rows
        (channels,) events.
    batch_size, seed, megasets, epochs
        Of the training.

    Yields
    ------
    (batches, channels) int64
        Compositions; the last batch of an epoch may be smaller, as in Keras.
    """
    random = np.random.Generator(np.random.Philox(key=seed))
    for sizes in megaset_sizes(rows, megasets):
        for _ in range(epochs):
            left, batches = sizes.copy(), []
            while total := int(left.sum()):
                drawn = random.multivariate_hypergeometric(left, min(batch_size, total), method="marginals")
                batches.append(drawn)
                left -= drawn
            if batches:
                yield np.array(batches, np.int64)


def entropies(compositions: Integers) -> NDArray[np.float64]:
    """Entropy of each composition (n, channels), in bits: (n,)."""
    shares = compositions / np.maximum(compositions.sum(axis=1, keepdims=True), 1)
    logarithms = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    found: NDArray[np.float64] = np.maximum(-(shares * logarithms).sum(axis=1), 0.0)
    return found


def chi_squared(compositions: Integers, rows: Integers) -> NDArray[np.float64]:
    """Chi-squared of each composition (n, channels) against the shares of `rows` (channels,): (n,).

    Channels without rows do not count.
    """
    present = rows > 0
    expected = compositions.sum(axis=1, keepdims=True) * (rows[present] / rows.sum())
    difference = compositions[:, present] - expected
    found: NDArray[np.float64] = (difference**2 / np.maximum(expected, np.finfo(float).tiny)).sum(axis=1)
    return found


def measure(
    order: str,
    compositions: Iterable[Integers],
    rows: Integers,
    batch_size: int,
    shuffled_together: int,
    seen_again_after: int,
) -> Mixing:
    """Reduce the compositions of an order to one line; memory follows the pieces they come in.

    Parameters
    ----------
    order
        Its name.
    compositions
        Pieces (batches, channels).
    rows
        (channels,) events of the epoch, which say what is ideal.
    batch_size
        Of a full batch.
    shuffled_together, seen_again_after
        For `Mixing`.
    """
    degrees = int(np.count_nonzero(rows)) - 1
    batches = events = 0
    entropy = squares = highest = 0.0
    lowest_full = lowest = math.inf
    for piece in compositions:
        size = piece.sum(axis=1)
        its_entropy, its_squares = entropies(piece), chi_squared(piece, rows)
        batches, events = batches + len(piece), events + int(size.sum())
        entropy += float((size * its_entropy).sum())
        squares += float((size * its_squares).sum())
        lowest = min(lowest, float(its_entropy.min(initial=math.inf)))
        lowest_full = min(lowest_full, float(its_entropy[size == batch_size].min(initial=math.inf)))
        highest = max(highest, float(its_squares.max(initial=0.0)))
    least = lowest_full if math.isfinite(lowest_full) else lowest
    return Mixing(
        order,
        batches,
        entropy / max(events, 1),
        least if math.isfinite(least) else 0.0,
        float(entropies(rows[np.newaxis])[0]),
        squares / max(events, 1) / degrees if degrees > 0 else None,
        highest / degrees if degrees > 0 else None,
        shuffled_together,
        seen_again_after,
    )


def compare_orders(
    blocks: Blocks, channels: Sequence[str], batch_size: int, window_blocks: int, seed: int, epoch: int = 0
) -> list[Mixing]:
    """Measure the stream, the thesis's megasets and no shuffle on the same events and batches."""
    rows = channel_rows(blocks, len(channels))
    events = int(rows.sum())
    windows = max(len(shuffled_windows(blocks, channels, window_blocks, seed, epoch)), 1)
    megaset = round(events / MEGASETS)
    return [
        measure(
            "stream",
            stream_compositions(blocks, channels, batch_size, window_blocks, seed, epoch),
            rows,
            batch_size,
            events // windows,
            events,
        ),
        measure("megasets", megaset_compositions(rows, batch_size, seed), rows, batch_size, megaset, megaset),
        measure(
            "no shuffle",
            unshuffled_compositions(blocks, len(channels), batch_size, window_blocks),
            rows,
            batch_size,
            min(1, events),
            events,
        ),
    ]


def _labels_in_windows(
    blocks: Blocks, windows: Sequence[Integers], seed: int, epoch: int
) -> Iterator[Integers]:
    for number, chosen in enumerate(windows):
        labels = np.repeat(blocks.channel[chosen], blocks.sizes[chosen])
        yield labels[permutation(len(labels), seed, epoch, "rows", number)]


def _compositions(labels: Iterable[Integers], channels: int, batch_size: int) -> Iterator[Integers]:
    """Count channels in batches cut from one sequence of labels, which comes in pieces."""
    begun = np.zeros(0, np.int64)
    for piece in labels:
        begun = np.concatenate([begun, piece])
        whole = len(begun) // batch_size
        if whole:
            yield _counted(begun[: whole * batch_size], whole, channels)
            begun = begun[whole * batch_size :]
    if len(begun):
        yield np.bincount(begun, minlength=channels)[np.newaxis].astype(np.int64)


def _counted(labels: Integers, batches: int, channels: int) -> Integers:
    batch = np.repeat(np.arange(batches), len(labels) // batches)
    counts: Integers = np.bincount(batch * channels + labels, minlength=batches * channels)
    return counts.reshape(batches, channels).astype(np.int64)
