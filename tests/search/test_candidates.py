import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailshard.search.candidates import (
    add_candidates,
    best,
    lower_bound,
    number_of_candidates,
    slot_candidates,
    write_candidates,
)

EDGES = np.linspace(-3, 3, 13)


@pytest.fixture(scope="module")
def table(searched) -> pa.Table:
    return pyarrow.parquet.read_table(searched.results / "candidates.parquet")


@pytest.mark.parametrize(
    ("events", "fraction", "expected"),
    [
        *((0, 0.01, 0), (1, 0.01, 1), (49, 0.01, 1), (700, 0.01, 7), (296, 0.1, 30), (3, 0.999, 3)),
        (10**9, 0.01, 1000),
    ],
)
def test_the_share_is_rounded_and_bounded_and_holds_at_least_one_event(events, fraction, expected) -> None:
    assert number_of_candidates(events, fraction, 1000) == expected


def test_no_addition_holds_more_rows_than_are_wanted() -> None:
    columns = ("error", "run", "event_number", "entry", "dataset", "file")
    parts = [
        pa.table({name: [str(row)] if name in columns[4:] else [row] for name in columns}) for row in range(9)
    ]
    kept = add_candidates([add_candidates(parts[:5], 3), add_candidates(parts[5:], 3)], 3)
    assert add_candidates(parts[:5], 3).num_rows == 3
    assert kept["error"].to_pylist() == [8, 7, 6]


def test_candidates_are_exactly_the_most_anomalous_data_events(table, searched) -> None:
    events = searched.events["data"]
    order = np.argsort(-events["error"], kind="stable")[:30]
    assert table.num_rows == 30
    np.testing.assert_allclose(table["error"].to_numpy(), events["error"][order], rtol=1e-5)
    for name in ("run", "event_number", "entry", "file"):
        assert table[name].to_pylist() == events[name][order].tolist()
    assert table["split"].to_pylist() == [
        ["training", "validation", "test"][number - 1] for number in events["split"][order]
    ]
    error = table["error"].to_numpy().astype(np.float64)
    np.testing.assert_allclose(table["log10_error"].to_numpy(), np.log10(error), rtol=1e-7)


def test_rows_lead_back_to_the_store(table, searched) -> None:
    from tailshard.store.read import open_channel

    group = open_channel(searched.store, "data")
    for candidate in table.slice(0, 5).to_pylist():
        row = candidate["row"]
        assert group["event_number"][row] == candidate["event_number"]
        assert group["error"][row] == np.float32(candidate["error"])


def test_columns_are_identity_then_error_then_quantities(table) -> None:
    assert table.column_names == [
        *("channel", "dataset", "file", "entry", "row", "run", "event_number"),
        *("error", "log10_error", "split"),
        *("m_eff", "m_lll", "met"),
    ]


def test_a_quantity_that_does_not_exist_is_null(table, searched) -> None:
    events = searched.events["data"]
    order = np.argsort(-events["error"], kind="stable")[:30]
    missing = np.isnan(events["m_lll"][order])
    assert missing.any()
    assert [value is None for value in table["m_lll"].to_pylist()] == missing.tolist()


def test_both_files_hold_the_same(table, searched) -> None:
    text = pyarrow.csv.read_csv(searched.results / "candidates.csv")
    assert text.column_names == table.column_names
    for name in ("channel", "file", "run", "event_number", "entry", "split"):
        assert text[name].to_pylist() == table[name].to_pylist()
    np.testing.assert_allclose(text["error"].to_numpy(), table["error"].to_numpy(), rtol=1e-6)


def test_equal_errors_are_sorted_by_identity() -> None:
    rows = {
        "error": pa.array([1, 1, 1, 1, 2], pa.float32()),
        "run": [2, 1, 1, 1, 9],
        "event_number": [0, 5, 4, 4, 9],
        "entry": [0, 0, 8, 7, 9],
        "dataset": ["a"] * 5,
        "file": ["a"] * 5,
    }
    found = best(pa.table(rows), 4)
    assert list(
        zip(*(found[name].to_pylist() for name in ("run", "event_number", "entry")), strict=True)
    ) == [
        (9, 9, 9),
        (1, 4, 7),
        (1, 4, 8),
        (1, 5, 0),
    ]


@settings(deadline=None)
@given(st.lists(st.floats(-4, 4), min_size=1), st.data())
def test_enough_events_lie_above_the_bound_and_few_more(errors, data) -> None:
    count = data.draw(st.integers(1, len(errors)))
    bins, _ = np.histogram(errors, [-np.inf, *EDGES, np.inf])
    bound = lower_bound(bins.astype(float), EDGES, count)
    assert np.count_nonzero(np.asarray(errors) >= bound) >= count
    two_bins_higher = bound + 2 * (EDGES[1] - EDGES[0]) + 1e-9
    if -np.inf < two_bins_higher < EDGES[-1]:
        assert np.count_nonzero(np.asarray(errors) > two_bins_higher) < count


def test_workers_send_only_rows_above_the_bound(searched) -> None:
    slot = searched.catalog.slots_of("data")[0]
    arguments = (searched.store, searched.catalog.geometry, slot)
    sent = slot_candidates(-0.8, 1000, ["met"], *arguments)
    assert 0 < sent.num_rows < 256
    assert min(sent["log10_error"].to_pylist()) >= -0.8
    assert slot_candidates(np.inf, 1000, ["met"], *arguments).num_rows == 0
    assert slot_candidates(-0.8, 5, ["met"], *arguments).to_pylist() == best(sent, 5).to_pylist()


def test_without_a_table_older_files_go(tmp_path, table) -> None:
    write_candidates(table, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["candidates.csv", "candidates.parquet"]
    write_candidates(None, tmp_path)
    write_candidates(None, tmp_path)
    assert list(tmp_path.iterdir()) == []
