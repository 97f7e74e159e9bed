import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailshard.learning import Sampling
from tailshard.store.order import (
    Blocks,
    blocks_of,
    permutation,
    rows_of_rank,
    sampled,
    shuffled_windows,
    windows_in_order,
)


def blocks_with(counts: list[int]) -> Blocks:
    channel = np.repeat(np.arange(len(counts)), counts)
    start = np.concatenate([np.arange(count) * 8 for count in counts]).astype(np.int64)
    return Blocks(channel, start, start + 8, np.ones(len(channel)))


def names(count: int) -> tuple[str, ...]:
    return tuple(f"channel {number}" for number in range(count))


def test_blocks_are_cut_at_chunk_boundaries(tmp_path, build_store, geometry):
    catalog = build_store(tmp_path, {"ttbar": (64, 20), "Zee": (50,)}, {"Zee": 2.0})
    for split in ("training", "validation", "test"):
        blocks = blocks_of(catalog, ("ttbar", "Zee"), split)
        expected = [
            (number, row, catalog.scale(slot))
            for number, channel in enumerate(("ttbar", "Zee"))
            for slot in catalog.slots_of(channel)
            for row in range(*geometry.split_range(slot, split))
        ]
        found = [
            (int(number), row, float(scale))
            for number, start, stop, scale in zip(*blocks, strict=True)
            for row in range(start, stop)
        ]
        assert found == expected
        assert ((blocks.stop - 1) // geometry.chunk == blocks.start // geometry.chunk).all()
        assert (blocks.sizes > 0).all()


def test_empty_splits_have_no_blocks(tmp_path, build_store):
    catalog = build_store(tmp_path, {"ttbar": (0, 0)})
    blocks = blocks_of(catalog, ("ttbar",), "training")
    assert blocks.sizes.sum() == 0
    assert shuffled_windows(blocks, ("ttbar",), 4, seed=1, epoch=0) == []
    assert windows_in_order(blocks, 4) == []


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(0, 200), min_size=1, max_size=6),
    window=st.integers(1, 64),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 100),
)
def test_every_window_holds_each_channels_share_to_within_one_block(counts, window, seed, epoch):
    blocks = blocks_with(counts)
    windows = shuffled_windows(blocks, names(len(counts)), window, seed, epoch)
    assert sorted(np.concatenate([[], *windows]).tolist()) == list(range(sum(counts)))
    for members in windows:
        assert len(members) <= max(window, len(counts))
        here = np.bincount(blocks.channel[members], minlength=len(counts))
        assert (abs(here - np.array(counts) / len(windows)) < 1).all()


@settings(deadline=None)
@given(counts=st.lists(st.integers(1, 200), min_size=1, max_size=6), window=st.integers(8, 64))
def test_windows_are_no_more_than_needed(counts, window):
    found = len(shuffled_windows(blocks_with(counts), names(len(counts)), window, 1, 0))
    assert found <= -(-sum(counts) // (window - len(counts) + 1)) or found == max(counts)


def test_order_is_another_in_every_epoch_and_for_every_seed():
    blocks, channels = blocks_with([40, 9]), names(2)
    orders = {
        tuple(np.concatenate(shuffled_windows(blocks, channels, 10, seed, epoch)).tolist())
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


def test_a_lone_block_is_found_in_every_window_as_often():
    blocks, channels = blocks_with([1, 99]), names(2)
    place = [
        next(
            number
            for number, members in enumerate(shuffled_windows(blocks, channels, 26, 5, epoch))
            if 0 in members
        )
        for epoch in range(400)
    ]
    counts = np.bincount(place, minlength=4)
    assert len(counts) == 4
    assert ((counts - 100) ** 2 / 100).sum() < 21  # chi-squared with 3 degrees of freedom


def test_other_channels_leave_the_order_of_a_channels_blocks_alone():
    alone = shuffled_windows(blocks_with([30]), names(1), 10, 1, 0)
    beside = shuffled_windows(blocks_with([30, 0]), names(2), 10, 1, 0)
    assert [members.tolist() for members in alone] == [members.tolist() for members in beside]


def test_windows_in_order_are_runs_of_blocks():
    windows = windows_in_order(blocks_with([5, 4]), 4)
    assert [members.tolist() for members in windows] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 8), max_size=12).map(lambda sizes: np.array(sizes, dtype=np.int64)),
    ranks=st.integers(1, 5),
    shuffle=st.booleans(),
)
def test_ranks_share_the_rows_of_a_window(sizes, ranks, shuffle):
    total = int(sizes.sum())
    order = permutation(total, "any") if shuffle else None
    # What one reader of everything would see at each position.
    expected = np.arange(total) if order is None else order
    starts = np.cumsum(sizes) - sizes
    seen = np.full(total, -1)
    for rank in range(ranks):
        own = np.concatenate(
            [
                np.arange(start, start + size)
                for start, size in zip(starts[rank::ranks], sizes[rank::ranks], strict=True)
            ]
            or [np.zeros(0, int)]
        )
        positions, rows = rows_of_rank(sizes, order, rank, ranks)
        assert (np.diff(positions) > 0).all()
        assert sorted(rows.tolist()) == list(range(len(own)))
        assert (seen[positions] == -1).all()
        seen[positions] = own[rows]
    np.testing.assert_array_equal(seen, expected)


