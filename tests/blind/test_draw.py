"""Which events go into a blind sample."""

import numpy as np
import pytest

from tailshard.blind.draw import choose, deal, factor_of, keys_of, repetitions
from tailshard.errors import ConfigError
from tailshard.store.order import generator_of


def test_pseudo_data_fluctuates_as_collisions_do() -> None:
    weight = np.full(40, 0.3)
    numbers = np.array([repetitions(generator_of(seed), weight, 1.0).sum() for seed in range(2000)])
    assert numbers.mean() == pytest.approx(12, abs=5 * np.sqrt(12 / 2000))
    assert numbers.var() == pytest.approx(12, rel=5 * np.sqrt(2 / 2000))


def test_negative_weights_are_never_drawn_and_the_yield_is_kept() -> None:
    weight = np.resize([0.5, 0.5, 0.5, -0.2], 400)
    factor = factor_of(weight.sum(), weight[weight > 0].sum(), "ttbar")
    times = np.array([repetitions(generator_of(seed), weight, factor) for seed in range(300)])
    assert not times[:, weight < 0].any()
    assert times.sum(axis=1).mean() == pytest.approx(weight.sum(), abs=5 * np.sqrt(weight.sum() / 300))


def test_a_channel_of_negative_yield_is_refused() -> None:
    with pytest.raises(ConfigError, match="'ttbar' sum to -3; no pseudo-data"):
        factor_of(-3.0, 2.0, "ttbar")
    assert factor_of(0.0, 0.0, "empty") == 0


def test_a_signal_is_drawn_by_weight_and_without_repetition() -> None:
    weight = np.array([1.0, 3.0, 0.0, -1.0] * 50)
    chosen = np.zeros(len(weight))
    for seed in range(400):
        keys = keys_of(generator_of(seed), weight)
        chosen[np.argsort(keys)[:10]] += 1
    assert not chosen[weight <= 0].any()
    light, heavy = chosen[weight == 1].sum(), chosen[weight == 3].sum()
    assert heavy / light == pytest.approx(3, rel=0.15)
    assert light + heavy == 4000


def test_events_are_dealt_as_a_shuffle_deals_them() -> None:
    counts = [50, 0, 120, 7]
    sizes, table = deal(generator_of("deal"), counts, 64)
    assert sizes == [64, 64, 49]
    np.testing.assert_array_equal(table.sum(axis=1), counts)
    np.testing.assert_array_equal(table.sum(axis=0), sizes)
    tables = np.array([deal(generator_of(seed), counts, 64)[1] for seed in range(500)])
    expected = np.outer(counts, sizes) / sum(counts)
    np.testing.assert_allclose(tables.mean(axis=0), expected, atol=0.8)


def test_nothing_to_deal_fills_no_slot() -> None:
    sizes, table = deal(generator_of(1), [0, 0], 64)
    assert sizes == []
    assert table.shape == (2, 0)


def test_what_is_hidden_is_within_its_limits() -> None:
    found = [choose(generator_of(seed), ("a", "b"), 0.25, (10, 1000)) for seed in range(2000)]
    names = [name for name, _ in found]
    assert names.count(None) / 2000 == pytest.approx(0.25, abs=0.05)
    assert names.count("a") == pytest.approx(names.count("b"), rel=0.2)
    assert all((events == 0) if name is None else (10 <= events <= 1000) for name, events in found)
    logarithms = np.log10([events for name, events in found if name])
    assert logarithms.mean() == pytest.approx(2, abs=0.07), "evenly in the logarithm"


@pytest.mark.parametrize(("nothing", "is_there"), [(0.0, True), (1.0, False)])
def test_something_or_nothing_can_be_forced(nothing: float, is_there: bool) -> None:
    found = {choose(generator_of(seed), ("a",), nothing, (5, 5)) for seed in range(50)}
    assert found == {("a", 5) if is_there else (None, 0)}
