import gc
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailshard.errors import ConfigError, StateError, StoreError
from tailshard.features.islands import Islands, pack
from tailshard.learning import Sampling
from tailshard.store.catalog import Catalog, write_catalog
from tailshard.store.layout import SPLITS, Geometry
from tailshard.store.read import open_channel
from tailshard.store.state import StreamState
from tailshard.store.stream import Batch, Stream

CHANNELS = ("ttbar", "Zee", "ttW")


class Shared(NamedTuple):
    """A store, and a reader that keeps its chunks in memory, so that many examples run fast."""

    path: Path
    reader: "CachingReader"
    catalog: Catalog


class CachingReader:
    def __init__(self, store: Path) -> None:
        self._store, self._rows = store, {}

    def read(self, channel, name, start, stop, out=None):
        if (channel, name) not in self._rows:
            self._rows[channel, name] = open_channel(self._store, channel)[name][:]
        rows = self._rows[channel, name][start:stop]
        if out is None:
            return rows
        out[...] = rows
        return out

    def read_islands(self, channel, start, stop, memory=None):
        multiplicity = self.read(channel, "multiplicity", start, stop)
        return pack(self.read(channel, "rmm", start, stop), multiplicity, (1, 1, 1, 1))


@pytest.fixture(scope="module")
def store(tmp_path_factory, build_store) -> Shared:
    folder = tmp_path_factory.mktemp("store")
    catalog = build_store(
        folder, {"ttbar": (64, 64, 17, 60, 64), "Zee": (50, 64), "ttW": (11,)}, {"Zee": 1.5}
    )
    return Shared(folder, CachingReader(folder), catalog)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("tailshard-stream")]


def stream(store: Shared, **changes) -> Stream:
    usual = {
        "channels": CHANNELS,
        "split": "training",
        "batch_size": 16,
        "seed": 5,
        "window_chunks": 7,
        "reader": store.reader,
    }
    return Stream(store.path, **{**usual, **changes})


def identities(batch: Batch) -> np.ndarray:
    return batch.features[:, 0, 0].astype(int)


def together(store: Shared, ranks: int, epoch: int = 0, start: int = 0, **changes) -> Iterator[Batch]:
    """Yield the global batches that some ranks make up, in the order of their positions."""
    iterators = [
        stream(store, rank=rank, ranks=ranks, **changes).epoch(epoch, start) for rank in range(ranks)
    ]
    for batches in zip(*iterators, strict=True):
        numbers = {batch.number for batch in batches}
        assert len(numbers) == 1
        position = np.concatenate([batch.position for batch in batches])
        order = np.argsort(position)
        yield Batch(
            Islands.concatenated([batch.islands for batch in batches]).take(order),
            np.concatenate([batch.weight for batch in batches])[order],
            position[order],
            numbers.pop(),
        )


def assert_same(some: list[Batch], others: list[Batch]) -> None:
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        assert one.number == other.number
        np.testing.assert_array_equal(one.position, other.position)
        np.testing.assert_array_equal(one.features, other.features)
        np.testing.assert_array_equal(one.weight, other.weight)


anything = {
    "batch_size": st.integers(1, 400),
    "window_chunks": st.integers(1, 60),
    "seed": st.integers(0, 2**63),
    "epoch": st.integers(0, 50),
    "split": st.sampled_from(SPLITS),
    "channels": st.sets(st.sampled_from(CHANNELS), min_size=1).map(sorted),
    "shuffle": st.booleans(),
    "read_ahead": st.integers(0, 3),
    "threads": st.integers(1, 4),
    "cache": st.sampled_from([0, 4_000, 10**9]),
}

samplings = st.dictionaries(
    st.sampled_from(CHANNELS),
    st.builds(Sampling, factor=st.floats(0.01, 3.5), at_most=st.one_of(st.none(), st.integers(1, 500))),
)


# -- the order -------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(ranks=st.integers(1, 4), sampling=samplings, **anything)
def test_any_number_of_ranks_and_threads_makes_the_same_batches(store, ranks, epoch, **changes):
    alone = list(together(store, 1, epoch, **{**changes, "threads": 1, "cache": 0, "read_ahead": 0}))
    assert_same(list(together(store, ranks, epoch, **changes)), alone)


