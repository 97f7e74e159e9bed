import hashlib
import multiprocessing
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from tests.allocated import least_peak

from tailshard.errors import StoreError
from tailshard.features.islands import Islands, pack
from tailshard.store.cells import Statistics
from tailshard.store.layout import Geometry, events_group
from tailshard.store.read import ZarrReader, read_rows
from tailshard.store.write import clear_slot, create_arrays, write_column, write_slot


def files(store: Path) -> dict[str, str]:
    return {
        str(file.relative_to(store)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(store.rglob("*"))
        if file.is_file()
    }


@pytest.fixture
def store(tmp_path, geometry, quantities) -> Path:
    create_arrays(tmp_path, {"ttbar": 3}, geometry, quantities, {"convention": "chekanov"})
    return tmp_path


def test_rows_come_back_grouped_by_split_in_their_order(store, geometry, make_columns, make_splits):
    columns, split = make_columns(50), make_splits(50)
    summary = write_slot(store, "ttbar", 1, geometry, columns, split)
    assert summary.rows == tuple(int((split == number).sum()) for number in (1, 2, 3))
    order = np.argsort(split, kind="stable")
    rows = read_rows(store, "ttbar", [*columns, "split"], 64, 114)
    np.testing.assert_array_equal(rows.pop("split"), split[order])
    for name, values in rows.items():
        assert values.dtype == columns[name].dtype
        np.testing.assert_array_equal(values, columns[name][order], err_msg=name)


def test_summary_holds_exact_sums_by_split(store, geometry, make_columns, make_splits):
    columns, split = make_columns(50), make_splits(50)
    summary = write_slot(store, "ttbar", 0, geometry, columns, split)
    for number in (1, 2, 3):
        weight = columns["weight"][split == number]
        assert summary.sum_of_weights[number - 1] == pytest.approx(weight.sum(), rel=1e-14)
        assert summary.sum_of_squared_weights[number - 1] == pytest.approx((weight**2).sum(), rel=1e-14)


def test_statistics_of_each_split_are_stored(store, geometry, make_columns, make_splits):
    columns, split = make_columns(60), make_splits(60)
    write_slot(store, "ttbar", 2, geometry, columns, split)
    stored = ZarrReader(store).read("ttbar", "statistics", 2, 3)[0]
    for number in (1, 2, 3):
        chosen = split == number
        islands = pack(columns["rmm"][chosen], columns["multiplicity"][chosen], geometry.counts)
        expected = Statistics.of(islands, columns["weight"][chosen])
        np.testing.assert_array_equal(stored[number - 1], expected.stacked())


def _write(store: Path, index: int, geometry: Geometry, columns: dict, split: np.ndarray) -> None:
    write_slot(store, "ttbar", index, geometry, columns, split)


def _write_again_and_again(*task) -> None:
    while True:
        _write(*task)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)], ids=str)
def test_order_of_writing_does_not_change_a_byte(
    tmp_path, order, geometry, quantities, make_columns, make_splits
):
    counts = (64, 13, 0)
    made = []
    for folder, indices in (("rising", (0, 1, 2)), ("other", order)):
        create_arrays(tmp_path / folder, {"ttbar": 3}, geometry, quantities)
        for index in indices:
            count = counts[index]
            _write(tmp_path / folder, index, geometry, make_columns(count, index), make_splits(count, index))
        made.append(files(tmp_path / folder))
    assert made[0] == made[1]


def test_writing_from_several_threads_does_not_change_a_byte(
    tmp_path, geometry, quantities, make_columns, make_splits
):
    made = []
    for threads in (1, 4):
        store = tmp_path / str(threads)
        create_arrays(store, {"ttbar": 8}, geometry, quantities)

        def write(index: int, store: Path = store) -> None:
            columns = make_columns(20, index)
            columns["rmm"][8:] = 0  # chunks of fill values, which a writer in another setting would skip
            _write(store, index, geometry, columns, make_splits(20, index))

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(write, range(8)))
        made.append(files(store))
    assert made[0] == made[1]


