"""Years of data taking, and the campaigns of simulation that stand for them.

A campaign simulates the conditions of one or more years and is normalised as a whole: the weights of
all its events together stand for the luminosity of all its years, and each event belongs to the year of
the run whose conditions it was given (``RandomRunNumber``). So every event of a campaign is scaled by
the campaign's luminosity, not by that of its year, also where only some of the years are kept: the
events of a year are that year's share of the campaign already.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from .parts import Luminosity, Name, Part

Year = Annotated[int, Field(ge=2015, le=2018)]

LAST_RUNS = {2015: 284500, 2016: 320000, 2017: 348000, 2018: 399999}
"""Last run of each year, of data and of simulated conditions alike. The first is the run after the last
of the year before, so that no run between the years is lost; runs 276262 to 284484, 297730 to 311481,
325713 to 340453 and 348885 to 364292 are those of collisions."""


class Campaign(Part):
    """Simulation that stands for the collisions of some years."""

    name: Name
    """mc16a, mc16d, mc16e ..."""
    luminosity: dict[Year, Luminosity] = Field(min_length=1)
    """fb^-1 by year: of all years that the campaign simulates, also of those that are not kept."""

    @property
    def total(self) -> float:
        """fb^-1 that all its events together stand for."""
        return sum(self.luminosity.values())


RUN_2 = (
    Campaign(name="mc16a", luminosity={2015: 3.21956, 2016: 32.9881}),
    Campaign(name="mc16d", luminosity={2017: 44.3074}),
    Campaign(name="mc16e", luminosity={2018: 58.4501}),
)
"""Run 2 of ATLAS as S. Frette's thesis (Oslo, 2023) scales it, 138.97 fb^-1 in all."""


def year_of(run: NDArray[Any]) -> NDArray[np.int32]:
    """Year of each run, shape (events,); 0 for run 0 and for runs after the last year."""
    years = np.array([*LAST_RUNS, 0], dtype=np.int32)
    place = np.searchsorted(np.array([*LAST_RUNS.values()]), np.asarray(run, dtype=np.int64))
    return np.where(np.asarray(run) == 0, np.int32(0), years[place])


def kept_years(campaigns: Sequence[Campaign], years: Sequence[int] | None) -> tuple[int, ...]:
    """Years whose events are kept: those asked for, or all that the campaigns stand for."""
    known = (year for campaign in campaigns for year in campaign.luminosity)
    return tuple(sorted(known if years is None else years))


def refuse_other_luminosity(
    luminosity: float, campaigns: Sequence[Campaign], years: Sequence[int] | None
) -> None:
    """Refuse campaigns that overlap, years that they lack, and a luminosity that is not theirs.

    Raises
    ------
    ValueError
        With what does not fit.
    """
    of_year: dict[int, float] = {}
    for campaign in campaigns:
        if twice := sorted(of_year.keys() & campaign.luminosity.keys()):
            raise ValueError(f"two campaigns simulate the years {twice}: their events would count twice")
        of_year |= campaign.luminosity
    if unknown := sorted(set(years or ()) - of_year.keys()):
        raise ValueError(f"years names {unknown}, of which no campaign gives the luminosity")
    kept = kept_years(campaigns, years)
    total = sum(of_year[year] for year in kept)
    if campaigns and abs(luminosity - total) > 1e-3 * total:
        raise ValueError(
            f"luminosity is {luminosity:g} fb^-1, but the campaigns give {total:g} fb^-1 for the years "
            f"{list(kept)}"
        )
