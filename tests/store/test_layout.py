from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailshard.config import Splits
from tailshard.store.layout import SPLITS, Geometry, assign_slots, assign_splits, columns

MASK = (1 << 64) - 1


def splitmix64(state: int) -> int:
    """The published algorithm, in Python's own integers."""
    state = (state + 0x9E3779B97F4A7C15) & MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def splits_of(count: int, identity: str = "ttbar", splits: Splits | None = None) -> np.ndarray:
    numbers = np.arange(count)
    return assign_splits(identity, np.full(count, 284500), numbers * 7, numbers, splits or Splits())


# -- geometry --------------------------------------------------------------------------------------


class Placed:
    index = 2
    rows = (30, 20, 10)


def test_splits_of_a_slot_follow_one_another():
    geometry = Geometry(slot=64, chunk=8, counts=(1, 1, 1, 1))
    ranges = [geometry.split_range(Placed(), split) for split in SPLITS]
    assert ranges == [(128, 158), (158, 178), (178, 188)]


def test_event_size_counts_every_array():
    geometry = Geometry(slot=65536, chunk=1024, counts=(6, 6, 5, 5))
    matrix, objects, rest = 23 * 23 * 4, 23 * 4 * 4, 4 + 1 + 8 + 3 * 8 + 4
    assert geometry.bytes_per_event(quantities=10) == matrix + objects + rest + 40
    assert geometry.matrix_bytes == matrix
    assert 250 < geometry.stored_bytes(1000, quantities=10) / 1000 < 400


def test_stream_memory_follows_the_window_and_is_shared_among_ranks():
    geometry = Geometry(slot=65536, chunk=1024, counts=(6, 6, 5, 5))
    one = geometry.stream_bytes(window_chunks=128, batch_size=1024)
    assert 3 * 128 * 1024 * 488 < one < 4 * 128 * 1024 * 488
    assert geometry.stream_bytes(window_chunks=256, batch_size=1024) > 1.9 * one
    assert geometry.stream_bytes(window_chunks=128, batch_size=1024, ranks=4) < 0.3 * one


def test_every_array_lies_on_the_event_axis_and_has_units(quantities):
    described = columns(Geometry(slot=64, chunk=8, counts=(1, 1, 1, 1)), quantities)
    assert {"rmm", "objects", "multiplicity", "split", "weight", "error", "met", "m_lll"} < described.keys()
    for column in described.values():
        assert len(column.dimensions) == len(column.shape)
        assert column.units
        assert column.long_name


# -- splits ----------------------------------------------------------------------------------------


def test_split_hash_is_the_published_splitmix64():
    splits = Splits(training=0.5, validation=0.3, test=0.2, seed=7)
    rng = np.random.default_rng(0)
    run, event, entry = rng.integers(0, 2**63, (3, 50))
    expected = []
    for fields in zip(run.tolist(), event.tolist(), entry.tolist(), strict=True):
        state = int.from_bytes(blake2b(b"7/Zee", digest_size=8).digest(), "little")
        for field in fields:
            state = splitmix64(state ^ field)
        expected.append(1 + sum((state >> 11) / 2**53 >= edge for edge in (0.5, 0.8)))
    assert assign_splits("Zee", run, event, entry, splits).tolist() == expected


def test_splits_never_change_between_versions():
    assert "".join(map(str, splits_of(24))) == "113112131111113111111121"


def test_fractions_are_met_within_statistics():
    count = 200_000
    shares = np.bincount(splits_of(count), minlength=4)[1:] / count
    for share, fraction in zip(shares, Splits().fractions, strict=True):
        assert abs(share - fraction) < 5 * np.sqrt(fraction * (1 - fraction) / count)


def test_split_of_an_event_does_not_depend_on_other_events():
    everything = splits_of(1000)
    chosen = np.random.default_rng(1).permutation(1000)[:300]
    again = assign_splits("ttbar", np.full(300, 284500), chosen * 7, chosen, Splits())
    np.testing.assert_array_equal(again, everything[chosen])


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"identity": "Zee"}, id="data_set"),
        pytest.param({"splits": Splits(seed=2)}, id="seed"),
    ],
)
def test_splits_are_independent_between(other):
    count = 50_000
    together = np.bincount(4 * splits_of(count) + splits_of(count, **other), minlength=16).reshape(4, 4)[
        1:, 1:
    ]
    expected = count * np.outer(Splits().fractions, Splits().fractions)
    assert ((together - expected) ** 2 / expected).sum() < 30  # chi-squared with 8 degrees of freedom


@pytest.mark.parametrize("field", [0, 1, 2])
def test_every_part_of_the_identity_matters(field):
    identity = [np.zeros(2000, int), np.zeros(2000, int), np.zeros(2000, int)]
    identity[field] = np.arange(2000)
    assert np.bincount(assign_splits("a", *identity, Splits()), minlength=4)[1:].min() > 300


def test_splits_take_negative_and_unsigned_numbers_without_warning():
    run = np.array([-1, 5])
    event = np.array([2**64 - 1, 0], np.uint64)
    assert set(assign_splits("a", run, event, np.arange(2), Splits())) <= {1, 2, 3}


def test_no_events_have_no_splits():
    assert assign_splits("a", [], [], [], Splits()).shape == (0,)


# -- slots -----------------------------------------------------------------------------------------


def test_partitions_keep_their_slots_and_new_ones_come_last():
    assert assign_slots(["a", "b", "c"], {0: "a", 1: "b"}) == ((0, 1, 2), ())


def test_freed_slots_are_filled_lowest_first():
    assert assign_slots(["x", "c", "y", "z"], {0: "a", 1: "b", 2: "c"}) == ((0, 2, 1, 3), (0, 1))


def test_order_of_partitions_does_not_move_slots():
    assert assign_slots(["b", "a"], {0: "a", 1: "b"}) == ((1, 0), ())


def test_slots_of_partitions_that_are_gone_are_freed():
    assert assign_slots(["b"], {0: "a", 1: "b", 2: "c"}) == ((1,), (0, 2))


def test_gaps_are_filled():
    assert assign_slots(["b", "x"], {3: "b"}) == ((3, 0), ())


@settings(deadline=None)
@given(
    keys=st.lists(st.sampled_from("abcdefgh"), max_size=12),
    existing=st.dictionaries(st.integers(0, 12), st.sampled_from("abcdefgh"), max_size=10),
)
def test_every_partition_gets_a_slot_of_its_own(keys, existing):
    indices, freed = assign_slots(keys, existing)
    assert len(indices) == len(set(indices)) == len(keys)
    kept = {index for index, key in zip(indices, keys, strict=True) if existing.get(index) == key}
    assert {index for index in existing if index not in freed} <= kept
    for key in set(keys):
        owned = sum(other == key for other in existing.values())
        stays = sum(existing.get(index) == own == key for index, own in zip(indices, keys, strict=True))
        assert stays >= min(owned, keys.count(key))
