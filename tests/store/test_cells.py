from functools import reduce
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailshard.errors import StoreError
from tailshard.features.islands import Islands, pack
from tailshard.store.cells import MAGNITUDES, Statistics, magnitude_edges


def events(count: int, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(count)
    matrices = random.exponential(size=(count, 3, 3)).astype(np.float32)
    matrices[random.random(matrices.shape) < 0.5] = 0
    return (matrices + np.float32(offset)).astype(np.float32), random.normal(1, 2, count)


def islands(matrices: np.ndarray) -> Islands:
    """Matrices whose two objects all exist."""
    return pack(matrices, np.full((len(matrices), 1), 2, np.uint8), (2,))


def assert_describes(statistics: Statistics, matrices: np.ndarray, weight: np.ndarray) -> None:
    exact = matrices.astype(np.float64)
    assert statistics.events == len(exact)
    np.testing.assert_allclose(statistics.sum_of_weights, weight.sum())
    np.testing.assert_array_equal(statistics.occupancy, (exact != 0).sum(axis=0))
    np.testing.assert_array_equal(statistics.minimum, exact.min(axis=0))
    np.testing.assert_array_equal(statistics.maximum, exact.max(axis=0))
    for cell, counted in zip(
        exact.reshape(len(exact), -1).T, statistics.magnitudes.reshape(MAGNITUDES, -1).T, strict=True
    ):
        expected, _ = np.histogram(np.abs(cell[cell != 0]), magnitude_edges())
        np.testing.assert_array_equal(counted, expected)
    np.testing.assert_allclose(statistics.mean, exact.mean(axis=0))
    np.testing.assert_allclose(statistics.variance, exact.var(axis=0), rtol=1e-9)
    np.testing.assert_allclose(
        statistics.weighted_mean, np.average(exact, axis=0, weights=weight), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("count", [1, 7, 8, 9, 100], ids="count_{}".format)
def test_statistics_agree_with_numpy(count):
    matrices, weight = events(count)
    assert_describes(Statistics.of(islands(matrices), weight), matrices, weight)


@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, 60), max_size=5))
def test_statistics_of_parts_merge_to_those_of_the_whole(cuts):
    matrices, weight = events(60)
    edges = [0, *sorted(cuts), 60]
    parts = [
        Statistics.of(islands(matrices[start:stop]), weight[start:stop]) for start, stop in pairwise(edges)
    ]
    assert_describes(reduce(Statistics.merge, parts), matrices, weight)


def test_variance_survives_a_large_mean():
    matrices, weight = events(5000, offset=4096.0)
    variance = Statistics.of(islands(matrices), weight).variance
    np.testing.assert_allclose(variance, matrices.astype(np.float64).var(axis=0), rtol=1e-9)


def test_no_events_give_zeros_and_do_not_touch_others():
    empty = Statistics.empty(3)
    assert not empty.variance.any()
    assert not empty.weighted_mean.any()
    some = Statistics.of(islands(events(5)[0]), events(5)[1])
    assert empty.merge(some) is some
    assert some.merge(empty) is some


def test_weights_that_cancel_give_no_division_by_zero():
    matrices, _ = events(2)
    assert not Statistics.of(islands(matrices), np.array([1.0, -1.0])).weighted_mean.any()


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_stored_statistics_come_back_with_scaled_weights(scale):
    matrices, weight = events(20)
    statistics = Statistics.of(islands(matrices), weight)
    again = Statistics.unstacked(
        statistics.stacked(), statistics.magnitudes, 20, statistics.sum_of_weights, scale
    )
    assert_describes(again, matrices, weight * scale)


def test_cells_that_are_not_finite_are_refused():
    matrices, weight = events(4)
    matrices[2, 1, 1] = np.inf
    with pytest.raises(StoreError, match="not finite"):
        Statistics.of(islands(matrices), weight)


def test_magnitudes_beyond_the_bins_are_in_the_outermost_ones():
    matrices = np.zeros((2, 3, 3), np.float32)
    matrices[:, 1, 1] = 1e-30, 1e30
    magnitudes = Statistics.of(islands(matrices), np.ones(2)).magnitudes[:, 1, 1]
    assert (magnitudes[0], magnitudes[-1], magnitudes.sum()) == (1, 1, 2)