@pytest.mark.slow
def test_number_of_processes_does_not_change_a_byte(
    tmp_path, geometry, quantities, make_columns, make_splits
):
    made = []
    for processes in (1, 3):
        store = tmp_path / str(processes)
        create_arrays(store, {"ttbar": 6}, geometry, quantities)
        tasks = [
            (store, index, geometry, make_columns(40 + index, index), make_splits(40 + index, index))
            for index in range(6)
        ]
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            pool.starmap(_write, tasks[::-1] if processes > 1 else tasks)
        made.append(files(store))
    assert made[0] == made[1]


def test_writing_again_gives_the_same_bytes(store, geometry, make_columns, make_splits):
    write_slot(store, "ttbar", 1, geometry, make_columns(40), make_splits(40))
    once = files(store)
    write_slot(store, "ttbar", 1, geometry, make_columns(40), make_splits(40))
    assert files(store) == once


def test_rewriting_with_fewer_rows_leaves_nothing_of_the_old_ones(store, geometry, make_columns, make_splits):
    write_slot(store, "ttbar", 1, geometry, make_columns(9, 5), make_splits(9, 5))
    fewer = files(store)
    write_slot(store, "ttbar", 1, geometry, make_columns(64), make_splits(64))
    write_column(store, "ttbar", "error", 1, geometry, np.ones(64, np.float32))
    (store / "events.zarr" / "ttbar" / "met" / "c" / "1.0123.partial").write_bytes(b"rubbish")
    (store / "events.zarr" / "ttbar" / "rmm" / "c" / "1" / "0" / "0.0123.partial").write_bytes(b"rubbish")
    write_slot(store, "ttbar", 1, geometry, make_columns(9, 5), make_splits(9, 5))
    assert files(store) == fewer


def test_a_slot_is_one_file_in_every_array(store, geometry, make_columns, make_splits):
    empty = files(store)
    write_slot(store, "ttbar", 1, geometry, make_columns(64), make_splits(64))
    written = sorted(files(store).keys() - empty.keys())
    group = zarr.open_group(store / "events.zarr", path="ttbar")
    arrays = sorted(name for name in group.array_keys() if name != "error")
    assert [file.split("/")[2] for file in written] == arrays
    assert all(file.split("/")[3:5] == ["c", "1"] for file in written)


def test_a_slot_touches_no_file_of_another(store, geometry, make_columns, make_splits):
    write_slot(store, "ttbar", 0, geometry, make_columns(64), make_splits(64))
    first = {name: (store / name).stat().st_mtime_ns for name in files(store)}
    write_slot(store, "ttbar", 1, geometry, make_columns(64, 64), make_splits(64))
    clear_slot(store, "ttbar", 1)
    assert {name: (store / name).stat().st_mtime_ns for name in files(store)} == first


def test_clearing_slot_1_leaves_slot_10_alone(tmp_path, geometry, quantities, make_columns, make_splits):
    create_arrays(tmp_path, {"ttbar": 11}, geometry, quantities)
    write_slot(tmp_path, "ttbar", 10, geometry, make_columns(5), make_splits(5))
    before = files(tmp_path)
    clear_slot(tmp_path, "ttbar", 1)
    assert files(tmp_path) == before


def test_unused_rows_are_not_stored(store, geometry, make_columns):
    # 9 rows: two chunks of 8 in a shard of 8 chunks; the shard index tells which chunks exist.
    columns = make_columns(9)
    write_slot(store, "ttbar", 0, geometry, columns, np.ones(9, np.uint8))
    shard = (store / "events.zarr" / "ttbar" / "rmm" / "c" / "0" / "0" / "0").read_bytes()
    index = np.frombuffer(shard[-4 - 8 * 16 : -4], "<u8").reshape(8, 2)
    assert (index != 2**64 - 1).all(axis=1).tolist() == [True, True] + 6 * [False]


