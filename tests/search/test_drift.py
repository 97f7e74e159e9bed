"""Population stability: what has not changed is called so, and what has is named."""

import numpy as np
import pytest

from tailshard.search.drift import BINS, BY_CHANCE, Drift, error_drift, feature_drift, stability
from tailshard.search.score import score
from tailshard.store.catalog import read_catalog


def _counts(random, shift: float, events: int) -> np.ndarray:
    edges = np.linspace(-8, 8, 2001)
    return np.histogram(random.normal(shift, 1, events), edges)[0].astype(float)[:, None]


def test_the_index_is_that_of_its_definition() -> None:
    reference = np.repeat(100.0, BINS)[:, None]
    new = np.arange(1, BINS + 1, dtype=float)[:, None] * 10
    index, _ = stability(reference, new)
    p = (reference[:, 0] + 0.5) / (reference.sum() + 0.5 * BINS)
    q = (new[:, 0] + 0.5) / (new.sum() + 0.5 * BINS)
    assert index[0] == pytest.approx(((q - p) * np.log(q / p)).sum())


def test_without_a_change_chance_is_what_it_says() -> None:
    random = np.random.default_rng(1)
    reference = np.concatenate([_counts(random, 0, 5000) for _ in range(400)], axis=1)
    new = np.concatenate([_counts(random, 0, 800) for _ in range(400)], axis=1)
    index, chance = stability(reference, new)
    assert index.max() < 0.1
    assert np.mean(chance < 0.1) == pytest.approx(0.1, abs=0.05)
    expected = (BINS - 1) * (1 / 5000 + 1 / 800)
    assert index.mean() == pytest.approx(expected, rel=0.15)


def test_a_shift_exceeds_a_threshold_and_few_events_do_not() -> None:
    random = np.random.default_rng(2)
    (index,), (chance,) = stability(_counts(random, 0, 5000), _counts(random, 0.7, 1000))
    assert Drift(index, chance, "zjets").exceeds(0.25)
    (index,), (chance,) = stability(_counts(random, 0, 5000), _counts(random, 0.0, 8))
    assert index > 0.25
    assert not Drift(index, chance, "zjets").exceeds(0.25)


def test_nothing_to_compare_is_no_number() -> None:
    empty, full = np.zeros((5, 1)), np.ones((5, 1))
    one_bin = np.array([[10.0], [0], [0], [0], [0]])
    for pair in ((empty, full), (full, empty), (one_bin, one_bin)):
        index, chance = stability(*pair)
        assert np.isnan(index[0])
        assert chance[0] == 1


@pytest.fixture(scope="module")
def scored(small, client, tmp_path_factory):
    folder = tmp_path_factory.mktemp("drift")
    pipeline = small.pipeline(small.channels)
    small.store(folder / "store", pipeline)
    score(pipeline, folder / "store", small.model(folder / "model.pt"), client)
    return pipeline, folder / "store", read_catalog(folder / "store")


def test_errors_and_cells_are_compared_slot_by_slot(scored, client) -> None:
    pipeline, store, catalog = scored
    slots = catalog.slots_of("zjets")
    trained, new = {"zjets": slots[:-1]}, {"zjets": slots[-1:]}
    errors = error_drift(pipeline, store, catalog, trained, new, client)
    cells = feature_drift(pipeline, store, catalog, trained, new)
    assert errors is not None
    assert errors.where == "zjets"
    assert errors.chance > BY_CHANCE  # they are alike
    assert cells is not None
    assert cells.where.endswith(" of zjets")
    assert not cells.exceeds(0.25)


def test_another_kind_of_events_is_noticed(scored, client) -> None:
    pipeline, store, catalog = scored
    # As if the signal had arrived under the name of the background: its cells are larger.
    trained, new = {"zjets": catalog.slots_of("zjets")}, {"zjets": catalog.slots_of("resonance")}
    errors = error_drift(pipeline, store, catalog, trained, new, client)
    assert errors is not None
    assert errors.exceeds(0.25)


def test_without_old_or_new_slots_there_is_nothing_to_compare(scored, client) -> None:
    pipeline, store, catalog = scored
    slots = {"zjets": catalog.slots_of("zjets")}
    for trained, new in (({}, slots), (slots, {"zjets": ()})):
        assert error_drift(pipeline, store, catalog, trained, new, client) is None
        assert feature_drift(pipeline, store, catalog, trained, new) is None
