"""The weight of a simulated event: how many collision events it stands for."""

from collections.abc import Sequence

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from ..config import Dataset
from ..data_taking import LAST_RUNS, Campaign, year_of
from ..errors import ConfigError, InputError
from ..parts import CROSS_SECTION

PB_IN_FB = 1000.0

_Numbers = NDArray[np.float64] | float


def event_weight(
    events: ak.Array, dataset: Dataset, luminosity: float, campaigns: Sequence[Campaign] = ()
) -> NDArray[np.float64]:
    """Give each event the number of collision events it stands for.

    One for data. For simulation::

        luminosity * cross_section * generator_weight * scale_factor / sum_of_weights

    Generator weights keep their sign. `cross_section` (pb, k-factor and filter efficiency included)
    and `sum_of_weights` (generator weights of the whole sample, before any skim) are the dataset's
    where the pipeline gives them, and the file's otherwise.

    The atlas-2016 release has neither in its files: the dataset must give both, from the release's
    table of cross-sections and effective luminosities, where ``cross_section = (cross-section times
    filter efficiency) * k_factor`` and ``sum_of_weights = L_eff * cross_section`` with L_eff in pb^-1.
    This also holds for the single-top t-channel, whose generator weights are about 2e-8: the table
    counts weights, and the number of events can never take their place.

    Where the release stores the ratio of cross-section and sum of weights (susy-skim: ``genWeight``, in
    pb if `Dataset.cross_section_unit` does not say otherwise), that ratio is ``cross_section_per_weight``
    of the canonical events.

    With `campaigns`, the luminosity is that of the campaign whose years hold the run that an event
    was simulated for (`data_taking` says why the campaign's and not the year's). Run 0 stands for
    conditions that no data has: pile-up weight zero, and so is the event's.

    Parameters
    ----------
    events
        Canonical events of a dialect, shape (events,).
    dataset
        Its kind and its overrides are used.
    luminosity
        fb^-1; not used where there are campaigns.
    campaigns
        Of the pipeline.

    Returns
    -------
    numpy.ndarray
        float64, shape (events,).

    Raises
    ------
    ConfigError
        Neither the dataset nor the file gives a normalisation that can be used.
    InputError
        A weight is not finite, or an event was simulated for a year of no campaign.
    """
    if dataset.kind == "data":
        return np.ones(len(events), dtype=np.float64)
    cross_section, sum_of_weights = _normalisation(events, dataset)
    recorded = _luminosity_by_campaign(events, dataset, campaigns) if campaigns else luminosity
    scale = recorded * PB_IN_FB * cross_section / sum_of_weights
    generator_weight = ak.to_numpy(events.generator_weight)
    has_factors = "scale_factor" in events.fields
    scale_factor = ak.to_numpy(events.scale_factor) if has_factors else np.ones(len(events))
    weight = np.asarray(scale * generator_weight * scale_factor, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(weight))
    if bad.size:
        first = bad[0]
        raise InputError(
            f"dataset '{dataset.identity}': {bad.size} of {len(weight)} event weights are not finite; the "
            f"first is that of run {events.run[first]}, event {events.event[first]}: generator weight "
            f"{generator_weight[first]}, scale factors {scale_factor[first]}. Is the file damaged?"
        )
    return weight


def _luminosity_by_campaign(
    events: ak.Array, dataset: Dataset, campaigns: Sequence[Campaign]
) -> NDArray[np.float64]:
    run = ak.to_numpy(events.conditions_run)
    year = year_of(run)
    of_year = {year: campaign.total for campaign in campaigns for year in campaign.luminosity}
    strange = np.flatnonzero((run != 0) & ~np.isin(year, list(of_year)))
    if strange.size:
        first = strange[0]
        what = f"year {year[first]}" if year[first] else f"no year up to {max(LAST_RUNS)}"
        raise InputError(
            f"dataset '{dataset.identity}': {strange.size} of {len(run)} events are simulated for a year of "
            f"no campaign; the first for run {run[first]}, {what}. The pipeline's campaigns have "
            f"{', '.join(map(str, sorted(of_year)))}: name the missing one, or leave its files out"
        )
    luminosity = np.zeros(len(run))
    for its_year, total in of_year.items():
        luminosity[year == its_year] = total
    return luminosity


def require_normalisation(dataset: Dataset, reason: str) -> None:
    """Refuse simulation whose pipeline leaves out the cross-section or the sum of weights.

    Raises
    ------
    ConfigError
        Says what is missing, and the `reason` why the file cannot stand in.
    """
    values = {"cross_section": dataset.cross_section, "sum_of_weights": dataset.sum_of_weights}
    missing = [name for name, value in values.items() if value is None]
    if dataset.kind != "data" and missing:
        raise ConfigError(
            f"dataset '{dataset.identity}' must give {' and '.join(missing)}: {reason}. Take them from the "
            "release's table; where that lists an effective luminosity, sum_of_weights = effective "
            "luminosity (pb^-1) * cross_section (pb, k-factor and filter efficiency included)"
        )


def sample_of(events: ak.Array, dataset: Dataset) -> str:
    """Name the sample that events are normalised as: the data set, with the file's numbers where it has any.

    Files of a data set that differ in it are different samples: none of them can stand in for another.
    """
    if dataset.kind == "data" or not len(events):
        return dataset.identity
    normalisation = [np.ravel(values) for values in _normalisation(events, dataset)]
    if "cross_section_per_weight" in events.fields and np.ptp(normalisation[0]) > 0:
        # Samples that were merged into one file: no part of it stands for another.
        lowest, highest = normalisation[0].min(), normalisation[0].max()
        return f"{dataset.identity} ({lowest:.6g} to {highest:.6g} pb per unit of weight)"
    cross_section, sum_of_weights = (values[0] for values in normalisation)
    return f"{dataset.identity} ({cross_section:.6g} pb over {sum_of_weights:.6g})"


def _normalisation(events: ak.Array, dataset: Dataset) -> tuple[_Numbers, _Numbers]:
    if dataset.cross_section is not None and dataset.sum_of_weights is not None:
        return dataset.cross_section, dataset.sum_of_weights
    unit = CROSS_SECTION[dataset.cross_section_unit]
    if "cross_section_per_weight" in events.fields:
        if dataset.cross_section is not None or dataset.sum_of_weights is not None:
            require_normalisation(dataset, f"{dataset.dialect} files hold only their ratio")
        return unit * ak.to_numpy(events.cross_section_per_weight), 1.0
    if "sum_of_weights" not in events.fields:
        require_normalisation(dataset, f"{dataset.dialect} files hold neither")
    cross_section, sum_of_weights = ak.to_numpy(events.cross_section), ak.to_numpy(events.sum_of_weights)
    # Releases write 1 (sum of weights) and 0 or 1 (cross-section) where they have no number.
    placeholder = ~((cross_section > 0) & (sum_of_weights > 0) & (sum_of_weights != 1))
    if placeholder.any():
        first = np.flatnonzero(placeholder)[0]
        require_normalisation(
            dataset,
            f"the file holds placeholders, cross-section {cross_section[first]:g} and sum of weights "
            f"{sum_of_weights[first]:g}",
        )
    return (
        unit * cross_section if dataset.cross_section is None else dataset.cross_section,
        sum_of_weights if dataset.sum_of_weights is None else dataset.sum_of_weights,
    )
