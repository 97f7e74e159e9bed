"""Signal regions, from the background alone.

A region is everything whose log10 error is at or above a threshold. Thresholds follow from the weighted
error distribution of the background's validation events and from nothing else: neither signal, nor data,
nor the test events from which yields are quoted, have a say. Regions overlap; each is a search of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config import Regions
from ..errors import ProcessingError

INCLUSIVE = "inclusive"
"""Name of the region that holds every selected event: the baseline without any network."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Region:
    """Events at or above a threshold."""

    name: str
    """Key in histograms and tables."""
    rule: str
    """How the threshold was found, in words."""
    threshold: float
    """Smallest log10 error of the region; minus infinity for the inclusive one."""
    background_efficiency: float
    """Share of the background's validation weight that lies in the region."""


def define_regions(contents: Array, edges: Array, rules: Regions) -> tuple[Region, ...]:
    """Find the regions' thresholds.

    Parameters
    ----------
    contents
        Sums of weights of the background's validation events in fine bins of log10 error, underflow
        first and overflow last: n + 2 values.
    edges
        The n + 1 edges of the bins.
    rules
        Which regions the pipeline asks for.

    Returns
    -------
    tuple of Region
        The inclusive region, then by background efficiency, then by steps from the median.

    Raises
    ------
    ProcessingError
        The background has no weight to define a region with, or errors beyond the axis.
    """
    total = contents.sum()
    if not total > 0:
        raise ProcessingError(
            f"no signal region can be defined: the weights of the background's validation events sum to "
            f"{total:g}; give the background more events, or splits.validation a larger share"
        )
    regions = [Region(INCLUSIVE, "every selected event", -np.inf, 1.0)]
    for name, rule, threshold in _thresholds(contents, edges, rules):
        if all(name != region.name for region in regions):
            above = contents[np.searchsorted(edges, threshold) + 1 :].sum() / total
            regions.append(Region(name, rule, threshold, float(above)))
    return tuple(regions)


def _thresholds(contents: Array, edges: Array, rules: Regions) -> Iterator[tuple[str, str, float]]:
    for efficiency in rules.background_efficiencies:
        rule = f"the most anomalous {100 * efficiency:g} % of the background"
        yield f"efficiency_{efficiency}", rule, threshold_at(contents, edges, efficiency)
    if rules.median_steps:
        median = threshold_at(contents, edges, 0.5)
        for step in rules.median_steps:
            rule = f"log10(error) > m + {step} |m| / 5, where m = {median:.4g} is the background's median"
            yield f"median_{step}", rule, median + step * abs(median) / 5


def threshold_at(contents: Array, edges: Array, efficiency: float) -> float:
    """Find the weighted quantile above which a share of a distribution lies.

    It is the lowest edge such that neither this cut nor any tighter one keeps more than `efficiency`.
    For positive weights that is the usual quantile, to one bin. Negative weights make the share kept
    rise and fall along the axis; the first rise above `efficiency`, coming from the anomalous end, ends
    the region, so that what a dip would let in cannot widen it.

    Parameters
    ----------
    contents, edges
        As for `define_regions`.
    efficiency
        Share to keep, between 0 and 1.

    Raises
    ------
    ProcessingError
        More than this share lies above the last edge.
    """
    edge = lowest_edge(contents, edges, efficiency)
    if edge is None:
        lost = contents[-1] / contents.sum()
        raise ProcessingError(
            f"{100 * lost:.3g} % of the background has a log10 error above {edges[-1]:g}, so no region "
            f"can keep {100 * efficiency:g} % of it; the network has diverged, train it again"
        )
    return edge


def lowest_edge(contents: Array, edges: Array, efficiency: float) -> float | None:
    """Find the threshold of `threshold_at`, of any quantity; None if no edge is tight enough."""
    kept = np.cumsum(contents[:0:-1])[::-1] / contents.sum()
    allowed = np.maximum.accumulate(kept[::-1])[::-1] <= efficiency * (1 + 1e-12)
    return float(edges[np.argmax(allowed)]) if allowed.any() else None