@settings(deadline=None, max_examples=30)
@given(sampling=samplings, **anything)
def test_what_is_kept_in_memory_does_not_change_later_epochs(store, epoch, **changes):
    keeping = stream(store, **changes)
    for number in (epoch, epoch + 1, epoch):
        forgetful = stream(store, **{**changes, "cache": 0})
        assert_same(list(keeping.epoch(number)), list(forgetful.epoch(number)))


@settings(deadline=None, max_examples=60)
@given(**anything)
def test_every_row_comes_exactly_once_an_epoch_with_its_scaled_weight(store, epoch, **changes):
    source = stream(store, **changes)
    batches = list(source.epoch(epoch))
    expected = {}
    for channel in changes["channels"]:
        for slot in store.catalog.slots_of(channel):
            place = store.catalog.geometry.split_range(slot, changes["split"])
            weight = store.reader.read(channel, "weight", *place) * (1.5 if channel == "Zee" else 1.0)
            numbers = store.reader.read(channel, "event_number", *place)
            expected.update(zip(numbers.tolist(), weight.tolist(), strict=True))
    found = [identity for batch in batches for identity in identities(batch).tolist()]
    assert len(found) == len(expected) == source.events
    assert dict(zip(found, (w for batch in batches for w in batch.weight.tolist()), strict=True)) == expected


@settings(deadline=None, max_examples=60)
@given(**anything)
def test_batches_are_full_but_for_the_last(store, epoch, **changes):
    source = stream(store, **changes)
    sizes = [len(batch.weight) for batch in source.epoch(epoch)]
    size = changes["batch_size"]
    assert len(sizes) == source.batches
    assert sizes == [size] * (source.events // size) + (
        [source.events % size] if source.events % size else []
    )


@settings(deadline=None, max_examples=60)
@given(**anything)
def test_positions_count_the_rows_of_an_epoch(store, epoch, **changes):
    source = stream(store, **changes)
    positions = np.concatenate([np.zeros(0, int), *(batch.position for batch in source.epoch(epoch))])
    np.testing.assert_array_equal(positions, np.arange(source.events))


@settings(deadline=None, max_examples=60)
@given(
    start=st.integers(0, 30),
    ranks=st.integers(1, 4),
    others=st.integers(1, 4),
    sampling=samplings,
    **anything,
)
def test_resuming_in_mid_epoch_gives_the_rest_on_any_number_of_ranks(
    store, start, ranks, others, epoch, **changes
):
    before = stream(store, ranks=ranks, **changes)
    start = min(start, before.batches)
    state = StreamState.from_dict(before.state(epoch, start).to_dict())
    at = stream(store, ranks=others, **changes).resume(state)
    assert at == (epoch, start)
    assert_same(
        list(together(store, others, *at, **changes)), list(together(store, 1, epoch, **changes))[start:]
    )


@settings(deadline=None, max_examples=60)
@given(sampling=samplings, **anything)
def test_sampling_reads_what_is_asked_for_and_keeps_the_sum_of_weights(store, epoch, sampling, **changes):
    source = stream(store, sampling=sampling, **changes)
    batches = list(source.epoch(epoch))
    found = np.concatenate([np.zeros(0, int), *(identities(batch) for batch in batches)])
    weight = np.concatenate([np.zeros(0), *(batch.weight for batch in batches)])
    for channel in changes["channels"]:
        numbers, scaled = [np.zeros(0, int)], [np.zeros(0)]
        for slot in store.catalog.slots_of(channel):
            place = store.catalog.geometry.split_range(slot, changes["split"])
            numbers.append(store.reader.read(channel, "event_number", *place).astype(int))
            scaled.append(store.reader.read(channel, "weight", *place) * (1.5 if channel == "Zee" else 1.0))
        stored = dict(zip(np.concatenate(numbers).tolist(), np.concatenate(scaled).tolist(), strict=True))
        mine = np.isin(found, list(stored))
        its = sampling.get(channel, Sampling())
        wanted = min(max(1, round(its.factor * len(stored))), its.at_most or 10**9) if stored else 0
        assert mine.sum() == wanted
        # Each event comes as often as any other, or once more.
        times = np.unique(found[mine], return_counts=True)[1]
        assert not wanted or times.max() - (times.min() if len(times) == len(stored) else 0) <= 1
        factor = len(stored) / wanted if wanted else 1.0
        expected = [stored[number] * factor for number in found[mine].tolist()]
        np.testing.assert_allclose(weight[mine], expected, rtol=1e-12)