def test_permutations_never_change_between_versions():
    assert permutation(12, 1, 0, "rows", 3).tolist() == [4, 10, 6, 1, 5, 8, 2, 0, 3, 7, 9, 11]
    assert permutation(0, "nothing").tolist() == []


def test_permutations_are_uniform():
    firsts = np.bincount([permutation(6, seed)[0] for seed in range(3000)], minlength=6)
    assert ((firsts - 500) ** 2 / 500).sum() < 26  # chi-squared with 5 degrees of freedom


@pytest.mark.parametrize(
    "key", [(1, 0, "rows", 3), (0, 1, "rows", 3), (1, 0, "blocks", 3), (1, 0, "rows", 4)]
)
def test_every_part_of_the_key_matters(key):
    others = [(1, 0, "rows", 3), (0, 1, "rows", 3), (1, 0, "blocks", 3), (1, 0, "rows", 4)]
    same = [other for other in others if (permutation(50, *key) == permutation(50, *other)).all()]
    assert same == [key]


def rows_read(whole: Blocks, its: Sampling, epoch: int, seed: int = 1) -> np.ndarray:
    """Rows of channel 0 that an epoch reads, with their repetitions."""
    found = sampled(whole, names(2), {"channel 0": its}, seed, epoch)
    mine = found.take(np.flatnonzero(found.channel == 0))
    return np.concatenate([np.arange(*ends) for ends in zip(mine.start, mine.stop, strict=True)])


def test_a_share_is_the_same_in_every_epoch():
    whole = blocks_with([50, 5])  # of 8 rows
    share = Sampling(share=0.1, factor=10)
    first = np.unique(rows_read(whole, share, 0))
    assert len(first) == 40
    for epoch in range(3):
        rows = rows_read(whole, share, epoch)
        np.testing.assert_array_equal(np.unique(rows), first)
        assert (np.bincount(rows)[first] == 10).all()
    found = sampled(whole, names(2), {"channel 0": share}, 1, 0)
    mine = found.channel == 0
    assert (found.scale * found.sizes)[mine].sum() == pytest.approx(400), "the channel counts as before"
    np.testing.assert_array_equal(found.sizes[~mine], whole.sizes[whole.channel == 1])
    assert set(np.unique(rows_read(whole, share, 0, seed=2))) != set(first)


def test_part_of_a_share_changes_from_epoch_to_epoch():
    whole = blocks_with([50, 5])
    allowed = set(rows_read(whole, Sampling(share=0.5), 0))
    assert len(allowed) == 200
    parts = [set(rows_read(whole, Sampling(share=0.5, factor=0.2), epoch)) for epoch in range(6)]
    assert all(part < allowed and len(part) == 40 for part in parts)
    assert len(set.union(*parts)) > 40


def test_a_share_of_a_few_events_is_one_event():
    assert len(rows_read(blocks_with([1, 1]), Sampling(share=0.01), 0)) == 1
