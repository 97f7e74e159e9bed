"""The compositions are those of the stream, and the measures mean what they say."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailshard.store.mixing import (
    MEGASETS,
    channel_rows,
    chi_squared,
    compare_orders,
    entropies,
    measure,
    megaset_compositions,
    megaset_sizes,
    stream_compositions,
    unshuffled_compositions,
)
from tailshard.store.order import Blocks, blocks_of
from tailshard.store.read import read_rows
from tailshard.store.stream import Stream


def blocks_with(sizes: list[list[int]]) -> Blocks:
    channel = np.repeat(np.arange(len(sizes)), [len(each) for each in sizes])
    start = np.concatenate([np.arange(len(each)) * 8 for each in sizes] or [[]]).astype(np.int64)
    rows = np.array([size for each in sizes for size in each], np.int64)
    return Blocks(channel, start, start + rows, np.ones(len(channel)))


def names(count: int) -> tuple[str, ...]:
    return tuple(f"channel {number}" for number in range(count))


SIZES = st.lists(st.lists(st.integers(1, 8), max_size=30), min_size=1, max_size=5)
BATCH = st.integers(1, 40)


@settings(deadline=None)
@given(sizes=SIZES, batch=BATCH, window=st.integers(1, 20), seed=st.integers(0, 2**40))
def test_every_event_is_in_one_batch_of_every_order(
    sizes: list[list[int]], batch: int, window: int, seed: int
) -> None:
    blocks, channels = blocks_with(sizes), names(len(sizes))
    rows = channel_rows(blocks, len(channels))
    total = int(rows.sum())
    for pieces in (
        stream_compositions(blocks, channels, batch, window, seed, 0),
        unshuffled_compositions(blocks, len(channels), batch, window),
    ):
        batches = np.concatenate([np.zeros((0, len(channels)), np.int64), *pieces])
        np.testing.assert_array_equal(batches.sum(axis=0), rows)
        assert (batches.sum(axis=1)[:-1] == batch).all()
        assert len(batches) == -(-total // batch)
    epochs = list(megaset_compositions(rows, batch, seed))
    np.testing.assert_array_equal(sum((each.sum(axis=0) for each in epochs), np.zeros_like(rows)), 4 * rows)


@settings(deadline=None)
@given(rows=st.lists(st.integers(0, 1000), min_size=1, max_size=5), megasets=st.integers(1, 12))
def test_megasets_are_cut_as_numpy_cuts(rows: list[int], megasets: int) -> None:
    expected = [[len(part) for part in np.array_split(np.zeros(count), megasets)] for count in rows]
    np.testing.assert_array_equal(megaset_sizes(np.array(rows), megasets), np.transpose(expected))


@settings(deadline=None)
@given(
    compositions=st.lists(
        st.lists(st.integers(0, 50), min_size=3, max_size=3).filter(any), min_size=1, max_size=20
    )
)
def test_entropy_is_highest_for_even_shares_and_chi_squared_zero_for_natural_ones(
    compositions: list[list[int]],
) -> None:
    each = np.array(compositions)
    assert (entropies(each) <= math.log2(3) + 1e-12).all()
    assert (entropies(each) >= 0).all()
    for composition in each:
        assert chi_squared(3 * composition[np.newaxis], composition)[0] == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(entropies(each), entropies(7 * each))


def test_known_values() -> None:
    even, one = np.array([[5, 5, 0, 0]]), np.array([[10, 0, 0, 0]])
    assert entropies(even)[0] == 1.0
    assert entropies(one)[0] == 0.0
    # All 10 of the first of two channels with equal shares: (10 - 5)^2 / 5 + (0 - 5)^2 / 5.
    assert chi_squared(one, np.array([50, 50, 0, 0]))[0] == 10.0


@pytest.mark.parametrize("epoch", [0, 3])
def test_compositions_are_those_that_the_stream_gives(tmp_path: Path, build_store, epoch: int) -> None:
    catalog = build_store(tmp_path, {"ttbar": (64, 30), "Zee": (50,), "data": (64, 64, 64)})
    channels = ("ttbar", "Zee", "data")
    blocks = blocks_of(catalog, channels, "training")
    expected = np.concatenate(list(stream_compositions(blocks, channels, 16, 6, 5, epoch)))
    channel_of = np.zeros(1000, np.int64)
    for number, channel in enumerate(channels):
        for slot in catalog.slots_of(channel):
            first = catalog.geometry.first_row(slot.index)
            rows = read_rows(tmp_path, channel, ["event_number"], first, first + sum(slot.rows))
            channel_of[rows["event_number"].astype(int)] = number
    stream = Stream(tmp_path, channels, "training", 16, seed=5, window_chunks=6)
    found = [
        np.bincount(channel_of[batch.features[:, 0, 0].astype(int)], minlength=3)
        for batch in stream.epoch(epoch)
    ]
    np.testing.assert_array_equal(found, expected)


def test_random_draws_have_the_chi_squared_and_entropy_that_theory_says() -> None:
    random = np.random.default_rng(3)
    rows = np.array([6000, 3000, 1000])
    draws = random.multinomial(256, rows / rows.sum(), size=400_000)
    found = measure("draws", [draws[:7000], draws[7000:]], rows, 256, 1, 1)
    assert found.batches == 400_000
    assert found.chi_squared == pytest.approx(1, abs=0.01)
    missing = 2 / (2 * 256 * math.log(2))
    assert found.ideal_entropy - found.entropy == pytest.approx(missing, rel=0.06)
    assert found.highest_chi_squared > 5


def test_the_stream_mixes_as_well_as_chance_and_the_catalog_does_not() -> None:
    blocks = blocks_with([[8] * 600, [8] * 300, [8] * 100])
    stream, megasets, unshuffled = compare_orders(blocks, names(3), 64, 50, seed=1)
    assert stream.chi_squared < 1.2
    assert megasets.chi_squared < 1.2
    assert unshuffled.chi_squared > 10
    assert unshuffled.entropy < 0.2 < stream.entropy
    assert stream.entropy == pytest.approx(stream.ideal_entropy, abs=0.05)
    # What sets the megasets apart: the network sees a tenth of the events again and again.
    assert megasets.seen_again_after == stream.seen_again_after / MEGASETS
    assert stream.shuffled_together == 400


def test_one_channel_has_nothing_to_mix_and_no_events_no_batches() -> None:
    for found in compare_orders(blocks_with([[8, 3]]), names(1), 4, 2, seed=1):
        assert (found.entropy, found.ideal_entropy, found.chi_squared) == (0.0, 0.0, None)
    for found in compare_orders(blocks_with([[], []]), names(2), 4, 2, seed=1):
        assert (found.batches, found.entropy) == (0, 0.0)