def test_epochs_and_seeds_have_orders_of_their_own(store):
    orders = {
        tuple(np.concatenate([identities(batch) for batch in stream(store, seed=seed).epoch(epoch)]).tolist())
        for seed in (1, 2)
        for epoch in (0, 1)
    }
    assert len(orders) == 4


def test_an_epoch_can_be_repeated(store):
    source = stream(store)
    assert_same(list(source.epoch(3)), list(source.epoch(3)))


def test_order_of_channels_does_not_matter(store):
    assert_same(list(stream(store).epoch(1)), list(stream(store, channels=CHANNELS[::-1]).epoch(1)))


def test_order_never_changes_between_versions(store):
    first = next(iter(together(store, 1, epoch=2)))
    assert identities(first).tolist() == [
        15,
        203,
        93,
        355,
        200,
        201,
        90,
        23,
        80,
        17,
        95,
        13,
        351,
        101,
        103,
        100,
    ]


def test_without_shuffling_rows_come_in_the_order_of_the_catalog(store):
    expected = []
    for channel in CHANNELS:
        for slot in store.catalog.slots_of(channel):
            start, stop = store.catalog.geometry.split_range(slot, "validation")
            expected += store.reader.read(channel, "event_number", start, stop).tolist()
    for epoch in (0, 1):
        batches = stream(store, split="validation", shuffle=False).epoch(epoch)
        assert np.concatenate([identities(batch) for batch in batches]).tolist() == expected


def test_rows_are_mixed_across_the_window(store):
    # One window of everything: the first batch must draw from early and late slots of all channels.
    source = stream(store, window_chunks=1000, batch_size=60)
    first = identities(next(source.epoch(0)))
    slots = {int(np.searchsorted([64, 128, 145, 205, 269, 319, 383], number, "right")) for number in first}
    assert len(slots) >= 7


def test_ranks_read_different_blocks_and_together_each_row_once(store):
    class Counting(CachingReader):
        def __init__(self, path):
            super().__init__(path)
            self.rows = []

        def read(self, channel, name, start, stop, out=None):
            if name == "rmm":
                self.rows += [(channel, row) for row in range(start, stop)]
            return super().read(channel, name, start, stop, out)

    readers = [Counting(store.path) for _ in range(3)]
    for rank, reader in enumerate(readers):
        for _ in stream(store, rank=rank, ranks=3, reader=reader).epoch(0):
            pass
    read = [row for reader in readers for row in reader.rows]
    assert len(read) == len(set(read)) == stream(store).events
    assert max(len(reader.rows) for reader in readers) < 0.45 * len(read)


def test_more_ranks_than_blocks_leave_some_without_rows_but_not_without_batches(store):
    source = stream(store, channels=["ttW"], split="test", rank=9, ranks=10)
    batches = list(source.epoch(0))
    assert len(batches) == source.batches > 0
    assert {batch.features.shape for batch in batches} == {(0, 5, 5)}


def test_a_split_without_rows_has_no_batches(tmp_path, build_store):
    build_store(tmp_path, {"ttbar": (0,)})
    source = Stream(tmp_path, ["ttbar"], "training", 8, seed=1)
    assert (source.events, source.batches, list(source.epoch(0))) == (0, 0, [])


def test_plain_zarr_reader_gives_the_same_batches(store):
    assert_same(list(stream(store, reader=None).epoch(0)), list(stream(store).epoch(0)))


def test_batches_may_be_kept_and_written_to(store):
    kept = []
    for batch in stream(store, window_chunks=2, batch_size=5).epoch(0):
        kept.append((batch, identities(batch).copy()))
        batch.weight[:] = 0
    assert all((identities(batch) == before).all() for batch, before in kept)


