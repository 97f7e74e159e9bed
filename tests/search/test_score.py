import numpy as np
import pytest
import zarr

from tailshard.errors import ConfigError, ProcessingError, StateError, StoreError, WorkdirError
from tailshard.search import score as module
from tailshard.search.histogram import read_quantities
from tailshard.search.score import score, score_slot, scored_with, unscored
from tailshard.store.catalog import read_catalog
from tailshard.store.layout import SPLITS, events_group
from tailshard.store.read import ShardReader, read_rows
from tailshard.train.members import model_hash


@pytest.fixture
def store(tmp_path, small):
    small.store(tmp_path / "store", small.pipeline(small.channels))
    return tmp_path / "store"


def test_the_error_is_the_sum_of_squared_differences_of_every_cell(searched) -> None:
    for slot in searched.catalog.slots:
        start, stop = searched.catalog.geometry.first_row(slot.index), sum(slot.rows)
        rows = read_rows(searched.store, slot.channel, ["rmm", "error"], start, start + stop)
        expected = ((rows["rmm"].astype(float) - 0.2) ** 2).sum(axis=(1, 2))
        np.testing.assert_allclose(rows["error"], expected, rtol=1e-5)


def test_the_array_says_what_it_is_and_which_model_made_it(searched) -> None:
    array = zarr.open_array(events_group(searched.store), path="zjets/error", mode="r")
    assert array.dtype == np.float32
    assert array.shape == zarr.open_array(events_group(searched.store), path="zjets/rmm", mode="r").shape[:1]
    assert dict(array.attrs) == {
        "units": "1",
        "long_name": "reconstruction error",
        "model": model_hash(searched.model),
        "made_by": array.attrs["made_by"],
    }
    assert np.isnan(array[612:]).all()  # unused rows


def test_matrices_are_read_chunk_by_chunk(store, small, monkeypatch) -> None:
    asked = []

    class Recording(ShardReader):
        def read_islands(self, channel, start, stop):
            asked.append(stop - start)
            return super().read_islands(channel, start, stop)

    monkeypatch.setattr(module, "ShardReader", Recording)
    model = small.model(store.parent / "model.pt")
    slot = read_catalog(store).slots_of("zjets")[2]
    assert score_slot(model, model_hash(model), store, small.geometry, slot) == 100
    assert asked == [64, 36]


def test_scoring_again_with_another_model_replaces_every_error(store, small, client) -> None:
    pipeline = small.pipeline(small.channels)
    first = score(pipeline, store, small.model(store.parent / "model.pt"), client)
    before = read_rows(store, "data", ["error"], 0, 256)["error"]
    second = score(pipeline, store, small.model(store.parent / "model.pt", bias=0.7), client)
    after = read_rows(store, "data", ["error"], 0, 256)["error"]
    assert first.model != second.model
    assert (after > before).all()
    assert scored_with(store, read_catalog(store)) == second.model
    assert second.to_dict() == {
        "model": second.model,
        "events": {"zjets": 612, "ttbar": 380, "resonance": 150, "data": 296},
        "slots": {"scored": 8, "kept": 0},
        "events_scored": 1438,
    }


def test_a_diverged_model_is_refused_by_channel_and_slot(store, small, client) -> None:
    model = small.model(store.parent / "model.pt", bias=float("inf"))
    with pytest.raises(ProcessingError, match=r"channel '\w+', slot \d .*: \d+ of \d+ events .* train again"):
        score(small.pipeline(small.channels), store, model, client)


def test_a_store_that_was_scored_in_part_counts_as_not_scored(store, small, client) -> None:
    catalog = read_catalog(store)
    with pytest.raises(StoreError, match="run 'tailshard score'"):
        scored_with(store, catalog)
    model = small.model(store.parent / "model.pt")
    background = small.pipeline({"zjets": "background", "ttbar": "background"})
    score(background, store, model, client)
    with pytest.raises(StoreError, match="resonance: None"):
        scored_with(store, catalog)
    score(small.pipeline(small.channels), store, model, client)
    broken = small.model(store.parent / "broken.pt", bias=float("inf"))
    with pytest.raises(ProcessingError):
        score(small.pipeline(small.channels), store, broken, client)
    with pytest.raises(StoreError, match="zjets: None"):
        scored_with(store, catalog)


def test_a_store_without_events_is_refused(tmp_path, small) -> None:
    catalog = small.store(tmp_path, small.pipeline(small.channels)).changed(slots=())
    with pytest.raises(StoreError, match="no events"):
        scored_with(tmp_path, catalog)


