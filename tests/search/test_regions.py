import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tailshard.config import Regions
from tailshard.errors import ProcessingError
from tailshard.search.regions import INCLUSIVE, define_regions, threshold_at

EDGES = np.linspace(-4, 4, 81)


def contents(log10_error, weight=None) -> np.ndarray:
    counted, _ = np.histogram(log10_error, bins=[-np.inf, *EDGES, np.inf], weights=weight)
    return counted.astype(float)


def test_the_inclusive_region_comes_first_and_keeps_everything() -> None:
    first = define_regions(contents([0.0, 1.0]), EDGES, Regions())[0]
    assert (first.name, first.threshold, first.background_efficiency) == (INCLUSIVE, -np.inf, 1.0)


def test_regions_keep_the_share_of_the_background_that_is_asked_for() -> None:
    errors = np.random.default_rng(1).normal(-1, 0.5, 100_000)
    regions = define_regions(contents(errors), EDGES, Regions(background_efficiencies=(0.1, 0.01)))
    for region, share in zip(regions[1:3], (0.1, 0.01), strict=True):
        assert region.threshold == pytest.approx(np.quantile(errors, 1 - share), abs=0.1)
        assert region.background_efficiency == np.mean(errors >= region.threshold) <= share
    assert [region.name for region in regions[1:3]] == ["efficiency_0.1", "efficiency_0.01"]


def test_median_regions_lie_fifths_of_the_median_above_the_weighted_median() -> None:
    # Nine tenths of the weight, but a third of the events, lie at -2.05.
    errors, weight = np.array([-2.05, 0.05, 0.25]), np.array([0.9, 0.05, 0.05])
    regions = define_regions(contents(errors, weight), EDGES, Regions(median_steps=(1, 2, 3)))
    median = -2.0  # upper edge of its bin
    assert [region.name for region in regions[3:]] == ["median_1", "median_2", "median_3"]
    assert [region.threshold for region in regions[3:]] == pytest.approx(
        [median + 0.4, median + 0.8, median + 1.2]
    )
    assert all(region.background_efficiency == pytest.approx(0.1) for region in regions[3:])


positive = arrays(np.float64, len(EDGES) + 1, elements=st.sampled_from([0.0, 0.1, 1.0, 3.0]))
signed = arrays(np.float64, len(EDGES) + 1, elements=st.sampled_from([-1.0, 0.0, 0.5, 1.0, 3.0]))


@settings(deadline=None)
@given(positive, st.floats(0.01, 0.99))
def test_for_positive_weights_the_threshold_is_the_quantile(bins, share) -> None:
    assume(bins.sum() > 0 and bins[-1] <= share * bins.sum())
    place = int(np.flatnonzero(threshold_at(bins, EDGES, share) == EDGES)[0])
    assert bins[place + 1 :].sum() <= share * bins.sum() * (1 + 1e-9)
    if place > 0:
        assert bins[place:].sum() > share * bins.sum() * (1 - 1e-9)


@settings(deadline=None)
@given(signed, st.floats(0.01, 0.99))
def test_with_negative_weights_no_tighter_cut_keeps_more_than_the_share(bins, share) -> None:
    assume(bins.sum() > 1 and bins[-1] <= share * bins.sum())
    place = int(np.flatnonzero(threshold_at(bins, EDGES, share) == EDGES)[0])
    kept = np.array([bins[edge + 1 :].sum() for edge in range(place, len(EDGES))])
    assert (kept <= share * bins.sum() * (1 + 1e-9)).all()


def test_a_dip_from_negative_weights_does_not_widen_a_region() -> None:
    errors, weight = np.array([-3.05, 1.05, 1.25, 2.05]), np.array([90.0, -8.0, 8.0, 9.0])
    assert contents(errors, weight)[np.searchsorted(EDGES, 1.0) + 1 :].sum() < 10  # with the dip 9 % remain
    assert threshold_at(contents(errors, weight), EDGES, 0.1) == pytest.approx(1.3)


@pytest.mark.parametrize("bins", [np.zeros(82), -np.ones(82)], ids=["no-events", "negative-sum"])
def test_a_background_without_weight_is_refused(bins: np.ndarray) -> None:
    with pytest.raises(ProcessingError, match="validation events sum to"):
        define_regions(bins, EDGES, Regions())


def test_errors_beyond_the_axis_are_refused() -> None:
    with pytest.raises(ProcessingError, match="100 % of the background has a log10 error above 4"):
        define_regions(contents([50.0, 60.0]), EDGES, Regions())


def test_a_region_that_is_asked_for_twice_appears_once() -> None:
    regions = define_regions(contents([0.0] * 9 + [1.0]), EDGES, Regions(median_steps=(1, 1)))
    assert [region.name for region in regions].count("median_1") == 1