# -- states ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"seed": 6}, "seed was 5 and is 6", id="seed"),
        pytest.param({"batch_size": 32}, "batch_size was 16 and is 32", id="batch_size"),
        pytest.param({"window_chunks": 8}, "window_chunks was 7 and is 8", id="window"),
        pytest.param({"split": "test"}, "split was training and is test", id="split"),
        pytest.param({"shuffle": False}, "shuffle was True and is False", id="shuffle"),
        pytest.param({"channels": ("ttbar",)}, "snapshot was .* and is ", id="channels"),
    ],
)
def test_state_of_another_stream_is_refused_and_the_difference_named(store, change, message):
    state = stream(store).state(1, 2)
    with pytest.raises(StateError, match=f"cannot continue.*{message}.*start the training anew"):
        stream(store, **change).resume(state)


def test_state_of_another_snapshot_is_refused(tmp_path, build_store):
    catalog = build_store(tmp_path, {"ttbar": (30,), "Zee": (20,)})

    def make() -> Stream:
        return Stream(tmp_path, ["ttbar"], "training", 8, seed=1)

    state = make().state(0, 1)
    write_catalog(tmp_path, catalog.changed(slots=catalog.slots_of("ttbar")))
    assert make().resume(state) == (0, 1)  # another channel changed: nothing to do with this stream
    write_catalog(tmp_path, catalog.changed(scales={"ttbar": 1.25}))
    with pytest.raises(StateError, match="snapshot was"):
        make().resume(state)


@pytest.mark.parametrize(("epoch", "batch"), [(0, -1), (-1, 0), (0, 10**6)])
def test_state_beyond_the_epoch_is_refused(store, epoch, batch):
    source = stream(store)
    with pytest.raises(StateError, match=f"an epoch has {source.batches} batches"):
        source.resume(source.state(epoch, batch))


def test_state_after_the_last_batch_yields_nothing(store):
    source = stream(store)
    assert list(source.epoch(*source.resume(source.state(0, source.batches)))) == []


@pytest.mark.parametrize("spoil", [{"version": 1}, {"colour": "red"}], ids=str)
def test_state_of_another_version_is_refused(store, spoil):
    with pytest.raises(StateError, match="not a stream state of version 2"):
        StreamState.from_dict({**stream(store).state(0, 0).to_dict(), **spoil})


# -- arguments -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"batch_size": 0}, ConfigError, "batch_size must be at least 1, found 0"),
        ({"window_chunks": 0}, ConfigError, "window_chunks must be at least 1"),
        ({"ranks": 0}, ConfigError, "ranks must be at least 1"),
        ({"rank": 2, "ranks": 2}, ConfigError, "rank 2 of 2"),
        ({"rank": -1}, ConfigError, "rank must be at least 0"),
        ({"read_ahead": -1}, ConfigError, "read_ahead must be at least 0"),
        ({"threads": 0}, ConfigError, "threads must be at least 1"),
        ({"split": "train"}, ConfigError, "no split 'train'; use one of training"),
        ({"channels": ("Wt",)}, StoreError, "no channel 'Wt'"),
    ],
)
def test_wrong_arguments_are_refused(store, change, error, message):
    with pytest.raises(error, match=message):
        stream(store, **change)


# -- the reader thread -----------------------------------------------------------------------------


class Slow:
    """Takes its time, and remembers when it read."""

    def __init__(self, reader, seconds: float) -> None:
        self.reader, self.seconds, self.reads = reader, seconds, 0

    def read(self, *place):
        return self.reader.read(*place)

    def read_islands(self, *place):
        time.sleep(self.seconds)
        self.reads += 1
        return self.reader.read_islands(*place)


class Breaking:
    """Fails after some reads."""

    def __init__(self, reader, after: int) -> None:
        self.reader, self.left = reader, after

    def read(self, *place):
        return self.reader.read(*place)

    def read_islands(self, *place):
        self.left -= 1
        if self.left < 0:
            raise StoreError("the disk is gone")
        return self.reader.read_islands(*place)


def test_next_window_is_read_while_the_present_one_is_used(store):
    slow = Slow(store.reader, 0.002)
    with closing(stream(store, reader=slow, window_chunks=7).epoch(0)) as batches:
        next(batches)
        before, deadline = slow.reads, time.monotonic() + 5
        while slow.reads < before + 5 and time.monotonic() < deadline:
            time.sleep(0.005)
        assert slow.reads >= before + 5