def test_a_model_that_is_absent_or_of_another_size_is_refused(store, small, client) -> None:
    pipeline = small.pipeline(small.channels)
    with pytest.raises(WorkdirError, match="no trained model"):
        score(pipeline, store, store.parent / "absent.pt", client)
    with pytest.raises(StateError, match="matrices of 4 x 4"):
        score(pipeline, store, small.model(store.parent / "model.pt", size=4), client)


def test_every_split_is_scored(searched) -> None:
    for slot in searched.catalog.slots:
        for split in SPLITS:
            start, stop = searched.catalog.geometry.split_range(slot, split)
            assert np.isfinite(read_rows(searched.store, slot.channel, ["error"], start, stop)["error"]).all()


def test_other_scores_stand_beside_the_error(store, small, client) -> None:
    kinds = ("sum", "mean", "masked_mean")
    pipeline = small.pipeline(small.channels, score={"kind": "mean", "also": list(kinds)})
    score(pipeline, store, small.model(store.parent / "model.pt"), client)
    cells = small.geometry.size**2
    for slot in read_catalog(store).slots:
        start = small.geometry.first_row(slot.index)
        names = ["error", "score_sum", "score_masked_mean"]
        found = read_rows(store, slot.channel, names, start, start + sum(slot.rows))
        np.testing.assert_allclose(found["error"] * cells, found["score_sum"], rtol=1e-5)
        # In the small store every object exists.
        np.testing.assert_allclose(found["score_masked_mean"], found["error"], rtol=1e-5)
    described = zarr.open_array(events_group(store), path="zjets/score_sum", mode="r").attrs
    assert described["long_name"] == "anomaly score 'sum'"
    assert "score_sum" not in read_quantities(store, read_catalog(store))


def test_a_score_that_the_model_cannot_give_is_refused(store, small, client) -> None:
    pipeline = small.pipeline(small.channels, score={"kind": "excess"})
    with pytest.raises(ConfigError, match="run 'tailshard train' again"):
        score(pipeline, store, small.model(store.parent / "model.pt"), client)


def test_every_network_of_an_ensemble_scores_every_event_in_one_pass(
    store, small, client, monkeypatch
) -> None:
    model = small.model(store.parent / "model.pt", bias=0.3)
    biases = {4: 0.3, 2: 0.7}
    for seed, bias in biases.items():
        small.model(store.parent / f"seed_{seed}" / "model.pt", bias=bias)
    pipeline = small.pipeline(small.channels, training={"seeds": list(biases)}, score={"also": ["mean"]})
    asked = []

    class Recording(ShardReader):
        def read_islands(self, channel, start, stop):
            asked.append((channel, start))
            return super().read_islands(channel, start, stop)

    monkeypatch.setattr(module, "ShardReader", Recording)
    result = score(pipeline, store, model, client)
    assert len(asked) == len(set(asked))
    catalog = read_catalog(store)
    for slot in catalog.slots:
        start = small.geometry.first_row(slot.index)
        names = ["rmm", "error", "score_mean", "score_seed_4", "score_seed_2"]
        found = read_rows(store, slot.channel, names, start, start + sum(slot.rows))
        np.testing.assert_array_equal(found["error"], found["score_seed_4"])
        for seed, bias in biases.items():
            expected = ((found["rmm"].astype(float) - bias) ** 2).sum(axis=(1, 2))
            np.testing.assert_allclose(found[f"score_seed_{seed}"], expected, rtol=1e-5)
        np.testing.assert_allclose(found["score_mean"] * small.geometry.size**2, found["error"], rtol=1e-5)
    assert scored_with(store, catalog) == result.model != model_hash(model)
    assert unscored(store, result.model, pipeline.training.seeds) is None
    (events_group(store) / "ttbar" / "score_seed_2" / "c" / "0").unlink()
    assert "slot 0 of channel 'ttbar'" in str(unscored(store, result.model, pipeline.training.seeds))
    assert unscored(store, result.model) is None
    with pytest.raises(StoreError, match="run tailshard score"):
        read_rows(store, "ttbar", ["score_seed_2"], 0, 10)


def test_a_network_that_is_absent_from_an_ensemble_is_named(store, small, client) -> None:
    model = small.model(store.parent / "model.pt")
    with pytest.raises(WorkdirError, match="seed_5"):
        score(small.pipeline(small.channels, training={"seeds": [5]}), store, model, client)