def test_rows_of_nothing_but_fill_values_are_stored(store, geometry, make_columns):
    columns = make_columns(64)
    columns["rmm"][:] = 0
    write_slot(store, "ttbar", 0, geometry, columns, np.ones(64, np.uint8))
    assert (store / "events.zarr" / "ttbar" / "rmm" / "c" / "0" / "0" / "0").exists()
    assert (store / "events.zarr" / "ttbar" / "m_lll" / "c" / "0").exists()
    assert not read_rows(store, "ttbar", ["rmm"], 0, 64)["rmm"].any()


def test_slot_without_events_has_no_files(store, geometry, make_columns, make_splits):
    before = files(store)
    summary = write_slot(store, "ttbar", 0, geometry, make_columns(0), make_splits(0))
    assert summary == ((0, 0, 0), (0, 0, 0), (0, 0, 0))
    assert files(store) == before


def test_error_is_written_beside_the_rows(store, geometry, make_columns, make_splits):
    write_slot(store, "ttbar", 1, geometry, make_columns(20), make_splits(20))
    error = np.arange(20, dtype=np.float32)
    write_column(store, "ttbar", "error", 1, geometry, error)
    np.testing.assert_array_equal(read_rows(store, "ttbar", ["error"], 64, 84)["error"], error)
    once = files(store)
    write_column(store, "ttbar", "error", 1, geometry, error)
    assert files(store) == once


def test_slot_is_written_within_the_memory_that_is_announced(tmp_path, quantities):
    geometry = Geometry(slot=8192, chunk=512, counts=(6, 6, 5, 5))
    create_arrays(tmp_path, {"ttbar": 1}, geometry, {})
    random = np.random.default_rng(0)
    count, split = 8192, random.integers(1, 4, 8192).astype(np.uint8)
    multiplicity = np.full((count, 4), [3, 2, 3, 2], np.uint8)

    def write() -> None:
        columns = {
            # ten objects an event, the number that estimates are made for
            "rmm": Islands((6, 6, 5, 5), multiplicity, np.zeros(121 * count, np.float32)),
            "objects": np.zeros((count, 23, 4), np.float32),
            "multiplicity": multiplicity,
            "weight": np.ones(count),
            **{name: np.zeros(count, np.uint64) for name in ("run", "event_number", "entry")},
        }
        write_slot(tmp_path, "ttbar", 0, geometry, columns, split)

    assert 0.5 * geometry.ingest_task_bytes() < least_peak(write) < geometry.ingest_task_bytes()


# -- creating --------------------------------------------------------------------------------------


def test_creating_again_changes_nothing(store, geometry, quantities, make_columns, make_splits):
    write_slot(store, "ttbar", 1, geometry, make_columns(40), make_splits(40))
    before = files(store)
    create_arrays(store, {"ttbar": 3}, geometry, quantities, {"convention": "chekanov"})
    assert files(store) == before


def test_longer_and_shorter_arrays_keep_their_slots(store, geometry, quantities, make_columns, make_splits):
    write_slot(store, "ttbar", 0, geometry, make_columns(40), make_splits(40))
    before = files(store)
    create_arrays(store, {"ttbar": 5}, geometry, quantities, {"convention": "chekanov"})
    assert zarr.open_array(store / "events.zarr", path="ttbar/rmm", mode="r").shape == (5 * 64, 5, 5)
    write_slot(store, "ttbar", 4, geometry, make_columns(40), make_splits(40))
    create_arrays(store, {"ttbar": 3}, geometry, quantities, {"convention": "chekanov"})
    assert files(store) == before


def test_new_quantity_gets_its_array(store, geometry, quantities):
    create_arrays(store, {"ttbar": 3}, geometry, {**quantities, "h_t": ("GeV", "sum of jet pT")})
    assert (
        zarr.open_array(store / "events.zarr", path="ttbar/h_t", mode="r").attrs["long_name"]
        == "sum of jet pT"
    )


def test_channel_without_slots_can_be_created(tmp_path, geometry, quantities):
    create_arrays(tmp_path, {"ttbar": 0}, geometry, quantities)
    assert zarr.open_array(tmp_path / "events.zarr", path="ttbar/rmm", mode="r").shape == (0, 5, 5)


