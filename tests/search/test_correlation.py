import numpy as np
import pytest

from tailshard.search.correlation import correlations


def sums_of(cells, weight):
    return weight.sum(), weight @ cells, np.triu((cells.T * weight) @ cells)


def test_correlations_are_those_of_numpy() -> None:
    random = np.random.default_rng(1)
    cells = random.normal(size=(500, 4)) @ random.normal(size=(4, 4)) + 3
    weight = random.uniform(0.2, 2, 500)
    covariance = np.cov(cells.T, aweights=weight)
    deviation = np.sqrt(covariance.diagonal())
    found = correlations(*sums_of(cells, weight))
    np.testing.assert_allclose(found, covariance / np.outer(deviation, deviation), atol=1e-12)


def test_a_cell_that_does_not_vary_has_no_correlation() -> None:
    cells = np.random.default_rng(2).normal(size=(100, 3))
    cells[:, 1] = 0.1
    found = correlations(*sums_of(cells, np.ones(100)))
    assert np.isnan(found[1]).all()
    assert np.isnan(found[:, 1]).all()
    assert found[0, 0] == pytest.approx(1)


def test_a_negative_variance_or_weight_is_no_number() -> None:
    cells = np.array([[0.0, 1], [1, 2], [5, 0]])
    found = correlations(*sums_of(cells, np.array([1.0, 1, -0.5])))
    assert np.isnan(found[0, 0])
    assert np.isnan(correlations(-1.0, np.zeros(2), np.zeros((2, 2)))).all()
