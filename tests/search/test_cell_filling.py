from functools import partial

import numpy as np
import pytest
from tests.allocated import least_peak

from tailshard.features.names import physics_blocks
from tailshard.search.cell_filling import BLOCKS, Binning, CellSums, add_sums, fill_slot_cells
from tailshard.store.cells import Statistics
from tailshard.store.layout import SPLITS
from tailshard.store.read import read_rows, statistics


@pytest.fixture(scope="module")
def binning(searched) -> Binning:
    return Binning.of(statistics(searched.store, searched.catalog, ["ttbar", "data"], split=None), 10)


@pytest.fixture(scope="module")
def truth(searched):
    """The 200 events of the first slot of ttbar, with weights of both signs."""
    return {name: values[:200] for name, values in searched.events["ttbar"].items()}


def fill(searched, binning, splits=("test",), correlated=True, slot=0) -> CellSums:
    slot = searched.catalog.slots_of("ttbar")[slot]
    where = searched.store, searched.catalog.geometry, slot
    return fill_slot_cells(binning, False, *where, 2.0, splits, correlated)


@pytest.mark.parametrize("splits", [("test",), SPLITS])
def test_every_bin_of_every_cell_is_that_of_the_events(searched, binning, truth, splits) -> None:
    found = fill(searched, binning, splits)
    chosen = np.isin(truth["split"], [SPLITS.index(split) + 1 for split in splits])
    cells, weight = truth["rmm"][chosen].reshape(-1, 25).astype(float), 2 * truth["weight"][chosen]
    assert (weight < 0).any()
    for cell in range(25):
        edges = [-np.inf, *binning.edges[cell], np.inf]
        for power, bins in ((1, found.values[cell]), (2, found.variances[cell])):
            expected, _ = np.histogram(cells[:, cell], edges, weights=weight**power)
            np.testing.assert_allclose(bins, expected, rtol=1e-12, atol=1e-12)
    assert found.weight == pytest.approx(weight.sum())
    assert found.squared_weights == pytest.approx((weight**2).sum())
    np.testing.assert_allclose(found.sums, weight @ cells, rtol=1e-12)
    np.testing.assert_allclose(np.triu(found.products), np.triu((cells.T * weight) @ cells), rtol=1e-12)


def test_nearly_all_events_are_inside_the_ranges(searched, binning) -> None:
    cells = np.concatenate([searched.events[name]["rmm"] for name in ("ttbar", "data")]).reshape(-1, 25)
    inside = ((cells >= binning.low) & (cells <= binning.high)).mean(axis=0)
    assert (inside > 0.98).all()
    assert (binning.low < 0).any()  # the events are normal around 0.2 or 0.3
    assert (binning.low <= 0).all()
    assert np.format_float_positional(binning.high[0]) == f"{binning.high[0]:.2g}"


def test_cells_of_absent_objects_are_in_no_bin_and_an_empty_cell_has_a_range() -> None:
    nothing = Binning.of(Statistics.empty(3), 5)
    assert nothing.low.tolist() == [0] * 9
    assert nothing.high.tolist() == [1] * 9


def test_sums_of_slots_add_up_and_may_be_empty(searched, binning) -> None:
    parts = [fill(searched, binning, SPLITS, slot=number) for number in range(3)]
    assert not parts[1].values.any()  # a slot without events
    together = add_sums(parts)
    weight = 2 * searched.events["ttbar"]["weight"]
    assert together.values.sum() == pytest.approx(25 * weight.sum())
    without = fill(searched, Binning(binning.low, binning.high, 0), correlated=False)
    assert without.values.size == without.products.size == without.sums.size == 0
    assert without.weight == fill(searched, binning).weight


def test_values_far_beyond_the_range_are_overflow(searched) -> None:
    tiny = Binning(np.zeros(25), np.full(25, 1e-300), 4)
    found = fill(searched, tiny, SPLITS)
    assert found.values[:, 1:-1].sum() == 0
    assert found.values[:, -1].sum() > 0
    assert found.values[:, 0].sum() > 0


def test_errors_by_kind_of_cell_are_summed_with_their_squares(tmp_path, small, client) -> None:
    from tailshard.search.score import score
    from tailshard.train.background import Background
    from tailshard.train.checkpoint import load_model, save_model

    pipeline = small.pipeline({"ttbar": "background"}, score={"also": ["blocks"]})
    catalog = small.store(tmp_path, pipeline)
    loaded = load_model(small.model(tmp_path / "plain.pt"))
    filled = np.bincount(physics_blocks((1, 1, 1, 1)).reshape(-1), minlength=7).astype(np.float32)
    background = Background(
        (1, 1, 1, 1), np.full(25, 0.01, np.float32), filled, *np.zeros((2, 0, 0), np.float32)
    )
    from tailshard.train.checkpoint import Best

    best = Best(1, 0.1, loaded.network.state_dict())
    save_model(tmp_path / "model.pt", best, loaded.model, loaded.scaler, 5, "snapshot", background)
    score(pipeline, tmp_path, tmp_path / "model.pt", client)
    slot = catalog.slots_of("ttbar")[0]
    found = fill_slot_cells(
        Binning(np.zeros(25), np.ones(25), 0), True, tmp_path, catalog.geometry, slot, 2.0, SPLITS, False
    )
    rows = read_rows(tmp_path, "ttbar", ["weight", BLOCKS], 0, 200)
    weight, errors = 2 * rows["weight"][:, None], rows[BLOCKS].astype(float)
    expected = [weight * errors, weight**2 * errors, weight**2 * errors**2]
    np.testing.assert_allclose(found.blocks, [each.sum(axis=0) for each in expected], rtol=1e-10)


def test_memory_follows_the_chunk_whatever_the_slot_holds(tmp_path) -> None:
    from tailshard.store.catalog import Slot
    from tailshard.store.layout import Geometry
    from tailshard.store.write import create_arrays, write_slot

    counts, peaks = (6, 6, 5, 5), []
    for events in (256, 2048):
        store, geometry = tmp_path / str(events), Geometry(slot=2048, chunk=128, counts=counts)
        create_arrays(store, {"zjets": 1}, geometry, {})
        columns = {
            "rmm": np.ones((events, 23, 23), np.float32),
            "objects": np.zeros((events, 23, 4), np.float32),
            "multiplicity": np.tile(np.array(counts, np.uint8), (events, 1)),
            "weight": np.ones(events),
            **{name: np.arange(events, dtype=np.uint64) for name in ("run", "event_number", "entry")},
        }
        written = write_slot(store, "zjets", 0, geometry, columns, np.full(events, 3, np.uint8))
        slot = Slot.model_construct(channel="zjets", index=0, rows=written.rows)
        binning = Binning(np.zeros(529), np.full(529, 2.0), 30)
        sums = partial(fill_slot_cells, binning, False, store, geometry, slot, 1.0, ("test",), True)
        found = sums()  # compiles
        peaks.append(least_peak(sums))
        assert found.values[:, 16].tolist() == [events] * 529
        assert found.products[0, 528] == events
    fixed, chunk, columns_of_slot = 529 * (529 + 64) * 8, 128 * 529 * 4, 2048 * 16
    assert peaks[1] - peaks[0] < chunk  # of 14 more that the larger slot holds
    assert peaks[1] < 1.5 * fixed + 6 * chunk + 2 * columns_of_slot