@pytest.mark.parametrize("change", [{"slot": 128}, {"chunk": 16}, {"counts": (2, 2, 1, 1)}], ids=str)
def test_another_geometry_is_refused(store, geometry, quantities, change):
    other = Geometry(**{**vars(geometry), **change})
    with pytest.raises(StoreError, match=r"another geometry.*remove the store"):
        create_arrays(store, {"ttbar": 3}, other, quantities)


# -- refusing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(lambda c: c.pop("run"), r"columns \['run'\] are missing", id="missing_column"),
        pytest.param(lambda c: c.update(h_t=c["met"]), "no arrays for the columns", id="unknown_column"),
        pytest.param(lambda c: c.update(met=c["met"][1:]), r"'met' has shape \(39,\)", id="short_column"),
        pytest.param(lambda c: c.update(rmm=c["rmm"][:, :4]), r"'rmm' has shape", id="small_matrix"),
        pytest.param(
            lambda c: c["weight"].__setitem__(3, np.nan), "1 of 40 weights are not", id="nan_weight"
        ),
        pytest.param(lambda c: c["rmm"].__setitem__((3, 0, 0), np.nan), "not finite", id="nan_cell"),
    ],
)
def test_columns_that_do_not_fit_are_refused(store, geometry, make_columns, make_splits, spoil, message):
    columns = make_columns(40)
    spoil(columns)
    with pytest.raises(StoreError, match=message):
        write_slot(store, "ttbar", 0, geometry, columns, make_splits(40))


def test_too_many_events_are_refused(store, geometry, make_columns, make_splits):
    with pytest.raises(StoreError, match="65 events do not fit a slot of 64"):
        write_slot(store, "ttbar", 0, geometry, make_columns(65), make_splits(65))
    with pytest.raises(StoreError, match="65 rows do not fit"):
        write_column(store, "ttbar", "error", 0, geometry, np.zeros(65, np.float32))


def test_slot_beyond_the_arrays_is_refused(store, geometry, make_columns, make_splits):
    with pytest.raises(StoreError, match=r"slot 3 of channel .* have 3 slots"):
        write_slot(store, "ttbar", 3, geometry, make_columns(5), make_splits(5))


def test_events_without_a_split_are_refused(store, geometry, make_columns):
    with pytest.raises(StoreError, match=r"must be 1, 2 or 3, found \[0\]"):
        write_slot(store, "ttbar", 0, geometry, make_columns(5), np.zeros(5, np.uint8))


def test_channel_without_arrays_is_refused(store, geometry, make_columns, make_splits):
    with pytest.raises(StoreError, match="no channel 'Zee'"):
        write_slot(store, "Zee", 0, geometry, make_columns(5), make_splits(5))


def test_unknown_array_is_refused(store, geometry):
    with pytest.raises(StoreError, match="no array 'loss'"):
        write_column(store, "ttbar", "loss", 0, geometry, np.zeros(5, np.float32))


@pytest.mark.slow
def test_writer_killed_at_any_moment_leaves_a_slot_that_can_be_written(
    store, geometry, make_columns, make_splits
):
    task = (store, 1, geometry, make_columns(64), make_splits(64))
    _write(*task)
    whole = files(store)
    for delay in np.linspace(0, 0.2, 10):
        writer = multiprocessing.get_context("spawn").Process(target=_write_again_and_again, args=task)
        writer.start()
        while (store / "events.zarr" / "ttbar" / "rmm" / "c" / "1").exists() and writer.is_alive():
            time.sleep(0.001)
        time.sleep(delay)
        writer.kill()
        writer.join()
        assert writer.exitcode == -signal.SIGKILL
        _write(*task)
        assert files(store) == whole


def test_metadata_that_is_damaged_is_said_in_plain_words(store, geometry):
    (events_group(store) / "ttbar" / "met" / "zarr.json").write_text('{"shape": ')
    with pytest.raises(StoreError, match=r"metadata of an array in .* cannot be read .*"):
        create_arrays(store, {"ttbar": 2}, geometry, {"met": ("GeV", "")})