def test_waiting_is_measured(store):
    source = stream(store, reader=Slow(store.reader, 0.002), read_ahead=0)
    started = time.perf_counter()
    for _ in source.epoch(0):
        pass
    total = time.perf_counter() - started
    assert 0.05 < source.waited <= total
    fast = stream(store, window_chunks=100)
    for _ in fast.epoch(0):
        time.sleep(0.002)
    assert fast.waited < 0.002 * fast.batches


def test_failure_in_the_reader_thread_reaches_the_consumer(store):
    batches = stream(store, reader=Breaking(store.reader, after=10)).epoch(0)
    assert next(batches).number == 0
    with pytest.raises(StoreError, match="the disk is gone"):
        list(batches)
    assert threads() == []


def test_damage_reaches_the_consumer(tmp_path, build_store):
    build_store(tmp_path, {"ttbar": (64,)})
    file = tmp_path / "events.zarr" / "ttbar" / "rmm" / "c" / "0" / "0" / "0"
    content = bytearray(file.read_bytes())
    content[100] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"ttbar/rmm .* are damaged"):
        list(Stream(tmp_path, ["ttbar"], "training", 8, seed=1).epoch(0))


@pytest.mark.parametrize("read_ahead", [0, 1, 3])
def test_closing_stops_the_reader_thread(store, read_ahead):
    slow = Slow(store.reader, 0.01)
    batches = stream(store, reader=slow, window_chunks=14, read_ahead=read_ahead).epoch(0)
    next(batches)
    before = slow.reads
    batches.close()
    assert threads() == []
    assert slow.reads <= before + 4  # the block in hand, not the rest of its window
    reads = slow.reads
    time.sleep(0.03)
    assert slow.reads == reads


def test_consumer_that_raises_stops_the_reader_thread(store):
    def consume() -> None:
        for batch in stream(store).epoch(0):
            if batch.number == 2:
                raise RuntimeError("diverged")

    with pytest.raises(RuntimeError, match="diverged"):
        consume()
    assert threads() == []


def test_finished_epoch_leaves_no_thread(store):
    for _ in stream(store).epoch(0):
        pass
    assert threads() == []


# -- memory ----------------------------------------------------------------------------------------


def test_memory_follows_the_window_and_not_the_store(store):
    class Zeros:
        def read(self, channel, name, start, stop, out=None):
            return np.zeros(stop - start)

        def read_islands(self, channel, start, stop, memory=None):
            # ten objects an event, the number that estimates are made for
            multiplicity = np.full((stop - start, 4), [3, 2, 3, 2], np.uint8)
            return Islands((6, 6, 5, 5), multiplicity, np.zeros(121 * (stop - start), np.float32))

    def traced(source: Stream) -> int:
        gc.collect()
        gc.freeze()  # or what earlier tests have left decides how often garbage is collected
        tracemalloc.start()
        try:
            for batch in source.epoch(0):
                assert len(batch.features)  # made, and let go
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            gc.unfreeze()

    def peak(slots: int, read_ahead: int = 0) -> int:
        geometry = Geometry(slot=4096, chunk=256, counts=(6, 6, 5, 5))
        slot = store.catalog.slots[0].model_copy(update={"rows": (4096, 0, 0)})
        catalog = Catalog(
            geometry=geometry,
            channels=store.catalog.channels,
            slots=tuple(slot.model_copy(update={"index": index}) for index in range(slots)),
        )
        folder = store.path.parent / f"large-{slots}"
        write_catalog(folder, catalog)
        ahead = {"read_ahead": read_ahead}
        source = Stream(folder, ["ttbar"], "training", 512, seed=1, window_chunks=8, reader=Zeros(), **ahead)
        assert len(next(iter(source.epoch(0))).features)  # compiles
        # Whatever else this process does meanwhile can only add to the peak.
        found = min(traced(source) for _ in range(3))
        estimate = geometry.stream_bytes(window_chunks=8, batch_size=512, **ahead)
        assert 0.7 * estimate < found < 1.1 * estimate
        return found

    # Without reading ahead nothing depends on which thread is faster.
    assert peak(20) < 1.05 * peak(2)
    peak(20, read_ahead=1)
